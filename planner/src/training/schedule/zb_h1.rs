//! ZB-H1: 1F1B whose weight gradients fill the end of the pipeline.
//!
//! # Decides
//! The order of each pipeline rank, with the backward pass in two parts.
//!
//! # Idea
//! Only the gradient of a stage's input is waited for by another rank; the gradient of its weights
//! can wait. Ranks start as in 1F1B, and rank i puts the weight parts off by i micro-batches, which
//! then fill the time in which 1F1B drains.
//!
//! # Paper
//! Qi, Wan, Huang and Lin, "Zero bubble pipeline parallelism", ICLR 2024, section 2.1 and figure 3
//! top.
//!
//! # Guarantee
//! With equal stages, free transfers, W <= F, W <= B and m >= p each rank idles (p - 1)(F + B - W),
//! where B is the gradient of the input and W that of the weights; every rank holds p micro-batches,
//! as many as the first rank of 1F1B.
//!
//! # Complexity
//! O(cells).
//!
//! # Limits
//! One stage per rank. Longer weight parts leave other gaps.
//!
//! # Example
//! 2 ranks, 2 micro-batches: `0F0,0F1,0I0,0W0,0I1,0W1` and `1F0,1I0,1F1,1I1,1W0,1W1`.

use ir::diagnostic::Diagnostic;
use ir::grid::Grid;

use super::delayed_weights;

/// The grid of `n_ranks` stages, one per rank.
///
/// # Errors
/// `schedule-size` for a count of 0 or too many cells.
pub fn grid(n_ranks: u32, n_micro_batches: u32) -> Result<Grid, Diagnostic> {
    delayed_weights::grid(n_ranks, n_micro_batches, 1)
}
