//! The figures of a plan of a training run that was judged again.

use cost_model::runs::forms::model::shape;
use cost_model::runs::judge::report::Report;
use cost_model::runs::oracle::{ends_meet, figures};
use documents::report::training::TrainingRunDocument;
use ir::diagnostic::Diagnostic;
use ir::plan::Plan;
use planner::training::search_3d::judge::parts;
use planner::training::search_3d::terms::{TERMS, terms};

use super::answer::{in_words, ranks};
use super::replay::Planned;
use crate::inputs::run::setting::Setting;

/// Nanoseconds of the terms of the step of a plan that was judged; they add up to it.
///
/// # Errors
/// Those of pricing.
pub fn in_terms(
    setting: &Setting,
    plan: &Plan,
    report: &Report,
) -> Result<[i64; TERMS.len()], Diagnostic> {
    let ranks = ranks(plan);
    let priced = setting.oracle(None);
    let priced = priced.price(&plan.parallelism, ends_meet(&ranks))?;
    let stages = figures(&*priced, setting.model.n_blocks(), plan)?;
    let costs = setting.costs(plan, None)?;
    Ok(terms((&stages, &ranks), plan.parallelism.n_micro_batches, report, &costs))
}

/// As the search says them of its best plan.
///
/// # Errors
/// Those of pricing.
pub fn of(on: &Planned, report: &Report) -> Result<TrainingRunDocument, Diagnostic> {
    let (setting, plan) = (&on.setting, &on.plan);
    let n_devices = shape::n_devices(&plan.parallelism);
    let ranks = ranks(plan);
    let oracle = setting.oracle(None);
    let priced = oracle.price(&plan.parallelism, ends_meet(&ranks))?;
    let stages = figures(&*priced, setting.model.n_blocks(), plan)?;
    let costs = setting.costs(plan, None)?;
    let m = plan.parallelism.n_micro_batches;
    let parts = parts((&stages, &ranks), m, report, &costs);
    let degrees = in_words(&plan.parallelism, &on.training.schedule);
    let peak = report.ranks.iter().map(|rank| rank.peak.bytes).max().unwrap_or(0);
    Ok(TrainingRunDocument {
        parts: parts.by_member().into_iter().collect(),
        ..setting.figures(degrees, n_devices, (report.step_time, peak))
    })
}
