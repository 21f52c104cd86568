//! A plan of single ops.

use std::time::{Duration, Instant};

use cost_model::ops::problem::Problem;
use exporters::Source;
use ir::diagnostic::{Blame, Diagnostic};
use ir::id::DeviceId;
use ir::units::Nanos;
use planner::no_plan::NoPlan;
use planner::registry;
use planner::run::watch::Tell;
use planner::run::{Bound, Event, Outcome, Request, gap};

use super::in_words;
use crate::answer::beside::Beside;
use crate::answer::exit::{CommandResult, Exit};
use crate::answer::follow::{File, Follower, PLOT, Watch};
use crate::inputs::assumed;
use crate::inputs::load::{self, Loaded};
use crate::kinds::frame;
use crate::kinds::placement::found::{self, Found};
use crate::kinds::placement::outcome::{self, Solved};
use crate::kinds::placement::trust::Trust;
use crate::kinds::placement::{export, narrower, runnable};
use crate::request::PlanRequest;
use crate::request::executor::{self, Executor};
use crate::search::plot::{self, Unit};
use crate::search::run::{Run, interrupted, late, tell, usual_time};

pub(crate) fn plan(request: &PlanRequest, run: &mut Run<'_>) -> CommandResult {
    registry::recipe(request.recipe())?;
    let by_default = runnable::by_default(request);
    if let Some(searched) = by_default.as_ref().and_then(|request| {
        // What the launcher can't run is planned for none.
        let searched = searched(request, run).ok()?;
        searched.filter(|searched| searched.result.is_ok() || run.watch.is_cancelled())
    }) {
        let searched = Searched { is_default: true, ..searched };
        return searched.answer(by_default.as_ref().unwrap_or(request), None, run);
    }
    match searched(request, run)? {
        Some(searched) => searched.answer(request, None, run),
        None => Ok(interrupted(run.page)),
    }
}

/// Reads and searches; `None` where someone interrupted the reading.
fn searched(request: &PlanRequest, run: &mut Run<'_>) -> Result<Option<Searched>, Diagnostic> {
    let recipe = registry::recipe(request.recipe())?;
    let Some(opened) = read(request, run.watch)? else { return Ok(None) };
    let limits = request.limits.within(run.watch, usual_time(request, run.start));
    Ok(Some(search(opened, Request { recipe, limits }, Nanos(u64::MAX), (request, run))))
}

/// A problem, and how long it took to read.
pub(crate) struct Opened {
    loaded: Loaded,
    took: Duration,
}

impl Opened {
    /// What follows from the problem alone: no plan is below it.
    pub(crate) fn bound(&self) -> Nanos {
        (cost_model::ops::objective::row(self.loaded.problem.objective).bound)(&self.loaded.problem)
            .value
    }
}

impl Opened {
    /// What a step takes on one device of the first kind, were there memory for all of it.
    pub(crate) fn on_one_device(&self) -> Nanos {
        let problem = &self.loaded.problem;
        let times = problem.actions.iter().map(|op| problem.time_ns(*op, DeviceId(0)));
        Nanos(times.fold(0, u64::saturating_add))
    }

    /// Samples in the model at once, where not all are.
    pub(crate) fn micro_batch(&self) -> Option<u64> {
        self.loaded.problem.workload.micro_batch
    }
}

/// A search that has ended.
pub(crate) struct Searched {
    loaded: Loaded,
    asked: Request,
    result: Result<Outcome, NoPlan>,
    start: Instant,
    read: Duration,
    elapsed: Duration,
    /// Whether nobody named the launcher that the plan is for.
    is_default: bool,
}

