//! A plan of a training run and the answer around it, as documents.

use cost_model::runs::forms::model::Offload;
use cost_model::runs::forms::model::counts::{self, n_parameters};
use cost_model::runs::judge::judge_plan;
use cost_model::runs::oracle::{Place, ends_meet, ranks_of};
use documents::diagnostic::DiagnosticDocument;
use documents::plan::training::{
    HeldDocument, RankMemoryDocument, TrainingContext, TrainingDocument,
};
use documents::plan::{CostDocument, PlanDocument};
use documents::report::training::{
    FlipDocument, TrainedGraphDocument, TrainingReportDocument, TrainingRunDocument,
};
use ir::card::ModelCard;
use ir::diagnostic::Diagnostic;
use ir::plan::{Plan, Stage};
use ir::units::{Bytes, Nanos};
use ir::workload::{Mode, Workload};
use planner::training::search_3d::judge::Judged;
use planner::training::search_3d::sensitivity::Flip;

use super::answer::{Answer, degrees, most_lost};
use super::runners::Runners;
use super::{ALGORITHM, energy, losses, recommended};
use crate::answer::beside::Beside;
use crate::inputs::run::setting::Setting;
use planner::run::StopReason;
use planner::training::search::Wider;

/// The plan document of a judged plan.
///
/// # Errors
/// Those of the schedule's generator and of the judge.
pub fn plan(setting: &Setting, best: &Judged, bound: Nanos) -> Result<PlanDocument, Diagnostic> {
    of(setting, &best.plan()?, best.configuration.order.name(), (ALGORITHM, bound))
}

/// The plan document of a plan, judged, with the algorithm that made it and its bound.
///
/// # Errors
/// Those of the judge.
pub fn of(
    setting: &Setting,
    plan: &Plan,
    schedule: &str,
    (algorithm, bound): (&str, Nanos),
) -> Result<PlanDocument, Diagnostic> {
    let costs = setting.costs(plan, setting.limit)?;
    let report = judge_plan(&costs, plan).map_err(|violation| violation.diagnostic())?.report;
    let is_judged = setting.layers.is_none() && !plan.partition.has_own_devices();
    let peak = report.ranks.iter().map(|rank| Bytes(rank.peak.bytes)).max().unwrap_or(Bytes(0));
    let memory = report.ranks.iter().map(|rank| RankMemoryDocument {
        persistent_bytes: rank.persistent_bytes,
        peak_bytes: rank.peak.bytes,
        limit_bytes: rank.limit,
    });
    let training = TrainingDocument {
        global_batch: setting.global_batch,
        sequence_length: setting.sequence,
        n_blocks: Some(setting.model.n_blocks()),
        n_parameters: Some(n_parameters(&setting.model)),
        stack: setting.stack.name.clone(),
        schedule: schedule.to_owned(),
        offloads_optimizer: setting.offload == Offload::Optimizer,
        held: held(&setting.model, plan),
        memory: memory.collect(),
        peak: is_judged.then(|| setting.peak_interval(peak, &plan.parallelism)),
    };
    let context = TrainingContext {
        model: &setting.model,
        cluster: &setting.cluster,
        profile: setting.measured_by(),
        workload: Workload {
            mode: Mode::Training,
            optimizer: setting.numbers.optimizer,
            dtype: Some(setting.numbers.dtype),
            batch: None,
            micro_batch: None,
        },
        request: setting.request.clone(),
        algorithm,
        training,
    };
    let step = report.step_time.0;
    let interval = is_judged.then(|| setting.interval(report.step_time, &plan.parallelism));
    let cost =
        CostDocument::new(step, bound.0.min(step), algorithm).with_trust(interval, Vec::new());
    let mut document = PlanDocument::from_training(plan, context, cost);
    document.communication = losses::communication(setting, plan, report.step_time)?;
    document.energy = energy::document(setting, plan, &report)?;
    if let Some(least) = &setting.request.least {
        document.objective.clone_from(least);
    }
    Ok(document)
}

