//! One round of a search: shapes are expanded on several threads, none of which sees what the
//! others find before the round ends.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use cost_model::runs::forms::model::Pricing;
use cost_model::runs::forms::model::priced::Priced;

use super::fit::Fitter;
use super::judge::{Judged, Unfit, judged};
use super::polish::MOST_GAIN;
use super::space::{Configuration, Shape, Space, Split, leaves};
use super::{Bounded, Counts, Family, Options, Pruning, bound, family, relaxed};
use crate::training::order::{InFlight, Order, in_flight};

/// Seconds of a step beyond which its nanoseconds can't be counted in 63 bits.
const LONGEST_S: f64 = 9.2e9;

/// So much above the cutoff bounds are looked for: none that is as high is lost by rounding.
const ABOVE: f64 = 1.0 + 1e-6;

/// What a shape gave.
pub(super) struct Expanded {
    /// Its best plan below the cutoff.
    pub(super) best: Option<Judged>,
    /// How much was done for it.
    pub(super) counts: Counts,
    /// Seconds that none of its plans falls below that could be below the cutoff, however its
    /// blocks are shared out.
    pub(super) any_cut_s: f64,
    /// Configurations that other cuts may make better than what is known.
    pub(super) open: Vec<Open>,
}

impl Expanded {
    /// Takes a plan if it is better than the best so far.
    fn keeps(&mut self, found: Judged) -> bool {
        let key = |plan: &Judged| (plan.step, plan.configuration.key());
        let is_better = self.best.as_ref().is_none_or(|best| key(&found) < key(best));
        if is_better {
            self.best = Some(found);
        }
        is_better
    }
}

/// A configuration with stages, and what other cuts may make of it.
#[derive(Clone, Debug)]
pub(super) struct Open {
    /// Seconds that nothing that improves its cuts falls below.
    pub(super) least_s: f64,
    /// The configuration.
    pub(super) configuration: Configuration,
    /// Position of its shape.
    pub(super) shape: usize,
}

/// What ranks keep, by schedule, ranks, chunks and micro-batches: found once for a whole search.
pub(super) type KeptBy = Mutex<HashMap<(Order, (u32, u32, bool), u64), Option<Arc<InFlight>>>>;

/// What a configuration gave, with seconds that none of its plans falls below, whatever the cuts.
pub(super) enum Outcome {
    /// A plan.
    Plan(Box<Judged>, f64),
    /// Stages with which no step is below so many seconds, more than the cutoff; other cuts may be
    /// faster.
    Slow(f64, f64),
    /// No stages by the rule that cuts, or none below the cutoff whatever the cuts.
    NoneByRule(f64),
    /// No plan, whatever the cuts.
    None,
}

impl Outcome {
    /// Seconds that none of its plans falls below, whatever the cuts, and seconds that none with
    /// stages by the rule does; `None` where there is no plan.
    fn seconds(&self) -> Option<(f64, f64)> {
        match self {
            Self::Plan(found, own_s) => Some((*own_s, found.step.seconds())),
            Self::Slow(ruled_s, own_s) => Some((*own_s, *ruled_s)),
            Self::NoneByRule(own_s) => Some((*own_s, f64::INFINITY)),
            Self::None => None,
        }
    }
}

/// Expands shapes.
pub(super) struct Worker<'w, 'a> {
    pub(super) pricing: &'w Pricing<'a>,
    pub(super) space: &'w Space,
    pub(super) options: &'w Options,
    pub(super) cutoff: f64,
    pub(super) best: &'w BTreeMap<Family, Judged>,
    pub(super) known: &'w KeptBy,
    /// Whether only plans are looked for, and nothing is proved of other cuts.
    pub(super) is_scout: bool,
}

impl Worker<'_, '_> {
    /// Expands shapes, of which the first one has a position; results in their order.
    pub(super) fn round(&self, first: usize, shapes: &[Bounded]) -> Vec<Expanded> {
        let of = |index: usize| shapes.get(index).map(|shape| self.expand(first + index, shape));
        in_parallel(self.options.control.threads().min(shapes.len()), of)
    }

