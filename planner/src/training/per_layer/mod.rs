//! per-layer: degrees, cut, recompute and ZeRO of every block on measured layers, to a proof.
//!
//! # Decides
//! Degrees, micro-batch, the blocks of each stage, and of each block whether it is computed again
//! and whether its parameters are shared out (ZeRO-3) or not (ZeRO-2).
//!
//! # Idea
//! Blocks are alike, so of a stage only counts matter: blocks, of these computed again, of these
//! gathered; the first ones are computed again, the last ones gathered, so that as few as possible
//! are both. For each stage and count of blocks the fewest recomputed blocks that fit are known in
//! closed form for each count of gathered ones ([`table`]), and few of these choices are not beaten
//! in every time. Two paths through a 1F1B schedule bound the step by any one stage, what comes
//! before it and what comes after; a program over the chain turns this into bounds on all that is
//! open, and a branch and bound over stages ([`branch`]) replays what is left with the judge.
//! Degrees come first, by a bound without memory, until none can be better; each gets a few replays
//! in a first round, and what that leaves open is searched by its bound in a second one.
//!
//! # Paper
//! The space is that of Wang et al., "Improving automatic parallel training via balanced memory
//! workload optimization" (Galvatron-BMW), TKDE 2024, with one degree for all blocks; schedule:
//! Narayanan et al., SC 2021; ZeRO: Rajbhandari et al., SC 2020; Ulysses: Jacobs et al. 2023. The
//! search is our own.
//!
//! # Guarantee
//! Optimal under the judge's model where it runs to its end: no plan of 1F1B with one data, tensor or
//! Ulysses and pipeline degree for all blocks, any degree for the vocabulary, equal micro-batches, any
//! contiguous cut, ZeRO-2 or ZeRO-3 for both ends, and per block ZeRO-2 or ZeRO-3 and recompute or not, placed as said, is
//! faster. Else nothing is faster than [`Found::bound`].
//!
//! # Complexity
//! Shapes x stages x blocks^2 for the bounds; replays as [`Options::most_replays`] allows.
//!
//! # Limits
//! Degrees do not mix between blocks; no context or expert ranks; of Ulysses ranks the ends split
//! either the sequence too or the vocabulary. What was not measured and what has a grid of more than
//! [`MOST_CELLS`] cells is left out and counted.
//!
//! # Example
//! `meshwright train config.json --cluster node.yaml --profile measured/ --global-batch 64`.

pub mod branch;
mod judged;
pub mod min_memory;
pub mod shapes;
pub mod table;

#[cfg(test)]
mod laws;

use std::sync::Arc;

use cost_model::runs::measured::LayerPricing;
use cost_model::runs::measured::priced::Priced;
use ir::diagnostic::Diagnostic;
use ir::plan::Parallelism;
use ir::units::Nanos;

use super::search_3d::Pruning;
use super::search_3d::space::{MOST_CELLS, Space};
use crate::run::{Control, StopReason};
pub use judged::{Judged, judged, plan};
use table::Table;

/// Replays that each shape gets at first: the best of all these plans cuts off most of the rest.
const FIRST_REPLAYS: u64 = 16;

/// Partial plans for each replay that is allowed.
pub const NODES: u64 = 50;

/// How a search runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Limits, and what was used of them; a node is a partial plan.
    pub control: Arc<Control>,
    /// Most replays; past them, and past [`NODES`] partial plans for each, the answer is not proved.
    pub most_replays: u64,
    /// Whether bounds cut anything off.
    pub pruning: Pruning,
}

impl Default for Options {
    fn default() -> Self {
        Self { control: Arc::default(), most_replays: 20_000, pruning: Pruning::On }
    }
}

impl Options {
    /// Why it has to stop now, if it has to.
    #[must_use]
    pub fn stop(&self) -> Option<StopReason> {
        self.control.stop()
    }
}

/// How much was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Choices of degrees and micro-batch.
    pub n_shapes: u64,
    /// Of these, not in the profile.
    pub n_unmeasured: u64,
    /// Of these, with a grid of more than [`MOST_CELLS`] cells.
    pub n_too_large: u64,
    /// Looks into one of them; some are looked into twice.
    pub n_expanded: u64,
    /// Partial plans.
    pub n_nodes: u64,
    /// Plans that were replayed.
    pub n_judged: u64,
}

