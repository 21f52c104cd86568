//! What DeepSpeed needs for a plan: the bounds of a `PipelineModule`, its topology, and the parts of
//! `ds_config` that the plan decides.
//!
//! `PipelineModule` takes no list of cuts, so `parts` is for a subclass whose `_partition_layers`
//! sets it (`deepspeed/runtime/pipe/module.py`). It counts the layers `[embedding, block 0, ...,
//! head]`: bound k is the first layer of stage k.

use ir::card::{Recompute, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::plan::Parallelism;
use ir::tensor::DType;
use serde_json::json;

use super::target::{TrainingSource, blocks, is_outside, only_one, recompute, refused, shares};
use crate::format::Export;

const TARGET: &str = "deepspeed";

/// It runs 1F1B, with ZeRO 1 at most, pipeline ranks outermost, and has no word for context and expert
/// ranks.
pub(super) fn accepts(degrees: &Parallelism, schedule: &str) -> bool {
    let in_pipeline = schedule == "1f1b" && degrees.zero <= ZeroStage::Optimizer;
    degrees.context == 1
        && degrees.expert == 1
        && (degrees.pipeline == 1 || in_pipeline)
        && !is_outside(degrees)
}

/// Its optimizers that leave states on the hosts share them out.
pub(super) fn accepts_offloaded(degrees: &Parallelism, schedule: &str) -> bool {
    shares(degrees) && accepts(degrees, schedule)
}

pub(super) fn export(source: &TrainingSource<'_>) -> Result<Export, Diagnostic> {
    let degrees = &source.plan.parallelism;
    let counts = blocks(source.plan)?;
    only_one(TARGET, "context", degrees.context)?;
    only_one(TARGET, "expert", degrees.expert)?;
    check_pipeline(source)?;
    if is_outside(degrees) {
        let why = "pipeline ranks are the outermost axis of its topology";
        let hint = "plan with `--pin mesh=data-inside`";
        return Err(refused(TARGET, "replicas outside the pipeline", why, hint));
    }
    let interval = interval(recompute(source, TARGET)?)?;
    let mut parts = vec![0u32];
    for (stage, count) in counts.iter().enumerate() {
        let ends = u32::from(stage == 0) + u32::from(stage + 1 == counts.len());
        parts.push(parts.last().unwrap_or(&0) + count + ends);
    }
    if !matches!(source.dtype, DType::Bf16 | DType::F16 | DType::F32) {
        let why = "it computes in bf16, fp16 or fp32";
        let part = source.dtype.to_string();
        return Err(refused(TARGET, &part, why, "plan with `--dtype bf16`"));
    }
    // States are left on the hosts by its ZeRO optimizers alone.
    let sharing = if source.offloads {
        json!({
            "stage": degrees.zero.max(ZeroStage::Optimizer) as u8,
            "offload_optimizer": { "device": "cpu" },
        })
    } else {
        json!({ "stage": degrees.zero as u8 })
    };
    let document = json!({
        "parts": parts,
        "topology": {
            "num_pp": degrees.pipeline,
            "num_mp": degrees.tensor,
            "num_dp": degrees.data,
        },
        "activation_checkpoint_interval": interval,
        "ds_config": {
            "train_batch_size":
                degrees.micro_batch * degrees.n_micro_batches * u64::from(degrees.data),
            "train_micro_batch_size_per_gpu": degrees.micro_batch,
            "gradient_accumulation_steps": degrees.n_micro_batches,
            "zero_optimization": sharing,
            "bf16": { "enabled": source.dtype == DType::Bf16 },
            "fp16": { "enabled": source.dtype == DType::F16 },
        },
    });
    Ok(Export::from(format!("{document:#}\n")))
}

/// What its pipeline runs.
fn check_pipeline(source: &TrainingSource<'_>) -> Result<(), Diagnostic> {
    let degrees = &source.plan.parallelism;
    if degrees.pipeline > 1 && source.schedule != "1f1b" {
        let part = format!("the schedule `{}`", source.schedule);
        return Err(refused(TARGET, &part, "it runs 1F1B", "plan with `--pin schedule=1f1b`"));
    }
    if degrees.pipeline > 1 && degrees.zero >= ZeroStage::Gradients {
        let why = "its pipeline takes ZeRO 1 at most";
        let part = "ZeRO 2 or 3 in a pipeline";
        return Err(refused(TARGET, part, why, "plan with `--pin zero=1`"));
    }
    Ok(())
}

/// Layers from one checkpoint to the next.
fn interval(policy: Recompute) -> Result<u32, Diagnostic> {
    match policy {
        Recompute::None => Ok(0),
        Recompute::Full => Ok(1),
        Recompute::Uniform { blocks } => Ok(blocks),
        Recompute::Selective | Recompute::PerOp | Recompute::Block { .. } => {
            let why = "it checkpoints every so many layers";
            let part = "recompute of a part of a block or of some blocks";
            Err(refused(TARGET, part, why, "plan with `--pin recompute=full`"))
        }
    }
}
