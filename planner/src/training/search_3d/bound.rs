//! Times and bytes that no plan of a configuration falls below.
//!
//! With work `W_r` of one micro-batch on rank `r`, the rank computes `m W_r`; before it the ranks
//! `s < r` pass one micro-batch forward, after it one backward, so that a step takes at least
//! `m W_r + sum of W_s over s < r`. Whatever the partition, the largest of these is at least
//! `W / (1 - (1 - 1/m)^p)` for the sum `W` of all work: making all `p` of them equal gives that, and
//! lowering one raises another.

use cost_model::runs::forms::model::priced::{Passes, Priced};
use cost_model::runs::oracle::{Ending, Prices, StageFigures, seats};

use ir::plan::Parallelism;

use super::space::Configuration;
use crate::training::order::Order;

/// Share by which bounds are lowered for the rounding of sums.
const ROUNDING: f64 = 1e-9;

/// A bound, lowered by what rounding every cell of a rank to nanoseconds may take away.
pub(super) fn lowered(bound: f64, n_chunks: u32, degrees: &Parallelism) -> f64 {
    let cells = 3.0 * f64::from(n_chunks.max(1)) * degrees.n_micro_batches as f64;
    bound * (1.0 - ROUNDING) - 1e-9 * (cells + 6.0 * f64::from(degrees.pipeline) + 6.0)
}

/// Seconds that every step of a shape takes: the work of all micro-batches on the average rank, and
/// the optimizer where all replicas share it out.
#[must_use]
pub fn of_shape(degrees: &Parallelism, totals: &Totals) -> f64 {
    let p = f64::from(degrees.pipeline.max(1));
    let m = degrees.n_micro_batches as f64;
    lowered(m * totals.work_s / p, totals.n_blocks, degrees)
}

/// Sums over the whole model.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Forward and backward passes of one micro-batch in seconds.
    pub work_s: f64,
    /// Forward passes alone.
    pub forward_s: f64,
    /// Gradients of weights alone.
    pub weight_s: f64,
    /// Parameters that all replicas hold alike, without the ends.
    pub dense: f64,
    /// Parameters of experts.
    pub experts: f64,
    /// The same as memory counts them.
    pub held_dense: f64,
    /// Experts of these.
    pub held_experts: f64,
    /// The fastest block in seconds.
    pub least_block_s: f64,
    /// Blocks, the most stages that there can be.
    pub n_blocks: u32,
}

impl Totals {
    /// Sums blocks and head of a model whose groups have so many blocks.
    #[must_use]
    pub fn of(passes: &Passes, n_blocks: &[u32]) -> Self {
        let mut totals = Self {
            work_s: passes.head_s,
            forward_s: passes.head_s / 3.0,
            weight_s: passes.head_s / 3.0,
            least_block_s: f64::INFINITY,
            n_blocks: n_blocks.iter().copied().fold(0, u32::saturating_add),
            ..Self::default()
        };
        for (kind, n) in passes.kinds.iter().zip(n_blocks) {
            let n = f64::from(*n);
            totals.work_s += n * (kind.forward_s + kind.backward_s);
            totals.forward_s += n * kind.forward_s;
            totals.weight_s += n * kind.weight_s;
            totals.dense += n * kind.dense;
            totals.experts += n * kind.experts;
            totals.held_dense += n * kind.held_dense;
            totals.held_experts += n * kind.held_experts;
            if n > 0.0 {
                totals.least_block_s = totals.least_block_s.min(kind.forward_s + kind.backward_s);
            }
        }
        totals
    }
}

/// Seconds that every step of a configuration takes, whatever its partition.
#[must_use]
pub fn of_configuration(
    priced: &Priced<'_>,
    totals: &Totals,
    configuration: &Configuration,
) -> f64 {
    let p = f64::from(configuration.degrees.pipeline.max(1));
    let m = configuration.degrees.n_micro_batches as f64;
    let work = totals.work_s;
    let mut bound = m * work / p;
    // Start-up costs of rings are paid per stage; here once.
    let optimizer = priced.optimizer_s(totals.dense, totals.experts);
    bound += optimizer / p;
    if configuration.order.is_whole() {
        let filling = match configuration.degrees.virtual_stages {
            0 | 1 if m > 1.0 => work / (1.0 - (1.0 - 1.0 / m).powf(p)),
            0 | 1 => work,
            _ => m * work / p + (p - 1.0) / 2.0 * totals.least_block_s,
        };
        bound = bound.max(filling).max(work);
    } else {
        // The same for the passes that others wait for, gradients of weights apart.
        let sent = work - totals.weight_s;
        let filling = match configuration.degrees.virtual_stages {
            0 | 1 if m > 1.0 => sent / (1.0 - (1.0 - 1.0 / m).powf(p)),
            _ => sent,
        };
        bound = bound.max(filling);
    }
    lowered(bound, configuration.degrees.virtual_stages, &configuration.degrees)
}

