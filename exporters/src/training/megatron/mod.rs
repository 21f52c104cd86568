//! Flags of Megatron-Core (`megatron/training/arguments.py`), one per line, with the layout string of
//! `--pipeline-model-parallel-layout`: E embedding, t layer, m layer that predicts a later token,
//! L head and loss, `|` between stages, `t*n` for n of them.

pub(crate) mod bridge;
mod model;

use std::fmt::Write;

use cost_model::runs::forms::model::expert_overlap::{keeps_blocks, runs_together};
use ir::card::{Recompute, SequenceParallel, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::plan::{Mesh, Parallelism};
use ir::stack::{AttentionKernel, Dispatcher, Launch, Scaling, Stack};
use ir::tensor::DType;
use ir::workload::Optimizer;

use super::field::fields;
use super::program::{Program, Start};
use super::target::{
    Lack, Policy, TrainingSource, TrainingTarget, blocks, recompute, refused, shares,
};
use crate::format::Export;

const TARGET: &str = "megatron";

/// Software that Megatron's flags start; behind the first ones that of Bridge's recipes.
const STACKS: &[&str] = &[
    "megatron-core",
    "megatron-core-2024",
    "megatron-core-no-overlap",
    "megatron-lm-tests",
    "megatron-bridge",
    "megatron-bridge-mxfp8",
    "megatron-bridge-alltoall-overlap",
    "megatron-bridge-drop",
    "megatron-bridge-drop-mxfp8",
    "megatron-bridge-flex-fp8",
    "megatron-bridge-flex-overlap-mxfp8",
    "megatron-bridge-drop-overlap",
    "megatron-bridge-drop-graphs",
    "megatron-bridge-flex",
    "megatron-bridge-flex-overlap",
    "megatron-bridge-flex-graphs",
    "megatron-bridge-flex-overlap-graphs",
    "megatron-bridge-alltoall-overlap-mxfp8",
    "megatron-bridge-alltoall-graphs",
    "megatron-bridge-drop-graphs-mxfp8",
];
const N_WITHOUT_BRIDGE: usize = 4;

/// Its row.
pub(crate) const ROW: TrainingTarget = TrainingTarget {
    versions: &["0.20"],
    file_name: "megatron.args",
    summary: "flags of Megatron-Core with the pipeline layout, one per line",
    expresses: fields![
        Tensor Pipeline Context Expert ExpertOverlap ExpertTensor VirtualStages Blocks Schedule MicroBatch
        GlobalBatch Zero Sequence Mesh Recompute ElementType Offload Optimizer
    ],
    offloaded: Some(accepts_offloaded),
    lacks: &[Lack::Parts, Lack::WholeSequences, Lack::Adafactor, Lack::OffloadedSgd],
    recomputes: Some(&[Policy::None, Policy::Selective, Policy::Block, Policy::Full]),
    types: Some(&[DType::Bf16, DType::F16, DType::F8, DType::F32]),
    launches: Some(STACKS),
    program: Some(Program {
        start: Start::Torchrun,
        members: &[],
        words: "\"${SCRIPT:-pretrain_gpt.py}\"",
        environment,
        yours: "data, tokenizer, learning rate and the length of the run; `SCRIPT` is `pretrain_gpt.py` of \
                Megatron-LM unless you set it",
    }),
    ..TrainingTarget::of(TARGET, accepts, export)
};

/// One queue keeps collectives of tensor and context ranks behind the products that they belong to;
/// Megatron-FSDP wants several (`validate_args`), as many as CUDA has by default.
pub(super) fn environment(source: &TrainingSource<'_>) -> Vec<(&'static str, String)> {
    let n = if source.plan.parallelism.zero >= ZeroStage::Gradients { "8" } else { "1" };
    vec![("CUDA_DEVICE_MAX_CONNECTIONS", n.to_owned())]
}

/// All states on the hosts (`megatron/core/optimizer/cpu_offloading/README.md`); the optimizer must
/// be the distributed one.
const OFFLOAD: &str = "--optimizer-cpu-offload\n--optimizer-offload-fraction 1.0\n\
                       --use-precision-aware-optimizer\n";

/// It runs 1F1B, interleaved where ranks hold several chunks, and shards gradients and parameters
/// without a pipeline alone.
fn accepts(degrees: &Parallelism, schedule: &str) -> bool {
    let in_pipeline = schedule == schedule_of(degrees) && degrees.zero <= ZeroStage::Optimizer;
    (degrees.pipeline == 1 || in_pipeline) && !is_inside(degrees) && splits_sequences(degrees)
}

/// Whether pipeline ranks lie inside replicas where it wants as many ranks to hold an expert as hold
/// a dense layer, context ranks not counted (`megatron/core/parallel_state.py`).
fn is_inside(degrees: &Parallelism) -> bool {
    let of_experts = u64::from(degrees.expert) * u64::from(degrees.of_expert());
    let of_all = u64::from(degrees.tensor) * u64::from(degrees.context);
    degrees.mesh == Mesh::TpCpPpDp && degrees.pipeline > 1 && of_experts != of_all
}

/// Beside experts, tensor ranks split sequences.
fn splits_sequences(degrees: &Parallelism) -> bool {
    degrees.expert <= 1 || degrees.tensor <= 1 || degrees.sequence == SequenceParallel::On
}

/// Its optimizer leaves states on the hosts where it is the distributed one, without Megatron-FSDP.
fn accepts_offloaded(degrees: &Parallelism, schedule: &str) -> bool {
    degrees.zero <= ZeroStage::Optimizer && shares(degrees) && accepts(degrees, schedule)
}

const fn schedule_of(degrees: &Parallelism) -> &'static str {
    if degrees.virtual_stages > 1 { "interleaved" } else { "1f1b" }
}

