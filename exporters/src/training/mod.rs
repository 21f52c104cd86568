//! Plans of training runs in the words of those who run them, one module per target.
//!
//! A target that has no word for a part of a plan refuses it and names the part.

pub(crate) mod deepspeed;
mod field;
pub(crate) mod flagscale;
pub mod folder;
pub(crate) mod galvatron;
pub(crate) mod huggingface;
pub(crate) mod jax;
pub(crate) mod megatron;
mod target;
pub(crate) mod torch_pipelining;
pub(crate) mod torchtitan;

use ir::card::SequenceParallel;
use ir::diagnostic::Diagnostic;
use ir::plan::Parallelism;
use ir::plan_kind::PlanKind;
use ir::workload::Optimizer;

use crate::format::Export;
use crate::table;
use crate::target::Writer;
pub use field::Field;
use folder::{Files, Job};
use target::refused;
pub use target::{Blocks, Lack, Policy, TrainingSource, TrainingTarget, names_are_known};

/// All that takes plans of training runs and draws no picture of them.
pub fn targets() -> impl Iterator<Item = &'static TrainingTarget> {
    let rows = table::targets().iter().flat_map(|row| row.takes);
    rows.filter_map(|own| match own.writer {
        Writer::Run(row) => Some(row),
        _ => None,
    })
}

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
/// Those of [`find`]; `cannot-express` where the target has no words for a part of the plan;
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
    if !row.expresses.contains(&Field::BlockPolicies) {
        by_block(source, row.name)?;
    }
    let mut export = (row.export)(source)?;
    if source.optimizer != Optimizer::default() && !row.expresses.contains(&Field::Optimizer) {
        let message = format!("the file says nothing of the optimizer {:?}", source.optimizer);
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

/// Refuses what only files with one strategy per layer have words for.
fn by_block(source: &TrainingSource<'_>, target: &str) -> Result<(), Diagnostic> {
    let hint = "export to galvatron, or plan without a folder of measured layers";
    if source.plan.parallelism.sequence == SequenceParallel::Ulysses {
        return Err(refused(target, "Ulysses", "its tensor ranks split the weights", hint));
    }
    if source.plan.parallelism.vocabulary.is_some() {
        return Err(refused(target, "ends of their own degree", "it has one degree", hint));
    }
    Ok(())
}
