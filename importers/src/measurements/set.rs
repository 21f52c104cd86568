//! Any number of measurement files: each is told by its columns or its keys.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use ir::diagnostic::Diagnostic;
use ir::measured::{Measurements, ProductRow, StreamRow, TransferRow};
use ir::tensor::DType;

use super::json_rows::Held;
use super::{Fields, MAX_BYTES, attention, collectives, json_rows, moe, open, overlap};

/// Element types that products are measured in.
const DTYPES: [DType; 7] =
    [DType::F64, DType::F32, DType::F16, DType::Bf16, DType::F8, DType::F4, DType::I8];
/// Rows of one file whose repetition is looked for.
const MAX_SEEN: usize = 500_000;

/// A kind of table and the columns that tell it.
struct Table {
    name: &'static str,
    columns: &'static [&'static str],
    read: fn(&Fields, &mut Measurements) -> Result<(), Diagnostic>,
}

/// The first whose columns are all there is read.
const TABLES: [Table; 7] = [
    Table {
        name: "attention",
        columns: &["phase", "heads"],
        read: |fields, rows| attention::row(fields).map(|row| rows.attention.push(row)),
    },
    Table {
        name: "mixture of experts",
        columns: &["expert_ffn", "experts"],
        read: |fields, rows| moe::row(fields).map(|row| rows.experts.push(row)),
    },
    Table {
        name: "collectives",
        columns: &["op", "gpus"],
        read: |fields, rows| collectives::row(fields).map(|row| rows.collectives.push(row)),
    },
    Table {
        name: "overlap",
        columns: &["kind", "group_intra", "group_inter"],
        read: |fields, rows| overlap::row(fields).map(|row| rows.overlaps.push(row)),
    },
    Table {
        name: "matrix products",
        columns: &["m", "n", "k"],
        read: |fields, rows| product(fields).map(|row| rows.products.push(row)),
    },
    Table {
        name: "memory streams",
        columns: &["family"],
        read: |fields, rows| stream(fields).map(|row| rows.streams.push(row)),
    },
    Table {
        name: "transfers",
        columns: &["link"],
        read: |fields, rows| transfer(fields).map(|row| rows.transfers.push(row)),
    },
];

/// What was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Set {
    /// The rows. Where a kind was stated, all carry its name.
    pub rows: Measurements,
    /// What the files call the kind of device where one was stated.
    pub called: Option<String>,
    /// What is worth knowing.
    pub warnings: Vec<Diagnostic>,
}

/// Reads files of measurements: CSV or JSON tables, samples of our own profiler, traces.
///
/// `kind` names the kind of device that all rows are of.
///
/// # Errors
/// `unknown-table` for columns of no known table; `mixed-devices` where a kind was stated and rows
/// name more than one device; those of the tables, see [`super::read_table`]; those of JSON. Each
/// names file, row and column as far as there is one.
pub fn read(paths: &[&Path], kind: Option<&str>) -> Result<Set, Diagnostic> {
    let mut set = Set::default();
    for path in paths {
        let file = path.display().to_string();
        parse(open(path)?, &file, kind, &mut set)?;
    }
    if let Some(kind) = kind {
        rename(&mut set.rows, kind);
    }
    Ok(set)
}

/// Reads one more file into a set; `file` names it in diagnostics.
///
/// # Errors
/// As [`read`].
pub fn parse(
    source: impl Read,
    file: &str,
    kind: Option<&str>,
    set: &mut Set,
) -> Result<(), Diagnostic> {
    let mut source = BufReader::new(source.take(MAX_BYTES));
    let is_json = is_json(&mut source, file)?;
    let mut seen = Seen::default();
    let Set { rows, called, warnings } = set;
    let mut row = |fields: &Fields| {
        if seen.repeats(fields) {
            return Ok(());
        }
        let table = table(fields)?;
        if let (Some(_), Some(column)) = (kind, device_column(fields)) {
            one_device(fields, column, called)?;
        }
        (table.read)(fields, rows)
    };
    if !is_json {
        super::each_row(source, file, kind, &mut row)?;
        warnings.extend(seen.warning(file));
        return Ok(());
    }
    match json_rows::each_row(source, file, kind, &mut row)? {
        Held::Rows => warnings.extend(seen.warning(file)),
        Held::Trace(trace) => {
            let (device, noted) = trace.rows(file, kind, rows)?;
            called.get_or_insert(device);
            warnings.extend(noted);
        }
    }
    Ok(())
}

fn is_json(source: &mut impl BufRead, file: &str) -> Result<bool, Diagnostic> {
    let start = source.fill_buf().map_err(|error| {
        Diagnostic::input("unreadable-file", format!("cannot read `{file}`: {error}"))
            .fact("file", file)
    })?;
    let start = start.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(start);
    let first = start.iter().find(|byte| !byte.is_ascii_whitespace());
    Ok(matches!(first, Some(b'[' | b'{')))
}

