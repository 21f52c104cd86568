//! What is heard of a run of `plan` while it lasts, and who keeps what it made.

use std::time::Duration;

use ir::diagnostic::Diagnostic;
use ir::units::Nanos;

pub use planner::run::watch::{Watch, is_any_left};

/// A verified plan that is better than all before it.
pub struct Incumbent<'i> {
    /// The recipe that found it.
    pub algorithm: &'i str,
    /// What is minimised.
    pub objective: &'i str,
    /// Under the objective.
    pub value: Nanos,
    /// What no plan is below.
    pub bound: Nanos,
    /// How people read values and bounds.
    pub shown: &'i dyn Fn(Nanos) -> String,
    /// Since the start of the run.
    pub elapsed: Duration,
    /// Its plan document, as bytes of a file; made when asked for.
    pub document: &'i dyn Fn() -> Result<Vec<u8>, Diagnostic>,
}

impl Incumbent<'_> {
    /// Value / bound - 1; `None` where no bound is known.
    #[must_use]
    pub fn gap(&self) -> Option<f64> {
        let (value, bound) = (self.value.as_f64(), self.bound.as_f64());
        (bound > 0.0).then(|| value / bound - 1.0)
    }
}

/// A file that was asked for beside the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// The target of an export, or [`PLOT`].
    pub target: String,
    /// Its contents.
    pub bytes: Vec<u8>,
}

/// All files beside a plan, or why they could not be made.
pub type Files = Result<Vec<File>, Diagnostic>;

/// The picture of a search.
pub const PLOT: &str = "plot";

/// Who follows a run.
pub trait Follower {
    /// A recipe is tried.
    fn started(&mut self, _algorithm: &str) {}
    /// There is a better plan.
    fn incumbent(&mut self, _found: &Incumbent<'_>) {}
    /// There is a better lower bound, by a method.
    fn bound(&mut self, _value: Nanos, _method: &str, _elapsed: Duration) {}
    /// The search is over.
    fn searched(&mut self) {}
    /// Whether it makes use of the bytes of a plan: those of a large schedule take long.
    fn takes_plan(&self) -> bool {
        true
    }
    /// Takes the plan with the other files, in the order in which they were asked for, the picture
    /// last, or with why they could not be made; the names under which all are kept.
    ///
    /// # Errors
    /// Why not all are kept.
    fn planned(&mut self, plan: Vec<u8>, files: Files) -> Result<Vec<String>, Diagnostic>;
}
