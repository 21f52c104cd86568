//! Readers of published measurement tables: strict CSV, one module per table.
//!
//! A table has a header; every column that a reader names must be there, with its unit in its
//! name. A cell that is no number, infinite, negative, or zero where a time is due is an error
//! that names file, row and column: a broken table never calibrates anything.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use ir::diagnostic::Diagnostic;

pub mod attention;
pub mod collectives;
pub mod devices;
pub mod gemm;
pub mod moe;
pub mod overlap;
pub mod peak_memory;
pub mod steps;

/// Rows that a table may have.
pub const MAX_ROWS: u64 = 2_000_000;

/// Time units that a column name may end with, and their seconds.
const TIME_UNITS: [(&str, f64); 4] = [("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)];

/// One row of a table, for reading its cells.
pub struct Fields<'a> {
    columns: &'a BTreeMap<String, usize>,
    record: &'a csv::StringRecord,
    file: &'a str,
}

impl Fields<'_> {
    /// Whether the table has a column of this name.
    #[must_use]
    pub fn has(&self, column: &str) -> bool {
        self.columns.contains_key(column)
    }

    /// The line of the row in its file, from 1.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.record.position().map_or(0, csv::Position::line)
    }

    /// The text of a cell without outer blanks, possibly empty.
    ///
    /// # Errors
    /// `missing-column`.
    pub fn text(&self, column: &str) -> Result<&str, Diagnostic> {
        let Some(index) = self.columns.get(column) else {
            let message = format!("the table has no column `{column}`");
            return Err(Diagnostic::input("missing-column", message)
                .fact("file", self.file)
                .fact("column", column));
        };
        Ok(self.record.get(*index).unwrap_or_default().trim())
    }

    /// The text of a cell that must not be empty.
    ///
    /// # Errors
    /// `missing-column`, `bad-cell`.
    pub fn name(&self, column: &str) -> Result<String, Diagnostic> {
        match self.text(column)? {
            "" => Err(self.bad(column, "some text")),
            text => Ok(text.to_owned()),
        }
    }

    /// A count of at least 1.
    ///
    /// # Errors
    /// `missing-column`, `bad-cell`.
    pub fn count(&self, column: &str) -> Result<u64, Diagnostic> {
        match self.count_or_zero(column)? {
            0 => Err(self.bad(column, "a count of at least 1")),
            count => Ok(count),
        }
    }

    /// A count that may be 0.
    ///
    /// # Errors
    /// `missing-column`, `bad-cell`.
    pub fn count_or_zero(&self, column: &str) -> Result<u64, Diagnostic> {
        self.text(column)?.parse().map_err(|_| self.bad(column, "a whole number"))
    }

    /// A count of at least 1, or nothing where the cell is blank.
    ///
    /// # Errors
    /// `missing-column`, `bad-cell`.
    pub fn count_or_blank(&self, column: &str) -> Result<Option<u64>, Diagnostic> {
        if self.text(column)?.is_empty() { Ok(None) } else { self.count(column).map(Some) }
    }

    /// A finite number above zero.
    ///
    /// # Errors
    /// `missing-column`, `bad-cell`.
    pub fn positive(&self, column: &str) -> Result<f64, Diagnostic> {
        match self.text(column)?.parse::<f64>() {
            Ok(value) if value.is_finite() && value > 0.0 => Ok(value),
            _ => Err(self.bad(column, "a finite number above zero")),
        }
    }

    /// A finite number of at least zero.
    ///
    /// # Errors
    /// `missing-column`, `bad-cell`.
    pub fn positive_or_zero(&self, column: &str) -> Result<f64, Diagnostic> {
        match self.text(column)?.parse::<f64>() {
            Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
            _ => Err(self.bad(column, "a finite number of at least zero")),
        }
    }

    /// A finite number above zero, or nothing where the cell is blank.
    ///
    /// # Errors
    /// `missing-column`, `bad-cell`.
    pub fn positive_or_blank(&self, column: &str) -> Result<Option<f64>, Diagnostic> {
        if self.text(column)?.is_empty() { Ok(None) } else { self.positive(column).map(Some) }
    }

    /// A time above zero in seconds: `name` is the column without its unit, which must be one of
    /// `_s`, `_ms`, `_us` and `_ns`.
    ///
    /// # Errors
    /// `missing-unit`, `missing-column`, `bad-cell`.
    pub fn seconds(&self, name: &str) -> Result<f64, Diagnostic> {
        for (unit, seconds) in TIME_UNITS {
            let column = format!("{name}_{unit}");
            if self.columns.contains_key(&column) {
                return self.positive(&column).map(|value| value * seconds);
            }
        }
        if self.columns.contains_key(name) {
            let message = format!("the column `{name}` states no unit");
            return Err(Diagnostic::input("missing-unit", message)
                .fact("file", self.file)
                .fact("column", name)
                .hint(format!("name it `{name}_us`, `{name}_ms` or `{name}_s`")));
        }
        self.positive(&format!("{name}_s"))
    }

    /// The error of a cell that holds something else than `wanted`.
    #[must_use]
    pub fn bad(&self, column: &str, wanted: &str) -> Diagnostic {
        let cell: String = self.text(column).unwrap_or_default().chars().take(40).collect();
        let message = format!("`{cell}` is not {wanted}");
        Diagnostic::input("bad-cell", message)
            .fact("file", self.file)
            .fact("row", self.line())
            .fact("column", column)
    }
}

