//! How far a figure can be trusted: where it comes from, and in which interval it lies.

use serde::{Deserialize, Serialize};

use crate::quantity::seconds;

/// Time that rests on constants of one origin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct OriginDocument {
    /// `given`, `measured`, `interpolated`, `sibling` or `nominal`.
    pub origin: String,
    /// Nanoseconds.
    pub ns: u64,
    /// Seconds.
    pub s: f64,
    /// Share of the whole, in 0..=1.
    pub share: f64,
}

impl OriginDocument {
    /// From whole nanoseconds.
    #[must_use]
    pub fn new(origin: &str, ns: u64, share: f64) -> Self {
        Self { origin: origin.to_owned(), ns, s: seconds(ns), share }
    }
}

/// Where the truth lies in eight cases of ten.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct IntervalDocument {
    /// One case of ten is below, in nanoseconds.
    pub low_ns: u64,
    /// The same in seconds.
    pub low_s: f64,
    /// One case of ten is above, in nanoseconds.
    pub high_ns: u64,
    /// The same in seconds.
    pub high_s: f64,
    /// The least certain origin of its durations.
    pub origin: String,
}

/// Where the memory of the fullest rank lies at its peak in eight cases of ten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct PeakIntervalDocument {
    /// One case of ten is below, in bytes.
    pub low_bytes: u64,
    /// One case of ten is above, in bytes.
    pub high_bytes: u64,
    /// Published sets with the most similar runs.
    pub judged_on: Vec<String>,
}

impl IntervalDocument {
    /// From whole nanoseconds.
    #[must_use]
    pub fn new(low_ns: u64, high_ns: u64, origin: &str) -> Self {
        Self {
            low_ns,
            low_s: seconds(low_ns),
            high_ns,
            high_s: seconds(high_ns),
            origin: origin.to_owned(),
        }
    }
}
