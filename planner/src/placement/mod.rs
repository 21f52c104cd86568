//! Rows that decide where each op runs.

pub mod auto;
pub mod brute_force;
mod clusters;
pub mod contiguous;
pub(crate) mod dispatch;
pub mod heft;
pub mod heft_lookahead;
pub(crate) mod list_schedule;
pub mod local_search;
pub mod m_etf;
pub mod m_sct;
pub mod m_topo;
pub mod multilevel;
pub mod orders;
pub mod refine_load;
pub mod single;

use crate::run::Run;
use crate::run::no_plan::{NoPlan, Reason};

/// What a row that was stopped without a plan says.
pub(crate) fn stopped_early(run: &Run) -> Option<NoPlan> {
    let reason = run.stopped()?;
    Some(
        NoPlan::not_found(Reason::Budget, reason.name(), "stopped before a plan was found")
            .hint("raise the limit, or use a faster algorithm, such as `m-topo`"),
    )
}
