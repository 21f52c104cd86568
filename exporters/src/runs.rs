//! Plans of training runs by the names of their targets.

use ir::diagnostic::Diagnostic;
use ir::plan::Parallelism;
use ir::plan_kind::PlanKind;
use ir::workload::Optimizer;

use crate::format::Export;
use crate::table;
pub use crate::table::runs as targets;
use crate::target::Writer;
use crate::training::folder::{self, Files, Job};
use crate::training::{Field, TrainingSource, TrainingTarget, by_block, refused, torchtitan};

/// A target and the version of its consumer, by `name` or `name@version`.
///
/// # Errors
/// Those of [`table::find`].
pub fn find(target: &str) -> Result<(&'static TrainingTarget, &'static str), Diagnostic> {
    let found = table::find(PlanKind::Training, target)?;
    match found.writer {
        Writer::Run(row) => Ok((row, found.version)),
        _ => Err(table::refused(PlanKind::Training, target)),
    }
}

/// The file of a target, `name` or `name@version`, in the words of that version.
///
/// # Errors
/// Those of [`find`]; `cannot-express` where the target cannot express a part of the plan;
/// `bad-plan` where the stages do not hold the blocks in order.
pub fn export(target: &str, source: &TrainingSource<'_>) -> Result<Export, Diagnostic> {
    let (row, version) = find(target)?;
    let source = &TrainingSource { version, ..*source };
    source.check(row)?;
    if source.plan.parallelism.expert_overlap && !row.expresses.contains(&Field::ExpertOverlap) {
        let why = "it runs them before and behind the experts";
        let hint = "export to megatron, or plan with `--pin expert-overlap=off`";
        let what = "exchanges of experts beside the work of another micro-batch";
        return Err(refused(row.name, what, why, hint));
    }
    let degrees = &source.plan.parallelism;
    if degrees.of_expert() != degrees.tensor.max(1) && !row.expresses.contains(&Field::ExpertTensor)
    {
        let why = "it has one tensor degree";
        let hint =
            format!("export to megatron, or plan with `--pin expert-tensor={}`", degrees.tensor);
        let what = "an expert tensor degree of its own";
        return Err(refused(row.name, what, why, &hint));
    }
    if !row.expresses.contains(&Field::BlockPolicies) {
        by_block(source, row.name)?;
    }
    let mut export = (row.export)(source)?;
    if source.optimizer != Optimizer::default() && !row.expresses.contains(&Field::Optimizer) {
        let message = format!("the file says nothing of the optimizer {}", source.optimizer.name());
        let warning = Diagnostic::warning("not-in-file", message);
        export
            .warnings
            .push(warning.hint("set it beside the file: another one holds other states"));
    }
    if !source.offloads {
        return Ok(export);
    }
    let runs = |offloaded: fn(&Parallelism, &str) -> bool| {
        offloaded(&source.plan.parallelism, source.schedule)
    };
    if !row.offloaded.is_some_and(runs) {
        let why = "the plan leaves them there, for they fit nowhere else";
        let hint = "plan with `--no-offload`, or with `--for` its target";
        return Err(refused(row.name, Field::Offload.name(), why, hint));
    }
    if !row.expresses.contains(&Field::Offload) {
        let message = format!("the file says nothing of {}", Field::Offload.name());
        let warning = Diagnostic::warning("not-in-file", message);
        export.warnings.push(warning.hint("set it beside the file: the plan fits only so"));
    }
    Ok(export)
}

/// A folder that starts a plan by a target, and what the target can't say.
///
/// # Errors
/// Those of [`export`]; `cannot-express` for targets that start no processes, and for hosts of unequal
/// numbers of ranks.
pub fn folder(target: &str, job: &Job<'_>) -> Result<(Files, Vec<Diagnostic>), Diagnostic> {
    let mut export = export(target, job.source)?;
    export.warnings.retain(|warning| warning.code != torchtitan::APART);
    Ok((folder::files(job, find(target)?, &export)?, export.warnings))
}

/// Whether a folder of any target may hold a file of this name.
#[must_use]
pub fn may_hold(name: &str) -> bool {
    let writes = |row: &TrainingTarget| {
        let program = row.program.as_ref();
        let is_member = |member: &&str| name.strip_suffix(".json") == Some(*member);
        program
            .is_some_and(|program| row.file_name == name || program.members.iter().any(is_member))
    };
    folder::NAMES.contains(&name) || targets().any(writes)
}