pub(super) fn export(source: &TrainingSource<'_>) -> Result<Export, Diagnostic> {
    let degrees = &source.plan.parallelism;
    let counts = blocks(source.plan)?;
    check(source)?;
    let mut flags = vec![
        ("tensor-model-parallel-size", u64::from(degrees.tensor)),
        ("pipeline-model-parallel-size", u64::from(degrees.pipeline)),
        ("context-parallel-size", u64::from(degrees.context)),
        ("expert-model-parallel-size", u64::from(degrees.expert)),
    ];
    if let Some(ranks) = degrees.expert_tensor {
        flags.push(("expert-tensor-parallel-size", u64::from(ranks)));
    }
    let global = degrees.micro_batch * degrees.n_micro_batches * u64::from(degrees.data);
    let n_predicting = source.n_predicting();
    flags.push(("micro-batch-size", degrees.micro_batch));
    flags.push(("global-batch-size", global));
    flags.push(("seq-length", source.sequence_length));
    let n_blocks: u32 = counts.iter().sum();
    flags.push(("num-layers", u64::from(n_blocks - n_predicting)));
    if n_predicting > 0 {
        flags.push(("mtp-num-layers", u64::from(n_predicting)));
    }
    let mut text = String::new();
    for (flag, value) in flags {
        // Writing to a string can't fail.
        let _ = writeln!(text, "--{flag} {value}");
    }
    if counts.len() > 1 {
        let layout = layout(&counts, n_predicting)?;
        let _ = writeln!(text, "--pipeline-model-parallel-layout {layout}");
    }
    if degrees.sequence == SequenceParallel::On {
        text.push_str("--sequence-parallel\n");
    }
    if degrees.mesh == Mesh::TpCpPpDp {
        text.push_str("--use-tp-pp-dp-mapping\n");
    }
    text.push_str(zero(degrees.zero));
    if source.offloads {
        text.push_str(OFFLOAD);
        if degrees.zero == ZeroStage::None {
            text.push_str(zero(ZeroStage::Optimizer));
        }
    }
    overlap(source, &mut text);
    text.push_str(gradients(source));
    text.push_str(optimizer(source.optimizer)?);
    text.push_str(element_type(source)?);
    text.push_str(&recompute_flags(recompute(source, TARGET)?)?);
    text.push_str(kernels(source.stack));
    experts(source, &mut text);
    let shape = model::shape(source);
    for (flag, value) in &shape.flags {
        let _ = writeln!(text, "{}", format!("--{flag} {value}").trim_end());
    }
    Ok(Export { warnings: shape.warning().into_iter().collect(), ..Export::from(text) })
}

