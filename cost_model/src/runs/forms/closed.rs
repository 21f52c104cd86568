//! The step of equal stages under 1F1B or interleaved 1F1B in closed form: what fits evaluate, and
//! a check on the replay.

use super::StepPrediction;
use super::step::{Chunk, StepCosts};
use crate::kernels::origin::Origin;

impl StepCosts {
    /// Seconds of one micro-batch on the slowest rank, and its rank.
    pub(super) fn slowest(&self) -> (usize, f64) {
        let ranks = (0..self.n_ranks.max(1)).map(|rank| (rank, self.of_rank(rank, Chunk::seconds)));
        ranks.fold((0, 0.0), |best, own| if own.1 > best.1 { own } else { best })
    }

    /// A sum over the chunks of a rank.
    pub(super) fn of_rank(&self, rank: usize, figure: impl Fn(&Chunk) -> f64) -> f64 {
        self.chunks.iter().skip(rank).step_by(self.n_ranks.max(1)).map(figure).sum()
    }

    /// Transfers between stages that nothing hides, in seconds: on the way through all ranks at
    /// start and end, and twice per chunk and micro-batch in between, for the share `(p - 1) / p` of
    /// it that 1F1B cannot hide.
    pub(super) fn neighbours_s(&self) -> f64 {
        let p = self.n_ranks as f64;
        if self.n_ranks <= 1 {
            return 0.0;
        }
        let one =
            |chunk: &Chunk| chunk.link.start_up_s + chunk.boundary_bytes / chunk.link.rate.get();
        let slowest = self.chunks.iter().map(one).fold(0.0, f64::max);
        let in_turn = self.n_micro_batches as f64 * self.chunks.len() as f64 / p;
        2.0 * slowest * (p - 1.0) * (1.0 + in_turn / p)
    }

    /// Seconds of exchange and optimizer at the end of the step, of the rank where they take
    /// longest, and what is left of the exchange beside the last backward pass.
    pub(super) fn end_s(&self) -> (f64, f64) {
        let ends = (0..self.n_ranks.max(1)).map(|rank| {
            let own = |of: &[f64]| of.iter().skip(rank).step_by(self.n_ranks.max(1)).sum::<f64>();
            let exchange = own(&self.exchange_s);
            let beside = self.overlap * exchange;
            let last = self.of_rank(rank, |chunk| chunk.backward_s + chunk.recompute_s);
            let exposed = exchange - beside + (beside - last).max(0.0);
            (exposed, self.optimizer_s.get(rank).copied().unwrap_or_default())
        });
        ends.fold((0.0, 0.0), |best, end| if end.0 + end.1 > best.0 + best.1 { end } else { best })
    }

    /// The step under 1F1B: `m t + (sum of the other ranks' passes) / v`, transfers, exchange and
    /// optimizer, where `t` is the time of one micro-batch on the slowest of `p` ranks and `v` the
    /// chunks of a rank. Of `p` equal ranks that is `(m + (p - 1) / v) t`.
    #[must_use]
    pub fn closed_form(&self, origin: Origin) -> StepPrediction {
        let (rank, slowest) = self.slowest();
        let all: f64 = self.chunks.iter().map(Chunk::seconds).sum();
        let per_rank = (self.chunks.len() as f64 / self.n_ranks.max(1) as f64).max(1.0);
        let bubble_s = (all - slowest) / per_rank;
        let m = self.n_micro_batches as f64;
        let tensor_s = m * self.of_rank(rank, |chunk| chunk.collectives_s);
        let (exchange_s, optimizer_s) = self.end_s();
        let neighbours_s = self.neighbours_s();
        StepPrediction {
            step_s: m * slowest + bubble_s + neighbours_s + exchange_s + optimizer_s,
            compute_s: m * slowest - tensor_s,
            tensor_s,
            bubble_s,
            neighbours_s,
            exchange_s,
            optimizer_s,
            origin,
        }
    }
}
