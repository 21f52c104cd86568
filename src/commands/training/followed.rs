//! A search over training runs as people follow it: better plans are published as they come, and it
//! ends in time, whatever it does.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use cost_model::runs::forms::model::Offload;
use ir::diagnostic::Diagnostic;
use ir::plan::Plan;
use ir::units::Nanos;
use planner::run::TracePoint;
use planner::training::search_3d::Stop;

use super::export;
use crate::cli::PlanArgs;
use crate::commands::plot::{self, Unit};
use crate::publisher::{Incumbent, Publisher};
use crate::watch::{self, Watch};
use engine::training::setting::Setting;

/// A plan that is the best so far.
pub(super) struct Better<P> {
    pub(super) plan: P,
    pub(super) step: Nanos,
    pub(super) bound: Nanos,
    /// What hosts keep under it.
    pub(super) offload: Offload,
}

/// What is known at the end.
pub(super) struct Followed<T, P> {
    /// What the search found; `None` where it did not end in time.
    pub(super) done: Option<T>,
    /// The last plan that it told of.
    pub(super) last: Option<Better<P>>,
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
pub(super) fn stopped(watch: &Watch) -> Stop {
    if watch.is_cancelled() { Stop::Cancelled } else { Stop::Deadline }
}

/// Writes down what a search tells of.
type Document<'d, P> = dyn Fn(&Better<P>) -> Result<Vec<u8>, Diagnostic> + 'd;

/// Runs a search by its name, and publishes what it tells of, as documents.
pub(super) fn follow<T: Send + 'static, P: Send + 'static>(
    (algorithm, args): (&'static str, &PlanArgs),
    watch: &Watch,
    publisher: &mut Publisher<'_>,
    work: impl FnOnce(&dyn Fn(Better<P>)) -> T + Send + 'static,
    document: &Document<'_, P>,
) -> Followed<T, P> {
    let started = Instant::now();
    let mut followed = Followed { done: None, last: None, trace: Vec::new() };
    publisher.started(algorithm);
    let mut take = |better: Better<P>| {
        let elapsed = started.elapsed();
        let Better { step: value, bound, .. } = better;
        let shown = &|value: Nanos| value.to_string();
        let found = Incumbent { algorithm, objective: "step-time", value, shown, bound, elapsed };
        publisher.publish(&found, || document(&better));
        followed.trace.push(TracePoint { elapsed, value: Some(value), bound: Some(bound) });
        followed.last = Some(better);
    };
    let after = watch::after(args.limits.time_limit);
    followed.done = watch.run(after, work, &mut take);
    publisher.rest();
    let end = followed.trace.last().map(|last| TracePoint { elapsed: started.elapsed(), ..*last });
    followed.trace.extend(end);
    followed
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
