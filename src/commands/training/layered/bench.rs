//! `bench layered`: Galvatron's llama2-7b case on its own measured layers, its plan and ours judged
//! alike.

use std::fmt::Write;
use std::time::Instant;

use cost_model::runs::forms::model::Offload;
use cost_model::runs::judge::judge_plan;
use cost_model::runs::measured::{LayerPricing, judged};
use importers::launcher::{self, Launcher};
use ir::card::{Attention, FeedForward, Head, ModelCard, TransformerCard};
use ir::diagnostic::Diagnostic;
use ir::layers::LayerProfile;
use ir::plan::Plan;
use ir::units::{Bytes, Nanos};
use planner::training::per_layer::least::least;
use planner::training::per_layer::{Judged, Options, solve};
use planner::training::search_3d::space::{Pins, Space};
use serde_json::{Value, json};

use super::super::compare::{Target, plan_of};
use super::found::degrees;
use crate::artifact::{self, Existing};
use crate::bench_flags::BenchArgs;
use crate::commands::{CommandResult, Exit};
use crate::printer::Printer;
use crate::table::Column;

/// Galvatron's plan at 20 GB.
const THEIRS: &str = include_str!("../../../../examples/galvatron/llama2-7b-20gib.json");
/// Samples of a step, tokens of a sample, devices, all of one host.
const GLOBAL_BATCH: u64 = 64;
const SEQUENCE: u64 = 2048;
const N_DEVICES: u32 = 8;
/// Limits in GiB with what Galvatron says of them (two busy cores; the case's README).
const LIMITS: [(u64, &str, &str); 4] = [
    (38, "no plan within 180 s", "--no-offload"),
    (20, "77.7", "--no-offload"),
    (8, "24.8, no plan, no reason", "--no-offload"),
    (8, "", "offload"),
];

/// A row of the table.
struct Row {
    limit_gib: u64,
    theirs_cpu: &'static str,
    mode: &'static str,
    elapsed_s: f64,
    ours: Option<Judged>,
    /// Step time of Galvatron's plan by our judge, where it fits.
    theirs: Option<Nanos>,
    /// By stage, bytes at the peak of their plan.
    peaks: Vec<u64>,
    short_of: Option<Bytes>,
}

/// Runs all limits.
pub(crate) fn run(args: &BenchArgs, printer: &Printer) -> CommandResult {
    let existing = Existing::of(args.force);
    let outputs: Vec<_> = args.output.iter().map(std::path::PathBuf::as_path).collect();
    artifact::check(&outputs, &[], existing)?;
    let profile = importers::layers::read(&args.folder, SEQUENCE)?;
    let rows: Result<Vec<Row>, Diagnostic> =
        LIMITS.into_iter().map(|limit| row(&profile, limit)).collect();
    let rows = rows?;
    let columns = [
        Column::Number("limit"),
        Column::Text(""),
        Column::Text("Galvatron, CPU s"),
        Column::Number("ours, s"),
        Column::Number("its step"),
        Column::Number("our step"),
        Column::Number("ours is faster by"),
        Column::Text("our plan"),
    ];
    printer.table(&columns, rows.iter().map(cells).collect());
    if let Some(path) = &args.output {
        artifact::write_all(&[(path.clone(), markdown(&rows).into_bytes())], existing)?;
        printer.talk(&format!("wrote {}", path.display()));
    }
    printer.document(&json!({ "galvatron": rows.iter().map(document).collect::<Vec<_>>() }));
    Ok(Exit::DONE)
}

/// Llama-2 7B (Touvron et al. 2023, table 1 of arXiv:2302.13971 for the widths).
fn model() -> ModelCard {
    ModelCard::uniform(TransformerCard {
        name: "llama-2-7b".to_owned(),
        n_layers: 32,
        hidden: 4096,
        n_heads: 32,
        n_kv_heads: 32,
        feed_forward: 11_008,
        form: FeedForward::Gated,
        sequence: SEQUENCE,
        vocabulary: 32_000,
        experts: None,
        attention: Attention::Even,
        head: Head::Separate,
    })
}

