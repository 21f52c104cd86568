//! What runs of `plan` over the layers of one step share: read, then searched, while it is watched.

use std::sync::Arc;
use std::time::Instant;

use documents::plan::PlanDocument;
use documents::plan::request::RequestDocument;
use documents::report::FoundDocument;
use ir::diagnostic::{Blame, Diagnostic};
use ir::units::Nanos;
use ir::workload::StepPhase;
use planner::run::watch::Tell;
use planner::run::{Control, StopReason};
use serde::Serialize;

use super::run::Run;
use crate::answer::exit::{CommandResult, Exit};
use crate::answer::follow::{Files, Incumbent};
use crate::answer::page::Format;
use crate::answer::words::share as percent;
use crate::request::value::Written;
use crate::request::{ExpertSkew, PlanRequest};
use crate::search::run::bytes;

/// What was read, what was found, and seconds of the search where they may be told.
pub(crate) type Watched<S, F> = (S, F, Option<f64>);

/// Reads and searches; `None` where someone interrupted it.
///
/// # Errors
/// Those of reading; `deadline`, `no-plan` where time does not suffice.
pub(crate) fn watched<S: Send + 'static, F: Send + 'static>(
    (request, name): (&PlanRequest, &'static str),
    run: &mut Run<'_>,
    read: impl FnOnce(&PlanRequest) -> Result<S, Diagnostic> + Send + 'static,
    search: impl FnOnce(&S, &Arc<Control>) -> Option<F> + Send + 'static,
) -> Result<Option<Watched<S, F>>, Diagnostic> {
    let Some(setting) = run.read(request, read)? else { return Ok(None) };
    let start = Instant::now();
    run.follower.started(name);
    let control = Arc::new(Control::new(&request.limits.within(run.watch, None)));
    let work = move |_: Tell<()>| search(&setting, &control).map(|found| (setting, found));
    let found = run.watch.run(work, &mut |()| {}).done().flatten();
    run.follower.searched();
    match found {
        Some((setting, found)) => {
            let elapsed_s = (!request.limits.deterministic).then(|| start.elapsed().as_secs_f64());
            Ok(Some((setting, found, elapsed_s)))
        }
        None if run.watch.is_cancelled() => Ok(None),
        None => Err(Diagnostic::error(Blame::NotFound, "no-plan", "no plan was found in time")
            .hint("raise --time-limit")),
    }
}

/// Tells of a plan as of one that was found on the way: files and lines are as those of other searches.
fn publish(run: &mut Run<'_>, plan: &PlanDocument) {
    let Some(cost) = &plan.cost else { return };
    let (value, bound) = (Nanos(cost.minimised_ns()), Nanos(cost.bound_ns));
    run.follower.bound(bound, &cost.bound_method, run.start.elapsed());
    run.follower.incumbent(&Incumbent {
        algorithm: &plan.algorithm,
        objective: &plan.objective,
        value,
        bound,
        shown: &|value| value.to_string(),
        elapsed: run.start.elapsed(),
        document: &|| bytes(plan),
    });
}

/// Writes a plan and its files, then prints it and what is told of it.
///
/// # Errors
/// Those of writing.
pub(crate) fn told<F: Serialize>(
    run: &mut Run<'_>,
    files: Files,
    report: &FoundDocument<F>,
    print: impl FnOnce(&Run<'_>, Vec<String>),
) -> CommandResult {
    publish(run, &report.plan);
    let written = run.follower.planned(bytes(&report.plan)?, files)?;
    if run.page.format == Format::Text {
        print(run, written);
    }
    run.page.serialized(report)?;
    Ok(Exit::DONE)
}

/// Samples of a step.
///
/// # Errors
/// `no-batch`.
pub(crate) fn batch(request: &PlanRequest) -> Result<u64, Diagnostic> {
    request.problem.model.batch.ok_or_else(|| {
        let message = "the samples of a step are not stated";
        Diagnostic::usage("no-batch", message).hint("add --batch N")
    })
}

/// The law of routed tokens that a plan states.
pub(crate) fn law(request: &PlanRequest) -> RequestDocument {
    let skew = request.training.expert_skew.as_ref();
    let law = skew.filter(|skew| matches!(skew, ExpertSkew::Law(_)));
    RequestDocument { expert_skew: law.map(Written::text), ..RequestDocument::default() }
}

/// The same where something is priced for a law alone.
///
/// # Errors
/// `not-for-streams` for a file.
pub(crate) fn only_law(request: &PlanRequest, priced: &str) -> Result<RequestDocument, Diagnostic> {
    match &request.training.expert_skew {
        Some(ExpertSkew::File(file)) => {
            let message = format!(
                "`--expert-skew {}` is a file, and {priced} are priced for balanced or zipf:S",
                file.display()
            );
            Err(Diagnostic::usage("not-for-streams", message)
                .hint("state a law, or place experts with --algorithm expert-placement"))
        }
        _ => Ok(law(request)),
    }
}

/// What is taken where no length of samples is stated.
pub(crate) fn assumed(request: &PlanRequest, sequence: u64) -> Option<Diagnostic> {
    request.training.sequence_length.is_none().then(|| {
        let message = format!("samples of {sequence} tokens are assumed");
        Diagnostic::warning("assumed-length", message)
            .hint("state the length of a sample with --sequence-length")
    })
}

/// Whether seconds are proved to be the least.
pub(crate) fn stop(seconds: f64, bound_s: f64) -> StopReason {
    match seconds <= bound_s * (1.0 + 1e-9) {
        true => StopReason::ProvedOptimal,
        false => StopReason::Finished,
    }
}

/// The same in words: how far seconds are above what `space` allows, why the search ended and when.
pub(crate) fn proved(
    (seconds, bound_s): (f64, f64),
    space: &str,
    (stop_reason, elapsed_s): (&str, Option<f64>),
) -> String {
    let far = match stop_reason == StopReason::ProvedOptimal.name() {
        true => format!("the best of {space}"),
        false => format!("within {} of the best of {space}", percent(seconds / bound_s - 1.0)),
    };
    let took = elapsed_s.map_or_else(String::new, |elapsed_s| format!(", {elapsed_s:.3} s"));
    format!("{far} ({stop_reason}{took})")
}

/// What of the step is not stated, or says nothing.
pub(crate) fn assumed_of_phase(
    request: &PlanRequest,
    phase: StepPhase,
    sequence: u64,
) -> Option<Diagnostic> {
    match (phase, request.training.sequence_length) {
        (StepPhase::Decode, Some(_)) => {
            let message = "`--sequence-length` has no effect on decoding: a token of each sample \
                           goes to experts, however long it is";
            Some(Diagnostic::warning("no-effect", message).hint("leave it out"))
        }
        (StepPhase::Training | StepPhase::Prefill, None) => assumed(request, sequence),
        _ => None,
    }
}