/// Refuses what the flags can't say.
fn check(source: &TrainingSource<'_>) -> Result<(), Diagnostic> {
    let degrees = &source.plan.parallelism;
    let expected = schedule_of(degrees);
    if degrees.pipeline > 1 && source.schedule != expected {
        let why = format!("{} chunks per rank run `{expected}`", degrees.virtual_stages);
        let part = format!("the schedule `{}`", source.schedule);
        return Err(refused(
            TARGET,
            &part,
            &why,
            &format!("plan with `--pin schedule={expected}`"),
        ));
    }
    if is_inside(degrees) {
        let why = "with other expert than context ranks it wants the pipeline outermost";
        let part = "replicas outside the pipeline";
        return Err(refused(TARGET, part, why, "plan with `--pin mesh=data-inside`"));
    }
    let mut with_experts = degrees.clone();
    with_experts.expert = degrees.expert.max(1 + u32::from(source.model.has_experts()));
    if !splits_sequences(&with_experts) {
        let lack = Lack::WholeSequences;
        return Err(lack.refusal(TARGET, lack.export_hint()));
    }
    if overlaps_experts(source) && !keeps_blocks(&source.plan.partition.stages) {
        let why = "it computes no blocks again there";
        let part = "exchanges of experts beside the work of another micro-batch";
        let hint = "plan with `--pin recompute=none`, or another `--stack`";
        return Err(refused(TARGET, part, why, hint));
    }
    if degrees.zero >= ZeroStage::Gradients && degrees.pipeline > 1 {
        let why = "sharded gradients and parameters run without a pipeline";
        return Err(refused(TARGET, "ZeRO 2 or 3 in a pipeline", why, "plan with `--pin zero=1`"));
    }
    Ok(())
}

/// The layout string.
///
/// # Errors
/// `cannot-express` for empty stages, and where layers that predict a later token are not together
/// on the last stage.
fn layout(counts: &[u32], n_predicting: u32) -> Result<String, Diagnostic> {
    if let Some(stage) = counts.iter().position(|count| *count == 0) {
        let why = format!("stage {stage} holds no block, which hangs with interleaving");
        return Err(refused(TARGET, "empty stages", &why, "give each stage a block"));
    }
    let last = counts.len() - 1;
    if counts[last] < n_predicting {
        let why = "they must share the last stage";
        let part = "layers that predict a later token on several stages";
        return Err(refused(TARGET, part, why, "give the last stage more blocks"));
    }
    let repeated = |letter: char, count: u32| match count {
        0 => String::new(),
        1 => letter.to_string(),
        _ => format!("{letter}*{count}"),
    };
    let stages = counts.iter().enumerate().map(|(stage, count)| {
        let n_predicting = if stage == last { n_predicting } else { 0 };
        let mut text = String::new();
        if stage == 0 {
            text.push('E');
        }
        text.push_str(&repeated('t', count - n_predicting));
        text.push_str(&repeated('m', n_predicting));
        if stage == last {
            text.push('L');
        }
        text
    });
    Ok(stages.collect::<Vec<_>>().join("|"))
}

/// The sharding strategy is read by Megatron-FSDP alone, which needs its own checkpoint format.
const fn zero(stage: ZeroStage) -> &'static str {
    match stage {
        ZeroStage::None => "",
        ZeroStage::Optimizer => "--use-distributed-optimizer\n",
        ZeroStage::Gradients => {
            "--use-distributed-optimizer\n--use-megatron-fsdp\n--ckpt-format fsdp_dtensor\n\
             --data-parallel-sharding-strategy optim_grads\n"
        }
        ZeroStage::Parameters => {
            "--use-distributed-optimizer\n--use-megatron-fsdp\n--ckpt-format fsdp_dtensor\n\
             --data-parallel-sharding-strategy optim_grads_params\n"
        }
    }
}

/// What the prediction takes to run beside passes. User buffers want sequence parallelism, gathers of
/// parameters the distributed optimizer.
fn overlap(source: &TrainingSource<'_>, text: &mut String) {
    let degrees = &source.plan.parallelism;
    let has_replicas = degrees.data.saturating_mul(degrees.context) > 1;
    if source.stack.overlap_data > 0.0 && has_replicas {
        text.push_str("--overlap-grad-reduce\n");
        if degrees.zero >= ZeroStage::Optimizer {
            text.push_str("--overlap-param-gather\n");
        }
    }
    let is_shared = degrees.tensor > 1 && degrees.sequence == SequenceParallel::On;
    if source.stack.overlap_tensor > 0.0 && is_shared {
        text.push_str("--tp-comm-overlap\n");
    }
}

fn optimizer(optimizer: Optimizer) -> Result<&'static str, Diagnostic> {
    match optimizer {
        Optimizer::AdamW => Ok("--optimizer adam\n"),
        // Without states; it has momentum unless it is told otherwise.
        Optimizer::Sgd => Ok("--optimizer sgd\n--sgd-momentum 0.0\n"),
        Optimizer::Adafactor => {
            let lack = Lack::Adafactor;
            Err(lack.refusal(TARGET, lack.export_hint()))
        }
        _ => Err(Lack::Optimizer.refusal(TARGET, Lack::Optimizer.export_hint())),
    }
}

