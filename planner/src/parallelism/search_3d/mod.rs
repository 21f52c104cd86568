//! search-3d: every configuration of a training run, best first, until nothing can be better.
//!
//! # Decides
//! Degrees of all axes, micro-batch, mesh, stages, recompute and the schedule of a training run.
//!
//! # Idea
//! A configuration is a choice of data, tensor, pipeline, context and expert degree, micro-batch,
//! axis order, schedule, chunks per rank, ZeRO stage and way of sharing out blocks; what each stage
//! holds and computes again follows from it by a fixed rule ([`fit`]). Degrees and micro-batch come
//! first, ordered by a time that no plan of theirs falls below; each is then expanded, bounded again,
//! given its stages, bounded a third time, and only what is left is replayed by the judge. The search
//! ends when the next bound is no better than the last plan that is asked for.
//!
//! # Paper
//! None for the search (best-first branch and bound). What is searched: Narayanan et al., SC 2021
//! (tensor, data, pipeline, interleaving); Korthikanti et al., MLSys 2023 (sequence, selective
//! recompute); Rajbhandari et al., SC 2020 (ZeRO); Lai et al., TPDS 2023 (stage-aware recompute,
//! early recompute); Qi et al., ICLR 2024 (zero bubble).
//!
//! # Guarantee
//! Without a deadline no plan of the whole space is better under the judge's model whose stages are
//! cut by the rule, nor one of a runner-up's degrees than the runner-up. Cuts of what was found are
//! then improved block by block ([`polish`]); [`Found::bound_s`] holds whatever the cuts.
//!
//! # Complexity
//! Configurations x blocks at worst; thousands of bounds and some dozens of replays in practice.
//!
//! # Limits
//! Tensor ranks are neighbours. Split backward passes are combined with no recompute. Of stages that
//! share a rank the blocks are shared out by time alone. Grids of more than [`space::MOST_CELLS`]
//! cells are left out, and counted.
//!
//! # Example
//! `meshwright plan config.json --cluster pod.yaml --global-batch 1024 --sequence-length 4096`.

pub mod bound;
pub mod fit;
pub mod judge;
pub mod least;
mod polish;
mod relaxed;
pub mod sensitivity;
pub mod space;
mod worker;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod laws;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod part_laws;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use cost_model::transformer::model::Pricing;
use cost_model::transformer::model::priced::Passes;

use bound::Totals;
use judge::Judged;
use space::{Shape, Space, Split, shapes};
use worker::{KeptBy, Worker};

/// Shapes that are worked on between two exchanges of incumbents: few at first, for the first plans
/// cut off most of the rest. Fixed, so that the thread count changes nothing.
const FIRST_ROUNDS: [usize; 6] = [2, 2, 4, 4, 8, 8];
/// And then.
const ROUND: usize = 32;

/// How a search runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Plans that are wanted, each of other degrees.
    pub n_plans: usize,
    /// Threads.
    pub n_threads: usize,
    /// When to stop with what there is.
    pub deadline: Option<Instant>,
    /// Raised to stop with what there is.
    pub cancel: Option<Arc<AtomicBool>>,
    /// Whether bounds cut anything off; without them everything is judged.
    pub pruning: Pruning,
    /// Whether the cuts of the plans that were found are improved.
    pub cuts: Cuts,
}

/// What becomes of the cuts of the plans that were found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cuts {
    /// They are as the rule makes them.
    Ruled,
    /// Blocks move to other stages as long as the judge likes it.
    #[default]
    Polished,
}

/// Whether bounds cut anything off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pruning {
    /// They do.
    #[default]
    On,
    /// Everything is judged: the oracle.
    Off,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            n_plans: 4,
            n_threads: std::thread::available_parallelism().map_or(1, usize::from),
            deadline: None,
            cancel: None,
            pruning: Pruning::On,
            cuts: Cuts::Polished,
        }
    }
}

/// Why a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Nothing that is left can be better.
    Proved,
    /// Out of time.
    Deadline,
    /// Asked to.
    Cancelled,
}

/// How much was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Choices of degrees and micro-batch.
    pub n_shapes: u64,
    /// Of these, expanded.
    pub n_expanded: u64,
    /// Configurations of the expanded ones.
    pub n_leaves: u64,
    /// Of these, given stages.
    pub n_fitted: u64,
    /// Of these, without stages that fit into memory.
    pub n_misfits: u64,
    /// Replayed.
    pub n_judged: u64,
    /// Left out because their grid is too large.
    pub n_too_large: u64,
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.n_expanded += other.n_expanded;
        self.n_leaves += other.n_leaves;
        self.n_fitted += other.n_fitted;
        self.n_misfits += other.n_misfits;
        self.n_judged += other.n_judged;
        self.n_too_large += other.n_too_large;
    }
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Plans of different degrees, fastest first; empty where nothing fits.
    pub plans: Vec<Judged>,
    /// Seconds that no plan of the space falls below, whatever its cuts and what it computes again.
    pub bound_s: f64,
    /// Why it ended.
    pub stop: Stop,
    /// How much was done.
    pub counts: Counts,
}

