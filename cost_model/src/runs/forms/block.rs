//! One block of one micro-batch on one device: forward, backward and computing again.
//!
//! For `T = b s / c` tokens, hidden size `h`, `a` heads of `d` elements, feed-forward width `f`, on
//! `t` tensor ranks and `c` context ranks:
//!
//! ```text
//! products    T x h by h x (a + 2 g) d / t,  T x a d / t by its h,  and the feed-forward's
//! attention   b a / t products s / c x d by d x s, and back; or one fused kernel of 2 b s^2 a d / (c t)
//! pointwise   22 h / r + (4 h + 4 f) / t bytes per token, and 9 per score, forward
//!             34 h / r + (18 h + 6 f) / t and 11, backward   (r = t with sequence parallelism, else 1)
//! collectives two all-reduces of 2 T h bytes per pass (or reduce-scatter and all-gather, alike)
//! gradients   the bytes of adding them, per parameter
//! pass        max(all of these, launch floor)
//! ```
//!
//! Counts of bytes follow from the kernels of Megatron-LM of 2021 in 16-bit elements: a layer norm
//! reads and writes (4), a fused bias, dropout and residual reads two tensors and a mask and writes
//! one (7), GELU reads and writes (4 per element of `f`), scores are scaled, masked and normalised
//! in one kernel (4) and dropped out in another (5). Fused pointwise chains are taken to move
//! [`FUSED_SHARE`] of that.

mod collectives;

use ir::card::{Attention, FeedForward, SequenceParallel};
use ir::stack::{AttentionKernel, Elementwise, Launch, Stack};

use super::constants::{Constant, Constants, WIDE};
use super::precision;
use super::run::Sharded;
use super::system::System;
use crate::kernels::rates::Rates;
use collectives::collectives;

/// Bytes that fused chains of pointwise kernels move over those of single kernels; nominal.
pub(super) const FUSED_SHARE: f64 = 0.5;
/// Host seconds of launching one collective; nominal.
const COLLECTIVE_LAUNCH_S: f64 = 20e-6;
/// Tensor-parallel collectives of one pass.
const COLLECTIVES: f64 = 2.0;

/// Seconds of one pass, and the part of it that collectives take.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pass {
    /// The whole.
    pub seconds: f64,
    /// Collectives of tensor, context and expert ranks in it.
    pub collectives: f64,
    /// Of these, what leaves hosts.
    pub network: f64,
}

/// One block of one micro-batch on one device.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BlockTime {
    /// Forward pass.
    pub forward: Pass,
    /// Backward pass, without computing again.
    pub backward: Pass,
    /// Of the backward pass, the gradients of the weights, were they a pass of their own.
    pub weight_s: f64,
    /// Of the forward pass, the attention core; computing all again takes a forward pass.
    pub core_s: f64,
}

/// Work of one pass in seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Work {
    products: f64,
    attention: f64,
    pointwise: f64,
    scores: f64,
}

impl Work {
    fn all(&self) -> f64 {
        self.products + self.attention + self.pointwise + self.scores
    }
}

/// Extents of a block on one device.
struct Extents {
    tokens: u64,
    /// Samples of a micro-batch.
    batch: u64,
    sequence: u64,
    /// Query positions of one context rank.
    queries: u64,
    hidden: u64,
    /// Heads of one tensor rank.
    heads: u64,
    /// Elements of a query or key head, and of a value head.
    head_dims: (u64, u64),
    /// Columns and contracted extents of the products that make queries, keys and values, of one
    /// tensor rank.
    qkv: Vec<[u64; 2]>,
    /// Products of a feed-forward part: how many at once, tokens, width, and parts of the first.
    feed_forward: [u64; 4],
    /// Inner width of what every token visits beside its experts, of one tensor rank.
    shared: u64,
    tensor: u64,
}

impl Extents {
    fn of(run: Sharded<'_>) -> Self {
        let (card, degrees) = (run.card, run.parallelism);
        let tensor = u64::from(degrees.tensor.max(1));
        let context = u64::from(degrees.context.max(1));
        let queries = card.sequence.div_ceil(context);
        let tokens = degrees.micro_batch.saturating_mul(queries);
        let heads = card.n_heads.div_ceil(tensor);
        let parts = match card.form {
            FeedForward::Plain => 1,
            FeedForward::Gated => 2,
        };
        let feed_forward = match card.experts {
            None => [1, tokens, card.feed_forward.div_ceil(tensor), parts],
            Some(experts) => {
                let local = experts.n_experts.div_ceil(u64::from(degrees.expert.max(1))).max(1);
                let pairs = tokens.saturating_mul(experts.per_token).div_ceil(local);
                [local, pairs, experts.feed_forward.div_ceil(tensor), parts]
            }
        };
        Self {
            tokens,
            batch: degrees.micro_batch,
            sequence: card.sequence,
            queries,
            hidden: card.hidden,
            heads,
            head_dims: card.head_dims(),
            qkv: qkv(run, tensor),
            feed_forward,
            shared: card.experts.map_or(0, |experts| {
                experts.n_shared.saturating_mul(experts.feed_forward).div_ceil(tensor)
            }),
            tensor,
        }
    }

