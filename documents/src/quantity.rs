//! Durations as documents write them: twice.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A duration: whole nanoseconds, which sums and comparisons use, and the same in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Duration {
    /// Nanoseconds.
    pub ns: u64,
    /// Seconds.
    pub s: f64,
}

impl Duration {
    /// From whole nanoseconds.
    #[must_use]
    pub fn from_ns(ns: u64) -> Self {
        Self { ns, s: seconds(ns) }
    }
}

/// Whole nanoseconds in seconds.
#[must_use]
pub fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
