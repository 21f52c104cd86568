//! A plan of single ops.

use std::time::{Duration, Instant};

use cost_model::ops::problem::Problem;
use exporters::Source;
use ir::diagnostic::Diagnostic;
use planner::placement::auto::DEFAULT_TIME;
use planner::registry;
use planner::run::watch::Tell;
use planner::run::{Event, Outcome, Request, solve};

use super::plot::{self, Unit};
use super::{Run, interrupted, late, tell};
use crate::executor;
use crate::exit::{CommandResult, Exit};
use crate::follow::{File, Follower, PLOT, Watch};
use crate::load::{self, Loaded};
use crate::ops::found::{self, Found};
use crate::ops::outcome::{self, Solved};
use crate::ops::trust::Trust;
use crate::ops::{export, narrower};
use crate::request::{AUTO, PlanRequest};
use crate::rows::Rows;

pub(super) fn plan(request: &PlanRequest, run: &mut Run<'_>) -> CommandResult {
    request.exports.iter().try_for_each(|target| export::check_target(target))?;
    let recipe = registry::recipe(request.recipe())?;
    let opened = Instant::now();
    let Some(loaded) = read(request, run.watch)? else { return Ok(interrupted(run.page)) };
    for target in &request.exports {
        executor::check_batches(target, &loaded.problem.workload)?;
    }
    let limits = request.limits.within(run.watch, usual_time(request, run.start));
    let asked = Request { recipe, limits };
    let (start, read) = (Instant::now(), opened.elapsed());
    let mut observe = |event: &Event<Problem>| publish(run.follower, &loaded, event);
    let solved = solve(loaded.problem.clone(), &asked, &mut observe);
    run.follower.searched();
    match solved {
        Ok(mut outcome) => {
            outcome.warnings.iter_mut().for_each(|warning| name_limit(request, warning));
            let solved = finished(request, &loaded, &outcome, (start, run))?;
            outcome::print(&loaded, &outcome, &solved, run.page)?;
            Ok(Exit::DONE)
        }
        Err(_) if run.watch.is_cancelled() => Ok(interrupted(run.page)),
        Err(mut none) => {
            name_limit(request, &mut none.diagnostic);
            none.diagnostic.hints.extend(outcome::other_way(&loaded.problem));
            let narrower = narrower::hint(request, &loaded, &asked.limits, &none, (start, read));
            none.diagnostic.hints.extend(narrower);
            Ok(outcome::print_failure(&none, &loaded.warnings, run.page))
        }
    }
}

/// The problem; `None` where someone interrupted its reading.
fn read(request: &PlanRequest, watch: &Watch) -> Result<Option<Loaded>, Diagnostic> {
    let own = request.clone();
    let read = move |_: Tell<()>| {
        load::problem(&own.model, &own.problem, own.objective.unwrap_or_default(), own.executor)
    };
    let strict = Watch { after: Duration::ZERO, ..watch.clone() };
    match strict.run(read, &mut |()| {}).done().transpose()? {
        _ if watch.is_cancelled() => Ok(None),
        Some(loaded) => Ok(Some(loaded)),
        None => Err(late()),
    }
}

/// The plan document, and all files kept.
fn finished(
    request: &PlanRequest,
    loaded: &Loaded,
    outcome: &Outcome,
    (start, run): (Instant, &mut Run<'_>),
) -> Result<Solved, Diagnostic> {
    let elapsed = start.elapsed();
    let trust = Trust::of(&loaded.problem, &outcome.plan, &outcome.timeline);
    let found = Found {
        algorithm: &outcome.algorithm,
        plan: &outcome.plan,
        timeline: &outcome.timeline,
        value: outcome.value,
        bound: outcome.bound.into(),
    };
    let plan = found::document(loaded, &found, &trust);
    let mut warnings = Vec::new();
    let files = files(request, loaded, outcome, &mut warnings);
    let written = run.follower.planned(found::bytes(&plan)?, files)?;
    Ok(Solved {
        plan,
        trust,
        elapsed,
        warnings,
        named: request.problem.model.dtype,
        rows: Rows::of(request.all),
        version: run.version,
        written,
    })
}

/// The time of a run that was given no limit, counted from its first byte; what reads a model for
/// long has some left all the same.
fn usual_time(request: &PlanRequest, start: Instant) -> Option<Duration> {
    const LEAST: Duration = Duration::from_secs(5);
    let limits = &request.limits;
    let is_given = limits.time_limit.is_some() || limits.node_budget.is_some();
    let is_free = request.recipe() != AUTO || is_given || limits.deterministic;
    (!is_free).then(|| DEFAULT_TIME.saturating_sub(start.elapsed()).max(LEAST))
}

/// Takes an event of the run to whoever follows it.
fn publish(follower: &mut dyn Follower, loaded: &Loaded, event: &Event<Problem>) {
    let objective = loaded.problem.objective.name();
    let shown = |value: ir::units::Nanos| value.to_string();
    tell(follower, event, (objective, &shown), |algorithm, value, bound, own| {
        let (plan, timeline) = (&own.plan, &own.timeline);
        let trust = Trust::of(&loaded.problem, plan, timeline);
        let found = Found { algorithm, plan, timeline, value, bound: bound.into() };
        found::bytes(&found::document(loaded, &found, &trust))
    });
}

/// All files of a run but the plan, the picture of the search last; `warnings` takes what the
/// formats can't say.
fn files(
    request: &PlanRequest,
    loaded: &Loaded,
    outcome: &Outcome,
    warnings: &mut Vec<Diagnostic>,
) -> Result<Vec<File>, Diagnostic> {
    let mut files = Vec::new();
    let source = Source {
        problem: &loaded.problem,
        plan: &outcome.plan,
        timeline: &outcome.timeline,
        report: &outcome.report,
    };
    for target in &request.exports {
        let export = export::exported(target, &source)?;
        files.push(File { target: target.clone(), bytes: export.bytes });
        warnings.extend(export.warnings);
    }
    if request.plot {
        let objective = loaded.problem.objective.label();
        let name = &loaded.problem.graph.name;
        let bytes = plot::svg(name, objective, Unit::Time, &outcome.trace);
        files.push(File { target: PLOT.to_owned(), bytes });
    }
    Ok(files)
}

/// Hints that name the limit which was set.
fn name_limit(request: &PlanRequest, diagnostic: &mut Diagnostic) {
    let limit = match (request.limits.node_budget, request.limits.time_limit) {
        (Some(_), None) => "the node budget",
        (Some(_), Some(_)) => "the node budget or the time limit",
        (None, _) => return,
    };
    for hint in &mut diagnostic.hints {
        *hint = hint.replace("the time limit", limit);
    }
}
