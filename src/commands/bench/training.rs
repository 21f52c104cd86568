//! `bench training`: searches over all degrees beside what other systems do and publish.

use std::fmt::Write;

use cost_model::kernels::stack::megatron_deepspeed_2021;
use cost_model::runs::forms::constants::Constants;
use cost_model::runs::forms::model::Pricing;
use cost_model::runs::forms::system::System;
use cost_model::runs::memory::Reserve;
use ir::card::{
    Attention, FeedForward, Head, ModelCard, SequenceParallel, StateFormat, TransformerCard,
    ZeroStage,
};
use ir::cluster::Cluster;
use ir::diagnostic::Diagnostic;
use ir::profile::Profile;
use ir::stack::Stack;
use planner::training::order::Order;
use planner::training::search_3d::judge::Judged;
use planner::training::search_3d::space::{Again, Pins, Space, Split};
use planner::training::search_3d::{Options, solve};
use serde_json::{Value, json};

use crate::artifact::{self, Existing};
use crate::bench_flags::BenchArgs;
use crate::commands::training::degrees;
use crate::commands::{CommandResult, Exit};
use crate::printer::Printer;
use crate::table::Column;

/// The cluster of Merak's testbed.
const CLUSTER: &str = include_str!("../../../examples/clusters/merak.yaml");
/// Samples of a step: those of GPT-2 (Radford et al. 2019). The publication's own are not known.
const GLOBAL_BATCH: u64 = 512;
/// Share of exchanges that runs beside computing where something overlaps, as in the preset
/// `megatron-core`; *nominal*.
const OVERLAP: f64 = 0.9;
/// Share of tensor-parallel collectives that sub-micro-batches hide, where something overlaps;
/// *nominal*: one half of a block's collectives runs beside the other half's products.
const OVERLAP_TENSOR: f64 = 0.5;

/// A model of the comparison: name, blocks, hidden size, heads, and the published speed-up over the
/// best other system (Lai et al., TPDS 2023, abstract).
const MODELS: [(&str, u32, u64, u64, f64); 4] = [
    // GPT-2 XL (Radford et al. 2019).
    ("1.5B", 48, 1600, 25, 1.42),
    // Shoeybi et al. 2019, table 1.
    ("2.5B", 54, 1920, 20, 1.39),
    ("8.3B", 72, 3072, 24, 1.43),
    // GPT-NeoX (Black et al. 2022).
    ("20B", 44, 6144, 64, 1.61),
];

/// One step from the baseline to everything.
struct Freed {
    what: &'static str,
    pins: Pins,
    stack: Stack,
}

