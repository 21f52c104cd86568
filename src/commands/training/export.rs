//! `export` of a plan of a training run.

use documents::diagnostic::DiagnosticDocument;
use documents::plan::PlanDocument;
use exporters::training::{Blocks, TrainingSource, export as exported, targets};
use ir::diagnostic::Diagnostic;
use serde_json::json;

use super::replay::{documents, exit, judged_again, read};
use crate::artifact::{self, Existing};
use crate::cli::ExportArgs;
use crate::commands::{CommandResult, Exit};
use crate::printer::Printer;
use crate::suggest;

/// Writes the file of a target, unless the plan is illegal.
pub(crate) fn export(
    document: &PlanDocument,
    args: &ExportArgs,
    printer: &Printer,
) -> CommandResult {
    check_target(&args.target)?;
    let existing = Existing::of(args.force);
    let mut inputs = vec![args.replay.plan.as_path(), args.replay.model.as_path()];
    inputs.extend(args.replay.target.problem.cluster.as_deref());
    artifact::check(&[&args.output], &inputs, existing)?;
    let on = read(document, &args.replay)?;
    let (broken, _) = judged_again(&on);
    if !broken.is_empty() {
        printer.warnings(&broken);
        printer.document(&json!({ "violations": documents(&broken) }));
        return Ok(exit(&broken));
    }
    let source = TrainingSource {
        plan: &on.plan,
        schedule: &on.training.schedule,
        sequence_length: on.training.sequence_length,
        dtype: on.setting.numbers.dtype,
        starts: on.setting.graph.as_ref().map_or(&[], |graph| graph.starts.as_slice()),
        blocks: match on.setting.model.is_of_parts() {
            true => Blocks::Parts,
            false => Blocks::Layers,
        },
        n_predicting: on.setting.model.n_predictions.saturating_sub(1),
    };
    let export = exported(&args.target, &source)?;
    let length = export.bytes.len();
    artifact::write_all(&[(args.output.clone(), export.bytes)], existing)?;
    let mut warnings = on.warnings;
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
fn check_target(target: &str) -> Result<(), Diagnostic> {
    let mut known = targets().iter().map(|row| row.name);
    if known.any(|name| name == target) {
        return Ok(());
    }
    let known = targets().iter().map(|row| row.name);
    let message = format!("there is no export target `{target}` for plans of training runs");
    Err(Diagnostic::usage("unknown-target", message).hint(suggest::hint(target, known)))
}