/// Reads a table from a file; `row` makes one typed row, or `None` to leave a row out.
///
/// # Errors
/// `unreadable-file`, `bad-table`, `too-many-rows`, or what `row` finds.
pub fn read_table<T>(
    path: &Path,
    row: impl FnMut(&Fields) -> Result<Option<T>, Diagnostic>,
) -> Result<Vec<T>, Diagnostic> {
    let file = path.display().to_string();
    let opened = File::open(path).map_err(|error| {
        Diagnostic::input("unreadable-file", format!("cannot read `{file}`: {error}"))
            .fact("file", file.as_str())
    })?;
    parse_table(opened, &file, row)
}

/// Reads a table from any source; `file` names it in errors. See [`read_table`].
///
/// # Errors
/// As [`read_table`].
pub fn parse_table<T>(
    source: impl Read,
    file: &str,
    mut row: impl FnMut(&Fields) -> Result<Option<T>, Diagnostic>,
) -> Result<Vec<T>, Diagnostic> {
    let broken = |error: csv::Error| {
        let line = error.position().map_or(0, csv::Position::line);
        Diagnostic::input("bad-table", format!("`{file}` is not a table: {error}"))
            .fact("file", file)
            .fact("row", line)
    };
    let mut reader = csv::ReaderBuilder::new().from_reader(source);
    let mut columns = BTreeMap::new();
    for (index, name) in reader.headers().map_err(broken)?.iter().enumerate() {
        if columns.insert(name.trim().to_owned(), index).is_some() {
            let message = format!("the column `{name}` appears twice");
            return Err(Diagnostic::input("bad-table", message).fact("file", file));
        }
    }
    let mut rows = Vec::new();
    let mut record = csv::StringRecord::new();
    let mut n_read = 0;
    while reader.read_record(&mut record).map_err(broken)? {
        n_read += 1;
        if n_read > MAX_ROWS {
            let message = format!("the table has more than {MAX_ROWS} rows");
            return Err(Diagnostic::input("too-many-rows", message).fact("file", file));
        }
        rows.extend(row(&Fields { columns: &columns, record: &record, file })?);
    }
    Ok(rows)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn times(text: &str) -> Result<Vec<f64>, Diagnostic> {
        parse_table(text.as_bytes(), "t.csv", |fields| fields.seconds("time").map(Some))
    }

    #[test]
    fn units_are_read_from_the_name() {
        assert_eq!(times("time_us\n4\n").unwrap(), [4e-6]);
        assert_eq!(times("a,time_ms\nx,4\n").unwrap(), [4e-3]);
        assert_eq!(times("time\n4\n").unwrap_err().code, "missing-unit");
        assert_eq!(times("a\n4\n").unwrap_err().code, "missing-column");
    }

    #[test]
    fn what_is_no_time_is_an_error_with_its_place() {
        for cell in ["NaN", "-1", "0", "inf", "", "4 us"] {
            let error = times(&format!("a,time_us\n,1\n,{cell}\n")).unwrap_err();
            assert_eq!(error.code, "bad-cell", "{cell}");
            let text = format!("{error:?}");
            assert!(text.contains("t.csv") && text.contains("Count(3)"), "{text}");
            assert!(text.contains("time_us"), "{text}");
        }
    }

    #[test]
    fn ragged_and_doubled_tables_are_errors() {
        assert_eq!(times("time_us,b\n1\n").unwrap_err().code, "bad-table");
        assert_eq!(times("time_us,time_us\n1,2\n").unwrap_err().code, "bad-table");
        assert_eq!(times("time_us\n").unwrap(), Vec::<f64>::new());
    }

    #[test]
    fn counts_are_whole() {
        let count = |cell: &str| {
            parse_table(format!("n,x\n{cell},\n").as_bytes(), "t.csv", |fields| {
                Ok(Some((fields.count("n")?, fields.count_or_blank("x")?)))
            })
        };
        assert_eq!(count("3").unwrap(), [(3, None)]);
        for cell in ["0", "-3", "1.5", "99999999999999999999999"] {
            assert_eq!(count(cell).unwrap_err().code, "bad-cell", "{cell}");
        }
    }
}