/// What each stage of a plan holds of the model.
fn held(model: &ModelCard, plan: &Plan) -> Vec<HeldDocument> {
    let n_stages = plan.partition.stages.len();
    let ranks = plan.schedule.grid.as_ref().and_then(|grid| ranks_of(grid, n_stages));
    let ends_meet = ranks.is_some_and(|ranks| ends_meet(&ranks));
    let of = |(index, stage): (usize, &Stage)| {
        let place = Place::of(index, n_stages);
        let held = counts::held(model, &stage.blocks, place, ends_meet);
        HeldDocument {
            n_parameters: held.n_parameters,
            n_experts: held.n_experts,
            embedding: place.first,
            head: place.last,
            n_tied_copies: held.n_tied_copies,
        }
    };
    plan.partition.stages.iter().enumerate().map(of).collect()
}

fn in_figures(answer: &Answer<'_>, plan: &Judged) -> TrainingRunDocument {
    TrainingRunDocument {
        degrees: degrees(&plan.configuration),
        n_devices: plan.n_devices(),
        step_time_ns: plan.step.0,
        step_time_s: plan.step.seconds(),
        tokens_per_s: answer.tokens_per_s(plan.step),
        model_flops_utilisation: Some(answer.utilisation(plan)).filter(|share| share.is_finite()),
        peak_bytes: plan.peak,
        loses: Some(plan.step.seconds() / answer.best.step.seconds() - 1.0),
        mostly_by: Some(most_lost(answer.best, plan)),
        parts: plan.parts.by_member().into_iter().collect(),
        ..TrainingRunDocument::default()
    }
}

fn graph(setting: &Setting) -> Option<TrainedGraphDocument> {
    setting.graph.as_ref().map(|graph| TrainedGraphDocument {
        n_ops: graph.n_ops,
        n_parameters: graph.n_parameters,
        n_parameters_of_plan: n_parameters(&setting.model),
        kind: graph.kind.clone(),
        starts: graph.starts.clone(),
    })
}

/// What `plan --json` prints.
pub fn report(answer: &Answer<'_>, plan: PlanDocument) -> TrainingReportDocument {
    let flip = |turn: &Flip| FlipDocument {
        constant: turn.constant.name().to_owned(),
        factor: turn.factor,
        winner: answer.rivals.get(turn.winner).map(|other| degrees(&other.configuration)),
    };
    let all = |plans: &[Judged]| plans.iter().map(|plan| in_figures(answer, plan)).collect();
    let beyond = answer.wider.as_ref().and_then(Wider::faster);
    let counts = &answer.counts;
    let counts = [
        ("shapes", counts.n_shapes),
        ("expanded", counts.n_expanded),
        ("configurations", counts.n_leaves),
        ("fitted", counts.n_fitted),
        ("misfits", counts.n_misfits),
        ("judged", counts.n_judged),
        ("too_large", counts.n_too_large),
        ("out_of_range", counts.n_out_of_range),
        ("polished", counts.n_polished),
    ];
    let is_optimum = answer.is_optimum() && answer.joint_bound() >= answer.bound;
    let stop = if is_optimum { StopReason::ProvedOptimal } else { answer.stop };
    TrainingReportDocument {
        plan,
        graph: graph(answer.setting),
        unit: answer.setting.unit().to_owned(),
        best: in_figures(answer, answer.best),
        beyond_launcher: beyond.map(|plan| in_figures(answer, plan)),
        recommended: recommended::document(answer.choice, answer.fastest),
        runners_up: all(&answer.others),
        front: all(&answer.front),
        turns: answer.flips.iter().map(flip).collect(),
        others: Vec::new(),
        other_space: answer.beside.as_ref().map(Beside::document),
        runs_on: answer.runs_on.as_ref().map(Runners::document),
        bound_s: answer.joint_bound().seconds(),
        is_optimum,
        stopped_early: !answer.stop.is_complete(),
        stop_reason: stop.name().to_owned(),
        elapsed_s: answer.elapsed.map(|elapsed| elapsed.as_secs_f64()),
        energy_front: Vec::new(),
        warnings: answer.warnings().iter().map(DiagnosticDocument::from).collect(),
        counts: counts.into_iter().map(|(name, n)| (name.to_owned(), n)).collect(),
    }
}
