//! The shifted critical path: 1F1B with recompute off the last stages' way.
//!
//! # Decides
//! The order of each pipeline rank, and where recompute stands.
//!
//! # Idea
//! The last stage does not recompute, so gradients come back sooner. The one before it recomputes
//! its first two micro-batches while it waits for them, and runs its third forward pass before its
//! first backward pass, so that the last stage is never short of input. The third-last stage
//! recomputes its first micro-batch early. In the cool-down all do.
//!
//! # Paper
//! Lai et al., "Merak: an efficient distributed DNN training framework with automated 3D parallelism
//! for giant foundation models", TPDS 2023.
//!
//! # Guarantee
//! With equal stages and free transfers, never longer than 1F1B in which all but the last stage
//! recompute early in the cool-down.
//!
//! # Complexity
//! O(cells).
//!
//! # Limits
//! The stage before the last keeps three micro-batches instead of two.
//!
//! # Example
//! 2 ranks, 3 micro-batches: `0F0,0F1,0R0,0F2,0B0,0R1,0B1,0R2,0B2` and `1F0,1B0,1F1,1B1,1F2,1B2`.

use ir::diagnostic::Diagnostic;
use ir::grid::{Cell, Grid, Pass};

use super::early_recompute::{self, Early};
use super::one_f_one_b;

/// The grid of `n_ranks` stages, of which all but the last recompute.
///
/// # Errors
/// `schedule-size` for a count of 0 or too many cells.
pub fn grid(n_ranks: u32, n_micro_batches: u32) -> Result<Grid, Diagnostic> {
    let plain = one_f_one_b::grid(n_ranks, n_micro_batches)?;
    let last = n_ranks - 1;
    let mut grid = early_recompute::insert(&plain, Early::CoolDown, |stage| stage.0 != last);
    for (from_end, n_early) in [(1, 2), (2, 1)] {
        let Some(stage) = last.checked_sub(from_end) else { continue };
        let row = &mut grid.rows[stage as usize];
        for k in 0..n_early.min(n_micro_batches) {
            let again = Cell::new(stage, Pass::Recompute, k);
            row.retain(|cell| *cell != again);
            let back = position(row, Cell::new(stage, Pass::Backward, k));
            row.insert(back, again);
        }
        let third = Cell::new(stage, Pass::Forward, 2);
        if from_end == 1 && n_micro_batches > 2 {
            row.retain(|cell| *cell != third);
            let back = position(row, Cell::new(stage, Pass::Backward, 0));
            row.insert(back, third);
        }
    }
    Ok(grid)
}

fn position(row: &[Cell], cell: Cell) -> usize {
    row.iter().position(|other| *other == cell).unwrap_or(row.len())
}
