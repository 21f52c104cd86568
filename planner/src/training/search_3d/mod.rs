//! search-3d: every configuration of a training run, best first, until nothing can be better.
//!
//! # Decides
//! The number of devices, degrees of all axes, micro-batch, mesh, stages, recompute, the schedule, and
//! whether hosts hold optimizer states, of a training run.
//!
//! # Idea
//! A configuration is a choice of data, tensor, pipeline, context and expert degree, micro-batch,
//! axis order, schedule, chunks per rank, ZeRO stage and way of sharing out blocks; what each stage
//! holds and computes again follows from it by a fixed rule ([`fit`]). Degrees and micro-batch come
//! first, ordered by a time that no plan of theirs falls below; each is then expanded, bounded again,
//! given its stages, bounded a third time, and only what is left is replayed by the judge. The search
//! ends when the next bound is no better than the last plan that is asked for. Then the cuts of every
//! configuration that might still become the best are improved block by block.
//!
//! # Paper
//! None for the search (best-first branch and bound). What is searched: Narayanan et al., SC 2021
//! (tensor, data, pipeline, interleaving); Korthikanti et al., MLSys 2023 (sequence, selective
//! recompute); Rajbhandari et al., SC 2020 (ZeRO); Lai et al., TPDS 2023 (stage-aware recompute,
//! early recompute); Qi et al., ICLR 2024 (zero bubble).
//!
//! # Guarantee
//! Unless it is stopped, no plan of the whole space is better under the judge's model whose stages are
//! cut by the rule, or by what single moves of blocks make of it ([`polish`]); so fixing something
//! never gives a better plan. Runners-up are the best of their degrees by the rule, then polished.
//! [`Found::bound_s`] holds whatever the cuts: the plan is the optimum only where it is as fast.
//!
//! # Complexity
//! Configurations x blocks at worst; thousands of bounds and some dozens of replays in practice.
//!
//! # Limits
//! Tensor ranks are neighbours. Split backward passes are combined with no recompute. Of stages that
//! share a rank the blocks are shared out by time alone. Grids of more than [`space::MOST_CELLS`]
//! cells are left out and counted; the bound covers them.
//!
//! # Example
//! `meshwright train config.json --cluster pod.yaml --global-batch 1024 --sequence-length 4096`.

pub mod bound;
mod bounded;
mod claims;
pub mod fit;
mod found;
pub mod judge;
pub mod min_memory;
mod polish;
mod refine;
mod relaxed;
pub mod sensitivity;
pub mod simplest;
pub mod space;
pub mod terms;
mod worker;

#[cfg(test)]
mod expert_laws;
#[cfg(test)]
mod laws;
#[cfg(test)]
pub(super) mod part_laws;

use std::collections::BTreeMap;

use cost_model::runs::forms::model::Pricing;

use crate::run::{Control, StopReason};
pub use bounded::{Bounded, bounded};
use bounded::{Prices, tried_first};
pub use found::{Counts, Cuts, Found, Options, Pruning};
use judge::Judged;
use space::{Shape, Space, Split, shapes};
use worker::{Expanded, KeptBy, Open, Worker};

/// Shapes that are worked on between two exchanges of incumbents: few at first, for the first plans
/// cut off most of the rest. Fixed, so that the thread count changes nothing.
const FIRST_ROUNDS: [usize; 6] = [2, 2, 4, 4, 8, 8];
/// And then.
const ROUND: usize = 32;
/// Of what is left of the limits, what the shapes may take that teams try first.
const FIRST_SHARE: f64 = 0.3;

/// Degrees that make two plans different ones.
pub(crate) type Family = [u32; 6];

fn family(shape: &Shape) -> Family {
    let d = &shape.degrees;
    [d.data, d.tensor, d.pipeline, d.context, d.expert, d.of_expert()]
}

/// Searches a space.
#[must_use]
pub fn solve(pricing: &Pricing<'_>, space: &Space, options: &Options) -> Found {
    solve_observed(pricing, space, options, &mut |_, _| {})
}

/// Who is told of each plan that is the best so far, with seconds that no plan falls below.
pub type Observer<'o> = dyn FnMut(&Judged, f64) + 'o;