    /// Products of the forward pass: how many, rows, columns, contracted extent.
    fn products(&self) -> Vec<(u64, [u64; 3])> {
        let [count, rows, width, parts] = self.feed_forward;
        let context = self.heads.saturating_mul(self.head_dims.1);
        let mut products: Vec<_> =
            self.qkv.iter().map(|[n, k]| (1, [self.tokens, *n, *k])).collect();
        products.extend([
            (1, [self.tokens, self.hidden, context]),
            (count, [rows, width.saturating_mul(parts), self.hidden]),
            (count, [rows, self.hidden, width]),
        ]);
        if self.shared > 0 {
            let wide = self.shared.saturating_mul(parts);
            products.extend([
                (1, [self.tokens, wide, self.hidden]),
                (1, [self.tokens, self.hidden, self.shared]),
            ]);
        }
        products
    }

    /// Parameters on one device.
    fn parameters(&self) -> f64 {
        let of = |(count, [_, n, k]): &(u64, [u64; 3])| *count as f64 * *n as f64 * *k as f64;
        self.products().iter().map(of).sum()
    }

    /// Values of the scores of all heads of one device.
    fn scores(&self) -> f64 {
        [self.batch, self.heads, self.queries, self.sequence].iter().map(|x| *x as f64).product()
    }

    /// Bytes per pass of tokens that every tensor rank handles, and of those that they share out:
    /// forward and backward.
    fn pointwise(&self) -> [(f64, f64); 2] {
        let [count, rows, width, parts] = self.feed_forward;
        let (hidden, tokens) = (self.hidden as f64, self.tokens as f64);
        let inner = count as f64 * rows as f64 * width as f64 + tokens * self.shared as f64;
        let wide = inner * (1.0 + parts as f64) / 2.0;
        let split = tokens * hidden / self.tensor as f64;
        [
            (22.0 * tokens * hidden, 4.0 * split + 4.0 * wide),
            (34.0 * tokens * hidden, 18.0 * split + 6.0 * wide),
        ]
    }
}

/// Columns and contracted extents of the products that make queries, keys and values.
fn qkv(run: Sharded<'_>, tensor: u64) -> Vec<[u64; 2]> {
    let card = run.card;
    let (key, value) = card.head_dims();
    match card.attention {
        Attention::Even | Attention::Heads { .. } => {
            let heads = card.n_heads.saturating_add(card.n_kv_heads.saturating_mul(2));
            vec![[heads.saturating_mul(key).div_ceil(tensor), card.hidden]]
        }
        // Narrow products are not shared out (Megatron-Core keeps them whole on every rank).
        Attention::Latent { query_rank, key_value_rank, plain, rotary, .. } => {
            let heads = card.n_heads.div_ceil(tensor);
            let narrow = query_rank.map(|rank| [rank, card.hidden]);
            let others = [
                [heads.saturating_mul(key), query_rank.unwrap_or(card.hidden)],
                [key_value_rank.saturating_add(rotary), card.hidden],
                [heads.saturating_mul(plain.saturating_add(value)), key_value_rank],
            ];
            narrow.into_iter().chain(others).collect()
        }
    }
}

/// Parameters of one block on one device, those of experts apart.
#[must_use]
pub fn shared_out(run: Sharded<'_>) -> (f64, f64) {
    let extents = Extents::of(run);
    let [count, _, width, parts] = extents.feed_forward;
    let experts = match run.card.experts {
        None => 0.0,
        Some(_) => count as f64 * width as f64 * (parts as f64 + 1.0) * extents.hidden as f64,
    };
    (extents.parameters() - experts, experts)
}

/// Rows and columns of the weights of one block on one device, those of experts apart: what
/// Adafactor keeps a number for.
#[must_use]
pub fn rows_and_columns(run: Sharded<'_>) -> (f64, f64) {
    let extents = Extents::of(run);
    let [_, _, width, parts] = extents.feed_forward;
    let of = |(count, [_, n, k]): &(u64, [u64; 3])| *count as f64 * (*n as f64 + *k as f64);
    let experts = run.card.experts.map_or(0.0, |_| {
        let count = extents.feed_forward[0] as f64;
        count * (width as f64 * (parts as f64 + 1.0) + 2.0 * extents.hidden as f64)
    });
    (extents.products().iter().map(of).sum::<f64>() - experts, experts)
}

/// Times of one block.
#[must_use]
pub fn block(run: Sharded<'_>, system: &System, stack: &Stack, constants: &Constants) -> BlockTime {
    let rates = system.rates(constants, run.dtype);
    let beside = system.rates(constants, precision::beside(run.dtype));
    let extents = Extents::of(run);
    let forward = forward(run, &extents, [&rates, &beside], stack);
    let mut backward = backward(run, &extents, [&rates, &beside], stack);
    let adding = rates.pointwise(run.gradients.added(run.dtype) * extents.parameters());
    backward.pointwise += adding;
    let collectives = |direction| collectives(run, direction, system, stack, constants);
    let (there, back) = (collectives(Direction::Forward), collectives(Direction::Backward));
    let floor = floor(run, stack, constants);
    let pass = |work: f64, floor: f64, [inside, network]: [f64; 2]| Pass {
        seconds: (work + inside + network).max(floor),
        collectives: inside + network,
        network,
    };
    BlockTime {
        forward: pass(forward.all(), floor, there),
        backward: pass(backward.all(), 2.0 * floor, back),
        weight_s: (weight_products(&extents, &rates) + adding).max(floor),
        core_s: forward.attention + forward.scores,
    }
}

