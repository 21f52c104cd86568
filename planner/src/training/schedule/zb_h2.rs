//! ZB-H2: a pipeline that never waits once it has started, for twice the activations.
//!
//! # Decides
//! The order of each pipeline rank, with the backward pass in two parts.
//!
//! # Idea
//! Rank i runs 2 (p - 1 - i) forward passes ahead, which fills the time until the first gradient
//! comes back, and puts weight parts off by 2 i micro-batches, which fills the end.
//!
//! # Paper
//! Qi, Wan, Huang and Lin, "Zero bubble pipeline parallelism", ICLR 2024, section 2.2 and figure 3
//! bottom.
//!
//! # Guarantee
//! With equal stages, free transfers, W <= F and m >= 2p - 1 no rank idles longer than
//! (p - 1)(F + B - 2W), or at all if that is below 0, between its first and its last cell, where B is
//! the gradient of the input and W that of the weights. Every rank holds 2p - 1 micro-batches.
//!
//! # Complexity
//! O(cells).
//!
//! # Limits
//! One stage per rank. Ranks end one after the other, so the next step must be able to start on one
//! rank before another has ended its own; the report of a single step counts (p - 1) F per rank.
//!
//! # Example
//! 2 ranks, 3 micro-batches: `0F0,0F1,0F2,0I0,0W0,0I1,0W1,0I2,0W2` and
//! `1F0,1I0,1F1,1I1,1F2,1I2,1W0,1W1,1W2`.

use ir::diagnostic::Diagnostic;
use ir::grid::Grid;

use super::delayed_weights;

/// The grid of `n_ranks` stages, one per rank.
///
/// # Errors
/// `schedule-size` for a count of 0 or too many cells.
pub fn grid(n_ranks: u32, n_micro_batches: u32) -> Result<Grid, Diagnostic> {
    delayed_weights::grid(n_ranks, n_micro_batches, 2)
}
