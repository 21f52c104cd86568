//! Instances of other planners, whose costs are all given: their solutions, explained and checked.

mod averaging;
mod bound;
mod certificate;
pub mod compare;
pub mod document;
pub mod explain;
mod figures;
pub mod plan;
pub mod synchronisation;
pub mod text;
mod unused;
pub mod verify;

use cost_model::given::{Goal, row};
use ir::diagnostic::Diagnostic;
use ir::instance::Instance;
use planner::given::runner::goals;

use crate::request::ObjectiveName;

/// Devices of a straight pipeline, which its file does not state: as in its authors' experiments.
pub const STRAIGHT_DEVICES: usize = 4;

/// The instance with another number of accelerators, where one is given.
#[must_use]
pub fn with_accelerators(mut instance: Instance, count: Option<usize>) -> Instance {
    match (&mut instance, count) {
        (Instance::Load(load), Some(count)) => load.n_accelerators = count,
        (Instance::Stages(stages), Some(count)) => stages.n_devices = count,
        (_, _) => {}
    }
    instance
}

/// What is minimised: what was asked for, else the instance's own.
///
/// # Errors
/// `no-objective`.
pub fn goal(name: Option<ObjectiveName>, instance: &Instance) -> Result<Goal, Diagnostic> {
    let Some(name) = name else { return Ok(goals(instance)[0]) };
    name.of_instances().ok_or_else(|| {
        let what = name.name().replace('-', " ");
        let message = format!("an instance with given costs has no {what}");
        let names: Vec<&str> = goals(instance).iter().map(|goal| row(*goal).name).collect();
        Diagnostic::usage("no-objective", message).hint(format!("use one of {}", names.join(", ")))
    })
}
