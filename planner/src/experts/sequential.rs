//! Serving steps whose samples go through layers at once: the baseline of nano-batches.
//!
//! # Decides
//! Nothing: one piece runs after the other.
//!
//! # Idea
//! The first split is of all samples.
//!
//! # Paper
//! None: the baseline.
//!
//! # Guarantee
//! None: it asks for tokens, and not for what is gained.
//!
//! # Complexity
//! One replay.
//!
//! # Limits
//! Those of [`dynaflow`](super::dynaflow).
//!
//! # Example
//! Four pieces of a second take 4 s.

use super::dynaflow::templates::of;
use super::dynaflow::{Planned, Split, Threshold};

/// All samples at once.
#[must_use]
pub fn solve(splits: &[Split], _: &Threshold, _: usize) -> Option<Planned> {
    of(splits, 0, None)
}
