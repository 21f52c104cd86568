//! A search of one of two spaces, as its follower hears of it.

use std::time::Duration;

use ir::diagnostic::Diagnostic;
use ir::units::Nanos;

use crate::answer::follow::{Files, Follower, Incumbent};

/// Hears of one space what holds for both: bounds that are none of the other's are lowered to it,
/// and plans that are no better than one of the other's are not told.
pub(crate) struct Within<'f> {
    pub(crate) inner: &'f mut dyn Follower,
    /// What no plan of the other space is below, where that is known.
    pub(crate) most: Option<Nanos>,
    /// What a plan has to be below.
    pub(crate) below: Option<Nanos>,
}

impl Within<'_> {
    fn joint(&self, bound: Nanos) -> Nanos {
        self.most.map_or(bound, |most| bound.min(most))
    }
}

impl Follower for Within<'_> {
    fn started(&mut self, algorithm: &str) {
        self.inner.started(algorithm);
    }

    fn incumbent(&mut self, found: &Incumbent<'_>) {
        if self.below.is_none_or(|below| found.value < below) {
            self.inner.incumbent(&Incumbent { bound: self.joint(found.bound), ..*found });
        }
    }

    fn bound(&mut self, value: Nanos, method: &str, elapsed: Duration) {
        self.inner.bound(self.joint(value), method, elapsed);
    }

    fn planned(&mut self, plan: Vec<u8>, files: Files) -> Result<Vec<String>, Diagnostic> {
        self.inner.planned(plan, files)
    }
}
