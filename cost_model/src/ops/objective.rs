//! The table of objectives: what a plan is worth, and how little any plan can be worth.

use ir::plan::Plan;
use ir::units::Nanos;

use crate::ops::bound::{self, Bound};
use crate::ops::judge::replay::{self, Timeline};
use crate::ops::judge::verify::Violation;
use crate::ops::max_load;
use crate::ops::problem::{Objective, Problem};

/// An objective.
pub struct Row {
    /// Which one.
    pub objective: Objective,
    /// Its name on the command line and in documents.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// The value of a plan; less is better. Errors as [`replay::replay`].
    pub evaluate: fn(&Problem, &Plan) -> Result<Nanos, Violation>,
    /// A value that no legal plan is below.
    pub bound: fn(&Problem) -> Bound,
}

static ROWS: [Row; 2] = [
    Row {
        objective: Objective::StepTime,
        name: "step-time",
        summary: "time from the start of the first action to the end of the last",
        evaluate: step_time,
        bound: bound::lower_bound,
    },
    Row {
        objective: Objective::MaxLoad,
        name: "max-load",
        summary: "time for which the busiest device works on one step: its ops and its transfers",
        evaluate: max_load::evaluate,
        bound: bound::max_load_bound,
    },
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
/// As the row's `evaluate`.
pub fn value(problem: &Problem, plan: &Plan, timeline: &Timeline) -> Result<Nanos, Violation> {
    match problem.objective {
        Objective::StepTime => Ok(timeline.step_time),
        Objective::MaxLoad => max_load::evaluate(problem, plan),
    }
}

fn step_time(problem: &Problem, plan: &Plan) -> Result<Nanos, Violation> {
    replay::replay(problem, plan).map(|timeline| timeline.step_time)
}

/// Tries changes of a plan one after another: each value is exact, and each change can be taken
/// back. Every value comes from a full evaluation, which is linear in the size of the task graph.
pub struct Session<'a> {
    problem: &'a Problem,
    plan: Plan,
    value: Nanos,
    history: Vec<(Plan, Nanos)>,
}

impl<'a> Session<'a> {
    /// Starts from a plan.
    ///
    /// # Errors
    /// As [`replay::replay`].
    pub fn new(problem: &'a Problem, plan: Plan) -> Result<Self, Violation> {
        let value = (row(problem.objective).evaluate)(problem, &plan)?;
        Ok(Self { problem, plan, value, history: Vec::new() })
    }

    /// The plan as it stands.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> Nanos {
        self.value
    }

    /// Changes the plan and returns the new value. [`Session::undo`] takes it back.
    ///
    /// # Errors
    /// As [`replay::replay`]; the plan then stays as it was.
    pub fn change(&mut self, edit: impl FnOnce(&mut Plan)) -> Result<Nanos, Violation> {
        let mut next = self.plan.clone();
        edit(&mut next);
        let value = (row(self.problem.objective).evaluate)(self.problem, &next)?;
        let before = std::mem::replace(&mut self.plan, next);
        self.history.push((before, self.value));
        self.value = value;
        Ok(value)
    }

    /// Takes the last change back; returns the value afterwards, which is the current one if
    /// there was no change left.
    pub fn undo(&mut self) -> Nanos {
        if let Some((plan, value)) = self.history.pop() {
            self.plan = plan;
            self.value = value;
        }
        self.value
    }

    /// Keeps all changes so far: they can't be taken back any more.
    pub fn keep(&mut self) {
        self.history.clear();
    }
}
