//! One block of each kind on one device: times of its passes, parameters, bytes.

use ir::card::BlockGroup;
use ir::card::stored::Held;
use ir::plan::Parallelism;

use super::Pricing;
use super::tuned::tuned;
use crate::runs::counts::block_parameters;
use crate::runs::forms::block::{self, BlockTime, block};
use crate::runs::forms::precision;
use crate::runs::forms::run::Sharded;
use crate::runs::memory::activations::{Kept, Software, block_bytes, tokens};

/// One block of a kind, for one micro-batch, on one device.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Kind {
    /// Forward pass in seconds.
    pub forward_s: f64,
    /// Whole backward pass in seconds, without computing again.
    pub backward_s: f64,
    /// Gradients of the weights in seconds, were they a pass of their own.
    pub weight_s: f64,
    /// Computing everything again in seconds.
    pub recompute_s: f64,
    /// Computing the attention core again in seconds.
    pub core_s: f64,
    /// Computing every second product, what is pointwise and half of the collectives again, in seconds.
    pub per_op_s: f64,
    /// Bytes that the first part of a split backward pass makes for the second one.
    pub split_bytes: f64,
    /// Of forward and backward pass, seconds of collectives.
    pub collectives_s: f64,
    /// Of these, those of context ranks, and those of expert ranks.
    pub axes_s: [f64; 2],
    /// Of the backward pass, seconds of collectives inside hosts, and of those that leave them.
    pub backward_links_s: [f64; 2],
    /// Of the forward and of the backward pass, seconds in which collectives use network cards, beside
    /// work or not.
    pub cards_s: [f64; 2],
    /// Parameters that all replicas hold alike, as the step-time model counts them.
    pub dense: f64,
    /// Parameters of experts, as the step-time model counts them.
    pub experts: f64,
    /// Parameters with states that all replicas hold alike.
    pub held_dense: f64,
    /// Parameters of experts with states.
    pub held_experts: f64,
    /// Rows and columns of weights that all replicas hold alike.
    pub lines_dense: f64,
    /// The same of experts.
    pub lines_experts: f64,
    /// Bytes of frozen weights that all replicas hold alike, and of experts.
    pub frozen: [f64; 2],
    /// Seconds of updating its matrices beside what their bytes take, once a step.
    pub update_s: f64,
    /// Bytes that it keeps if nothing is computed again.
    pub all: f64,
    /// Bytes that it keeps if the attention core is computed again.
    pub without_core: f64,
    /// Bytes that it keeps if every second product is computed again.
    pub per_op: f64,
    /// Bytes of its input.
    pub input: f64,
}

impl Kind {
    /// Prices a kind, whose first block is `first`, as its run tunes it.
    #[must_use]
    pub fn of(
        pricing: &Pricing<'_>,
        group: &BlockGroup,
        degrees: &Parallelism,
        first: u32,
    ) -> Self {
        let kind = Self::whole(pricing, group, degrees);
        match group.part {
            Some(_) => kind,
            None => tuned(kind, (pricing, group, degrees), first),
        }
    }

    /// The same where all of it is trained.
    fn whole(pricing: &Pricing<'_>, group: &BlockGroup, degrees: &Parallelism) -> Self {
        if let Some(part) = &group.part {
            return super::part::kind(pricing, part, degrees.micro_batch);
        }
        let run = Sharded {
            card: &group.card,
            parallelism: degrees,
            gradients: pricing.gradients,
            dtype: pricing.dtype,
            held: Held::default(),
        };
        let factor = pricing.corrections.factor(&group.card, degrees);
        let time = block(run, pricing.system, pricing.stack, pricing.constants);
        let BlockTime { forward, backward, weight_s, core_s, kept_by_op_s, last_s, split_bytes } =
            time;
        let (dense, experts) = block::shared_out(run);
        let parameters = block_parameters(&group.card);
        let tensor = f64::from(degrees.tensor.max(1));
        let (extra, hidden) = (group.extra_weights as f64, group.card.hidden.max(1) as f64);
        let whole = extra + group.other_parameters as f64;
        let extra_s = extra_product(pricing, group, degrees);
        let Pricing { stack, dtype, .. } = *pricing;
        let (attention, dispatcher) = (stack.attention, stack.experts.dispatcher);
        let software = Software { attention, dtype, dispatcher };
        let stash = |what| block_bytes(&group.card, degrees, software, what);
        let (lines_dense, lines_experts) = block::rows_and_columns(run);
        let extra_lines = if extra > 0.0 { hidden + extra / hidden } else { 0.0 };
        // The extra product keeps its input, which is as wide as its rows.
        let extra_bytes = precision::operand(dtype) * tokens(&group.card, degrees) * extra / hidden;
        Self {
            forward_s: factor * forward.seconds + extra_s,
            backward_s: factor * backward.seconds + 2.0 * extra_s,
            weight_s: factor * weight_s + extra_s,
            recompute_s: factor * (forward.seconds - last_s) + extra_s,
            core_s: factor * core_s,
            per_op_s: factor * (forward.seconds - kept_by_op_s).max(0.0) + extra_s,
            split_bytes,
            collectives_s: factor * (forward.collectives + backward.collectives),
            axes_s: [0, 1].map(|axis| factor * (forward.axes[axis] + backward.axes[axis])),
            backward_links_s: [backward.collectives - backward.network, backward.network]
                .map(|seconds| factor * seconds),
            cards_s: [forward.cards, backward.cards].map(|seconds| factor * seconds),
            dense: (dense + whole).max(0.0),
            experts,
            held_dense: (parameters.dense as f64 / tensor + whole).max(0.0),
            held_experts: parameters.experts as f64
                / f64::from(degrees.of_expert())
                / f64::from(degrees.expert.max(1)),
            lines_dense: lines_dense + extra_lines,
            lines_experts,
            all: stash(Kept::All) + extra_bytes,
            without_core: stash(Kept::WithoutCore) + extra_bytes,
            per_op: stash(Kept::PerOp) + extra_bytes,
            input: stash(Kept::Input),
            ..Self::default()
        }
    }
}

/// Seconds of the product of the weights that a block has besides those of its card.
fn extra_product(pricing: &Pricing<'_>, group: &BlockGroup, degrees: &Parallelism) -> f64 {
    let hidden = group.card.hidden.max(1);
    if group.extra_weights == 0 {
        return 0.0;
    }
    let queries = group.card.sequence.div_ceil(u64::from(degrees.context.max(1)));
    let tokens = degrees.micro_batch.saturating_mul(queries);
    let rates = pricing.system.rates(pricing.stack, pricing.constants, pricing.dtype);
    rates.product(1, [tokens, hidden, group.extra_weights / hidden])
}
