//! `export`: a plan in an executor's format.

use documents::diagnostic::DiagnosticDocument;
use exporters::Source;
use ir::diagnostic::Diagnostic;
use serde_json::json;

use crate::artifact::{self, Existing};
use crate::cli::ExportArgs;
use crate::commands::{CommandResult, Exit, replay};
use crate::printer::Printer;
use crate::suggest;

pub(crate) fn run(args: &ExportArgs, printer: &Printer) -> CommandResult {
    check_target(&args.target)?;
    let existing = Existing::of(args.force);
    let inputs = [args.replay.plan.as_path(), args.replay.model.as_path()];
    artifact::check(&[&args.output], &inputs, existing)?;
    let replayed = replay::replayed(&args.replay)?;
    let source = Source {
        problem: &replayed.on.loaded.problem,
        plan: &replayed.on.plan,
        timeline: &replayed.timeline,
        report: &replayed.report,
    };
    let export = exporters::export(&args.target, &source)?;
    let length = export.bytes.len();
    artifact::write_all(&[(args.output.clone(), export.bytes)], existing)?;
    let mut warnings = replayed.on.warnings;
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
