//! Fleets of workers that serve a model: degrees, roles and replicas for a request rate and latencies.

mod alternatives;
mod at_arrivals;
mod compare;
mod composed;
pub mod decided;
mod explain;
mod free;
mod front;
mod hosts;
mod kind;
mod links;
mod log;
mod nothing_fits;
pub mod observed;
mod plan;
pub mod pools;
mod screen;
mod search;
pub mod setting;
pub(crate) mod started;
mod suffices;
pub mod tables;
pub mod traffic;
mod words;
pub(crate) mod worker_set;

use ir::diagnostic::Diagnostic;
use ir::plan_kind::PlanKind;

use crate::kinds::kind::refused as refuse;

/// The row that plans where none is named.
pub const ALGORITHM: &str = "serving-fleet";

/// Workers that serve a model.
pub struct Fleet;

/// Refuses what a fleet has none of.
pub(crate) fn refused(message: impl Into<String>, hint: &str) -> Diagnostic {
    refuse(PlanKind::Fleet, message, hint)
}