/// A search of a space that tells of better plans as they come.
pub type Search = fn(&Pricing<'_>, &Space, &Options, &mut Observer<'_>) -> Found;

/// Searches a space, and tells of better plans as they come.
#[must_use]
pub fn solve_observed(
    pricing: &Pricing<'_>,
    space: &Space,
    options: &Options,
    observer: &mut Observer<'_>,
) -> Found {
    let all = if options.stop().is_some() { Vec::new() } else { shapes(pricing, space) };
    let mut rounds = Rounds::new(options, all.len());
    let mut prices = Prices::new(pricing);
    let n_kinds = pricing.model.groups.len();
    let first = tried_first(&all, (space, options), (n_kinds, pricing.system.per_host));
    if let Some(first) = prices.bounded(first, options).filter(|first| !first.is_empty()) {
        rounds.scout((pricing, space), (&first, options), observer);
    }
    let shapes = prices.bounded(all, options).unwrap_or_default();
    rounds.ended((pricing, space), (&shapes, options), observer)
}

/// Searches a space of which [`bounded`] was called before, for the same prices but for limits.
#[must_use]
pub fn solve_among(
    pricing: &Pricing<'_>,
    space: &Space,
    shapes: &[Bounded],
    options: &Options,
) -> Found {
    let rounds = Rounds::new(options, shapes.len());
    rounds.ended((pricing, space), (shapes, options), &mut |_, _| {})
}

/// What the rounds of a search have given so far.
struct Rounds {
    best: BTreeMap<Family, Judged>,
    counts: Counts,
    /// Seconds that no plan of the expanded shapes falls below that could be the best.
    bound_s: f64,
    /// The same of shapes that are in no list yet.
    others_s: f64,
    open: Vec<Open>,
    /// The first shape that is not expanded.
    next: usize,
    n_rounds: usize,
    /// Whether only plans are looked for, and nothing is proved of other cuts.
    is_scout: bool,
    known: KeptBy,
}

impl Rounds {
    fn new(options: &Options, n_shapes: usize) -> Self {
        let mut best = BTreeMap::new();
        options.known.iter().for_each(|known| keep(&mut best, (**known).clone()));
        Self {
            best,
            counts: Counts { n_shapes: n_shapes as u64, ..Counts::default() },
            bound_s: f64::INFINITY,
            others_s: f64::INFINITY,
            open: Vec::new(),
            next: 0,
            n_rounds: 0,
            is_scout: false,
            known: KeptBy::default(),
        }
    }

    fn take(&mut self, results: Vec<Expanded>) {
        for expanded in results {
            self.counts.add(&expanded.counts);
            self.bound_s = self.bound_s.min(expanded.any_cut_s);
            self.open.extend(expanded.open);
            if let Some(judged) = expanded.best {
                keep(&mut self.best, judged);
            }
        }
        if let Some(least_s) = fastest_s(&self.best) {
            self.open.retain(|candidate| candidate.least_s <= least_s);
        }
    }

