//! Contiguous stages whose 1F1B step is as short as can be.
//!
//! # Decides
//! Which blocks each stage holds.
//!
//! # Idea
//! The slowest stage is not all: work before it delays its start, and with few micro-batches work
//! behind it delays its first backward pass. Both give bounds on the step that speak of one stage
//! alone, so a program over the chain finds the cut with the least such bound. From there, blocks
//! move over cuts while the replayed step gets shorter, and a search over all cuts, pruned by the
//! same bounds, goes on to a proof or to the end of its budget.
//!
//! # Paper
//! Liu et al., "AutoPipe: a fast pipeline parallelism approach with balanced partitioning and
//! micro-batch slicing", CLUSTER 2022: the step of 1F1B as the objective, moves around the critical
//! stage. The bounds are our own.
//!
//! # Guarantee
//! Optimal where [`Found::is_proved`]; nothing is shorter than [`Found::bound`].
//!
//! # Complexity
//! O(N^2 p) for the bound, O(p m) per replay.
//!
//! # Limits
//! The order of the slots is given. Transfers count in the replay; in the bound, only the start-up
//! and bytes of the cheapest boundary.
//!
//! # Example
//! See the tests: every cut of up to 14 blocks on up to 4 stages.

use cost_model::runs::judge::way::Contention;
use cost_model::runs::judge::{judge, over_limit};
use ir::diagnostic::Diagnostic;
use ir::grid::Grid;
use ir::units::Nanos;

use super::{Chain, Ends, Table, min_max};
use crate::training::schedule::one_f_one_b;

/// How much a search may spend.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most cells of all replays together; [`LEAST_REPLAYS`] are made in any case.
    pub most_cells: u64,
}

/// Replays that even a long schedule gets.
pub const LEAST_REPLAYS: u64 = 400;

impl Default for Limits {
    fn default() -> Self {
        Self { most_cells: 4_000_000 }
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Step time and ends of the stages; `None` if no cut fits into the memory.
    pub best: Option<(Nanos, Ends)>,
    /// No cut that fits has a shorter step.
    pub bound: Nanos,
    /// Optimal, or none fits.
    pub is_proved: bool,
}

/// Searches.
///
/// # Errors
/// As [`Chain::check`], and `schedule-size` for a grid of too many cells.
pub fn solve(chain: &Chain, limits: &Limits, stop: &dyn Fn() -> bool) -> Result<Found, Diagnostic> {
    chain.check()?;
    let p = u32::try_from(chain.slots.len()).unwrap_or(u32::MAX);
    let grid = one_f_one_b::grid(p, chain.n_micro_batches)?;
    let table = bounds(chain);
    let rest = table.rest();
    let bound = Nanos(rest[0][0]);
    let Some(start) = table.cut(&rest) else {
        return Ok(Found { best: None, bound, is_proved: true });
    };
    let n_cells = grid.n_cells().max(1) as u64;
    let n_left = (limits.most_cells / n_cells).max(LEAST_REPLAYS);
    let mut search = Search { chain, grid: &grid, table: &table, rest: &rest, best: None, n_left };
    search.offer(&start);
    if let Some((_, ends)) = min_max::solve(chain)? {
        search.offer(&ends);
    }
    search.climb(stop);
    let is_whole = search.descend(&mut Vec::new(), stop);
    let best = search.best;
    let is_proved = is_whole || best.as_ref().is_some_and(|best| best.0 <= bound);
    let bound = match &best {
        Some((value, _)) if is_proved => *value,
        _ => bound,
    };
    Ok(Found { best, bound, is_proved })
}

/// By stage and range: no step with this stage is shorter.
///
/// Let F, B be the stage's times, `before` and `behind` those of the other stages, w the forward
/// passes that 1F1B allows before the first gradient. The step is at least
/// 1. `before + m (F + B)`: its first forward pass waits for all earlier ones, and its last backward
///    pass goes back through them;
/// 2. `all + (m - 1) B + (m - w) F`: the first gradient comes after a trip to the end and back;
/// 3. `all + (m - w) (F + B) + behind`: so it does, and after the last forward pass there is one
///    more trip;
/// 4. `before + m F + (m - w + 1) B + behind`: that last trip alone.
fn bounds(chain: &Chain) -> Table {
    let m = u64::from(chain.n_micro_batches);
    let n_stages = chain.slots.len() as u64;
    let fastest = |times: &[Nanos]| {
        let classes = chain.slots.iter().map(|slot| slot.class);
        classes.filter_map(|class| times.get(class)).map(|time| time.get()).min().unwrap_or(0)
    };
    let mut before = vec![0u64];
    for block in &chain.blocks {
        let both = fastest(&block.forward).saturating_add(fastest(&block.backward));
        before.push(before.last().unwrap_or(&0).saturating_add(both));
    }
    let ways = chain.blocks[..chain.blocks.len() - 1].iter().map(|block| {
        let next = &block.next;
        let there = next.link.time(next.activation, 1).get();
        there.saturating_add(next.link.time(next.gradient, 1).get())
    });
    let way = ways.min().unwrap_or(0);
    let all = before[chain.blocks.len()];
    chain.table(|stage, from, to, costs| {
        let (f, b) = (costs.forward.get(), costs.backward.get());
        let both = f.saturating_add(b);
        let (slots_before, slots_behind) = (stage as u64, n_stages - 1 - stage as u64);
        let fill = before[from].saturating_add(way.saturating_mul(slots_before));
        let behind = (all - before[to]).saturating_add(way.saturating_mul(slots_behind));
        let trip = all.saturating_add(way.saturating_mul(n_stages - 1));
        let left = m - chain.in_flight(stage);
        let sum = |terms: [u64; 3]| terms.into_iter().fold(0, u64::saturating_add);
        let first = sum([fill, m.saturating_mul(both), 0]);
        let second = sum([trip, (m - 1).saturating_mul(b), left.saturating_mul(f)]);
        let third = if left > 0 { sum([trip, left.saturating_mul(both), behind]) } else { 0 };
        let last = m.saturating_mul(f).saturating_add((left + 1).saturating_mul(b));
        first.max(second).max(third).max(sum([fill, last, behind]))
    })
}

struct Search<'a> {
    chain: &'a Chain,
    grid: &'a Grid,
    table: &'a Table,
    rest: &'a [Vec<u64>],
    best: Option<(Nanos, Ends)>,
    n_left: u64,
}

