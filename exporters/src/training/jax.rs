//! A mesh and rules of partition for JAX (0.10): axes in the order of ranks, a `PartitionSpec` for each
//! parameter by its name, and what of the states is shared out over replicas. XLA's partitioner derives
//! from them what is exchanged; `examples/jax/shardings.py` makes `NamedSharding`s of them.

use ir::card::{Attention, BlockGroup, ModelCard, Recompute, SequenceParallel, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::plan::Parallelism;
use ir::stack::{AttentionKernel, AttentionLibrary};
use ir::tensor::DType;
use ir::workload::Optimizer;
use serde_json::{Value, json};

use super::field::fields;
use super::target::{
    Lack, Policy, TrainingSource, TrainingTarget, blocks, only_one, recompute, refused,
};
use crate::format::Export;

const TARGET: &str = "jax";

/// Its row.
pub(crate) const ROW: TrainingTarget = TrainingTarget {
    versions: &["0.10"],
    file_name: "plan.jax.json",
    summary: "mesh and rules of PartitionSpecs for JAX, by names of parameters",
    expresses: fields![
        Data Tensor Expert MicroBatch MicroBatches GlobalBatch Zero Sequence Recompute ElementType
        Optimizer
    ],
    splits: Some(splits),
    lacks: &[Lack::Parts, Lack::Names, Lack::Adafactor],
    recomputes: Some(&[Policy::None, Policy::Selective, Policy::Full]),
    types: Some(&[DType::Bf16, DType::F16, DType::F32]),
    // It compiles a whole step.
    launches: Some(&["compiled"]),
    // cuDNN's, under every stack.
    attention: Some(AttentionLibrary::TransformerEngine),
    ..TrainingTarget::of(TARGET, accepts, export)
};

/// Axes of the mesh, the outermost first: tensor ranks are neighbours, then those who share out experts.
const AXES: [&str; 3] = ["data", "expert", "tensor"];

/// What splits one dimension: axes of the mesh, none, one or several.
type Split = &'static [&'static str];
const WHOLE: Split = &[];
const TENSOR: Split = &["tensor"];
const EXPERT: Split = &["expert"];
/// Replicas of an expert.
const DATA: Split = &["data"];
/// Replicas of everything else.
const REPLICAS: Split = &["data", "expert"];

/// Parameters whose path ends so, and what splits their last dimensions.
struct Rule {
    path: &'static str,
    /// Where replicas share nothing out.
    whole: &'static [Split],
    /// Where they do. Vectors stay whole.
    shared: &'static [Split],
}

/// Whole and shared.
type Splits = (&'static [Split], &'static [Split]);
const COLUMNS: Splits = (&[TENSOR, WHOLE], &[TENSOR, REPLICAS]);
const ROWS: Splits = (&[WHOLE, TENSOR], &[REPLICAS, TENSOR]);

const fn rule(path: &'static str, (whole, shared): Splits) -> Rule {
    Rule { path, whole, shared }
}

/// Names of modules in Transformers 5, where a weight is `[out, in]` (GPT-2's `[in, out]`), experts are
/// stacked, and what a checkpoint fuses is held apart: a contiguous part of `[q, k, v]` is no part of each.
const RULES: &[Rule] = &[
    rule(r"(embed_tokens|wte|lm_head|shared_head\.head)\.weight$", COLUMNS),
    rule(r"(self_attn|mlp|shared_experts)\.(q|k|v|q_b|kv_b|gate|up)_proj\.weight$", COLUMNS),
    rule(r"(self_attn|mlp|shared_experts)\.(o|down)_proj\.weight$", ROWS),
    rule(r"mlp\.experts\.(gate|up)_proj$", (&[EXPERT, TENSOR, WHOLE], &[EXPERT, TENSOR, DATA])),
    rule(r"mlp\.experts\.down_proj$", (&[EXPERT, WHOLE, TENSOR], &[EXPERT, DATA, TENSOR])),
    rule(r"(attn\.c_attn\.[qkv]|mlp\.c_fc)\.weight$", ROWS),
    rule(r"(attn|mlp)\.c_proj\.weight$", COLUMNS),
    rule(
        r"(wpe|mlp\.gate|q_a_proj|kv_a_proj_with_mqa|eh_proj)\.weight$",
        (&[WHOLE, WHOLE], &[WHOLE, REPLICAS]),
    ),
    rule(
        r"(self_attn\.[qkv]_proj|attn\.c_attn\.[qkv]|mlp\.(c_fc|gate_proj|up_proj))\.bias$",
        (&[TENSOR], &[TENSOR]),
    ),
    rule(r"((norm|ln_[12f])\.weight|\.bias|e_score_correction_bias)$", (&[WHOLE], &[WHOLE])),
];

