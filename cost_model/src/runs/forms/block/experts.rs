//! Experts of a block and what they add to its passes.
//!
//! For `P = T k / t` pairs of a token and an expert, more on the busiest rank where visits are skewed
//! ([`ExpertCard::heaviest`]), experts of a width `f`, `l` of them on a device,
//! forward and backward (`python/forms/experts/FORMS.md`, section 3):
//!
//! ```text
//! products   6 P h f and 12 P h f operations at a share of the peak, times 1 + kf / f
//! pointwise  4 P h + 6 P f + 2 T h / t bytes and 4 P h + 10 P f + 2 T h / t: permuted, gated, weighed
//!            8 P h more each way with an all-to-all, which sorts by local expert before and after
//! casts      of operands in 8 bits: P (h + f) elements and P (2 f + h)
//! biases     16 P f + 14 P h bytes and 34 P f + 26 P h, where experts have biases: split, added,
//!            concatenated; the function is computed again
//! weights    an operand read in both passes, and the main gradient read and written
//! launches   seconds of the stack on such hosts x (dispatcher + 0.015 l), a third and two thirds, added to the
//!            device's work; a pass takes no less than they and the launch floor of the block together
//! exchange   dispatch and combine of both passes ([`crate::runs::forms::exchange`])
//! ```
//!
//! Where `e` ranks split an expert, each has a width `f / e` of it and all pairs of these ranks, `e P`: a
//! gather before and a scatter behind the products, of `2 e P h` bytes in both passes (Megatron-Core's
//! `token_dispatcher.py`), and half of the bytes above that are of a width `h` are moved before the gather or
//! behind the scatter, the rest of the gathered pairs.
//!
//! A stack that runs exchanges beside the work of another micro-batch takes the longer of both and
//! a fifth of the shorter; one that does so because the plan says so, of all micro-batches but those
//! that fill the pipeline ([`Parallelism::overlapped`](ir::plan::Parallelism::overlapped)).

use ir::card::{ExpertCard, SequenceParallel};
use ir::chip::Chip;
use ir::stack::{Dispatcher, Launch, Stack};

use super::super::constants::{Constant, Constants};
use ir::measured::CollectiveOperation;

use super::super::exchange::Tokens;
use super::super::precision;
use super::super::rank_groups::Group;
use super::super::run::Sharded;
use super::super::system::System;
use super::BlockTime;
use crate::kernels::generation::generation;
use crate::kernels::rates::Rates;

/// Launches of a block with experts over those of a flex dispatcher, beside those of each expert.
/// Gathers take as few kernels as a flex dispatcher: nominal, chosen with the steps of Megatron-LM's
/// tests in sight, which those of an all-to-all fit worse.
const fn launches(stack: &Stack) -> f64 {
    let [padded, plain] = stack.expert_costs.dispatched;
    match stack.experts.dispatcher {
        Dispatcher::Flex | Dispatcher::AllGather => 1.0,
        Dispatcher::Padded => padded,
        Dispatcher::AllToAll => plain,
    }
}
/// The same of each local expert (fitted on 19 mixtures of Megatron-Bridge; nominal 0.01).
const EACH_EXPERT: f64 = 0.015;
/// Share of the shorter of exchange and work that running them side by side costs.
const BESIDE: f64 = 0.2;

/// Experts of a block on one device.
struct Extents {
    /// Tokens that the device sends.
    tokens: f64,
    /// Pairs of a token and an expert that are its own.
    pairs: f64,
    /// Ranks that split an expert.
    split: f64,
    hidden: f64,
    /// Width of an expert.
    width: f64,
    /// Parts of the first product.
    parts: f64,
    local: f64,
    /// Parameters.
    parameters: f64,
}

impl Extents {
    fn of(run: Sharded<'_>, experts: ExpertCard, heaviest: f64) -> Self {
        let degrees = run.parallelism;
        let queries = run.card.sequence.div_ceil(u64::from(degrees.context.max(1)));
        let tokens = degrees.micro_batch.saturating_mul(queries) as f64;
        let tokens = tokens / f64::from(degrees.tensor.max(1));
        Self {
            tokens,
            pairs: heaviest * tokens * experts.per_token as f64,
            split: f64::from(degrees.of_expert()),
            hidden: run.card.hidden as f64,
            width: experts.feed_forward as f64,
            parts: run.card.form.n_first() as f64,
            local: local(run, experts) as f64,
            parameters: parameters(run).0,
        }
    }

    /// Operations of a forward pass.
    fn flops(&self) -> f64 {
        2.0 * self.pairs * self.hidden * self.width * (self.parts + 1.0)
    }

