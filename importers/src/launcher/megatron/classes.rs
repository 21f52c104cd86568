//! What becomes of flags that the reader makes nothing of: refused, warned about, or without effect on
//! what is planned. A flag in none of the lists is unknown.

use std::collections::BTreeMap;

use ir::diagnostic::Diagnostic;

use super::super::ModelFacts;
use super::super::flags::{Flags, not_judged};
use super::super::limits::bad;

const BLOCKS: &str = "blocks are those of the model's config";
const ELSEWHERE: &str = "it takes settings from another file";
const ON_DEVICES: &str = "activations stay on the devices";
const ONE_BATCH: &str = "all steps have one batch";

/// Flags that change degrees, model or passes in a way that no plan has.
const REFUSED: &[(&str, &str)] = &[
    ("--account-for-embedding-in-pipeline-split", "the embedding counts as no layer of a stage"),
    ("--account-for-loss-in-pipeline-split", "the loss counts as no layer of a stage"),
    ("--distribute-saved-activations", "what is kept is not split over tensor ranks"),
    ("--fp4-format", "training runs are not planned in fp4"),
    ("--hybrid-context-parallel", "all samples have one context degree"),
    ("--hierarchical-context-parallel-sizes", "context ranks form one ring"),
    ("--max-seqlen-per-dp-cp-rank", "all samples have one context degree"),
    ("--step-batch-size-schedule", ONE_BATCH),
    ("--decrease-batch-size-if-needed", ONE_BATCH),
    ("--hybrid-layer-pattern", BLOCKS),
    ("--hybrid-override-pattern", BLOCKS),
    ("--heterogeneous-layers-config-path", BLOCKS),
    ("--heterogeneous-layers-config-encoded-json", BLOCKS),
    ("--mtp-hybrid-override-pattern", BLOCKS),
    ("--is-hybrid-model", BLOCKS),
    ("--experimental-attention-variant", BLOCKS),
    ("--linear-attention-freq", BLOCKS),
    ("--moe-latent-size", BLOCKS),
    ("--spec", BLOCKS),
    ("--enable-mhc-connections", "blocks have one stream of activations"),
    ("--mtp-standalone", "layers that predict a later token share the last stage"),
    ("--mtp-use-repeated-layer", "each layer that predicts a later token has its own weights"),
    ("--cpu-offloading", ON_DEVICES),
    ("--cpu-offloading-num-layers", ON_DEVICES),
    ("--fine-grained-activation-offloading", ON_DEVICES),
    ("--encoder-tensor-model-parallel-size", "encoders have no degrees of their own"),
    ("--encoder-pipeline-model-parallel-size", "encoders have no degrees of their own"),
    ("--tensor-parallel-num-weight-shards", "weights are split over the tensor ranks alone"),
    ("--expert-tensor-parallel-num-weight-shards", "weights are split over the tensor ranks alone"),
    ("--enable-full-sharding-in-hsdp", "replicas share out their states among all of them"),
    ("--moe-layer-recompute", "recompute is that of whole blocks or of the attention core"),
    ("--freeze-all-layers", "all weights are trained"),
    ("--freeze-base-for-mtp", "all weights are trained"),
    ("--export-kd-teacher-load", "a step runs one model"),
    ("--perform-rl-step", "a step is a pass forward and backward over given samples"),
    ("--skip-train", "a step is a pass forward and backward over given samples"),
    ("--yaml-cfg", ELSEWHERE),
    ("--use-checkpoint-args", ELSEWHERE),
    ("--use-mp-args-from-checkpoint-args", ELSEWHERE),
];

/// Flags that Megatron stops at, and what it takes now.
const GONE: &[(&str, &str)] = &[
    ("--batch-size", "--micro-batch-size"),
    ("--model-parallel-size", "--tensor-model-parallel-size"),
    ("--checkpoint-activations", "--recompute-granularity full"),
    ("--activations-checkpoint-granularity", "--recompute-granularity"),
    ("--activations-checkpoint-method", "--recompute-method"),
    ("--activations-checkpoint-num-layers", "--recompute-num-layers"),
    ("--warmup", "--lr-warmup-fraction"),
];

