//! One round of a search: shapes are expanded on several threads, none of which sees what the
//! others find before the round ends.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use cost_model::transformer::model::Pricing;
use cost_model::transformer::model::priced::Priced;
use cost_model::transformer::model::stages::Stages;

use super::fit::Fitter;
use super::judge::{Judged, judged};
use super::space::{Again, Leaf, Space, Split, leaves};
use super::{Bounded, Counts, Family, Options, Pruning, bound, family};
use crate::parallelism::order::{Kept, Order, kept};

/// What a shape gave.
pub(super) struct Expanded {
    /// Its best plan below the cutoff.
    pub(super) best: Option<Judged>,
    /// How much was done for it.
    pub(super) counts: Counts,
    /// Seconds that none of its plans falls below that could be below the cutoff, however its
    /// blocks are shared out.
    pub(super) any_cut_s: f64,
}

/// What ranks keep, by schedule, ranks, chunks and micro-batches: found once for a whole search.
pub(super) type KeptBy = Mutex<HashMap<(Order, u32, u32, u64), Option<Arc<Kept>>>>;

/// What a configuration gave.
#[derive(PartialEq)]
enum Outcome {
    /// A plan.
    Plan(Box<Judged>),
    /// No plan below the cutoff by the rule that cuts, which other cuts may make.
    NoneByRule,
    /// No plan, whatever the cuts.
    None,
}

/// Whether there are no cuts that fit where the rule finds none.
fn finds_all_cuts(leaf: &Leaf) -> bool {
    leaf.degrees.virtual_stages <= 1 && leaf.split == Split::Balanced && leaf.again != Again::Alike
}

/// Expands shapes.
pub(super) struct Worker<'w, 'a> {
    pub(super) pricing: &'w Pricing<'a>,
    pub(super) space: &'w Space,
    pub(super) options: &'w Options,
    pub(super) cutoff: f64,
    pub(super) best: &'w BTreeMap<Family, Judged>,
    pub(super) known: &'w KeptBy,
}

impl Worker<'_, '_> {
    /// Expands shapes; results in their order.
    pub(super) fn round(&self, shapes: &[Bounded]) -> Vec<Expanded> {
        let next = AtomicUsize::new(0);
        let done: Mutex<Vec<(usize, Expanded)>> = Mutex::new(Vec::with_capacity(shapes.len()));
        let work = || {
            loop {
                let index = next.fetch_add(1, Ordering::SeqCst);
                let Some(shape) = shapes.get(index) else { break };
                let expanded = self.expand(shape);
                done.lock().unwrap_or_else(PoisonError::into_inner).push((index, expanded));
            }
        };
        thread::scope(|scope| {
            for _ in 1..self.options.n_threads.min(shapes.len()) {
                scope.spawn(work);
            }
            work();
        });
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|(index, _)| *index);
        done.into_iter().map(|(_, expanded)| expanded).collect()
    }

    fn expand(&self, bounded: &Bounded) -> Expanded {
        let mut counts = Counts { n_expanded: 1, ..Counts::default() };
        // Of one family only the best plan is kept.
        let own = self.best.get(&family(&bounded.shape)).map(|plan| plan.step.seconds());
        let mut cutoff = own.map_or(self.cutoff, |own| own.min(self.cutoff));
        if self.options.pruning == Pruning::Off {
            cutoff = f64::INFINITY;
        }
        let mut any_cut_s = f64::INFINITY;
        if bounded.bound_s > cutoff {
            return Expanded { best: None, counts, any_cut_s };
        }
        let n_blocks = self.pricing.model.n_blocks();
        let (all, n_too_large) = leaves(&bounded.shape, self.space, n_blocks);
        counts.n_leaves = all.len() as u64;
        counts.n_too_large = n_too_large;
        let limit = self.pricing.limit.map_or(f64::INFINITY, |limit| limit.as_f64());
        let mut priced: Vec<Priced<'_>> = Vec::new();
        let mut queue: Vec<(f64, usize, Leaf)> = Vec::new();
        for leaf in all {
            // What replicas share out decides prices; the chunks of a rank don't.
            let zero = leaf.degrees.zero;
            let at = priced.iter().position(|own| own.degrees.zero == zero).unwrap_or_else(|| {
                let passes = Arc::clone(&bounded.passes);
                priced.push(Priced::new(*self.pricing, leaf.degrees.clone(), passes));
                priced.len() - 1
            });
            let own = &priced[at];
            let bound_s = bound::of_leaf(own, &bounded.totals, &leaf);
            let is_large = self.options.pruning == Pruning::On
                && bound::is_too_large(own, &bounded.totals, limit);
            if is_large {
                counts.n_misfits += 1;
            } else if bound_s <= cutoff {
                queue.push((bound_s, at, leaf));
            }
        }
        queue.sort_by(|a, b| a.0.total_cmp(&b.0));
        let stages: Vec<Stages<'_, '_>> = priced.iter().map(Stages::new).collect();
        let mut best: Option<Judged> = None;
        for (bound_s, at, leaf) in queue {
            if bound_s > cutoff {
                break;
            }
            let outcome = self.judge(&stages[at], &leaf, (limit, cutoff), &mut counts);
            // Of equal and of balanced stages the latter speak for all cuts.
            let speaks = leaf.split == Split::Balanced || self.space.pins.split.is_some();
            if speaks && outcome != Outcome::None {
                any_cut_s = any_cut_s.min(bound_s);
            }
            let Outcome::Plan(found) = outcome else { continue };
            let found = *found;
            let is_better = best
                .as_ref()
                .is_none_or(|best| (found.step, found.leaf.key()) < (best.step, best.leaf.key()));
            if is_better {
                if self.options.pruning == Pruning::On {
                    cutoff = cutoff.min(found.step.seconds());
                }
                best = Some(found);
            }
        }
        Expanded { best, counts, any_cut_s }
    }

    /// What the ranks of a configuration keep.
    fn kept(&self, leaf: &Leaf) -> Option<Arc<Kept>> {
        let d = &leaf.degrees;
        let key = (leaf.order, d.pipeline, d.virtual_stages, d.n_micro_batches);
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known().get(&key) {
            return found.clone();
        }
        let m = u32::try_from(d.n_micro_batches).ok()?;
        let found = kept(leaf.order, d.pipeline, d.virtual_stages, m).ok().map(Arc::new);
        known().insert(key, found.clone());
        found
    }

    fn judge(
        &self,
        stages: &Stages<'_, '_>,
        leaf: &Leaf,
        (limit, cutoff): (f64, f64),
        counts: &mut Counts,
    ) -> Outcome {
        let Some(kept) = self.kept(leaf) else { return Outcome::None };
        counts.n_fitted += 1;
        let Some(fitted) = Fitter::new(stages, leaf, &kept, limit).fit() else {
            counts.n_misfits += 1;
            return if finds_all_cuts(leaf) { Outcome::None } else { Outcome::NoneByRule };
        };
        let bound_s = bound::of_stages(stages.priced, leaf, &fitted.figures);
        if self.options.pruning == Pruning::On && bound_s > cutoff {
            return Outcome::NoneByRule;
        }
        counts.n_judged += 1;
        match judged(stages.priced, leaf, fitted) {
            Some(plan) => Outcome::Plan(Box::new(plan)),
            None => Outcome::NoneByRule,
        }
    }
}
