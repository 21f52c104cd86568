//! Overrides of torchtitan's config (`torchtitan/config/configs.py`), one per line, the last one a
//! subcommand of its parser. Release 0.3 counts samples; main (since 73aed7f6c of August 2026) counts
//! tokens.

use std::fmt::Write;

use ir::card::{Recompute, SequenceParallel, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::plan::Parallelism;
use ir::stack::{Elementwise, Stack};
use ir::tensor::DType;

use super::field::fields;
use super::program::{Program, SCHEDULE, Start};
use super::target::{
    Lack, Policy, TrainingSource, TrainingTarget, blocks, is_outside, recompute, refused,
};
use super::torch_pipelining;
use crate::format::Export;

const TARGET: &str = "torchtitan";

/// Its row.
pub(crate) const ROW: TrainingTarget = TrainingTarget {
    versions: &["0.3", "main"],
    file_name: "torchtitan.args",
    summary: "overrides of torchtitan's ParallelismConfig, one per line",
    expresses: fields![
        Data Tensor Pipeline Context Expert VirtualStages Blocks Schedule MicroBatch MicroBatches
        GlobalBatch Zero Sequence Mesh Recompute ElementType
    ],
    lacks: &[Lack::Parts, Lack::Predicting],
    recomputes: Some(&[Policy::None, Policy::PerOp, Policy::Full]),
    types: Some(&[DType::Bf16, DType::F32]),
    launches: Some(&[
        "torchtitan",
        "torchtitan-eager",
        "torchtitan-async-tp",
        "torchtitan-rowwise",
        "torchtitan-rowwise-async-tp",
        "torchtitan-2024",
        "torchtitan-2024-eager",
        "torchtitan-2024-async-tp",
        "torchtitan-2024-rowwise",
        "torchtitan-2024-rowwise-async-tp",
    ]),
    program: Some(Program {
        start: Start::Torchrun,
        members: &[],
        words: "-m torchtitan.train --module \"${MODULE:?a model of torchtitan, such as llama3}\" \\\n  \
                --config \"${CONFIG:?one of its configs, such as llama3_8b}\"",
        environment: |_| vec![("PYTORCH_ALLOC_CONF", "expandable_segments:True".to_owned())],
        yours: "`MODULE` and `CONFIG`, which name the model, data and the length of the run",
    }),
    ..TrainingTarget::of(TARGET, accepts, export)
};

/// Our schedules under torch's names, where they are the same cell by cell; the others go through a
/// CSV (`LoopedBFS` runs the backward passes of a stage in another order than `breadth-first`).
const SCHEDULES: &[(&str, &str)] = &[
    ("1f1b", "1F1B"),
    ("gpipe", "GPipe"),
    ("interleaved", "Interleaved1F1B"),
    ("zb-v", "ZBVZeroBubble"),
    ("dualpipe-v", "DualPipeV"),
];

/// ZeRO 1 has no words, nor have replicas outside the pipeline.
fn accepts(degrees: &Parallelism, schedule: &str) -> bool {
    !is_outside(degrees)
        && degrees.zero != ZeroStage::Optimizer
        && !is_whole_beside_context(degrees)
        && torch_pipelining::accepts(degrees, schedule)
}

/// Whether parameters are whole on context ranks, which it shards over them
/// (`torchtitan/distributed/parallel_dims.py`, `fsdp_enabled`).
fn is_whole_beside_context(degrees: &Parallelism) -> bool {
    degrees.context > 1 && degrees.zero == ZeroStage::None
}

fn export(source: &TrainingSource<'_>) -> Result<Export, Diagnostic> {
    let degrees = &source.plan.parallelism;
    let counts = blocks(source.plan)?;
    if is_outside(degrees) {
        let why = "pipeline ranks are the outermost axis of its mesh";
        let part = "replicas outside the pipeline";
        return Err(refused(TARGET, part, why, "plan with `--pin mesh=data-inside`"));
    }
    if is_whole_beside_context(degrees) {
        let why = "it shards parameters over context ranks";
        return Err(refused(TARGET, "ZeRO 0 beside context", why, "plan with `--pin zero=3`"));
    }
    let mut flags = axes(degrees)?;
    if degrees.pipeline > 1 {
        flags.extend(pipeline(source, &counts)?);
    }
    flags.extend(batch(source));
    let mut text = String::new();
    for (flag, value) in flags {
        // Writing to a string can't fail.
        let _ = writeln!(text, "{}", format!("--{flag} {value}").trim_end());
    }
    text.push_str(element_type(source.dtype)?);
    text.push_str(compiled(source.stack));
    text.push_str(checkpointing(recompute(source, TARGET)?)?);
    let warnings = if text.contains(SCHEDULE) { vec![schedule_apart()] } else { Vec::new() };
    Ok(Export { warnings, ..Export::from(text) })
}

/// The code of what a folder brings and a single file does not.
pub(crate) const APART: &str = "file-apart";

fn schedule_apart() -> Diagnostic {
    let message = format!("the file names the schedule `{SCHEDULE}`, which lies beside it");
    Diagnostic::warning(APART, message).hint(format!(
        "write it with `--target torch-pipelining -o {SCHEDULE}`, or all files with `--to DIR`"
    ))
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
        ("parallelism.data_parallel_replicate_degree", replicate.to_string()),
        ("parallelism.data_parallel_shard_degree", shard.to_string()),
        ("parallelism.tensor_parallel_degree", degrees.tensor.to_string()),
        ("parallelism.context_parallel_degree", degrees.context.to_string()),
        ("parallelism.expert_parallel_degree", degrees.expert.to_string()),
        ("parallelism.pipeline_parallel_degree", degrees.pipeline.to_string()),
    ];
    if degrees.tensor > 1 {
        let switch = match degrees.sequence {
            SequenceParallel::On => "parallelism.enable_sequence_parallel",
            _ => "parallelism.no-enable_sequence_parallel",
        };
        flags.push((switch, String::new()));
    }
    // It shards over context ranks too.
    if degrees.zero >= ZeroStage::Gradients && (shard > 1 || degrees.context > 1) {
        let reshards = if degrees.zero == ZeroStage::Parameters { "always" } else { "never" };
        flags.push(("parallelism.fsdp_reshard_after_forward", reshards.to_owned()));
    }
    Ok(flags)
}

