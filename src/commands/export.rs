//! `export`: a plan in an executor's format.

use documents::diagnostic::DiagnosticDocument;
use exporters::{Export, Source};
use ir::diagnostic::{Blame, Diagnostic};
use serde_json::json;

use crate::cli::{ExportArgs, ReplayArgs};
use crate::interrupt;
use crate::printer::Printer;
use engine::artifact::{self, Existing};
use engine::escape;
use engine::executor;
use engine::exit::{CommandResult, Exit};
use engine::given;
use engine::ops::replay;
use engine::ops::verdict::verdict;
use engine::page::Page;
use engine::rows::Rows;
use engine::suggest;
use engine::training;

pub(crate) fn run(args: &ExportArgs, printer: &Printer) -> CommandResult {
    if let Some(instance) = importers::instance(&args.replay.model)? {
        check_output(args)?;
        let bytes = given::explain::export(&args.replay.request(), &args.target, instance)?;
        return write(args, Export { bytes, warnings: Vec::new() }, Vec::new(), printer);
    }
    let document = replay::document(&args.replay.plan)?;
    if document.training.is_some() {
        training::export::check_target(&args.target)?;
        check_output(args)?;
        let request = args.replay.request();
        let export =
            |page: &Page| training::export::export(&document, &request, &args.target, page);
        return match printer.page(export)? {
            Some(export) => write(args, export, Vec::new(), printer),
            None => Ok(Exit(Blame::IllegalPlan.exit_code())),
        };
    }
    check_target(&args.target)?;
    check_output(args)?;
    let ReplayArgs { model, target, .. } = &args.replay;
    let on = replay::on_problem(&document, model, &target.request())?;
    executor::check_batches(&args.target, &on.loaded.problem.workload)?;
    let broken = engine::ops::replay::broken_rules(&on);
    if !broken.is_empty() {
        let (cancel, rows) = (interrupt::flag(), Rows::of(target.all));
        return Ok(printer.page(|page| verdict(&on, &broken, rows, (&cancel, page))));
    }
    let replayed = replay::on(on)?;
    let source = Source {
        problem: &replayed.on.loaded.problem,
        plan: &replayed.on.plan,
        timeline: &replayed.timeline,
        report: &replayed.report,
    };
    let export = exported(&args.target, &source)?;
    write(args, export, replayed.on.warnings, printer)
}

/// Refuses a file that is an input, or exists and may not be replaced.
///
/// # Errors
/// Those of [`artifact::check`].
pub(crate) fn check_output(args: &ExportArgs) -> Result<(), Diagnostic> {
    let problem = args.replay.target.problem.request();
    let mut inputs = problem.inputs(&args.replay.model);
    inputs.push(&args.replay.plan);
    artifact::check(&[&args.output], &inputs, Existing::of(args.force))
}

/// Writes the file, and says so with the warnings of reading and of the format.
pub(crate) fn write(
    args: &ExportArgs,
    export: Export,
    mut warnings: Vec<Diagnostic>,
    printer: &Printer,
) -> CommandResult {
    let length = export.bytes.len();
    artifact::write_all(&[(args.output.clone(), export.bytes)], Existing::of(args.force))?;
    warnings.extend(export.warnings);
    printer.warnings(&warnings);
    let file = args.output.display().to_string();
    printer.talk(&format!("wrote {file}"));
    printer.document(&json!({
        "target": args.target,
        "file": file,
        "bytes": length,
        "warnings": warnings.iter().map(DiagnosticDocument::from).collect::<Vec<_>>(),
    }));
    Ok(Exit::DONE)
}

/// The file of a format; JSON is made safe to look at.
///
/// # Errors
/// Those of `exporters::export`.
pub(crate) fn exported(target: &str, source: &Source<'_>) -> Result<Export, Diagnostic> {
    let mut export = exporters::export(target, source)?;
    let row = exporters::targets().iter().find(|row| row.name == target);
    if row.is_some_and(|row| row.file_name.ends_with(".json")) {
        export.bytes = match String::from_utf8(export.bytes) {
            Ok(text) => escape::json(text).into_bytes(),
            Err(error) => error.into_bytes(),
        };
    }
    Ok(export)
}

/// Refuses a target that does not exist.
///
/// # Errors
/// `unknown-target`.
pub(crate) fn check_target(target: &str) -> Result<(), Diagnostic> {
    let mut known = exporters::targets().iter().map(|t| t.name);
    if known.any(|name| name == target) {
        return Ok(());
    }
    let known = exporters::targets().iter().map(|t| t.name);
    Err(Diagnostic::usage("unknown-target", format!("there is no export target `{target}`"))
        .hint(suggest::hint(target, known)))
}
