//! Recipes that try every row of the registry; names come from nowhere else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cost_model::ops::problem::Problem;
use planner::algorithm::Kind;
use planner::no_plan::NoPlan;
use planner::registry;
use planner::registry::{Entry, entries};
use planner::run::{Limits, Outcome, Request, solve};

/// How long a row may take for a tiny problem.
const PATIENCE: Duration = Duration::from_secs(60);

/// A recipe around one row.
pub(crate) struct Tried {
    /// The row.
    pub(crate) entry: &'static Entry,
    /// The recipe: the row alone if it decides, with a row that decides otherwise.
    pub(crate) text: String,
}

impl Tried {
    /// Runs it within a node budget; what it finds does not depend on the clock. A row that does
    /// not come back within a minute (because it crashed, say) fails the test.
    pub(crate) fn solve(&self, problem: &Arc<Problem>, seed: u64) -> Result<Outcome, NoPlan> {
        let started = Instant::now();
        let (time, nodes) = (Some(PATIENCE), Some(5_000_000));
        let limits = Limits { time, nodes, seed, deterministic: true, ..Limits::default() };
        let request = self.request(limits);
        let result = solve(Arc::clone(problem), &request, &mut |_| {});
        assert!(started.elapsed() < PATIENCE, "`{}` does not come back", self.text);
        result
    }

    /// Runs it within a time limit.
    pub(crate) fn solve_within(
        &self,
        problem: &Arc<Problem>,
        time: Duration,
    ) -> Result<Outcome, NoPlan> {
        let request = self.request(Limits { time: Some(time), ..Limits::default() });
        solve(Arc::clone(problem), &request, &mut |_| {})
    }

    fn request(&self, limits: Limits) -> Request {
        let recipe = registry::recipe(&self.text)
            .unwrap_or_else(|error| panic!("`{}` is no recipe: {error}", self.text));
        Request { recipe, limits }
    }
}

/// One recipe for each row that plans models. Rows that transform or improve take turns with the rows that decide:
/// `turn` says whose it is.
pub(crate) fn recipes(turn: u64) -> Vec<Tried> {
    let rows = || entries().iter().filter(|entry| entry.build().is_some());
    let deciding: Vec<&Entry> = rows().filter(|e| e.kind == Kind::Decide).collect();
    let partner = deciding[(turn % deciding.len() as u64) as usize];
    rows()
        .map(|entry| {
            let text = match entry.kind {
                Kind::Decide => entry.name.to_owned(),
                Kind::Transform => format!("{},{}", entry.name, partner.name),
                Kind::Improve => format!("{},{}", partner.name, entry.name),
            };
            Tried { entry, text }
        })
        .collect()
}