/// Stages and their schedule.
fn pipeline(source: &TrainingSource<'_>, counts: &[u32]) -> Result<Vec<Flag>, Diagnostic> {
    let mut flags = vec![
        ("parallelism.module_fqns_per_model_part", modules(counts)),
        // Its pipelines refuse to run as graphs.
        ("training.disable_cuda_graphs", String::new()),
    ];
    let named = named(source);
    let class = named.unwrap_or("PipelineScheduleMulti");
    flags.push(("parallelism.pipeline_parallel_schedule", class.to_owned()));
    if named.is_none() {
        // The CSV must be one that torch takes.
        source.plan.schedule.grid.as_ref().map(torch_pipelining::text).transpose()?;
        flags.push(("parallelism.pipeline_parallel_schedule_csv", SCHEDULE.to_owned()));
    }
    Ok(flags)
}

/// Torch's name of the schedule; its 1F1B takes no fewer micro-batches than stages.
fn named(source: &TrainingSource<'_>) -> Option<&'static str> {
    let degrees = &source.plan.parallelism;
    let is_short = degrees.n_micro_batches < u64::from(degrees.pipeline);
    let mut rows = SCHEDULES.iter().filter(|(schedule, _)| *schedule != "1f1b" || !is_short);
    rows.find(|(schedule, _)| *schedule == source.schedule).map(|(_, name)| *name)
}

/// Micro-batches, of samples or of tokens.
fn batch(source: &TrainingSource<'_>) -> Vec<Flag> {
    let degrees = &source.plan.parallelism;
    let global = degrees.micro_batch * degrees.n_micro_batches * u64::from(degrees.data);
    // Without a pipeline, more micro-batches are steps of gradient accumulation.
    let n_in_pipeline = if degrees.pipeline > 1 { degrees.n_micro_batches } else { 1 };
    let has_pipeline = degrees.pipeline > 1;
    let length = source.sequence_length;
    let samples = [
        (true, "training.local_batch_size", degrees.micro_batch * n_in_pipeline),
        (true, "training.global_batch_size", global),
        (true, "training.seq_len", length),
        (has_pipeline, "parallelism.pipeline_parallel_microbatch_size", degrees.micro_batch),
    ];
    let tokens = [
        (true, "training.num_tokens_per_microbatch_per_dp_rank", degrees.micro_batch * length),
        (true, "training.num_tokens_per_train_step", global * length),
        (true, "training.max_context_length", length),
        (has_pipeline, "parallelism.num_pp_microbatches", degrees.n_micro_batches),
    ];
    let flags = if source.version == "main" { tokens } else { samples };
    let said = flags.into_iter().filter(|(is_said, ..)| *is_said);
    said.map(|(_, flag, value)| (flag, value.to_string())).collect()
}

/// A word of module names per stage; the embedding lies on the first, norm and head on the last.
fn modules(counts: &[u32]) -> String {
    let mut next = 0;
    let stages = counts.iter().enumerate().map(|(stage, count)| {
        let mut names = Vec::new();
        if stage == 0 {
            names.push("tok_embeddings".to_owned());
        }
        names.extend((next..next + count).map(|layer| format!("layers.{layer}")));
        next += count;
        if stage + 1 == counts.len() {
            names.extend(["norm".to_owned(), "lm_head".to_owned()]);
        }
        names.join(",")
    });
    stages.collect::<Vec<_>>().join(" ")
}

/// What the stack fuses, and what it hides of tensor collectives.
fn compiled(stack: &Stack) -> &'static str {
    match (stack.elementwise, stack.overlap_tensor > 0.0) {
        (Elementwise::Fused, true) => "--compile.enable\n--compile.enable_async_tensor_parallel\n",
        (Elementwise::Fused, false) => "--compile.enable\n",
        (Elementwise::Eager | Elementwise::Separate, _) => "",
    }
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
        Recompute::None => Ok("activation-checkpoint:none\n"),
        Recompute::PerOp => Ok("activation-checkpoint:selective\n"),
        Recompute::Full => Ok("activation-checkpoint:full\n"),
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
