//! `galvatron_config_*.json` of Hetu-Galvatron: one parallel strategy per layer, lists between commas
//! (`utils/config_utils.py`, Apache-2.0).

use ir::card::{Recompute, SequenceParallel, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::plan::{BlockPolicy, Mesh, Parallelism};
use serde_json::json;

use super::field::fields;
use super::target::{Lack, TrainingSource, TrainingTarget, blocks, only_one, refused};
use crate::format::Export;

const TARGET: &str = "galvatron";

/// Its row.
pub(crate) const ROW: TrainingTarget = TrainingTarget {
    versions: &["2.4"],
    file_name: "galvatron_config.json",
    summary: "parallel strategy of each layer for Hetu-Galvatron",
    expresses: fields![
        Tensor Pipeline Blocks BlockPolicies Schedule MicroBatches GlobalBatch Zero Sequence
    ],
    offloaded: Some(accepts),
    lacks: &[Lack::Parts, Lack::Predicting, Lack::Selective, Lack::PerOp],
    // Its layers are those of Megatron.
    launches: Some(&["megatron-core"]),
    ..TrainingTarget::of(TARGET, accepts, export)
};

/// It runs 1F1B and GPipe on tensor ranks that split the sequence, replicas inside, with one default
/// below ZeRO-3.
fn accepts(degrees: &Parallelism, schedule: &str) -> bool {
    let only_one = [degrees.context, degrees.expert, degrees.virtual_stages];
    let is_inside = degrees.mesh == Mesh::TpCpDpPp || degrees.pipeline == 1 || degrees.data == 1;
    only_one.iter().all(|degree| *degree <= 1)
        && (degrees.pipeline == 1 || ["1f1b", "gpipe"].contains(&schedule))
        && is_inside
        && (degrees.tensor == 1 || degrees.sequence != SequenceParallel::Off)
        && degrees.zero != ZeroStage::Optimizer
}

fn export(source: &TrainingSource<'_>) -> Result<Export, Diagnostic> {
    let degrees = &source.plan.parallelism;
    let counts = blocks(source.plan)?;
    only_one(TARGET, "context", degrees.context)?;
    only_one(TARGET, "expert", degrees.expert)?;
    only_one(TARGET, "virtual-stages", degrees.virtual_stages)?;
    let pipeline_type = match source.schedule {
        "1f1b" => "pipedream_flush",
        "gpipe" => "gpipe",
        other => {
            let part = format!("the schedule `{other}`");
            let hint = "plan with `--pin schedule=1f1b`";
            return Err(refused(TARGET, &part, "it runs 1F1B and GPipe", hint));
        }
    };
    if degrees.mesh != Mesh::TpCpDpPp && degrees.pipeline > 1 && degrees.data > 1 {
        let hint = "plan with `--pin mesh=data-inside`";
        return Err(refused(TARGET, "pipelines inside hosts", "replicas come first", hint));
    }
    if degrees.tensor > 1 && degrees.sequence == SequenceParallel::Off {
        let hint = "plan with `--pin sequence-parallel=on`";
        return Err(refused(TARGET, "whole sequences", "its files split the sequence", hint));
    }
    let policies = policies(source)?;
    let default = default_zero(source, &policies)?;
    let list = |of: &dyn Fn(&BlockPolicy) -> u32| {
        policies.iter().map(|policy| of(policy).to_string()).collect::<Vec<_>>().join(",")
    };
    let is_ulysses = degrees.tensor > 1 && degrees.sequence == SequenceParallel::Ulysses;
    let gathered = |policy: &BlockPolicy| policy.zero == ZeroStage::Parameters;
    let document = json!({
        "pp_deg": degrees.pipeline,
        "tp_sizes_enc": list(&|_| degrees.tensor),
        "tp_consecutive_flags": list(&|_| 1),
        "cp_sizes_enc": list(&|_| 1),
        "dp_types_enc": list(&|policy| u32::from(gathered(policy) && default != "zero3")),
        "use_sp": list(&|_| u32::from(is_ulysses)),
        "checkpoint": list(&|policy| u32::from(policy.recompute != Recompute::None)),
        "global_bsz": degrees.micro_batch * degrees.n_micro_batches * u64::from(degrees.data),
        "chunks": degrees.n_micro_batches,
        "pp_division": counts.iter().map(u32::to_string).collect::<Vec<_>>().join(","),
        "pipeline_type": pipeline_type,
        "default_dp_type": default,
        "vtp": degrees.vocabulary.unwrap_or(degrees.tensor),
        "vsp": u32::from(is_ulysses && degrees.vocabulary.is_none()),
        "embed_sdp": u32::from(degrees.zero == ZeroStage::Parameters),
    });
    Ok(Export::from(format!("{document:#}\n")))
}

/// What is done with each block.
fn policies(source: &TrainingSource<'_>) -> Result<Vec<BlockPolicy>, Diagnostic> {
    let plan = source.plan;
    for stage in &plan.partition.stages {
        if matches!(
            stage.recompute,
            Recompute::Selective | Recompute::PerOp | Recompute::Uniform { .. }
        ) {
            let why = "it computes whole layers again, each for itself";
            let part = "recompute of a part of a block or of groups of blocks";
            return Err(refused(TARGET, part, why, "plan with `--pin recompute=full`"));
        }
    }
    let zero = plan.parallelism.zero;
    Ok(plan.partition.stages.iter().flat_map(|stage| stage.policies(zero)).collect())
}

/// The word for what is shared out of the ends and of blocks that do not say ZeRO-3.
fn default_zero(
    source: &TrainingSource<'_>,
    policies: &[BlockPolicy],
) -> Result<&'static str, Diagnostic> {
    let ends = source.plan.parallelism.zero;
    let others = policies.iter().map(|policy| policy.zero);
    let mut plain: Vec<ZeroStage> =
        others.chain([ends]).filter(|zero| *zero != ZeroStage::Parameters).collect();
    plain.sort_unstable();
    plain.dedup();
    match plain.as_slice() {
        [] => Ok("zero3"),
        [ZeroStage::None] => Ok("ddp"),
        [ZeroStage::Gradients] => Ok("zero2"),
        _ => {
            let hint = "plan with `--pin zero=2`";
            Err(refused(TARGET, "ZeRO 1, or several below 3", "it has one default", hint))
        }
    }
}
