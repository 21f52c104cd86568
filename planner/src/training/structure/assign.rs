//! Every op into one segment of a chain.
//!
//! Blocks stand in the order of their last ops on the line; before, between and behind them are
//! gaps. An op outside blocks can stand anywhere between what it reads from and what reads it. It
//! goes as late as it can, but before the first of the equal blocks that read it, so that what all
//! layers share (masks, rotations) does not become part of the first one.

use std::cmp::Reverse;

use ir::id::OpId;
use ir::op::Work;

use super::line::Line;
use super::runs::Blocks;
use super::{Run, Segment, Structure};
use crate::transform::repeat::cut::fewest_bytes;

/// Gaps are cut into parts of at most one in so many of the work, as far as it can be cut.
const PARTS: f64 = 32.0;
/// Most ops of such a part, so that cutting takes about as long as the part is.
const LONGEST: usize = 1_024;

/// Blocks in the order of a chain: run, number in the run, ops.
type Chain<'r> = Vec<(usize, usize, &'r [OpId])>;

/// The chain of a graph with such runs. Runs whose blocks cannot stand in one chain with those of
/// longer runs are left out.
pub(super) fn segments(line: &Line<'_>, runs: &[Blocks]) -> Structure {
    let mut chosen: Vec<&Blocks> = Vec::new();
    for run in runs {
        chosen.push(run);
        if fixed(line, &chain(line, &chosen)).is_none() {
            chosen.pop();
        }
    }
    chosen.sort_by_key(|run| run[0].iter().map(|op| line.position[op.index()]).max());
    let chain = chain(line, &chosen);
    let places = places(line, &chain, fixed(line, &chain).unwrap_or_default());
    let mut by_place: Vec<Vec<OpId>> = vec![Vec::new(); 2 * chain.len() + 1];
    for op in &line.ops {
        by_place[places[op.index()]].push(*op);
    }
    let all = line.ops.iter().fold((1.0, 1.0), |sum: (f64, f64), op| {
        let op_work = work(line, *op);
        (sum.0 + op_work.0, sum.1 + op_work.1)
    });
    let mut built = Structure {
        runs: vec![Run { segments: Vec::new() }; chosen.len()],
        ..Structure::default()
    };
    for (place, ops) in by_place.into_iter().enumerate() {
        match chain.get(place / 2).filter(|_| place % 2 == 1) {
            Some((run, ..)) => {
                built.runs[*run].segments.push(built.segments.len());
                built.segments.push(Segment { ops, run: Some(*run) });
            }
            None => {
                let parts = parts(line, &ops, all).into_iter().filter(|part| !part.is_empty());
                built.segments.extend(parts.map(|ops| Segment { ops, run: None }));
            }
        }
    }
    built.segment_of = vec![0; line.graph.ops.len()];
    for (number, segment) in built.segments.iter().enumerate() {
        segment.ops.iter().for_each(|op| built.segment_of[op.index()] = number);
    }
    built
}

