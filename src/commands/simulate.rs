//! `simulate`: replays a plan and reports.

use cost_model::verify::verify;
use documents::diagnostic::DiagnosticDocument;
use ir::diagnostic::{Blame, Diagnostic};
use serde_json::json;

use crate::cli::ReplayArgs;
use crate::commands::report::{self, Rows};
use crate::commands::{CommandResult, Exit, replay};
use crate::printer::Printer;

pub(crate) fn run(args: &ReplayArgs, printer: &Printer) -> CommandResult {
    let replayed = replay::replayed(args)?;
    let problem = &replayed.on.loaded.problem;
    let broken: Vec<Diagnostic> =
        verify(problem, &replayed.on.plan).iter().map(|v| v.diagnostic(problem)).collect();
    report::devices(problem, &replayed.report, Rows::of(args.target.all), printer);
    printer.warnings(&replayed.on.warnings);
    printer.warnings(&broken);
    printer.line(&format!("step time {}", replayed.timeline.step_time));
    let documents =
        |list: &[Diagnostic]| -> Vec<_> { list.iter().map(DiagnosticDocument::from).collect() };
    printer.document(&json!({
        "report": report::document(problem, &replayed.report),
        "violations": documents(&broken),
        "warnings": documents(&replayed.on.warnings),
    }));
    Ok(if broken.is_empty() { Exit::DONE } else { Exit(Blame::IllegalPlan.exit_code()) })
}
