//! What surrounds every run of `plan`.

use std::time::{Duration, Instant};

use documents::plan::PlanDocument;
use documents::report::TracePointDocument;
use ir::diagnostic::{Blame, Diagnostic};
use ir::units::Nanos;
use planner::placement::auto::DEFAULT_TIME;
use planner::run::watch::Tell;
use planner::run::{Bound, Case, Event, TracePoint};

use crate::answer::escape;
use crate::answer::exit::Exit;
use crate::answer::follow::{Follower, Incumbent, Watch};
use crate::answer::page::Page;
use crate::request::{AUTO, PlanRequest};

/// Around a run: what ends it, who follows it, and where its answer goes.
pub struct Run<'r> {
    /// When it began.
    pub start: Instant,
    /// Ends it early.
    pub watch: &'r Watch,
    /// Follows it.
    pub follower: &'r mut dyn Follower,
    /// Takes the answer.
    pub page: &'r Page,
    /// The version of the program, for the answer.
    pub version: &'static str,
    /// Whether the run plans one candidate of a search over device sets.
    pub(crate) is_tried: bool,
}

/// The time of a run that was given no limit, counted from its first byte; what reads a model for
/// long has some left all the same.
pub(crate) fn usual_time(request: &PlanRequest, start: Instant) -> Option<Duration> {
    const LEAST: Duration = Duration::from_secs(5);
    let limits = &request.limits;
    let is_given = limits.time_limit.is_some() || limits.node_budget.is_some();
    let is_free = request.recipe() != AUTO || is_given || limits.deterministic;
    (!is_free).then(|| DEFAULT_TIME.saturating_sub(start.elapsed()).max(LEAST))
}

impl<'r> Run<'r> {
    /// A run that began at a moment and is watched.
    #[must_use]
    pub fn new(
        (start, watch): (Instant, &'r Watch),
        follower: &'r mut dyn Follower,
        page: &'r Page,
        version: &'static str,
    ) -> Self {
        Self { start, watch, follower, page, version, is_tried: false }
    }
}

impl Run<'_> {
    /// Reads something for a request while it is watched; `None` where someone interrupted it.
    ///
    /// # Errors
    /// Those of reading; `deadline` where the time does not suffice.
    pub(crate) fn read<T: Send + 'static>(
        &self,
        request: &PlanRequest,
        read: impl FnOnce(&PlanRequest) -> Result<T, Diagnostic> + Send + 'static,
    ) -> Result<Option<T>, Diagnostic> {
        let request = request.clone();
        match self.watch.run(move |_: Tell<()>| read(&request), &mut |()| {}).done().transpose()? {
            _ if self.watch.is_cancelled() => Ok(None),
            Some(read) => Ok(Some(read)),
            None => Err(late()),
        }
    }

    /// What ends its search over degrees: its own watch, or the usual time where it has no limit.
    pub(crate) fn ending(&self, request: &PlanRequest) -> Watch {
        let usual = || Instant::now().checked_add(usual_time(request, self.start)?);
        Watch { end: self.watch.end.or_else(usual), ..self.watch.clone() }
    }
}

pub(crate) fn late() -> Diagnostic {
    let message = "the time limit passed while model and cluster were read";
    Diagnostic::error(Blame::NotFound, "deadline", message).hint("raise --time-limit")
}

pub(crate) fn interrupted(page: &Page) -> Exit {
    let message = "interrupted before there was a plan";
    let diagnostic = Diagnostic::error(Blame::NotFound, "interrupted", message)
        .hint("a later Ctrl-C keeps the best plan so far");
    page.failure(&diagnostic, Exit::INTERRUPTED.0);
    Exit::INTERRUPTED
}

/// What is minimised, and how people read its values.
pub(crate) type Measure<'a> = (&'static str, &'a dyn Fn(Nanos) -> String);

/// Takes an event of a run to its follower; `document` writes a solution down.
pub(crate) fn tell<C: Case>(
    follower: &mut dyn Follower,
    event: &Event<C>,
    (objective, shown): Measure<'_>,
    document: impl Fn(&str, Nanos, Bound, &C::Solution) -> Result<Vec<u8>, Diagnostic>,
) {
    match event {
        Event::Started { algorithm } => follower.started(algorithm),
        Event::Bound { bound, elapsed } => follower.bound(bound.value, bound.method, *elapsed),
        Event::Incumbent { algorithm, value, bound, solution, elapsed } => {
            follower.incumbent(&Incumbent {
                algorithm,
                objective,
                value: *value,
                bound: bound.value,
                shown,
                elapsed: *elapsed,
                document: &|| document(algorithm, *value, *bound, solution),
            });
        }
    }
}

/// A search over time.
pub fn trace(points: &[TracePoint]) -> Vec<TracePointDocument> {
    let point = |point: &TracePoint| TracePointDocument {
        elapsed_s: point.elapsed.as_secs_f64(),
        value_ns: point.value.map(Nanos::get),
        bound_ns: point.bound.map(Nanos::get),
    };
    points.iter().map(point).collect()
}

/// The document as bytes of a file.
///
/// # Errors
/// `internal` where it has no JSON form, which none is without.
pub(crate) fn bytes(plan: &PlanDocument) -> Result<Vec<u8>, Diagnostic> {
    Ok(escape::json(plan.to_json()?).into_bytes())
}
