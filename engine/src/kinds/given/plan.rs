//! A plan for an instance of another planner. The search ends in time whatever its methods do.

use std::sync::Arc;
use std::time::Instant;

use cost_model::given::{Goal, row};
use ir::diagnostic::{Blame, Diagnostic};
use ir::instance::{AveragingInstance, Instance, Peers};
use ir::plan_kind::PlanKind;
use planner::given::runner::{Answer, Request, Solution, solve_observed};
use planner::registry::entries;
use planner::run::{Event, StopReason};

use crate::answer::exit::{CommandResult, Exit};
use crate::answer::follow::{File, PLOT};
use crate::answer::page::Format;
use crate::answer::rows::Rows;
use crate::answer::screen::Screen;
use crate::kinds::buckets;
use crate::kinds::given::{STRAIGHT_DEVICES, document, goal, synchronisation, text};
use crate::request::PlanRequest;
use crate::request::executor::Executor;
use crate::request::fields;
use crate::search::plot::{self, Unit};
use crate::search::run::{Run, interrupted, tell, usual_time};
use crate::search::solved;

/// Nodes from which a plan takes long to write: then not every better one is published.
const MANY_NODES: usize = 10_000;
/// So many times as long as a plan took to write, none is written.
const REST: u32 = 20;

pub(crate) fn plan(
    request: &PlanRequest,
    instance: Arc<Instance>,
    run: &mut Run<'_>,
) -> CommandResult {
    if let Some(executor) = request.executor.filter(|executor| *executor != Executor::ANY) {
        exporters::find(PlanKind::Given, executor.target())?;
    }
    fields::check(&request.problem.given, &fields::INSTANCE)?;
    check_accelerators(request, &instance)?;
    let (instance, n_left_out) = allowed(request, instance)?;
    let goal = goal(request.objective, &instance)?;
    let answer = solve(request, (Arc::clone(&instance), goal), run)?;
    let Some((value, solution)) = &answer.best else {
        if run.watch.is_cancelled() && !answer.is_proved {
            return Ok(interrupted(run.page));
        }
        return Err(none(&instance, &answer));
    };
    let mut plan = document::document(&instance, goal, *value, answer.bound, solution);
    plan.proved_optimal = answer.is_proved;
    plan.accelerators = match *instance {
        Instance::Profile(_) => Some(request.accelerators.unwrap_or(STRAIGHT_DEVICES)),
        Instance::Load(_) | Instance::Stages(_) => request.accelerators,
        Instance::Gradients(_) | Instance::Tasks(_) | Instance::Averaging(_) => None,
    };
    plan.certificate = answer.certificate.as_ref().map(document::certificate);
    let mut files = Vec::new();
    if request.plot {
        let unit = Unit::Given(instance.unit().ns);
        let bytes = plot::svg(instance.name(), row(goal).name, unit, &answer.trace);
        files.push(File { target: PLOT.to_owned(), bytes });
    }
    let written = run.follower.planned(document::bytes(&plan)?, Ok(files))?;
    let items = match *instance {
        Instance::Gradients(_) => "tensors",
        Instance::Tasks(_) => "tasks",
        _ => "nodes",
    };
    let mut screen = Screen::new(format!("{}, {} {items}", instance.name(), instance.n_nodes()));
    screen.fact("plan", format!("by {}", answer.algorithm));
    screen.fact("value", solved::value(&instance, goal, *value));
    screen.fact("proof", solved::proof(&instance, goal, *value, &answer));
    if let (Instance::Gradients(gradients), Solution::Buckets(found)) = (&*instance, solution) {
        screen.fact("rate", buckets::sentence(gradients, *value));
        screen.warnings = buckets::warnings(gradients, n_left_out, found);
    }
    if let Solution::Synchronisation(found) = solution {
        screen.warnings = synchronisation::warnings(n_left_out, found);
    }
    screen.take(run.page, |page| text::print(&instance, solution, Rows::All, page));
    (screen.written, screen.is_whole, screen.on) = (written, request.all, request.on());
    screen.next(|plan| format!("meshwright explain {plan}"), "what limits it");
    run.page.screen(screen);
    // As large as the instance: built only where it is printed.
    if run.page.format == Format::Json {
        run.page.serialized(&document::report(&plan, &answer))?;
    }
    Ok(Exit::DONE)
}

