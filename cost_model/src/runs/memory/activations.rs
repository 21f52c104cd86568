//! Bytes of the activations of one block that its backward pass needs, in closed form.
//!
//! For plain cards with an inner width of 4h, tensor degree t and no recompute this is
//! `s b h (10 + 24/t + 5 a s / (h t))`, with sequence parallelism `s b h / t (34 + 5 a s / h)`
//! (Korthikanti et al. 2022, section 4); other cards by the same count of what is kept.

use ir::card::{Attention, FeedForward, SequenceParallel, TransformerCard};
use ir::plan::Parallelism;
use ir::stack::AttentionKernel;
use ir::tensor::DType;

use crate::runs::forms::precision::{element, operand};

/// Bytes of an entry of a dropout mask.
const MASK: f64 = 1.0;
/// Bytes of an entry of the router's scores and of its shares, in single precision.
const ROUTER: f64 = 8.0;

/// Which activations of a block are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kept {
    /// All that the backward pass needs.
    All,
    /// All but those of the attention core: scores, softmax, dropout.
    WithoutCore,
    /// The input of the block alone.
    Input,
}

/// Tokens of a micro-batch on one rank.
#[must_use]
pub fn tokens(card: &TransformerCard, parallelism: &Parallelism) -> f64 {
    let samples = parallelism.micro_batch as f64;
    card.sequence as f64 * samples / f64::from(parallelism.context.max(1))
}

/// Degree that what lies outside the tensor-parallel regions is split by.
pub(super) fn outer_degree(parallelism: &Parallelism) -> f64 {
    match parallelism.sequence {
        SequenceParallel::Off => 1.0,
        SequenceParallel::On | SequenceParallel::Ulysses => f64::from(parallelism.tensor.max(1)),
    }
}

/// Bytes that one micro-batch keeps of one block on one rank, under a kernel of the attention core
/// and an element type.
#[must_use]
pub fn block_bytes(
    card: &TransformerCard,
    parallelism: &Parallelism,
    (attention, dtype): (AttentionKernel, DType),
    kept: Kept,
) -> f64 {
    let tokens = tokens(card, parallelism);
    let h = card.hidden as f64;
    let outer = outer_degree(parallelism);
    if kept == Kept::Input {
        return element(dtype) * tokens * h / outer;
    }
    let tensor = f64::from(parallelism.tensor.max(1));
    let bytes = tokens * (outer_width(card, dtype) / outer + inner_width(card, dtype) / tensor);
    if kept == Kept::WithoutCore || attention == AttentionKernel::Flash {
        return bytes;
    }
    bytes + core_bytes(card, parallelism, dtype) / tensor
}

/// Bytes per token outside the tensor-parallel regions: inputs of both norms, of the first product
/// of either half, masks of both dropouts.
///
/// Each pair of token and expert has its dispatched input and its output beside.
fn outer_width(card: &TransformerCard, dtype: DType) -> f64 {
    let masks = if has_dropout(card) { 2.0 * MASK } else { 0.0 };
    let (element, operand) = (element(dtype), operand(dtype));
    let pairs = card.experts.map_or(0.0, |experts| experts.per_token as f64);
    card.hidden as f64 * (2.0 * element + 2.0 * operand + masks + pairs * (element + operand))
}

/// Bytes per token inside: queries, keys, values, input of the output product, and the
/// feed-forward part.
fn inner_width(card: &TransformerCard, dtype: DType) -> f64 {
    let (element, operand) = (element(dtype), operand(dtype));
    // Before the pointwise function, gated with the gate, and the operand after it.
    let before = match card.form {
        FeedForward::Plain => 1.0,
        FeedForward::Gated => 2.0,
    };
    let feed_forward = |inner: u64| (before * element + operand) * inner as f64;
    let output = card.n_heads as f64 * card.head_dims().1 as f64;
    let attention = element * (attention_width(card) - output) + operand * output;
    match card.experts {
        None => attention + feed_forward(card.feed_forward),
        Some(experts) => {
            attention
                + experts.per_token as f64 * feed_forward(experts.feed_forward)
                + feed_forward(experts.n_shared.saturating_mul(experts.feed_forward))
                + ROUTER * experts.n_experts as f64
        }
    }
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
    card.form == FeedForward::Plain
}
