//! A placement of experts.

use std::sync::Arc;

use cost_model::experts::Shape;
use documents::plan::PlanDocument;
use documents::plan::experts::{
    ExpertLayersDocument, ExpertsContext, ExpertsDocument, ExpertsFigures,
};
use documents::plan::request::RequestDocument;
use documents::report::FoundDocument;
use ir::diagnostic::Diagnostic;
use ir::workload::StepPhase;
use planner::experts::{Experts, OBJECTIVE, Placed, eplb, slots_and_groups};
use planner::recipe::Ingredient;
use planner::run::{Control, StopReason};

use crate::answer::exit::CommandResult;
use crate::answer::page::Page;
use crate::answer::rows::Rows;
use crate::answer::screen::{Screen, figure};
use crate::inputs::experts::{Setting, Visits, all_shares, impossible};
use crate::inputs::load;
use crate::kinds::expert_layers;
use crate::kinds::experts as own;
use crate::kinds::experts::figures::{Figures, table};
use crate::kinds::frame;
use crate::request::PlanRequest;
use crate::search::row;
use crate::search::run::{Run, interrupted};
use crate::search::watched::{assumed_of_phase, law, proved, watched};

/// Places the experts of a model by a row of the registry.
pub(crate) fn plan(request: &PlanRequest, run: &mut Run<'_>) -> CommandResult {
    let (used, door) = row::known::<Experts>(request.recipe())?;
    let (slots, groups) = slots_and_groups(&used.options)?;
    let read = move |request: &PlanRequest| read(request, (slots, groups));
    let search = |job: &Asked, control: &Arc<Control>| Some(placed(job, door, control));
    let found = watched((request, used.entry.name), run, read, search)?;
    let Some((job, (placed, stop), elapsed_s)) = found else { return Ok(interrupted(run.page)) };
    let plan = document(&job, &placed, &used);
    let warnings = job.setting.warnings.clone();
    let copies = placed.iter().map(|placement| placement.copies.clone()).collect();
    let judged = expert_layers::Placed { copies, unknown: Vec::new() };
    let figures = figures(&job, &plan);
    let (on, made) = ((&job.setting, &judged), (plan, figures, stop.name(), elapsed_s));
    frame::found::<own::Experts, _>((request, run), on, made, warnings, |report, page| {
        screen(&job, report, page)
    })
}

/// What is asked for.
#[derive(Clone)]
struct Asked {
    setting: Setting,
    shape: Shape,
    visits: Visits,
    phase: StepPhase,
    batch: u64,
    tokens: u64,
    sequence_length: Option<u64>,
    request: RequestDocument,
}

/// Reads model, cluster and histogram.
fn read(
    request: &PlanRequest,
    (slots, groups): (Option<usize>, usize),
) -> Result<Asked, Diagnostic> {
    let sequence_length = request.training.sequence_length;
    // The size of a step is none of the graph's that a model is read from.
    let mut flags = request.problem.model.clone();
    flags.batch = None;
    let mut setting = Setting::read(
        (&request.model, &flags, sequence_length),
        request.problem.cluster.as_deref(),
    )?;
    let shape = setting.shape(slots, groups)?;
    let skew = request.training.expert_skew.as_ref();
    let visits = match &request.routing_trace {
        Some(file) => setting.traced(skew, file)?,
        None => setting.visits(skew)?,
    };
    let (phase, batch) =
        (request.phase.unwrap_or_default(), request.problem.model.batch.unwrap_or(1));
    let tokens = setting.tokens(phase, batch)?;
    setting.warnings.extend(assumed_of_phase(request, phase, setting.sequence));
    setting.warnings.extend(impossible(&visits, &setting.experts));
    let request = law(request);
    Ok(Asked { setting, shape, visits, phase, batch, tokens, sequence_length, request })
}

/// Runs the row.
fn placed(job: &Asked, door: &Experts, control: &Control) -> (Vec<Placed>, StopReason) {
    let placed = door.0(&all_shares(&job.visits), &job.shape, control);
    let is_best = placed.iter().all(|placement| placement.load <= placement.bound.load);
    let stop = match control.noted_stop() {
        _ if is_best => StopReason::ProvedOptimal,
        Some(stop) => stop,
        None => StopReason::Finished,
    };
    (placed, stop)
}

/// The plan document.
fn document(job: &Asked, placed: &[Placed], used: &Ingredient) -> PlanDocument {
    let device = |number: &usize| {
        let device = job.setting.cluster.devices.get(*number);
        device.map(|device| device.name.clone()).unwrap_or_default()
    };
    let entries = job.visits.iter().zip(placed).map(|((layers, visits), placement)| {
        let copies = placement.copies.iter().map(|devices| devices.iter().map(device).collect());
        ExpertLayersDocument {
            layers: layers.clone(),
            slots: job.shape.slots as u32,
            visits: visits.clone(),
            devices_of_expert: copies.collect(),
            greatest_load: placement.load,
            bound: placement.bound.load,
            bound_method: placement.bound.method.to_owned(),
            ..ExpertLayersDocument::default()
        }
    });
    let experts = ExpertsDocument {
        phase: None,
        sequence_length: job.sequence_length,
        tokens: Some(job.tokens),
        groups: Some(job.shape.groups as u32),
        host: None,
        disaggregated: None,
        serving: None,
        layers: entries.collect(),
    };
    let context = ExpertsContext {
        model: &job.setting.model,
        cluster: &job.setting.cluster,
        phase: job.phase,
        batch: job.batch,
        request: &job.request,
        objective: OBJECTIVE,
        algorithm: &used.to_string(),
    };
    PlanDocument::from_experts(experts, &context)
}

/// What is said of it.
fn figures(job: &Asked, plan: &PlanDocument) -> ExpertsFigures {
    let figures = Figures::of(plan, &job.setting.experts);
    let shares = all_shares(&job.visits);
    let usual = eplb::solve(&shares, &job.shape, &Control::default());
    let n = job.visits.iter().map(|(layers, _)| layers.len() as f64);
    let sum: f64 = usual.iter().zip(n).map(|(placed, n)| placed.load * n).sum();
    ExpertsFigures {
        n_layers: figures.n_layers as u64,
        load: figures.load,
        bound: figures.bound,
        gap: figures.gap(),
        eplb_load: sum * job.shape.host.len() as f64 / figures.n_layers.max(1) as f64,
        busiest_visits: figures.busiest_visits,
        even_visits: figures.even_visits,
    }
}

fn screen(job: &Asked, found: &FoundDocument<ExpertsFigures>, page: &Page) -> Screen {
    let (figures, experts) = (&found.figures, &job.setting.experts);
    let step = format!("{} of {} samples", job.phase.name(), job.batch);
    let mut screen = Screen::of_step(&found.plan, &step, &load::describe(&job.setting.cluster));
    let slots = job.shape.slots;
    let (n, n_experts) = (figures.n_layers, experts.n_experts);
    screen.fact(
        "plan",
        format!(
            "{n_experts} experts in {n} layers, {slots} slots per device, by {}",
            found.plan.algorithm
        ),
    );
    let rest = "expert load imbalance: busiest device over the mean of all, mean of layers";
    screen.fact("load", figure(format!("{:.4}", figures.load), None, rest));
    screen.fact("", Figures::of(&found.plan, experts).sentence(&found.plan, experts));
    let ended = (found.stop_reason.as_str(), found.elapsed_s);
    let proof = proved((figures.load, figures.bound), "all placements with these slots", ended);
    screen.fact("proof", format!("{proof}; EPLB reaches {:.4}", figures.eplb_load));
    screen.take(page, |page| table(&found.plan, Rows::All, page));
    screen
}
