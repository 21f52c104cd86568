//! Where blocks begin, and where a block is cut.

use std::ops::Range;

use cost_model::problem::Problem;
use ir::id::{OpId, TensorId};

use super::Stretch;
use crate::transform::tie::{Allowance, Amount};

/// By position: bytes of the tensors that are made before it and read at it or after it.
pub(super) fn bytes_across(problem: &Problem, line: &[OpId]) -> Vec<u64> {
    let mut position = vec![0; problem.n_ops()];
    for (at, op) in line.iter().enumerate() {
        position[op.index()] = at;
    }
    let mut change = vec![0i128; line.len() + 1];
    for tensor in (0..problem.n_tensors()).map(TensorId::new) {
        let Some(maker) = problem.producer(tensor) else { continue };
        let readers = problem.consumers(tensor).iter().map(|op| position[op.index()]);
        let Some(last) = readers.max() else { continue };
        let bytes = i128::from(problem.bytes(tensor));
        change[position[maker.index()] + 1] += bytes;
        change[last + 1] -= bytes;
    }
    let mut sum = 0i128;
    let across = change.iter().map(|change| {
        sum += change;
        u64::try_from(sum).unwrap_or(u64::MAX)
    });
    across.collect()
}

/// The stretch from the place on at which the fewest bytes pass from one block to the next; `None`
/// if fewer than two blocks are left.
pub(super) fn aligned(stretch: Stretch, across: &[u64]) -> Option<Stretch> {
    let Stretch { start, end, period } = stretch;
    // The first block of a stretch may read what the others do not.
    let offset = (0..period).min_by_key(|offset| (across[start + period + offset], *offset))?;
    let start = start + offset;
    let n_blocks = (end - start) / period;
    (n_blocks >= 2).then_some(Stretch { start, end: start + n_blocks * period, period })
}

/// The pieces of a block, as offsets from its start: the fewest bytes between them, no piece above
/// the allowance unless it is one op.
pub(super) fn pieces(
    problem: &Problem,
    line: &[OpId],
    stretch: &Stretch,
    across: &[u64],
    allowance: &Allowance,
) -> Vec<Range<usize>> {
    let base = stretch.start + stretch.period;
    let amounts: Vec<Amount> =
        line[base..base + stretch.period].iter().map(|op| Amount::of(problem, *op)).collect();
    // Least bytes up to each cut, and the cut before it.
    let mut least: Vec<(u128, usize)> = vec![(0, 0)];
    for end in 1..=stretch.period {
        let bytes = u128::from(across[base + end]);
        let mut best = (u128::MAX, end - 1);
        let mut amount = Amount::default();
        for start in (0..end).rev() {
            amount = amount.plus(amounts[start]);
            if end - start > 1 && !allowance.admits(&amount) {
                break;
            }
            // One byte more for each piece: fewer pieces where all else is equal.
            let total = least[start].0.saturating_add(bytes).saturating_add(1);
            if total < best.0 {
                best = (total, start);
            }
        }
        least.push(best);
    }
    let mut pieces = Vec::new();
    let mut end = stretch.period;
    while end > 0 {
        let start = least[end].1;
        pieces.push(start..end);
        end = start;
    }
    pieces.reverse();
    pieces
}
