//! A model as a chain of blocks that is cut into pipeline stages.
//!
//! [`min_max`] makes the slowest stage as fast as can be, [`critical_path`] the whole step of 1F1B.

use std::collections::BTreeSet;

use cost_model::runs::judge::costs::{Boundary, PipelineCosts, RankCosts, StageCosts};
use ir::diagnostic::Diagnostic;
use ir::units::{Bytes, Nanos};

pub mod critical_path;
pub mod min_max;

/// Most blocks times stages times blocks of a table.
const MOST_ENTRIES: u128 = 1 << 26;

/// A block of the model. Durations and bytes are those of one micro-batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Block {
    /// Forward pass, by device class.
    pub forward: Vec<Nanos>,
    /// Backward pass with what it computes again, by device class.
    pub backward: Vec<Nanos>,
    /// Parameters, gradients and optimizer states.
    pub persistent: Bytes,
    /// What its forward pass keeps.
    pub stash: Bytes,
    /// Most scratch bytes of a pass.
    pub temporary: Bytes,
    /// What crosses a cut after it.
    pub next: Boundary,
    /// Blocks of one group hold the same `tied_bytes`, which each stage with one of them holds once.
    pub tied: Option<u32>,
    /// Part of `persistent` that the group shares.
    pub tied_bytes: Bytes,
}

/// Where a stage runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// Device class: which entry of the blocks' times.
    pub class: usize,
    /// Bytes that a device of it can hold; `None` = unlimited.
    pub limit: Option<Bytes>,
}

/// What is cut: blocks in model order, one slot per stage in pipeline order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chain {
    /// Blocks.
    pub blocks: Vec<Block>,
    /// Slots.
    pub slots: Vec<Slot>,
    /// Micro-batches of a step.
    pub n_micro_batches: u32,
}

/// A cut: where each stage ends, as counts of blocks; the last is all of them.
pub type Ends = Vec<usize>;

impl Chain {
    /// Refuses chains without blocks, slots or micro-batches, with fewer blocks than slots, with
    /// times missing, or beyond what a table can hold.
    ///
    /// # Errors
    /// `chain-size`, `chain-times`.
    pub fn check(&self) -> Result<(), Diagnostic> {
        let (n, p) = (self.blocks.len(), self.slots.len());
        let entries = n as u128 * n as u128 * p as u128;
        if p == 0 || n < p || self.n_micro_batches == 0 || entries > MOST_ENTRIES {
            let message = format!(
                "{n} blocks can't be cut into {p} stages for {} micro-batches",
                self.n_micro_batches
            );
            return Err(Diagnostic::usage("chain-size", message)
                .fact("blocks", n)
                .fact("stages", p)
                .hint(
                    "each stage needs a block, and a table of blocks x blocks x stages must fit",
                ));
        }
        let n_classes = self.slots.iter().map(|slot| slot.class + 1).max().unwrap_or(0);
        let lacks = |block: &Block| block.forward.len().min(block.backward.len()) < n_classes;
        if let Some(block_idx) = self.blocks.iter().position(lacks) {
            let message = format!("block {block_idx} lacks times of {n_classes} device classes");
            return Err(Diagnostic::usage("chain-times", message).hint("give one per class"));
        }
        Ok(())
    }

    /// Micro-batches that stage `stage` of 1F1B keeps at once.
    #[must_use]
    pub fn in_flight(&self, stage: usize) -> u64 {
        u64::from(self.n_micro_batches).min((self.slots.len() - stage) as u64)
    }

    /// Costs of a stage that holds blocks `from..to` in slot `stage`.
    #[must_use]
    pub fn stage(&self, from: usize, to: usize, stage: usize) -> StageCosts {
        let mut growing = Growing::new(self, stage);
        for block in &self.blocks[from..to] {
            growing.add(block);
        }
        growing.costs
    }

    /// Costs of a whole cut, for the judge.
    #[must_use]
    pub fn costs(&self, ends: &[usize]) -> PipelineCosts {
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let stages = starts.zip(ends).enumerate();
        let stages = stages.map(|(stage, (from, to))| self.stage(from, *to, stage)).collect();
        let rank = |slot: &Slot| RankCosts { limit: slot.limit, ..RankCosts::default() };
        PipelineCosts {
            n_micro_batches: self.n_micro_batches,
            stages,
            ranks: self.slots.iter().map(rank).collect(),
            ..PipelineCosts::default()
        }
    }

