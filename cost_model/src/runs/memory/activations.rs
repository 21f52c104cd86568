//! Bytes of the activations of one block that its backward pass needs, in closed form.
//!
//! For plain cards with an inner width of 4h, tensor degree t and no recompute this is
//! `s b h (10 + 24/t + 5 a s / (h t))`, with sequence parallelism `s b h / t (34 + 5 a s / h)`
//! (Korthikanti et al. 2022, section 4); other cards by the same count of what is kept.

use ir::card::{Attention, SequenceParallel, TransformerCard};
use ir::plan::Parallelism;
use ir::stack::{AttentionKernel, Dispatcher};
use ir::tensor::DType;

use crate::runs::counts::{WeightProduct, weight_products};
use crate::runs::forms::precision::{element, operand};

/// Bytes of an entry of a dropout mask.
const MASK: f64 = 1.0;
/// Bytes of the logarithm of a sum of exponentials that a fused attention core keeps of each query
/// and head, in single precision.
const LOG_SUM: f64 = 4.0;
/// Bytes of an entry of the router's logits, scores and shares, in single precision.
const ROUTER: f64 = 12.0;
/// Spread of the load of a rank's experts over its mean where each rank has one expert: found on the
/// allocator peaks of Megatron-LM's mixtures of 4 and 8 experts (d98e8a64).
const LOAD_SPREAD: f64 = 0.4;

/// Which activations of a block are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kept {
    /// All that the backward pass needs.
    All,
    /// All but those of the attention core: scores, softmax, dropout.
    WithoutCore,
    /// Its input, the outputs of every second product by weights, of the attention core and of the
    /// exchanges of experts.
    PerOp,
    /// The input of the block alone.
    Input,
}

/// What tells apart what blocks keep under equal degrees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Software {
    /// Kernel of the attention core.
    pub attention: AttentionKernel,
    /// Type that is computed in.
    pub dtype: DType,
    /// How tokens reach experts.
    pub dispatcher: Dispatcher,
}

/// Tokens of a micro-batch on one rank.
#[must_use]
pub fn tokens(card: &TransformerCard, parallelism: &Parallelism) -> f64 {
    let samples = parallelism.micro_batch as f64;
    card.sequence as f64 * samples / f64::from(parallelism.context.max(1))
}

/// Degree that what lies outside the tensor-parallel regions is split by.
pub(in crate::runs) fn outer_degree(parallelism: &Parallelism) -> f64 {
    match parallelism.sequence {
        SequenceParallel::Off => 1.0,
        SequenceParallel::On | SequenceParallel::Ulysses => f64::from(parallelism.tensor.max(1)),
    }
}

/// Bytes that one micro-batch keeps of one block on one rank.
#[must_use]
pub fn block_bytes(
    card: &TransformerCard,
    parallelism: &Parallelism,
    software: Software,
    what: Kept,
) -> f64 {
    let Software { attention, dtype, .. } = software;
    let tokens = tokens(card, parallelism);
    let h = card.hidden as f64;
    let outer = outer_degree(parallelism);
    let input = element(dtype) * tokens * h / outer;
    match what {
        Kept::Input => return input,
        Kept::PerOp => return input + per_op_bytes(card, parallelism, software),
        Kept::All | Kept::WithoutCore => {}
    }
    let tensor = f64::from(parallelism.tensor.max(1));
    let bytes = tokens * (outer_width(card, dtype) / outer + inner_width(card, dtype) / tensor)
        + expert_bytes(card, parallelism, software);
    if what == Kept::WithoutCore || attention == AttentionKernel::Flash {
        return bytes;
    }
    bytes + core_bytes(card, parallelism, dtype) / tensor
}

/// Bytes that recompute by op keeps besides the input: outputs of the first, third and so on of the
/// products, whole where tensor ranks add them up; the fused core's output and the logarithm of its
/// sums; what experts are sent and send back.
fn per_op_bytes(
    card: &TransformerCard,
    parallelism: &Parallelism,
    Software { attention, dtype, .. }: Software,
) -> f64 {
    let tensor = f64::from(parallelism.tensor.max(1));
    let element = element(dtype);
    let output = |product: &WeightProduct| {
        element * product.columns as f64 / if product.is_split { tensor } else { 1.0 }
    };
    let products: f64 = weight_products(card).iter().step_by(2).map(output).sum();
    let core = match attention {
        AttentionKernel::Flash => {
            card.n_heads as f64 * (element * card.head_dims().1 as f64 + LOG_SUM) / tensor
        }
        AttentionKernel::Unfused => 0.0,
    };
    let pairs = card.experts.map_or(0.0, |experts| experts.per_token as f64);
    let exchanged = 2.0 * element * pairs * card.hidden as f64 / outer_degree(parallelism);
    tokens(card, parallelism) * (products + core + exchanged)
}

