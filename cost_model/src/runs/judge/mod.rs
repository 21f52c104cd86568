//! The judge of training runs: a pipeline grid becomes tasks, which are replayed as early as rows,
//! data and channels allow, with a memory trace and a report.
//!
//! Input are the costs of each stage and rank ([`costs::PipelineCosts`]) and the order of each rank
//! ([`ir::grid::Grid`], from a generator or a file). Which algorithm made the grid is never known.
//!
//! ```
//! use cost_model::runs::judge::{costs::{PipelineCosts, StageCosts}, judge};
//! use ir::{grid::Grid, units::{Bytes, Nanos}};
//!
//! // Two stages, one forward, one backward: forward 10 ns, backward 20 ns, 5 bytes kept between.
//! let stage = StageCosts {
//!     forward: Nanos(10),
//!     backward: Nanos(20),
//!     stash: Bytes(5),
//!     ..StageCosts::default()
//! };
//! let costs = PipelineCosts::looped(2, 1, 2, stage);
//! let grid = Grid::parse("0F0,0F1,0B0,0B1\n1F0,1B0,1F1,1B1").unwrap();
//! let judged = judge(&costs, &grid).unwrap();
//! assert_eq!(judged.report.step_time, Nanos(90));
//! assert_eq!(judged.report.ranks[0].peak.bytes, 10);
//! assert_eq!(judged.report.ranks[0].idle_ns, 30);
//! ```

use ir::grid::Grid;
use ir::plan::Plan;

mod agenda;
pub mod costs;
mod end_of_step;
pub mod fold;
pub mod holding;
pub mod lower;
pub mod memory;
pub mod replay;
pub mod report;
mod rows;
mod structure;
pub mod timeline;
pub mod verify;
pub mod violation;
mod way;
pub mod windows;

use costs::PipelineCosts;
use lower::Lowered;
use memory::Trace;
use report::Report;
use timeline::Timeline;
use violation::Violation;

/// Everything about one run.
#[derive(Clone, Debug)]
pub struct Judged<'a> {
    /// The grid as tasks: what asks the others for single cells.
    pub lowered: Lowered<'a>,
    /// When everything happens.
    pub timeline: Timeline,
    /// Bytes over time.
    pub trace: Trace,
    /// Sums.
    pub report: Report,
}

/// Judges a grid.
///
/// # Errors
/// The first defect of costs or grid, or the circle in which it gets stuck. Memory over a limit is
/// no error here: [`Report::ranks`] has peaks and limits, and [`over_limit`] makes a violation.
pub fn judge<'a>(costs: &'a PipelineCosts, grid: &'a Grid) -> Result<Judged<'a>, Violation> {
    let lowered = Lowered::new(costs, grid)?;
    let timeline = replay::replay(&lowered)?;
    let trace = memory::trace(&lowered, &timeline);
    let report = report::report(&lowered, &timeline, &trace);
    Ok(Judged { lowered, timeline, trace, report })
}

/// Judges the grid of a plan.
///
/// # Errors
/// As [`judge`]; also if the plan has no grid, or counts other stages, ranks or micro-batches than
/// there are costs of.
pub fn judge_plan<'a>(costs: &'a PipelineCosts, plan: &'a Plan) -> Result<Judged<'a>, Violation> {
    let grid = plan.schedule.grid.as_ref().ok_or(Violation::NoGrid)?;
    let degrees = &plan.parallelism;
    let n_chunks = u64::from(degrees.pipeline) * u64::from(degrees.virtual_stages);
    let n_stages = costs.stages.len() as u64;
    let counts = [
        ("ranks", u64::from(degrees.pipeline), costs.ranks.len() as u64),
        ("stages", plan.partition.stages.len() as u64, n_stages),
        ("chunks", n_chunks, n_stages),
        ("micro-batches", degrees.n_micro_batches, u64::from(costs.n_micro_batches)),
    ];
    for (field, plan, costs) in counts {
        if plan != costs {
            return Err(Violation::Count { field, plan, costs });
        }
    }
    judge(costs, grid)
}

/// The first rank, else the first host, that holds more than it can.
#[must_use]
pub fn over_limit(report: &Report) -> Option<Violation> {
    let rank = (0u32..).zip(&report.ranks).find_map(|(rank, reported)| {
        let limit = reported.limit.filter(|limit| reported.peak.bytes > *limit)?;
        Some(Violation::MemoryExceeded {
            rank,
            at: reported.peak.at,
            need: reported.peak.bytes,
            limit,
            alive: reported.alive.clone(),
        })
    });
    let host = || {
        report.hosts.iter().find_map(|host| {
            let limit = host.limit.filter(|limit| host.bytes > *limit)?;
            Some(Violation::HostMemoryExceeded { host: host.host, need: host.bytes, limit })
        })
    };
    rank.or_else(host)
}
