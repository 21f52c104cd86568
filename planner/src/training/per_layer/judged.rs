//! A plan on measured layers and its figures.

use cost_model::runs::judge::{judge, over_limit};
use cost_model::runs::measured::priced::Priced;
use cost_model::runs::oracle::lowered;
use ir::card::{Recompute, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::plan::{BlockPolicy, Parallelism, Partition, Plan, Stage};
use ir::schedule::Schedule;
use ir::units::Nanos;

use super::table::Chosen;
use crate::training::schedule::one_f_one_b;

/// A plan with its figures.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// Degrees; `zero` is that of the ends.
    pub degrees: Parallelism,
    /// Stages.
    pub stages: Vec<Chosen>,
    /// Step time.
    pub step: Nanos,
    /// The most bytes that lie on one device.
    pub peak: u64,
}

impl Judged {
    /// As a plan: degrees, stages with what is done with each block, and grid.
    ///
    /// # Errors
    /// Those of the schedule's generator.
    pub fn plan(&self) -> Result<Plan, Diagnostic> {
        plan(&self.degrees, &self.stages)
    }

    /// Devices that it uses.
    #[must_use]
    pub fn n_devices(&self) -> u64 {
        let d = &self.degrees;
        [d.data, d.tensor, d.pipeline].iter().map(|n| u64::from(*n)).product()
    }
}

/// Degrees and chosen stages as a plan.
///
/// # Errors
/// Those of the schedule's generator.
pub fn plan(degrees: &Parallelism, stages: &[Chosen]) -> Result<Plan, Diagnostic> {
    let n_micro_batches = u32::try_from(degrees.n_micro_batches).unwrap_or(u32::MAX);
    let grid = one_f_one_b::grid(degrees.pipeline.max(1), n_micro_batches)?;
    let mut next = 0;
    let stages = stages.iter().map(|chosen| {
        let blocks = next..next + chosen.blocks;
        next = blocks.end;
        let each = (0..chosen.blocks).map(|block| BlockPolicy {
            recompute: match block < chosen.recomputed {
                true => Recompute::Full,
                false => Recompute::None,
            },
            zero: match block + chosen.fully_sharded >= chosen.blocks {
                true => ZeroStage::Parameters,
                false => chosen.zero,
            },
        });
        Stage {
            ops: Vec::new(),
            blocks,
            recompute: Recompute::None,
            each: each.collect(),
            mesh: None,
        }
    });
    Ok(Plan {
        partition: Partition { stages: stages.collect() },
        parallelism: degrees.clone(),
        placement: Default::default(),
        schedule: Schedule { grid: Some(grid), ..Schedule::default() },
    })
}

/// Judges chosen stages; `None` where they do not run or exceed a limit.
#[must_use]
pub fn judged(priced: &Priced<'_>, grid: &ir::grid::Grid, stages: &[Chosen]) -> Option<Judged> {
    let figures: Vec<_> = stages.iter().map(|chosen| chosen.figures).collect();
    let ranks: Vec<u32> = (0..).take(stages.len()).collect();
    let lowered = lowered(priced, &figures, &ranks, grid);
    let report = judge(&lowered, grid).ok()?.report;
    if over_limit(&report).is_some() {
        return None;
    }
    Some(Judged {
        degrees: priced.degrees.clone(),
        stages: stages.to_vec(),
        step: report.step_time,
        peak: report.ranks.iter().map(|rank| rank.peak.bytes).max().unwrap_or(0),
    })
}
