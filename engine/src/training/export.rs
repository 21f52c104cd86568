//! A plan of a training run in other formats: those of launchers, and pictures of its step.

use cost_model::runs::forms::model::Offload;
use cost_model::runs::judge::judge_plan;
use documents::plan::PlanDocument;
use exporters::Export;
use exporters::svg::pipeline::PipelineSource;
use exporters::training::{Blocks, TrainingSource, export as launched, find, targets};
use ir::diagnostic::Diagnostic;
use ir::plan::Plan;
use ir::units::Nanos;
use serde_json::json;

use super::replay::{documents, judged_again, read};
use crate::page::Page;
use crate::request::PlanOnModel;
use crate::suggest;
use crate::training::setting::Setting;

/// Pictures of the step.
const PICTURES: [&str; 2] = ["svg", "trace"];

/// The file of a target, with all warnings; `None` where the plan is illegal, which the page says.
///
/// # Errors
/// Those of reading, of the targets and of the judge.
pub fn export(
    document: &PlanDocument,
    request: &PlanOnModel,
    target: &str,
    page: &Page,
) -> Result<Option<Export>, Diagnostic> {
    let on = read(document, request)?;
    let (broken, _) = judged_again(&on);
    if !broken.is_empty() {
        page.warnings(&broken);
        page.document(&json!({ "violations": documents(&broken) }));
        return Ok(None);
    }
    let bound = Nanos(document.cost.as_ref().map_or(0, |cost| cost.bound_ns));
    let schedule = on.training.schedule.as_str();
    let mut export = exported(target, &on.setting, &on.plan, (schedule, bound))?;
    export.warnings.splice(0..0, on.warnings);
    Ok(Some(export))
}

/// The file of a target for a plan with the name of its schedule and its bound.
///
/// # Errors
/// Those of the targets and of the judge.
pub fn exported(
    target: &str,
    setting: &Setting,
    plan: &Plan,
    (schedule, bound): (&str, Nanos),
) -> Result<Export, Diagnostic> {
    if PICTURES.contains(&target) {
        return picture(target, setting, plan, bound);
    }
    let source = TrainingSource {
        version: "",
        plan,
        schedule,
        sequence_length: setting.sequence,
        dtype: setting.numbers.dtype,
        stack: &setting.stack,
        offloads: setting.offload == Offload::Optimizer,
        starts: setting.graph.as_ref().map_or(&[], |graph| graph.starts.as_slice()),
        blocks: match setting.model.is_of_parts() {
            true => Blocks::Parts,
            false => Blocks::Layers,
        },
        model: &setting.model,
        hyperparameters: setting.hyperparameters.as_ref(),
        optimizer: setting.numbers.optimizer,
    };
    launched(target, &source)
}

fn picture(
    target: &str,
    setting: &Setting,
    plan: &Plan,
    bound: Nanos,
) -> Result<Export, Diagnostic> {
    let costs = setting.costs(plan, setting.limit)?;
    let judged = judge_plan(&costs, plan).map_err(|violation| violation.diagnostic())?;
    let Some(grid) = &plan.schedule.grid else {
        return Err(Diagnostic::input("bad-plan", "the plan has no schedule"));
    };
    let (model, cluster) = (setting.model.name.as_str(), setting.cluster.name.as_str());
    let source = PipelineSource { judged: &judged, grid, model, cluster, bound };
    Ok(match target {
        "svg" => exporters::svg::pipeline::export(&source),
        _ => exporters::trace::pipeline::export(&source),
    })
}

/// Refuses a target that does not exist.
///
/// # Errors
/// `unknown-target`.
pub fn check_target(target: &str) -> Result<(), Diagnostic> {
    let known = || targets().iter().map(|row| row.name).chain(PICTURES);
    if PICTURES.contains(&target) {
        return Ok(());
    }
    let (name, _) = target.split_once('@').unwrap_or((target, ""));
    if known().any(|own| own == name) {
        return find(target).map(|_| ());
    }
    let message = format!("there is no export target `{target}` for plans of training runs");
    Err(Diagnostic::usage("unknown-target", message).hint(suggest::hint(target, known())))
}
