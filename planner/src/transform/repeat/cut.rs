//! Where blocks begin, and where a block is cut.

use std::ops::Range;

use cost_model::ops::problem::Problem;
use ir::id::{OpId, TensorId};

use super::Stretch;
use crate::transform::tie::{Allowance, Amount};

/// By position: bytes of the tensors that are made before it and read at it or after it.
pub(super) fn bytes_across(problem: &Problem, line: &[OpId]) -> Vec<u64> {
    let mut position = vec![0; problem.n_ops()];
    for (at, op) in line.iter().enumerate() {
        position[op.index()] = at;
    }
    let span = |tensor: TensorId| {
        let maker = problem.producer(tensor)?;
        let readers = problem.consumers(tensor).iter().map(|op| position[op.index()]);
        Some(Span {
            made: position[maker.index()],
            last: readers.max()?,
            bytes: problem.bytes(tensor),
        })
    };
    across(line.len(), (0..problem.n_tensors()).map(TensorId::new).filter_map(span))
}

/// From where to where on a line a tensor lives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// Position of its maker.
    pub(crate) made: usize,
    /// Position of its last reader.
    pub(crate) last: usize,
    /// Its size.
    pub(crate) bytes: u64,
}

/// By position on a line of `n` ops: bytes of the tensors that are made before it and read at it
/// or after it.
pub(crate) fn across(n: usize, spans: impl Iterator<Item = Span>) -> Vec<u64> {
    let mut change = vec![0i128; n + 1];
    for span in spans.filter(|span| span.last > span.made) {
        change[span.made + 1] += i128::from(span.bytes);
        change[span.last + 1] -= i128::from(span.bytes);
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
    let mut amount = Amount::default();
    fewest_bytes(&across[base..=base + stretch.period], |start, end| {
        let sum = if start + 1 == end { Amount::default() } else { amount };
        amount = sum.plus(amounts[start]);
        allowance.admits(&amount)
    })
}

/// The pieces of a part of a line with the fewest bytes between them, as offsets from its start, of
/// whose positions, the end included, `across` has the bytes. Of each end `admits` is asked for
/// starts further and further back, until it says no; pieces of one op need no permission.
pub(crate) fn fewest_bytes(
    across: &[u64],
    mut admits: impl FnMut(usize, usize) -> bool,
) -> Vec<Range<usize>> {
    let n = across.len().saturating_sub(1);
    // Least bytes up to each cut, and the cut before it.
    let mut least: Vec<(u128, usize)> = vec![(0, 0)];
    for (end, bytes) in across.iter().enumerate().skip(1) {
        let mut best = (u128::MAX, end - 1);
        for start in (0..end).rev() {
            if !admits(start, end) && end - start > 1 {
                break;
            }
            if least[start].0 < best.0 {
                best = (least[start].0, start);
            }
        }
        // One byte more for each piece: fewer pieces where all else is equal.
        least.push((best.0.saturating_add(u128::from(*bytes) + 1), best.1));
    }
    let mut pieces = Vec::new();
    let mut end = n;
    while end > 0 {
        let start = least[end].1;
        pieces.push(start..end);
        end = start;
    }
    pieces.reverse();
    pieces
}