/// Flags that change time or memory in a way that no plan has, by what is judged instead; with the values,
/// where there are any, that change nothing.
const WARNED: &[(&str, &[(&str, &str)])] = &[
    ("the batch of a step is the one that it grows to", &[("--rampup-batch-size", "")]),
    (
        "states and gradients are kept in the usual formats",
        &[
            ("--main-params-dtype", "fp32"),
            ("--main-grads-dtype", "fp32"),
            ("--exp-avg-dtype", "fp32"),
            ("--exp-avg-sq-dtype", "fp32"),
            ("--megatron-fsdp-main-params-dtype", "fp32"),
            ("--megatron-fsdp-main-grads-dtype", "auto"),
            ("--megatron-fsdp-grad-comm-dtype", "auto"),
            ("--fp8-param-gather", ""),
            ("--fp4-param-gather", ""),
            ("--reuse-grad-buf-for-mxfp8-param-ag", ""),
            ("--keep-fp8-transpose-cache", ""),
            ("--fp32-residual-connection", ""),
            ("--fp16-lm-cross-entropy", ""),
            ("--output-logit-dtype", ""),
            ("--moe-dispatch-fwd-dtype", "bf16"),
            ("--moe-combine-bwd-dtype", "bf16"),
        ],
    ),
    (
        "products of blocks are all in the type of the run",
        &[
            ("--first-last-layers-bf16", ""),
            ("--fp8-output-proj", ""),
            ("--no-fp8-wgrad", ""),
            ("--disable-fp8-wgrad", ""),
            ("--fp8-quantizer-factory", ""),
            ("--te-precision-config-file", ""),
            ("--disable-bf16-reduced-precision-matmul", ""),
        ],
    ),
    (
        "memory is that of whole micro-batches",
        &[
            ("--moe-paged-stash", ""),
            ("--mlp-chunks-for-training", "1"),
            ("--gtp-remat-opt-in-modules", ""),
            ("--ep-overlap-early-attn-memory-release", ""),
            ("--moe-expert-rank-capacity-factor", ""),
            ("--empty-unused-memory-level", "0"),
            ("--fsdp-double-buffer", ""),
            ("--suggested-communication-unit-size", ""),
        ],
    ),
    (
        "attention is that of one kernel over whole samples, in a ring of context ranks",
        &[
            ("--cp-comm-type", "p2p"),
            ("--flash-attention-version", ""),
            ("--use-kitchen-attention", ""),
            ("--attention-output-gate", ""),
            ("--reset-attention-mask", ""),
            ("--dataloader-inter-document-masking", ""),
            ("--sft", ""),
        ],
    ),
    (
        "kernels are those of the stack",
        &[
            ("--transformer-impl", "transformer_engine"),
            ("--deterministic-mode", ""),
            ("--batch-invariant-mode", ""),
            ("--disable-jit-fuser", ""),
            ("--no-gradient-accumulation-fusion", ""),
            ("--no-masked-softmax-fusion", ""),
            ("--no-bias-gelu-fusion", ""),
            ("--no-bias-swiglu-fusion", ""),
            ("--no-bias-dropout-fusion", ""),
            ("--no-persist-layer-norm", ""),
            ("--no-gradient-reduce-div-fusion", ""),
            ("--cross-entropy-loss-fusion", ""),
            ("--fused-residual-rmsnorm", ""),
            ("--use-te-activation-func", ""),
            ("--use-transformer-engine-op-fuser", ""),
            ("--use-fused-weighted-squared-relu", ""),
            ("--use-grouped-gemm-for-dense-mlp", ""),
            ("--use-grouped-gemm-for-shared-expert", ""),
            ("--moe-permute-fusion", ""),
            ("--moe-router-fusion", ""),
            ("--mla-down-proj-fusion", ""),
            ("--moe-shared-expert-gate", ""),
            ("--optimizer-cuda-graph", ""),
            ("--use-torch-optimizer-for-cpu-offload", ""),
            ("--check-for-large-grads", ""),
        ],
    ),
    (
        "a vocabulary that tensor ranks share is a multiple of 128 rows each",
        &[
            ("--make-vocab-size-divisible-by", "128"),
            ("--padded-vocab-size", ""),
            ("--no-pad-vocab-size", ""),
            ("--disable-pad-vocab-size", ""),
        ],
    ),
    (
        "the stack says what runs beside what",
        &[
            ("--delay-wgrad-compute", ""),
            ("--overlap-dispatch-backward-with-experts-wgrad", ""),
            ("--defer-embedding-wgrad-compute", ""),
            ("--no-overlap-p2p-communication", ""),
            ("--overlap-p2p-communication-warmup-flush", ""),
            ("--overlap-param-gather-with-optimizer-step", ""),
            ("--overlap-cpu-optimizer-d2h-h2d", ""),
            ("--no-tp-comm-bulk-wgrad", ""),
            ("--disable-tp-comm-bulk-wgrad", ""),
            ("--no-tp-comm-bulk-dgrad", ""),
            ("--disable-tp-comm-bulk-dgrad", ""),
            ("--no-tp-comm-overlap-ag", ""),
            ("--disable-tp-comm-overlap-ag", ""),
            ("--no-tp-comm-overlap-rs", ""),
            ("--disable-tp-comm-overlap-rs", ""),
            ("--no-tp-comm-split-ag", ""),
            ("--disable-tp-comm-split-ag", ""),
            ("--no-tp-comm-split-rs", ""),
            ("--disable-tp-comm-split-rs", ""),
            ("--tp-comm-overlap-rs-dgrad", ""),
            ("--tp-comm-overlap-cfg", ""),
            ("--moe-shared-expert-overlap", ""),
            ("--create-all-gather-group", ""),
            ("--ddp-num-buckets", ""),
            ("--ddp-bucket-size", ""),
            ("--moe-flex-dispatcher-backend", "deepep hybridep"),
        ],
    ),
    (
        "links are as they were measured, or as their sheets say",
        &[
            ("--distributed-backend", "nccl"),
            ("--pipeline-model-parallel-comm-backend", "nccl"),
            ("--use-ring-exchange-p2p", ""),
            ("--use-sharp", ""),
            ("--use-nccl-ub", ""),
            ("--gtp-remat-nccl-ub", ""),
            ("--gtp-expert-remat-nccl-ub", ""),
            ("--nccl-communicator-config-path", ""),
            ("--ddp-reduce-scatter-with-fp32-accumulation", ""),
            ("--gtp-remat-reduce-scatter-with-fp32-accumulation", ""),
            ("--ddp-param-name-patterns-for-fp32-local-accumulation", ""),
            ("--tp-comm-bootstrap-backend", "nccl"),
        ],
    ),
];

