//! Branch and bound over the stages of one shape.
//!
//! Of 1F1B with stages `0..p`, forward times F, backward times B and m micro-batches, a step takes,
//! for every stage s, at least the way of the first micro-batch to s, all m passes of s, and the way
//! of the last gradient back; and at least the way of the first micro-batch to the last stage and
//! back to s, then all m backward passes of s and those forward passes that its warm-up has left.
//! After stage 0's last cell comes the end of its step.

use ir::grid::Grid;

use super::table::{Chosen, Table};
use super::{Counts, Judged, NODES, judged};
use crate::training::schedule::one_f_one_b;
use crate::training::search_3d::Pruning;

/// What a shape gives.
pub(super) struct Found {
    /// A plan below the cutoff.
    pub(super) best: Option<Judged>,
    /// No plan of the shape is faster.
    pub(super) bound: u64,
    /// The least bound of what was left open for want of replays; `u64::MAX` = nothing was.
    pub(super) open: u64,
}

/// How one shape is searched.
pub(super) struct Options {
    /// Nanoseconds from which on no plan is wanted.
    pub(super) cutoff: u64,
    /// Most replays.
    pub(super) budget: u64,
    /// Most partial plans.
    pub(super) nodes: u64,
    /// Whether bounds cut anything off.
    pub(super) pruning: Pruning,
}

/// Searches one shape.
pub(super) fn solve(table: &Table<'_>, options: &Options, counts: &mut Counts) -> Found {
    let cutoff = options.cutoff;
    let least = table.least();
    let mut found = Found { best: None, bound: least, open: u64::MAX };
    if least >= cutoff {
        return found;
    }
    let p = u32::try_from(table.p).unwrap_or(u32::MAX);
    let m = u32::try_from(table.m).unwrap_or(u32::MAX);
    let Ok(grid) = one_f_one_b::grid(p, m) else { return found };
    let mut search = Search {
        table,
        grid: &grid,
        cutoff,
        prunes: options.pruning == Pruning::On,
        most_judged: counts.n_judged.saturating_add(options.budget),
        most_nodes: counts
            .n_nodes
            .saturating_add(options.budget.saturating_mul(NODES).min(options.nodes)),
        counts,
        stages: Vec::with_capacity(table.p),
        best: None,
        open: u64::MAX,
    };
    search.descend(&Prefix { open: table.n, ..Prefix::default() });
    found.open = search.open;
    found.best = search.best;
    found
}

/// What is decided: stages from the first on.
#[derive(Clone, Copy, Default)]
struct Prefix {
    /// Blocks that are left.
    open: usize,
    /// Forward passes and transfers up to the next stage.
    forth: u64,
    /// Backward passes and transfers back from it.
    back: u64,
    /// The bound that the decided stages give with their own passes alone.
    own: u64,
    /// The end of the first stage's step.
    end: u64,
}

struct Search<'s> {
    table: &'s Table<'s>,
    grid: &'s Grid,
    cutoff: u64,
    prunes: bool,
    most_judged: u64,
    most_nodes: u64,
    counts: &'s mut Counts,
    stages: Vec<Chosen>,
    best: Option<Judged>,
    open: u64,
}

impl Search<'_> {
    /// What follows from one more stage.
    fn with(&self, prefix: &Prefix, stage: usize, chosen: &Chosen) -> (u64, Prefix) {
        let table = self.table;
        let times = &chosen.times;
        let open = prefix.open - chosen.blocks as usize;
        let end = if stage == 0 { times.end } else { prefix.end };
        let is_last = stage + 1 == table.p;
        let (next, through) = (table.rest[stage + 1][open], table.through[stage + 1][open]);
        let passes = table.m.saturating_mul(times.pass());
        let alone =
            (prefix.forth + passes + times.end).max(prefix.forth + prefix.back + passes + end);
        let warm_up = table.in_flight(stage);
        let there_and_back = prefix.forth
            + times.forward
            + if is_last { 0 } else { through }
            + table.m.saturating_mul(times.backward)
            + (table.m - warm_up) * times.forward
            + prefix.back
            + end;
        let bound = prefix.own.max(alone).max(there_and_back);
        let step = if is_last { 0 } else { table.transfer };
        let after = Prefix {
            open,
            forth: prefix.forth + times.forward + step,
            back: prefix.back + times.backward + step,
            own: bound,
            end,
        };
        // `rest` counts the transfers into the next stage itself.
        let later = if is_last {
            0
        } else {
            (prefix.forth + prefix.back + times.pass() + end).saturating_add(next)
        };
        (bound.max(later), after)
    }

    fn descend(&mut self, prefix: &Prefix) {
        let table = self.table;
        let stage = self.stages.len();
        if stage == table.p {
            self.judge(prefix.own);
            return;
        }
        let mut branches: Vec<(u64, u32, usize)> = Vec::new();
        for blocks in 1..=prefix.open {
            if table.rest[stage + 1][prefix.open - blocks] == u64::MAX {
                continue;
            }
            for (index, chosen) in table.choices[stage][blocks].iter().enumerate() {
                let (bound, _) = self.with(prefix, stage, chosen);
                if !self.prunes || bound < self.cutoff {
                    branches.push((bound, chosen.blocks, index));
                }
            }
        }
        branches.sort_unstable();
        for (bound, blocks, index) in branches {
            if self.prunes && bound >= self.cutoff {
                break;
            }
            if self.counts.n_judged >= self.most_judged || self.counts.n_nodes >= self.most_nodes {
                self.open = self.open.min(bound);
                break;
            }
            self.counts.n_nodes += 1;
            let chosen = table.choices[stage][blocks as usize][index];
            let (_, after) = self.with(prefix, stage, &chosen);
            self.stages.push(chosen);
            self.descend(&after);
            self.stages.pop();
        }
    }

    fn judge(&mut self, bound: u64) {
        self.counts.n_judged += 1;
        let judged = judged(self.table.priced, self.grid, &self.stages);
        let Some(judged) = judged else { return };
        debug_assert!(bound <= judged.step.0, "a bound of {bound} for {}", judged.step.0);
        if judged.step.0 < self.best.as_ref().map_or(u64::MAX, |best| best.step.0) {
            self.cutoff = self.cutoff.min(judged.step.0);
            self.best = Some(judged);
        }
    }
}
