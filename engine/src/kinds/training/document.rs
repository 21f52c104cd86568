//! A plan of a training run and the answer around it, as documents.

use cost_model::runs::forms::model::Offload;
use cost_model::runs::forms::model::counts::{self, n_parameters};
use cost_model::runs::oracle::{Place, ends_meet};
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

use super::answer::{Answer, degrees, most_lost, ranks};
use super::runners::Runners;
use super::{ALGORITHM, energy, losses, recommended};
use crate::answer::beside::Beside;
use crate::inputs::run::setting::Setting;
use crate::kinds::frame::documents;
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
    let report = setting.report(plan, setting.limit)?;
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
    let ends_meet = ends_meet(&ranks(plan));
    let of = |(index, stage): (usize, &Stage)| {
        let place = Place::of(index, n_stages);
        let counts = counts::held(model, &stage.blocks, place, ends_meet);
        HeldDocument {
            n_parameters: counts.n_parameters,
            n_experts: counts.n_experts,
            embedding: place.first,
            head: place.last,
            n_tied_copies: counts.n_tied_copies,
        }
    };
    plan.partition.stages.iter().enumerate().map(of).collect()
}

fn in_figures(answer: &Answer<'_>, plan: &Judged) -> TrainingRunDocument {
    let figures = (plan.step, plan.peak);
    TrainingRunDocument {
        loses: Some(plan.step.seconds() / answer.best.step.seconds() - 1.0),
        mostly_by: Some(most_lost(answer.best, plan)),
        parts: plan.parts.by_member().into_iter().collect(),
        ..answer.setting.figures(degrees(&plan.configuration), plan.n_devices(), figures)
    }
}

/// What every search of training runs says: its best plan, what it proved, and what it counted.
pub(super) fn searched(
    setting: &Setting,
    (plan, best): (PlanDocument, TrainingRunDocument),
    (bound, stop): (Nanos, StopReason),
    (counts, elapsed_s): (&[(&str, u64)], Option<f64>),
) -> TrainingReportDocument {
    TrainingReportDocument {
        plan,
        graph: None,
        unit: setting.unit().to_owned(),
        best,
        beyond_launcher: None,
        recommended: None,
        runners_up: Vec::new(),
        front: Vec::new(),
        turns: Vec::new(),
        others: Vec::new(),
        other_space: None,
        runs_on: None,
        bound_s: bound.seconds(),
        is_optimum: stop.is_complete(),
        stopped_early: !stop.is_complete(),
        stop_reason: match stop.is_complete() {
            true => StopReason::ProvedOptimal.name().to_owned(),
            false => stop.name().to_owned(),
        },
        elapsed_s,
        energy_front: Vec::new(),
        warnings: documents(&setting.warnings),
        counts: counts.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect(),
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
    let best = in_figures(answer, answer.best);
    let elapsed_s = answer.elapsed.map(|elapsed| elapsed.as_secs_f64());
    let proved = (answer.joint_bound(), answer.stop);
    TrainingReportDocument {
        graph: graph(answer.setting),
        beyond_launcher: beyond.map(|plan| in_figures(answer, plan)),
        recommended: recommended::document(answer.choice, answer.fastest),
        runners_up: all(&answer.others),
        front: all(&answer.front),
        turns: answer.flips.iter().map(flip).collect(),
        other_space: answer.beside.as_ref().map(Beside::document),
        runs_on: answer.runs_on.as_ref().map(Runners::document),
        is_optimum,
        stop_reason: stop.name().to_owned(),
        warnings: documents(&answer.warnings()),
        ..searched(answer.setting, (plan, best), proved, (&counts, elapsed_s))
    }
}
