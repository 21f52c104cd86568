//! Limits of one run, and what it has used of them: shared by watcher, worker and all searches.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ir::units::Nanos;

use super::limits::{DEFAULT_NODES, Limits, StopReason};

/// Limits that count from its making.
#[derive(Debug)]
pub struct Control {
    started: Instant,
    deadline: Option<Instant>,
    limits: Limits,
    spent: AtomicU64,
    /// Best lower bound in nanoseconds.
    bound: AtomicU64,
    /// Value of the best solution in nanoseconds.
    value: AtomicU64,
    /// The watcher has answered; nobody listens any more.
    abandoned: AtomicBool,
    stopped: Mutex<Option<StopReason>>,
}

impl Default for Control {
    fn default() -> Self {
        Self::new(&Limits::default())
    }
}

impl Control {
    /// Nothing is used yet.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let started = Instant::now();
        let nodes = limits.nodes.or(limits.deterministic.then_some(DEFAULT_NODES));
        Self {
            started,
            deadline: limits.time.and_then(|time| started.checked_add(time)),
            limits: Limits { nodes, ..limits.clone() },
            spent: AtomicU64::new(0),
            bound: AtomicU64::new(0),
            value: AtomicU64::new(u64::MAX),
            abandoned: AtomicBool::new(false),
            stopped: Mutex::new(None),
        }
    }

    /// Limits of what comes first: a share of the time and of the nodes that are left.
    #[must_use]
    pub fn part(&self, share: f64) -> Self {
        // Where the clock decides nothing, it only cuts off.
        let time_share = if self.limits.deterministic { 1.0 } else { share };
        let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
        let time = self.deadline.map(|deadline| left(deadline).mul_f64(time_share));
        let nodes = self.nodes_left().map(|nodes| (nodes as f64 * share) as u64);
        Self::new(&Limits { time, nodes, ..self.limits.clone() })
    }

    /// What was asked for.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// When it must end.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Since its start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Threads that a search may use, at least 1.
    #[must_use]
    pub fn threads(&self) -> usize {
        match self.limits.threads {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            requested => requested,
        }
    }

    /// Takes note of the best bound; a wrong one may be taken back.
    pub fn set_bound(&self, bound: Nanos) {
        self.bound.store(bound.get(), Ordering::Relaxed);
    }

    /// The best bound.
    #[must_use]
    pub fn bound(&self) -> Nanos {
        Nanos(self.bound.load(Ordering::Relaxed))
    }

    /// Takes note of a solution's value.
    pub fn lower_value(&self, value: Nanos) {
        self.value.fetch_min(value.get(), Ordering::Relaxed);
    }

    /// Whether a solution of this value is as near to the bound as was asked for.
    #[must_use]
    pub fn admits(&self, value: Nanos) -> bool {
        let most = self.bound().as_f64() * (1.0 + self.limits.gap);
        self.limits.gap == 0.0 || value.as_f64() <= most
    }

    /// Whether the user wants it to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.limits.cancel.load(Ordering::Relaxed)
    }

    /// Nobody listens any more.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    /// Books nodes.
    pub fn spend(&self, nodes: u64) {
        self.spent.fetch_add(nodes, Ordering::Relaxed);
    }

    /// Nodes booked so far.
    #[must_use]
    pub fn spent(&self) -> u64 {
        self.spent.load(Ordering::Relaxed)
    }

    /// Nodes left; `None` without a budget.
    #[must_use]
    pub fn nodes_left(&self) -> Option<u64> {
        self.limits.nodes.map(|nodes| nodes.saturating_sub(self.spent()))
    }

    /// Why a search must stop now, if it must.
    #[must_use]
    pub fn stop(&self) -> Option<StopReason> {
        self.stop_at(self.deadline)
    }

    /// The same, for a search with a deadline of its own.
    pub(super) fn stop_at(&self, deadline: Option<Instant>) -> Option<StopReason> {
        let value = Nanos(self.value.load(Ordering::Relaxed));
        let reason = if self.is_cancelled() || self.abandoned.load(Ordering::Relaxed) {
            StopReason::Cancelled
        } else if self.nodes_left() == Some(0) {
            StopReason::NodeBudget
        } else if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            StopReason::Deadline
        } else if self.limits.gap > 0.0 && self.admits(value) {
            StopReason::GapReached
        } else {
            return None;
        };
        self.note_stop(reason);
        Some(reason)
    }

    /// Remembers the first reason why a search was stopped.
    pub(crate) fn note_stop(&self, reason: StopReason) {
        let mut stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        stopped.get_or_insert(reason);
    }

    /// The first reason why a search was stopped.
    #[must_use]
    pub fn noted_stop(&self) -> Option<StopReason> {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
