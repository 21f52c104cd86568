//! GPipe: all forward passes, then all backward passes.
//!
//! # Decides
//! The order of each pipeline rank.
//!
//! # Idea
//! Every rank runs the forward passes of all micro-batches in order, then their backward passes.
//!
//! # Paper
//! Huang et al., "GPipe: efficient training of giant neural networks using pipeline parallelism",
//! NeurIPS 2019, section 2.3 and figure 2c. The paper runs the backward passes of figure 2c from
//! the last micro-batch to the first; here they run from the first, as PyTorch's executor does,
//! with the same bubble and the same peak.
//!
//! # Guarantee
//! With equal stages and free transfers each rank idles (p - 1)(F + B).
//!
//! # Complexity
//! O(cells).
//!
//! # Limits
//! Keeps the activations of all m micro-batches.
//!
//! # Example
//! 2 ranks, 2 micro-batches: `0F0,0F1,0B0,0B1` and `1F0,1F1,1B0,1B1`.

use ir::diagnostic::Diagnostic;
use ir::grid::{Cell, Grid, Pass};

use super::{WHOLE, check_size};

/// The grid of `n_ranks` stages, one per rank.
///
/// # Errors
/// `schedule-size` for a count of 0 or too many cells.
pub fn grid(n_ranks: u32, n_micro_batches: u32) -> Result<Grid, Diagnostic> {
    check_size(n_ranks, 1, n_micro_batches, WHOLE)?;
    let row = |stage: u32| {
        [Pass::Forward, Pass::Backward]
            .into_iter()
            .flat_map(|pass| (0..n_micro_batches).map(move |k| Cell::new(stage, pass, k)))
            .collect()
    };
    Ok(Grid { rows: (0..n_ranks).map(row).collect() })
}
