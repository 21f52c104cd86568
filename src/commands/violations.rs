//! What makes a plan illegal: the rules that it breaks.

use cost_model::ops::judge::verify::MAX_VIOLATIONS;
use documents::diagnostic::DiagnosticDocument;
use engine::ops::replay::OnProblem;
use engine::violations::{count, is_legal};
use ir::diagnostic::{Blame, Diagnostic};
use serde_json::json;

use crate::commands::report::Rows;
use crate::exit::Exit;
use crate::interrupt;
use crate::printer::Printer;

/// How a run ends that found this: a check that was cut short by the user says nothing.
pub(crate) fn exit(found: &[Diagnostic]) -> Exit {
    match is_legal(found) {
        Some(true) => Exit::DONE,
        Some(false) => Exit(Blame::IllegalPlan.exit_code()),
        None => Exit(Blame::NotFound.exit_code()),
    }
}

/// Says that a check was interrupted, where that is why a claim was not checked.
pub(crate) fn interrupted(found: &[Diagnostic], printer: &Printer) -> Option<Exit> {
    let is_raised = interrupt::flag().load(std::sync::atomic::Ordering::SeqCst);
    if !is_raised || is_legal(found).is_some() {
        return None;
    }
    let message = "interrupted before the stated bound was proved again";
    let diagnostic = Diagnostic::error(Blame::NotFound, "interrupted", message)
        .hint("let it go on: the search for a proof ends by itself");
    printer.failure(&diagnostic, interrupt::EXIT_CODE);
    Some(Exit(interrupt::EXIT_CODE))
}

/// Prints the violations on stderr, as many as `rows` admits.
pub(crate) fn list(broken: &[Diagnostic], rows: Rows, printer: &Printer) {
    let shown = rows.shown(broken.len());
    printer.warnings(&broken[..shown]);
    let capped = broken.len() >= MAX_VIOLATIONS;
    match (broken.len() - shown, capped) {
        (0, false) => {}
        (0, true) => printer.talk("... and perhaps more: the search ended here"),
        (left, false) => printer.talk(&format!("... and {left} more (--all)")),
        (left, true) => printer.talk(&format!("... and {left} or more (--all)")),
    }
}

/// The verdict of a plan with these violations, which is all there is to print.
pub(crate) fn verdict(
    on: &OnProblem,
    broken: &[Diagnostic],
    rows: Rows,
    printer: &Printer,
) -> Exit {
    printer.warnings(&on.warnings);
    if let Some(exit) = interrupted(broken, printer) {
        return exit;
    }
    list(broken, rows, printer);
    let n_ops = on.loaded.problem.actions.len();
    printer.line(&match is_legal(broken) {
        Some(true) => format!("legal: all {n_ops} ops, no rule broken"),
        Some(false) => format!("illegal: {}", count(broken.len())),
        None => format!("unchecked: all {n_ops} ops, no rule broken, but a bound was not proved"),
    });
    let documents =
        |list: &[Diagnostic]| -> Vec<_> { list.iter().map(DiagnosticDocument::from).collect() };
    printer.document(&json!({
        "legal": is_legal(broken),
        "violations": documents(broken),
        "truncated": broken.len() >= MAX_VIOLATIONS,
        "warnings": documents(&on.warnings),
    }));
    exit(broken)
}
