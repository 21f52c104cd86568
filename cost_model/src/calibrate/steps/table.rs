//! Whether measured steps carry a table of corrections.

use std::collections::BTreeMap;

use ir::stack::Stack;

use crate::numeric::score::score;
use crate::runs::forms::constants::Constants;
use crate::runs::forms::correct;
use crate::runs::forms::corrections::{Cell, Corrections, cell};
use crate::runs::forms::fit::Sample;
use crate::runs::forms::step::closed_forms;

/// Rows that a cell of the table needs.
pub const ROWS_PER_CELL: usize = 2;
/// Such cells that a table needs.
pub const CELLS: usize = 3;
/// Rows per fitted constant that a table needs more than.
pub const ROWS_PER_CONSTANT: usize = 3;

/// Share of the error without a table that one may leave at most.
const WORTH: f64 = 0.9;

/// A table of corrections, or why there is none.
#[derive(Clone, Debug, PartialEq)]
pub enum Table {
    /// Factors of all cells that rows lie in.
    Kept(Corrections),
    /// Why it was left out.
    Left(String),
}

impl Table {
    /// A table where at least [`CELLS`] cells have [`ROWS_PER_CELL`] rows, there are more than
    /// [`ROWS_PER_CONSTANT`] rows for each fitted constant, and factors of one half of each cell's
    /// rows take [`WORTH`] or less of the error of the other half.
    pub(super) fn of(
        samples: &[Sample<'_>],
        stack: &Stack,
        constants: &Constants,
        n_constants: usize,
    ) -> Self {
        let mut cells: BTreeMap<Cell, Vec<Sample<'_>>> = BTreeMap::new();
        for sample in samples {
            cells.entry(cell(sample.run)).or_default().push(*sample);
        }
        cells.retain(|_, samples| samples.len() >= ROWS_PER_CELL);
        if cells.len() < CELLS {
            return Self::Left(format!(
                "{} of (hidden, tensor ranks, micro-batch) with {ROWS_PER_CELL} rows or more, of \
                 {CELLS} that it needs",
                if cells.len() == 1 {
                    "1 cell".to_owned()
                } else {
                    format!("{} cells", cells.len())
                }
            ));
        }
        if samples.len() <= ROWS_PER_CONSTANT * n_constants {
            return Self::Left(format!(
                "{} rows, and it needs more than {ROWS_PER_CONSTANT} for each of {n_constants} \
                 constants",
                samples.len()
            ));
        }
        let half = |parity: usize| -> Vec<Sample<'_>> {
            let every_other = cells.values().flat_map(|of| of.iter().skip(parity).step_by(2));
            every_other.copied().collect()
        };
        let halves = [half(0), half(1)];
        let mut without = Vec::new();
        let mut with = Vec::new();
        for (fitted, judged) in [(&halves[0], &halves[1]), (&halves[1], &halves[0])] {
            let factors = correct::fit(fitted, stack, constants);
            let pairs = |corrections: &Corrections| {
                let times = closed_forms(judged, stack, constants, corrections);
                times
                    .into_iter()
                    .zip(judged)
                    .map(|(time, sample)| (time, sample.time_s, ""))
                    .collect::<Vec<_>>()
            };
            without.extend(pairs(&Corrections::default()));
            with.extend(pairs(&factors));
        }
        let [without, with] = [without, with].map(|pairs| score(pairs.into_iter()).mape);
        if with > WORTH * without {
            return Self::Left(format!(
                "factors of half of the rows leave the other half {with:.1} % off, none {without:.1} %"
            ));
        }
        Self::Kept(correct::fit(samples, stack, constants))
    }
}
