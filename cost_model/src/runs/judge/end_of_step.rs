//! What follows the last cells of a rank: the exchange of its gradients, then the optimizer
//! (`docs/conventions.md`, P6).
//!
//! The share of a stage's exchange that may run beside passes starts with the stage's last backward
//! cell, because gradients leave in buckets as they come; exchanges of one rank run one after the
//! other. The rest starts when all cells and these shares have ended; then ranks that hold parameters
//! together add up their gradients, all at once when the last of them is ready; the optimizer follows.

use ir::id::StageId;
use ir::units::Nanos;

use super::lower::{Lowered, VARIANT_BITS, Variant};
use super::timeline::{EndOfStep, Timeline, UNKNOWN};
use crate::ops::judge::replay::Span;

/// Appends the ends of all ranks to a timeline that has all cells.
pub(super) fn append(lowered: &Lowered<'_>, timeline: &mut Timeline) {
    let opens = last_backward(lowered, timeline);
    let mut by_rank: Vec<Vec<(u64, StageId)>> = vec![Vec::new(); lowered.costs.ranks.len()];
    for (stage, start) in opens.into_iter().enumerate() {
        by_rank[lowered.costs.stages[stage].rank as usize].push((start, StageId::new(stage)));
    }
    let mut tied = vec![0; by_rank.len()];
    for stage in &lowered.costs.stages {
        tied[stage.rank as usize] += stage.tied.0;
    }
    for (rank, mut stages) in by_rank.into_iter().enumerate() {
        stages.sort_unstable();
        let mut end = EndOfStep::default();
        let mut free = 0;
        let mut rest = 0;
        for (open, stage) in stages {
            let costs = &lowered.costs.stages[stage.index()];
            let overlapped = costs.overlapped.min(costs.exchange);
            rest += (costs.exchange - overlapped).0;
            if overlapped > Nanos::ZERO {
                let start = open.max(free);
                free = start + overlapped.0;
                end.overlapped.push((stage, Span { start, end: free }));
            }
        }
        let cells = lowered.cells_of(rank);
        let computed = cells.last().map_or(0, |cell| timeline.span(lowered, cell).end);
        let start = computed.max(free);
        end.exposed = Span { start, end: start + rest };
        timeline.ends.push(end);
    }
    let is_tied = |(_, tied): &(&EndOfStep, &u64)| **tied > 0;
    let ready = timeline.ends.iter().zip(&tied).filter(is_tied).map(|(end, _)| end.exposed.end);
    let ready = ready.max().unwrap_or(0);
    let mut last = timeline.step_time.0;
    for ((end, tied), rank) in timeline.ends.iter_mut().zip(tied).zip(&lowered.costs.ranks) {
        let start = if tied > 0 { ready } else { end.exposed.end };
        end.tied = Span { start, end: start + tied };
        end.optimizer = Span { start: start + tied, end: start + tied + rank.optimizer.0 };
        last = last.max(end.optimizer.end);
    }
    timeline.step_time = Nanos(last);
}

/// By stage: the start of the last cell that computes gradients of its weights.
fn last_backward(lowered: &Lowered<'_>, timeline: &Timeline) -> Vec<u64> {
    let mut starts = vec![UNKNOWN; lowered.costs.stages.len()];
    let mut open = vec![0usize; lowered.costs.ranks.len()];
    for stage in &lowered.costs.stages {
        open[stage.rank as usize] += 1;
    }
    for (rank, mut open) in open.into_iter().enumerate() {
        for cell in lowered.cells_of(rank).rev() {
            if open == 0 {
                break;
            }
            let step = lowered.step_of[cell];
            let stage = (step >> VARIANT_BITS) as usize;
            let variant = step & ((1 << VARIANT_BITS) - 1);
            let is_last = [Variant::Backward, Variant::LateBackward, Variant::Weight]
                .iter()
                .any(|other| *other as u32 == variant);
            if is_last && starts[stage] == UNKNOWN {
                starts[stage] = timeline.start[cell];
                open -= 1;
            }
        }
    }
    starts
}