    /// Expands shapes until nothing that is left is wanted, or it has to stop; between rounds a
    /// part of the limits may end it too.
    fn run(
        &mut self,
        (pricing, space): (&Pricing<'_>, &Space),
        (shapes, options, part): (&[Bounded], &Options, &Control),
        observer: &mut Observer<'_>,
    ) -> StopReason {
        loop {
            let known_s = fastest_s(&self.best);
            let cutoff = cutoff(&self.best, options);
            if shapes.get(self.next).is_none_or(|shape| shape.bound_s > cutoff) {
                return StopReason::Finished;
            }
            let n = FIRST_ROUNDS.get(self.n_rounds).copied().unwrap_or(ROUND);
            self.n_rounds += 1;
            let end = (self.next + n).min(shapes.len());
            let (best, known) = (&self.best, &self.known);
            let is_scout = self.is_scout;
            let worker = Worker { pricing, space, options, cutoff, best, known, is_scout };
            let results = worker.round(self.next, &shapes[self.next..end]);
            let n_before = self.counts.n_leaves;
            self.take(results);
            self.next = end;
            let left_s = shapes.get(end).map_or(f64::INFINITY, |shape| shape.bound_s);
            let least_s = left_s.min(self.bound_s).min(self.others_s);
            let best = fastest(&self.best);
            if let Some(plan) = best.filter(|plan| known_s != Some(plan.step.seconds())) {
                observer(plan, least_s.min(plan.step.seconds()));
            }
            part.spend(self.counts.n_leaves - n_before);
            if let Some(stop) = options.stop().or_else(|| part.stop()) {
                return stop;
            }
            if options.is_near(fastest_s(&self.best), least_s) {
                return StopReason::GapReached;
            }
        }
    }

    /// Finds plans to begin with among shapes that are expanded again later.
    fn scout(
        &mut self,
        of: (&Pricing<'_>, &Space),
        (shapes, options): (&[Bounded], &Options),
        observer: &mut Observer<'_>,
    ) {
        let one = Options { n_plans: 1, ..options.clone() };
        let mut scouts = Self { others_s: 0.0, is_scout: true, ..Self::new(&one, 0) };
        let part = options.control.part(FIRST_SHARE);
        scouts.run(of, (shapes, &one, &part), observer);
        options.control.spend(scouts.counts.n_leaves);
        self.counts.n_judged += scouts.counts.n_judged;
        self.best = scouts.best;
    }

    /// Expands what is left, then improves cuts.
    fn ended(
        mut self,
        (pricing, space): (&Pricing<'_>, &Space),
        (shapes, options): (&[Bounded], &Options),
        observer: &mut Observer<'_>,
    ) -> Found {
        // Nothing is known of what was not bounded.
        let mut stop = options.stop().inspect(|_| self.others_s = 0.0);
        if stop.is_none() {
            let all = (shapes, options, options.control.as_ref());
            stop = Some(self.run((pricing, space), all, observer));
        }
        let mut stop = stop.unwrap_or(StopReason::Finished);
        let Self { best, mut counts, bound_s, others_s, mut open, next, known, .. } = self;
        let mut bound_s = bound_s.min(others_s);
        if let (Some(left), true) = (shapes.get(next), stop != StopReason::Finished) {
            bound_s = bound_s.min(left.bound_s);
        }
        let mut plans: Vec<Judged> = best.into_values().collect();
        plans.sort_by_key(|plan| (plan.step, plan.configuration.key()));
        plans.truncate(options.n_plans);
        if options.cuts == Cuts::OfPlans {
            open.retain(|candidate| {
                plans.iter().any(|plan| plan.configuration == candidate.configuration)
            });
        }
        let is_enough = stop == StopReason::GapReached || options.cuts == Cuts::Ruled;
        if !is_enough && space.pins.split != Some(Split::Equal) {
            let none = BTreeMap::new();
            let cutoff = f64::INFINITY;
            let (best, known, is_scout) = (&none, &known, false);
            let worker = Worker { pricing, space, options, cutoff, best, known, is_scout };
            let mut observe = |plan: &Judged| observer(plan, bound_s.min(plan.step.seconds()));
            let refined =
                refine::refined(&worker, shapes, (plans, open), (&mut counts, &mut observe));
            plans = refined.0;
            stop = if stop == StopReason::Finished { refined.1 } else { stop };
        }
        let best_s = plans.first().map_or(f64::INFINITY, |plan| plan.step.seconds());
        Found { plans, bound_s: best_s.min(bound_s), stop, counts }
    }
}

/// Seconds of the fastest plan.
fn fastest_s(best: &BTreeMap<Family, Judged>) -> Option<f64> {
    fastest(best).map(|plan| plan.step.seconds())
}

fn fastest(best: &BTreeMap<Family, Judged>) -> Option<&Judged> {
    best.values().min_by_key(|plan| (plan.step, plan.configuration.key()))
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
    let d = &judged.configuration.degrees;
    let family = [d.data, d.tensor, d.pipeline, d.context, d.expert, d.of_expert()];
    let is_better = best.get(&family).is_none_or(|known| {
        (judged.step, judged.configuration.key()) < (known.step, known.configuration.key())
    });
    if is_better {
        best.insert(family, judged);
    }
}
