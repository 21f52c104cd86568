//! A bound from duals, whoever found them.
//!
//! For any y, of which those of rows that may be greater are not negative, no point of the program costs less than
//! y b + the sum of negative reduced costs: columns are between 0 and 1 (weak duality).

use super::program::Program;

/// What no point of a program costs less than, by duals of its rows. Wrong duals give a low bound, never a false one.
#[must_use]
pub fn of(program: &Program, duals: &[f64]) -> f64 {
    let mut reduced = program.costs.clone();
    let mut bound = 0.0;
    for (row, dual) in program.rows.iter().zip(duals) {
        let dual = if row.is_least { dual.max(0.0) } else { *dual };
        if !dual.is_finite() {
            return 0.0;
        }
        bound += dual * row.value;
        for (column, factor) in &row.terms {
            reduced[*column] -= dual * factor;
        }
    }
    bound + reduced.iter().map(|cost| cost.min(0.0)).sum::<f64>()
}
