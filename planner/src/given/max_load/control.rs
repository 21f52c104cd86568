//! When a search must stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Labels, states and moves per second, for shares of a search whose clock is its work: about what
/// one core of 2026 does.
const NODES_PER_SECOND: f64 = 2e7;

/// Limits of one search, and what it has used of them.
#[derive(Clone, Debug)]
pub struct Control {
    start: Instant,
    deadline: Option<Instant>,
    nodes: Option<u64>,
    clock: Clock,
    cancel: Arc<AtomicBool>,
    spent: Arc<AtomicU64>,
}

/// What the shares of a search are measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clock {
    /// Time, or work where that is less.
    Any,
    /// Work alone: the deadline only cuts the search off.
    Work,
}

impl Control {
    /// Nothing is used yet. `nodes` are labels, states and moves to look at.
    #[must_use]
    pub fn new(deadline: Option<Instant>, nodes: Option<u64>, cancel: Arc<AtomicBool>) -> Self {
        Self {
            start: Instant::now(),
            deadline,
            nodes,
            clock: Clock::Any,
            cancel,
            spent: Arc::default(),
        }
    }

    /// The same search, whose choices never depend on time.
    #[must_use]
    pub fn by_work(self) -> Self {
        Self { clock: Clock::Work, ..self }
    }

    /// The same search with at most this much more time; counted in work where the search is.
    #[must_use]
    pub fn phase(&self, seconds: f64) -> Self {
        let mut phase = self.clone();
        match self.nodes {
            Some(nodes) => {
                let more = (seconds * NODES_PER_SECOND) as u64;
                phase.nodes = Some(nodes.min(self.spent().saturating_add(more)));
            }
            None => {
                let end = Instant::now() + Duration::from_secs_f64(seconds.clamp(0.0, 1e9));
                phase.deadline = Some(self.deadline.map_or(end, |deadline| deadline.min(end)));
            }
        }
        phase
    }

    /// Books work; false if the search must stop now.
    #[must_use]
    pub fn spend(&self, nodes: u64) -> bool {
        self.spent.fetch_add(nodes, Ordering::Relaxed);
        !self.is_over()
    }

    /// Whether the search must stop now.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
            || self.nodes.is_some_and(|nodes| self.spent() >= nodes)
            || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Work so far.
    #[must_use]
    pub fn spent(&self) -> u64 {
        self.spent.load(Ordering::Relaxed)
    }

    /// Seconds since the search began.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Seconds left, by the clock or by the work; infinite without a limit.
    #[must_use]
    pub fn seconds_left(&self) -> f64 {
        let work = self.nodes.map_or(f64::INFINITY, |nodes| {
            nodes.saturating_sub(self.spent()) as f64 / NODES_PER_SECOND
        });
        let deadline = self.deadline.filter(|_| self.clock == Clock::Any);
        let clock = deadline.map_or(f64::INFINITY, |end| {
            end.saturating_duration_since(Instant::now()).as_secs_f64()
        });
        work.min(clock)
    }
}