/// Products that give the gradients of weights.
fn weight_products(extents: &Extents, rates: &Rates) -> f64 {
    let of = |(count, [m, n, k]): &(u64, [u64; 3])| rates.product(*count, [*n, *k, *m]);
    extents.products().iter().map(of).sum()
}

/// Least seconds of one forward pass on the host.
pub(super) fn floor(run: Sharded<'_>, stack: &Stack, constants: &Constants) -> f64 {
    let tensor = run.parallelism.tensor;
    let floor = constants.get(Constant::LaunchFloor);
    match stack.launch {
        Launch::CudaGraphs => 0.0,
        Launch::Eager if tensor >= WIDE => floor * constants.get(Constant::WideLaunch),
        Launch::Eager if tensor > 1 => floor + COLLECTIVES * COLLECTIVE_LAUNCH_S,
        Launch::Eager => floor,
    }
}

fn share(stack: &Stack) -> f64 {
    match stack.elementwise {
        Elementwise::Separate => 1.0,
        Elementwise::Fused => FUSED_SHARE,
    }
}

/// Every tensor rank handles all tokens between the regions, or its share with sequence
/// parallelism.
fn per_rank(run: Sharded<'_>, (whole, split): (f64, f64)) -> f64 {
    let ranks = match run.parallelism.sequence {
        SequenceParallel::Off => 1.0,
        SequenceParallel::On | SequenceParallel::Ulysses => {
            f64::from(run.parallelism.tensor.max(1))
        }
    };
    wider(run) * (whole / ranks + split)
}

/// Elements of the run over 16-bit ones. Masks are taken to widen with what they mask.
fn wider(run: Sharded<'_>) -> f64 {
    precision::element(run.dtype) / 2.0
}

/// Bytes per score, of which one belongs to the mask, from those in 16 bits.
fn score_bytes(run: Sharded<'_>, bytes: f64) -> f64 {
    (bytes - 1.0) * wider(run) + 1.0
}

/// Operations of the two products of attention over all positions.
fn core_flops(extents: &Extents) -> f64 {
    2.0 * extents.scores() * (extents.head_dims.0 as f64 + extents.head_dims.1 as f64)
}

/// `rates` of products by weights, and of all else.
fn forward(
    run: Sharded<'_>,
    extents: &Extents,
    [rates, beside]: [&Rates; 2],
    stack: &Stack,
) -> Work {
    let [bytes, _] = extents.pointwise();
    let Extents { queries, sequence, head_dims: (key, value), .. } = *extents;
    let count = extents.batch.saturating_mul(extents.heads);
    let (attention, scores) = match stack.attention {
        AttentionKernel::Flash => (rates.fused_attention(core_flops(extents), false), 0.0),
        AttentionKernel::Unfused => (
            beside.product(count, [queries, sequence, key])
                + beside.product(count, [queries, value, sequence]),
            rates.pointwise(score_bytes(run, 9.0) * extents.scores()),
        ),
    };
    Work {
        products: extents.products().iter().map(|(count, mnk)| rates.product(*count, *mnk)).sum(),
        attention,
        pointwise: rates.pointwise(per_rank(run, bytes) * share(stack)),
        scores,
    }
}

/// `rates` of products by weights, and of all else.
fn backward(
    run: Sharded<'_>,
    extents: &Extents,
    [rates, beside]: [&Rates; 2],
    stack: &Stack,
) -> Work {
    let [_, bytes] = extents.pointwise();
    let Extents { queries, sequence, head_dims: (key, value), .. } = *extents;
    let count = extents.batch.saturating_mul(extents.heads);
    let both = |(count, [m, n, k]): &(u64, [u64; 3])| {
        rates.product(*count, [*m, *k, *n]) + rates.product(*count, [*n, *k, *m])
    };
    let (attention, scores) = match stack.attention {
        AttentionKernel::Flash => (rates.fused_attention(core_flops(extents), true), 0.0),
        AttentionKernel::Unfused => (
            beside.product(count, [queries, sequence, value])
                + beside.product(count, [sequence, value, queries])
                + 2.0 * beside.product(count, [queries, key, sequence]),
            rates.pointwise(score_bytes(run, 11.0) * extents.scores()),
        ),
    };
    Work {
        products: extents.products().iter().map(both).sum(),
        attention,
        pointwise: rates.pointwise(per_rank(run, bytes) * share(stack)),
        scores,
    }
}

/// Which pass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forward,
    Backward,
}

#[cfg(test)]
mod tests;