/// Flags that change nothing that is planned: data, logs, checkpoints, learning rate, evaluation, serving,
/// other models, and parts of what is refused above.
const WITHOUT_EFFECT: &str = include_str!("without_effect.txt");

/// Refuses and collects what is not judged, and refuses what Megatron has not.
///
/// # Errors
/// `not-judged`, `bad-settings`, `unknown-flag`.
pub(super) fn judge(
    flags: &Flags<'_>,
    model: ModelFacts,
) -> Result<BTreeMap<&'static str, Vec<String>>, Diagnostic> {
    if let Some((flag, now)) = GONE.iter().find(|(flag, _)| flags.has(flag)) {
        let message = format!("`{flag}` is a flag of older releases that Megatron-LM now stops at");
        return Err(Diagnostic::input("bad-settings", message)
            .fact("flag", *flag)
            .hint(format!("use `{now}`")));
    }
    // But of these, no flag takes such a value.
    if let Some((flag, value)) = flags.stated_switch(&["--onnx-safe", "--wandb-exp-name"]) {
        return Err(bad(flag, value, "it is a switch: leave it out, or give it no value"));
    }
    flags.refuse(REFUSED)?;
    if flags.text("--outer-dp-sharding-strategy")?.is_some_and(|strategy| strategy != "no_shard") {
        let why = "replicas share out their states among all of them";
        return Err(not_judged("--outer-dp-sharding-strategy", why));
    }
    let group = "--microbatch-group-size-per-virtual-pipeline-stage";
    let pipeline = flags.degree(&["--pipeline-model-parallel-size"])?.unwrap_or(1);
    if flags.degree(&[group])?.is_some_and(|n| n != pipeline) {
        return Err(not_judged(group, "groups hold as many micro-batches as there are ranks"));
    }
    let found = warned(flags, model)?;
    let others: Vec<&str> = WITHOUT_EFFECT.split_whitespace().collect();
    flags.finish("--", &others)?;
    Ok(found)
}

fn warned(
    flags: &Flags<'_>,
    model: ModelFacts,
) -> Result<BTreeMap<&'static str, Vec<String>>, Diagnostic> {
    let mut found: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    for (why, group) in WARNED {
        for (flag, usual) in *group {
            let value = if usual.is_empty() { None } else { flags.text(flag)? };
            let is_usual = value.is_some_and(|value| usual.split(' ').any(|usual| usual == value));
            if flags.has(flag) && !is_usual {
                found.entry(why).or_default().push((*flag).to_owned());
            }
        }
    }
    let absent = |flag: &str| format!("{flag} (left out)");
    let is_grouped = flags.has("--moe-grouped-gemm");
    if (flags.has("--num-experts") || model.has_experts == Some(true)) && !is_grouped {
        let why = "the experts of a rank run as one product";
        found.entry(why).or_default().push(absent("--moe-grouped-gemm"));
    }
    let recipe = flags.text("--fp8-recipe")?;
    if flags.has("--fp8-format") && matches!(recipe, None | Some("delayed")) {
        let why = "factors of 8-bit tensors are found on their values";
        let flag = "--fp8-recipe";
        let named = if recipe.is_some() { flag.to_owned() } else { absent(flag) };
        found.entry(why).or_default().push(named);
    }
    let shares = flags.has("--use-distributed-optimizer") | flags.has("--use-megatron-fsdp");
    let gathers = flags.has("--overlap-param-gather");
    if shares && flags.has("--overlap-grad-reduce") && !gathers {
        let why = "parameters are gathered as gradients are exchanged";
        found.entry(why).or_default().push(absent("--overlap-param-gather"));
    }
    let graphs = [flags.words("--cuda-graph-modules"), flags.words("--cuda-graph-scope")].concat();
    let kind = flags.text("--cuda-graph-impl")?;
    // Older names of its `local` and `transformer_engine`.
    let is_local = flags.has("--enable-cuda-graph");
    let is_external = flags.has("--external-cuda-graph");
    let is_on = is_local || is_external || kind.is_some_and(|kind| kind != "none");
    let is_usual = !is_local && kind.is_none_or(|kind| kind == "transformer_engine");
    // Without modules a graph holds whole layers.
    if is_on && !(is_usual && graphs == ["attn"]) {
        let why = "graphs hold the attention of a block";
        found.entry(why).or_default().push("--cuda-graph-impl".to_owned());
    }
    Ok(found)
}
