//! Serving steps in halves by the eight-step order.
//!
//! # Decides
//! The order of the pieces of two halves.
//!
//! # Idea
//! attention(1), dispatch(0), expert(0), dispatch(1), expert(1), combine(0), attention(0) of the next layer,
//! combine(1); exchanges on a stream of their own.
//!
//! # Paper
//! DynaFlow's policy of two batches; DeepSeek-AI, arXiv:2412.19437, section 3.4.
//!
//! # Guarantee
//! None: it asks for tokens, and not for what is gained.
//!
//! # Complexity
//! One replay.
//!
//! # Limits
//! Layers of four pieces, which exchange twice; others are not cut. An odd sample is in the second half.
//!
//! # Example
//! Halves of four pieces of a second each take 4 s.

use cost_model::streams::period::Orders;

use super::dynaflow::templates::halves;
use super::dynaflow::{Planned, Split, Threshold};

/// Halves in eight steps.
#[must_use]
pub fn solve(splits: &[Split], threshold: &Threshold, _: usize) -> Option<Planned> {
    halves(splits, threshold, |period| {
        let is_usual = |chain: &Vec<_>| chain.len() == 4;
        period.chains.iter().all(is_usual).then(eight_steps)
    })
}

/// The eight steps, the last one of the first half a layer ahead.
#[must_use]
pub fn eight_steps() -> Orders {
    Orders {
        streams: vec![vec![(1, 0), (0, 2), (1, 2), (0, 0)], vec![(0, 1), (1, 1), (0, 3), (1, 3)]],
        ahead: vec![1, 0],
    }
}
