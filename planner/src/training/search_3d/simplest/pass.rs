//! The first of all plans of a space that are not slower than a step, by ranks and then by time.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use cost_model::runs::forms::model::Pricing;
use ir::units::Nanos;

use super::super::judge::Judged;
use super::super::space::{Configuration, Key, Space, leaves};
use super::super::worker::{KeptBy, Outcome, Worker, in_parallel};
use super::super::{Bounded, Counts, Options};
use super::Ranks;

/// Configurations that are judged between two looks at the first plan. Fixed, so that the thread count
/// changes nothing.
const ROUND: usize = 16;

/// What is looked for.
pub(super) struct By<'b> {
    /// Steps that are wanted. None is below that of the fastest plan, as a fit into less memory
    /// may be by chance.
    pub(super) steps: RangeInclusive<Nanos>,
    /// Which configurations are wanted.
    pub(super) wants: &'b (dyn Fn(&Configuration) -> bool + Sync),
    /// What no plan of a configuration ranks below.
    pub(super) least: &'b (dyn Fn(&Configuration) -> Ranks + Sync),
    /// The ranks of a plan.
    pub(super) ranks: &'b (dyn Fn(&Judged) -> Ranks + Sync),
}

impl By<'_> {
    fn order(&self, plan: &Judged) -> (Ranks, Nanos, Key) {
        ((self.ranks)(plan), plan.step, plan.configuration.key())
    }

    fn takes(&self, plan: &Judged) -> bool {
        self.steps.contains(&plan.step) && (self.wants)(&plan.configuration)
    }
}

/// A configuration that may be the first, by what none of its plans comes before.
struct Leaf {
    least: (Ranks, Nanos, Key),
    shape: usize,
    configuration: Configuration,
}

/// Where plans of about one speed are looked for.
pub(super) struct Equals<'e> {
    pub(super) space: &'e Space,
    pub(super) shapes: &'e [Bounded],
    pub(super) options: &'e Options,
    /// Plans that are known.
    pub(super) known: &'e [Judged],
}

impl Equals<'_> {
    /// The first plan by ranks, then time, at prices by ZeRO stage; the outer `None` where the search has
    /// to stop.
    #[allow(clippy::option_option, reason = "stopped and found nothing are two things")]
    pub(super) fn first(&self, pricings: &[Pricing<'_>; 4], by: &By<'_>) -> Option<Option<Judged>> {
        let (none, known_by) = (BTreeMap::new(), KeptBy::default());
        let slowest = *by.steps.end();
        let workers = pricings.each_ref().map(|pricing| Worker {
            pricing,
            space: self.space,
            options: self.options,
            cutoff: slowest.seconds(),
            best: &none,
            known: &known_by,
            is_scout: false,
        });
        let known = self.known.iter().filter(|plan| by.takes(plan));
        let mut best = known.min_by_key(|plan| by.order(plan)).cloned();
        let leaves = self.leaves(&workers, by);
        for round in leaves.chunks(ROUND) {
            if self.options.stop().is_some() {
                return None;
            }
            let first = best.as_ref().map(|plan| by.order(plan));
            let may_be = |leaf: &&Leaf| first.as_ref().is_none_or(|first| leaf.least < *first);
            let wanted: Vec<&Leaf> = round.iter().take_while(may_be).collect();
            if wanted.is_empty() {
                break;
            }
            let most = |leaf: &Leaf| match &first {
                Some((ranks, step, _)) if *ranks == leaf.least.0 => *step,
                _ => slowest,
            };
            let of = |at: usize| wanted.get(at).map(|leaf| self.judged(&workers, leaf, most(leaf)));
            let found = in_parallel(self.threads(wanted.len()), of);
            self.options.control.spend(found.len() as u64);
            let all = best.into_iter().chain(found.into_iter().flatten());
            best = all.filter(|plan| by.takes(plan)).min_by_key(|plan| by.order(plan));
        }
        self.options.stop().is_none().then_some(best)
    }

    fn threads(&self, n: usize) -> usize {
        self.options.control.threads().min(n)
    }

    /// Configurations that are wanted and may be fast enough, those of the least ranks first.
    fn leaves(&self, workers: &[Worker<'_, '_>; 4], by: &By<'_>) -> Vec<Leaf> {
        let slowest_s = by.steps.end().seconds();
        let n = self.shapes.partition_point(|shape| shape.bound_s <= slowest_s);
        let of = |at: usize| (at < n).then(|| self.of_shape(workers, at, by));
        let mut leaves: Vec<Leaf> =
            in_parallel(self.threads(n), of).into_iter().flatten().collect();
        leaves.sort_by(|a, b| a.least.cmp(&b.least));
        leaves
    }

    fn of_shape(&self, workers: &[Worker<'_, '_>; 4], at: usize, by: &By<'_>) -> Vec<Leaf> {
        let shape = &self.shapes[at];
        if self.options.stop().is_some() {
            return Vec::new();
        }
        let (mut all, _) = leaves(&shape.shape, self.space, workers[0].pricing);
        all.retain(|configuration| (by.wants)(configuration));
        let of_stage = |(zero, worker): (usize, &Worker<'_, '_>)| {
            let matching = all
                .iter()
                .filter(|configuration| configuration.degrees.zero as usize == zero)
                .cloned()
                .collect();
            let most = (worker.limit(), by.steps.end().seconds());
            let (_, queue) = worker.queued(shape, matching, most, &mut Counts::default());
            queue.into_iter().map(|(bound_s, _, configuration)| Leaf {
                // Bounds are rounded to the nanosecond, down.
                least: (
                    (by.least)(&configuration),
                    Nanos((bound_s * 1e9) as u64),
                    configuration.key(),
                ),
                shape: at,
                configuration,
            })
        };
        workers.iter().enumerate().flat_map(|stage| of_stage(stage).collect::<Vec<_>>()).collect()
    }

    /// A plan of a configuration that is no slower than a step.
    fn judged(&self, workers: &[Worker<'_, '_>; 4], leaf: &Leaf, most: Nanos) -> Option<Judged> {
        let worker = &workers[leaf.configuration.degrees.zero as usize];
        let passes = Arc::clone(&self.shapes[leaf.shape].passes);
        let priced = leaf.configuration.priced(*worker.pricing, passes);
        let most = (worker.limit(), most.seconds());
        let found = worker.judge(&priced, &leaf.configuration, most, &mut Counts::default());
        match found {
            Outcome::Plan(plan, _) => Some(*plan),
            _ => None,
        }
    }
}