    fn expand(&self, index: usize, bounded: &Bounded) -> Expanded {
        let counts = Counts { n_expanded: 1, ..Counts::default() };
        let mut expanded =
            Expanded { best: None, counts, any_cut_s: f64::INFINITY, open: Vec::new() };
        if self.options.stop().is_some() {
            expanded.any_cut_s = bounded.bound_s;
            return expanded;
        }
        let mut cutoff = self.cutoff_of(&bounded.shape);
        if bounded.bound_s > LONGEST_S {
            expanded.counts.n_out_of_range = 1;
            return expanded;
        }
        if bounded.bound_s > cutoff {
            return expanded;
        }
        let n_blocks = self.pricing.model.n_blocks();
        let (all, n_too_large) = leaves(&bounded.shape, self.space, self.pricing);
        expanded.counts.n_leaves = all.len() as u64;
        expanded.counts.n_too_large = n_too_large;
        if n_too_large > 0 {
            expanded.any_cut_s = bounded.bound_s;
        }
        let limit = self.limit();
        let (priced, queue) = self.queued(bounded, all, (limit, cutoff), &mut expanded.counts);
        for (bound_s, at, configuration) in queue {
            if bound_s > cutoff {
                break;
            }
            if self.options.stop().is_some() {
                expanded.any_cut_s = expanded.any_cut_s.min(bound_s);
                break;
            }
            let outcome =
                self.judge(&priced[at], &configuration, (limit, cutoff), &mut expanded.counts);
            let Some((own_s, ruled_s)) = outcome.seconds() else { continue };
            let least_s = bound_s.max(own_s);
            // Of equal and of balanced stages the latter speak for all cuts.
            if configuration.split == Split::Balanced || self.space.pins.split.is_some() {
                expanded.any_cut_s = expanded.any_cut_s.min(least_s);
            }
            if ruled_s.is_finite() && !configuration.has_one_cut(n_blocks) {
                let least_s = least_s.max(ruled_s * (1.0 - MOST_GAIN));
                expanded.open.push(Open { least_s, configuration, shape: index });
            }
            let Outcome::Plan(found, _) = outcome else { continue };
            if expanded.keeps(*found) && self.options.pruning == Pruning::On {
                cutoff = cutoff.min(ruled_s);
            }
        }
        let best_s = expanded.best.as_ref().map_or(f64::INFINITY, |best| best.step.seconds());
        expanded.open.retain(|candidate| candidate.least_s <= best_s);
        expanded
    }

    /// Seconds above which no plan of a shape is wanted: of one family only the best is kept.
    fn cutoff_of(&self, shape: &Shape) -> f64 {
        if self.options.pruning == Pruning::Off {
            return f64::INFINITY;
        }
        let best_s = self.best.get(&family(shape)).map(|plan| plan.step.seconds());
        best_s.map_or(self.cutoff, |best_s| best_s.min(self.cutoff))
    }