/// What the partitioner runs: no schedule of a pipeline, no ring of context ranks, and a sum over replicas
/// in every micro-batch.
fn accepts(degrees: &Parallelism, _: &str) -> bool {
    check(degrees).is_ok()
}

fn check(degrees: &Parallelism) -> Result<(), Diagnostic> {
    only_one(TARGET, "pipeline", degrees.pipeline)?;
    only_one(TARGET, "context", degrees.context)?;
    if degrees.zero < ZeroStage::Gradients && degrees.data > 1 && degrees.n_micro_batches > 1 {
        let part = "whole gradients that are summed over replicas after the last micro-batch";
        let why = "its partitioner sums them in each";
        return Err(refused(TARGET, part, why, "plan with `--pin zero=2` or `zero=3`"));
    }
    Ok(())
}

/// Whether every dimension falls into equal parts, as `jax.jit` demands of what it is given.
fn splits(model: &ModelCard, degrees: &Parallelism) -> bool {
    unequal(model, degrees).is_none()
}

/// What does not fall into equal parts: what it is, its size, and the ranks.
fn unequal(model: &ModelCard, degrees: &Parallelism) -> Option<(&'static str, u64, u32)> {
    let sharers = if degrees.zero >= ZeroStage::Optimizer { degrees.data } else { 1 };
    let is_cut = degrees.sequence == SequenceParallel::On;
    let of_group = |group: &BlockGroup| {
        let card = &group.card;
        let inner = card.experts.map_or(card.feed_forward, |experts| experts.feed_forward);
        let mut dimensions = vec![
            ("hidden elements", card.hidden, sharers),
            ("heads of keys and values", card.n_kv_heads, degrees.tensor),
            ("inner elements", inner, degrees.tensor),
            ("tokens of a sample", card.sequence, if is_cut { degrees.tensor } else { 1 }),
        ];
        if let Attention::Latent { query_rank, key_value_rank, .. } = card.attention {
            dimensions.push(("latent elements of keys and values", key_value_rank, sharers));
            dimensions.push(("latent elements of queries", query_rank.unwrap_or(0), sharers));
        }
        dimensions.into_iter().find(|(_, size, ranks)| !size.is_multiple_of(u64::from(*ranks)))
    };
    model.groups.iter().find_map(of_group)
}

fn export(source: &TrainingSource<'_>) -> Result<Export, Diagnostic> {
    let degrees = &source.plan.parallelism;
    blocks(source.plan)?;
    check(degrees)?;
    if let Some((what, size, ranks)) = unequal(source.model, degrees) {
        let why = format!("{size} on {ranks} ranks");
        let part = format!("unequal parts of {what}");
        return Err(refused(TARGET, &part, &why, "plan with other degrees, as `--for jax` does"));
    }
    let again = again(recompute(source, TARGET)?)?;
    let vocabulary = source.model.groups.first().map_or(0, |group| group.card.vocabulary);
    let document = json!({
        "format": "meshwright.jax/1",
        "jax": source.version,
        "mesh": {
            "axes": AXES,
            "shape": [degrees.data / degrees.expert.max(1), degrees.expert, degrees.tensor],
        },
        "batch": {
            "samples": degrees.micro_batch * degrees.n_micro_batches * u64::from(degrees.data),
            "tokens": source.sequence_length,
            "micro_batches": degrees.n_micro_batches,
            "samples_of_a_micro_batch": degrees.micro_batch * u64::from(degrees.data),
        },
        "activations": activations(degrees),
        "checkpoint": &again,
        "attention": match source.stack.attention {
            AttentionKernel::Flash => "cudnn",
            AttentionKernel::Unfused => "xla",
        },
        "optimizer": source.optimizer.name(),
        "states": states(source)?,
        "rows_of_vocabulary": vocabulary.next_multiple_of(u64::from(degrees.tensor.max(1))),
        "rules": RULES.iter().map(Rule::told).collect::<Vec<_>>(),
    });
    let warnings = warning(degrees, &again).into_iter().collect();
    Ok(Export { warnings, ..Export::from(format!("{document:#}\n")) })
}

