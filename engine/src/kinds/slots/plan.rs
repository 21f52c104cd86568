//! Plans an expert cache in slots of devices.

use std::sync::Arc;

use documents::plan::PlanDocument;
use documents::plan::experts::{ExpertsContext, ExpertsDocument, SlotsFigures};
use documents::plan::request::RequestDocument;
use ir::diagnostic::Diagnostic;
use ir::workload::StepPhase;
use planner::experts::expertflow::{Choices, OBJECTIVE, Problem, REGROUP, STEPS};
use planner::run::{Control, StopReason};

use crate::answer::exit::CommandResult;
use crate::answer::rows::Rows;
use crate::answer::screen::Screen;
use crate::inputs::experts::{Setting, check_sources};
use crate::inputs::load;
use crate::inputs::routing::Routing;
use crate::kinds::expert_layers::Placed;
use crate::kinds::frame;
use crate::kinds::slots::cached::{Cached, best};
use crate::kinds::slots::figures::{hit_ratio, sentences, sums, table};
use crate::kinds::slots::{self, Slots};
use crate::request::PlanRequest;
use crate::search::row;
use crate::search::run::{Run, interrupted};
use crate::search::watched::{assumed_of_phase, law, watched};

/// Holds the experts of a model in slots, by a row of the registry.
pub(crate) fn plan(request: &PlanRequest, run: &mut Run<'_>) -> CommandResult {
    let (used, door) = row::known::<planner::experts::expertflow::Cached>(request.recipe())?;
    let choices = Choices::of(&used.options)?;
    if request.routing_trace.is_some() && used.options.given().contains_key(STEPS.name) {
        let message = format!("`{}` is of steps that are drawn: the trace has its own", STEPS.name);
        return Err(Diagnostic::usage("not-for-traces", message).hint("leave it out"));
    }
    if request.routing_trace.is_none() && choices.regroup > 1 {
        let message = format!("`{}` is of tokens of a trace, and steps are drawn", REGROUP.name);
        return Err(
            Diagnostic::usage("needs-trace", message).hint("give --routing-trace, or leave it out")
        );
    }
    if request.phase == Some(StepPhase::Training) {
        let message = "`--phase training` keeps all experts on devices: none are cached";
        return Err(Diagnostic::usage("not-for-experts", message)
            .hint("plan with --phase prefill or decode, or place copies with expert-placement"));
    }
    let (seed, sequence_length) = (request.limits.seed, request.training.sequence_length);
    let read = move |request: &PlanRequest| read(request, &choices, seed);
    let search = move |(job, all): &(Asked, Vec<Cached>), control: &Arc<Control>| {
        let hold = |problem: &Problem| door.0(problem, &choices, control);
        let found = best(&job.setting, all, &choices, &hold)?;
        Some(ExpertsDocument { sequence_length, ..found })
    };
    let found = watched((request, used.entry.name), run, read, search)?;
    let Some(((job, _), experts, elapsed_s)) = found else { return Ok(interrupted(run.page)) };
    let context = ExpertsContext {
        model: &job.setting.model,
        cluster: &job.setting.cluster,
        phase: job.phase,
        batch: job.batch,
        request: &job.request,
        objective: OBJECTIVE,
        algorithm: &used.to_string(),
    };
    let plan = PlanDocument::from_experts(experts, &context);
    let warnings = job.warnings.clone();
    let (setting, judged) = (slots::Setting::untraced(job.setting), Placed::default());
    let figures = figures(&plan.experts);
    let made = (plan, figures, StopReason::Finished.name(), elapsed_s);
    let on = (&setting, &judged);
    let step = format!("{} of {} samples", job.phase.name(), job.batch);
    frame::found::<Slots, _>((request, run), on, made, warnings, |report, page| {
        let mut screen =
            Screen::of_step(&report.plan, &step, &load::describe(&setting.setting.cluster));
        let labels = ["plan", "time", "memory", "order"];
        let lines = labels.into_iter().zip(sentences(&report.plan));
        lines.for_each(|(label, line)| screen.fact(label, line));
        screen.take(page, |page| table(&report.plan, Rows::All, page));
        screen
    })
}

/// What was asked for.
#[derive(Clone)]
struct Asked {
    setting: Setting,
    phase: StepPhase,
    batch: u64,
    request: RequestDocument,
    warnings: Vec<Diagnostic>,
}

/// Reads model, cluster, and a trace or routed tokens.
fn read(
    request: &PlanRequest,
    choices: &Choices,
    seed: u64,
) -> Result<(Asked, Vec<Cached>), Diagnostic> {
    let sequence = request.training.sequence_length;
    // The size of a step is none of the graph's that a model is read from.
    let mut flags = request.problem.model.clone();
    flags.batch = None;
    let setting =
        Setting::read((&request.model, &flags, sequence), request.problem.cluster.as_deref())?;
    setting.n_experts()?;
    let mut warnings = setting.warnings.clone();
    let (phase, batch) =
        (request.phase.unwrap_or_default(), request.problem.model.batch.unwrap_or(1));
    let skew = request.training.expert_skew.as_ref();
    let (cached, warning) = match &request.routing_trace {
        Some(file) => {
            check_sources(skew)?;
            warnings.extend(stated(request));
            let all = Routing::all(&setting, file, choices.regroup)?;
            Cached::of_trace(&setting, choices, all, seed)?
        }
        None => {
            warnings.extend(assumed_of_phase(request, phase, setting.sequence));
            let tokens = setting.tokens(phase, batch)?;
            let visits = setting.visits(skew)?;
            let steps = Cached::drawn(&setting, &visits, tokens, (choices, seed));
            let (cached, warning) = Cached::new(&setting, choices, steps, seed)?;
            (vec![cached], warning)
        }
    };
    warnings.extend(warning);
    Ok((Asked { setting, phase, batch, request: law(request), warnings }, cached))
}

/// What says nothing beside a trace, whose steps have their own tokens.
fn stated(request: &PlanRequest) -> Option<Diagnostic> {
    let flag = match (request.problem.model.batch, request.training.sequence_length) {
        (Some(_), _) => "--batch",
        (None, Some(_)) => "--sequence-length",
        (None, None) => return None,
    };
    let message = format!("`{flag}` has no effect: a step has the tokens of the trace");
    Some(Diagnostic::warning("no-effect", message).hint("leave it out"))
}

/// What is said of it.
fn figures(experts: &ExpertsDocument) -> SlotsFigures {
    let sum = sums(experts);
    let host = experts.host.clone().unwrap_or_default();
    SlotsFigures {
        n_layers: experts.layers.len() as u64,
        hit_ratio: hit_ratio(&sum),
        missed: sum.missed,
        ahead: sum.ahead,
        exposed_s: host.exposed_s / host.steps.max(1) as f64,
        memory_bytes: host.memory_bytes,
    }
}
