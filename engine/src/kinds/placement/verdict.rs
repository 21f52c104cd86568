//! What `verify` says of a plan of ops.

use std::sync::atomic::AtomicBool;

use cost_model::ops::judge::verify::MAX_VIOLATIONS;
use documents::diagnostic::DiagnosticDocument;
use ir::diagnostic::Diagnostic;
use serde_json::json;

use super::replay::OnProblem;
use crate::answer::exit::Exit;
use crate::answer::page::Page;
use crate::answer::rows::Rows;
use crate::answer::violations::{count, exit, interrupted, is_legal, list};

/// The verdict of a plan with these violations, which is all there is to print.
pub fn verdict(
    on: &OnProblem,
    broken: &[Diagnostic],
    rows: Rows,
    (cancel, page): (&AtomicBool, &Page),
) -> Exit {
    page.warnings(&on.warnings);
    if let Some(exit) = interrupted(broken, cancel, page) {
        return exit;
    }
    list(broken, rows, page);
    let n_ops = on.loaded.problem.actions.len();
    page.line(&match is_legal(broken) {
        Some(true) => format!("legal: all {n_ops} ops, no rule broken"),
        Some(false) => format!("illegal: {}", count(broken.len())),
        None => format!("unchecked: all {n_ops} ops, no rule broken, but a bound was not proved"),
    });
    let documents =
        |list: &[Diagnostic]| -> Vec<_> { list.iter().map(DiagnosticDocument::from).collect() };
    page.document(&json!({
        "legal": is_legal(broken),
        "violations": documents(broken),
        "truncated": broken.len() >= MAX_VIOLATIONS,
        "warnings": documents(&on.warnings),
    }));
    exit(broken)
}