/// Searches; what is told of on the way states no bound above `most`.
pub(crate) fn search(
    Opened { loaded, took: read }: Opened,
    search: Request,
    most: Nanos,
    (request, run): (&PlanRequest, &mut Run<'_>),
) -> Searched {
    let start = Instant::now();
    let mut observe = |event: &Event<Problem>| publish(run.follower, &loaded, most, event);
    let mut result = in_words::solved(&loaded, &search, request, &mut observe);
    run.follower.searched();
    match &mut result {
        Ok(outcome) => outcome.warnings.iter_mut().for_each(|warning| name_limit(request, warning)),
        Err(none) => name_limit(request, &mut none.diagnostic),
    }
    let elapsed = start.elapsed();
    Searched { loaded, asked: search, result, start, read, elapsed, is_default: false }
}

impl Searched {
    /// Value of the best plan, where there is one.
    pub(crate) fn best(&self) -> Option<Nanos> {
        self.result.as_ref().ok().map(|outcome| outcome.value)
    }

    /// Whether the search ended before it was known that there is no plan.
    pub(crate) fn is_open(&self) -> bool {
        self.result.as_ref().is_err_and(|none| none.diagnostic.blame == Blame::NotFound)
    }

    /// What no plan is below, where there is a plan.
    pub(crate) fn bound(&self) -> Option<Nanos> {
        self.result.as_ref().ok().map(|outcome| outcome.bound.value)
    }

    /// The answer, with what is known of degrees of parallelism.
    ///
    /// # Errors
    /// Those of keeping.
    pub(crate) fn answer(
        self,
        request: &PlanRequest,
        beside: Option<Beside>,
        run: &mut Run<'_>,
    ) -> CommandResult {
        let Self { loaded, asked: search, result, start, read, elapsed, is_default } = self;
        match result {
            Ok(mut outcome) => {
                if let Some(beside) = &beside {
                    let joint = beside.joint(outcome.bound.value);
                    (outcome.gap, outcome.bound.value) = (gap(outcome.value, joint), joint);
                }
                let solved = finished(request, (&loaded, &outcome), (elapsed, beside), run)?;
                let solved = Solved { is_default, ..solved };
                outcome::print(&loaded, &outcome, &solved, run.page)?;
                Ok(Exit::DONE)
            }
            Err(_) if run.watch.is_cancelled() => Ok(interrupted(run.page)),
            Err(mut none) => {
                if beside.is_none() {
                    none.diagnostic.hints.extend(outcome::other_way(&loaded.problem));
                }
                let at = (start, read);
                let narrower = narrower::hint(request, &loaded, &search.limits, &none, at);
                none.diagnostic.loosened("dtype", narrower, false);
                none.diagnostic = assumed::unproved(request, none.diagnostic);
                Ok(outcome::print_failure(&none, &loaded.warnings, (request.all, run.page)))
            }
        }
    }
}

/// The problem; `None` where someone interrupted its reading.
pub(crate) fn read(request: &PlanRequest, watch: &Watch) -> Result<Option<Opened>, Diagnostic> {
    let (start, request) = (Instant::now(), request.clone());
    let read = move |_: Tell<()>| {
        let objective = request.objective.unwrap_or_default();
        let loaded = load::problem(&request.model, &request.problem, objective, request.executor)?;
        let workload = &loaded.problem.workload;
        request.exports.iter().try_for_each(|target| executor::check_workload(target, workload))?;
        executor::check_pipeline_only(
            &targets(&request),
            &loaded.problem.cluster,
            request.pipeline_only,
        )?;
        Ok(loaded)
    };
    let strict = Watch { after: Duration::ZERO, ..watch.clone() };
    match strict.run(read, &mut |()| {}).done().transpose()? {
        _ if watch.is_cancelled() => Ok(None),
        Some(loaded) => Ok(Some(Opened { loaded, took: start.elapsed() })),
        None => Err(late()),
    }
}

/// What the plan is made for.
fn targets(request: &PlanRequest) -> Vec<&str> {
    let executor = request.executor.map(Executor::target).into_iter();
    executor.chain(request.exports.iter().map(String::as_str)).collect()
}

/// The plan document, and all files kept.
fn finished(
    request: &PlanRequest,
    (loaded, outcome): (&Loaded, &Outcome),
    (elapsed, beside): (Duration, Option<Beside>),
    run: &mut Run<'_>,
) -> Result<Solved, Diagnostic> {
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
        left_out: executor::left_out(&targets(request)),
        named: request.problem.model.dtype,
        is_whole: request.all,
        on: request.on(),
        version: run.version,
        written,
        beside,
        is_default: false,
        exports: request.exports.clone(),
    })
}

/// Takes an event of the run to whoever follows it.
fn publish(follower: &mut dyn Follower, loaded: &Loaded, most: Nanos, event: &Event<Problem>) {
    let objective = loaded.problem.objective.name();
    let shown = |value: Nanos| value.to_string();
    tell(follower, event, (objective, &shown), |algorithm, value, bound, solution| {
        let (plan, timeline) = (&solution.plan, &solution.timeline);
        let trust = Trust::of(&loaded.problem, plan, timeline);
        let bound = Bound { value: bound.value.min(most), ..bound };
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
    let source = Source {
        problem: &loaded.problem,
        plan: &outcome.plan,
        timeline: &outcome.timeline,
        report: &outcome.report,
    };
    let export = |target: &str| export::exported(target, &source);
    let mut files = frame::exported(&request.exports, export, warnings)?;
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
