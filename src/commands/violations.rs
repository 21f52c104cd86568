//! What makes a plan illegal: the rules that it breaks.

use cost_model::ops::judge::verify::{MAX_VIOLATIONS, verify};
use documents::diagnostic::DiagnosticDocument;
use ir::diagnostic::{Blame, Diagnostic};
use serde_json::json;

use crate::commands::Exit;
use crate::commands::replay::OnProblem;
use crate::commands::report::Rows;
use crate::interrupt;
use crate::printer::Printer;

/// The code of a claim that was neither proved again nor refuted.
const UNCHECKED: &str = "unchecked-proof";

/// A stated bound that no search has proved again and nothing contradicts; `search` says what was
/// tried.
pub(crate) fn unchecked(field: &str, stated: u64, derived: u64, search: String) -> Diagnostic {
    let message = format!("`{field}` states {stated}, and only {derived} was proved again");
    Diagnostic::error(Blame::NotFound, UNCHECKED, message)
        .fact("field", field)
        .fact("stated", stated)
        .fact("derived", derived)
        .fact("search", search)
        .hint(
            "believe the plan and its value, but not the bound; plan again for one that is proved",
        )
}

/// Whether a plan with these findings is legal; `None` where all that speaks against it is a claim
/// that was not checked.
pub(crate) fn is_legal(found: &[Diagnostic]) -> Option<bool> {
    match found.iter().all(|one| one.code == UNCHECKED) {
        false => Some(false),
        true => found.is_empty().then_some(true),
    }
}

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

/// The rules that a plan breaks, at most [`MAX_VIOLATIONS`].
pub(crate) fn of(on: &OnProblem) -> Vec<Diagnostic> {
    let problem = &on.loaded.problem;
    verify(problem, &on.plan).iter().map(|v| v.diagnostic(problem)).collect()
}

/// `2 violations`; as many as are listed may be not all there are.
pub(crate) fn count(n: usize) -> String {
    match n {
        1 => "1 violation".to_owned(),
        n if n >= MAX_VIOLATIONS => format!("{n} or more violations"),
        n => format!("{n} violations"),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_list_may_not_be_all() {
        assert_eq!(count(1), "1 violation");
        assert_eq!(count(99), "99 violations");
        assert_eq!(count(MAX_VIOLATIONS), "100 or more violations");
    }
}
