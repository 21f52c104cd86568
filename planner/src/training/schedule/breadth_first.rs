//! Breadth-first looped: all micro-batches through one chunk before the next.
//!
//! # Decides
//! The order of each pipeline rank.
//!
//! # Idea
//! The model is cut into v p chunks, chunk c p + i on rank i. Every rank takes all micro-batches
//! through its first chunk, then all through its second, and so on, then backward in reverse. The
//! parameters of a chunk are used in one go, so sharded ones are gathered once per pass, and the
//! gradients of a chunk are complete long before the end.
//!
//! # Paper
//! Lamy-Poirier, "Breadth-first pipeline parallelism", MLSys 2023, section 4.1 and figure 4d. The
//! paper runs the backward passes of a chunk in the order of the forward ones, as here.
//!
//! # Guarantee
//! With equal chunks, free transfers and m >= p each rank idles (p - 1)(F + B) / v, where F and B
//! are the passes through all chunks of a rank.
//!
//! # Complexity
//! O(cells).
//!
//! # Limits
//! Keeps the activations of all m micro-batches and all chunks.
//!
//! # Example
//! 2 ranks, 2 chunks, 2 micro-batches, rank 0: `0F0,0F1,2F0,2F1,2B0,2B1,0B0,0B1`.

use ir::diagnostic::Diagnostic;
use ir::grid::{Cell, Grid, Pass};

use super::{WHOLE, check_size};

/// The grid of `n_ranks x n_chunks` stages, stage `s` on rank `s mod n_ranks`.
///
/// # Errors
/// `schedule-size` for a count of 0 or too many cells.
pub fn grid(n_ranks: u32, n_chunks: u32, n_micro_batches: u32) -> Result<Grid, Diagnostic> {
    check_size(n_ranks, n_chunks, n_micro_batches, WHOLE)?;
    let row = |rank: u32| {
        let through = |chunk: u32, pass| {
            (0..n_micro_batches).map(move |k| Cell::new(chunk * n_ranks + rank, pass, k))
        };
        let forward = (0..n_chunks).flat_map(|chunk| through(chunk, Pass::Forward));
        let backward = (0..n_chunks).rev().flat_map(|chunk| through(chunk, Pass::Backward));
        forward.chain(backward).collect()
    };
    Ok(Grid { rows: (0..n_ranks).map(row).collect() })
}
