//! What a run may spend, and why it ended.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Node budget of a deterministic run that has none: about what one core of 2026 does in 30 s, at
/// 20 million labels, states and moves a second.
pub const DEFAULT_NODES: u64 = 600_000_000;

/// How much a run may spend, and what its choices may depend on.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// Wall-clock time; `None` = as long as it takes.
    pub time: Option<Duration>,
    /// Nodes of searches and iterations of linear programs; `None` = no limit, or
    /// [`DEFAULT_NODES`] where `deterministic`.
    pub nodes: Option<u64>,
    /// Stops at this gap (value / bound - 1); 0 = goes on to a proof.
    pub gap: f64,
    /// Seed of rows that draw lots.
    pub seed: u64,
    /// Threads that rows may use; 0 = one per core.
    pub threads: usize,
    /// Whether choices may depend on node counts only, never on the clock: same input, same bytes.
    /// The time limit then only cuts the run off.
    pub deterministic: bool,
    /// Whether the time is what a run takes where nobody states any: then it also ends when little
    /// is gained.
    pub is_usual_time: bool,
    /// Set to stop; the best so far is kept.
    pub cancel: Arc<AtomicBool>,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StopReason {
    /// All rows ran to their end.
    Finished,
    /// The plan's value equals a lower bound.
    ProvedOptimal,
    /// The gap asked for was reached.
    GapReached,
    /// The time limit.
    Deadline,
    /// The node budget.
    NodeBudget,
    /// The memory budget.
    MemoryBudget,
    /// Plans of a size that the search does not look at were left out.
    SizeLimit,
    /// The user.
    Cancelled,
}

impl StopReason {
    /// Whether nothing was left to search.
    #[must_use]
    pub const fn is_complete(self) -> bool {
        matches!(self, Self::Finished | Self::ProvedOptimal)
    }

    /// Name in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::ProvedOptimal => "proved-optimal",
            Self::GapReached => "gap-reached",
            Self::Deadline => "deadline",
            Self::NodeBudget => "node-budget",
            Self::MemoryBudget => "memory-budget",
            Self::SizeLimit => "size-limit",
            Self::Cancelled => "cancelled",
        }
    }

    /// What a person reads of it.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Finished => "search finished",
            Self::ProvedOptimal => "proved optimal",
            Self::GapReached => "requested gap reached",
            Self::Deadline => "time limit reached",
            Self::NodeBudget => "node budget reached",
            Self::MemoryBudget => "memory budget reached",
            Self::SizeLimit => "size limit reached",
            Self::Cancelled => "interrupted",
        }
    }
}
