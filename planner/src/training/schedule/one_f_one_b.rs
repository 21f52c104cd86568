//! 1F1B: after a warm-up, each rank alternates one forward and one backward pass.
//!
//! # Decides
//! The order of each pipeline rank.
//!
//! # Idea
//! Rank i runs p - 1 - i forward passes, then pairs of one forward and one backward pass, then the
//! backward passes that are left. So it never holds more than p - i micro-batches.
//!
//! # Paper
//! Narayanan et al., "Efficient large-scale language model training on GPU clusters using
//! Megatron-LM", SC 2021, section 2.2.1 and figure 4 top (PipeDream-flush: Narayanan et al.,
//! "Memory-efficient pipeline-parallel DNN training", ICML 2021).
//!
//! # Guarantee
//! With equal stages and free transfers each rank idles (p - 1)(F + B), as with GPipe, and rank i
//! holds at most min(p - i, m) micro-batches.
//!
//! # Complexity
//! O(cells).
//!
//! # Limits
//! One stage per rank.
//!
//! # Example
//! 2 ranks, 3 micro-batches: `0F0,0F1,0B0,0F2,0B1,0B2` and `1F0,1B0,1F1,1B1,1F2,1B2`.

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
        let n_warm_up = (n_ranks - 1 - stage).min(n_micro_batches);
        let forward = |k| Cell::new(stage, Pass::Forward, k);
        let backward = |k| Cell::new(stage, Pass::Backward, k);
        let steady =
            (n_warm_up..n_micro_batches).flat_map(move |k| [forward(k), backward(k - n_warm_up)]);
        let cool_down = n_micro_batches - n_warm_up..n_micro_batches;
        (0..n_warm_up).map(forward).chain(steady).chain(cool_down.map(backward)).collect()
    };
    Ok(Grid { rows: (0..n_ranks).map(row).collect() })
}
