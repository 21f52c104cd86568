//! Seconds that no cuts of a configuration fall below whose ranks hold a stage each.

use std::collections::BTreeSet;
use std::ops::Range;

use super::super::bound::lowered;
use super::super::space::{RecomputeRule, Split};
use super::{Fitter, HALVINGS};

impl Fitter<'_, '_> {
    /// What sharing blocks out proves of every way to cut them; as much as `most_s` where nothing is
    /// below it, infinite or not. `None` where nothing is proved: ranks hold several
    /// stages, equal ones are asked for, or what is computed again may be so when less is kept than
    /// [`Self::bytes`] counts beside it.
    pub(in super::super) fn least_s(&self, most_s: f64) -> Option<f64> {
        let d = &self.configuration.degrees;
        let order = self.configuration.order;
        let is_exact = match self.configuration.recompute {
            RecomputeRule::None => true,
            RecomputeRule::Fitted => !order.recomputes_early(),
            _ => order.is_whole() && !order.recomputes_early(),
        };
        if d.virtual_stages > 1 || self.configuration.split == Split::Equal || !is_exact {
            return None;
        }
        let per_step = if self.is_flush() { 1.0 } else { d.n_micro_batches as f64 };
        let least = match self.configuration.recompute {
            RecomputeRule::Alike => self.least_alike(most_s / per_step),
            _ => self.least_weight(most_s / per_step),
        };
        Some(lowered(least * per_step, d.virtual_stages, d))
    }

    /// The least that the greatest weight of a stage can be, however blocks are cut.
    fn least_weight(&self, most: f64) -> f64 {
        if !self.reaches(most) {
            return most;
        }
        let (mut low, mut high) = (0.0, most);
        if most.is_infinite() {
            high = f64::from(self.n_ranks()) * self.all_s();
            while !self.reaches(high) {
                (low, high) = (high, 2.0 * high);
            }
        }
        for _ in 0..HALVINGS {
            if high - low <= 1e-4 * high {
                break;
            }
            let middle = low.midpoint(high);
            if self.reaches(middle) { high = middle } else { low = middle }
        }
        low
    }

    /// Whether there are stages of at most such a weight: rank by rank, where stages may end.
    fn reaches(&self, most: f64) -> bool {
        let (n_blocks, n_ranks) = (self.priced.n_blocks(), self.n_ranks());
        let mut starts = BTreeSet::from([0]);
        for rank in 0..n_ranks {
            // Every later stage needs a block.
            let behind = n_ranks - 1 - rank;
            let last = n_blocks.saturating_sub(behind);
            let mut ends = BTreeSet::new();
            for start in starts {
                let may = |end: &u32| self.weighs_at_least(start..*end) <= most;
                ends.extend((start + 1..=last).take_while(may).filter(|end| {
                    (behind == 0
                        || self.weighs_at_least(*end..n_blocks) <= f64::from(behind) * most)
                        && self.takes(rank, start..*end, most)
                }));
            }
            starts = ends;
        }
        starts.contains(&n_blocks)
    }

    /// Whether a stage fits and has at most such a weight, whatever stages before it compute again.
    fn takes(&self, rank: u32, blocks: Range<u32>, most: f64) -> bool {
        let Some((_, own)) = self.cheapest(rank, &blocks) else { return false };
        let before_s = self.work_s(&(0..blocks.start));
        self.weight(rank, before_s, blocks.end, &own) <= most
    }

    /// What a stage of some blocks weighs at least.
    fn weighs_at_least(&self, blocks: Range<u32>) -> f64 {
        let m = self.configuration.degrees.n_micro_batches as f64;
        let times = if self.is_flush() { m } else { 1.0 };
        times * self.work_s(&blocks) * (1.0 - 1e-9)
    }

    /// The same over all counts of blocks that every stage computes again. Those that no stage below
    /// `most` is longer than are alike.
    fn least_alike(&self, most: f64) -> f64 {
        let longest = self.longest(most);
        let mut least = f64::INFINITY;
        for n_recomputed in 0..=longest {
            least = least.min(self.recomputing(n_recomputed).least_weight(most.min(least)));
        }
        least
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
