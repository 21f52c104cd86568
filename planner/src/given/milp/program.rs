//! An integer program as data: columns and rows, checked before any solver sees them.

/// Factors below are left out of a row: the solver would drop them as well.
const LEAST_FACTOR: f64 = 1e-9;
/// Factors above mean that the units are wrong.
const GREATEST_FACTOR: f64 = 1e6;

/// A variable; its number is its position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Column {
    /// Factor in the objective.
    pub(crate) cost: f64,
    /// Least value.
    pub(crate) lower: f64,
    /// Greatest value.
    pub(crate) upper: f64,
    /// Whether only whole numbers count.
    pub(crate) is_integer: bool,
}

/// `lower <= sum of factor x column <= upper`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    /// Least value, -infinity for none.
    pub(crate) lower: f64,
    /// Greatest value, infinity for none.
    pub(crate) upper: f64,
    /// Columns with their factors, increasing, each once.
    pub(crate) entries: Vec<(u32, f64)>,
}

/// Minimise the sum of cost x column.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Program {
    /// Variables.
    pub(crate) columns: Vec<Column>,
    /// Constraints.
    pub(crate) rows: Vec<Row>,
}

impl Program {
    /// A variable of 0 or 1.
    pub(crate) fn binary(&mut self) -> u32 {
        self.column(Column { cost: 0.0, lower: 0.0, upper: 1.0, is_integer: true })
    }

    /// A variable between 0 and 1.
    pub(crate) fn share(&mut self) -> u32 {
        self.between(0.0, 1.0)
    }

    /// A continuous variable.
    pub(crate) fn between(&mut self, lower: f64, upper: f64) -> u32 {
        self.column(Column { cost: 0.0, lower, upper, is_integer: false })
    }

    /// A variable of whole numbers from 0 to `upper`.
    pub(crate) fn whole(&mut self, upper: f64) -> u32 {
        self.column(Column { cost: 0.0, lower: 0.0, upper, is_integer: true })
    }

    fn column(&mut self, column: Column) -> u32 {
        self.columns.push(column);
        self.columns.len() as u32 - 1
    }

    /// Sum of entries at least `lower`.
    pub(crate) fn at_least(&mut self, lower: f64, entries: impl IntoIterator<Item = (u32, f64)>) {
        self.row(lower, f64::INFINITY, entries);
    }

    /// Sum of entries at most `upper`.
    pub(crate) fn at_most(&mut self, upper: f64, entries: impl IntoIterator<Item = (u32, f64)>) {
        self.row(f64::NEG_INFINITY, upper, entries);
    }

    /// Sum of entries equal to `value`.
    pub(crate) fn equal(&mut self, value: f64, entries: impl IntoIterator<Item = (u32, f64)>) {
        self.row(value, value, entries);
    }

    fn row(&mut self, lower: f64, upper: f64, entries: impl IntoIterator<Item = (u32, f64)>) {
        let mut entries: Vec<(u32, f64)> = entries.into_iter().collect();
        entries.sort_by_key(|entry| entry.0);
        let mut joined: Vec<(u32, f64)> = Vec::with_capacity(entries.len());
        for (column, factor) in entries {
            match joined.last_mut() {
                Some(last) if last.0 == column => last.1 += factor,
                _ => joined.push((column, factor)),
            }
        }
        // What is no number stays, and is refused later.
        joined.retain(|(_, factor)| factor.is_nan() || factor.abs() >= LEAST_FACTOR);
        self.rows.push(Row { lower, upper, entries: joined });
    }

    /// Whether every figure is one that a solver can work with: finite factors of a sound size,
    /// bounds that are numbers, columns that are there.
    #[must_use]
    pub(crate) fn is_sound(&self) -> bool {
        let columns = self.columns.iter().all(|column| {
            column.cost.is_finite()
                && column.lower.is_finite()
                && column.upper.is_finite()
                && column.lower <= column.upper
        });
        let rows = self.rows.iter().all(|row| {
            let is_side = |side: f64| side.is_infinite() || side.abs() <= GREATEST_FACTOR;
            let is_entry = |entry: &(u32, f64)| {
                entry.1.abs() <= GREATEST_FACTOR && (entry.0 as usize) < self.columns.len()
            };
            row.lower <= row.upper
                && is_side(row.lower)
                && is_side(row.upper)
                && row.entries.iter().all(is_entry)
        });
        columns && rows
    }

    /// Entries of all rows.
    #[must_use]
    pub(crate) fn n_entries(&self) -> usize {
        self.rows.iter().map(|row| row.entries.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsound_figures_are_found() {
        let mut program = Program::default();
        let (one, two) = (program.binary(), program.share());
        program.at_most(1.0, [(one, 1.0), (two, 2.0), (one, 1.0)]);
        assert_eq!(program.rows[0].entries, [(one, 2.0), (two, 2.0)]);
        assert!(program.is_sound());
        for (side, factor) in [(f64::NAN, 1.0), (1.0, f64::NAN), (1.0, f64::INFINITY), (1.0, 1e12)]
        {
            let mut program = program.clone();
            program.at_most(side, [(one, factor)]);
            assert!(!program.is_sound(), "{side} {factor}");
        }
        program.at_least(0.0, [(7, 1.0)]);
        assert!(!program.is_sound());
    }
}
