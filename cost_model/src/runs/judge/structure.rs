//! Whether a grid holds every pass exactly once, on the right rank, after what it needs there.

use std::collections::BTreeSet;

use ir::grid::{Cell, Grid, Pass};
use ir::id::StageId;

use super::costs::PipelineCosts;
use super::lower::{Step, VARIANT_BITS, Variant};
use super::violation::Violation;

/// Times and sums stay below this, so that no addition in the replay can overflow.
const MOST: u128 = 1 << 62;

// What was done for one stage and micro-batch.
const FORWARD: u8 = 1;
const BACKWARD: u8 = 2;
const SPLIT: u8 = 4;
const WEIGHT: u8 = 8;
const RECOMPUTED: u8 = 16;

/// Whether the grid has a row per rank and as many cells as a complete one at least. Only then is
/// it worth any tables, whose size the costs alone state.
pub(super) fn sizes(costs: &PipelineCosts, grid: &Grid) -> Result<(), Violation> {
    let (n_rows, n_ranks) = (grid.rows.len(), costs.ranks.len());
    if n_rows != n_ranks {
        let (plan, costs) = (n_rows as u64, n_ranks as u64);
        return Err(Violation::Count { field: "rows", plan, costs });
    }
    let n_cells = grid.n_cells() as u128;
    let n_slots = costs.stages.len() as u128 * u128::from(costs.n_micro_batches);
    if n_cells > u128::from(u32::MAX >> VARIANT_BITS) {
        return Err(Violation::OutOfRange { unit: "cells" });
    }
    if costs.stages.len() > (u32::MAX >> VARIANT_BITS) as usize {
        return Err(Violation::OutOfRange { unit: "stages" });
    }
    if n_cells < 2 * n_slots || n_slots == 0 {
        return Err(first_defect(costs, grid));
    }
    Ok(())
}

/// Whether all times and bytes together stay in range.
pub(super) fn range(costs: &PipelineCosts, steps: &[Step]) -> Result<(), Violation> {
    let m = u128::from(costs.n_micro_batches);
    let mut time = 0u128;
    let mut bytes = 0u128;
    for step in steps {
        time += m * (u128::from(step.duration) + u128::from(step.way.duration));
        bytes += m * (u128::from(step.allocated) + u128::from(step.way.bytes));
        bytes += u128::from(step.temporary) + u128::from(step.freed);
    }
    for stage in &costs.stages {
        time += u128::from(stage.exchange.0)
            + u128::from(stage.overlapped.0)
            + u128::from(stage.tied.0);
        bytes += u128::from(stage.persistent.0);
    }
    for rank in &costs.ranks {
        time += u128::from(rank.optimizer.0);
        bytes += u128::from(rank.persistent.0);
    }
    match () {
        () if time > MOST => Err(Violation::OutOfRange { unit: "nanoseconds" }),
        () if bytes > MOST => Err(Violation::OutOfRange { unit: "bytes" }),
        () => Ok(()),
    }
}

/// The next pass of a stage on a micro-batch, or `None` if it is not its turn.
#[inline]
pub(super) fn next(pass: Pass, done: &mut u8) -> Option<Variant> {
    let (mark, variant) = match pass {
        Pass::Forward if *done == 0 => (FORWARD, Variant::Forward),
        Pass::Backward if *done == FORWARD => (BACKWARD, Variant::LateBackward),
        Pass::Backward if *done == FORWARD | RECOMPUTED => (BACKWARD, Variant::Backward),
        Pass::BackwardInput if *done == FORWARD => (BACKWARD | SPLIT, Variant::LateInput),
        Pass::BackwardInput if *done == FORWARD | RECOMPUTED => (BACKWARD | SPLIT, Variant::Input),
        Pass::BackwardWeight if *done & (SPLIT | WEIGHT) == SPLIT => (WEIGHT, Variant::Weight),
        Pass::Recompute if *done == FORWARD => (RECOMPUTED, Variant::Recompute),
        _ => return None,
    };
    *done |= mark;
    Some(variant)
}