impl Search<'_> {
    /// Replays a cut and keeps it if it is the best; whether it was.
    fn offer(&mut self, ends: &[usize]) -> bool {
        self.n_left = self.n_left.saturating_sub(1);
        let costs = self.chain.costs(ends);
        let Ok(judged) = judge(&costs, self.grid, Contention::Static) else { return false };
        let value = judged.report.step_time;
        let is_better = over_limit(&judged.report).is_none()
            && self.best.as_ref().is_none_or(|best| value < best.0);
        if is_better {
            self.best = Some((value, ends.to_vec()));
        }
        is_better
    }

    fn value(&self) -> u64 {
        self.best.as_ref().map_or(u64::MAX, |best| best.0.get())
    }

    /// The greatest bound of the stages of a cut; `None` if one does not fit.
    fn bound(&self, ends: &[usize]) -> Option<u64> {
        let starts = std::iter::once(&0).chain(ends);
        let stages = starts.zip(ends).enumerate();
        stages
            .map(|(stage, (from, to))| self.table.at(stage, *from, *to))
            .try_fold(0, |most, value| Some(most.max(value?)))
    }

    /// Moves runs of cuts by one block while that shortens the step.
    fn climb(&mut self, stop: &dyn Fn() -> bool) {
        let n_cuts = self.chain.slots.len() - 1;
        // Half of the budget stays for the search over all cuts.
        let floor = self.n_left / 2;
        loop {
            let Some((_, ends)) = self.best.clone() else { return };
            let mut is_better = false;
            'moves: for length in 1..=n_cuts {
                for first in 0..=n_cuts - length {
                    for up in [false, true] {
                        if self.n_left <= floor || stop() || self.value() <= self.rest[0][0] {
                            return;
                        }
                        let mut moved = ends.clone();
                        for end in &mut moved[first..first + length] {
                            *end = if up { *end + 1 } else { *end - 1 };
                        }
                        if self.bound(&moved).is_some_and(|bound| bound < self.value())
                            && self.offer(&moved)
                        {
                            is_better = true;
                            break 'moves;
                        }
                    }
                }
            }
            if !is_better {
                return;
            }
        }
    }

    /// All cuts that begin with these ends; whether none was left out.
    fn descend(&mut self, ends: &mut Ends, stop: &dyn Fn() -> bool) -> bool {
        if self.value() <= self.rest[0][0] {
            return true;
        }
        let (stage, from) = (ends.len(), ends.last().copied().unwrap_or(0));
        if stage == self.chain.slots.len() {
            self.offer(ends);
            return true;
        }
        let mut next: Vec<(u64, usize)> = (from + 1..=self.chain.blocks.len())
            .filter_map(|to| {
                let own = self.table.at(stage, from, to)?;
                Some((own.max(self.rest[stage + 1][to]), to))
            })
            .collect();
        next.sort_unstable();
        for (bound, to) in next {
            if bound >= self.value() || bound == u64::MAX {
                break;
            }
            if self.n_left == 0 || stop() {
                return false;
            }
            ends.push(to);
            let is_whole = self.descend(ends, stop);
            ends.pop();
            if !is_whole {
                return false;
            }
        }
        true
    }
}
