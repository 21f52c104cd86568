//! Lowers the costs of a step to the judge of pipelines.

use ir::grid::Grid;
use ir::units::{Bytes, Nanos, Work};

use super::StepPrediction;
use super::step::{Chunk, StepCosts};
use crate::kernels::origin::Origin;
use crate::runs::judge::costs::{Boundary, Link, PipelineCosts, RankCosts, StageCosts};
use crate::runs::judge::judge;
use crate::runs::judge::violation::Violation;

impl StepCosts {
    /// The same as costs of stages and ranks, whole nanoseconds and bytes.
    #[must_use]
    pub fn lowered(&self) -> PipelineCosts {
        let stage = |(index, chunk): (usize, &Chunk)| {
            let exchange = self.exchange_s.get(index).copied().unwrap_or_default();
            let bytes = Bytes(chunk.boundary_bytes.round() as u64);
            StageCosts {
                rank: u32::try_from(index % self.n_ranks.max(1)).unwrap_or(u32::MAX),
                forward: nanos(chunk.forward_s),
                backward: nanos(chunk.backward_s),
                recompute: nanos(chunk.recompute_s),
                stash: Bytes(chunk.stash_bytes.round() as u64),
                next: Boundary {
                    activation: bytes,
                    gradient: bytes,
                    link: Link {
                        latency_ns: chunk.link.start_up_s * 1e9,
                        bandwidth: Some(chunk.link.rate),
                        ..Link::default()
                    },
                },
                exchange: nanos(exchange),
                overlapped: nanos(exchange * self.overlap),
                ..StageCosts::default()
            }
        };
        let rank =
            |optimizer: &f64| RankCosts { optimizer: nanos(*optimizer), ..Default::default() };
        PipelineCosts {
            n_micro_batches: u32::try_from(self.n_micro_batches).unwrap_or(u32::MAX),
            stages: self.chunks.iter().enumerate().map(stage).collect(),
            ranks: self.optimizer_s.iter().map(rank).collect(),
            ..PipelineCosts::default()
        }
    }

    /// The step as the judge of pipelines sees it.
    ///
    /// # Errors
    /// What the judge finds wrong with the grid.
    pub fn replay(&self, grid: &Grid, origin: Origin) -> Result<StepPrediction, Violation> {
        let lowered = self.lowered();
        let judged = judge(&lowered, grid)?;
        let step_s = judged.report.step_time.seconds();
        let (rank, slowest) = self.slowest();
        let m = self.n_micro_batches as f64;
        let tensor_s = m * self.of_rank(rank, |chunk| chunk.collectives_s);
        let (exchange_s, optimizer_s) = self.end_s();
        let waiting = (step_s - m * slowest - exchange_s - optimizer_s).max(0.0);
        let neighbours_s = self.neighbours_s().min(waiting);
        Ok(StepPrediction {
            step_s,
            compute_s: m * slowest - tensor_s,
            tensor_s,
            bubble_s: waiting - neighbours_s,
            neighbours_s,
            exchange_s,
            optimizer_s,
            origin,
        })
    }
}

/// Whole nanoseconds, at least one of any work.
fn nanos(seconds: f64) -> Nanos {
    Nanos::rounded(seconds * 1e9, if seconds > 0.0 { Work::Some } else { Work::None })
}