/// Kernels of the attention core, and graphs of its launches.
const fn kernels(stack: &Stack) -> &'static str {
    match (stack.attention, stack.launch) {
        (AttentionKernel::Unfused, _) => "--attention-backend unfused\n",
        (AttentionKernel::Flash, Launch::Eager | Launch::Inline) => "--attention-backend auto\n",
        (AttentionKernel::Flash, Launch::CudaGraphs) => {
            "--attention-backend auto\n--cuda-graph-impl transformer_engine\n\
             --cuda-graph-modules attn\n--te-rng-tracker\n"
        }
    }
}

/// Whether exchanges of experts run beside the work of another micro-batch.
fn overlaps_experts(source: &TrainingSource<'_>) -> bool {
    let degrees = &source.plan.parallelism;
    let is_told = source.stack.experts.overlaps_in(degrees) && degrees.expert > 1;
    is_told && source.model.has_experts() && runs_together(degrees)
}

/// How tokens reach experts.
fn experts(source: &TrainingSource<'_>, text: &mut String) {
    if !source.model.has_experts() {
        return;
    }
    text.push_str(match source.stack.experts.dispatcher {
        Dispatcher::AllToAll => "--moe-token-dispatcher-type alltoall\n",
        Dispatcher::AllGather => "--moe-token-dispatcher-type allgather\n",
        Dispatcher::Padded => {
            "--moe-token-dispatcher-type alltoall\n--moe-expert-capacity-factor 1.0\n\
             --moe-pad-expert-input-to-capacity\n"
        }
        Dispatcher::Flex => {
            "--moe-token-dispatcher-type flex\n--moe-flex-dispatcher-backend deepep\n"
        }
    });
    if overlaps_experts(source) {
        text.push_str("--overlap-moe-expert-parallel-comm\n");
    }
    if source.dtype == DType::F8 {
        text.push_str("--moe-router-padding-for-quantization\n");
    }
}

/// Whether gradients are summed and exchanged in 32 bits.
fn sums_wide(source: &TrainingSource<'_>) -> bool {
    source.stack.gradients == DType::F32 || source.dtype == DType::F32
}

/// Gradient accumulation type: Megatron's default is 32 bits with bf16, 16 bits with fp16 (`validate_args`).
fn gradients(source: &TrainingSource<'_>) -> &'static str {
    match (source.dtype, sums_wide(source)) {
        (DType::F16, true) => "--accumulate-allreduce-grads-in-fp32\n",
        (DType::F16, false) | (_, true) => "",
        (_, false) => "--grad-reduce-in-bf16\n",
    }
}

/// Flag of the compute type: none = fp32; fp8 is an addition to bf16 or fp16.
fn element_type(source: &TrainingSource<'_>) -> Result<&'static str, Diagnostic> {
    match (source.dtype, source.stack.scaling) {
        (DType::Bf16, _) => Ok("--bf16\n"),
        (DType::F16, _) => Ok("--fp16\n"),
        (DType::F8, Scaling::Tensor) => {
            Ok("--bf16\n--fp8-format hybrid\n--fp8-recipe tensorwise\n")
        }
        (DType::F8, Scaling::Block) => Ok("--bf16\n--fp8-format e4m3\n--fp8-recipe mxfp8\n"),
        (DType::F8, Scaling::Row) => {
            let why = "it scales 8-bit operands by tensors or by blocks";
            Err(refused(TARGET, "scaling by rows", why, "plan with `--stack megatron-core`"))
        }
        (DType::F32, _) => Ok(""),
        (other, _) => {
            let why = "it computes in bf16, fp16, fp8 or fp32";
            Err(refused(TARGET, &format!("{other}"), why, "plan with `--dtype bf16`"))
        }
    }
}

pub(super) fn recompute_flags(policy: Recompute) -> Result<String, Diagnostic> {
    let full = |method: &str, n: u32| {
        format!(
            "--recompute-granularity full\n--recompute-method {method}\n--recompute-num-layers {n}\n"
        )
    };
    Ok(match policy {
        Recompute::None => String::new(),
        Recompute::Selective => "--recompute-granularity selective\n".to_owned(),
        Recompute::Full => full("uniform", 1),
        Recompute::Uniform { blocks } => full("uniform", blocks),
        Recompute::Block { blocks } => full("block", blocks),
        Recompute::PerOp => {
            let why = "it computes modules or layers again";
            let part = "recompute of every second product";
            return Err(refused(TARGET, part, why, "plan with `--pin recompute=selective`"));
        }
    })
}
