//! Kinds of problems, and what happens while one is searched.

use std::sync::Arc;
use std::time::Duration;

use cost_model::ops::judge::replay::Timeline;
use cost_model::ops::problem::Problem;
use ir::plan::Plan;
use ir::units::Nanos;

use super::bound::Bound;
use super::no_plan::AttemptPlan;

/// A kind of problem that is searched: what is looked for, and what an attempt is measured by.
pub trait Case: 'static {
    /// A judged solution.
    type Solution: Send + Sync;
    /// What is known of the best solution of an attempt, its value among it.
    type Figures: Clone + Send;
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