/// Rows that stand in a file more than once, cell by cell.
#[derive(Default)]
struct Seen {
    rows: HashMap<u64, u64>,
    n_repeated: u64,
    first: Option<(u64, u64)>,
}

impl Seen {
    fn repeats(&mut self, fields: &Fields) -> bool {
        let mut hasher = DefaultHasher::new();
        for (column, index) in fields.columns {
            (column, fields.record.get(*index)).hash(&mut hasher);
        }
        let hash = hasher.finish();
        if let Some(earlier) = self.rows.get(&hash) {
            self.n_repeated += 1;
            self.first.get_or_insert((fields.row, *earlier));
            return true;
        }
        if self.rows.len() < MAX_SEEN {
            self.rows.insert(hash, fields.row);
        }
        false
    }

    fn warning(&self, file: &str) -> Option<Diagnostic> {
        let (row, earlier) = self.first?;
        let message = format!(
            "{} rows repeat another one in every column and count once, the first is row {row}",
            self.n_repeated
        );
        Some(
            Diagnostic::warning("duplicate-row", message)
                .fact("file", file)
                .fact("row", row)
                .fact("repeats_row", earlier)
                .fact("column", "all"),
        )
    }
}

fn table(fields: &Fields) -> Result<&'static Table, Diagnostic> {
    let tells = |table: &&Table| table.columns.iter().all(|column| fields.has(column));
    TABLES.iter().find(tells).ok_or_else(|| {
        let message = "the columns are those of no known table";
        let known = TABLES.iter().map(|t| format!("{} ({})", t.name, t.columns.join(", ")));
        Diagnostic::input("unknown-table", message)
            .fact("file", fields.file)
            .fact("row", fields.row)
            .fact("columns", fields.columns.keys().cloned().collect::<Vec<_>>())
            .fact("known", known.collect::<Vec<_>>())
            .hint("docs/data.md lists the columns of each table")
    })
}

fn device_column(fields: &Fields) -> Option<&'static str> {
    ["gpu", "device"].into_iter().find(|column| fields.has(column))
}

/// A stated kind stands for one device.
fn one_device(
    fields: &Fields,
    column: &str,
    called: &mut Option<String>,
) -> Result<(), Diagnostic> {
    let device = fields.name(column)?;
    let first = called.get_or_insert_with(|| device.clone());
    if *first == device {
        return Ok(());
    }
    let message = format!("the rows are of `{first}` and of `{device}`, --kind names one kind");
    let diagnostic = Diagnostic::input("mixed-devices", message);
    Err(fields.at(diagnostic, column).hint("leave out --kind, or split the table by device"))
}

fn rename(rows: &mut Measurements, kind: &str) {
    let products = rows.products.iter_mut().map(|row| &mut row.device);
    let attention = rows.attention.iter_mut().map(|row| &mut row.gpu);
    let experts = rows.experts.iter_mut().map(|row| &mut row.gpu);
    let collectives = rows.collectives.iter_mut().map(|row| &mut row.system);
    let overlaps = rows.overlaps.iter_mut().map(|row| &mut row.gpu);
    let streams = rows.streams.iter_mut().map(|row| &mut row.device);
    let kernels = products.chain(attention).chain(experts);
    for name in kernels.chain(collectives).chain(overlaps).chain(streams) {
        kind.clone_into(name);
    }
}

/// The time of a row; samples of our own profiler call it the median.
fn seconds(fields: &Fields) -> Result<f64, Diagnostic> {
    fields.seconds(if fields.has("median_s") { "median" } else { "time" })
}

fn product(fields: &Fields) -> Result<ProductRow, Diagnostic> {
    let name = fields.text("dtype")?;
    let Some(dtype) = DTYPES.into_iter().find(|known| known.name() == name) else {
        let known = DTYPES.map(|known| format!("`{known}`")).join(", ");
        return Err(fields.bad("dtype", &format!("one of {known}")));
    };
    Ok(ProductRow {
        device: fields.device()?,
        dtype,
        m: fields.count("m")?,
        n: fields.count("n")?,
        k: fields.count("k")?,
        time_s: seconds(fields)?,
    })
}

fn stream(fields: &Fields) -> Result<StreamRow, Diagnostic> {
    let bytes = fields.bytes("")?;
    let (device, family) = (fields.device()?, fields.name("family")?);
    Ok(StreamRow { device, family, bytes, time_s: seconds(fields)? })
}

fn transfer(fields: &Fields) -> Result<TransferRow, Diagnostic> {
    Ok(TransferRow {
        link: fields.name("link")?,
        bytes: fields.bytes("")?,
        time_s: seconds(fields)?,
    })
}

#[cfg(test)]
mod tests;
