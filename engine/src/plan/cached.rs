//! Experts in slots of devices.

use std::sync::Arc;
use std::time::Instant;

use documents::diagnostic::DiagnosticDocument;
use documents::plan::PlanDocument;
use documents::plan::experts::{ExpertsContext, ExpertsDocument};
use documents::plan::request::RequestDocument;
use documents::report::cached::CachedReportDocument;
use ir::diagnostic::{Blame, Diagnostic};
use ir::workload::StepPhase;
use planner::experts::expertflow::{Choices, OBJECTIVE};
use planner::recipe::Ingredient;
use planner::run::watch::Tell;
use planner::run::{Control, StopReason};

use super::experts::{assumed, files};
use super::followed::bytes;
use super::run::{Run, interrupted, late};
use crate::exit::{CommandResult, Exit};
use crate::experts::cached::Cached;
use crate::experts::cached::figures::{hit_ratio, sentences, sums, table};
use crate::experts::export::check_target;
use crate::experts::on_model::OnModel;
use crate::experts::routing::Routing;
use crate::experts::setting::{Setting, check_sources};
use crate::page::Format;
use crate::request::value::Written;
use crate::request::{ExpertSkew, PlanRequest};
use crate::rows::Rows;

/// Holds the experts of a model in slots, by a row of the registry.
pub(super) fn plan(
    request: &PlanRequest,
    (used, door): (Ingredient, &'static planner::experts::expertflow::Cached),
    run: &mut Run<'_>,
) -> CommandResult {
    request.exports.iter().try_for_each(|target| check_target(target, true))?;
    let choices = Choices::of(&used.options)?;
    if request.phase == Some(StepPhase::Training) {
        let message = "`--phase training` keeps all experts on devices: none are cached";
        return Err(Diagnostic::usage("not-for-experts", message)
            .hint("plan with --phase prefill or decode, or place copies with expert-placement"));
    }
    let start = Instant::now();
    let Some((asked, found)) = solved(request, (&used, door), choices, run)? else {
        return Ok(interrupted(run.page));
    };
    let (experts, stop) = found;
    let elapsed_s = (!request.limits.deterministic).then(|| start.elapsed().as_secs_f64());
    let context = ExpertsContext {
        model: &asked.setting.model,
        cluster: &asked.setting.cluster,
        phase: asked.phase,
        batch: asked.batch,
        request: &asked.request,
        objective: OBJECTIVE,
        algorithm: &used.to_string(),
    };
    let plan = PlanDocument::from_experts(experts, &context);
    let on = OnModel {
        setting: asked.setting.clone(),
        document: &plan,
        copies: Vec::new(),
        unknown: Vec::new(),
        warnings: Vec::new(),
        mismatches: Vec::new(),
    };
    let (files, warnings) = files(request, &on, asked.warnings.clone());
    run.page.warnings(&warnings);
    let written = run.follower.planned(bytes(&plan)?, files)?;
    let report = report(plan, (stop, elapsed_s), &warnings);
    if run.page.format == Format::Text {
        table(&report.plan, Rows::of(request.all), run.page);
        sentences(&report.plan).iter().for_each(|line| run.page.line(line));
    }
    run.page.serialized(&report)?;
    written.iter().for_each(|name| run.page.talk(&format!("wrote {name}")));
    Ok(Exit::DONE)
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

type Solved = (Asked, (ExpertsDocument, StopReason));

/// Reads all that is asked for and holds the experts; `None` where someone interrupted it.
fn solved(
    request: &PlanRequest,
    (used, door): (&Ingredient, &'static planner::experts::expertflow::Cached),
    choices: Choices,
    run: &mut Run<'_>,
) -> Result<Option<Solved>, Diagnostic> {
    let own = request.clone();
    let seed = request.limits.seed;
    let reading = move |_: Tell<()>| read(&own, &choices, seed);
    let (asked, cached) = match run.watch.run(reading, &mut |()| {}).done().transpose()? {
        _ if run.watch.is_cancelled() => return Ok(None),
        Some(read) => read,
        None => return Err(late()),
    };
    run.follower.started(used.entry.name);
    let control = Arc::new(Control::new(&request.limits.within(run.watch, None)));
    let (own, setting) = (Arc::clone(&control), asked.setting.clone());
    let sequence_length = request.training.sequence_length;
    let work = move |_: Tell<()>| {
        let held = door.0(&cached.problem, &choices, &own)?;
        let found = cached.document(&setting, &held);
        Some(ExpertsDocument { sequence_length, ..found })
    };
    let found = run.watch.run(work, &mut |()| {}).done().flatten();
    run.follower.searched();
    match found {
        Some(found) => Ok(Some((asked, (found, StopReason::Finished)))),
        None if run.watch.is_cancelled() => Ok(None),
        None => Err(Diagnostic::error(Blame::NotFound, "no-plan", "no plan was found in time")
            .hint("raise --time-limit")),
    }
}

/// Reads model, cluster, and a trace or visits.
fn read(own: &PlanRequest, choices: &Choices, seed: u64) -> Result<(Asked, Cached), Diagnostic> {
    let sequence = own.training.sequence_length;
    // The size of a step is none of the graph's that a model is read from.
    let mut flags = own.problem.model.clone();
    flags.batch = None;
    let setting = Setting::read((&own.model, &flags, sequence), own.problem.cluster.as_deref())?;
    setting.n_experts()?;
    let mut warnings = setting.warnings.clone();
    let (phase, batch) = (own.phase.unwrap_or_default(), own.problem.model.batch.unwrap_or(1));
    let skew = own.training.expert_skew.as_ref();
    let steps = match &own.routing_trace {
        Some(file) => {
            check_sources(skew)?;
            warnings.extend(stated(own));
            let Routing { needs, visits, tokens } = Routing::read(&setting, file)?;
            (needs, visits, tokens, true)
        }
        None => {
            warnings.extend(assumed(own, phase, setting.sequence));
            let tokens = setting.tokens(phase, batch)?;
            Cached::drawn(&setting, &setting.visits(skew)?, tokens, (choices, seed))
        }
    };
    let (cached, warning) = Cached::new(&setting, choices, steps, seed)?;
    warnings.extend(warning);
    let law = skew.filter(|own| matches!(own, ExpertSkew::Law(_)));
    let request =
        RequestDocument { expert_skew: law.map(Written::text), ..RequestDocument::default() };
    Ok((Asked { setting, phase, batch, request, warnings }, cached))
}

/// What says nothing beside a trace, whose steps have their own tokens.
fn stated(own: &PlanRequest) -> Option<Diagnostic> {
    let flag = match (own.problem.model.batch, own.training.sequence_length) {
        (Some(_), _) => "--batch",
        (None, Some(_)) => "--sequence-length",
        (None, None) => return None,
    };
    let message = format!("`{flag}` has no effect: a step has the tokens of the trace");
    Some(Diagnostic::warning("no-effect", message).hint("leave it out"))
}

/// What `--json` prints.
fn report(
    plan: PlanDocument,
    (stop, elapsed_s): (StopReason, Option<f64>),
    warnings: &[Diagnostic],
) -> CachedReportDocument {
    let sum = sums(&plan.experts);
    let host = plan.experts.host.clone().unwrap_or_default();
    CachedReportDocument {
        n_layers: plan.experts.layers.len() as u64,
        hit_ratio: hit_ratio(&sum),
        missed: sum.missed,
        ahead: sum.ahead,
        exposed_s: host.exposed_s / host.steps.max(1) as f64,
        memory_bytes: host.memory_bytes,
        plan,
        stop_reason: stop.name().to_owned(),
        elapsed_s,
        warnings: warnings.iter().map(DiagnosticDocument::from).collect(),
    }
}
