//! What was tried, and why there is no plan.

use std::time::Duration;

use ir::diagnostic::{Blame, Diagnostic, Value};
use ir::units::Nanos;

/// What stood in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Memory limits.
    MemoryExceeded,
    /// An op or a group has no device.
    NoDevice,
    /// A tensor has no way to a device.
    Unreachable,
    /// The row does not handle such a problem.
    Unsupported,
    /// Time, nodes or patience ran out first.
    Budget,
}

/// No plan, and whether that is proved.
#[derive(Clone, Debug)]
pub struct NoPlan {
    /// What stood in the way.
    pub reason: Reason,
    /// Message, facts and hints.
    pub diagnostic: Diagnostic,
    /// Whether it is certain that no plan exists (a counting argument or an exhausted search).
    pub proved: bool,
    /// What a run tried before it gave up, in order; empty where one row speaks for itself.
    pub attempts: Box<[Attempt]>,
}

impl NoPlan {
    /// Without proof, and whoever the diagnostic blames.
    #[must_use]
    pub fn new(reason: Reason, diagnostic: Diagnostic) -> Self {
        Self { reason, diagnostic, proved: false, attempts: Box::default() }
    }

    /// This row found none; another one may.
    #[must_use]
    pub fn not_found(reason: Reason, code: &'static str, message: impl Into<String>) -> Self {
        Self::new(reason, Diagnostic::error(Blame::NotFound, code, message))
    }

    /// No plan exists.
    #[must_use]
    pub fn proved(reason: Reason, diagnostic: Diagnostic) -> Self {
        let diagnostic = Diagnostic { blame: Blame::Infeasible, ..diagnostic };
        Self { proved: true, ..Self::new(reason, diagnostic) }
    }

    /// The same, without the claim of a proof: for what was shown on a transformed problem only.
    #[must_use]
    pub fn unproved(mut self) -> Self {
        if self.proved {
            self.proved = false;
            self.diagnostic.blame = Blame::NotFound;
        }
        self
    }

    /// With one more hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.diagnostic = self.diagnostic.hint(hint);
        self
    }

    /// With one more fact.
    #[must_use]
    pub fn fact(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.diagnostic = self.diagnostic.fact(name, value);
        self
    }
}

/// How long the attempts took makes no difference.
impl PartialEq for NoPlan {
    fn eq(&self, other: &Self) -> bool {
        let tried = |no_plan: &Self| {
            let attempts = no_plan.attempts.iter();
            attempts.map(|a| (a.algorithm.clone(), a.result.clone())).collect::<Vec<_>>()
        };
        (self.reason, self.proved, &self.diagnostic)
            == (other.reason, other.proved, &other.diagnostic)
            && tried(self) == tried(other)
    }
}

impl std::fmt::Display for NoPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.diagnostic.fmt(f)
    }
}

impl std::error::Error for NoPlan {}

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
