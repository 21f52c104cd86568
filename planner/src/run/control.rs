//! What all parts of one run share: limits, the way to stop, and the line to the watcher.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use cost_model::ops::bound::Bound;
use cost_model::ops::judge::replay::Timeline;
use ir::diagnostic::Diagnostic;
use ir::plan::Plan;
use ir::units::Nanos;

use super::{Attempt, Event, Request, StopReason};
use crate::no_plan::NoPlan;

/// A verified plan on its way to the watcher.
pub(super) struct Incumbent {
    pub(super) algorithm: String,
    pub(super) plan: Arc<Plan>,
    pub(super) value: Nanos,
    pub(super) timeline: Arc<Timeline>,
    pub(super) elapsed: Duration,
    /// How many there were up to this one.
    pub(super) number: u64,
}

/// What the worker tells the watcher.
pub(super) enum Message {
    Event(Event),
    Incumbent(Box<Incumbent>),
    /// The plan that is returned in place of the best one.
    Settled(Box<Incumbent>),
    /// Why there is no plan, while ways out are looked for.
    Failure(Box<NoPlan>),
    Bound(Bound, Duration),
    Attempt(Box<Attempt>),
    Warning(Diagnostic),
    Done(Result<(), NoPlan>),
}

/// Shared by watcher, worker and all rows of a run.
pub(super) struct Control {
    pub(super) started: Instant,
    pub(super) deadline: Option<Instant>,
    pub(super) nodes: Option<u64>,
    pub(super) seed: u64,
    pub(super) threads: usize,
    pub(super) deterministic: bool,
    pub(super) is_usual_time: bool,
    spent: AtomicU64,
    /// Best lower bound in nanoseconds.
    bound: AtomicU64,
    /// Step time of the best plan in nanoseconds.
    value: AtomicU64,
    gap: f64,
    /// Verified plans on their way, and those that have arrived.
    n_incumbents: AtomicU64,
    cancel: Arc<AtomicBool>,
    /// The watcher has answered; nobody listens any more.
    pub(super) abandoned: AtomicBool,
    stopped: Mutex<Option<StopReason>>,
    sender: mpsc::Sender<Message>,
}

impl Control {
    pub(super) fn new(request: &Request, sender: mpsc::Sender<Message>) -> Self {
        let started = Instant::now();
        Self {
            started,
            deadline: request.budget.time.and_then(|time| started.checked_add(time)),
            nodes: request.budget.nodes.or(request.deterministic.then_some(super::DEFAULT_NODES)),
            seed: request.seed,
            threads: super::threads(request.threads),
            deterministic: request.deterministic,
            is_usual_time: request.is_usual_time,
            spent: AtomicU64::new(0),
            bound: AtomicU64::new(0),
            value: AtomicU64::new(u64::MAX),
            gap: request.gap,
            n_incumbents: AtomicU64::new(0),
            cancel: Arc::clone(&request.cancel),
            abandoned: AtomicBool::new(false),
            stopped: Mutex::new(None),
            sender,
        }
    }

    pub(super) fn send(&self, message: Message) {
        // Fails only if the watcher has answered already.
        let _ = self.sender.send(message);
    }

    pub(super) fn raise_bound(&self, bound: Nanos) {
        self.bound.fetch_max(bound.get(), Ordering::Relaxed);
    }

    pub(super) fn bound(&self) -> Nanos {
        Nanos(self.bound.load(Ordering::Relaxed))
    }

    pub(super) fn lower_value(&self, value: Nanos) {
        self.value.fetch_min(value.get(), Ordering::Relaxed);
    }

    /// The number of the next incumbent.
    pub(super) fn next_incumbent(&self) -> u64 {
        self.n_incumbents.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Whether no better plan is on its way already.
    pub(super) fn is_latest(&self, incumbent: &Incumbent) -> bool {
        self.n_incumbents.load(Ordering::Relaxed) == incumbent.number
    }

    fn is_within_gap(&self) -> bool {
        self.gap > 0.0 && self.admits(Nanos(self.value.load(Ordering::Relaxed)))
    }

    /// Whether a plan of this value is as near to the bound as was asked for.
    pub(super) fn admits(&self, value: Nanos) -> bool {
        let bound = self.bound.load(Ordering::Relaxed) as f64;
        self.gap == 0.0 || value.as_f64() <= bound * (1.0 + self.gap)
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    pub(super) fn spend(&self, nodes: u64) {
        self.spent.fetch_add(nodes, Ordering::Relaxed);
    }

    pub(super) fn nodes_left(&self) -> Option<u64> {
        self.nodes.map(|nodes| nodes.saturating_sub(self.spent.load(Ordering::Relaxed)))
    }

    /// Why rows must stop now, if they must.
    pub(super) fn stop_reason(&self, deadline: Option<Instant>) -> Option<StopReason> {
        let reason = if self.is_cancelled() || self.abandoned.load(Ordering::Relaxed) {
            Some(StopReason::Cancelled)
        } else if self.nodes_left() == Some(0) {
            Some(StopReason::NodeBudget)
        } else if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            Some(StopReason::Deadline)
        } else if self.is_within_gap() {
            Some(StopReason::GapReached)
        } else {
            None
        };
        if let Some(reason) = reason {
            self.note_stop(reason);
        }
        reason
    }

    /// Remembers the first reason why a row was stopped.
    pub(super) fn note_stop(&self, reason: StopReason) {
        if let Ok(mut stopped) = self.stopped.lock() {
            stopped.get_or_insert(reason);
        }
    }

    pub(super) fn noted_stop(&self) -> Option<StopReason> {
        self.stopped.lock().ok().and_then(|stopped| *stopped)
    }
}
