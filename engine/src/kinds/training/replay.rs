//! Plans of training runs read back, with model, devices and software.

use std::path::Path;
use std::sync::Arc;

use documents::digest;
use documents::plan::PlanDocument;
use documents::plan::training::TrainingDocument;
use ir::diagnostic::Diagnostic;
use ir::plan::Plan;
use ir::tensor::DType;
use ir::workload::Optimizer;

use crate::inputs::run::edges;
use crate::inputs::run::model::{self, Model};
use crate::inputs::run::setting::Setting;
use crate::request::ReplayRequest;

/// A plan on its model and cluster.
pub struct Planned {
    /// Model, devices and software.
    pub setting: Setting,
    /// The plan as it is stated.
    pub document: Arc<PlanDocument>,
    /// What it states of the run.
    pub training: TrainingDocument,
    /// The plan.
    pub plan: Plan,
    /// Whether there are any, or sizes are others.
    pub(super) is_mismatched: bool,
    /// Whether it states an extent of pictures as the tokens of a sample.
    pub(super) is_of_pictures: bool,
}

/// What of a run may be another than a plan's.
#[derive(PartialEq)]
pub struct Asked {
    /// Tokens of a sample.
    pub sequence_length: u64,
    /// Samples of a step.
    pub global_batch: u64,
    /// What it computes in.
    pub dtype: Option<DType>,
    /// The optimizer.
    pub optimizer: Optimizer,
    /// Name of the software stack.
    pub stack: String,
    /// Adapters, as a request states them.
    pub adapter: Option<String>,
}

/// Model, devices and software of a plan, for a run that may be another one.
///
/// # Errors
/// Those of the readers.
pub fn setting(
    document: &PlanDocument,
    model: &Path,
    target: &ReplayRequest,
    requested: &Asked,
) -> Result<Setting, Diagnostic> {
    let mut request = crate::inputs::asked::merged(&target.problem, &document.request)?;
    if requested.adapter != request.adapter {
        request.adapter.clone_from(&requested.adapter);
        request.freeze = None;
    }
    let mut flags = target.problem.clone();
    flags.model = crate::inputs::asked::model(&flags.model, &request);
    flags.model.dtype = requested.dtype;
    flags.optimizer = Some(requested.optimizer);
    flags.lost.clone_from(&request.lost);
    flags.without.clone_from(&request.without);
    flags.board_limit = request.board_limit;
    let read = |sequence| model::read(model, sequence, &flags.model);
    let model = of_its_text(document, requested, &read)?;
    let mut setting = Setting::on(model, &flags, &requested.stack, requested.global_batch)?;
    setting.ask(request)?;
    setting.replaced = document.communication.replaced.clone().map(Arc::new);
    setting.edge_density = edges::allowed(&document.communication.lossy)?;
    Ok(setting)
}

/// Code of the warning of plans that state an extent of pictures as the tokens of a sample.
pub(super) const EXTENT_FOR_TOKENS: &str = "extent-for-tokens";

/// The model of a plan. Plans of version 0.1.0 state an extent of the first input of a model that sees in place of
/// the tokens of its text, which were those of its config.
fn of_its_text(
    document: &PlanDocument,
    requested: &Asked,
    read: &dyn Fn(Option<u64>) -> Result<Model, Diagnostic>,
) -> Result<Model, Diagnostic> {
    let stated = requested.sequence_length;
    let found = read(Some(stated));
    let is_own = |model: &Model| digest::card(&model.card) == document.model.digest;
    let is_known = |model: &Model| model.graph.is_none() || is_own(model);
    let is_of_plan = document.training.as_ref().is_some_and(|run| run.sequence_length == stated);
    if !is_of_plan || found.as_ref().is_ok_and(is_known) {
        return found;
    }
    let Ok(mut model) = read(None) else { return found };
    let extent = model.graph.as_ref().and_then(|graph| graph.first_extent);
    let Some(tokens) = model.tokens.filter(|_| extent == Some(stated) && is_own(&model)) else {
        return found;
    };
    let message = format!(
        "the plan states samples of {stated} tokens, the extent of its pictures: its text has {tokens}"
    );
    model.warnings.push(
        Diagnostic::warning(EXTENT_FOR_TOKENS, message)
            .hint("plan again to have it state tokens, and rates of them"),
    );
    Ok(model)
}
