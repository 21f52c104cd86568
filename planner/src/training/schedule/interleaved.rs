//! Interleaved 1F1B: each rank holds several chunks of the model.
//!
//! # Decides
//! The order of each pipeline rank.
//!
//! # Idea
//! The model is cut into v p chunks, chunk c p + i on rank i. A rank takes p micro-batches through
//! its first chunk, the same p through its second, and so on; backward passes run through the chunks
//! in reverse. Passes are v times shorter, and so is the bubble.
//!
//! # Paper
//! Narayanan et al., "Efficient large-scale language model training on GPU clusters using
//! Megatron-LM", SC 2021, section 2.2.2 and figure 4 bottom. The warm-up of rank i is
//! (v - 1) p + 2 (p - 1 - i) forward passes of a chunk, at most all of them. Megatron-Core runs one
//! more where a forward and a backward pass run together, so that neither waits for the other
//! (`get_pp_rank_microbatches` with `overlap_moe_expert_parallel_comm`).
//!
//! # Guarantee
//! With equal chunks and free transfers each rank idles (p - 1)(F + B) / v, where F and B are the
//! passes through all chunks of a rank. Rank i keeps at most (v - 1) p + 2 (p - 1 - i) + 1 pairs of
//! chunk and micro-batch, and one more where passes run together.
//!
//! # Complexity
//! O(cells).
//!
//! # Limits
//! m must be divisible by p.
//!
//! # Example
//! 2 ranks, 2 chunks, 2 micro-batches, rank 1: `1F0,1F1,3F0,3B0,3F1,3B1,1B0,1B1`.

use ir::diagnostic::Diagnostic;
use ir::grid::{Cell, Grid, Pass};

use super::{WHOLE, check_size};

/// The grid of `n_ranks x n_chunks` stages, stage `s` on rank `s mod n_ranks`.
///
/// # Errors
/// `schedule-size` for a count of 0 or too many cells; `schedule-indivisible` where the
/// micro-batches don't come in groups of `n_ranks`.
pub fn grid(n_ranks: u32, n_chunks: u32, n_micro_batches: u32) -> Result<Grid, Diagnostic> {
    ahead_by(0, n_ranks, n_chunks, n_micro_batches)
}

/// The same where each forward pass behind the warm-up runs together with the backward pass that the
/// grid lists next.
///
/// # Errors
/// Those of [`grid`].
pub fn together(n_ranks: u32, n_chunks: u32, n_micro_batches: u32) -> Result<Grid, Diagnostic> {
    ahead_by(1, n_ranks, n_chunks, n_micro_batches)
}

fn ahead_by(
    n_more: u32,
    n_ranks: u32,
    n_chunks: u32,
    n_micro_batches: u32,
) -> Result<Grid, Diagnostic> {
    check_size(n_ranks, n_chunks, n_micro_batches, WHOLE)?;
    if !n_micro_batches.is_multiple_of(n_ranks) {
        let message = format!(
            "{n_micro_batches} micro-batches don't come in groups of {n_ranks}, as interleaving asks"
        );
        let next = n_micro_batches.next_multiple_of(n_ranks);
        return Err(Diagnostic::usage("schedule-indivisible", message)
            .fact("micro_batches", u64::from(n_micro_batches))
            .fact("ranks", u64::from(n_ranks))
            .hint(format!("use {next} micro-batches, or one chunk per rank")));
    }
    let total = n_chunks * n_micro_batches;
    // Of the k-th pass of a rank: which of its chunks in turn, and which micro-batch.
    let turn = |k: u32| {
        let in_group = k % (n_ranks * n_chunks);
        let micro_batch = k / (n_ranks * n_chunks) * n_ranks + in_group % n_ranks;
        (in_group / n_ranks, micro_batch)
    };
    let row = |rank: u32| {
        let forward = |k| {
            let (chunk, micro_batch) = turn(k);
            Cell::new(chunk * n_ranks + rank, Pass::Forward, micro_batch)
        };
        let backward = |k| {
            let (chunk, micro_batch) = turn(k);
            Cell::new((n_chunks - 1 - chunk) * n_ranks + rank, Pass::Backward, micro_batch)
        };
        let n_warm_up = match n_chunks {
            1 => n_ranks - 1 - rank,
            _ => (n_chunks - 1) * n_ranks + 2 * (n_ranks - 1 - rank) + n_more,
        };
        let n_warm_up = n_warm_up.min(total);
        let steady = (n_warm_up..total).flat_map(|k| [forward(k), backward(k - n_warm_up)]);
        let cool_down = (total - n_warm_up..total).map(backward);
        (0..n_warm_up).map(forward).chain(steady).chain(cool_down).collect()
    };
    Ok(Grid { rows: (0..n_ranks).map(row).collect() })
}
