//! What the judge of pipelines says of a configuration with its stages.

use cost_model::runs::forms::model::priced::Priced;
use cost_model::runs::judge::costs::PipelineCosts;
use cost_model::runs::judge::report::Report;
use cost_model::runs::judge::violation::Violation;
use cost_model::runs::judge::{fold, over_limit};
use cost_model::runs::oracle::{StageFigures, lowered};
use ir::card::Recompute;
use ir::plan::{Partition, Plan, Stage};
use ir::schedule::Schedule;
use ir::units::Nanos;

use super::fit::Fitted;
use super::space::Configuration;

/// Where the time of a step goes, on the rank that computes longest; the parts add up to it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Parts {
    /// Kernels and launches of forward and backward passes.
    pub compute_s: f64,
    /// Computing again.
    pub recompute_s: f64,
    /// Tensor, context and expert collectives.
    pub collectives_s: f64,
    /// Transfers and exchanges that nothing hides, those of sharded parameters included.
    pub exposed_s: f64,
    /// Optimizer.
    pub optimizer_s: f64,
    /// Waiting.
    pub bubble_s: f64,
}

impl Parts {
    /// Names and values.
    #[must_use]
    pub fn named(&self) -> [(&'static str, f64); 6] {
        [
            ("compute", self.compute_s),
            ("recompute", self.recompute_s),
            ("collectives", self.collectives_s),
            ("exposed transfers", self.exposed_s),
            ("optimizer", self.optimizer_s),
            ("bubble", self.bubble_s),
        ]
    }

    /// The same by the names of members of documents, such as `bubble_s`.
    #[must_use]
    pub fn by_member(&self) -> [(String, f64); 6] {
        self.named().map(|(name, seconds)| (format!("{}_s", name.replace(' ', "_")), seconds))
    }
}

/// A configuration that was judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// The configuration.
    pub configuration: Configuration,
    /// Its stages.
    pub fitted: Fitted,
    /// Its step.
    pub step: Nanos,
    /// The most bytes that lie on one device, over all ranks.
    pub peak: u64,
    /// Where the time goes.
    pub parts: Parts,
}

impl Judged {
    /// Devices that it uses.
    #[must_use]
    pub fn n_devices(&self) -> u64 {
        let d = &self.configuration.degrees;
        [d.data, d.tensor, d.pipeline, d.context].iter().map(|n| u64::from(*n)).product()
    }

    /// As a plan: degrees, stages and grid.
    ///
    /// # Errors
    /// Those of the schedule's generator, which made this grid before.
    pub fn plan(&self) -> Result<Plan, ir::diagnostic::Diagnostic> {
        let stage = |(blocks, recompute): (&std::ops::Range<u32>, &Recompute)| Stage {
            ops: Vec::new(),
            blocks: blocks.clone(),
            recompute: *recompute,
            each: Vec::new(),
            mesh: None,
        };
        let stages = self.fitted.blocks.iter().zip(&self.fitted.recompute).map(stage).collect();
        Ok(Plan {
            parallelism: self.configuration.degrees.clone(),
            partition: Partition { stages },
            placement: Default::default(),
            schedule: Schedule {
                grid: Some(grid(&self.configuration, &self.fitted)?),
                ..Default::default()
            },
        })
    }
}

/// The grid of a configuration.
///
/// # Errors
/// Those of the schedule's generator.
pub fn grid(
    configuration: &Configuration,
    fitted: &Fitted,
) -> Result<ir::grid::Grid, ir::diagnostic::Diagnostic> {
    let m = u32::try_from(configuration.degrees.n_micro_batches).unwrap_or(u32::MAX);
    grid_of(configuration, fitted, m)
}

/// The grid of a configuration for another number of micro-batches.
fn grid_of(
    configuration: &Configuration,
    fitted: &Fitted,
    m: u32,
) -> Result<ir::grid::Grid, ir::diagnostic::Diagnostic> {
    let recomputes = |stage: ir::id::StageId| {
        fitted.recompute.get(stage.index()).is_some_and(|policy| *policy != Recompute::None)
    };
    configuration.order.grid(&configuration.degrees, m, recomputes)
}

