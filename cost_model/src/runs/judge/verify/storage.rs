//! The verifier's account of memory: a sweep over intervals.

use ir::grid::{Cell, Grid, Pass};

use super::{Findings, Places};
use crate::ops::judge::replay::Span;
use crate::runs::judge::Judged;
use crate::runs::judge::costs::{PipelineCosts, StageCosts};
use crate::runs::judge::violation::Violation;

/// Compares the peaks of the trace with the sums of all intervals.
pub(super) fn check(
    costs: &PipelineCosts,
    grid: &Grid,
    judged: &Judged<'_>,
    places: &Places,
    findings: &mut Findings,
) {
    for (rank, row) in grid.rows.iter().enumerate() {
        let mut base = costs.ranks[rank].persistent.0;
        for stage in costs.stages.iter().filter(|stage| stage.rank as usize == rank) {
            base += stage.persistent.0;
        }
        let span = |cell: Cell| {
            let (rank, position) = places.get(&cell)?;
            Some(judged.timeline.cell(&judged.lowered, *rank, *position))
        };
        let mut pieces = Vec::new();
        for cell in row {
            of_cell(costs, *cell, &span, &mut pieces);
        }
        let peak = most(base, pieces);
        let traced = judged.trace.peaks[rank];
        if let Some(cell) = row.first().filter(|_| peak != (traced.bytes, traced.at)) {
            let rule = "the peak of a rank is the greatest sum of what lies there at once";
            findings.push(Violation::Clock { rule, cell: *cell });
        }
    }
}

/// Compares what hosts keep with the sums over devices, one by one.
pub(super) fn hosts(costs: &PipelineCosts, judged: &Judged<'_>, findings: &mut Findings) {
    let reported: Vec<u64> = judged.report.hosts.iter().map(|host| host.bytes).collect();
    let mut counted = Vec::with_capacity(reported.len());
    for host in &costs.hosts {
        let of_host =
            |stage: &&StageCosts| host.devices.iter().any(|(rank, _)| stage.rank == *rank);
        let bytes = costs.stages.iter().filter(of_host).flat_map(|stage| {
            let devices = host.devices.iter().filter(|(rank, _)| stage.rank == *rank);
            devices.map(|(_, n)| u128::from(stage.on_host.0) * u128::from(*n))
        });
        counted.push(u64::try_from(bytes.sum::<u128>()).unwrap_or(u64::MAX));
    }
    if reported != counted {
        findings.push(Violation::Count {
            field: "bytes on hosts",
            plan: reported.iter().fold(0, |sum, bytes| sum.saturating_add(*bytes)),
            costs: counted.iter().fold(0, |sum, bytes| sum.saturating_add(*bytes)),
        });
    }
}

/// What one cell puts into memory, and from when to when.
fn of_cell(
    costs: &PipelineCosts,
    cell: Cell,
    span: &impl Fn(Cell) -> Option<Span>,
    pieces: &mut Vec<(u64, u64, u64)>,
) {
    let stage = &costs.stages[cell.stage.index()];
    let of = |pass| span(Cell { pass, ..cell });
    let Some(here) = of(cell.pass) else { return };
    let total = stage.stash.0 + stage.recomputed.0;
    let for_weight = stage.kept_for_weight.0.min(total);
    let temporary = match cell.pass {
        Pass::Forward | Pass::Recompute => stage.forward_temporary.0,
        _ => stage.backward_temporary.0,
    };
    pieces.push((here.start, here.end, temporary));
    if cell.pass == Pass::BackwardInput {
        let last = of(Pass::BackwardWeight).unwrap_or(here).end;
        pieces.push((here.start, last, stage.made_for_weight.0));
    }
    if cell.pass == Pass::Forward {
        // Two layers with the same sum: what goes first and what the weight part still needs.
        let Some(first) = of(Pass::Backward).or_else(|| of(Pass::BackwardInput)) else { return };
        let last = of(Pass::BackwardWeight).unwrap_or(first).end;
        let again = of(Pass::Recompute).unwrap_or(first).start;
        // Up to `first.end` all of stash and recomputed lies there, from then on what is kept.
        pieces.push((here.start, first.end, stage.stash.0));
        pieces.push((again, first.end, stage.recomputed.0));
        if of(Pass::BackwardWeight).is_some() {
            pieces.push((first.end, last, for_weight));
        }
    }
}

/// The most bytes at once and the first instant with as many.
fn most(base: u64, pieces: Vec<(u64, u64, u64)>) -> (u64, u64) {
    let mut changes: Vec<(u64, bool, u64)> = Vec::new();
    for (start, end, bytes) in pieces.into_iter().filter(|piece| piece.0 < piece.1) {
        changes.push((start, true, bytes));
        changes.push((end, false, bytes));
    }
    changes.sort_unstable();
    let (mut level, mut peak) = (base, (base, 0));
    for (at, is_start, bytes) in changes {
        level = if is_start { level + bytes } else { level - bytes };
        if level > peak.0 {
            peak = (level, at);
        }
    }
    peak
}
