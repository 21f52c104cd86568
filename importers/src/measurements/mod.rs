//! Readers of published measurement tables: strict CSV, one module per table.
//!
//! A table has a header; every column that a reader names must be there, with its unit in its
//! name. A cell that is no number, infinite, negative, or zero where a time is due is an error
//! that names file, row and column: a broken table never calibrates anything.
//!
//! [`set`] reads any number of files of any of these tables, in CSV or JSON, or recorded traces.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use ir::diagnostic::Diagnostic;

pub mod attention;
pub mod collectives;
pub mod devices;
pub mod gemm;
mod json_rows;
mod kineto;
pub mod moe;
pub mod overlap;
pub mod set;
pub mod steps;

/// Rows that a table may have.
pub const MAX_ROWS: u64 = 2_000_000;
/// Largest file, in bytes: two million rows of 128 characters.
const MAX_BYTES: u64 = 256 << 20;
/// Greatest count or size that is believed, so that products of a few stay numbers.
const MAX_COUNT: u64 = 1_000_000_000_000_000;
/// Shortest and longest time that is believed, in seconds.
const TIMES: (f64, f64) = (1e-12, 1e6);

/// Time units that a column name may end with, and their seconds.
const TIME_UNITS: [(&str, f64); 4] = [("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)];

/// One row of a table, for reading its cells.
pub struct Fields<'a> {
    columns: &'a BTreeMap<String, usize>,
    record: &'a csv::StringRecord,
    file: &'a str,
    /// Line of a table, or number of an object in a list.
    row: u64,
    /// The kind of device where no column names it.
    device: Option<&'a str>,
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
        self.row
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
                .fact("row", self.row)
                .fact("column", column)
                .fact("columns", self.columns.keys().cloned().collect::<Vec<_>>()));
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

    /// The kind of device that a row was measured on: column `gpu`, else `device`, else the one
    /// that the caller stated.
    ///
    /// # Errors
    /// `missing-column`, `bad-cell`.
    pub fn device(&self) -> Result<String, Diagnostic> {
        match (self.has("gpu"), self.has("device"), self.device) {
            (true, ..) => self.name("gpu"),
            (_, true, _) => self.name("device"),
            (_, _, Some(device)) => Ok(device.to_owned()),
            _ => self.name("gpu").map_err(|error| error.hint("name the kind of device: --kind")),
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
        match self.text(column)?.parse() {
            Ok(count) if count <= MAX_COUNT => Ok(count),
            Ok(_) => Err(self.bad(column, "a count of at most 10^15")),
            Err(_) => Err(self.bad(column, "a whole number")),
        }
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
    /// `missing-unit`, `unknown-unit`, `missing-column`, `bad-cell`.
    pub fn seconds(&self, name: &str) -> Result<f64, Diagnostic> {
        for (unit, seconds) in TIME_UNITS {
            let column = format!("{name}_{unit}");
            if self.columns.contains_key(&column) {
                let value = self.positive(&column)? * seconds;
                let (least, most) = TIMES;
                if (least..=most).contains(&value) {
                    return Ok(value);
                }
                return Err(self.bad(&column, "a time between 10^-12 and 10^6 seconds"));
            }
        }
        Err(self.without_unit(name, "_s`, `_ms`, `_us` or `_ns"))
    }

    /// A size of at least one byte: `name` is the column without its unit, which must be `_bytes`.
    ///
    /// # Errors
    /// `missing-unit`, `unknown-unit`, `missing-column`, `bad-cell`.
    pub fn bytes(&self, name: &str) -> Result<u64, Diagnostic> {
        let column = if name.is_empty() { "bytes".to_owned() } else { format!("{name}_bytes") };
        if self.columns.contains_key(&column) {
            return self.count(&column);
        }
        Err(self.without_unit(name, "_bytes"))
    }

    /// The error of a table in which `name` has none of the units that are known.
    fn without_unit(&self, name: &str, units: &str) -> Diagnostic {
        let like = |column: &&String| {
            let rest = column.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
        };
        let (code, column, message) = match self.columns.keys().find(like) {
            Some(column) if column == name => {
                ("missing-unit", name, format!("the column `{name}` states no unit"))
            }
            Some(column) => {
                let message = format!("the column `{column}` states a unit that is not known");
                ("unknown-unit", column.as_str(), message)
            }
            None => {
                let message = format!("the table has no column `{name}` with a unit");
                ("missing-column", name, message)
            }
        };
        Diagnostic::input(code, message)
            .fact("file", self.file)
            .fact("row", self.row)
            .fact("column", column)
            .hint(format!("a name ends with its unit: `{name}` and `{units}`"))
    }

    /// The error of a cell that holds something else than `wanted`.
    #[must_use]
    pub fn bad(&self, column: &str, wanted: &str) -> Diagnostic {
        let cell: String = self.text(column).unwrap_or_default().chars().take(40).collect();
        let message = format!("`{cell}` is not {wanted}");
        self.at(Diagnostic::input("bad-cell", message), column)
    }

    /// A diagnostic with its place.
    fn at(&self, diagnostic: Diagnostic, column: &str) -> Diagnostic {
        diagnostic.fact("file", self.file).fact("row", self.row).fact("column", column)
    }
}

/// Opens a regular file of a size that is read.
fn open(path: &Path) -> Result<File, Diagnostic> {
    let file = path.display().to_string();
    let failed = |why: String| {
        Diagnostic::input("unreadable-file", format!("cannot read `{file}`: {why}"))
            .fact("file", file.as_str())
    };
    let metadata = path.metadata().map_err(|error| failed(error.to_string()))?;
    if !metadata.is_file() {
        return Err(failed("it is not a regular file".to_owned()));
    }
    if metadata.len() > MAX_BYTES {
        let message = format!("`{file}` has more than {MAX_BYTES} bytes");
        return Err(Diagnostic::input("size-budget", message)
            .fact("file", file.as_str())
            .fact("bytes", metadata.len())
            .hint("split the table, or keep an even sample of its rows"));
    }
    File::open(path).map_err(|error| failed(error.to_string()))
}

/// Reads a table from a file; `row` makes one typed row, or `None` to leave a row out.
///
/// # Errors
/// `unreadable-file`, `size-budget`, `bad-table`, `empty-table`, `too-many-rows`, or what `row`
/// finds.
pub fn read_table<T>(
    path: &Path,
    row: impl FnMut(&Fields) -> Result<Option<T>, Diagnostic>,
) -> Result<Vec<T>, Diagnostic> {
    let file = path.display().to_string();
    parse_table(open(path)?, &file, row)
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
    let mut rows = Vec::new();
    each_row(source, file, None, &mut |fields| {
        rows.extend(row(fields)?);
        Ok(())
    })?;
    Ok(rows)
}

/// Calls `row` with every row of a table; `device` is the kind of device where no column names it.
fn each_row(
    source: impl Read,
    file: &str,
    device: Option<&str>,
    row: &mut dyn FnMut(&Fields) -> Result<(), Diagnostic>,
) -> Result<(), Diagnostic> {
    let broken = |error: csv::Error, late: u64| broken(&error, (file, late));
    let mut reader = csv::ReaderBuilder::new().from_reader(source.take(MAX_BYTES));
    let mut columns = BTreeMap::new();
    for (index, name) in reader.headers().map_err(|error| broken(error, 0))?.iter().enumerate() {
        if columns.insert(name.trim().to_owned(), index).is_some() {
            let message = format!("the column `{name}` appears twice");
            return Err(Diagnostic::input("bad-table", message)
                .fact("file", file)
                .fact("row", 1_u64)
                .fact("column", name));
        }
    }
    // Of lines that end in two characters the reader takes the second for the next line's.
    let late = u64::from(reader.position().line() == 1);
    let mut record = csv::StringRecord::new();
    let mut n_read = 0;
    while reader.read_record(&mut record).map_err(|error| broken(error, late))? {
        n_read += 1;
        if n_read > MAX_ROWS {
            return Err(too_many_rows(file));
        }
        let line = record.position().map_or(0, |position| position.line() + late);
        let fields = Fields { columns: &columns, record: &record, file, row: line, device };
        row(&fields)?;
    }
    if n_read == 0 {
        return Err(empty_table(file));
    }
    Ok(())
}

/// What the CSV reader found, with the row and the columns in question.
fn broken(error: &csv::Error, (file, late): (&str, u64)) -> Diagnostic {
    let row = error.position().map_or(1, |position| position.line() + late);
    let (message, column) = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            let message = format!("the row has {len} columns, the header has {expected_len}");
            (message, Some(expected_len.min(len) + 1))
        }
        csv::ErrorKind::Utf8 { err, .. } => {
            ("the row is no UTF-8 text".to_owned(), Some(err.field() as u64 + 1))
        }
        _ => (format!("`{file}` is not a table: {error}"), None),
    };
    let diagnostic = Diagnostic::input("bad-table", message).fact("file", file).fact("row", row);
    match column {
        Some(column) => diagnostic.fact("column", column),
        None => diagnostic,
    }
}

fn too_many_rows(file: &str) -> Diagnostic {
    Diagnostic::input("too-many-rows", format!("the table has more than {MAX_ROWS} rows"))
        .fact("file", file)
        .fact("row", MAX_ROWS + 1)
        .hint("keep an even sample of its rows: constants are few")
}

fn empty_table(file: &str) -> Diagnostic {
    Diagnostic::input("empty-table", format!("`{file}` has no row")).fact("file", file)
}

#[cfg(test)]
mod tests;
