//! What a device does in a step, and what its memory holds at the peak.

use std::collections::BTreeMap;

use cost_model::explain::memory::{self, MemoryLine};
use cost_model::ops::judge::memory::alive;
use cost_model::ops::judge::report::{DeviceReport, LinkReport};
use documents::quantity::Duration;
use ir::cluster::Device;
use ir::diagnostic::Diagnostic;
use ir::id::{DeviceId, OpId};
use ir::schedule::Action;
use ir::units::{Bytes, Nanos};
use serde_json::{Value, json};

use super::position_of;
use super::step::share;
use crate::answer::page::Column;
use crate::answer::page::Page;
use crate::answer::rows::Rows;
use crate::kinds::placement::replay::Replayed;

/// Time, memory and channels of a device.
pub(super) fn explain(
    replayed: &Replayed,
    name: &str,
    rows: Rows,
    page: &Page,
) -> Result<Value, Diagnostic> {
    let problem = &replayed.on.loaded.problem;
    let names = problem.cluster.devices.iter().map(|device| device.name.as_str());
    let id = DeviceId::new(position_of("unknown-device", "device", name, names)?);
    let Some(report) = replayed.report.devices.get(id.index()) else {
        return Err(Diagnostic::usage("unknown-device", format!("no device `{name}`")));
    };
    let device = &problem.cluster.devices[id.index()];
    let step = replayed.timeline.step_time;
    page.line(&format!("{name} ({})", problem.cluster.kind_of(id).name));
    times(replayed, report, step, rows, page);
    let lines = memory::peak(problem, &replayed.on.plan, &replayed.timeline, report);
    memory(device, report, &lines, page);
    holdings(replayed, report, rows, page);
    let channels = channels(replayed, id);
    print_channels(replayed, &channels, step, page);
    Ok(json!({
        "device": name,
        "kind": problem.cluster.kind_of(id).name,
        "step_time": Duration::from_ns(step.get()),
        "compute": Duration::from_ns(report.compute_ns),
        "communication": Duration::from_ns(report.communication_ns),
        "idle": Duration::from_ns(report.idle_ns),
        "origins": crate::kinds::placement::trust::documents(&report.origins),
        "peak": {
            "bytes": report.peak.bytes,
            "at": Duration::from_ns(report.peak.at),
            "lines": lines.iter().map(|line| json!({
                "name": line.name,
                "bytes": line.bytes,
                "count": line.n,
                "source": line.source,
            })).collect::<Vec<_>>(),
        },
        "capacity_bytes": device.capacity.map(Bytes::get),
        "context_bytes": device.context.get(),
        "reserve_bytes": device.reserve.get(),
        "limit_bytes": report.limit,
        "channels": channels.iter().map(|link| json!({
            "channel": problem.cluster.links.channels[link.channel.index()].name,
            "busy": Duration::from_ns(link.busy_ns),
            "bytes": link.bytes,
            "transfers": link.n_transfers,
        })).collect::<Vec<_>>(),
    }))
}

/// Computing by type of op, and what is left of the step.
fn times(replayed: &Replayed, report: &DeviceReport, step: Nanos, rows: Rows, page: &Page) {
    let problem = &replayed.on.loaded.problem;
    let span = |op: OpId| replayed.timeline.ops.get(op.index()).copied().flatten();
    let actions = replayed.on.plan.schedule.actions.get(report.device.index());
    let mut types: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
    for Action::Op(op) in actions.into_iter().flatten() {
        let entry = types.entry(problem.graph.op(*op).op_type.as_str()).or_default();
        entry.0 += 1;
        entry.1 += span(*op).map_or(0, |span| span.end - span.start);
    }
    let mut types: Vec<(&str, (usize, u64))> = types.into_iter().collect();
    types.sort_by(|a, b| b.1.1.cmp(&a.1.1).then(a.0.cmp(b.0)));
    let row = |name: String, count: String, ns: u64| {
        vec![name, count, Nanos(ns).to_string(), share(ns, step)]
    };
    let shown = rows.shown(types.len());
    let mut lines: Vec<Vec<String>> = types[..shown]
        .iter()
        .map(|(name, (n, ns))| row(format!("  {name}"), n.to_string(), *ns))
        .collect();
    if shown < types.len() {
        let rest = &types[shown..];
        let (n, ns) = rest.iter().fold((0, 0), |sum, (_, (n, ns))| (sum.0 + n, sum.1 + ns));
        let name = format!("  {} more types (--all)", rest.len());
        lines.push(row(name, n.to_string(), ns));
    }
    lines.insert(0, row("compute".to_owned(), String::new(), report.compute_ns));
    let exposed = "communication without compute".to_owned();
    lines.push(row(exposed, String::new(), report.communication_ns));
    lines.push(row("idle".to_owned(), String::new(), report.idle_ns));
    lines.push(row("step".to_owned(), String::new(), step.get()));
    let columns = [
        Column::Text("time"),
        Column::Number("ops"),
        Column::Number(""),
        Column::Number("of step"),
    ];
    page.table(&columns, lines);
    if report.origins.total() > 0 {
        page.line(&format!(
            "origin of times: {}",
            crate::kinds::placement::trust::words(&report.origins)
        ));
    }
    page.text("\n");
}

