//! Cuts of a plan that was found, improved by moving one block at a time between stages.

use std::ops::Range;
use std::sync::Arc;

use cost_model::transformer::model::Pricing;
use cost_model::transformer::model::priced::{Passes, Priced};
use cost_model::transformer::model::stages::Stages;

use super::bound;
use super::fit::Fitter;
use super::judge::{Judged, judged};
use super::space::Split;
use crate::parallelism::order::kept;

/// Cells that are replayed at most for one plan.
const MOST_CELLS: u64 = 20_000_000;

/// The plan with the best cuts that single moves lead to: from the stage that a block leaves to any
/// other one, the stages between shifted by one block; the first move that makes the step shorter
/// is taken, until none does.
pub(super) fn polished(pricing: &Pricing<'_>, plan: Judged) -> Judged {
    let leaf = plan.leaf.clone();
    let degrees = &leaf.degrees;
    if degrees.pipeline <= 1 {
        return plan;
    }
    let Ok(m) = u32::try_from(degrees.n_micro_batches) else { return plan };
    let Ok(kept) = kept(leaf.order, degrees.pipeline, degrees.virtual_stages, m) else {
        return plan;
    };
    let passes = Arc::new(Passes::of(pricing, degrees));
    let priced = Priced::new(*pricing, degrees.clone(), passes);
    let stages = Stages::new(&priced);
    let limit = pricing.limit.map_or(f64::INFINITY, |limit| limit.as_f64());
    let fitter = Fitter::new(&stages, &leaf, &kept, limit);
    let n_cells = 3 * u64::from(m) * plan.fitted.blocks.len() as u64;
    let mut left = MOST_CELLS / n_cells.max(1);
    let mut best = plan;
    while let Some(better) = moved(&fitter, &priced, &best, &mut left) {
        best = better;
        best.leaf.split = Split::Balanced;
    }
    best
}

/// The first move that makes the step shorter.
fn moved(
    fitter: &Fitter<'_, '_, '_>,
    priced: &Priced<'_>,
    best: &Judged,
    left: &mut u64,
) -> Option<Judged> {
    let n_stages = best.fitted.blocks.len();
    for distance in 1..n_stages {
        for low in 0..n_stages - distance {
            for (from, to) in [(low, low + distance), (low + distance, low)] {
                let Some(blocks) = shifted(&best.fitted.blocks, from, to) else { continue };
                let Some(fitted) = fitter.cut(blocks) else { continue };
                let least_s = bound::of_stages(priced, &best.leaf, &fitted.figures);
                if least_s >= best.step.seconds() {
                    continue;
                }
                *left = left.checked_sub(1)?;
                let found = judged(priced, &best.leaf, fitted);
                if let Some(found) = found.filter(|found| found.step < best.step) {
                    return Some(found);
                }
            }
        }
    }
    None
}

/// Stages of which one holds a block less and another one more; `None` where it would be empty.
fn shifted(blocks: &[Range<u32>], from: usize, to: usize) -> Option<Vec<Range<u32>>> {
    let mut sizes: Vec<u32> = blocks.iter().map(|own| own.end - own.start).collect();
    if sizes[from] <= 1 {
        return None;
    }
    sizes[from] -= 1;
    sizes[to] += 1;
    Some(super::fit::contiguous(&sizes))
}
