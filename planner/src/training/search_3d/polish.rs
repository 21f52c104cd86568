//! Cuts of a plan that was found, improved by moving one block at a time between stages.

use std::ops::Range;

use super::fit::Fitter;
use super::judge::{Judged, judged_below};
use super::space::Split;
use super::{Options, bound};

/// Cells that are replayed at most for one plan, as many as there are without folding.
const MOST_CELLS: u64 = 20_000_000;
/// Share of a step that other cuts may take off at most; then the plan stays as it is. It bounds how
/// slow the rule's cuts of a configuration may be for others to be looked at.
pub(super) const MOST_GAIN: f64 = 0.08;
/// Stages up to which every move is looked at; of more, those from ranks that compute longest and
/// from the ends.
const MOST_FREE_STAGES: usize = 16;
/// Stages that are weighed at most for one plan.
const MOST_STAGES: u64 = 1 << 21;

/// What may still be spent on a plan.
struct Left {
    replays: u64,
    cuts: u64,
}

/// The plan with the best cuts that single moves lead to: from the stage that a block leaves to any
/// other one, the stages between shifted by one block; of the moves that make the step shorter, in
/// the order of their bounds, the first one is taken, until there is none.
pub(super) fn polished(fitter: &Fitter<'_, '_>, plan: Judged, options: &Options) -> Judged {
    let degrees = &plan.configuration.degrees;
    if degrees.pipeline <= 1 {
        return plan;
    }
    let n_stages = plan.fitted.blocks.len() as u64;
    let n_cells = degrees.n_micro_batches.saturating_mul(3 * n_stages);
    let mut left = Left {
        replays: (MOST_CELLS / n_cells.max(1)).max(64),
        cuts: MOST_STAGES / n_stages.max(1),
    };
    let least = plan.step.0 as f64 * (1.0 - MOST_GAIN);
    let mut best = plan;
    while let Some(better) = moved(fitter, &best, (&mut left, options)) {
        if (better.step.0 as f64) < least {
            break;
        }
        best = better;
        best.configuration.split = Split::Balanced;
    }
    best
}

/// The first move that makes the step shorter.
fn moved(
    fitter: &Fitter<'_, '_>,
    best: &Judged,
    (left, options): (&mut Left, &Options),
) -> Option<Judged> {
    let blocks = &best.fitted.blocks;
    let fitted = |from, to| fitter.cut(shifted(blocks, from, to)?);
    let givers = givers(best);
    let pairs = (1..blocks.len()).flat_map(|distance| {
        let lows = 0..blocks.len() - distance;
        lows.flat_map(move |low| [(low, low + distance), (low + distance, low)])
    });
    let pairs = pairs.filter(|(from, _)| givers[*from]);
    let mut moves: Vec<(f64, usize, usize)> = Vec::new();
    for (from, to) in pairs {
        if left.cuts == 0 || options.stop().is_some() {
            break;
        }
        left.cuts -= 1;
        let Some(fitted) = fitted(from, to) else { continue };
        let least_s = bound::of_stages(fitter.priced, &best.configuration, &fitted.figures);
        if least_s < best.step.seconds() {
            moves.push((least_s, from, to));
        }
    }
    moves.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (_, from, to) in moves {
        if options.stop().is_some() {
            return None;
        }
        left.replays = left.replays.checked_sub(1)?;
        let found = judged_below(fitter.priced, &best.configuration, fitted(from, to)?, best.step);
        if let Ok(found) = found {
            return Some(found);
        }
    }
    None
}

/// By stage, whether it may give a block away.
fn givers(plan: &Judged) -> Vec<bool> {
    let figures = &plan.fitted.figures;
    let n_stages = figures.len();
    if n_stages <= MOST_FREE_STAGES {
        return vec![true; n_stages];
    }
    let n_ranks = plan.configuration.degrees.pipeline.max(1);
    let rank_of = |stage: usize| plan.configuration.order.rank_of(n_ranks, stage as u32) as usize;
    let mut seconds = vec![0.0; n_ranks as usize];
    for (stage, stage_figures) in figures.iter().enumerate() {
        seconds[rank_of(stage)] += stage_figures.seconds();
    }
    let longest = seconds.iter().copied().fold(0.0, f64::max);
    let is_longest = |rank: usize| seconds[rank] >= longest * (1.0 - 1e-9);
    (0..n_stages)
        .map(|stage| stage == 0 || stage + 1 == n_stages || is_longest(rank_of(stage)))
        .collect()
}

/// Stages of which one holds a block less and another one more; `None` where it would be empty.
fn shifted(blocks: &[Range<u32>], from: usize, to: usize) -> Option<Vec<Range<u32>>> {
    let mut sizes: Vec<u32> = blocks.iter().map(|range| range.end - range.start).collect();
    if sizes[from] <= 1 {
        return None;
    }
    sizes[from] -= 1;
    sizes[to] += 1;
    Some(super::fit::contiguous(&sizes))
}
