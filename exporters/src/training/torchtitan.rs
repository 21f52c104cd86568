//! Overrides of torchtitan (`torchtitan/config/configs.py`, ParallelismConfig), one per line.

use std::fmt::Write;

use ir::card::{Recompute, SequenceParallel, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::plan::{Mesh, Parallelism};
use ir::tensor::DType;

use super::target::{TrainingSource, blocks, recompute, refused};
use super::torch_pipelining;
use crate::format::Export;

const TARGET: &str = "torchtitan";

/// Our schedules under torch's names; the others go through a CSV.
const SCHEDULES: &[(&str, &str)] = &[
    ("1f1b", "1F1B"),
    ("gpipe", "GPipe"),
    ("interleaved", "Interleaved1F1B"),
    ("breadth-first", "LoopedBFS"),
    ("zb-v", "ZBVZeroBubble"),
    ("dualpipe-v", "DualPipeV"),
];

/// ZeRO 1 has no words, nor have replicas outside the pipeline.
pub(super) fn accepts(degrees: &Parallelism, schedule: &str) -> bool {
    !is_outside(degrees)
        && degrees.zero != ZeroStage::Optimizer
        && torch_pipelining::accepts(degrees, schedule)
}

/// Whether replicas lie outside the pipeline.
fn is_outside(degrees: &Parallelism) -> bool {
    degrees.mesh == Mesh::TpCpPpDp && degrees.pipeline > 1 && degrees.data > 1
}

pub(super) fn export(source: &TrainingSource<'_>) -> Result<Export, Diagnostic> {
    let degrees = &source.plan.parallelism;
    let counts = blocks(source.plan)?;
    if is_outside(degrees) {
        let why = "pipeline ranks are the outermost axis of its mesh";
        let part = "replicas outside the pipeline";
        return Err(refused(TARGET, part, why, "plan with `--pin mesh=data-inside`"));
    }
    let mut flags = axes(degrees)?;
    if degrees.pipeline > 1 {
        flags.extend(pipeline(source, &counts)?);
    }
    let mut text = String::new();
    for (flag, value) in flags {
        // Writing to a string can't fail.
        let _ = writeln!(text, "--parallelism.{flag} {value}");
    }
    // Without a pipeline, more micro-batches are steps of gradient accumulation.
    let n_in_pipeline = if degrees.pipeline > 1 { degrees.n_micro_batches } else { 1 };
    let local = degrees.micro_batch * n_in_pipeline;
    let global = degrees.micro_batch * degrees.n_micro_batches * u64::from(degrees.data);
    let _ = writeln!(text, "--training.local_batch_size {local}");
    let _ = writeln!(text, "--training.global_batch_size {global}");
    let _ = writeln!(text, "--training.seq_len {}", source.sequence_length);
    text.push_str(element_type(source.dtype)?);
    text.push_str(checkpointing(recompute(source, TARGET)?)?);
    Ok(Export::from(text))
}

type Flag = (&'static str, String);

/// Degrees, and what is sharded out along them.
fn axes(degrees: &Parallelism) -> Result<Vec<Flag>, Diagnostic> {
    // Whole copies are `replicate`; everything that is sharded out is `shard`.
    let (replicate, shard) = match degrees.zero {
        ZeroStage::None => (degrees.data, 1),
        ZeroStage::Gradients | ZeroStage::Parameters => (1, degrees.data),
        ZeroStage::Optimizer => {
            let why = "it shards gradients or parameters along with the optimizer";
            return Err(refused(TARGET, "ZeRO 1", why, "plan with `--pin zero=0` or `zero=3`"));
        }
    };
    let mut flags = vec![
        ("data_parallel_replicate_degree", replicate.to_string()),
        ("data_parallel_shard_degree", shard.to_string()),
        ("tensor_parallel_degree", degrees.tensor.to_string()),
        ("context_parallel_degree", degrees.context.to_string()),
        ("expert_parallel_degree", degrees.expert.to_string()),
        ("pipeline_parallel_degree", degrees.pipeline.to_string()),
    ];
    if degrees.tensor > 1 {
        let is_on = degrees.sequence == SequenceParallel::On;
        flags.push(("enable_sequence_parallel", is_on.to_string()));
    }
    if shard > 1 {
        let reshards = if degrees.zero == ZeroStage::Parameters { "always" } else { "never" };
        flags.push(("fsdp_reshard_after_forward", reshards.to_owned()));
    }
    Ok(flags)
}

/// Stages and their schedule.
fn pipeline(source: &TrainingSource<'_>, counts: &[u32]) -> Result<Vec<Flag>, Diagnostic> {
    let mut flags = vec![
        ("num_pp_microbatches", source.plan.parallelism.n_micro_batches.to_string()),
        ("module_fqns_per_model_part", modules(counts)),
    ];
    let named = SCHEDULES.iter().find(|(own, _)| *own == source.schedule);
    let class = named.map_or("PipelineScheduleMulti", |(_, name)| name);
    flags.push(("pipeline_parallel_schedule", class.to_owned()));
    if named.is_none() {
        // The CSV must be one that torch takes.
        source.plan.schedule.grid.as_ref().map(torch_pipelining::text).transpose()?;
        flags.push(("pipeline_parallel_schedule_csv", "schedule.csv".to_owned()));
    }
    Ok(flags)
}

/// One list of module names per stage; the embedding lies on the first, norm and head on the last.
fn modules(counts: &[u32]) -> String {
    let mut next = 0;
    let stages = counts.iter().enumerate().map(|(stage, count)| {
        let mut names = Vec::new();
        if stage == 0 {
            names.push("\"tok_embeddings\"".to_owned());
        }
        names.extend((next..next + count).map(|layer| format!("\"layers.{layer}\"")));
        next += count;
        if stage + 1 == counts.len() {
            names.extend(["\"norm\"".to_owned(), "\"lm_head\"".to_owned()]);
        }
        format!("[{}]", names.join(","))
    });
    format!("[{}]", stages.collect::<Vec<_>>().join(","))
}

fn element_type(dtype: DType) -> Result<&'static str, Diagnostic> {
    match dtype {
        DType::Bf16 => Ok("--training.mixed_precision_param bfloat16\n"),
        DType::F32 => Ok("--training.mixed_precision_param float32\n"),
        other => {
            let why = "it computes in bf16 or fp32";
            Err(refused(TARGET, &format!("{other}"), why, "plan with `--dtype bf16`"))
        }
    }
}

fn checkpointing(policy: Recompute) -> Result<&'static str, Diagnostic> {
    match policy {
        Recompute::None => Ok("--activation_checkpoint.mode none\n"),
        Recompute::PerOp => Ok("--activation_checkpoint.mode selective\n"),
        Recompute::Full => Ok("--activation_checkpoint.mode full\n"),
        Recompute::Selective | Recompute::Uniform { .. } | Recompute::Block { .. } => {
            let why = "its selective mode goes by op";
            let part = "recompute of the attention core or of some blocks";
            Err(refused(
                TARGET,
                part,
                why,
                "plan with `--pin recompute=full`, `recompute=per-op` or `recompute=none`",
            ))
        }
    }
}