/// Why it is not a cell's turn.
#[cold]
pub(super) fn out_of_turn(cell: Cell, rank: u32, done: u8) -> Violation {
    let same = match cell.pass {
        Pass::Forward => FORWARD,
        Pass::Backward | Pass::BackwardInput => BACKWARD,
        Pass::BackwardWeight => WEIGHT,
        Pass::Recompute => RECOMPUTED,
    };
    // The whole backward pass leaves no weight part to do.
    let whole = cell.pass == Pass::BackwardWeight && done & (BACKWARD | SPLIT) == BACKWARD;
    if done & same != 0 || whole {
        return Violation::Twice { cell, rank };
    }
    let needs = match cell.pass {
        Pass::BackwardWeight => Pass::BackwardInput,
        // Recompute after the backward pass: the backward pass is what came too early.
        Pass::Recompute if done & BACKWARD != 0 => {
            let pass = if done & SPLIT == 0 { Pass::Backward } else { Pass::BackwardInput };
            return Violation::TooEarly { cell: Cell { pass, ..cell }, needs: cell, rank };
        }
        _ => Pass::Forward,
    };
    Violation::TooEarly { cell, needs: Cell { pass: needs, ..cell }, rank }
}

/// Why a cell does not belong into a row.
#[cold]
pub(super) fn foreign(costs: &PipelineCosts, cell: Cell, rank: u32) -> Violation {
    match costs.rank_of(cell.stage) {
        Some(holder) if holder != rank && cell.micro_batch < costs.n_micro_batches => {
            Violation::WrongRank { cell, rank, holder }
        }
        _ => Violation::UnknownCell { cell, rank },
    }
}

/// Whether nothing is missing.
pub(super) fn complete(costs: &PipelineCosts, done: &[u8]) -> Result<(), Violation> {
    let is_open = |state: u8| {
        state & (FORWARD | BACKWARD) != FORWARD | BACKWARD || state & (SPLIT | WEIGHT) == SPLIT
    };
    let m = costs.n_micro_batches as usize;
    let mut open = done.iter().enumerate().filter(|(_, state)| is_open(**state));
    let Some((slot, _)) = open.next() else { return Ok(()) };
    let pass = match done[slot] {
        state if state & FORWARD == 0 => Pass::Forward,
        state if state & BACKWARD == 0 => Pass::Backward,
        _ => Pass::BackwardWeight,
    };
    Err(missing(costs, StageId::new(slot / m), pass, slot % m))
}

fn missing(costs: &PipelineCosts, stage: StageId, pass: Pass, micro_batch: usize) -> Violation {
    let micro_batch = u32::try_from(micro_batch).unwrap_or(u32::MAX);
    let rank = costs.rank_of(stage).unwrap_or(0);
    Violation::Missing { cell: Cell { stage, pass, micro_batch }, rank }
}

/// A defect of a grid with fewer cells than a complete one, in time and memory of the grid.
#[cold]
fn first_defect(costs: &PipelineCosts, grid: &Grid) -> Violation {
    let mut seen = BTreeSet::new();
    for (rank, row) in (0u32..).zip(&grid.rows) {
        for cell in row {
            let holder = costs.rank_of(cell.stage);
            if holder != Some(rank) || cell.micro_batch >= costs.n_micro_batches {
                return foreign(costs, *cell, rank);
            }
            let is_backward = matches!(cell.pass, Pass::Backward | Pass::BackwardInput);
            if is_backward || cell.pass == Pass::Forward {
                seen.insert((is_backward, cell.stage, cell.micro_batch));
            }
        }
    }
    for pass in [Pass::Forward, Pass::Backward] {
        for stage in (0..costs.stages.len()).map(StageId::new) {
            for micro_batch in 0..costs.n_micro_batches {
                if !seen.contains(&(pass == Pass::Backward, stage, micro_batch)) {
                    return missing(costs, stage, pass, micro_batch as usize);
                }
            }
        }
    }
    Violation::Count { field: "stages or micro-batches", plan: grid.n_cells() as u64, costs: 0 }
}
