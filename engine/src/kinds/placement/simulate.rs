//! A plan of ops, replayed: where time and memory go.

use std::path::Path;
use std::sync::Arc;

use documents::diagnostic::DiagnosticDocument;
use documents::plan::PlanDocument;
use ir::diagnostic::{Blame, Diagnostic};
use serde_json::json;

use super::{outcome, replay, report, trust};
use crate::answer::exit::{CommandResult, Exit};
use crate::answer::page::Page;
use crate::answer::rows::Rows;
use crate::answer::violations::{count, list};
use crate::inputs::scale;
use crate::request::ReplayRequest;

/// Replays a plan.
///
/// # Errors
/// Those of reading, and rules without which nothing can be replayed.
pub fn simulate(
    document: &Arc<PlanDocument>,
    model: &Path,
    request: &ReplayRequest,
    page: &Page,
) -> CommandResult {
    let replayed = replay::with_all(replay::on_problem(document, model, request)?)?;
    let problem = &replayed.on.loaded.problem;
    let broken = replay::broken_rules(&replayed.on);
    let rows = Rows::of(request.all);
    report::print_devices(problem, &replayed.report, rows, page);
    let trust = replayed.trust();
    trust::print(trust, &replayed.on.loaded, &replayed.report, rows, page);
    page.warnings(&replayed.on.warnings);
    list(broken, rows, page);
    let guesses = outcome::guesses(replayed.on.loaded.summary.guessed_share);
    let step = format!("{}{guesses}", trust.sentence(replayed.timeline.step_time));
    page.line(&match broken.len() {
        0 => step,
        n => format!("{step}, illegal: {}", count(n)),
    });
    let documents =
        |list: &[Diagnostic]| -> Vec<_> { list.iter().map(DiagnosticDocument::from).collect() };
    page.document(&json!({
        "cluster": scale::document(&problem.cluster),
        "report": report::document(problem, &replayed.report, trust),
        "violations": documents(broken),
        "warnings": documents(&replayed.on.warnings),
    }));
    Ok(if broken.is_empty() { Exit::DONE } else { Exit(Blame::IllegalPlan.exit_code()) })
}
