//! Corrections of blocks, found from measured steps.

use std::collections::BTreeMap;

use ir::stack::Stack;

use super::constants::Constants;
use super::corrections::{Cell, Corrections, cell};
use super::fit::Sample;
use super::step::closed_forms;
use crate::numeric::median;

/// Step of the factor from which its effect is taken.
const STEP: f64 = 0.01;
/// Bounds of a factor.
const BOUNDS: (f64, f64) = (0.3, 3.0);
/// Rounds of finding factors.
const ROUNDS: usize = 3;

/// For each cell that samples lie in, the median over them of the factor that makes the
/// predicted step that which was measured.
#[must_use]
pub fn fit(samples: &[Sample<'_>], stack: &Stack, constants: &Constants) -> Corrections {
    let mut table = Corrections::default();
    for _ in 0..ROUNDS {
        let stepped = Corrections::new(
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
        table = Corrections::new(
            wanted.into_iter().filter_map(|(cell, factors)| Some((cell, median(factors)?))),
        );
    }
    table
}