fn row(
    profile: &LayerProfile,
    (limit_gib, theirs_cpu, mode): (u64, &'static str, &'static str),
) -> Result<Row, Diagnostic> {
    let model = model();
    let pricing = LayerPricing {
        profile,
        model: &model,
        per_host: N_DEVICES,
        limit: Some(Bytes(limit_gib << 30)),
        host_memory: &[],
        offload: if mode == "offload" { Offload::Optimizer } else { Offload::Nothing },
    };
    pricing.check()?;
    let space =
        Space { devices: vec![N_DEVICES], global_batch: GLOBAL_BATCH, pins: Pins::default() };
    let start = Instant::now();
    let found = solve(&pricing, &space, &Options::default())?;
    let needs = if found.best.is_none() { least(&pricing, &space) } else { None };
    let elapsed_s = start.elapsed().as_secs_f64();
    let beside = &ir::plan::Parallelism::default();
    let n_devices = u64::from(N_DEVICES);
    let target = Target { n_devices, model: &model, global_batch: GLOBAL_BATCH, beside };
    let plan = plan_of(&launcher::read(Launcher::Galvatron, THEIRS)?, &target)?;
    let (step, peaks) = judged_plan(&pricing, &plan)?;
    let fits = peaks.iter().all(|peak| *peak <= limit_gib << 30);
    Ok(Row {
        limit_gib,
        theirs_cpu,
        mode,
        elapsed_s,
        theirs: fits.then_some(step),
        peaks,
        short_of: needs.map(|needs| Bytes(needs.most().0.saturating_sub(limit_gib << 30))),
        ours: found.best,
    })
}

/// Step time and peaks of a plan.
fn judged_plan(pricing: &LayerPricing<'_>, plan: &Plan) -> Result<(Nanos, Vec<u64>), Diagnostic> {
    let costs = judged::costs(pricing, plan)?;
    let judged = judge_plan(&costs, plan);
    let report = judged.map_err(|violation| violation.diagnostic())?.report;
    Ok((report.step_time, report.ranks.iter().map(|rank| rank.peak.bytes).collect()))
}

fn cells(row: &Row) -> Vec<String> {
    let step = |step: Option<Nanos>| step.map_or_else(String::new, |step| step.to_string());
    let ours = row.ours.as_ref().map(|ours| ours.step);
    let margin = row.theirs.zip(ours).map(|(theirs, ours)| theirs.seconds() / ours.seconds());
    let answer = match (&row.ours, row.short_of) {
        (Some(ours), _) => degrees(&ours.degrees),
        (None, Some(bytes)) => format!("none: short of {} bytes ({bytes})", bytes.0),
        (None, None) => "none".to_owned(),
    };
    vec![
        format!("{} GiB", row.limit_gib),
        row.mode.to_owned(),
        row.theirs_cpu.to_owned(),
        format!("{:.3}", row.elapsed_s),
        step(row.theirs),
        step(ours),
        margin.map_or_else(String::new, |times| format!("{:.1} %", 100.0 * (times - 1.0))),
        answer,
    ]
}

fn markdown(rows: &[Row]) -> String {
    let mut text = String::from(
        "| limit | | Galvatron, CPU s | ours, s | its step | our step | faster by | our plan |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let _ = writeln!(text, "| {} |", cells(row).join(" | "));
    }
    text
}

fn document(row: &Row) -> Value {
    json!({
        "limit_bytes": row.limit_gib << 30,
        "mode": row.mode,
        "galvatron": row.theirs_cpu,
        "elapsed_s": row.elapsed_s,
        "their_step_s": row.theirs.map(Nanos::seconds),
        "their_peak_bytes": row.peaks,
        "our_step_s": row.ours.as_ref().map(|ours| ours.step.seconds()),
        "our_peak_bytes": row.ours.as_ref().map(|ours| ours.peak),
        "short_of_bytes": row.short_of.map(|bytes| bytes.0),
        "our_plan": row.ours.as_ref().map(|ours| degrees(&ours.degrees)),
        "our_stages": row.ours.as_ref().map(|ours| {
            ours.stages.iter().map(|stage| {
                json!({ "n_blocks": stage.blocks, "n_recomputed": stage.again,
                    "n_zero3": stage.gathered })
            }).collect::<Vec<_>>()
        }),
    })
}
