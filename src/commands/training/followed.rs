//! A search over training runs as people follow it: better plans are published as they come, and it
//! ends in time, whatever it does.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ir::diagnostic::Diagnostic;
use ir::plan::Plan;
use ir::units::Nanos;
use planner::run::watch::Watch;
use planner::run::{Bound, Event, Heard, Line, Standing, StopReason, TracePoint};

use crate::cli::PlanArgs;
use crate::commands::plan::interrupted;
use crate::commands::plot::{self, Unit};
use crate::printer::Printer;
use crate::publisher::Publisher;
use engine::exit::CommandResult;
use engine::training::export;
use engine::training::nothing_fits::too_early;
use engine::training::searched::Better;
use engine::training::setting::Setting;

/// What is known at the end.
pub(super) struct Followed<T, P> {
    /// What the search found; `None` where it did not end in time.
    pub(super) done: Option<T>,
    /// The last plan that it told of.
    pub(super) last: Option<Arc<Better<P>>>,
    /// How plan and bound moved.
    pub(super) trace: Vec<TracePoint>,
}

impl<T, P> Followed<T, P> {
    /// Takes note of the end.
    pub(super) fn ended(&mut self, (step, bound): (Nanos, Nanos)) {
        let elapsed = self.trace.last().map_or(Duration::ZERO, |point| point.elapsed);
        self.trace.push(TracePoint { elapsed, value: Some(step), bound: Some(bound) });
    }
}

/// Why a search ended that was left alone.
pub(super) fn stopped(watch: &Watch) -> StopReason {
    if watch.is_cancelled() { StopReason::Cancelled } else { StopReason::Deadline }
}

/// The end of a search that found no plan: it was stopped, or nothing fits.
///
/// # Errors
/// `no-plan` where it was stopped before it was done, and those of `nothing_fits`.
pub(super) fn none(
    (stop, n_judged): (StopReason, u64),
    printer: &Printer,
    nothing_fits: impl FnOnce() -> CommandResult,
) -> CommandResult {
    match stop {
        StopReason::Cancelled => Ok(interrupted(printer)),
        stop if stop.is_complete() => nothing_fits(),
        stop => Err(too_early(stop, n_judged)),
    }
}

/// Writes down what a search tells of.
type Document<'d, P> = dyn Fn(&Better<P>) -> Result<Vec<u8>, Diagnostic> + 'd;

/// Runs a search by its name, and publishes what it tells of, as documents.
pub(super) fn follow<T: Send + 'static, P: Send + Sync + 'static>(
    (algorithm, args): (&'static str, &PlanArgs),
    watch: &Watch,
    publisher: &mut Publisher<'_>,
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
        publisher.hear(event, ("step-time", &shown), |_, _, _, better| document(better));
    };
    let limits = args.limits.request().within(watch, None);
    let (heard, ended) = Heard::from(watch, &limits, search, &mut observe);
    publisher.rest();
    let mut trace = heard.trace;
    trace.retain(|point| point.value.is_some());
    Followed { done: ended.done(), last: heard.best.map(|best| best.solution), trace }
}

/// A plan with what made it and its bound.
pub(super) type Made<'p> = (&'p Plan, (&'p str, Nanos));

/// All files of a run but the plan, and what they can't say.
pub(super) type Others = Result<(Vec<(PathBuf, Vec<u8>)>, Vec<Diagnostic>), Diagnostic>;

/// The files that a run is to write beside its plan.
///
/// # Errors
/// Those of [`export::exported`].
pub(super) fn others(
    args: &PlanArgs,
    setting: &Setting,
    (plan, made): Made<'_>,
    (exports, trace): (&[(&str, PathBuf)], &[TracePoint]),
) -> Others {
    let (mut files, mut warnings) = (Vec::new(), Vec::new());
    for (target, path) in exports {
        let export = export::exported(target, setting, plan, made)?;
        files.push((path.clone(), export.bytes));
        warnings.extend(export.warnings);
    }
    if let Some(path) = &args.plot {
        files.push((path.clone(), plot::svg(&setting.model.name, "step time", Unit::Time, trace)));
    }
    Ok((files, warnings))
}

/// Writes the plan and all other files of a run; their names.
///
/// # Errors
/// Those of [`others`] and of writing; the plan itself is kept.
pub(super) fn write(
    (args, exports): (&PlanArgs, &[(&str, PathBuf)]),
    publisher: &mut Publisher<'_>,
    document: String,
    others: Others,
) -> Result<Vec<PathBuf>, Diagnostic> {
    let bytes = document.into_bytes();
    let written = others.and_then(|(files, _)| {
        publisher.last(bytes.clone(), &files)?;
        Ok(files)
    });
    let files = written.map_err(|error| {
        let near = args.output.as_ref().or(exports.first().map(|(_, path)| path));
        publisher.kept(near.or(args.plot.as_ref()), &bytes, error)
    })?;
    Ok(args.output.iter().cloned().chain(files.into_iter().map(|(path, _)| path)).collect())
}
