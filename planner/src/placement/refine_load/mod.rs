//! Moves between devices that lower the greatest load.
//!
//! # Decides
//! Placement and op orders, anew.
//!
//! # Idea
//! The busiest device gives something away: a piece from one of the ends of what it runs (in the
//! order of a depth-first line) to the device that runs what stands beside it, a unit at its border
//! to a device that it exchanges tensors with or to the least loaded one, or a unit in exchange for
//! another. What lowers the greatest load (or the busiest device's, where several are equally busy)
//! is kept. Loads are exact after every move; memory is counted on the safe side, and the plan is
//! verified before it counts.
//!
//! # Paper
//! None; moves and swaps under a greatest load are those of Fiduccia and Mattheyses, "A linear-time
//! heuristic for improving network partitions", DAC 1982, with another gain.
//!
//! # Guarantee
//! Never worse than the plan before it.
//!
//! # Complexity
//! O(degree x devices that a tensor reaches) per move, plus O(devices). Ends where a whole round
//! finds nothing, after 2,000,000 moves, or at the limits of the run.
//!
//! # Limits
//! Does nothing for other objectives than max-load. A piece has up to 512 units.
//!
//! # Example
//! `meshwright place model.onnx --cluster pod.yaml --objective max-load --algorithm orders,refine-load`

mod search;
#[cfg(test)]
mod tests;

use cost_model::ops::judge::memory::peaks;
use cost_model::ops::judge::replay::replay;
use cost_model::ops::problem::{Objective, Problem};
use ir::diagnostic::Diagnostic;
use ir::id::OpId;
use ir::plan::{Placement, Plan};

use self::search::Search;
use super::orders::orders_along;
use crate::draft::{Draft, Orders};
use crate::line;
use crate::run::Run;
use crate::run::algorithm::{Improve, OptionRow, Options, Row};
use crate::run::no_plan::{NoPlan, Reason};

/// Options of the row: none.
pub const OPTIONS: &[OptionRow] = &[];

struct RefineLoad;

/// Makes the row ready to run.
///
/// # Errors
/// None: it has no options.
pub fn build(_: &Options) -> Result<Row, Diagnostic> {
    Ok(Row::Improve(Box::new(RefineLoad)))
}

impl Improve for RefineLoad {
    fn improve(&self, run: &Run, plan: Plan) -> Result<Plan, NoPlan> {
        let problem = run.problem();
        if problem.objective != Objective::MAX_LOAD {
            return Ok(plan);
        }
        let line = line::depth_first(problem);
        let Some(bytes) = held(problem, &line, &plan.placement) else { return Ok(plan) };
        let session = cost_model::ops::max_load::LoadSession::new(problem, &plan.placement)
            .map_err(|violation| NoPlan::new(Reason::Unsupported, violation.diagnostic(problem)))?;
        let mut search = Search::new(problem, &line, session, bytes, run.seed());
        let mut moves = 0u64;
        search.run(&mut |n| {
            moves += n;
            run.spend(n).is_err()
        });
        run.note("moves", moves);
        run.note("kept", search.n_kept());
        if search.n_kept() == 0 {
            return Ok(plan);
        }
        Ok(along(problem, &line, search.placement()).finish(problem))
    }
}

fn along(problem: &Problem, line: &[OpId], placement: Placement) -> Draft {
    let orders = Orders::Ops(orders_along(problem, line, &placement));
    Draft::default().placed(placement).scheduled(orders)
}

/// Peak bytes of each device when every device runs its ops in the order of the line.
fn held(problem: &Problem, line: &[OpId], placement: &Placement) -> Option<Vec<u64>> {
    let plan = along(problem, line, placement.clone()).finish(problem);
    let timeline = replay(problem, &plan).ok()?;
    Some(peaks(problem, &plan, &timeline).iter().map(|peak| peak.bytes).collect())
}