/// Degrees, and a time that no plan of theirs falls below.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Degrees with the micro-batch that the bound is from.
    pub degrees: Parallelism,
    /// The bound, memory counted where the search got that far.
    pub bound: Nanos,
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The best plan; `None` where nothing fits.
    pub best: Option<Judged>,
    /// No plan of the space is faster.
    pub bound: Nanos,
    /// Why it ended.
    pub stop: StopReason,
    /// How much was done.
    pub counts: Counts,
    /// Other degrees with their bounds, lowest first.
    pub others: Vec<Family>,
    /// What the first shape that was left out lacks in the profile.
    pub lacking: Option<Diagnostic>,
}

/// A shape with its prices and bound.
struct Open<'a> {
    priced: Priced<'a>,
    bound: u64,
}

/// Searches a space.
///
/// # Errors
/// Those of [`shapes::check`]: pins that have no meaning here.
pub fn solve(
    pricing: &LayerPricing<'_>,
    space: &Space,
    options: &Options,
) -> Result<Found, Diagnostic> {
    solve_observed(pricing, space, options, &mut |_, _| {})
}

/// Who is told of each plan that is the best so far, with a time that no plan falls below.
pub type Observer<'o> = dyn FnMut(&Judged, Nanos) + 'o;

/// A search of a space that tells of better plans as they come.
pub type Search =
    fn(&LayerPricing<'_>, &Space, &Options, &mut Observer<'_>) -> Result<Found, Diagnostic>;

/// Searches a space, and tells of better plans as they come.
///
/// # Errors
/// Those of [`shapes::check`]: pins that have no meaning here.
pub fn solve_observed(
    pricing: &LayerPricing<'_>,
    space: &Space,
    options: &Options,
    observer: &mut Observer<'_>,
) -> Result<Found, Diagnostic> {
    shapes::check(&space.pins)?;
    let mut counts = Counts::default();
    let (mut open, lacking) = opened(pricing, space, &mut counts);
    let mut running =
        Running { space, options, counts, best: None, left: u64::MAX, stop: StopReason::Finished };
    let first = match options.pruning {
        Pruning::On => FIRST_REPLAYS,
        Pruning::Off => u64::MAX,
    };
    let mut pending: Vec<(u64, usize)> = Vec::new();
    let mut tell = |running: &Running<'_>, known: u64, least: u64| {
        if let Some(best) = running.best.as_ref().filter(|best| best.step.0 < known) {
            observer(best, Nanos(least.min(best.step.0)));
        }
    };
    for index in 0..open.len() {
        let bound = open[index].bound;
        let least = pending.iter().map(|(left, _)| *left).fold(bound, u64::min);
        if bound >= running.cutoff() || running.ends(bound, least) {
            break;
        }
        let known = running.best.as_ref().map_or(u64::MAX, |best| best.step.0);
        let left = running.expand(&mut open[index], first);
        if left < u64::MAX {
            pending.push((left, index));
        }
        let next = open.get(index + 1).map_or(u64::MAX, |shape| shape.bound);
        let least = pending.iter().map(|(left, _)| *left).fold(next, u64::min);
        tell(&running, known, least);
    }
    pending.sort_unstable();
    for (bound, index) in pending {
        let least = running.left.min(bound);
        if bound >= running.cutoff() || running.ends(bound, least) {
            break;
        }
        let budget = options.most_replays.saturating_sub(running.counts.n_judged);
        let known = running.best.as_ref().map_or(u64::MAX, |best| best.step.0);
        let left = running.expand(&mut open[index], budget);
        running.left = running.left.min(left);
        tell(&running, known, running.left.min(bound));
    }
    let Running { best, left, mut stop, counts, .. } = running;
    let step = best.as_ref().map_or(u64::MAX, |best| best.step.0);
    if stop == StopReason::Finished && left < step {
        // Out of replays.
        stop = StopReason::NodeBudget;
    }
    let others = others(&open, best.as_ref());
    Ok(Found { bound: Nanos(step.min(left)), others, best, stop, counts, lacking })
}

/// A search under way.
struct Running<'a> {
    space: &'a Space,
    options: &'a Options,
    counts: Counts,
    best: Option<Judged>,
    /// The least bound of what was left open.
    left: u64,
    stop: StopReason,
}