/// Why a configuration is no plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// A device or a host holds more than it can.
    Memory,
    /// Its durations or bytes can't be counted.
    OutOfRange,
    /// Its schedule takes no such counts, gets stuck, or takes longer than is wanted.
    Schedule,
}

/// Judges a configuration.
///
/// # Errors
/// Why it is no plan.
pub fn judged(
    priced: &Priced<'_>,
    configuration: &Configuration,
    fitted: Fitted,
) -> Result<Judged, Unfit> {
    judged_below(priced, configuration, fitted, Nanos(u64::MAX))
}

/// Judges a configuration of which only a step below `most` is wanted.
///
/// # Errors
/// Why it is no such plan.
pub(super) fn judged_below(
    priced: &Priced<'_>,
    configuration: &Configuration,
    fitted: Fitted,
    most: Nanos,
) -> Result<Judged, Unfit> {
    let n_ranks = configuration.degrees.pipeline.max(1);
    let ranks: Vec<u32> = (0..fitted.figures.len())
        .map(|stage| configuration.order.rank_of(n_ranks, stage as u32))
        .collect();
    let m = u32::try_from(configuration.degrees.n_micro_batches).map_err(|_| Unfit::OutOfRange)?;
    let steady = configuration.order.steady(n_ranks, configuration.degrees.virtual_stages.max(1));
    // Which passes there are does not depend on how often the grid repeats itself.
    let fewest = steady.map_or(m, |steady| steady.shortest(m, 0));
    let sample = grid_of(configuration, &fitted, fewest).map_err(|_| Unfit::Schedule)?;
    let costs = lowered(priced, &fitted.figures, &ranks, &sample);
    let report = fold::report(&costs, steady, most, |m| grid_of(configuration, &fitted, m).ok());
    let report = match report {
        Ok(Some(report)) => report,
        Ok(None) => return Err(Unfit::Schedule),
        Err(Violation::OutOfRange { .. }) => return Err(Unfit::OutOfRange),
        Err(_) => return Err(Unfit::Schedule),
    };
    if over_limit(&report).is_some() {
        return Err(Unfit::Memory);
    }
    let parts = parts((&fitted.figures, &ranks), u64::from(m), &report, &costs);
    let peak = report.ranks.iter().map(|rank| rank.peak.bytes).max().unwrap_or(0);
    let step = report.step_time;
    Ok(Judged { configuration: configuration.clone(), fitted, step, peak, parts })
}

/// The rank that computes longest.
pub(super) fn longest(report: &Report) -> usize {
    let longest = |best: usize, rank: usize| {
        if report.ranks[rank].compute_ns > report.ranks[best].compute_ns { rank } else { best }
    };
    (0..report.ranks.len()).fold(0, longest)
}

/// Where the time of a judged step goes, of stages with their ranks and so many micro-batches.
#[must_use]
pub fn parts(
    (stages, ranks): (&[StageFigures], &[u32]),
    n_micro_batches: u64,
    report: &Report,
    costs: &PipelineCosts,
) -> Parts {
    let rank = longest(report);
    let Some(rank_report) = report.ranks.get(rank) else { return Parts::default() };
    let m = n_micro_batches as f64;
    let sum = |figure: &dyn Fn(&StageFigures) -> f64| {
        let of_rank = stages.iter().zip(ranks).filter(|(_, of)| **of as usize == rank);
        m * of_rank.map(|(stage, _)| figure(stage)).sum::<f64>()
    };
    let seconds = |ns: u64| Nanos(ns).seconds();
    let optimizer_s = costs.ranks.get(rank).map_or(0.0, |rank| rank.optimizer.seconds());
    let recompute_s = sum(&|stage| stage.recompute_s);
    let collectives_s = sum(&|stage| stage.collectives_s);
    let waited_s = sum(&|stage| stage.waited_s);
    Parts {
        compute_s: seconds(rank_report.compute_ns)
            - optimizer_s
            - recompute_s
            - collectives_s
            - waited_s,
        recompute_s,
        collectives_s,
        exposed_s: seconds(rank_report.communication_ns) + waited_s,
        optimizer_s,
        bubble_s: seconds(rank_report.idle_ns),
    }
}