/// Bytes of the experts of one rank: of each pair of token and expert its dispatched input, the
/// operands of its pointwise function and of its last product, and its output; and what the router
/// keeps of each token and expert.
///
/// Pairs are gathered over the ranks that split an expert, and counted on the rank whose experts
/// have most.
fn expert_bytes(card: &TransformerCard, parallelism: &Parallelism, software: Software) -> f64 {
    let Some(experts) = card.experts else { return 0.0 };
    let split = f64::from(parallelism.of_expert());
    let (gathered, split) = match parallelism.sequence {
        SequenceParallel::Off => (1.0, split),
        SequenceParallel::On => (split, split),
        SequenceParallel::Ulysses => (1.0, 1.0),
    };
    let (element, operand) = (element(software.dtype), operand(software.dtype));
    let tokens = tokens(card, parallelism) / outer_degree(parallelism);
    let load = match software.dispatcher {
        Dispatcher::Padded => 1.0,
        Dispatcher::AllToAll | Dispatcher::Flex | Dispatcher::AllGather => {
            heaviest_load(f64::from(parallelism.expert.max(1)), experts.n_experts as f64)
        }
    };
    let pairs = tokens * experts.per_token as f64 * gathered * load;
    let width = card.hidden as f64 * (operand + element);
    let inner = feed_forward(card, software.dtype, experts.feed_forward) / split;
    pairs * (width + inner) + tokens * experts.n_experts as f64 * ROUTER
}

/// Pairs of the rank whose experts have most, over the mean: the greatest of `n` sums of as many
/// loads as a rank has experts, of all that add up.
fn heaviest_load(n_ranks: f64, n_experts: f64) -> f64 {
    let spread = n_ranks / n_experts.max(1.0) * (1.0 - 1.0 / n_ranks);
    1.0 + LOAD_SPREAD * (2.0 * n_ranks.ln()).sqrt() * spread.max(0.0).sqrt()
}

/// Bytes per token outside the tensor-parallel regions: inputs of both norms, of the first product
/// of either half, masks of both dropouts.
fn outer_width(card: &TransformerCard, dtype: DType) -> f64 {
    let masks = if has_dropout(card) { 2.0 * MASK } else { 0.0 };
    let (element, operand) = (element(dtype), operand(dtype));
    card.hidden as f64 * (2.0 * element + 2.0 * operand + masks)
}

/// Bytes per token of a feed-forward part: before the pointwise function, gated with the gate, and
/// the operand after it.
fn feed_forward(card: &TransformerCard, dtype: DType, inner: u64) -> f64 {
    let before = card.form.n_first() as f64;
    (before * element(dtype) + operand(dtype)) * inner as f64
}

/// Bytes per token inside: queries, keys, values, input of the output product, and the
/// feed-forward part that every token visits.
fn inner_width(card: &TransformerCard, dtype: DType) -> f64 {
    let (element, operand) = (element(dtype), operand(dtype));
    let output = card.n_heads as f64 * card.head_dims().1 as f64;
    let attention = element * (attention_width(card) - output) + operand * output;
    let inner = card
        .experts
        .map_or(card.feed_forward, |experts| experts.n_shared.saturating_mul(experts.feed_forward));
    attention + feed_forward(card, dtype, inner)
}

/// Values per token: queries, keys, values, input of the output product; latent ones with the
/// outputs of their narrow products.
fn attention_width(card: &TransformerCard) -> f64 {
    let (key, value) = card.head_dims();
    let heads = card.n_heads as f64;
    match card.attention {
        Attention::Even => {
            let h = card.hidden as f64;
            2.0 * h + 2.0 * h * card.n_kv_heads as f64 / card.n_heads.max(1) as f64
        }
        Attention::Heads { dim } | Attention::Window { dim, .. } => {
            2.0 * (heads + card.n_kv_heads as f64) * dim as f64
        }
        Attention::Latent { query_rank, key_value_rank, rotary, .. } => {
            let narrow = query_rank.unwrap_or(0) as f64 + key_value_rank as f64 + rotary as f64;
            narrow + heads * (2.0 * key as f64 + 2.0 * value as f64)
        }
    }
}

/// Bytes of scores, softmax and dropout over all heads.
///
/// Over `c` context ranks a causal ring computes `(c + 1) / (2 c)` of the square, as the blocks
/// above the diagonal are skipped.
fn core_bytes(card: &TransformerCard, parallelism: &Parallelism, dtype: DType) -> f64 {
    let context = f64::from(parallelism.context.max(1));
    let seen = (context + 1.0) / (2.0 * context);
    // Softmax output; with dropout its mask and its output as well.
    let element = element(dtype);
    let copies = if has_dropout(card) { 2.0 * element + MASK } else { element };
    copies * card.n_heads as f64 * tokens(card, parallelism) * card.sequence as f64 * seen
}

/// Plain cards are trained with dropout (GPT-2, BERT), gated ones without (Llama).
pub(super) fn has_dropout(card: &TransformerCard) -> bool {
    !card.form.is_gated()
}
