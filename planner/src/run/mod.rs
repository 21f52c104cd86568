//! The runner: takes any kind of problem to its searches, keeps their limits, hears what they find,
//! and answers in time. [`solve`] plans models; [`crate::given::runner`] solves instances with given
//! costs and [`crate::training`] plans training runs through the same parts.

mod control;
mod handle;
mod line;
mod ops;
mod remedy;
pub mod thread;
pub mod watch;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use cost_model::ops::bound;
use cost_model::ops::judge::replay::Timeline;
use cost_model::ops::judge::report::Report;
use cost_model::ops::problem::Problem;
use ir::diagnostic::{Diagnostic, Value};
use ir::plan::Plan;
use ir::units::Nanos;

use crate::no_plan::NoPlan;
use crate::recipe::Recipe;

pub use control::Control;
pub use handle::{Run, Scored};
pub use line::{Heard, Line};
pub use ops::solve;

/// Node budget of a deterministic run that has none: about what one core of 2026 does in 30 s, at
/// 20 million labels, states and moves a second.
pub const DEFAULT_NODES: u64 = 600_000_000;

/// A kind of problem that is searched: what is looked for, and what an attempt is measured by.
pub trait Case: 'static {
    /// A judged solution.
    type Solution: Send + Sync;
    /// What is known of the best solution of an attempt, its value among it.
    type Figures: Clone + Send;
}

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

/// What to run on a model.
#[derive(Clone, Debug)]
pub struct Request {
    /// Rows and their options.
    pub recipe: Recipe,
    /// Limits.
    pub limits: Limits,
}

impl Request {
    /// A request without limits.
    #[must_use]
    pub fn new(recipe: Recipe) -> Self {
        Self { recipe, limits: Limits::default() }
    }
}

/// A value that no legal solution is below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The value.
    pub value: Nanos,
    /// How it was found.
    pub method: &'static str,
    /// What stands behind it.
    pub standing: Standing,
}

impl Bound {
    /// Nothing is known.
    pub const NONE: Self = Self { value: Nanos::ZERO, method: "none", standing: Standing::Derived };
}

impl From<bound::Bound> for Bound {
    fn from(bound: bound::Bound) -> Self {
        Self { value: bound.value, method: bound.method, standing: Standing::Derived }
    }
}

impl From<Bound> for bound::Bound {
    fn from(bound: Bound) -> Self {
        Self { value: bound.value, method: bound.method }
    }
}

/// What stands behind a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It follows from the problem, or from a search of all that there is.
    Derived,
    /// A second program has checked the search's certificate.
    Checked,
    /// The search proved it; its certificate is too large to check again.
    TooLarge,
    /// The search proved it; there was no time to check its certificate.
    NoTime,
}

impl Standing {
    /// Every standing.
    pub const ALL: [Self; 4] = [Self::Derived, Self::Checked, Self::TooLarge, Self::NoTime];

    /// Its name in documents.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Derived => "derived",
            Self::Checked => "certificate-checked",
            Self::TooLarge => "certificate-too-large-to-check",
            Self::NoTime => "certificate-not-checked-in-time",
        }
    }

    /// What people have to know of it.
    #[must_use]
    pub fn caveat(self) -> Option<&'static str> {
        match self {
            Self::Derived | Self::Checked => None,
            Self::TooLarge => Some("certificate too large to check again"),
            Self::NoTime => Some("no time to check the certificate again"),
        }
    }
}

/// A plan of a model with its replay.
#[derive(Clone, Debug, PartialEq)]
pub struct Replayed {
    /// The plan.
    pub plan: Plan,
    /// Its replay.
    pub timeline: Timeline,
}

impl Case for Problem {
    type Solution = Replayed;
    type Figures = AttemptPlan;
}

/// What happens while a run goes on.
#[derive(Debug)]
pub enum Event<C: Case> {
    /// An algorithm has started.
    Started {
        /// Its text.
        algorithm: String,
    },
    /// A judged solution that is better than all before it. One that was overtaken before it could
    /// be told is left out.
    Incumbent {
        /// The algorithm that found it.
        algorithm: String,
        /// Its value under the objective.
        value: Nanos,
        /// The best lower bound so far.
        bound: Bound,
        /// The solution.
        solution: Arc<C::Solution>,
        /// Since the start of the run.
        elapsed: Duration,
    },
    /// A better lower bound, or one that stands on firmer ground.
    Bound {
        /// The bound.
        bound: Bound,
        /// Since the start of the run.
        elapsed: Duration,
    },
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
            Self::Cancelled => "cancelled",
        }
    }
}

/// What one recipe achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptPlan {
    /// Value of its plan under the objective.
    pub value: Nanos,
    /// Step time of its plan.
    pub step_time: Nanos,
    /// Greatest peak memory over the devices.
    pub peak_bytes: u64,
}

/// What one row did within a recipe.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The row with its options.
    pub row: String,
    /// How long it took.
    pub elapsed: Duration,
    /// What it says about its work, such as `("favourites", 12)`.
    pub facts: Vec<(&'static str, Value)>,
}

/// One algorithm that was tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt<F = AttemptPlan> {
    /// Its text.
    pub algorithm: String,
    /// What it found, or why that is nothing.
    pub result: Result<F, NoPlan>,
    /// How long it took.
    pub elapsed: Duration,
    /// The rows of a recipe, in order.
    pub steps: Vec<Step>,
}

/// How value and bound moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TracePoint {
    /// Since the start of the run.
    pub elapsed: Duration,
    /// Best value so far.
    pub value: Option<Nanos>,
    /// Best bound so far.
    pub bound: Option<Nanos>,
}

/// A plan, judged.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The best plan.
    pub plan: Plan,
    /// Its value under the objective; the step time where that is what counts.
    pub value: Nanos,
    /// Value of the best plan that was found, where a simpler one was taken in its place.
    pub fastest: Option<Nanos>,
    /// Its replay.
    pub timeline: Timeline,
    /// Its sums.
    pub report: Report,
    /// The best lower bound.
    pub bound: Bound,
    /// Value over bound, less 1; infinite where only the bound is 0.
    pub gap: f64,
    /// Why the run ended.
    pub stop: StopReason,
    /// The recipe that found the plan.
    pub algorithm: String,
    /// All recipes that were tried, in order.
    pub attempts: Vec<Attempt>,
    /// How value and bound moved.
    pub trace: Vec<TracePoint>,
    /// What is worth knowing.
    pub warnings: Vec<Diagnostic>,
}

/// Value over bound, less 1; infinite where only the bound is 0.
#[must_use]
pub fn gap(value: Nanos, bound: Nanos) -> f64 {
    match (value.get(), bound.get()) {
        (value, bound) if value <= bound => 0.0,
        (_, 0) => f64::INFINITY,
        (value, bound) => value as f64 / bound as f64 - 1.0,
    }
}
