//! What makes a plan illegal: the rules that it breaks, and claims that were not proved again.

use cost_model::ops::judge::verify::MAX_VIOLATIONS;
use std::sync::atomic::{AtomicBool, Ordering};

use documents::diagnostic::DiagnosticDocument;
use ir::diagnostic::{Blame, Diagnostic, Severity};
use serde_json::json;

use crate::answer::exit::Exit;
use crate::answer::page::Page;
use crate::answer::rows::Rows;

/// The code of a claim that was neither proved again nor refuted.
const UNCHECKED: &str = "unchecked-proof";

/// A stated bound that no search has proved again and nothing contradicts; `search` says what was
/// tried.
pub fn unchecked(field: &str, stated: u64, derived: u64, search: String) -> Diagnostic {
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

/// A bound that could not be checked: the search was interrupted.
pub fn unfinished(field: &str, stated: f64) -> Diagnostic {
    let message = format!("`{field}` states {stated}, and the search for it was interrupted");
    Diagnostic::error(Blame::NotFound, UNCHECKED, message)
        .fact("field", field)
        .fact("stated", stated)
        .hint("verify again without an interruption")
}

/// Takes the warnings out of what was found; what is left speaks against a plan.
pub fn noted(found: &mut Vec<Diagnostic>) -> Vec<Diagnostic> {
    found.extract_if(.., |one| one.severity == Severity::Warning).collect()
}

/// Whether a plan with these findings is legal; `None` where all that speaks against it is a claim
/// that was not checked.
pub fn is_legal(found: &[Diagnostic]) -> Option<bool> {
    match found.iter().all(|one| one.code == UNCHECKED) {
        false => Some(false),
        true => found.is_empty().then_some(true),
    }
}

/// `2 violations`; as many as are listed may be not all there are.
pub fn count(n: usize) -> String {
    match n {
        1 => "1 violation".to_owned(),
        n if n >= MAX_VIOLATIONS => format!("{n} or more violations"),
        n => format!("{n} violations"),
    }
}

/// How a run ends that found this: a check that was cut short by the user says nothing.
pub fn exit(found: &[Diagnostic]) -> Exit {
    match is_legal(found) {
        Some(true) => Exit::DONE,
        Some(false) => Exit(Blame::IllegalPlan.exit_code()),
        None => Exit(Blame::NotFound.exit_code()),
    }
}

/// Says that a check was interrupted, where that is why a claim was not checked.
pub fn interrupted(found: &[Diagnostic], cancel: &AtomicBool, page: &Page) -> Option<Exit> {
    let is_raised = cancel.load(Ordering::SeqCst);
    if !is_raised || is_legal(found).is_some() {
        return None;
    }
    let message = "interrupted before the stated bound was proved again";
    let diagnostic = Diagnostic::error(Blame::NotFound, "interrupted", message)
        .hint("let it go on: the search for a proof ends by itself");
    page.failure(&diagnostic, Exit::INTERRUPTED.0);
    Some(Exit::INTERRUPTED)
}

/// Prints the violations on stderr, as many as `rows` admits.
pub fn list(broken: &[Diagnostic], rows: Rows, page: &Page) {
    let shown = rows.shown(broken.len());
    page.warnings(&broken[..shown]);
    let capped = broken.len() >= MAX_VIOLATIONS;
    match (broken.len() - shown, capped) {
        (0, false) => {}
        (0, true) => page.talk("... and perhaps more: the search ended here"),
        (left, false) => page.talk(&format!("... and {left} more (--all)")),
        (left, true) => page.talk(&format!("... and {left} or more (--all)")),
    }
}

/// Tells of violations in place of an explanation.
pub fn instead(broken: &[Diagnostic], rows: Rows, page: &Page) -> Exit {
    list(broken, rows, page);
    let documents: Vec<_> = broken.iter().map(DiagnosticDocument::from).collect();
    page.document(&json!({ "violations": documents }));
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
