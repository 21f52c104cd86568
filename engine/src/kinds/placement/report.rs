//! The report of one plan of ops: where the time and the memory go.

use std::collections::{BTreeMap, BTreeSet};

use cost_model::ops::judge::memory::Holding;
use cost_model::ops::judge::report::{DeviceReport, LinkReport, Report};
use cost_model::ops::problem::Problem;
use documents::report::{DeviceDocument, HoldingDocument, LinkDocument, StepDocument};
use ir::diagnostic::Diagnostic;
use ir::plan::Placement;
use ir::units::Bytes;
use serde_json::{Value, json};

use super::outcome;
use super::replay::{self, Replayed};
use super::trust::{self, Trust};
use crate::answer::page::{Column, Page};
use crate::answer::rows::Rows;
use crate::answer::violations::{count, list};
use crate::answer::words::ranges;
use crate::inputs::scale;

/// Prints a replay, with the rules that it breaks; the same for programs.
pub fn print(replayed: &Replayed, (rows, page): (Rows, &Page), warnings: &[Diagnostic]) -> Value {
    let problem = &replayed.on.loaded.problem;
    let (broken, trust) = (replay::broken_rules(&replayed.on), replayed.trust());
    print_devices(problem, &replayed.report, rows, page);
    trust::print(trust, &replayed.on.loaded, &replayed.report, rows, page);
    page.warnings(warnings);
    list(broken, rows, page);
    let guesses = outcome::guesses(replayed.on.loaded.summary.guessed_share);
    let step = format!("{}{guesses}", trust.sentence(replayed.timeline.step_time));
    page.line(&match broken.len() {
        0 => step,
        n => format!("{step}, illegal: {}", count(n)),
    });
    json!({
        "cluster": scale::document(&problem.cluster),
        "report": document(problem, &replayed.report, trust),
    })
}

/// Prints the table of devices.
pub fn print_devices(problem: &Problem, report: &Report, rows: Rows, page: &Page) {
    let (columns, all) = devices(problem, report, true);
    rows.table(&columns, all.into_iter(), page);
}

/// By device, its time and memory; devices that no op runs on are left out unless all are asked for.
pub fn devices(
    problem: &Problem,
    report: &Report,
    is_all: bool,
) -> (Vec<Column>, Vec<Vec<String>>) {
    let columns = vec![
        Column::Name("device"),
        Column::Number("compute"),
        Column::Number("transfers"),
        Column::Number("idle"),
        Column::Number("peak memory"),
        Column::Number("of"),
        Column::Number("usable"),
        Column::RestName("largest at the peak"),
    ];
    let is_used = |device: &&DeviceReport| is_all || device.compute_ns > 0 || device.peak.bytes > 0;
    let rows = report.devices.iter().filter(is_used).map(|device| row(problem, report, device));
    (columns, rows.collect())
}

/// Adds which layers of the model have ops on each device, where its modules are numbered.
pub fn with_layers(
    problem: &Problem,
    placement: &Placement,
    (columns, rows): (&mut Vec<Column>, &mut [Vec<String>]),
) {
    let mut stacks: BTreeMap<&str, BTreeMap<&str, BTreeSet<u32>>> = BTreeMap::new();
    for (op, device) in problem.graph.ops.iter().zip(&placement.device) {
        let Some((module, device)) = op.module.as_deref().zip(*device) else { continue };
        let Some((stack, layer)) = numbered(module) else { continue };
        let name = problem.cluster.devices[device.index()].name.as_str();
        stacks.entry(stack).or_default().entry(name).or_default().insert(layer);
    }
    // Of several stacks of layers the longest.
    let n_layers =
        |of: &BTreeMap<&str, BTreeSet<u32>>| of.values().map(BTreeSet::len).sum::<usize>();
    let Some(longest) = stacks.into_values().max_by_key(n_layers) else { return };
    columns.insert(1, Column::Text("layers"));
    for row in rows {
        let layers = row.first().and_then(|device| longest.get(device.as_str()));
        let layers = layers.map(|layers| ranges(&layers.iter().copied().collect::<Vec<_>>()));
        row.insert(1, layers.unwrap_or_default());
    }
}

/// The stack of layers that a module is in, and its position there: `model.layers.7.mlp`.
fn numbered(module: &str) -> Option<(&str, u32)> {
    let mut at = 0;
    for part in module.split('.') {
        if let Ok(layer) = part.parse() {
            return Some((&module[..at], layer));
        }
        at += part.len() + 1;
    }
    None
}

fn row(problem: &Problem, report: &Report, device: &DeviceReport) -> Vec<String> {
    let step = report.step_time.get();
    let share = |ns: u64| match step {
        0 => "-".to_owned(),
        _ => format!("{:.1} %", ns as f64 / step as f64 * 100.0),
    };
    let peak = Bytes(device.peak.bytes).to_string();
    let of = device.limit.filter(|limit| *limit > 0).map_or(String::new(), |limit| {
        format!("{:.0} %", device.peak.bytes as f64 / limit as f64 * 100.0)
    });
    vec![
        problem.cluster.devices[device.device.index()].name.clone(),
        share(device.compute_ns),
        share(device.communication_ns),
        share(device.idle_ns),
        peak,
        of,
        device.limit.map_or("none".to_owned(), |limit| Bytes(limit).to_string()),
        device.what_peaks.first().map_or(String::new(), holding),
    ]
}

fn holding(holding: &Holding) -> String {
    format!("{} {} {}", Bytes(holding.bytes), holding.what.name(), holding.name)
}

/// The report as a document.
pub fn document(problem: &Problem, report: &Report, trust: &Trust) -> StepDocument {
    let mut document = StepDocument::new(report.step_time.get(), report.nominal);
    document.interval = trust.interval_document();
    document.origins = trust.origin_documents();
    document.devices = report.devices.iter().map(|d| device_document(problem, d)).collect();
    let channel = |link: &LinkReport| {
        let name = &problem.cluster.links.channels[link.channel.index()].name;
        LinkDocument::new(name, link.busy_ns, link.bytes, link.n_transfers)
    };
    document.links = report.links.iter().map(channel).collect();
    document
}

fn device_document(problem: &Problem, report: &DeviceReport) -> DeviceDocument {
    let device = &problem.cluster.devices[report.device.index()];
    let times = (report.compute_ns, report.communication_ns, report.idle_ns);
    DeviceDocument {
        memory_limit_bytes: report.limit,
        capacity_bytes: device.capacity.map(Bytes::get),
        context_bytes: device.context.get(),
        reserve_bytes: device.reserve.get(),
        parameter_bytes: report.parameter_bytes,
        what_peaks: report
            .what_peaks
            .iter()
            .map(|holding| HoldingDocument {
                kind: holding.what.name().to_owned(),
                name: holding.name.clone(),
                bytes: holding.bytes,
            })
            .collect(),
        origins: trust::documents(&report.origins),
        ..DeviceDocument::with_times(&device.name, times.0, times.1, times.2)
    }
    .with_peak(report.peak.bytes, report.peak.at)
}
