//! The memory margin: plans keep it where any plan does; no margin proves that nothing fits.

use std::time::Instant;

use documents::diagnostic::DiagnosticDocument;
use ir::diagnostic::{Blame, Diagnostic};
use serde_json::{Value, json};

use crate::answer::exit::{CommandResult, Exit};
use crate::answer::page::Page;
use crate::request::{LIMIT_OF_FLAG, PlanRequest};
use crate::search::run::Run;

/// Plans with the margin, and where no plan keeps it, in all that the driver leaves of each device.
///
/// # Errors
/// Those of planning without the margin.
pub(crate) fn planned(request: &PlanRequest, run: &mut Run<'_>) -> CommandResult {
    let page = run.page.like();
    let first = on(&page, request, run);
    let is_bare = request.training.memory_margin.or(request.problem.margin) == Some(0.0);
    if is_bare || !is_short(&first) || run.watch.is_cancelled() {
        run.page.take(page);
        return first;
    }
    if is_late(run) {
        run.page.take(page);
        let exit =
            |exit| if is_proof(&Ok(exit)) { Exit(Blame::NotFound.exit_code()) } else { exit };
        return first.map(exit).map_err(unproved);
    }
    let is_proved = is_proof(&first);
    let mut bare = request.clone();
    bare.training.memory_margin = None;
    bare.problem.margin = Some(0.0);
    let page = run.page.like();
    let second = on(&page, &bare, run);
    match second {
        Ok(Exit::DONE) => {
            let warning = not_kept(is_proved);
            run.page.append(
                &page,
                |document| add(document, &warning),
                |screen| screen.warnings.insert(0, warning.clone()),
            );
        }
        _ => run.page.take(page),
    }
    second.map_err(|error| with_margin(error, first))
}

/// The error with the fixes that leave the margin free, where the same constraints are loosened by them.
fn with_margin(mut error: Diagnostic, first: CommandResult) -> Diagnostic {
    let fixes =
        |error: &Diagnostic| error.facts.iter().find(|fact| fact.0 == "resolved_by").cloned();
    if let Err(first) = first
        && fixes(&first).is_some()
        && fixes(&first) == fixes(&error)
    {
        error.hints = first.hints;
    }
    error
}

fn on(page: &Page, request: &PlanRequest, run: &mut Run<'_>) -> CommandResult {
    super::planned(request, &mut Run { page, follower: run.follower, ..*run })
}

/// Whether there is no plan, for want of memory as far as is known.
fn is_short(answer: &CommandResult) -> bool {
    let blames = [Blame::Infeasible, Blame::NotFound];
    match answer {
        Ok(exit) => blames.iter().any(|blame| blame.exit_code() == exit.0),
        Err(error) => {
            let others = ["no-configuration", "no-fleet", "pins"];
            let is_of_flag = error.facts.iter().any(|fact| fact.0 == LIMIT_OF_FLAG);
            blames.contains(&error.blame) && !others.contains(&error.code) && !is_of_flag
        }
    }
}

fn is_proof(answer: &CommandResult) -> bool {
    match answer {
        Ok(exit) => exit.0 == Blame::Infeasible.exit_code(),
        Err(error) => error.blame == Blame::Infeasible,
    }
}

fn is_late(run: &Run<'_>) -> bool {
    run.watch.end.is_some_and(|end| end <= Instant::now())
}

/// That no plan keeps the margin proves nothing of the bare devices.
fn unproved(mut error: Diagnostic) -> Diagnostic {
    if error.blame == Blame::Infeasible {
        error.blame = Blame::NotFound;
        error
            .message
            .push_str("; plans without the memory margin were not searched for want of time");
    }
    error
}

fn not_kept(is_proved: bool) -> Diagnostic {
    let message = match is_proved {
        true => "no plan leaves the memory margin free; this plan fits without it",
        false => "no plan was found that leaves the memory margin free; this plan fits without it",
    };
    Diagnostic::warning("margin-not-kept", message)
        .hint("use more devices or a smaller batch if the run ends out of memory")
}

/// Puts the warning to those of a document.
fn add(document: &mut Value, warning: &Diagnostic) {
    let warning = json!(DiagnosticDocument::from(warning));
    match document.get_mut("warnings").and_then(Value::as_array_mut) {
        Some(all) => all.insert(0, warning),
        None => document["warnings"] = json!([warning]),
    }
}
