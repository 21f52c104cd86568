//! Seconds that no cuts of a configuration fall below whose ranks hold a stage each.

use std::collections::BTreeSet;
use std::ops::Range;

use super::super::bound::lowered;
use super::super::space::{RecomputeRule, Split};
use super::{Fitter, HALVINGS};

/// Most blocks of a model of which the first so many of a stage are computed again, if they are unlike.
const MOST_UNLIKE: u32 = 128;
/// Most blocks of a stage of which every count that is computed again is tried.
const MOST_RECOMPUTED: u32 = 64;

impl Fitter<'_, '_> {
    /// What sharing blocks out proves of every way to cut them; as much as `most_s` where nothing is
    /// below it, and nothing of an infinite one where something fits. `None` where nothing is proved: ranks hold several
    /// stages, equal ones are asked for, parts of the model are frozen, or what is computed again may be so when less is kept than
    /// [`Self::bytes`] counts beside it.
    pub(in super::super) fn least_s(&self, most_s: f64) -> Option<f64> {
        let d = &self.configuration.degrees;
        let order = self.configuration.order;
        let is_exact = match self.configuration.recompute {
            RecomputeRule::None => true,
            RecomputeRule::Fitted => !order.recomputes_early(),
            _ => order.is_whole() && !order.recomputes_early(),
        };
        // Stages of frozen blocks hold less than their figures say.
        let is_whole = self.priced.pricing.model.tuning.is_whole();
        if d.virtual_stages > 1
            || self.configuration.split == Split::Equal
            || !is_exact
            || !is_whole
        {
            return None;
        }
        if !self.is_monotone() && self.priced.n_blocks() > MOST_UNLIKE {
            return None;
        }
        let per_step = if self.is_flush() { 1.0 } else { d.n_micro_batches as f64 };
        let least = match self.configuration.recompute {
            RecomputeRule::Alike => self.least_alike(most_s / per_step)?,
            _ => self.least_weight(most_s / per_step),
        };
        Some(lowered(least * per_step, d.virtual_stages, d))
    }

    /// The least that the greatest weight of a stage can be, however blocks are cut.
    fn least_weight(&self, most: f64) -> f64 {
        if !self.reaches(most) {
            return most;
        }
        if most.is_infinite() {
            return 0.0;
        }
        let (mut low, mut high) = (0.0, most);
        for _ in 0..HALVINGS {
            if high - low <= 1e-4 * high {
                break;
            }
            let middle = low.midpoint(high);
            if self.reaches(middle) { high = middle } else { low = middle }
        }
        low
    }

    /// Whether there are stages of at most such a weight.
    fn reaches(&self, most: f64) -> bool {
        match self.is_monotone() {
            true => self.reaches_by_longest(most),
            false => self.reaches_by_ends(most),
        }
    }

    /// Whether part of a stage always fits and weighs no more where the stage does: unlike blocks of
    /// which the first so many are computed again may be others without the ones before them.
    fn is_monotone(&self) -> bool {
        self.priced.is_uniform() || self.configuration.recompute != RecomputeRule::Alike
    }

    /// Each stage as long as it can be.
    fn reaches_by_longest(&self, most: f64) -> bool {
        let (n_blocks, n_ranks) = (self.priced.n_blocks(), self.n_ranks());
        let mut start = 0;
        for rank in 0..n_ranks {
            let last = n_blocks.saturating_sub(n_ranks - 1 - rank);
            if start >= last || !self.takes(rank, start..start + 1, most) {
                return false;
            }
            let (mut low, mut high) = (start + 1, last + 1);
            while high - low > 1 {
                let middle = low.midpoint(high);
                if self.takes(rank, start..middle, most) { low = middle } else { high = middle }
            }
            start = low;
        }
        start == n_blocks
    }

    /// Rank by rank, where stages may end.
    fn reaches_by_ends(&self, most: f64) -> bool {
        let (n_blocks, n_ranks) = (self.priced.n_blocks(), self.n_ranks());
        let mut starts = BTreeSet::from([0]);
        for rank in 0..n_ranks {
            // Every later stage needs a block.
            let behind = n_ranks - 1 - rank;
            let last = n_blocks.saturating_sub(behind);
            let mut ends = BTreeSet::new();
            for start in starts {
                let may = |end: &u32| self.weighs_at_least(start..*end) <= most;
                let left_s = |end| self.weighs_at_least(end..n_blocks);
                let first = if behind == 0 { n_blocks } else { start + 1 };
                ends.extend((first..=last).take_while(may).filter(|end| {
                    *end > start
                        && (behind == 0 || left_s(*end) <= f64::from(behind) * most)
                        && self.takes(rank, start..*end, most)
                }));
            }
            starts = ends;
        }
        starts.contains(&n_blocks)
    }

    /// Whether a stage fits and has at most such a weight, whatever stages before it compute again.
    fn takes(&self, rank: u32, blocks: Range<u32>, most: f64) -> bool {
        let Some((_, figures)) = self.cheapest(rank, &blocks) else { return false };
        let before_s = self.work_s(&(0..blocks.start));
        self.weight(rank, before_s, blocks.end, &figures) <= most
    }

    /// What a stage of some blocks weighs at least.
    fn weighs_at_least(&self, blocks: Range<u32>) -> f64 {
        let m = self.configuration.degrees.n_micro_batches as f64;
        let times = if self.is_flush() { m } else { 1.0 };
        times * self.work_s(&blocks) * (1.0 - 1e-9)
    }

    /// The same over all counts of blocks that every stage computes again, where they are not very
    /// many. Those that no stage below `most` is longer than are alike.
    fn least_alike(&self, most: f64) -> Option<f64> {
        let longest = self.longest(most);
        let each = |n| self.recomputing(n).least_weight(most);
        let is_few = most.is_finite() && longest <= MOST_RECOMPUTED;
        is_few.then(|| (0..=longest).map(each).fold(f64::INFINITY, f64::min))
    }

    /// Blocks of the longest stage that weighs no more than that.
    fn longest(&self, most: f64) -> u32 {
        let mut start = 0;
        let ending = |end| {
            while start < end && self.weighs_at_least(start..end) > most {
                start += 1;
            }
            end - start
        };
        (1..=self.priced.n_blocks()).map(ending).max().unwrap_or(0)
    }
}
