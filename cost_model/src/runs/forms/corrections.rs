//! A table of corrections on the time of a block, by hidden size, tensor ranks and samples of a
//! micro-batch: what kernels and hosts do that no smooth form shows.

use std::collections::BTreeMap;

use ir::card::TransformerCard;
use ir::plan::Parallelism;

use super::run::Run;

/// Where a correction holds: hidden size, tensor ranks, samples of a micro-batch.
pub type Cell = (u64, u32, u64);

/// Factors on the time of a block; 1 where nothing was measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Corrections {
    factors: BTreeMap<Cell, f64>,
}

/// Nothing was measured.
pub static NONE: Corrections = Corrections { factors: BTreeMap::new() };

/// The cell of a run.
#[must_use]
pub fn cell(run: &Run) -> Cell {
    let hidden = run.card().map_or(0, |card| card.hidden);
    (hidden, run.degrees().tensor, run.degrees().micro_batch)
}

fn cell_of(card: &TransformerCard, degrees: &Parallelism) -> Cell {
    (card.hidden, degrees.tensor, degrees.micro_batch)
}

impl Corrections {
    /// A table of given factors; those that are no positive finite numbers are left out.
    #[must_use]
    pub fn new(factors: impl IntoIterator<Item = (Cell, f64)>) -> Self {
        let usable = |(_, factor): &(Cell, f64)| factor.is_finite() && *factor > 0.0;
        Self { factors: factors.into_iter().filter(usable).collect() }
    }

    /// Cells and factors, in order.
    pub fn cells(&self) -> impl Iterator<Item = (Cell, f64)> + '_ {
        self.factors.iter().map(|(cell, factor)| (*cell, *factor))
    }

    /// The factor for blocks under given degrees.
    #[must_use]
    pub fn factor(&self, card: &TransformerCard, degrees: &Parallelism) -> f64 {
        self.factors.get(&cell_of(card, degrees)).copied().unwrap_or(1.0)
    }

    /// The factor for the blocks of a run.
    pub(super) fn of_run(&self, run: &Run) -> f64 {
        self.factors.get(&cell(run)).copied().unwrap_or(1.0)
    }
}