impl Running<'_> {
    /// Steps from which on no plan is wanted.
    fn cutoff(&self) -> u64 {
        match self.options.pruning {
            Pruning::On => self.best.as_ref().map_or(u64::MAX, |best| best.step.0),
            Pruning::Off => u64::MAX,
        }
    }

    /// Whether it ends with nothing below `bound` left but what is open, and nothing at all below
    /// `least`.
    fn ends(&mut self, bound: u64, least: u64) -> bool {
        let options = self.options;
        let gap = options.control.limits().gap;
        let is_near = |best: &Judged| best.step.as_f64() <= least as f64 * (1.0 + gap);
        if gap > 0.0 && self.best.as_ref().is_some_and(is_near) && self.stop.is_complete() {
            self.stop = StopReason::GapReached;
        }
        self.stop = options.stop().unwrap_or(self.stop);
        let is_spent = self.best.is_some() && self.counts.n_judged >= options.most_replays;
        let ends = !self.stop.is_complete() || is_spent;
        if ends {
            self.left = self.left.min(bound);
        }
        ends
    }

    /// Looks into a shape with so many replays at most; the least bound of what that leaves open.
    fn expand(&mut self, shape: &mut Open<'_>, budget: u64) -> u64 {
        self.counts.n_expanded += 1;
        let cutoff = self.cutoff();
        let table = Table::new(&shape.priced, &self.space.pins);
        let (control, n_before) = (&self.options.control, self.counts.n_nodes);
        let nodes = control.nodes_left().unwrap_or(u64::MAX);
        let options = branch::Options { cutoff, budget, nodes, pruning: self.options.pruning };
        let found = branch::solve(&table, &options, &mut self.counts);
        control.spend(self.counts.n_nodes - n_before);
        // What was searched to its end has nothing below the best plan.
        let step = found.best.as_ref().map_or(u64::MAX, |best| best.step.0);
        let nothing_below = found.bound.max(step.min(cutoff)).min(found.open);
        shape.bound = if found.bound == u64::MAX { u64::MAX } else { nothing_below };
        let known = self.best.as_ref().map_or(u64::MAX, |best| best.step.0);
        self.best = found.best.filter(|judged| judged.step.0 < known).or(self.best.take());
        found.open
    }
}

/// Shapes that were measured, by increasing bound without memory, and what the first other one
/// lacks.
fn opened<'a>(
    pricing: &LayerPricing<'a>,
    space: &Space,
    counts: &mut Counts,
) -> (Vec<Open<'a>>, Option<Diagnostic>) {
    let mut open = Vec::new();
    let mut lacking = None;
    for degrees in shapes::shapes(pricing, space) {
        counts.n_shapes += 1;
        let cells = 2 * u64::from(degrees.pipeline);
        if degrees.n_micro_batches.saturating_mul(cells) > MOST_CELLS {
            counts.n_too_large += 1;
            continue;
        }
        match Priced::new(pricing, &degrees) {
            Ok(priced) => {
                let bound = table::without_memory(&priced, &space.pins);
                open.push(Open { priced, bound });
            }
            Err(error) => {
                counts.n_unmeasured += 1;
                lacking = lacking.or(Some(error));
            }
        }
    }
    open.sort_by_key(|shape| shape.bound);
    (open, lacking)
}

/// One family for each choice of degrees but the best plan's.
fn others(open: &[Open<'_>], best: Option<&Judged>) -> Vec<Family> {
    let key = |d: &Parallelism| (d.pipeline, d.tensor, d.data, d.sequence as u8);
    let mut families: Vec<Family> = Vec::new();
    for shape in open {
        let degrees = &shape.priced.degrees;
        if shape.bound == u64::MAX || best.is_some_and(|best| key(&best.degrees) == key(degrees)) {
            continue;
        }
        match families.iter_mut().find(|known| key(&known.degrees) == key(degrees)) {
            Some(known) if known.bound.0 <= shape.bound => {}
            Some(known) => *known = Family { degrees: degrees.clone(), bound: Nanos(shape.bound) },
            None => families.push(Family { degrees: degrees.clone(), bound: Nanos(shape.bound) }),
        }
    }
    families.sort_by_key(|family| family.bound);
    families
}
