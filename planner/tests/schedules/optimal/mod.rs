//! The shortest grid of a small pipeline, with a proof: the oracle of the hand-made schedules.
//!
//! # Decides
//! The order of each pipeline rank.
//!
//! # Idea
//! Micro-batches are alike, so each pass of a stage takes them in order and a partial schedule is no
//! more than counts and clocks. Layer by layer, every partial schedule gets every pass that may come
//! next; of two with the same counts, the one whose clocks are all at least as late goes. A layer
//! that grows past a width keeps the most promising ones, and the best of what was dropped bounds
//! what the sweep may have missed; then the width grows until nothing is dropped.
//!
//! # Paper
//! The dominance is that of Held and Karp, J. SIAM 10(1), 1962; the bound of a rank is the preemptive
//! schedule with heads and tails of Jackson (1955), as in Carlier, EJOR 11(1), 1982; sweeps of growing
//! width: Zhang, "Complete anytime beam search", AAAI 1998.
//!
//! # Guarantee
//! Optimal among all grids with the chosen form of the backward pass where [`Found::is_proved`], at
//! transfers that never wait for each other. Otherwise nothing is shorter than [`Found::bound`].
//!
//! # Complexity
//! States: at most C(2 S + m, m) counts of S stages and m micro-batches (more where the backward pass
//! is split), each with the clocks that no other beats.
//!
//! # Limits
//! What happens at the end of the step (gradient exchange, optimizer) is not looked at. Stages that
//! recompute always do so in a cell of its own.
//!
//! # Example
//! 2 ranks, 2 micro-batches, F = I = W = 1: 7 units, which ZB-H1 reaches.

use cost_model::runs::judge::costs::PipelineCosts;
use cost_model::runs::judge::judge;
use ir::diagnostic::Diagnostic;
use ir::grid::Grid;
use ir::units::Nanos;

mod bound;
mod passes;
mod sweep;

use passes::Passes;

/// Form of the backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Backward {
    /// One cell.
    Whole,
    /// Two cells: input gradient and weight gradient.
    Split,
}

/// How much a search may spend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Most partial schedules of one layer; the first sweep keeps [`FIRST_WIDTH`].
    pub(crate) most_width: usize,
    /// Most partial schedules of all sweeps together.
    pub(crate) most_states: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { most_width: 1 << 20, most_states: 1 << 28 }
    }
}

/// Partial schedules per layer of the first sweep.
const FIRST_WIDTH: usize = 64;
/// Growth of the width from sweep to sweep.
const GROWTH: usize = 8;

/// What was found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// The shortest grid seen and its step time, as the judge has it.
    pub(crate) best: Option<(Nanos, Grid)>,
    /// No grid that fits is shorter.
    pub(crate) bound: Nanos,
    /// The grid is optimal, or none fits.
    pub(crate) is_proved: bool,
    /// Partial schedules looked at.
    pub(crate) n_states: u64,
}

/// Searches, from the best of `known` on.
///
/// Memory limits are those of [`PipelineCosts::ranks`]; `known` grids that exceed one, or are not
/// legal, are passed over.
///
/// # Errors
/// `schedule-size` for more than 250 micro-batches.
pub(crate) fn solve(
    costs: &PipelineCosts,
    backward: Backward,
    known: &[Grid],
    limits: &Limits,
    stop: &dyn Fn() -> bool,
) -> Result<Found, Diagnostic> {
    let passes = Passes::new(costs, backward)?;
    let mut found = Found {
        best: known.iter().filter_map(|grid| judged(costs, grid)).min_by_key(|best| best.0),
        bound: Nanos(bound::root(&passes)),
        is_proved: false,
        n_states: 0,
    };
    let mut width = FIRST_WIDTH;
    loop {
        let best = found.best.as_ref().map_or(u64::MAX, |best| best.0.get());
        if best <= found.bound.get() {
            found.is_proved = true;
            return Ok(found);
        }
        let budget = limits.most_states.saturating_sub(found.n_states);
        let swept = sweep::sweep(&passes, width, best, budget, stop);
        found.n_states += swept.n_states;
        if let Some((value, grid)) = swept.grid.as_ref().and_then(|grid| judged(costs, grid))
            && found.best.as_ref().is_none_or(|best| value < best.0)
        {
            found.best = Some((value, grid));
        }
        let best = found.best.as_ref().map_or(u64::MAX, |best| best.0.get());
        found.bound = found.bound.max(Nanos(swept.bound.min(best)));
        if swept.is_whole() {
            // Every schedule was looked at: what was found is the best, or there is none.
            found.is_proved = best <= found.bound.get() || found.best.is_none();
            return Ok(found);
        }
        if width >= limits.most_width || found.n_states >= limits.most_states || stop() {
            return Ok(found);
        }
        width = width.saturating_mul(GROWTH).min(limits.most_width);
    }
}

/// Step time of a grid that is legal and fits.
pub(crate) fn judged(costs: &PipelineCosts, grid: &Grid) -> Option<(Nanos, Grid)> {
    let judged = judge(costs, grid).ok()?;
    let fits = cost_model::runs::judge::over_limit(&judged.report).is_none();
    fits.then(|| (judged.report.step_time, grid.clone()))
}