/// Blocks of all runs by the position of their last op.
fn chain<'r>(line: &Line<'_>, runs: &[&'r Blocks]) -> Chain<'r> {
    let numbered = |(run, blocks): (usize, &&'r Blocks)| -> Vec<(usize, usize, &'r [OpId])> {
        blocks.iter().enumerate().map(|(number, ops)| (run, number, ops.as_slice())).collect()
    };
    let mut all: Chain<'r> = runs.iter().enumerate().flat_map(numbered).collect();
    all.sort_by_key(|(_, _, ops)| ops.iter().map(|op| line.position[op.index()]).max());
    all
}

/// By op, the place of its block, `2 i + 1` for the block at `i`; the gap before it is `2 i`.
/// `None` where a block reads from one behind it.
fn fixed(line: &Line<'_>, chain: &Chain<'_>) -> Option<Vec<Option<usize>>> {
    let mut fixed = vec![None; line.graph.ops.len()];
    for (at, (_, _, ops)) in chain.iter().enumerate() {
        for op in *ops {
            fixed[op.index()] = Some(2 * at + 1);
        }
    }
    let mut lowest = vec![0; line.graph.ops.len()];
    for op in &line.ops {
        let makers = line.graph.op(*op).inputs.iter().filter_map(|tensor| line.maker(*tensor));
        let least = makers.map(|maker| lowest[maker.index()]).max().unwrap_or(0);
        lowest[op.index()] = match fixed[op.index()] {
            Some(place) if place < least => return None,
            Some(place) => place,
            None => least,
        };
    }
    Some(fixed)
}

/// By op, its place.
fn places(line: &Line<'_>, chain: &Chain<'_>, mut fixed: Vec<Option<usize>>) -> Vec<usize> {
    fixed.resize(line.graph.ops.len(), None);
    let mut lowest = vec![0; line.graph.ops.len()];
    for op in &line.ops {
        let makers = line.graph.op(*op).inputs.iter().filter_map(|tensor| line.maker(*tensor));
        let least = makers.map(|maker| lowest[maker.index()]).max().unwrap_or(0);
        lowest[op.index()] = fixed[op.index()].unwrap_or(least);
    }
    // The gap before the first of the equal blocks that stand together.
    let mut gap = vec![0; chain.len() + 1];
    for at in 1..chain.len() {
        gap[at] = if chain[at].0 == chain[at - 1].0 { gap[at - 1] } else { 2 * at };
    }
    let is_last = |at: usize| chain.get(at + 1).is_none_or(|next| next.0 != chain[at].0);
    let mut places = lowest;
    for op in line.ops.iter().rev() {
        let readers = line.graph.op(*op).outputs.iter().flat_map(|t| line.readers.of(t.index()));
        let highest = readers.map(|reader| places[reader.index()]).min();
        let least = places[op.index()];
        if fixed[op.index()].is_some() {
            continue;
        }
        places[op.index()] = match highest {
            // Nobody reads it: a result of the model behind the last of equal blocks, else one of
            // its block.
            None if least % 2 == 1 && is_last(least / 2) => least + 1,
            None => least,
            Some(highest) if highest % 2 == 0 => highest,
            Some(highest) if gap[highest / 2] >= least => gap[highest / 2],
            Some(highest) => (highest - 1).max(least),
        };
    }
    places
}

/// A part without blocks, cut where the fewest bytes pass; `all` is the work of the whole graph.
fn parts(line: &Line<'_>, ops: &[OpId], all: (f64, f64)) -> Vec<Vec<OpId>> {
    let share = |op: &OpId| {
        let (flops, bytes) = work(line, *op);
        (flops / all.0).max(bytes / all.1)
    };
    let shares: Vec<f64> = ops.iter().map(share).collect();
    let across = line.across(ops);
    let (mut sum, mut largest) = (0.0, 0.0);
    let cuts = fewest_bytes(&across, |start, end| {
        if start + 1 == end {
            (sum, largest) = (0.0, 0.0);
        }
        sum += shares[start];
        largest = f64::max(largest, shares[start]);
        // One large op may stand with small ones: there is nothing to be cut.
        sum - largest <= 1.0 / PARTS && end - start <= LONGEST
    });
    cuts.into_iter().map(|range| ops[range].to_vec()).collect()
}

/// Operations and bytes moved of an op; of one whose time is given, its longest time instead.
fn work(line: &Line<'_>, op: OpId) -> (f64, f64) {
    match &line.graph.op(op).work {
        Work::View => (0.0, 0.0),
        Work::Kernel(kernel) => {
            (kernel.flops().as_f64(), kernel.bytes_read.as_f64() + kernel.bytes_written.as_f64())
        }
        Work::Given(given) => {
            let longest = given.time.values().map(|time| Reverse(time.get())).min();
            (longest.map_or(0.0, |Reverse(time)| time as f64), 0.0)
        }
    }
}
