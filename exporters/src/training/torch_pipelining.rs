//! Schedule CSV of torch.distributed.pipelining, dialect `compute_only`: a row per rank, cells such
//! as `2F0`; torch adds communication and sharding itself. Read with
//! `_PipelineScheduleRuntime(stages, n_microbatches)._load_csv(path)` (torch 2.15,
//! `torch/distributed/pipelining/schedules.py`).

use std::collections::BTreeMap;

use ir::diagnostic::Diagnostic;
use ir::grid::{Grid, Pass};
use ir::plan::Parallelism;
use serde_json::json;

use super::field::fields;
use super::target::{Lack, TrainingSource, TrainingTarget, refused};
use crate::format::Export;

const TARGET: &str = "torch-pipelining";
const SPLITS: &str = "torch-split-points";

/// Stacks of PyTorch's own pipelines.
const STACKS: &[&str] =
    &["pytorch-eager", "pytorch-cpu", "compiled", "transformers-eager", "transformers-compiled"];

/// Its row.
pub(crate) const ROW: TrainingTarget = TrainingTarget {
    versions: &["2.15"],
    file_name: "schedule.csv",
    summary: "schedule of torch.distributed.pipelining (compute_only CSV)",
    expresses: fields![Pipeline VirtualStages Schedule MicroBatches],
    offloaded: Some(accepts),
    launches: Some(STACKS),
    ..TrainingTarget::of(TARGET, accepts, export)
};

/// Its row.
pub(crate) const SPLITS_ROW: TrainingTarget = TrainingTarget {
    name: SPLITS,
    file_name: "split_points.json",
    summary: "split points of torch.distributed.pipelining: where each stage of a graph begins",
    expresses: fields![Pipeline VirtualStages Blocks],
    lacks: &[Lack::Config],
    export: split_points,
    ..ROW
};

/// Torch recomputes inside the backward pass, and holds each stage once.
pub(super) fn accepts(_: &Parallelism, schedule: &str) -> bool {
    !["1f1b-early-recompute", "shifted"].contains(&schedule)
}

/// The schedule grid, checked against the rules of torch.
fn export(source: &TrainingSource<'_>) -> Result<Export, Diagnostic> {
    let Some(grid) = &source.plan.schedule.grid else {
        return Err(refused(
            TARGET,
            "a plan without a pipeline schedule",
            "there is no grid",
            "plan a training run",
        ));
    };
    text(grid).map(Export::from)
}

/// Where each stage begins, the first one excepted: `split_spec` of
/// `torch.distributed.pipelining.pipeline` takes the modules as keys, with `SplitPoint.BEGINNING`.
fn split_points(source: &TrainingSource<'_>) -> Result<Export, Diagnostic> {
    super::target::blocks(source.plan)?;
    let planned = &source.plan.partition.stages;
    if let Some(stage) = planned.iter().position(|stage| stage.blocks.is_empty()) {
        let why = format!("stage {stage} holds none");
        return Err(refused(SPLITS, "stages without blocks", &why, "give each stage a block"));
    }
    let mut stages = Vec::new();
    for (number, stage) in source.plan.partition.stages.iter().enumerate() {
        let Some(start) = source.starts.get(stage.blocks.start as usize) else {
            let why = "a stage begins behind the last block";
            return Err(refused(SPLITS, "this plan", why, "plan the model again"));
        };
        stages.push(
            json!({ "stage": number, "begins_at": start, "first_block": stage.blocks.start }),
        );
    }
    let later = source.plan.partition.stages.iter().skip(1);
    let splits: serde_json::Map<String, serde_json::Value> = later
        .filter_map(|stage| source.starts.get(stage.blocks.start as usize))
        .map(|start| (start.clone(), json!("BEGINNING")))
        .collect();
    let document = json!({ "split_spec": splits, "stages": stages });
    Ok(Export::from(format!("{document:#}\n")))
}

/// The grid in torch's grammar.
///
/// # Errors
/// `cannot-express` for explicit recompute, and for a stage that lies on two ranks.
pub(super) fn text(grid: &Grid) -> Result<String, Diagnostic> {
    let mut rank_of = BTreeMap::new();
    for (rank, row) in grid.rows.iter().enumerate() {
        for cell in row {
            if cell.pass == Pass::Recompute {
                let why = format!("rank {rank} has the cell {cell}");
                let hint =
                    "plan with `--pin schedule=1f1b`: torch recomputes inside the backward pass";
                return Err(refused(TARGET, "recompute as a cell of its own", &why, hint));
            }
            let holder = *rank_of.entry(cell.stage).or_insert(rank);
            if holder != rank {
                let why = format!("stage {} lies on ranks {holder} and {rank}", cell.stage.0);
                let hint = "plan with a schedule that holds each stage once, such as `dualpipe-v`";
                return Err(refused(TARGET, "a stage on two ranks", &why, hint));
            }
        }
    }
    if grid.rows.iter().any(Vec::is_empty) {
        let why = "a rank does nothing";
        return Err(refused(TARGET, "idle ranks", why, "give each rank a stage"));
    }
    Ok(grid.to_string())
}