/// The peak line by line, and what the device has.
fn memory(device: &Device, report: &DeviceReport, lines: &[MemoryLine], page: &Page) {
    let columns = Column::row("memory at the peak | #size | #count | rule");
    let at = |line: &MemoryLine| match line.name {
        "total" => format!("at {} of the step", Nanos(report.peak.at)),
        _ => line.source.to_owned(),
    };
    let rows = lines.iter().map(|line| {
        let size = Bytes(line.bytes).to_string();
        vec![line.name.to_owned(), size, line.n.to_string(), at(line)]
    });
    page.table(&columns, rows.collect());
    page.text("\n");
    let Some(capacity) = device.capacity else {
        page.line("its memory is unlimited");
        return;
    };
    let columns = [Column::Text("memory of the device"), Column::Number("size"), Column::Text("")];
    let line = |name: &str, bytes: Bytes, rule: &str| {
        vec![name.to_owned(), bytes.to_string(), rule.to_owned()]
    };
    let limit = Bytes(report.limit.unwrap_or(u64::MAX));
    let rows = vec![
        line("capacity", capacity, "cluster file or catalogue"),
        line("- context", device.context, "driver and libraries: cluster file or default"),
        line("- reserve", device.reserve, "kept free: cluster file or default"),
        line("limit", limit, "what a plan may use (rule M5)"),
        line("free at the peak", limit - Bytes(report.peak.bytes), ""),
    ];
    page.table(&columns, rows);
    page.text("\n");
}

/// The largest things that lie there.
fn holdings(replayed: &Replayed, report: &DeviceReport, rows: Rows, page: &Page) {
    let problem = &replayed.on.loaded.problem;
    let holdings =
        alive(problem, &replayed.on.plan, &replayed.timeline, report.device, report.peak.at);
    if holdings.is_empty() {
        return;
    }
    let columns = [Column::Name("largest at the peak"), Column::Text("as"), Column::Number("size")];
    let lines = holdings.iter().map(|holding| {
        let size = Bytes(holding.bytes).to_string();
        vec![holding.name.clone(), holding.what.name().to_owned(), size]
    });
    rows.table(&columns, lines, page);
}

/// Channels that start or end at the device and carry anything.
fn channels(replayed: &Replayed, device: DeviceId) -> Vec<LinkReport> {
    let links = &replayed.on.loaded.problem.cluster.links;
    let tiers = device.index() * links.n_tiers..(device.index() + 1) * links.n_tiers;
    let is_at_device = |link: &&LinkReport| {
        [&links.send, &links.receive]
            .into_iter()
            .any(|ends| ends.get(tiers.clone()).is_some_and(|ends| ends.contains(&link.channel)))
    };
    replayed.report.links.iter().filter(is_at_device).copied().collect()
}

fn print_channels(replayed: &Replayed, channels: &[LinkReport], step: Nanos, page: &Page) {
    if channels.is_empty() {
        return;
    }
    let columns = Column::row("@channel | #busy | #of step | #bytes | #transfers");
    let names = &replayed.on.loaded.problem.cluster.links.channels;
    let row = |link: &LinkReport| {
        vec![
            names[link.channel.index()].name.clone(),
            Nanos(link.busy_ns).to_string(),
            share(link.busy_ns, step),
            Bytes(link.bytes).to_string(),
            link.n_transfers.to_string(),
        ]
    };
    page.text("\n");
    page.table(&columns, channels.iter().map(row).collect());
}
