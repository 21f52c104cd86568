//! The runner: takes a recipe through a problem and answers in time.

mod control;
mod handle;
mod remedy;
pub mod thread;
mod watch;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use cost_model::ops::bound::Bound;
use cost_model::ops::judge::replay::Timeline;
use cost_model::ops::judge::report::Report;
use cost_model::ops::problem::Problem;
use ir::diagnostic::{Diagnostic, Value};
use ir::plan::Plan;
use ir::units::Nanos;

use crate::no_plan::NoPlan;
use crate::recipe::Recipe;

pub use handle::{Run, Scored};

/// Node budget of a deterministic run that has none: about what one core of 2026 does in 30 s, at
/// 20 million labels, states and moves a second.
pub const DEFAULT_NODES: u64 = 600_000_000;

/// How much a run may spend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Wall-clock time; `None` = as long as it takes.
    pub time: Option<Duration>,
    /// Nodes of searches and iterations of linear programs; `None` = no limit.
    pub nodes: Option<u64>,
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Request {
    /// Rows and their options.
    pub recipe: Recipe,
    /// Limits.
    pub budget: Budget,
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
    /// Set to stop; the best plan so far is kept.
    pub cancel: Arc<AtomicBool>,
}

impl Request {
    /// A request without limits.
    #[must_use]
    pub fn new(recipe: Recipe) -> Self {
        Self {
            recipe,
            budget: Budget::default(),
            gap: 0.0,
            seed: 0,
            threads: 0,
            deterministic: false,
            is_usual_time: false,
            cancel: Arc::new(AtomicBool::new(false)),
        }
    }
}

/// Threads that were asked for; one per core for 0.
pub(crate) fn threads(asked: usize) -> usize {
    match asked {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        asked => asked,
    }
}

/// What happens while a run goes on.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A recipe has started.
    Started {
        /// Its text.
        algorithm: String,
    },
    /// A verified plan that is better than all before it. One that was overtaken before it could
    /// be told is left out.
    Incumbent {
        /// The recipe that found it.
        algorithm: String,
        /// Its value under the objective.
        value: Nanos,
        /// The best lower bound so far.
        bound: Bound,
        /// The plan.
        plan: Arc<Plan>,
        /// Its replay.
        timeline: Arc<Timeline>,
        /// Since the start of the run.
        elapsed: Duration,
    },
    /// A better lower bound.
    Bound {
        /// No plan is worth less than this.
        value: Nanos,
        /// How it was found.
        method: &'static str,
        /// Since the start of the run.
        elapsed: Duration,
    },
    /// A recipe has ended.
    Finished {
        /// Its text.
        algorithm: String,
        /// The value of its plan, if it found one.
        value: Option<Nanos>,
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

/// One recipe that was tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// Its text.
    pub algorithm: String,
    /// Its plan, or why there is none.
    pub result: Result<AttemptPlan, NoPlan>,
    /// How long it took.
    pub elapsed: Duration,
    /// Its rows, in order.
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

/// Runs a recipe. Answers at the latest 0.1 s after the time limit, or after `cancel` was set, with
/// the best plan so far, whether bounds, rows and ways out answer or not.
///
/// # Errors
/// [`NoPlan`] if there is no plan; `proved` tells whether none exists.
pub fn solve(
    problem: Arc<Problem>,
    request: &Request,
    observe: &mut dyn FnMut(&Event),
) -> Result<Outcome, NoPlan> {
    watch::solve(problem, request, observe)
}