/// The instance with those ways of exchange alone that may be taken, and how many others there are.
fn allowed(
    request: &PlanRequest,
    mut instance: Arc<Instance>,
) -> Result<(Arc<Instance>, usize), Diagnostic> {
    let n = match Arc::make_mut(&mut instance) {
        Instance::Gradients(gradients) => {
            let n = gradients.lossy.len();
            buckets::allow_asked(gradients, (&request.allow_lossy, request.recipe()))?;
            if request.allow_lossy.is_empty() { n } else { 0 }
        }
        Instance::Averaging(AveragingInstance { peers: Peers::All(replicas), .. }) => {
            synchronisation::allow_asked(replicas, &request.allow_lossy)?
        }
        _ if request.allow_lossy.is_empty() => 0,
        _ => {
            let message = "`--allow-lossy` has no effect: the file has no gradients to exchange";
            return Err(Diagnostic::usage("not-for-instances", message).hint("leave it out"));
        }
    };
    Ok((instance, n))
}

/// Refuses devices of what names its own.
fn check_accelerators(request: &PlanRequest, instance: &Instance) -> Result<(), Diagnostic> {
    let name = match instance {
        _ if request.accelerators.is_none() => return Ok(()),
        Instance::Load(_) | Instance::Stages(_) | Instance::Profile(_) => return Ok(()),
        Instance::Gradients(_) => "replicas",
        Instance::Tasks(_) => "devices",
        Instance::Averaging(_) => "nodes",
    };
    let message = format!("`--accelerators` has no effect: the file states its `{name}`");
    Err(Diagnostic::usage("not-for-instances", message)
        .hint(format!("leave it out, or edit `{name}`")))
}

/// Solves the instance, and tells of what is found on the way.
///
/// # Errors
/// Those of `solve_observed`.
fn solve(
    request: &PlanRequest,
    (instance, goal): (Arc<Instance>, Goal),
    run: &mut Run<'_>,
) -> Result<Answer, Diagnostic> {
    let observed = Arc::clone(&instance);
    let mut written = None;
    let limits = Request {
        rows: entries(),
        limits: request.limits.within(run.watch, usual_time(request, run.start)),
        n_devices: request.accelerators.unwrap_or(STRAIGHT_DEVICES),
    };
    let mut observe = |event: &Event<Instance>| {
        let is_time = observed.n_nodes() < MANY_NODES
            || written.is_none_or(|(at, took)| Instant::elapsed(&at) >= took * REST);
        if matches!(event, Event::Incumbent { .. }) && !is_time {
            return;
        }
        let now = Instant::now();
        let shown = |value| observed.unit().text(value);
        tell(run.follower, event, (row(goal).name, &shown), |_, value, bound, solution| {
            document::bytes(&document::document(&observed, goal, value, bound, solution))
        });
        if matches!(event, Event::Incumbent { .. }) {
            written = Some((Instant::now(), now.elapsed()));
        }
    };
    let terms = (&limits, run.watch);
    let answer = solve_observed((instance, goal), request.recipe(), terms, &mut observe);
    run.follower.searched();
    answer
}

/// Why there is no plan.
fn none(instance: &Instance, answer: &Answer) -> Diagnostic {
    if answer.is_proved {
        let message = "no plan fits into the memory of the devices";
        return Diagnostic::error(Blame::Infeasible, "infeasible", message)
            .fact("proof", "all plans were searched")
            .hint("give the devices more memory, or add devices");
    }
    let more = match answer.stop {
        StopReason::NodeBudget => "raise --node-budget",
        _ => "raise --time-limit",
    };
    let has_memory =
        matches!(instance, Instance::Load(_) | Instance::Stages(_) | Instance::Profile(_));
    let or = if has_memory { ", or give the devices more memory" } else { "" };
    Diagnostic::error(Blame::NotFound, "no-plan", "no plan was found")
        .fact("stopped", answer.stop.name())
        .hint(format!("{more}{or}"))
}
