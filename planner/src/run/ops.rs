//! A run on a model: proofs that there is no plan, the bound, the recipe, ways out.

use std::sync::Arc;
use std::time::Instant;

use cost_model::ops::bound::{memory_certificate, route_certificate};
use cost_model::ops::judge::replay::Timeline;
use cost_model::ops::judge::report::{Report, report};
use cost_model::ops::objective;
use cost_model::ops::problem::Problem;
use ir::diagnostic::{Blame, Diagnostic};
use ir::plan::Plan;
use ir::units::Nanos;

use super::bound::{Bound, gap};
use super::case::{Event, Replayed, TracePoint};
use super::context::Run;
use super::limits::{Limits, StopReason};
use super::line::{Heard, Line};
use super::no_plan::{Attempt, NoPlan, Reason};
use super::recipe::Recipe;
use super::watch::{Ended, Watch};
use super::{remedy, size};

/// What to run on a model.
#[derive(Clone, Debug)]
pub struct Request {
    /// Rows and their options.
    pub recipe: Recipe,
    /// Limits.
    pub limits: Limits,
}

impl Request {
    /// A request without limits.
    #[must_use]
    pub fn new(recipe: Recipe) -> Self {
        Self { recipe, limits: Limits::default() }
    }
}

/// A plan, judged.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The best plan.
    pub plan: Plan,
    /// Its value under the objective; the step time where that is what counts.
    pub value: Nanos,
    /// Value of the best plan that was found, where a simpler one was taken in its place.
    pub fastest: Option<Nanos>,
    /// Its replay.
    pub timeline: Timeline,
    /// Its sums.
    pub report: Report,
    /// The best lower bound.
    pub bound: Bound,
    /// Value over bound, less 1; infinite where only the bound is 0.
    pub gap: f64,
    /// Why the run ended.
    pub stop: StopReason,
    /// The recipe that found the plan.
    pub algorithm: String,
    /// All recipes that were tried, in order.
    pub attempts: Vec<Attempt>,
    /// How value and bound moved.
    pub trace: Vec<TracePoint>,
    /// What is worth knowing.
    pub warnings: Vec<Diagnostic>,
}

/// Runs a recipe. Answers at the latest 0.1 s after the time limit, or after `cancel` was set, with
/// the best plan so far, whether bounds, rows and ways out answer or not.
///
/// # Errors
/// [`NoPlan`] if there is no plan; `proved` tells whether none exists.
pub fn solve(
    problem: Arc<Problem>,
    request: &Request,
    observe: &mut dyn FnMut(&Event<Problem>),
) -> Result<Outcome, NoPlan> {
    let limits = &request.limits;
    let watch = Watch::new(Instant::now(), limits.time, Arc::clone(&limits.cancel));
    let (shared, requested) = (Arc::clone(&problem), request.clone());
    let search = move |line: Line<Problem>| work(&Arc::new(line), &shared, &requested);
    let (heard, ended) = Heard::from(&watch, limits, search, observe);
    let failure = match ended {
        Ended::Done(result) => result.err(),
        Ended::Left(_) => None,
        Ended::Died(_) => Some(vanished()),
    };
    answer(&problem, heard, failure)
}

/// All that takes time. The watcher answers without what is not there when the time is over.
fn work(
    line: &Arc<Line<Problem>>,
    problem: &Arc<Problem>,
    request: &Request,
) -> Result<(), NoPlan> {
    let rows = request.recipe.rows();
    if let Some(diagnostic) = route_certificate(problem) {
        return Err(NoPlan::proved(Reason::Unreachable, diagnostic));
    }
    if let Some(certificate) = memory_certificate(problem) {
        let proof = certificate.diagnostic.clone();
        line.failed(&NoPlan::proved(Reason::MemoryExceeded, proof));
        return Err(remedy::of_certificate(problem, (&line.control, rows), certificate));
    }
    size::check(problem)?;
    line.raise((objective::row(problem.objective).bound)(problem).into());
    let run = Run::new(Arc::clone(line), Arc::clone(problem), &request.recipe);
    run.execute().map(|_| ()).map_err(|no_plan| {
        line.failed(&no_plan);
        remedy::of_failure(problem, (&line.control, rows), no_plan)
    })
}

fn answer(
    problem: &Problem,
    heard: Heard<Problem>,
    failure: Option<NoPlan>,
) -> Result<Outcome, NoPlan> {
    let stop = heard.stop_reason();
    let Some(best) = heard.best else {
        // A row that was stopped proves nothing, and its own words say most.
        let no_plan = failure.or(heard.failure).unwrap_or_else(|| out_of_time(stop));
        return Err(NoPlan { attempts: heard.attempts.into(), ..no_plan });
    };
    let Replayed { plan, timeline } = Arc::unwrap_or_clone(best.solution);
    Ok(Outcome {
        report: report(problem, &plan, &timeline),
        gap: gap(best.value, heard.bound.value),
        plan,
        value: best.value,
        fastest: heard.fastest,
        timeline,
        bound: heard.bound,
        stop,
        algorithm: best.algorithm,
        attempts: heard.attempts,
        trace: heard.trace,
        warnings: heard.warnings,
    })
}

fn out_of_time(stop: StopReason) -> NoPlan {
    match stop {
        StopReason::Cancelled => {
            NoPlan::not_found(Reason::Budget, "cancelled", "cancelled before a plan was found")
        }
        _ => NoPlan::not_found(Reason::Budget, "deadline", "no plan was found within the limit")
            .hint("raise the time limit, or plan with `m-etf` or `m-topo`"),
    }
}

fn vanished() -> NoPlan {
    let message = "the planning thread ended without an answer";
    NoPlan::new(Reason::Budget, Diagnostic::error(Blame::Internal, "planner-died", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_dies_is_our_fault() {
        let failure = vanished();
        assert_eq!(failure.diagnostic.blame.exit_code(), 1);
        assert!(!failure.proved);
    }
}