/// Whether the states alone are more than all ranks together can hold.
#[must_use]
pub fn is_too_large(priced: &Priced<'_>, totals: &Totals, limit: f64) -> bool {
    let p = f64::from(priced.degrees.pipeline.max(1));
    let on_device = &priced.on_device;
    let ends = on_device.ends[0] + if priced.has_own_head() { on_device.ends[1] } else { 0.0 };
    let states = totals.held_dense * on_device.parameter[0]
        + totals.held_experts * on_device.parameter[1]
        + ends;
    states * (1.0 - ROUNDING) > p * (limit - priced.rank_bytes)
}

/// Seconds that a step takes at least with given stages: on each rank its own work, before it the
/// first pass through the ranks before it, after it its own end of the step, or the way of its last
/// gradient to another rank and the end of the step there.
#[must_use]
pub fn of_stages(
    priced: &Priced<'_>,
    configuration: &Configuration,
    figures: &[StageFigures],
) -> f64 {
    let n_ranks = configuration.degrees.pipeline.max(1);
    let m = configuration.degrees.n_micro_batches as f64;
    let order = configuration.order;
    let chunks = configuration.degrees.virtual_stages.max(1);
    let backwards = order.backwards_before_last(n_ranks, chunks, m);
    let ranks: Vec<u32> =
        (0..figures.len()).map(|stage| order.rank_of(n_ranks, stage as u32)).collect();
    let mut per_rank = vec![Rank::default(); n_ranks as usize];
    for (figures, seat) in figures.iter().zip(seats(&ranks)) {
        per_rank[seat.rank as usize]
            .add(figures, figures.ending.unwrap_or_else(|| priced.ending(figures, seat)));
    }
    let (mut there, mut back) = (0.0, 0.0);
    // The end of the step on any rank that the last gradient passes, less what it passes after it.
    let mut longest = 0.0_f64;
    let mut bound = 0.0_f64;
    for (rank, work) in (0..).zip(&per_rank) {
        let all = work.forward_s + work.backward_s;
        // Gradients of weights may come after the last gradient has left.
        let before = if order.is_whole() { all } else { all - work.weight_s };
        bound = bound.max(there + m * all + work.exposed_s + work.optimizer_s);
        bound = bound.max(there + m * before + back + longest);
        if let Some(backwards) = backwards {
            let open = there + m * work.forward_s + backwards * work.backward_s;
            bound = bound.max(open + work.exchange_s + work.optimizer_s);
        }
        let Some(first) = figures.get(rank as usize) else { break };
        let (bytes, link) = priced.way(rank, (rank + 1).min(n_ranks - 1), first.sends);
        let hop = link.start_up_s + bytes / link.rate.get();
        let sent = match order.is_whole() {
            true => first.backward_s + early(order, first),
            false => (first.backward_s - first.weight_s).max(0.0),
        };
        let late = (work.overlapped_s - sent).max(0.0);
        longest = longest.max(late + work.exposed_s + work.optimizer_s - back);
        there += first.forward_s + hop;
        back += hop + sent;
    }
    lowered(bound, configuration.degrees.virtual_stages, &configuration.degrees)
}

/// Sums over the stages of a rank, in seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Rank {
    forward_s: f64,
    /// With computing again.
    backward_s: f64,
    weight_s: f64,
    exchange_s: f64,
    /// Of it, what nothing hides.
    exposed_s: f64,
    /// What may be hidden of its first stage's.
    overlapped_s: f64,
    optimizer_s: f64,
}

impl Rank {
    fn add(&mut self, figures: &StageFigures, ending: Ending) {
        if self.forward_s <= 0.0 {
            self.overlapped_s = ending.overlapped_s.min(ending.exchange_s);
        }
        self.forward_s += figures.forward_s;
        self.backward_s += figures.backward_s + figures.recompute_s;
        self.weight_s += figures.weight_s;
        self.exchange_s += ending.exchange_s + ending.tied_s;
        self.exposed_s += (ending.exchange_s - ending.overlapped_s).max(0.0) + ending.tied_s;
        self.optimizer_s += ending.optimizer_s;
    }
}

/// Seconds of computing again that are part of the last backward pass.
fn early(order: Order, figures: &StageFigures) -> f64 {
    match order.recomputes_early() {
        true => 0.0,
        false => figures.recompute_s,
    }
}
