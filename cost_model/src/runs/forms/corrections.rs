//! A table of corrections on the time of a block, by hidden size, tensor ranks and samples of a
//! micro-batch: what kernels and hosts do that no smooth form shows.

use std::collections::BTreeMap;

use ir::card::TransformerCard;
use ir::plan::Parallelism;
use ir::stack::Stack;

use super::constants::Constants;
use super::fit::Sample;
use super::run::Run;
use super::step::closed_forms;
use crate::numeric::median;

/// Where a correction holds: hidden size, tensor ranks, samples of a micro-batch.
pub type Cell = (u64, u32, u64);

/// Factors on the time of a block; 1 where nothing was measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Corrections {
    factors: BTreeMap<Cell, f64>,
}

/// Nothing was measured.
pub static NONE: Corrections = Corrections { factors: BTreeMap::new() };

/// Step of the factor from which its effect is taken.
const STEP: f64 = 0.01;
/// Bounds of a factor.
const BOUNDS: (f64, f64) = (0.3, 3.0);
/// Rounds of finding factors.
const ROUNDS: usize = 3;

/// The cell of a run.
#[must_use]
pub fn cell(run: &Run) -> Cell {
    cell_of(&run.block, run.degrees())
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

    fn of_run(&self, run: &Run) -> f64 {
        self.factor(&run.block, run.degrees())
    }

    /// For each cell that samples lie in, the median over them of the factor that makes the
    /// predicted step that which was measured.
    #[must_use]
    pub fn fit(samples: &[Sample<'_>], stack: &Stack, constants: &Constants) -> Self {
        let mut table = Self::default();
        for _ in 0..ROUNDS {
            let stepped = Self::new(
                samples
                    .iter()
                    .map(|sample| (cell(sample.run), table.of_run(sample.run) * (1.0 + STEP))),
            );
            let before = closed_forms(samples, stack, constants, &table);
            let after = closed_forms(samples, stack, constants, &stepped);
            let mut wanted: BTreeMap<Cell, Vec<f64>> = BTreeMap::new();
            for ((sample, before), after) in samples.iter().zip(before).zip(after) {
                let factor = table.of_run(sample.run);
                let slope = (after - before) / (STEP * factor);
                let factor = factor + (sample.time_s - before) / slope;
                if factor.is_finite() {
                    let factor = factor.clamp(BOUNDS.0, BOUNDS.1);
                    wanted.entry(cell(sample.run)).or_default().push(factor);
                }
            }
            table = Self::new(
                wanted.into_iter().filter_map(|(cell, factors)| Some((cell, median(factors)?))),
            );
        }
        table
    }
}
