//! A search for placements that their executor can be told of.

use std::time::Instant;

use cost_model::ops::problem::Problem;
use exporters::Source;
use ir::diagnostic::Diagnostic;
use planner::no_plan::{NoPlan, Reason};
use planner::registry;
use planner::run::{Event, Outcome, Request, solve};

use crate::inputs::load::Loaded;
use crate::kinds::placement::export;
use crate::request::executor::Executor;
use crate::request::{AUTO, PlanRequest};

/// Recipes that cut lines of ops, so that each device has one part of the model; they take moments.
const LINES: [&str; 4] = ["orders", "contiguous", "m-topo", "m-topo(cap=limit)"];

/// The best plan that is found, and of those for an executor one that it has words for.
///
/// # Errors
/// Those of the search; those of the executor's format where it has no words for any plan found.
pub(crate) fn solved(
    loaded: &Loaded,
    search: &Request,
    request: &PlanRequest,
    observe: &mut dyn FnMut(&Event<Problem>),
) -> Result<Outcome, NoPlan> {
    let Some(executor) = request.executor.filter(|executor| *executor != Executor::ANY) else {
        return solve(loaded.problem.clone(), search, observe);
    };
    let start = Instant::now();
    let lines = if request.recipe() == AUTO { LINES.as_slice() } else { &[] };
    let mut search = search.clone();
    let recipes = lines.iter().filter_map(|text| registry::recipe(text).ok());
    let lines: Vec<Outcome> = recipes
        .filter_map(|recipe| {
            let line = Request { recipe, ..search.clone() };
            solve(loaded.problem.clone(), &line, &mut |_| {}).ok()
        })
        .filter(|outcome| check(executor, loaded, outcome).is_ok())
        .collect();
    search.limits.time = search.limits.time.map(|time| time.saturating_sub(start.elapsed()));
    let found = solve(loaded.problem.clone(), &search, observe);
    let Ok(best) = &found else { return found };
    let Err(error) = check(executor, loaded, best) else { return found };
    let bound = best.bound;
    let other = lines.into_iter().min_by_key(|outcome| outcome.value);
    other.map(|outcome| Outcome { bound, gap: gap(&outcome, bound), ..outcome }).ok_or_else(|| {
        let reason = Reason::Unsupported;
        NoPlan::new(reason, error.hint("name a line of ops with --algorithm orders"))
    })
}

fn gap(outcome: &Outcome, bound: planner::run::Bound) -> f64 {
    planner::run::gap(outcome.value, bound.value)
}

/// Whether the executor has words for a plan.
fn check(executor: Executor, loaded: &Loaded, outcome: &Outcome) -> Result<(), Diagnostic> {
    let source = Source {
        problem: &loaded.problem,
        plan: &outcome.plan,
        timeline: &outcome.timeline,
        report: &outcome.report,
    };
    export::exported(executor.target(), &source).map(|_| ())
}
