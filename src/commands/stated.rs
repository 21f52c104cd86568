//! What a plan of ops states, derived again from its placement and its orders on its model and
//! cluster.

use std::sync::Arc;
use std::time::Duration;

use cost_model::bound::Bound;
use cost_model::judge::Timeline;
use cost_model::objective;
use cost_model::problem::{Objective, Problem};
use documents::plan::{CostDocument, PlanDocument};
use ir::diagnostic::Diagnostic;
use ir::units::Nanos;
use planner::recipe::Recipe;
use planner::run::{Budget, Request, solve};

use crate::commands::differences::{difference, of_plans};
use crate::commands::found::{self, Found};
use crate::commands::replay::OnProblem;
use crate::commands::trust::Trust;

/// The rows that prove bounds of their own, beyond those of the objective.
const PROVERS: [(Objective, &str); 3] = [
    (Objective::StepTime, "brute-force"),
    (Objective::MaxLoad, "columns"),
    (Objective::MaxLoad, "ideals"),
];

/// How long each of them may try to confirm a stated bound.
const CONFIRMING: Duration = Duration::from_secs(60);

/// Every field of a legal plan whose value is not the derived one, `stated-wrong` each.
pub(crate) fn wrong(
    document: &PlanDocument,
    on: &OnProblem,
    timeline: &Timeline,
) -> Vec<Diagnostic> {
    let problem = &on.loaded.problem;
    let value = objective::value(problem, &on.plan, timeline).unwrap_or(timeline.step_time);
    let bound = bound(problem, document.cost.as_ref());
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
    let claims = document.cost.as_ref().is_some_and(|cost| cost.bound_ns > bound.value.get());
    if let Some(first) = wrong.first_mut().filter(|_| claims) {
        let seconds = CONFIRMING.as_secs();
        first.hints.push(format!("no search proves the stated bound within {seconds} s"));
    }
    wrong
}

/// The stated bound where it can be proved, else the best one that can. A bound below the one of the
/// objective is true as well.
fn bound(problem: &Arc<Problem>, stated: Option<&CostDocument>) -> Bound {
    let own = (objective::row(problem.objective).bound)(problem);
    let Some(stated) = stated.map(|cost| Nanos(cost.bound_ns)) else { return own };
    if stated == Nanos::ZERO {
        return Bound { value: stated, method: "none" };
    }
    if stated <= own.value {
        return Bound { value: stated, ..own };
    }
    let provers = PROVERS.into_iter().filter(|(goal, _)| *goal == problem.objective);
    let mut best = own;
    for (_, recipe) in provers {
        let Ok(recipe) = Recipe::parse(recipe) else { continue };
        let budget = Budget { time: Some(CONFIRMING), nodes: None };
        let request = Request { budget, ..Request::new(recipe) };
        if let Ok(outcome) = solve(Arc::clone(problem), &request, &mut |_| {})
            && outcome.bound.value > best.value
        {
            best = outcome.bound;
        }
        if stated <= best.value {
            return Bound { value: stated, ..best };
        }
    }
    best
}