    /// Whether a stage fits into its slot under 1F1B.
    fn fits(&self, costs: &StageCosts, stage: usize) -> bool {
        let temporary = costs.forward_temporary.get().max(costs.backward_temporary.get());
        let held = u128::from(costs.stash.get()) * u128::from(self.in_flight(stage));
        let total = held + u128::from(temporary) + u128::from(costs.persistent.get());
        self.slots[stage].limit.is_none_or(|limit| total <= u128::from(limit.get()))
    }

    /// By stage, first block and end: the value of `of`, `None` where the stage does not fit or a
    /// neighbour would be empty.
    fn table(&self, of: impl Fn(usize, usize, usize, &StageCosts) -> u64) -> Table {
        let (n, p) = (self.blocks.len(), self.slots.len());
        let mut values = vec![None; p * (n + 1) * (n + 1)];
        for stage in 0..p {
            for from in stage..=n.saturating_sub(p - stage) {
                let last = if stage + 1 == p { n } else { n + stage + 1 - p };
                let first = if stage + 1 == p { n } else { from + 1 };
                if stage == 0 && from > 0 {
                    break;
                }
                let mut growing = Growing::new(self, stage);
                for to in from + 1..=last {
                    growing.add(&self.blocks[to - 1]);
                    if to >= first && self.fits(&growing.costs, stage) {
                        values[(stage * (n + 1) + from) * (n + 1) + to] =
                            Some(of(stage, from, to, &growing.costs));
                    }
                }
            }
        }
        Table { n, p, values }
    }
}

/// A stage that takes one block after the other.
struct Growing {
    class: usize,
    costs: StageCosts,
    /// Groups of which it holds the shared bytes.
    tied: BTreeSet<u32>,
}

impl Growing {
    fn new(chain: &Chain, stage: usize) -> Self {
        let rank = u32::try_from(stage).unwrap_or(u32::MAX);
        let costs = StageCosts { rank, ..StageCosts::default() };
        Self { class: chain.slots[stage].class, costs, tied: BTreeSet::new() }
    }

    fn add(&mut self, block: &Block) {
        let is_again = block.tied.is_some_and(|group| !self.tied.insert(group));
        let shared = if is_again { block.tied_bytes.get() } else { 0 };
        let own = block.persistent.get().saturating_sub(shared);
        let costs = &mut self.costs;
        let sum = |total: u64, more: u64| total.saturating_add(more);
        costs.forward = Nanos(sum(costs.forward.get(), block.forward[self.class].get()));
        costs.backward = Nanos(sum(costs.backward.get(), block.backward[self.class].get()));
        costs.stash = Bytes(sum(costs.stash.get(), block.stash.get()));
        costs.persistent = Bytes(sum(costs.persistent.get(), own));
        costs.forward_temporary = costs.forward_temporary.max(block.temporary);
        costs.backward_temporary = costs.backward_temporary.max(block.temporary);
        costs.next = block.next;
    }
}

/// A value per stage and range of blocks.
struct Table {
    n: usize,
    p: usize,
    values: Vec<Option<u64>>,
}

impl Table {
    fn at(&self, stage: usize, from: usize, to: usize) -> Option<u64> {
        self.values[(stage * (self.n + 1) + from) * (self.n + 1) + to]
    }

    /// By stage and first block: the least greatest value of the rest of the chain, `u64::MAX` where
    /// nothing fits. One row more for the end.
    fn rest(&self) -> Vec<Vec<u64>> {
        let mut rest = vec![vec![u64::MAX; self.n + 1]; self.p + 1];
        rest[self.p][self.n] = 0;
        for stage in (0..self.p).rev() {
            for from in 0..self.n {
                let best = (from + 1..=self.n).filter_map(|to| {
                    self.at(stage, from, to).map(|value| value.max(rest[stage + 1][to]))
                });
                rest[stage][from] = best.min().unwrap_or(u64::MAX);
            }
        }
        rest
    }

    /// The first cut (by its ends) whose greatest value is the least.
    fn cut(&self, rest: &[Vec<u64>]) -> Option<Ends> {
        let best = rest[0][0];
        if best == u64::MAX {
            return None;
        }
        let mut ends = Vec::with_capacity(self.p);
        let mut from = 0;
        for stage in 0..self.p {
            from = (from + 1..=self.n).find(|to| {
                self.at(stage, from, *to).is_some_and(|value| value <= best)
                    && rest[stage + 1][*to] <= best
            })?;
            ends.push(from);
        }
        Some(ends)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests;
