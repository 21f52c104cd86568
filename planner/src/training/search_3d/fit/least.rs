//! Seconds that no cuts of a configuration fall below whose ranks hold a stage each.

use super::super::bound::lowered;
use super::super::space::{RecomputeRule, Split};
use super::{Before, Fitter};

impl Fitter<'_, '_> {
    /// What sharing blocks out proves of every way to cut them, infinite where nothing fits; as much
    /// as `most_s` where nothing is below it. `None` where nothing is proved: ranks hold several
    /// stages, or equal ones are asked for.
    pub(in super::super) fn least_s(&self, most_s: f64) -> Option<f64> {
        let d = &self.configuration.degrees;
        if d.virtual_stages > 1 || self.configuration.split == Split::Equal {
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
        if most.is_finite() && self.filled(most, Before::AtLeast).is_none() {
            let fits = self.filled(f64::INFINITY, Before::AtLeast).is_some();
            return if fits { most } else { f64::INFINITY };
        }
        self.balanced(Before::AtLeast).map_or(f64::INFINITY, |(_, low)| low)
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

    /// Blocks of the longest stage that takes no more time than that.
    fn longest(&self, most: f64) -> u32 {
        let m = self.configuration.degrees.n_micro_batches as f64;
        let per_step = if self.is_flush() { m } else { 1.0 };
        let (n, mut start) = (self.priced.n_blocks(), 0);
        (1..=n)
            .map(|end| {
                while start < end && per_step * self.work_s(&(start..end)) > most {
                    start += 1;
                }
                end - start
            })
            .max()
            .unwrap_or(0)
    }
}