    /// Elements of operands: inputs of a forward pass, and gradients of its results.
    fn cast(&self) -> [f64; 2] {
        let hidden = self.split * self.hidden;
        [hidden + self.width, self.parts * self.width + hidden].map(|each| self.pairs * each)
    }

    /// Bytes of pointwise kernels in 16-bit elements, forward and backward.
    fn pointwise(&self, dispatcher: Dispatcher, biases: f64) -> [f64; 2] {
        let inner = match self.parts > 1.0 {
            true => [6.0, 10.0],
            false => [4.0, 6.0],
        };
        let sorted = match dispatcher {
            Dispatcher::Flex | Dispatcher::AllGather => 0.0,
            Dispatcher::AllToAll | Dispatcher::Padded => 8.0,
        };
        let biases = [[16.0, 14.0], [34.0, 26.0]].map(|pass| pass.map(|bytes| biases * bytes));
        let gathered = f64::midpoint(1.0, self.split);
        [0, 1].map(|pass| {
            let [of_width, of_hidden] = biases[pass];
            self.pairs * (gathered * (4.0 + sorted + of_hidden) * self.hidden)
                + self.pairs * (inner[pass] + of_width) * self.width
                + 2.0 * self.tokens * self.hidden
        })
    }
}

/// Experts of one device.
fn local(run: Sharded<'_>, experts: ExpertCard) -> u64 {
    experts.n_experts.div_ceil(u64::from(run.parallelism.expert.max(1))).max(1)
}

/// Parameters of the experts of one block on one device, and their rows and columns.
pub(super) fn parameters(run: Sharded<'_>) -> (f64, f64) {
    let Some(experts) = run.card.experts else { return (0.0, 0.0) };
    let width = experts.feed_forward.div_ceil(u64::from(run.parallelism.of_expert())) as f64;
    let (count, hidden) = (local(run, experts) as f64, run.card.hidden as f64);
    let products = run.card.form.n_first() as f64 + 1.0;
    (count * width * products * hidden, count * (width * products + 2.0 * hidden))
}

/// What the experts of a block do on one device.
struct Work {
    own: Extents,
    /// Visits of the busiest rank over the mean.
    heaviest: f64,
    /// Seconds of the forward and the backward pass.
    pass_s: [f64; 2],
    /// Of these, products that give the gradients of weights, with adding those.
    weights_s: f64,
    /// Of the forward pass, reading weights.
    read_s: f64,
    launches_s: f64,
}

/// Seconds of experts on one device without their exchange, forward and backward, and what visits the
/// busiest rank over the mean; no seconds where the block has none.
pub(super) fn alone(
    run: Sharded<'_>,
    (system, stack, constants): (&System, &Stack, &Constants),
) -> ([f64; 2], f64) {
    let Some(experts) = run.card.experts else { return ([0.0; 2], 1.0) };
    let rates = system.rates(stack, constants, run.dtype);
    let work = work((run, experts), &rates, (system, stack, constants));
    (work.pass_s, work.heaviest)
}

/// Seconds of a forward pass of experts on one device whose launches are recorded, and of these reading
/// weights; no seconds where the block has none.
pub(super) fn recorded(
    run: Sharded<'_>,
    (system, stack, constants): (&System, &Stack, &Constants),
) -> [f64; 2] {
    let Some(experts) = run.card.experts else { return [0.0; 2] };
    let rates = system.rates(stack, constants, run.dtype);
    let work = work((run, experts), &rates, (system, stack, constants));
    [work.pass_s[0] - work.launches_s / 3.0, work.read_s]
}

