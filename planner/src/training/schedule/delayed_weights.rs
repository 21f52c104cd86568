//! 1F1B with the gradients of weights put off: what ZB-H1 and ZB-H2 have in common.

use ir::diagnostic::Diagnostic;
use ir::grid::{Cell, Grid, Pass};

use super::{SPLIT, check_size};

/// Rank `i` runs `depth x (p - 1 - i)` forward passes ahead, then one forward and one backward-input
/// pass in turn; the weight part of a micro-batch follows the input part of the one `depth x i`
/// later. So every rank holds `depth x (p - 1) + 1` micro-batches.
pub(super) fn grid(n_ranks: u32, n_micro_batches: u32, depth: u32) -> Result<Grid, Diagnostic> {
    check_size(n_ranks, 1, n_micro_batches, SPLIT)?;
    let row = |stage: u32| {
        let ahead = (depth * (n_ranks - 1 - stage)).min(n_micro_batches);
        let delay = depth * stage;
        let mut row = Vec::new();
        for turn in 0..n_micro_batches + ahead {
            if turn < n_micro_batches {
                row.push(Cell::new(stage, Pass::Forward, turn));
            }
            if let Some(back) = turn.checked_sub(ahead) {
                row.push(Cell::new(stage, Pass::BackwardInput, back));
                if let Some(weight) = back.checked_sub(delay) {
                    row.push(Cell::new(stage, Pass::BackwardWeight, weight));
                }
            }
        }
        let left = n_micro_batches.saturating_sub(delay)..n_micro_batches;
        row.extend(left.map(|k| Cell::new(stage, Pass::BackwardWeight, k)));
        row
    };
    Ok(Grid { rows: (0..n_ranks).map(row).collect() })
}
