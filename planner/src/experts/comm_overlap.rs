//! Serving steps in halves that take turns.
//!
//! # Decides
//! The order of the pieces of two halves.
//!
//! # Idea
//! Each stream runs a piece of the first half, then the same piece of the second one.
//!
//! # Paper
//! DynaFlow's policy of communication overlap; Zhu et al., NanoFlow, arXiv:2408.12757.
//!
//! # Guarantee
//! None: it asks for tokens, and not for what is gained.
//!
//! # Complexity
//! One replay.
//!
//! # Limits
//! An odd sample is in the second half.
//!
//! # Example
//! Halves of four pieces of a second each take 4 s.

use cost_model::streams::period::Orders;

use super::dynaflow::templates::halves;
use super::dynaflow::{Planned, Split, Threshold};

/// Halves in turn.
#[must_use]
pub fn solve(splits: &[Split], threshold: &Threshold, _: usize) -> Option<Planned> {
    halves(splits, threshold, |period| {
        let order = |stream: usize| {
            let n = period.chains.iter().map(Vec::len).max().unwrap_or_default();
            let all = (0..n)
                .flat_map(|at| (0..period.chains.len()).map(move |nano_batch| (nano_batch, at)));
            let is_on = |at: &(usize, usize)| {
                period.chains[at.0].get(at.1).is_some_and(|step| step.stream == stream)
            };
            all.filter(is_on).collect()
        };
        let streams = (0..period.streams.len()).map(order).collect();
        Some(Orders { streams, ahead: vec![0; period.chains.len()] })
    })
}
