//! Generators of pipeline grids: pure functions from counts to what each rank does, in order.

use ir::diagnostic::Diagnostic;
use ir::grid::Grid;

pub mod breadth_first;
mod delayed_weights;
pub mod dualpipe_v;
pub mod early_recompute;
pub mod gpipe;
pub mod interleaved;
pub mod one_f_one_b;
pub mod shifted;
pub mod zb_h1;
pub mod zb_h2;
pub mod zb_v;

/// Most cells that a generator makes.
pub const MOST_CELLS: u64 = ir::grid::MOST_CELLS as u64;

/// Passes of a stage on a micro-batch where the backward pass is whole.
const WHOLE: u32 = 2;
/// And where it is split.
const SPLIT: u32 = 3;

/// The schedule of Megatron-LM: 1F1B, interleaved where a rank holds several chunks.
///
/// # Errors
/// `schedule-size`, and those of [`interleaved`].
pub fn megatron(n_ranks: u32, n_chunks: u32, n_micro_batches: u32) -> Result<Grid, Diagnostic> {
    match n_chunks {
        1 => one_f_one_b::grid(n_ranks, n_micro_batches),
        _ => interleaved::grid(n_ranks, n_chunks, n_micro_batches),
    }
}

/// Refuses sizes of nothing, and grids of more than [`MOST_CELLS`] cells.
fn check_size(
    n_ranks: u32,
    n_chunks: u32,
    n_micro_batches: u32,
    n_passes: u32,
) -> Result<(), Diagnostic> {
    let counts =
        [("ranks", n_ranks), ("chunks per rank", n_chunks), ("micro-batches", n_micro_batches)];
    if let Some((what, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
        return Err(Diagnostic::usage("schedule-size", format!("a schedule of 0 {what}"))
            .hint(format!("ask for at least 1 of `{what}`")));
    }
    let n_cells =
        counts.iter().map(|(_, count)| u128::from(*count)).product::<u128>() * u128::from(n_passes);
    if n_cells > u128::from(MOST_CELLS) {
        let message = format!("the schedule would have {n_cells} cells, more than {MOST_CELLS}");
        return Err(Diagnostic::usage("schedule-size", message)
            .fact("ranks", u64::from(n_ranks))
            .fact("chunks", u64::from(n_chunks))
            .fact("micro_batches", u64::from(n_micro_batches))
            .hint("ask for fewer micro-batches or fewer ranks"));
    }
    Ok(())
}

#[cfg(test)]
mod fold_laws;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod recompute_laws;
