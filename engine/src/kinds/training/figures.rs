//! The figures of a plan of a training run that was judged again.

use cost_model::runs::forms::model::counts::model_flops;
use cost_model::runs::forms::model::shape;
use cost_model::runs::judge::report::Report;
use cost_model::runs::oracle::{ends_meet, figures, ranks_of};
use documents::report::training::TrainingRunDocument;
use ir::diagnostic::Diagnostic;
use planner::training::search_3d::judge::parts;

use super::answer::in_words;
use super::replay::OnModel;

/// As the search says them of its best plan.
///
/// # Errors
/// Those of pricing.
pub fn of(on: &OnModel<'_>, report: &Report) -> Result<TrainingRunDocument, Diagnostic> {
    let (setting, plan) = (&on.setting, &on.plan);
    let step = report.step_time;
    let n_devices = shape::n_devices(&plan.parallelism);
    let tokens = setting.global_batch as f64 * setting.sequence as f64;
    let flops = model_flops(&setting.model, setting.global_batch);
    let utilisation = flops / (step.seconds() * n_devices as f64 * setting.peak());
    let n_stages = plan.partition.stages.len();
    let ranks = plan.schedule.grid.as_ref().and_then(|grid| ranks_of(grid, n_stages));
    let ranks = ranks.unwrap_or_default();
    let oracle = setting.oracle(None);
    let priced = oracle.price(&plan.parallelism, ends_meet(&ranks))?;
    let stages = figures(&*priced, setting.model.n_blocks(), plan)?;
    let costs = setting.costs(plan, None)?;
    let m = plan.parallelism.n_micro_batches;
    let parts = parts((&stages, &ranks), m, report, &costs);
    Ok(TrainingRunDocument {
        degrees: in_words(&plan.parallelism, &on.training.schedule),
        n_devices,
        step_time_ns: step.0,
        step_time_s: step.seconds(),
        tokens_per_s: tokens / step.seconds(),
        model_flops_utilisation: Some(utilisation).filter(|share| share.is_finite()),
        peak_bytes: report.ranks.iter().map(|rank| rank.peak.bytes).max().unwrap_or(0),
        parts: parts.by_member().into_iter().collect(),
        ..TrainingRunDocument::default()
    })
}
