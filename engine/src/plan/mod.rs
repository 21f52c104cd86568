//! A plan for a request: of single ops, of a training run, of an instance with given costs.

mod followed;
mod given;
mod layered;
mod ops;
mod plot;
mod training;

use std::sync::Arc;
use std::time::Instant;

use ir::diagnostic::{Blame, Diagnostic};
use ir::units::Nanos;
use planner::run::watch::Tell;
use planner::run::{Bound, Case, Event};

use crate::exit::{CommandResult, Exit};
use crate::fields::{self, Mode};
use crate::follow::{Follower, Incumbent, Watch};
use crate::given::with_accelerators;
use crate::page::Page;
use crate::request::PlanRequest;

/// Around a run: what ends it, who follows it, and where its answer goes.
pub struct Run<'r> {
    /// When it began.
    pub start: Instant,
    /// Ends it early.
    pub watch: &'r Watch,
    /// Follows it.
    pub follower: &'r mut dyn Follower,
    /// Takes the answer.
    pub page: &'r Page,
    /// The version of the program, for the answer.
    pub version: &'static str,
}

/// Plans what is asked for. The follower gets the plan and all files together, and the page the
/// answer.
///
/// # Errors
/// Those of reading and planning: flags that mean nothing there are refused by name, and where there
/// is no plan, why.
pub fn plan(request: &PlanRequest, run: &mut Run<'_>) -> CommandResult {
    let path = request.model.clone();
    let read = move |_: Tell<()>| importers::instance(&path);
    match run.watch.run(read, &mut |()| {}).done().transpose()? {
        Some(Some(instance)) => {
            let instance = with_accelerators(instance, request.accelerators);
            return given::plan(request, Arc::new(instance), run);
        }
        Some(None) => {}
        None if run.watch.is_cancelled() => return Ok(interrupted(run.page)),
        None => {
            return Err(Diagnostic::error(Blame::NotFound, "no-plan", "no plan was found")
                .fact("reason", "the time limit ended while the model file was read")
                .hint("raise --time-limit"));
        }
    }
    let mode = mode(request);
    fields::check(&request.problem.given, mode)?;
    match mode {
        Mode::Ops | Mode::Instance => ops::plan(request, run),
        Mode::Degrees | Mode::Layers => training::plan(request, run),
    }
}

/// What a request for a model asks for.
fn mode(request: &PlanRequest) -> Mode {
    let is_folder = || request.problem.profile.as_deref().is_some_and(importers::layers::is_folder);
    match request.training.asks().is_some() || training::plans_training(request.recipe()) {
        true if is_folder() => Mode::Layers,
        true => Mode::Degrees,
        false => Mode::Ops,
    }
}

fn late() -> Diagnostic {
    let message = "the time limit passed while the model was read";
    Diagnostic::error(Blame::NotFound, "deadline", message).hint("raise --time-limit")
}

fn interrupted(page: &Page) -> Exit {
    let message = "interrupted before there was a plan";
    let diagnostic = Diagnostic::error(Blame::NotFound, "interrupted", message)
        .hint("a later Ctrl-C keeps the best plan so far");
    page.failure(&diagnostic, Exit::INTERRUPTED.0);
    Exit::INTERRUPTED
}

/// What is minimised, and how people read its values.
type Measure<'a> = (&'static str, &'a dyn Fn(Nanos) -> String);

/// Takes an event of a run to its follower; `document` writes a solution down.
fn tell<C: Case>(
    follower: &mut dyn Follower,
    event: &Event<C>,
    (objective, shown): Measure<'_>,
    document: impl Fn(&str, Nanos, Bound, &C::Solution) -> Result<Vec<u8>, Diagnostic>,
) {
    match event {
        Event::Started { algorithm } => follower.started(algorithm),
        Event::Bound { bound, elapsed } => follower.bound(bound.value, bound.method, *elapsed),
        Event::Incumbent { algorithm, value, bound, solution, elapsed } => {
            follower.incumbent(&Incumbent {
                algorithm,
                objective,
                value: *value,
                bound: bound.value,
                shown,
                elapsed: *elapsed,
                document: &|| document(algorithm, *value, *bound, solution),
            });
        }
    }
}
