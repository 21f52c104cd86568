//! Runs of equal blocks on a line.

use std::collections::HashSet;
use std::ops::Range;

use ir::id::{OpId, TensorId};
use ir::op::Work;

use super::extend;
use super::line::Line;
use crate::transform::repeat::Stretch;
use crate::transform::repeat::fingerprint::{periods, stretches};

/// Most runs of a model.
const MOST_RUNS: usize = 12;
/// Periods that are tried for each.
const N_PERIODS: usize = 8;
/// A run has at least one in so many of the ops.
const LEAST_PART: usize = 50;
/// Places at which equally few bytes pass that are tried for the first op of a block.
const MOST_TIES: usize = 8;

/// Equal blocks in the order of the dataflow; ops of one stand in the order of the others'.
pub(super) type Blocks = Vec<Vec<OpId>>;

/// Finds runs, the one with most ops first.
pub(super) fn find(line: &Line<'_>) -> Vec<Blocks> {
    let mut runs: Vec<Blocks> = Vec::new();
    let mut is_taken = vec![false; line.graph.ops.len()];
    let mut rest = line.ops.clone();
    while runs.len() < MOST_RUNS {
        let Some(found) = longest(line, &rest, &is_taken) else { break };
        for op in found.iter().flatten() {
            is_taken[op.index()] = true;
        }
        rest.retain(|op| !is_taken[op.index()]);
        runs.push(found);
    }
    runs
}

/// The run with most ops among what is left; of equal ones that with the shorter blocks, then the
/// one that begins first.
fn longest(line: &Line<'_>, rest: &[OpId], is_taken: &[bool]) -> Option<Blocks> {
    let hashes: Vec<u64> = rest.iter().map(|op| line.own[op.index()]).collect();
    let across = line.across(rest);
    let mut place = vec![0; line.graph.ops.len()];
    for (at, op) in rest.iter().enumerate() {
        place[op.index()] = at;
    }
    let left = Rest { line, ops: rest, place: &place, is_taken };
    let least = (line.ops.len() / LEAST_PART).max(2);
    let mut best: Option<(usize, usize, Blocks)> = None;
    for period in periods(&hashes, N_PERIODS, LEAST_PART) {
        for stretch in stretches(&hashes, period, &vec![false; rest.len()]) {
            let most = best.as_ref().map_or(0, |(n_ops, ..)| *n_ops);
            // At best one more block than there are periods can be found before it and behind it.
            if stretch.end - stretch.start + 2 * period <= most {
                continue;
            }
            for found in left.candidates(&stretch, &across) {
                let n_ops = found.len() * period;
                let known = best.as_ref().map(|(n, period, _)| (*n, std::cmp::Reverse(*period)));
                if n_ops >= least && known.is_none_or(|k| (n_ops, std::cmp::Reverse(period)) > k) {
                    best = Some((n_ops, period, found));
                }
            }
        }
    }
    best.map(|(_, _, found)| found)
}

/// What is left of a line.
struct Rest<'l, 'g> {
    line: &'l Line<'g>,
    ops: &'l [OpId],
    /// By op, its position in `ops`.
    place: &'l [usize],
    is_taken: &'l [bool],
}

impl Rest<'_, '_> {
    /// Runs from the places of a stretch at which the fewest bytes pass from block to block.
    fn candidates(&self, stretch: &Stretch, across: &[u64]) -> Vec<Blocks> {
        let Stretch { start, end, period } = *stretch;
        let at = |place: usize| across[place.min(across.len() - 1)];
        // The first block may read what the others do not, the last one leave out what they pass on.
        let passing = |offset: usize| match end - start >= 3 * period {
            true => at(start + period + offset),
            false => at(start + offset).max(at(start + period + offset)),
        };
        let offsets = 0..period.min((end - start + 1).saturating_sub(2 * period));
        let Some(fewest) = offsets.clone().map(passing).min() else { return Vec::new() };
        let offsets = offsets.filter(|offset| passing(*offset) == fewest);
        let from = |offset: usize| {
            let range = self.alike(start + offset..end, period)?;
            has_products(self.line, &self.ops[range.start..range.start + period])
                .then(|| self.extended(&range, period))
        };
        offsets.take(MOST_TIES).filter_map(from).collect()
    }

    /// The position of an op, if it is left and in a range.
    fn place_in(&self, op: OpId, range: &Range<usize>) -> Option<usize> {
        let place = self.place[op.index()];
        (!self.is_taken[op.index()] && range.contains(&place)).then_some(place)
    }

    /// Of the whole periods of a range the most, at least two, that follow one another and of which
    /// each reads from the one before it as the others do.
    fn alike(&self, range: Range<usize>, period: usize) -> Option<Range<usize>> {
        let n_blocks = range.len() / period;
        let block = |number: usize| {
            let start = range.start + number * period;
            start..start + period
        };
        let mut best = 0..0;
        let mut first = 0;
        for number in 1..=n_blocks {
            if number < n_blocks && self.follows(&block(number - 1), &block(number)) {
                continue;
            }
            if number - first > best.len() {
                best = first..number;
            }
            first = number;
        }
        let from = |number: usize| range.start + number * period;
        (best.len() >= 2).then(|| from(best.start)..from(best.end))
    }

    /// Whether a block reads from the one before it, and from its own ops as that one does.
    fn follows(&self, before: &Range<usize>, block: &Range<usize>) -> bool {
        let mut reads_before = false;
        for (earlier, later) in self.ops[before.clone()].iter().zip(&self.ops[block.clone()]) {
            let inputs = |op: &OpId| self.line.graph.op(*op).inputs.iter();
            for (earlier, later) in inputs(earlier).zip(inputs(later)) {
                let maker = |tensor: &TensorId| self.line.maker(*tensor);
                let place = |op: Option<OpId>, range: &Range<usize>| {
                    Some(self.place_in(op?, range)? - range.start)
                };
                if place(maker(earlier), before) != place(maker(later), block) {
                    return false;
                }
                reads_before |= place(maker(later), before).is_some();
            }
        }
        reads_before
    }

    /// The blocks of a range, and those before the first one that the line does not show.
    fn extended(&self, range: &Range<usize>, period: usize) -> Blocks {
        let mut blocks: Blocks =
            self.ops[range.clone()].chunks(period).map(<[OpId]>::to_vec).collect();
        let mut taken: HashSet<OpId> = HashSet::new();
        let mut front: Blocks = Vec::new();
        loop {
            let last = front.last().unwrap_or(&blocks[0]);
            let later = match front.len() {
                0 => &blocks[1],
                1 => &blocks[0],
                n => &front[n - 2],
            };
            let is_free = |op: OpId| {
                !self.is_taken[op.index()]
                    && !taken.contains(&op)
                    && self.place_in(op, range).is_none()
            };
            let Some(found) = extend::before(self.line, last, later, is_free) else { break };
            taken.extend(found.iter().copied());
            front.push(found);
        }
        front.reverse();
        front.append(&mut blocks);
        front
    }
}

/// Whether some op of a block is more than data movement: parts that only slice and join are no
/// blocks. Ops whose time is given count as work.
fn has_products(line: &Line<'_>, block: &[OpId]) -> bool {
    block.iter().any(|op| match &line.graph.op(*op).work {
        Work::View => false,
        Work::Kernel(kernel) => !kernel.products.is_empty(),
        Work::Given(_) => true,
    })
}