    /// Configurations that may be below the cutoff, by increasing bound, each with the position of
    /// its prices.
    pub(super) fn queued(
        &self,
        bounded: &Bounded,
        all: Vec<Configuration>,
        (limit, cutoff): (f64, f64),
        counts: &mut Counts,
    ) -> (Vec<Priced<'_>>, Vec<(f64, usize, Configuration)>) {
        let mut priced: Vec<Priced<'_>> = Vec::new();
        let mut queue: Vec<(f64, usize, Configuration)> = Vec::new();
        for configuration in all {
            // What replicas share out and hosts hold decides prices, and whether ends meet; the chunks
            // don't.
            let (zero, ends_meet) = (configuration.degrees.zero, configuration.order.ends_meet());
            let key = (zero, ends_meet, configuration.offload);
            let key_of = |candidate: &Priced<'_>| {
                (candidate.degrees.zero, candidate.ends_meet, candidate.pricing.offload)
            };
            let known = priced.iter().position(|candidate| key_of(candidate) == key);
            let at = known.unwrap_or_else(|| {
                priced.push(configuration.priced(*self.pricing, Arc::clone(&bounded.passes)));
                priced.len() - 1
            });
            let entry = &priced[at];
            let bound_s = bound::of_configuration(entry, &bounded.totals, &configuration);
            let is_large = self.options.pruning == Pruning::On
                && bound::is_too_large(entry, &bounded.totals, limit);
            if is_large {
                counts.n_misfits += 1;
            } else if bound_s <= cutoff {
                queue.push((bound_s, at, configuration));
            }
        }
        queue.sort_by(|a, b| a.0.total_cmp(&b.0));
        (priced, queue)
    }

    /// Bytes that a device may hold.
    pub(super) fn limit(&self) -> f64 {
        self.pricing.limit.map_or(f64::INFINITY, |limit| limit.as_f64())
    }

    /// What the ranks of a configuration keep.
    pub(super) fn in_flight(&self, configuration: &Configuration) -> Option<Arc<InFlight>> {
        let d = &configuration.degrees;
        let pipeline = (d.pipeline, d.virtual_stages, d.expert_overlap);
        let key = (configuration.order, pipeline, d.n_micro_batches);
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known().get(&key) {
            return found.clone();
        }
        let m = u32::try_from(d.n_micro_batches).ok()?;
        let found = in_flight(configuration.order, d, m).ok().map(Arc::new);
        known().insert(key, found.clone());
        found
    }

    pub(super) fn judge(
        &self,
        priced: &Priced<'_>,
        configuration: &Configuration,
        (limit, cutoff): (f64, f64),
        counts: &mut Counts,
    ) -> Outcome {
        let Some(in_flight) = self.in_flight(configuration) else { return Outcome::None };
        let own_s = relaxed::of_configuration(priced, configuration, &in_flight, limit);
        if self.options.pruning == Pruning::On && own_s > cutoff {
            return Outcome::NoneByRule(own_s);
        }
        let fitter = Fitter::new(priced, configuration, &in_flight, limit);
        let least_s = |most_s: f64| match self.is_scout {
            true => 0.0,
            false => fitter.least_s(most_s * ABOVE).unwrap_or(0.0),
        };
        // Without a plan yet: whether anything is below twice what is known.
        let without = || if cutoff.is_finite() { 0.0 } else { least_s(2.0 * own_s) };
        let own_s = least_s(cutoff).max(without()).max(own_s);
        if self.options.pruning == Pruning::On && own_s > cutoff {
            return Outcome::NoneByRule(own_s);
        }
        counts.n_fitted += 1;
        let Some(fitted) = fitter.fit() else {
            counts.n_misfits += 1;
            return match own_s.is_infinite() || configuration.has_one_cut(priced.n_blocks()) {
                true => Outcome::None,
                false => Outcome::NoneByRule(own_s),
            };
        };
        let bound_s = bound::of_stages(priced, configuration, &fitted.figures);
        let own_s = if cutoff.is_infinite() { least_s(bound_s).max(own_s) } else { own_s };
        // What is known of the only stages is known of all.
        let is_only = configuration.has_one_plan(priced.n_blocks());
        let own_s = if is_only { bound_s.max(own_s) } else { own_s };
        if self.options.pruning == Pruning::On && bound_s > cutoff {
            return Outcome::Slow(bound_s, own_s);
        }
        counts.n_judged += 1;
        match judged(priced, configuration, fitted) {
            Ok(plan) => {
                let own_s = if is_only { plan.step.seconds() } else { own_s };
                Outcome::Plan(Box::new(plan), own_s)
            }
            Err(Unfit::OutOfRange) => {
                counts.n_out_of_range += 1;
                Outcome::NoneByRule(own_s)
            }
            Err(Unfit::Memory | Unfit::Schedule) if is_only => Outcome::None,
            Err(Unfit::Memory | Unfit::Schedule) => Outcome::NoneByRule(own_s),
        }
    }
}

/// Results of the first positions that have one, in their order, on so many threads.
pub(super) fn in_parallel<T: Send>(
    n_threads: usize,
    of: impl Fn(usize) -> Option<T> + Sync,
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, T)>> = Mutex::new(Vec::new());
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::SeqCst);
            let Some(result) = of(index) else { break };
            done.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
        }
    };
    thread::scope(|scope| {
        for _ in 1..n_threads {
            // Where the system has no thread to give, the others do its work.
            let _ = thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}
