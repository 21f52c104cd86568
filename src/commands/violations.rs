//! What makes a plan illegal: the rules that it breaks.

use cost_model::verify::{MAX_VIOLATIONS, verify};
use documents::diagnostic::DiagnosticDocument;
use ir::diagnostic::{Blame, Diagnostic};
use serde_json::json;

use crate::commands::Exit;
use crate::commands::replay::OnProblem;
use crate::commands::report::Rows;
use crate::printer::Printer;

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
    list(broken, rows, printer);
    printer.line(&match broken.len() {
        0 => format!("legal: all {} ops, no rule broken", on.loaded.problem.actions.len()),
        n => format!("illegal: {}", count(n)),
    });
    let documents =
        |list: &[Diagnostic]| -> Vec<_> { list.iter().map(DiagnosticDocument::from).collect() };
    printer.document(&json!({
        "legal": broken.is_empty(),
        "violations": documents(broken),
        "truncated": broken.len() >= MAX_VIOLATIONS,
        "warnings": documents(&on.warnings),
    }));
    if broken.is_empty() { Exit::DONE } else { Exit(Blame::IllegalPlan.exit_code()) }
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
