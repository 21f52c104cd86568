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
    /// The value of a legal plan that was replayed.
    pub value: fn(&Problem, &Plan, &Timeline) -> Result<Nanos, Violation>,
    /// A value that no legal plan is below.
    pub bound: fn(&Problem) -> Bound,
}

static ROWS: &[Row] = &[
    Row {
        objective: Objective::STEP_TIME,
        value: |_, _, timeline| Ok(timeline.step_time),
        bound: bound::lower_bound,
    },
    Row {
        objective: Objective::MAX_LOAD,
        value: |problem, plan, _| max_load::evaluate(problem, plan),
        bound: bound::max_load_bound,
    },
];

/// All objectives.
#[must_use]
pub fn rows() -> &'static [Row] {
    ROWS
}

/// The row of an objective.
///
/// # Panics
/// Never: whoever names an objective has its row.
#[must_use]
pub fn row(objective: Objective) -> &'static Row {
    let Some(row) = named(objective.name()) else { unreachable!("{objective:?} has no row") };
    row
}

/// The row with this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.objective.name() == name)
}

/// The value of a plan that was replayed; saves the second replay where the objective needs one.
///
/// # Errors
/// As [`max_load::evaluate`].
pub fn value(problem: &Problem, plan: &Plan, timeline: &Timeline) -> Result<Nanos, Violation> {
    (row(problem.objective).value)(problem, plan, timeline)
}
