//! A search over training runs as people follow it: better plans are published as they come, and it
//! ends in time, whatever it does.

use std::sync::Arc;
use std::time::Duration;

use documents::plan::PlanDocument;
use ir::diagnostic::Diagnostic;
use ir::plan::Plan;
use ir::units::Nanos;
use planner::run::{Bound, Event, Heard, Line, Standing, StopReason, TracePoint};

use crate::answer::exit::CommandResult;
use crate::answer::follow::{File, Files, PLOT, Watch};
use crate::answer::nothing_fits::too_early;
use crate::answer::page::Page;
use crate::inputs::run::setting::Setting;
use crate::kinds::frame;
use crate::kinds::training::export;
use crate::kinds::training::searched::Better;
use crate::request::PlanRequest;
use crate::request::executor::Executor;
use crate::search::plot::{self, Unit};
use crate::search::run::bytes;
use crate::search::run::{Run, interrupted, tell};

/// What is known at the end.
pub(crate) struct Followed<T, P> {
    /// What the search found; `None` where it did not end in time.
    pub(crate) done: Option<T>,
    /// The last plan that it told of.
    pub(crate) last: Option<Arc<Better<P>>>,
    /// How plan and bound moved.
    pub(crate) trace: Vec<TracePoint>,
}

impl<T, P> Followed<T, P> {
    /// What the search found, or what is known of the last plan that it told of; `None` where someone
    /// interrupted it before there was one.
    ///
    /// # Errors
    /// `no-plan` where the time ended before there was one.
    pub(crate) fn settled(
        &mut self,
        watch: &Watch,
        cut_short: impl FnOnce(&Better<P>, StopReason) -> T,
    ) -> Result<Option<T>, Diagnostic> {
        let stop = if watch.is_cancelled() { StopReason::Cancelled } else { StopReason::Deadline };
        match (self.done.take(), &self.last) {
            (Some(done), _) => Ok(Some(done)),
            (None, Some(better)) => Ok(Some(cut_short(better, stop))),
            (None, None) if watch.is_cancelled() => Ok(None),
            (None, None) => Err(too_early(stop, 0)),
        }
    }

    /// Takes note of the end.
    pub(crate) fn ended(&mut self, (step, bound): (Nanos, Nanos)) {
        let elapsed = self.trace.last().map_or(Duration::ZERO, |point| point.elapsed);
        self.trace.push(TracePoint { elapsed, value: Some(step), bound: Some(bound) });
    }
}

/// The end of a search that found no plan: it was stopped, or nothing fits.
///
/// # Errors
/// `no-plan` where it was stopped before it was done, and those of `nothing_fits`.
pub(crate) fn none(
    (stop, n_judged): (StopReason, u64),
    page: &Page,
    nothing_fits: impl FnOnce() -> CommandResult,
) -> CommandResult {
    match stop {
        StopReason::Cancelled => Ok(interrupted(page)),
        stop if stop.is_complete() => nothing_fits(),
        stop => Err(too_early(stop, n_judged)),
    }
}

/// Writes down what a search tells of.
type Document<'d, P> = dyn Fn(&Better<P>) -> Result<PlanDocument, Diagnostic> + 'd;

/// Runs a search by its name, and tells of what it finds, as documents.
pub(crate) fn follow<T: Send + 'static, P: Send + Sync + 'static>(
    (algorithm, request): (&'static str, &PlanRequest),
    run: &mut Run<'_>,
    work: impl FnOnce(&dyn Fn(Better<P>)) -> T + Send + 'static,
    document: &Document<'_, P>,
) -> Followed<T, P> {
    let search = move |line: Line<Better<P>>| {
        line.started(algorithm);
        work(&|better| {
            let (value, standing) = (better.bound, Standing::Derived);
            line.bound(Bound { value, method: algorithm, standing });
            line.incumbent(algorithm, better.step, better);
        })
    };
    let mut observe = |event: &Event<Better<P>>| {
        let shown = |value: Nanos| value.to_string();
        tell(run.follower, event, ("step-time", &shown), |_, _, _, better| {
            bytes(&document(better)?)
        });
    };
    let limits = request.limits.within(run.watch, None);
    let (heard, ended) = Heard::from(run.watch, &limits, search, &mut observe);
    run.follower.searched();
    let mut trace = heard.trace;
    trace.retain(|point| point.value.is_some());
    Followed { done: ended.done(), last: heard.best.map(|best| best.solution), trace }
}

/// A plan with what made it and its bound.
pub(crate) type Made<'p> = (&'p Plan, (&'p str, Nanos));

/// The files that a run is asked for beside its plan; what they can't say becomes warnings.
///
/// # Errors
/// Those of [`export::exported`].
pub(crate) fn files(
    request: &PlanRequest,
    setting: &mut Setting,
    (plan, made): Made<'_>,
    trace: &[TracePoint],
) -> Files {
    // A plan for an executor is one that it can be told.
    if let Some(executor) = request.executor.filter(|executor| *executor != Executor::ANY) {
        export::exported(&executor.text(), setting, plan, made)?;
    }
    let mut warnings = Vec::new();
    let export = |target: &str| export::exported(target, setting, plan, made);
    let mut files = frame::exported(&request.exports, export, &mut warnings)?;
    setting.warnings.extend(warnings);
    if request.plot {
        let bytes = plot::svg(&setting.model.name, "step time", Unit::Time, trace);
        files.push(File { target: PLOT.to_owned(), bytes });
    }
    Ok(files)
}
