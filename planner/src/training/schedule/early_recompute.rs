//! Early recompute: activations are computed again before the gradient asks for them.
//!
//! # Decides
//! Where recompute stands in a grid that another generator made.
//!
//! # Idea
//! Without a cell of its own, recompute is the first part of a backward pass, so it starts only when
//! the gradient has arrived. A rank that waits for a gradient can do it meanwhile. In the cool-down,
//! after the last forward pass of a row, every rank but the last waits.
//!
//! # Paper
//! Lai et al., "Merak: an efficient distributed DNN training framework with automated 3D parallelism
//! for giant foundation models", TPDS 2023; the rule m - k + s < p of its public code is the
//! cool-down of 1F1B.
//!
//! # Guarantee
//! With equal stages and free transfers, 1F1B on p stages becomes (p - 1) R shorter, in the
//! cool-down alone as well as everywhere.
//!
//! # Complexity
//! O(cells).
//!
//! # Limits
//! A recomputed micro-batch occupies its memory from its recompute on, so `Early::Always` may hold
//! it while the rank waits for the gradient.
//!
//! # Example
//! 2 ranks, 2 micro-batches of 1F1B, rank 0, cool-down: `0F0,0F1,0B0,0R1,0B1`.

use ir::grid::{Cell, Grid, Pass};
use ir::id::StageId;

/// Which recomputes come early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Early {
    /// Those after the last forward pass of a row and the cell that follows it.
    CoolDown,
    /// All.
    Always,
}

/// Puts a recompute cell before each backward pass of the stages that recompute.
#[must_use]
pub fn insert(grid: &Grid, early: Early, recomputes: impl Fn(StageId) -> bool) -> Grid {
    let row = |row: &Vec<Cell>| {
        let last_forward = row.iter().rposition(|cell| cell.pass == Pass::Forward);
        // The backward pass right after the last forward pass still belongs to the steady part.
        let cool_down = last_forward.map_or(0, |last| last + 2);
        let comes_early = |position: usize, cell: &Cell| {
            let is_backward = matches!(cell.pass, Pass::Backward | Pass::BackwardInput);
            is_backward
                && recomputes(cell.stage)
                && (early == Early::Always || position >= cool_down)
        };
        row.iter()
            .enumerate()
            .flat_map(|(position, cell)| {
                let again = Cell { pass: Pass::Recompute, ..*cell };
                comes_early(position, cell).then_some(again).into_iter().chain([*cell])
            })
            .collect()
    };
    Grid { rows: grid.rows.iter().map(row).collect() }
}
