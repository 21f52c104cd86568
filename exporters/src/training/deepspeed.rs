//! What DeepSpeed needs for a plan: a `ds_config` of what the plan decides, and beside it what the
//! program that calls `deepspeed.initialize` builds.
//!
//! In a pipeline that is a `PipelineModule` on `PipeModelDataParallelTopology(**topology)`. It takes no
//! list of cuts, so `parts` is for a subclass whose `_partition_layers` sets it
//! (`deepspeed/runtime/pipe/module.py`). It counts the layers `[embedding, block 0, ..., head]`: bound k
//! is the first layer of stage k. Without a pipeline tensor ranks are those of its AutoTP.

use ir::card::{SequenceParallel, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::plan::Parallelism;
use ir::tensor::DType;
use ir::workload::Optimizer;
use serde_json::{Map, Value, json};

use super::field::fields;
use super::target::{
    Lack, Policy, TrainingSource, TrainingTarget, blocks, is_outside, only_one, refused, shares,
    whole_blocks_again,
};
use crate::format::Export;

const TARGET: &str = "deepspeed";

/// Its row.
pub(crate) const ROW: TrainingTarget = TrainingTarget {
    versions: &["0.19"],
    file_name: "deepspeed.json",
    summary: "ds_config of DeepSpeed, topology and stage bounds of its PipelineModule",
    expresses: fields![
        Data Tensor Pipeline Blocks Schedule MicroBatch MicroBatches GlobalBatch Zero Sequence
        Recompute ElementType Offload
    ],
    offloaded: Some(accepts_offloaded),
    lacks: &[Lack::Parts, Lack::Adafactor],
    recomputes: Some(&[Policy::None, Policy::Full]),
    types: Some(&[DType::Bf16, DType::F16, DType::F32]),
    launches: Some(&["megatron-deepspeed-2021"]),
    ..TrainingTarget::of(TARGET, accepts, export)
};

/// It runs 1F1B with pipeline ranks outermost, and has no word for context and expert ranks.
fn accepts(degrees: &Parallelism, schedule: &str) -> bool {
    let in_pipeline = schedule == "1f1b" && !is_shared_otherwise(degrees);
    degrees.context == 1
        && degrees.expert == 1
        && (degrees.pipeline == 1 || in_pipeline)
        && !is_outside(degrees)
        && !splits_sequences(degrees)
}

/// Whether replicas of a pipeline share out anything but the optimizer states: its engine refuses to
/// shard gradients, and its optimizer for bf16 shards the states whatever the stage
/// (`deepspeed/runtime/engine.py`, `_do_optimizer_sanity_check`).
fn is_shared_otherwise(degrees: &Parallelism) -> bool {
    degrees.zero >= ZeroStage::Gradients || degrees.zero == ZeroStage::None && degrees.data > 1
}

/// Whether AutoTP's ranks, which all hold whole sequences, are to split them.
fn splits_sequences(degrees: &Parallelism) -> bool {
    degrees.pipeline == 1 && degrees.tensor > 1 && degrees.sequence == SequenceParallel::On
}

/// Its optimizers that leave states on the hosts share them out.
fn accepts_offloaded(degrees: &Parallelism, schedule: &str) -> bool {
    shares(degrees) && accepts(degrees, schedule)
}

fn export(source: &TrainingSource<'_>) -> Result<Export, Diagnostic> {
    let degrees = &source.plan.parallelism;
    let counts = blocks(source.plan)?;
    check(source)?;
    let again = whole_blocks_again(source, TARGET)?;
    let has_pipeline = degrees.pipeline > 1;
    let mut document = json!({
        "topology": {
            "num_pp": degrees.pipeline,
            "num_mp": degrees.tensor,
            "num_dp": degrees.data,
        },
        "ds_config": config(source, again),
    });
    if has_pipeline {
        document["parts"] = json!(parts(&counts)?);
    } else {
        document["gradient_checkpointing"] = json!(again);
    }
    if has_pipeline && degrees.tensor > 1 {
        document["sequence_parallel"] = json!(degrees.sequence == SequenceParallel::On);
    }
    let warnings = warnings(source);
    Ok(Export { warnings, ..Export::from(format!("{document:#}\n")) })
}

/// The first layer of each stage, and the end.
fn parts(counts: &[u32]) -> Result<Vec<u32>, Diagnostic> {
    let (mut parts, mut end) = (vec![0], 0);
    for (stage, count) in counts.iter().enumerate() {
        let ends = u32::from(stage == 0) + u32::from(stage + 1 == counts.len());
        if count + ends == 0 {
            let why = format!("stage {stage} holds no layer, and so nothing to optimize");
            return Err(refused(TARGET, "empty stages", &why, "give each stage a block"));
        }
        end += count + ends;
        parts.push(end);
    }
    Ok(parts)
}

/// What DeepSpeed reads itself.
fn config(source: &TrainingSource<'_>, again: bool) -> Value {
    let degrees = &source.plan.parallelism;
    let has_pipeline = degrees.pipeline > 1;
    let mut config = json!({
        "train_micro_batch_size_per_gpu": degrees.micro_batch,
        "gradient_accumulation_steps": degrees.n_micro_batches,
        "zero_optimization": sharing(source),
        "bf16": { "enabled": source.dtype == DType::Bf16 },
        "fp16": { "enabled": source.dtype == DType::F16 },
    });
    if has_pipeline {
        config["pipeline"] = json!({ "activation_checkpoint_interval": u8::from(again) });
    } else if degrees.tensor > 1 {
        config["tensor_parallel"] = json!({ "autotp_size": degrees.tensor });
    }
    // Where AutoTP splits the model it takes every process for a replica, and would want as many
    // samples.
    if has_pipeline || degrees.tensor == 1 {
        let global = degrees.micro_batch * degrees.n_micro_batches * u64::from(degrees.data);
        config["train_batch_size"] = json!(global);
    }
    // Its ZeRO optimizers were tested with Adam, and want their own one on hosts.
    if source.optimizer != Optimizer::AdamW && stage(source) >= ZeroStage::Optimizer {
        config["zero_allow_untested_optimizer"] = json!(true);
        config["zero_force_ds_cpu_optimizer"] = json!(!source.offloads);
    }
    // Otherwise it sums and exchanges gradients in the type of the run.
    if sums_wide(source) && can_sum_wide(source) {
        config["data_types"] = json!({ "grad_accum_dtype": "fp32" });
        config["communication_data_type"] = json!("fp32");
    }
    config
}

/// Whether gradients are summed in more bits than the run computes in.
fn sums_wide(source: &TrainingSource<'_>) -> bool {
    source.stack.gradients == DType::F32 && source.dtype != DType::F32
}

/// Its optimizers without ZeRO sum gradients in the type of the run.
fn can_sum_wide(source: &TrainingSource<'_>) -> bool {
    stage(source) >= ZeroStage::Optimizer
}

/// The stage of ZeRO. States are left on the hosts by its ZeRO optimizers alone, and one replica of a
/// pipeline has its states to itself under any.
fn stage(source: &TrainingSource<'_>) -> ZeroStage {
    match source.offloads {
        true => source.plan.parallelism.zero.max(ZeroStage::Optimizer),
        false => source.plan.parallelism.zero,
    }
}

fn sharing(source: &TrainingSource<'_>) -> Map<String, Value> {
    let stage = stage(source);
    let mut sharing = Map::from_iter([("stage".to_owned(), json!(stage as u8))]);
    if source.offloads {
        sharing.insert("offload_optimizer".to_owned(), json!({ "device": "cpu" }));
    }
    if can_overlap(source) {
        // Parameters are gathered beside the passes under any stack.
        let is_beside = source.stack.overlap_data > 0.0 || stage == ZeroStage::Parameters;
        sharing.insert("overlap_comm".to_owned(), json!(is_beside));
    }
    sharing
}

/// Its pipelines exchange gradients after the passes, and so does what does without ZeRO.
fn can_overlap(source: &TrainingSource<'_>) -> bool {
    source.plan.parallelism.pipeline == 1 && stage(source) >= ZeroStage::Optimizer
}

/// What the prediction takes for granted and DeepSpeed does otherwise.
fn warnings(source: &TrainingSource<'_>) -> Vec<Diagnostic> {
    let overlaps = source.stack.overlap_data > 0.0 && source.plan.parallelism.data > 1;
    let otherwise = [
        (
            overlaps && !can_overlap(source),
            "gradients that are exchanged beside the backward pass: here they are after it",
        ),
        (
            sums_wide(source) && !can_sum_wide(source),
            "gradients that are summed in 32 bits: without ZeRO they have the type of the run",
        ),
    ];
    let said = otherwise.iter().filter(|(is, _)| *is).map(|(_, what)| {
        Diagnostic::warning("not-in-file", format!("the file says nothing of {what}"))
            .hint("plan with `--stack megatron-deepspeed-2021`, which prices what it runs")
    });
    said.collect()
}

/// Refuses what it can't run.
fn check(source: &TrainingSource<'_>) -> Result<(), Diagnostic> {
    let degrees = &source.plan.parallelism;
    only_one(TARGET, "context", degrees.context)?;
    only_one(TARGET, "expert", degrees.expert)?;
    let of_pipeline = |part: &str, why: &str, hint: &str| match degrees.pipeline > 1 {
        true => Err(refused(TARGET, part, why, hint)),
        false => Ok(()),
    };
    if source.schedule != "1f1b" {
        let part = format!("the schedule `{}`", source.schedule);
        of_pipeline(&part, "it runs 1F1B", "plan with `--pin schedule=1f1b`")?;
    }
    if degrees.zero >= ZeroStage::Gradients {
        let part = "ZeRO 2 or 3 in a pipeline";
        of_pipeline(part, "its pipeline takes ZeRO 1 at most", "plan with `--pin zero=1`")?;
    }
    if is_shared_otherwise(degrees) {
        let why = "its pipeline in bf16 shares the states out at any stage";
        of_pipeline("ZeRO 0 in a pipeline", why, "plan with `--pin zero=1`")?;
    }
    if is_outside(degrees) {
        let why = "pipeline ranks are the outermost axis of its topology";
        let hint = "plan with `--pin mesh=data-inside`";
        return Err(refused(TARGET, "replicas outside the pipeline", why, hint));
    }
    if splits_sequences(degrees) {
        let why = "its AutoTP holds whole sequences on every tensor rank";
        let part = "split sequences on tensor ranks without a pipeline";
        return Err(refused(TARGET, part, why, "plan with `--pin sequence-parallel=off`"));
    }
    if !matches!(source.dtype, DType::Bf16 | DType::F16 | DType::F32) {
        let why = "it computes in bf16, fp16 or fp32";
        let part = source.dtype.to_string();
        return Err(refused(TARGET, &part, why, "plan with `--dtype bf16`"));
    }
    Ok(())
}
