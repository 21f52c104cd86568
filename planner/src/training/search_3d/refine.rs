//! The end of a search: the cuts of every configuration that might become the best are improved.

use std::sync::Arc;

use super::fit::Fitter;
use super::judge::{Judged, judged};
use super::polish::polished;
use super::worker::{Open, Worker, in_parallel};
use super::{Bounded, Counts};
use crate::run::StopReason;

/// Configurations that are improved between two looks at the best one. Fixed, so that the thread
/// count changes nothing.
const ROUND: usize = 8;

/// Improves the cuts of plans, and of all configurations that may become better than the best of
/// them. The first of the plans is the best then, the others stay those of their degrees.
pub(super) fn refined(
    worker: &Worker<'_, '_>,
    shapes: &[Bounded],
    (plans, mut open): (Vec<Judged>, Vec<Open>),
    (counts, observe): (&mut Counts, &mut dyn FnMut(&Judged)),
) -> (Vec<Judged>, StopReason) {
    let known = plans.iter().map(|plan| plan.step).min();
    let of = |index: usize| {
        let plan = plans.get(index)?;
        let better = open.iter().find(|candidate| candidate.configuration == plan.configuration);
        let better = better.and_then(|candidate| {
            improved(worker, &shapes[candidate.shape], &candidate.configuration)
        });
        Some(better.unwrap_or_else(|| plan.clone()))
    };
    let mut others = in_parallel(worker.options.control.threads().min(plans.len()), of);
    counts.n_polished += others.len() as u64;
    others.sort_by_key(order);
    let Some(first) = others.first() else { return (others, StopReason::Finished) };
    let mut best = first.clone();
    if known != Some(best.step) {
        observe(&best);
    }
    open.retain(|candidate| {
        !plans.iter().any(|plan| plan.configuration == candidate.configuration)
    });
    open.sort_by(|a, b| {
        a.least_s.total_cmp(&b.least_s).then(a.configuration.key().cmp(&b.configuration.key()))
    });
    rounds(worker, shapes, &open, (&mut best, counts, observe));
    // What was under way may have been cut short.
    let stop = worker.options.stop().unwrap_or(StopReason::Finished);
    let family = |plan: &Judged| {
        let d = &plan.configuration.degrees;
        [d.data, d.tensor, d.pipeline, d.context, d.expert, d.of_expert()]
    };
    let best_family = family(&best);
    let n_plans = others.len();
    others.retain(|plan| family(plan) != best_family);
    others.insert(0, best);
    others.truncate(n_plans);
    (others, stop)
}

fn order(plan: &Judged) -> impl Ord + use<> {
    (plan.step, plan.configuration.key())
}

/// Hears of each better plan.
type Observe<'o> = &'o mut dyn FnMut(&Judged);

/// Improves configurations, the most promising first, until none may become better than the best one.
fn rounds(
    worker: &Worker<'_, '_>,
    shapes: &[Bounded],
    open: &[Open],
    (best, counts, observe): (&mut Judged, &mut Counts, Observe<'_>),
) {
    for round in open.chunks(ROUND) {
        let best_s = best.step.seconds();
        let wanted =
            round.iter().take_while(|candidate| candidate.least_s <= best_s).collect::<Vec<_>>();
        if wanted.is_empty() || worker.options.stop().is_some() {
            return;
        }
        let of = |index: usize| {
            let candidate: &&Open = wanted.get(index)?;
            Some(improved(worker, &shapes[candidate.shape], &candidate.configuration))
        };
        let found = in_parallel(worker.options.control.threads().min(wanted.len()), of);
        counts.n_polished += found.len() as u64;
        worker.options.control.spend(found.len() as u64);
        for plan in found.into_iter().flatten() {
            if order(&plan) < order(best) {
                *best = plan;
                observe(best);
            }
        }
    }
}

/// A configuration with the best cuts that single moves lead to.
fn improved(
    worker: &Worker<'_, '_>,
    shape: &Bounded,
    configuration: &super::space::Configuration,
) -> Option<Judged> {
    if worker.options.stop().is_some() {
        return None;
    }
    let in_flight = worker.in_flight(configuration)?;
    let priced = configuration.priced(*worker.pricing, Arc::clone(&shape.passes));
    let fitter = Fitter::new(&priced, configuration, &in_flight, worker.limit());
    let plan = judged(&priced, configuration, fitter.fit()?).ok()?;
    Some(polished(&fitter, plan, worker.options))
}
