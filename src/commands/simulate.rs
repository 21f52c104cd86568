//! `simulate`: replays a plan and reports.

use documents::diagnostic::DiagnosticDocument;
use ir::diagnostic::{Blame, Diagnostic};
use serde_json::json;

use crate::cli::ReplayArgs;
use crate::commands::report::{self, Rows};
use crate::commands::trust;
use crate::commands::{instance, outcome, training, violations};
use crate::exit::{CommandResult, Exit};
use crate::printer::Printer;
use engine::ops::replay;
use engine::ops::trust::Trust;

pub(crate) fn run(args: &ReplayArgs, printer: &Printer) -> CommandResult {
    if let Some(instance) = importers::instance(&args.model)? {
        return instance::simulate(args, instance, printer);
    }
    let document = replay::document(&args.plan)?;
    if document.training.is_some() {
        return training::simulate(&document, args, printer);
    }
    let replayed = replay::on(replay::on_problem(&document, &args.model, &args.target.request())?)?;
    let problem = &replayed.on.loaded.problem;
    let broken = engine::ops::replay::broken_rules(&replayed.on);
    let rows = Rows::of(args.target.all);
    report::devices(problem, &replayed.report, rows, printer);
    let trust = Trust::of(problem, &replayed.on.plan, &replayed.timeline);
    trust::print(&trust, problem, &replayed.report, rows, printer);
    printer.warnings(&replayed.on.warnings);
    violations::list(&broken, rows, printer);
    let guesses = outcome::guesses(replayed.on.loaded.summary.guessed_share);
    let step = format!("{}{guesses}", trust.sentence(replayed.timeline.step_time));
    printer.line(&match broken.len() {
        0 => step,
        n => format!("{step}, illegal: {}", engine::violations::count(n)),
    });
    let documents =
        |list: &[Diagnostic]| -> Vec<_> { list.iter().map(DiagnosticDocument::from).collect() };
    printer.document(&json!({
        "report": engine::ops::report::document(problem, &replayed.report, &trust),
        "violations": documents(&broken),
        "warnings": documents(&replayed.on.warnings),
    }));
    Ok(if broken.is_empty() { Exit::DONE } else { Exit(Blame::IllegalPlan.exit_code()) })
}
