//! One block of one micro-batch on one device: forward, backward and computing again.
//!
//! For `T = b s / c` tokens, hidden size `h`, `a` heads of `d` elements, feed-forward width `f`, on
//! `t` tensor ranks and `c` context ranks:
//!
//! ```text
//! products    T x h by h x (a + 2 g) d / t,  T x a d / t by its h,  and the feed-forward's
//! attention   b a / t products s / c x d by d x s, and back; or one fused kernel of 2 b s^2 a d / (c t)
//! pointwise   bytes per token and per score, and starts of kernels ([`pointwise`])
//! casts       bytes per element of operands in 8 or 4 bits
//! collectives two gathers and two scatters of 2 T h bytes per pass (an all-reduce is one of each)
//! gradients   the bytes of adding them, per parameter
//! pass        max(all of these, launch floor), both with what experts add; their sum on a processor
//! ```

pub mod cached;
mod collectives;
mod experts;
mod extents;
pub mod groups;
pub mod parts;
pub mod passes;
mod pointwise;
pub mod served;

use ir::card::SequenceParallel;
use ir::plan::Parallelism;
use ir::stack::{AttentionKernel, Launch, Pieces, Projections, Scaling, Stack, WeightCasts};

use super::constants::{Constant, Constants, WIDE};
use super::precision;
use super::run::Sharded;
use super::system::System;
use crate::kernels::rates::{Core, Rates};
use collectives::{Exposed, collectives};
use extents::Extents;

/// Bytes that fused chains of pointwise kernels move over those of single kernels, where it is not
/// known what is fused; nominal.
pub(super) const FUSED_SHARE: f64 = 0.5;
/// Share of the rate of a causal core that is lost where many context ranks share it out (fitted on
/// torchtitan's steps over 2 to 8 context ranks; the cause is not known).
const SPLIT_CORE: f64 = 0.27;
/// Host seconds of launching one collective; nominal.
const COLLECTIVE_LAUNCH_S: f64 = 20e-6;
/// Tensor-parallel collectives of one pass.
const COLLECTIVES: f64 = 2.0;

/// Those around dense products, with what tokens that visit no expert share. Where tensor ranks split
/// sequences, their parts go to experts as they are, and come back so.
fn collectives_of(run: Sharded<'_>) -> f64 {
    let all_visit = run.card.experts.is_some_and(|experts| experts.n_shared == 0);
    let is_split = run.parallelism.sequence == SequenceParallel::On;
    if all_visit && is_split { COLLECTIVES / 2.0 } else { COLLECTIVES }
}

/// Seconds of one pass, and the part of it that collectives take.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pass {
    /// The whole.
    pub seconds: f64,
    /// Collectives of tensor, context and expert ranks in it.
    pub collectives: f64,
    /// Of these, those of context ranks, and those of expert ranks.
    pub axes: [f64; 2],
    /// Of these, what leaves hosts.
    pub network: f64,
    /// Seconds in which collectives use network cards, those that run beside work included.
    pub cards: f64,
}