/// A row of the table.
struct Row {
    model: &'static str,
    published: f64,
    steps: Vec<(&'static str, Option<Judged>)>,
}

pub(super) fn run(args: &BenchArgs, printer: &Printer) -> CommandResult {
    let existing = Existing::of(args.force);
    let outputs: Vec<_> = args.output.iter().map(std::path::PathBuf::as_path).collect();
    artifact::check(&outputs, &[], existing)?;
    let rows = rows(printer)?;
    print(&rows, printer);
    if let Some(path) = &args.output {
        artifact::write_all(&[(path.clone(), markdown(&rows).into_bytes())], existing)?;
        printer.talk(&format!("wrote {}", path.display()));
    }
    printer.document(&json!({ "merak": rows.iter().map(document).collect::<Vec<_>>() }));
    Ok(Exit::DONE)
}

fn card(name: &str, n_layers: u32, hidden: u64, n_heads: u64) -> ModelCard {
    ModelCard::uniform(TransformerCard {
        name: name.to_owned(),
        n_layers,
        hidden,
        n_heads,
        n_kv_heads: n_heads,
        feed_forward: 4 * hidden,
        form: FeedForward::Plain,
        sequence: 1024,
        vocabulary: 50_257,
        experts: None,
        attention: Attention::Even,
        head: Head::Tied,
    })
}

/// From equal stages, late 1F1B, full recompute and no overlap to the whole space, one freedom after
/// the other.
fn freedoms() -> Vec<Freed> {
    let plain = megatron_deepspeed_2021();
    let overlapped =
        Stack { overlap_data: OVERLAP, overlap_tensor: OVERLAP_TENSOR, ..plain.clone() };
    let base = Pins {
        context: Some(1),
        orders: vec![Order::OneFOneB],
        again: Again::Full,
        zero: Some(ZeroStage::None),
        sequence: Some(SequenceParallel::Off),
        split: Some(Split::Equal),
        mesh: Some(ir::plan::Mesh::DataInside),
        ..Pins::default()
    };
    let fitted = Pins { again: Again::Fitted, ..base.clone() };
    let balanced = Pins { split: None, ..fitted.clone() };
    let ordered = Pins { orders: Vec::new(), ..balanced.clone() };
    let freed = |what, pins, stack: &Stack| Freed { what, pins, stack: stack.clone() };
    vec![
        freed("baseline", base, &plain),
        freed("recompute", fitted, &plain),
        freed("partition", balanced, &plain),
        freed("schedule", ordered.clone(), &plain),
        freed("overlap", ordered, &overlapped),
        freed("degrees", Pins::default(), &overlapped),
    ]
}

fn rows(printer: &Printer) -> Result<Vec<Row>, Diagnostic> {
    let cluster = importers::cluster::parse(CLUSTER, "merak.yaml", None)?;
    let system = System::of(&cluster, &Profile::default(), Default::default())
        .ok_or_else(|| Diagnostic::input("no-system", "the cluster has no device"))?;
    let row = |(name, layers, hidden, heads, published): &(&'static str, u32, u64, u64, f64)| {
        printer.talk(name);
        let model = card(name, *layers, *hidden, *heads);
        let steps = freedoms()
            .into_iter()
            .map(|freed| (freed.what, fastest(&model, &cluster, &system, &freed)))
            .collect();
        Row { model: name, published: *published, steps }
    };
    Ok(MODELS.iter().map(row).collect())
}

fn fastest(model: &ModelCard, cluster: &Cluster, system: &System, freed: &Freed) -> Option<Judged> {
    let constants = Constants::nominal(&freed.stack);
    let pricing = Pricing {
        format: StateFormat::HalfGradients,
        resident: Reserve::allocator_peak().allocator,
        limit: cluster.devices.iter().filter_map(ir::cluster::Device::memory_limit).min(),
        ..Pricing::unlimited(model, system, &freed.stack, &constants)
    };
    let devices = vec![u32::try_from(cluster.devices.len()).unwrap_or(u32::MAX)];
    let space = Space { devices, global_batch: GLOBAL_BATCH, pins: freed.pins.clone() };
    let one = Options { n_plans: 1, ..Options::default() };
    solve(&pricing, &space, &one).plans.into_iter().next()
}

/// By how much a plan is faster than the first one.
fn gain(row: &Row, index: usize) -> Option<f64> {
    let step = |index: usize| Some(row.steps.get(index)?.1.as_ref()?.step.seconds());
    Some(step(0)? / step(index)?)
}

fn cells(row: &Row) -> Vec<String> {
    let last = row.steps.len() - 1;
    let factor = |gain: Option<f64>| gain.map_or("none".to_owned(), |gain| format!("{gain:.2}"));
    let parts = (1..=last).map(|index| {
        let own = gain(row, index).zip(gain(row, index - 1)).map(|(now, before)| now / before);
        factor(own)
    });
    let step = row.steps[0].1.as_ref().map(|plan| plan.step.to_string()).unwrap_or_default();
    let told = |index: usize| {
        row.steps[index].1.as_ref().map(|plan| degrees(&plan.leaf)).unwrap_or_default()
    };
    let mut cells = vec![row.model.to_owned(), format!("{:.2}", row.published)];
    cells.push(factor(gain(row, last)));
    cells.extend(parts);
    cells.extend([step, told(0), told(last)]);
    cells
}

const TITLES: [&str; 11] = [
    "model",
    "published",
    "ours",
    "recompute",
    "partition",
    "schedule",
    "overlap",
    "degrees",
    "baseline step",
    "baseline plan",
    "our plan",
];

fn print(rows: &[Row], printer: &Printer) {
    let columns: Vec<Column> = TITLES
        .iter()
        .enumerate()
        .map(|(index, title)| match index {
            0 => Column::Name(title),
            1..=8 => Column::Number(title),
            _ => Column::Text(title),
        })
        .collect();
    printer.table(&columns[..9], rows.iter().map(|row| cells(row)[..9].to_vec()).collect());
    for row in rows {
        let cells = cells(row);
        printer.line(&format!("{}: baseline {}; ours {}", row.model, cells[9], cells[10]));
    }
}

const PREFACE: &str = "\
# Training benchmarks

Written by `meshwright bench training`. Merak's setting (`examples/clusters/merak.yaml`, 16 hosts of \
four 24 GB cards, 100 Gb/s; 512 samples of 1,024 tokens). The baseline is the best over all data, \
tensor and pipeline degrees and micro-batches of equal stages, late 1F1B, full recompute and no \
overlap, found by the same search; each further column is the factor that one more freedom brings, \
`degrees` being ZeRO, sequence and context parallelism and the mesh. Costs are nominal. The \
published speed-ups are over the best other system, measured.

";

fn markdown(rows: &[Row]) -> String {
    let mut text = PREFACE.to_owned();
    let _ = writeln!(text, "| {} |", TITLES.join(" | "));
    let _ = writeln!(text, "|{}", "---|".repeat(TITLES.len()));
    for row in rows {
        let _ = writeln!(text, "| {} |", cells(row).join(" | "));
    }
    text
}

fn document(row: &Row) -> Value {
    let steps: Vec<Value> = row
        .steps
        .iter()
        .map(|(what, plan)| {
            json!({
                "freed": what,
                "step_time_s": plan.as_ref().map(|plan| plan.step.seconds()),
                "plan": plan.as_ref().map(|plan| degrees(&plan.leaf)),
            })
        })
        .collect();
    json!({ "model": row.model, "published": row.published, "steps": steps })
}
