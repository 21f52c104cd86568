//! `verify`: checks a plan against every rule.

use cost_model::verify::verify;
use documents::diagnostic::DiagnosticDocument;
use ir::diagnostic::{Blame, Diagnostic};
use serde_json::json;

use crate::cli::ReplayArgs;
use crate::commands::report::Rows;
use crate::commands::{CommandResult, Exit, replay};
use crate::printer::Printer;

pub(crate) fn run(args: &ReplayArgs, printer: &Printer) -> CommandResult {
    let document = replay::document(&args.plan)?;
    let on = replay::on_problem(&document, &args.model, &args.target)?;
    let problem = &on.loaded.problem;
    let broken: Vec<Diagnostic> =
        verify(problem, &on.plan).iter().map(|v| v.diagnostic(problem)).collect();
    printer.warnings(&on.warnings);
    let shown = Rows::of(args.target.all).shown(broken.len());
    printer.warnings(&broken[..shown]);
    if shown < broken.len() {
        printer.talk(&format!("... and {} more (--all)", broken.len() - shown));
    }
    printer.line(&match broken.len() {
        0 => format!("legal: all {} ops, no rule broken", problem.actions.len()),
        1 => "illegal: 1 violation".to_owned(),
        n => format!("illegal: {n} violations"),
    });
    printer.document(&json!({
        "legal": broken.is_empty(),
        "violations": broken.iter().map(DiagnosticDocument::from).collect::<Vec<_>>(),
        "warnings": on.warnings.iter().map(DiagnosticDocument::from).collect::<Vec<_>>(),
    }));
    Ok(if broken.is_empty() { Exit::DONE } else { Exit(Blame::IllegalPlan.exit_code()) })
}