fn work(
    (run, experts): (Sharded<'_>, ExpertCard),
    rates: &Rates,
    (system, stack, constants): (&System, &Stack, &Constants),
) -> Work {
    // What is padded is as much for every expert.
    let heaviest = match stack.experts.dispatcher {
        Dispatcher::Padded => 1.0,
        Dispatcher::AllToAll | Dispatcher::Flex | Dispatcher::AllGather => {
            experts.heaviest(u64::from(run.parallelism.expert.max(1)))
        }
    };
    let extents = Extents::of(run, experts, heaviest);
    let generation = generation(system.device.chip);
    let grouped = generation.grouped(run.dtype, stack.scaling);
    let width = (extents.width / extents.split).max(1.0);
    let slower = 1.0 + stack.expert_costs.narrow * grouped.narrow / width;
    let product_s = slower * rates.share_of_peak(extents.flops(), grouped.efficiency);
    let wider = precision::element(run.dtype) / 2.0;
    let bytes = extents.pointwise(
        stack.experts.dispatcher,
        if experts.has_biases { stack.expert_costs.biases } else { 0.0 },
    );
    let bytes = [0, 1].map(|pass| wider * bytes[pass] + rates.cast_bytes() * extents.cast()[pass]);
    let operand = run.held.expert.unwrap_or(precision::operand(run.dtype));
    let gradient_s = rates.pointwise(2.0 * run.gradients.exchanged() * extents.parameters);
    let read_s = rates.pointwise(operand * extents.parameters);
    let launches_s = launches_s(extents.local, system.device.chip, stack, constants);
    let pass_s = [
        product_s + rates.pointwise(bytes[0]) + read_s + launches_s / 3.0,
        2.0 * (product_s + launches_s / 3.0) + rates.pointwise(bytes[1]) + read_s + gradient_s,
    ];
    Work { own: extents, heaviest, pass_s, weights_s: product_s + gradient_s, read_s, launches_s }
}

/// Adds experts to the passes of a block.
pub(super) fn add(
    time: &mut BlockTime,
    (run, experts): (Sharded<'_>, ExpertCard),
    rates: &Rates,
    (system, stack, constants): (&System, &Stack, &Constants),
) {
    let Work { own: extents, heaviest, pass_s, weights_s, launches_s, .. } =
        work((run, experts), rates, (system, stack, constants));
    let beside_s = if stack.launch == Launch::Inline { 0.0 } else { launches_s / 3.0 };
    let host_s = super::floor(run, stack, constants) + beside_s;
    let weight_s = time.weight_s + weights_s + launches_s / 3.0;
    time.weight_s = stack.launch.joined(weight_s, host_s);
    let group = Group::experts(run.parallelism).spread(system.per_host);
    let tokens = Tokens {
        count: match stack.experts.dispatcher {
            Dispatcher::AllGather => extents.tokens,
            _ => heaviest * extents.tokens,
        },
        bytes: precision::element(run.dtype) * extents.hidden,
        visits: experts.per_token as f64,
    };
    let network = constants.get(Constant::Network);
    let exchange_s = system.visits_s(group, tokens, stack.experts.dispatcher, network)
        + gathered_s(run, tokens, (system, stack.experts.dispatcher, network));
    for (pass, work) in [&mut time.forward, &mut time.backward].into_iter().zip(pass_s) {
        pass.seconds += work;
    }
    let all_s = time.forward.seconds + time.backward.seconds;
    let beside_s = beside(all_s, 2.0 * exchange_s) / 2.0;
    let exposed_s = match (stack.experts.overlaps, run.parallelism.expert_overlap) {
        // As whole steps of recipes that do so were measured, filling included.
        (true, _) => beside_s,
        (false, true) => exchange_s + run.parallelism.overlapped() * (beside_s - exchange_s),
        (false, false) => exchange_s,
    };
    for (pass, times) in [(&mut time.forward, 1.0), (&mut time.backward, 2.0)] {
        pass.exchanges([exposed_s, exchange_s], group.leaves_host());
        pass.seconds = stack.launch.joined(pass.seconds, times * host_s);
    }
}

/// Seconds in which the ranks that split an expert gather what reaches each of them, and scatter what they
/// add up to.
fn gathered_s(
    run: Sharded<'_>,
    tokens: Tokens,
    (system, dispatcher, network): (&System, Dispatcher, f64),
) -> f64 {
    let group = Group::expert_tensor(run.parallelism).spread(system.per_host);
    // Ulysses' ranks hold whole weights.
    if group.ranks <= 1 || run.parallelism.sequence == SequenceParallel::Ulysses {
        return 0.0;
    }
    let reaching = match dispatcher {
        Dispatcher::AllGather => f64::from(run.parallelism.expert.max(1)),
        Dispatcher::AllToAll | Dispatcher::Flex | Dispatcher::Padded => tokens.visits,
    };
    let bytes = group.ranks as f64 * tokens.count * tokens.bytes * reaching;
    let halves = [CollectiveOperation::AllGather, CollectiveOperation::ReduceScatter];
    halves.map(|half| system.half_s(half, group, bytes, network)).iter().sum()
}

/// Host seconds of launching so many local experts in both passes, what reaches them and what comes
/// back. What steps say of launches holds for these too.
fn launches_s(local: f64, chip: Chip, stack: &Stack, constants: &Constants) -> f64 {
    let measured = constants.get(Constant::LaunchFloor) / stack.launch_floor.get();
    let count = launches(stack) + EACH_EXPERT * local;
    let left = match stack.launch {
        Launch::CudaGraphs | Launch::Inline => stack.expert_costs.recorded,
        Launch::Eager => 1.0,
    };
    let host_s = stack.expert_costs.launches_s[usize::from(chip.has_grace_host())];
    measured * host_s * count * left
}

/// Seconds that exchanges beside so much work add to it.
pub(super) fn beside(work_s: f64, exchange_s: f64) -> f64 {
    (exchange_s - work_s).max(0.0) + BESIDE * work_s.min(exchange_s)
}
