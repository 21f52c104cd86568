//! The search on an instance, which ends in time whatever its methods do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cost_model::given::{Goal, row};
use ir::diagnostic::{Blame, Diagnostic};
use ir::instance::Instance;
use ir::units::Nanos;
use planner::given::runner::{
    Answer, Bound, Event, Request, Solution, simple_bound, solve_observed,
};
use planner::run::{StopReason, TracePoint};

use crate::publisher::{Incumbent, Publisher};
use crate::watch::{self, Watch};

use super::document;

/// Nodes from which a plan takes long to write: then not every better one is published.
const MANY_NODES: usize = 10_000;
/// So many times as long as a plan took to write, none is written.
const REST: u32 = 20;

/// What is solved.
pub(super) struct Question {
    pub(super) instance: Arc<Instance>,
    pub(super) goal: Goal,
    pub(super) algorithm: String,
    pub(super) request: Request,
}

/// An event of the run that outlives it.
enum Told {
    Started(&'static str),
    Better {
        algorithm: &'static str,
        solution: Solution,
        value: Nanos,
        bound: Bound,
        elapsed: Duration,
    },
    Bound(Bound),
}

impl From<&Event<'_>> for Told {
    fn from(event: &Event) -> Self {
        match *event {
            Event::Started { algorithm } => Self::Started(algorithm),
            Event::Bound(bound) => Self::Bound(bound),
            Event::Incumbent { algorithm, solution, value, bound, elapsed } => {
                Self::Better { algorithm, solution: solution.clone(), value, bound, elapsed }
            }
        }
    }
}

/// Solves the question and publishes what is found on the way.
///
/// # Errors
/// Those of `solve_observed`.
pub(super) fn solve(
    question: Question,
    watch: &Watch,
    limit: Option<Duration>,
    publisher: &mut Publisher,
) -> Result<Answer, Diagnostic> {
    let Question { instance, goal, algorithm, request } = question;
    let n_devices = request.n_devices;
    let mut known = Known::new(&instance, goal, n_devices);
    let own = Arc::clone(&instance);
    let work = move |tell: &dyn Fn(Told)| {
        let mut observe = |event: &Event| tell(Told::from(event));
        solve_observed(&own, goal, &algorithm, &request, &mut observe)
    };
    let done = watch.run(watch::after(limit), work, &mut |told| {
        known.take(told, &instance, goal, publisher);
    });
    publisher.rest();
    done.unwrap_or_else(|| Ok(known.answer(watch.is_cancelled())))
}

/// What a run has told.
struct Known {
    started: Instant,
    answer: Answer,
    /// When the last plan was written, and how long that took.
    written: Option<(Instant, Duration)>,
}

impl Known {
    fn new(instance: &Instance, goal: Goal, n_devices: usize) -> Self {
        let answer = Answer {
            best: None,
            bound: simple_bound(instance, goal, n_devices),
            certificate: None,
            is_proved: false,
            stop: StopReason::Deadline,
            algorithm: "auto",
            attempts: Vec::new(),
            trace: Vec::new(),
            elapsed: Duration::ZERO,
        };
        Self { started: Instant::now(), answer, written: None }
    }

    fn take(&mut self, told: Told, instance: &Instance, goal: Goal, publisher: &mut Publisher) {
        match told {
            Told::Started(algorithm) => publisher.started(algorithm),
            Told::Bound(bound) => self.answer.bound = bound,
            Told::Better { algorithm, solution, value, bound, elapsed } => {
                if self.is_time_to_write(instance) {
                    let now = Instant::now();
                    let incumbent = Incumbent {
                        algorithm,
                        objective: row(goal).name,
                        value,
                        shown: &|value| instance.unit().text(value),
                        bound: bound.value,
                        elapsed,
                    };
                    publisher.publish(&incumbent, || {
                        document::bytes(&document::document(
                            instance, goal, value, bound, &solution,
                        ))
                    });
                    self.written = Some((Instant::now(), now.elapsed()));
                }
                self.answer.algorithm = algorithm;
                self.answer.bound = bound;
                self.answer.best = Some((value, solution));
            }
        }
        self.answer.trace.push(TracePoint {
            elapsed: self.started.elapsed(),
            value: self.answer.best.as_ref().map(|(value, _)| *value),
            bound: Some(self.answer.bound.value),
        });
    }

    fn is_time_to_write(&self, instance: &Instance) -> bool {
        instance.n_nodes() < MANY_NODES
            || self.written.is_none_or(|(at, took)| at.elapsed() >= took.saturating_mul(REST))
    }

    /// The answer of a run that did not come to its end.
    fn answer(mut self, is_cancelled: bool) -> Answer {
        let bound = self.answer.bound.value;
        self.answer.is_proved = self.answer.best.as_ref().is_some_and(|(value, _)| *value <= bound);
        self.answer.stop = match is_cancelled {
            _ if self.answer.is_proved => StopReason::ProvedOptimal,
            true => StopReason::Cancelled,
            false => StopReason::Deadline,
        };
        self.answer.elapsed = self.started.elapsed();
        self.answer
    }
}

/// Why there is no plan.
pub(super) fn none(answer: &Answer) -> Diagnostic {
    if answer.is_proved {
        let message = "no plan fits into the memory of the devices";
        return Diagnostic::error(Blame::Infeasible, "infeasible", message)
            .fact("proof", "all plans were searched")
            .hint("give the devices more memory, or add devices");
    }
    Diagnostic::error(Blame::NotFound, "no-plan", "no plan was found")
        .fact("stopped", answer.stop.name())
        .hint("raise the time limit, or give the devices more memory")
}