impl Pass {
    /// Adds the exposed part of an exchange of expert ranks, which uses network cards for all of it if it leaves hosts.
    fn exchanges(&mut self, [exposed_s, whole_s]: [f64; 2], leaves_host: bool) {
        self.seconds += exposed_s;
        self.collectives += exposed_s;
        self.axes[1] += exposed_s;
        if leaves_host {
            self.network += exposed_s;
            self.cards += whole_s;
        }
    }
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
    /// Bytes of the gradients of the outputs of products by weights and of both norms, experts' apart.
    pub split_bytes: f64,
    /// Of the forward pass, the attention core; computing all again takes a forward pass.
    pub core_s: f64,
    /// Of the forward pass, what is not done again where every second product is kept: the core,
    /// those products, and scatters.
    pub kept_by_op_s: f64,
    /// Of the forward pass, what is not done again where the stack's recompute ends with the last tensor
    /// needed: the product that ends a block; none where launches bind, or experts end it.
    pub last_s: f64,
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

/// Parameters of one block on one device, those of experts apart.
#[must_use]
pub fn shared_out(run: Sharded<'_>) -> (f64, f64) {
    (Extents::of(run, Projections::Joined).parameters(), experts::parameters(run).0)
}

/// Rows and columns of the weights of one block on one device, those of experts apart: what
/// Adafactor keeps a number for.
#[must_use]
pub fn rows_and_columns(run: Sharded<'_>) -> (f64, f64) {
    let extents = Extents::of(run, Projections::Joined);
    let of = |(count, [_, n, k]): &(u64, [u64; 3])| *count as f64 * (*n as f64 + *k as f64);
    (extents.products().iter().map(of).sum(), experts::parameters(run).1)
}

/// Times of one block.
#[must_use]
pub fn block(run: Sharded<'_>, system: &System, stack: &Stack, constants: &Constants) -> BlockTime {
    let mut time = without_experts(run, system, stack, constants);
    if let Some(card) = run.card.experts {
        let rates = system.rates(stack, constants, run.dtype);
        experts::add(&mut time, (run, card), &rates, (system, stack, constants));
    }
    time
}

/// Times of all of a block but its experts.
fn without_experts(
    run: Sharded<'_>,
    system: &System,
    stack: &Stack,
    constants: &Constants,
) -> BlockTime {
    let rates = system.rates(stack, constants, run.dtype).of_weights(run.held.weight);
    let beside = system.rates(stack, constants, precision::beside(run.dtype));
    let extents = Extents::of(run, stack.projections);
    let forward = forward(run, &extents, [&rates, &beside], stack);
    let mut backward = backward(run, &extents, [&rates, &beside], stack);
    let adding = rates.pointwise(run.gradients.added(run.dtype) * extents.parameters());
    backward.pointwise += adding;
    let collectives = |direction| collectives(run, direction, system, (stack, constants));
    let (there, back) = (collectives(Direction::Forward), collectives(Direction::Backward));
    // Where there are experts, their launches count too.
    let floor = match run.card.experts {
        None => floor(run, stack, constants),
        Some(_) => 0.0,
    };
    let pass = |work: f64, floor: f64, Exposed { inside, network, context }: Exposed| Pass {
        seconds: stack.launch.joined(work + inside + network, floor),
        collectives: inside + network,
        axes: [context, 0.0],
        network,
        cards: network,
    };
    let is_bound = floor > forward.all() + there.inside + there.network;
    BlockTime {
        last_s: match stack.stops_early && !is_bound {
            true => last_product(run, &rates),
            false => 0.0,
        },
        forward: pass(forward.all(), floor, there),
        backward: pass(backward.all(), 2.0 * floor, back),
        weight_s: stack.launch.joined(weight_products(&extents, &rates) + adding, floor),
        split_bytes: split_bytes(run, &extents),
        core_s: forward.attention + forward.scores,
        kept_by_op_s: forward.attention
            + second_products(run, &rates)
            + there.inside.midpoint(there.network),
    }
}

/// Every second product of the forward pass, from the first on, each by one weight (torchtitan's
/// `selective_ac_option = 2`, which is what its selective recompute by op does).
fn second_products(run: Sharded<'_>, rates: &Rates) -> f64 {
    let products = Extents::of(run, Projections::Apart).products();
    products.iter().step_by(2).map(|(count, mnk)| rates.by_weight(*count, *mnk)).sum()
}

/// The product that ends a block; 0 where experts do.
fn last_product(run: Sharded<'_>, rates: &Rates) -> f64 {
    let products = Extents::of(run, Projections::Apart).products();
    let last = products.last().filter(|_| run.card.experts.is_none());
    last.map_or(0.0, |(count, mnk)| rates.by_weight(*count, *mnk))
}

/// Bytes of the gradients that the weights' own are made of.
fn split_bytes(run: Sharded<'_>, extents: &Extents) -> f64 {
    let of = |(count, [m, n, _]): &(u64, [u64; 3])| *count as f64 * *m as f64 * *n as f64;
    let outputs: f64 = extents.products().iter().map(of).sum();
    let norms = 2.0 * per_rank(run, (1.0, 0.0)) / wider(run);
    precision::element(run.dtype)
        * (outputs + norms * extents.tokens as f64 * extents.hidden as f64)
}

/// Products that give the gradients of weights.
fn weight_products(extents: &Extents, rates: &Rates) -> f64 {
    let of = |(count, [m, n, k]): &(u64, [u64; 3])| rates.product(*count, [*n, *k, *m]);
    extents.products().iter().map(of).sum()
}

/// Least seconds of one forward pass on the host.
pub(super) fn floor(run: Sharded<'_>, stack: &Stack, constants: &Constants) -> f64 {
    let Parallelism { tensor, context, .. } = *run.parallelism;
    let floor = constants.get(Constant::LaunchFloor);
    let share = |ranks: u32, share: f64| if ranks > 1 { share } else { 0.0 };
    let more = share(tensor, stack.host.tensor) + share(context, stack.host.context);
    let plain = match stack.launch {
        Launch::CudaGraphs => 0.0,
        Launch::Eager if tensor >= WIDE => floor * constants.get(Constant::WideLaunch),
        Launch::Eager if tensor > 1 => floor + COLLECTIVES * COLLECTIVE_LAUNCH_S,
        Launch::Eager | Launch::Inline => floor,
    };
    plain * (1.0 + more)
}

/// Seconds that a host takes so many launch floors of a block for.
pub(in crate::runs::forms) fn host_s(floors: f64, stack: &Stack, constants: &Constants) -> f64 {
    match stack.launch {
        Launch::CudaGraphs => 0.0,
        Launch::Eager | Launch::Inline => floors * constants.get(Constant::LaunchFloor),
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

/// Seconds of a fused core, of which each context rank has a part.
fn fused_core(run: Sharded<'_>, extents: &Extents, rates: &Rates, is_backward: bool) -> f64 {
    let (key, value) = (extents.head_dims.0 as f64, extents.head_dims.1 as f64);
    let core = Core {
        flops: 2.0 * extents.scores() * extents.window_share * (key + value),
        sequence: extents.sequence as f64,
        head_dim: f64::midpoint(key, value),
    };
    let context = f64::from(run.parallelism.context.max(1));
    rates.fused_attention(core, is_backward) / (1.0 - SPLIT_CORE * (1.0 - 1.0 / context))
}

/// Bytes that casts to 8 or 4 bits move in one pass: of the operands of its products, which a tensor
/// rank has a part of, and of the weights where those are cast for every pass.
fn cast_bytes(
    run: Sharded<'_>,
    extents: &Extents,
    (rates, stack): (&Rates, &Stack),
    direction: Direction,
) -> f64 {
    let each = rates.cast_bytes();
    if each <= 0.0 {
        return 0.0;
    }
    let tensor = f64::from(run.parallelism.tensor.max(1));
    let [inputs, results] = extents.cast();
    let weights = match stack.weight_casts {
        WeightCasts::EachStep => 0.0,
        WeightCasts::EachPass => each * extents.parameters(),
    };
    let cast = match direction {
        Direction::Forward => inputs,
        Direction::Backward => results,
    };
    let gathered = match (stack.pieces, tensor > 1.0) {
        (Pieces::Copied, true) => gathered_casts(run, extents, stack.scaling),
        _ => 0.0,
    };
    each * cast / tensor + weights + gathered
}

/// What DTensor's ranks cast beside: of pieces in 8 bits the transposed copy is made of the whole, and
/// of pieces that were gathered in 16 bits each rank casts all, by rows and by columns apart.
fn gathered_casts(run: Sharded<'_>, extents: &Extents, scaling: Scaling) -> f64 {
    const GATHERS: f64 = 2.0;
    let whole = GATHERS * extents.tokens as f64 * extents.hidden as f64;
    let tensor = f64::from(run.parallelism.tensor.max(1));
    match scaling {
        Scaling::Row => 8.0 * whole * (1.0 - 1.0 / tensor),
        Scaling::Tensor | Scaling::Block => 2.0 * whole,
    }
}

/// `rates` of products by weights, and of all else.
fn forward(
    run: Sharded<'_>,
    extents: &Extents,
    [rates, beside]: [&Rates; 2],
    stack: &Stack,
) -> Work {
    let [bytes, _] = pointwise::bytes(extents, run, stack.elementwise);
    let [per_score, _] = pointwise::score_bytes(stack.elementwise);
    let [starts, _] = pointwise::kernels(stack.elementwise, run.card.form);
    let Extents { queries, sequence, head_dims: (key, value), .. } = *extents;
    let count = extents.batch.saturating_mul(extents.heads);
    let (attention, scores) = match stack.attention {
        AttentionKernel::Flash => (fused_core(run, extents, rates, false), 0.0),
        AttentionKernel::Unfused => (
            beside.product(count, [queries, sequence, key])
                + beside.product(count, [queries, value, sequence]),
            rates.pointwise(score_bytes(run, per_score) * extents.scores()),
        ),
    };
    Work {
        products: extents.products().iter().map(|(count, mnk)| rates.by_weight(*count, *mnk)).sum(),
        attention,
        pointwise: rates.pointwise(
            per_rank(run, bytes) + cast_bytes(run, extents, (rates, stack), Direction::Forward),
        ) + starts * rates.start(),
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
    let [_, bytes] = pointwise::bytes(extents, run, stack.elementwise);
    let [_, per_score] = pointwise::score_bytes(stack.elementwise);
    let [_, starts] = pointwise::kernels(stack.elementwise, run.card.form);
    let Extents { queries, sequence, head_dims: (key, value), .. } = *extents;
    let count = extents.batch.saturating_mul(extents.heads);
    let both = |(count, [m, n, k]): &(u64, [u64; 3])| {
        rates.by_weight(*count, [*m, *k, *n]) + rates.product(*count, [*n, *k, *m])
    };
    let (attention, scores) = match stack.attention {
        AttentionKernel::Flash => (fused_core(run, extents, rates, true), 0.0),
        AttentionKernel::Unfused => (
            beside.product(count, [queries, sequence, value])
                + beside.product(count, [sequence, value, queries])
                + 2.0 * beside.product(count, [queries, key, sequence]),
            rates.pointwise(score_bytes(run, per_score) * extents.scores()),
        ),
    };
    Work {
        products: extents.products().iter().map(both).sum(),
        attention,
        pointwise: rates.pointwise(
            per_rank(run, bytes) + cast_bytes(run, extents, (rates, stack), Direction::Backward),
        ) + starts * rates.start(),
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