/// What XLA decides, but for blocks that it computes again.
fn warning(degrees: &Parallelism, again: &Value) -> Option<Diagnostic> {
    let is_kept = again["around"] != "block" || again["policy"] == "everything_saveable";
    (degrees.zero == ZeroStage::Parameters && is_kept).then(|| {
        let message = "the file says nothing of when parameters are gathered for the backward pass: \
                       XLA may keep those of the forward pass instead";
        Diagnostic::warning("not-in-file", message)
            .hint("plan with `--pin recompute=full`, or `zero=2`, which holds them whole")
    })
}

impl Rule {
    fn told(&self) -> Value {
        json!({ "path": self.path, "whole": spec(self.whole), "shared": spec(self.shared) })
    }
}

/// The arguments of a `PartitionSpec`.
fn spec(splits: &[Split]) -> Value {
    let argument = |split: &Split| match split {
        [] => Value::Null,
        [axis] => json!(axis),
        axes => json!(axes),
    };
    splits.iter().map(argument).collect()
}

/// Specs of what lies between parameters; the rest follows from them.
fn activations(degrees: &Parallelism) -> Value {
    let between = if degrees.sequence == SequenceParallel::On { TENSOR } else { WHOLE };
    json!({
        // Micro-batches, samples, tokens.
        "tokens": spec(&[WHOLE, REPLICAS, WHOLE]),
        // Samples, tokens, elements: between blocks.
        "residual": spec(&[REPLICAS, between, WHOLE]),
        // What goes into products that tensor ranks share out, and comes out of them.
        "input": spec(&[REPLICAS, WHOLE, WHOLE]),
        "inner": spec(&[REPLICAS, WHOLE, TENSOR]),
        // Samples, tokens, heads, elements.
        "heads": spec(&[REPLICAS, WHOLE, TENSOR, WHOLE]),
        // Experts, samples, places, elements: before they are exchanged, and after.
        "sent": spec(&[WHOLE, REPLICAS, WHOLE, WHOLE]),
        "experts": spec(&[EXPERT, DATA, WHOLE, WHOLE]),
    })
}

/// What `jax.checkpoint` goes around, and its policy of `jax.checkpoint_policies`.
fn again(policy: Recompute) -> Result<Value, Diagnostic> {
    let around = |what: &str, policy: &str| json!({ "around": what, "policy": policy });
    match policy {
        Recompute::None => Ok(around("block", "everything_saveable")),
        Recompute::Selective => Ok(around("attention", "nothing_saveable")),
        Recompute::Full | Recompute::Uniform { blocks: 1 } => {
            Ok(around("block", "nothing_saveable"))
        }
        Recompute::PerOp | Recompute::Uniform { .. } | Recompute::Block { .. } => {
            let part = "recompute of every second product or of some blocks";
            let why = "none of its policies saves the same";
            Err(refused(TARGET, part, why, "plan with `--pin recompute=full`"))
        }
    }
}

/// Types of the states, and by which column of the rules they are split.
fn states(source: &TrainingSource<'_>) -> Result<Value, Diagnostic> {
    let zero = source.plan.parallelism.zero;
    let split = |least: ZeroStage| if zero >= least { "shared" } else { "whole" };
    let single = source.dtype == DType::F32;
    let sums_wide = source.stack.gradients == DType::F32;
    let gradients = if sums_wide { DType::F32 } else { source.dtype };
    let moments: &[&str] = match source.optimizer {
        Optimizer::AdamW => &["mu", "nu"],
        _ => &[],
    };
    let master = (!single).then_some("master");
    let copies: Vec<&str> = master.into_iter().chain(moments.iter().copied()).collect();
    Ok(json!({
        "parameters": { "split": split(ZeroStage::Parameters), "dtype": dtype(source.dtype)? },
        "gradients": { "split": split(ZeroStage::Gradients), "dtype": dtype(gradients)? },
        "optimizer": {
            "split": split(ZeroStage::Optimizer),
            "dtype": dtype(DType::F32)?,
            "copies": copies,
        },
    }))
}

fn dtype(dtype: DType) -> Result<&'static str, Diagnostic> {
    match dtype {
        DType::Bf16 => Ok("bfloat16"),
        DType::F16 => Ok("float16"),
        DType::F32 => Ok("float32"),
        other => {
            let why = "what it computes in is bf16, fp16 or fp32";
            Err(refused(TARGET, &other.to_string(), why, "plan with `--dtype bf16`"))
        }
    }
}
