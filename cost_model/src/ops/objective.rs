//! The table of objectives: what a plan is worth, and how little any plan can be worth.

use ir::plan::Plan;
use ir::units::Nanos;

use crate::ops::bound::{self, Bound};
use crate::ops::judge::replay::Timeline;
use crate::ops::judge::verify::Violation;
use crate::ops::max_load;
use crate::ops::problem::{Objective, Problem};

/// An objective.
pub struct Row {
    /// Which one.
    pub objective: Objective,
    /// Its name on the command line and in documents.
    pub name: &'static str,
    /// A value that no legal plan is below.
    pub bound: fn(&Problem) -> Bound,
}

static ROWS: [Row; 2] = [
    Row { objective: Objective::StepTime, name: "step-time", bound: bound::lower_bound },
    Row { objective: Objective::MaxLoad, name: "max-load", bound: bound::max_load_bound },
];

/// All objectives.
#[must_use]
pub fn rows() -> &'static [Row] {
    &ROWS
}

/// The row of an objective.
#[must_use]
pub fn row(objective: Objective) -> &'static Row {
    match objective {
        Objective::StepTime => &ROWS[0],
        Objective::MaxLoad => &ROWS[1],
    }
}

/// The row with this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name == name)
}

/// The value of a plan that was replayed; saves the second replay where the objective needs one.
///
/// # Errors
/// As [`max_load::evaluate`].
pub fn value(problem: &Problem, plan: &Plan, timeline: &Timeline) -> Result<Nanos, Violation> {
    match problem.objective {
        Objective::StepTime => Ok(timeline.step_time),
        Objective::MaxLoad => max_load::evaluate(problem, plan),
    }
}