/// Degrees that make two plans different ones.
pub(crate) type Family = [u32; 5];

fn family(shape: &Shape) -> Family {
    let d = &shape.degrees;
    [d.data, d.tensor, d.pipeline, d.context, d.expert]
}

/// A choice of degrees and micro-batch with its prices and bound.
pub struct Bounded {
    pub(crate) shape: Shape,
    pub(crate) passes: Arc<Passes>,
    pub(crate) totals: Totals,
    pub(crate) bound_s: f64,
}

/// All choices of degrees and micro-batch of a space, by increasing bound. They don't depend on
/// limits, so that several searches of one space may share them.
#[must_use]
pub fn bounded(pricing: &Pricing<'_>, space: &Space) -> Vec<Bounded> {
    let n_blocks: Vec<u32> = pricing.model.groups.iter().map(|group| group.n_blocks).collect();
    let mut known: BTreeMap<_, (Arc<Passes>, Totals)> = BTreeMap::new();
    let mut all: Vec<Bounded> = shapes(pricing, space)
        .into_iter()
        .map(|shape| {
            let d = &shape.degrees;
            let key = Passes::key(d, pricing.system.per_host);
            let (passes, totals) = known
                .entry(key)
                .or_insert_with(|| {
                    let passes = Passes::of(pricing, d);
                    let totals = Totals::of(&passes, &n_blocks);
                    (Arc::new(passes), totals)
                })
                .clone();
            let bound_s = bound::of_shape(d, &totals);
            Bounded { shape, passes, totals, bound_s }
        })
        .collect();
    all.sort_by(|a, b| a.bound_s.total_cmp(&b.bound_s));
    all
}

/// Searches a space.
#[must_use]
pub fn solve(pricing: &Pricing<'_>, space: &Space, options: &Options) -> Found {
    solve_among(pricing, space, &bounded(pricing, space), options)
}

/// Searches a space of which [`bounded`] was called before, for the same prices but for limits.
#[must_use]
pub fn solve_among(
    pricing: &Pricing<'_>,
    space: &Space,
    shapes: &[Bounded],
    options: &Options,
) -> Found {
    let mut best: BTreeMap<Family, Judged> = BTreeMap::new();
    let mut counts = Counts { n_shapes: shapes.len() as u64, ..Counts::default() };
    let known = KeptBy::default();
    let mut any_cut_s = f64::INFINITY;
    let mut next = 0;
    let mut rounds = FIRST_ROUNDS.into_iter().chain(std::iter::repeat(ROUND));
    let stop = loop {
        let cutoff = cutoff(&best, options);
        let is_done = shapes.get(next).is_none_or(|shape| shape.bound_s > cutoff);
        if is_done {
            break Stop::Proved;
        }
        if options.cancel.as_ref().is_some_and(|cancel| cancel.load(Ordering::SeqCst)) {
            break Stop::Cancelled;
        }
        if options.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            break Stop::Deadline;
        }
        let end = (next + rounds.next().unwrap_or(ROUND)).min(shapes.len());
        let worker = Worker { pricing, space, options, cutoff, best: &best, known: &known };
        let results = worker.round(&shapes[next..end]);
        for expanded in results {
            counts.add(&expanded.counts);
            any_cut_s = any_cut_s.min(expanded.any_cut_s);
            if let Some(judged) = expanded.best {
                keep(&mut best, judged);
            }
        }
        next = end;
    };
    let mut plans: Vec<Judged> = best.into_values().collect();
    plans.sort_by_key(|plan| (plan.step, plan.leaf.key()));
    plans.truncate(options.n_plans);
    let open_s = match stop {
        Stop::Proved => f64::INFINITY,
        _ => shapes.get(next).map_or(f64::INFINITY, |shape| shape.bound_s),
    };
    if options.cuts == Cuts::Polished && space.pins.split != Some(Split::Equal) {
        plans = plans.into_iter().map(|plan| polish::polished(pricing, plan)).collect();
        plans.sort_by_key(|plan| (plan.step, plan.leaf.key()));
    }
    let best_s = plans.first().map_or(f64::INFINITY, |plan| plan.step.seconds());
    let bound_s = best_s.min(any_cut_s).min(open_s);
    Found { plans, bound_s, stop, counts }
}

/// Seconds above which no plan is wanted any more.
fn cutoff(best: &BTreeMap<Family, Judged>, options: &Options) -> f64 {
    if options.pruning == Pruning::Off {
        return f64::INFINITY;
    }
    let mut steps: Vec<u64> = best.values().map(|plan| plan.step.0).collect();
    steps.sort_unstable();
    let last = options.n_plans.max(1) - 1;
    steps.get(last).map_or(f64::INFINITY, |step| *step as f64 * 1e-9)
}

fn keep(best: &mut BTreeMap<Family, Judged>, judged: Judged) {
    let d = &judged.leaf.degrees;
    let family = [d.data, d.tensor, d.pipeline, d.context, d.expert];
    let is_better = best
        .get(&family)
        .is_none_or(|known| (judged.step, judged.leaf.key()) < (known.step, known.leaf.key()));
    if is_better {
        best.insert(family, judged);
    }
}
