//! What a plan of ops states, derived again from its placement and its orders on its model and
//! cluster.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use cost_model::ops::bound::Bound;
use cost_model::ops::objective;
use cost_model::ops::problem::{Objective, Problem};
use documents::plan::{CostDocument, PlanDocument};
use ir::diagnostic::Diagnostic;
use ir::units::Nanos;
use planner::given::runner::method;
use planner::registry;
use planner::run::no_plan::Reason;
use planner::run::{Limits, Request, solve};

use crate::answer::differences::{difference, of_plans};
use crate::answer::violations::unchecked;
use crate::kinds::placement::found::{self, Found};
use crate::kinds::placement::replay::{self, OnProblem};
use crate::kinds::placement::trust::Trust;

/// The row that proves bounds of its own, beyond those of the objective, and what it calls them;
/// `None` where no row does. A bound of the program is proved by the program.
fn prover(objective: Objective, stated: &str) -> Option<(&'static str, &'static str)> {
    match objective {
        _ if stated == method::PROGRAM => Some(("milp", method::PROGRAM)),
        Objective::STEP_TIME => Some(("brute-force", "exhaustive search")),
        Objective::MAX_LOAD => Some(("columns", method::COLUMNS)),
        _ => None,
    }
}

/// How long it may try to confirm a stated bound.
const CONFIRMING: Duration = Duration::from_secs(60);

/// Every field of a legal plan whose value is not the derived one, `stated-wrong` each; raising
/// `cancel` ends the search for a bound.
pub fn wrong(document: &PlanDocument, on: &OnProblem, cancel: &Arc<AtomicBool>) -> Vec<Diagnostic> {
    let problem = &on.loaded.problem;
    // What can not be replayed breaks a rule, and is not asked about.
    let Ok(timeline) = replay::timeline(on) else { return Vec::new() };
    let value = objective::value(problem, &on.plan, timeline).unwrap_or(timeline.step_time);
    let (bound, unchecked) = bound(problem, value, document.cost.as_ref(), cancel);
    let found = Found { algorithm: &document.algorithm, plan: &on.plan, timeline, value, bound };
    let trust = Trust::of(problem, &on.plan, timeline);
    // Flags of this run may ask for more than the plan was made for; then the rules have said so.
    let request = document.request.clone();
    let derived = PlanDocument { request, ..found::document(&on.loaded, &found, &trust) };
    let mut wrong = of_plans(document, &derived);
    let values = [document, &derived].map(|plan| plan.cost.as_ref().map(|cost| cost.value_ns));
    if let [Some(None), Some(Some(value))] = values {
        // A value that is left out says that the step time is what counts.
        wrong.push(difference("cost.value_ns", "nothing", &value.to_string()));
    }
    wrong.extend(unchecked);
    wrong
}

/// The stated bound where it can be proved, or where nothing contradicts it, with what was tried;
/// else the best one that can be proved. A bound below the one of the objective is true as well.
fn bound(
    problem: &Arc<Problem>,
    value: Nanos,
    stated: Option<&CostDocument>,
    cancel: &Arc<AtomicBool>,
) -> (Bound, Option<Diagnostic>) {
    let simple = (objective::row(problem.objective).bound)(problem);
    let Some(document) = stated else { return (simple, None) };
    let stated = Nanos(document.bound_ns);
    if stated == Nanos::ZERO {
        return (Bound { value: stated, method: "none" }, None);
    }
    if stated <= simple.value {
        return (Bound { value: stated, ..simple }, None);
    }
    let Some((recipe, method)) = prover(problem.objective, &document.bound_method) else {
        return (simple, None);
    };
    // No plan is below a bound, and this one is.
    let Some(recipe) = registry::recipe(recipe).ok().filter(|_| stated <= value) else {
        return (simple, None);
    };
    let (time, cancel) = (Some(CONFIRMING), Arc::clone(cancel));
    let request = Request { recipe, limits: Limits { time, cancel, ..Limits::default() } };
    let start = Instant::now();
    let solved = solve(Arc::clone(problem), &request, &mut |_| {});
    let (best, least, why) = match &solved {
        Ok(outcome) => (outcome.bound.into(), Some(outcome.value), outcome.stop.name().to_owned()),
        // Nor has it proved a bound of such a problem before.
        Err(none) if none.reason == Reason::Unsupported => return (simple, None),
        Err(none) => (simple, None, none.diagnostic.message.clone()),
    };
    let best = if best.value > simple.value { best } else { simple };
    if stated <= best.value {
        return (Bound { value: stated, ..best }, None);
    }
    let is_known = [method, method::IDEALS].contains(&document.bound_method.as_str());
    if least.is_some_and(|least| least < stated) || !is_known {
        return (best, None);
    }
    let search = format!("{:.1} s of `{}`: {why}", start.elapsed().as_secs_f64(), request.recipe);
    let (claim, proved) = (stated.get(), best.value.get());
    let unchecked = unchecked("cost.bound_ns", claim, proved, search);
    (Bound { value: stated, method }, Some(unchecked))
}
