//! Flat Parquet tables as Apache Arrow writes them: columns of strings, 64-bit integers and doubles,
//! plain or dictionary-encoded, compressed with Snappy or Zstandard (Apache Parquet Format 2.11).
//!
//! A damaged file is an error, never a panic; limits on rows and bytes bound memory, whatever the
//! metadata claims.

mod page;
mod thrift;

use std::collections::BTreeMap;

use ir::diagnostic::Diagnostic;

use self::page::Chunk;
use self::thrift::{Fields, Reader, Value};

/// Most rows of a table.
const MAX_ROWS: usize = 1_000_000;
/// Largest file, bytes.
pub(crate) const MAX_BYTES: u64 = 64 << 20;
/// Largest metadata, bytes; 15 kB in AIConfigurator's tables.
const MAX_FOOTER: usize = 1 << 20;
/// The first and the last bytes of a file.
const MAGIC: &[u8] = b"PAR1";

/// Why a file can't be read.
#[derive(Clone, Copy, Debug)]
struct Broken(&'static str);

/// A column; cells may be null.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Column {
    /// Distinct or repeated strings, and the index of each row's.
    Text(Vec<String>, Vec<Option<u32>>),
    /// 64-bit integers.
    Whole(Vec<Option<i64>>),
    /// Doubles.
    Real(Vec<Option<f64>>),
}

/// A table of columns by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Table {
    /// Rows.
    pub(crate) n_rows: usize,
    /// Columns by name: the requested ones that exist.
    pub(crate) columns: BTreeMap<String, Column>,
}

/// Reads the columns of these names that exist.
///
/// # Errors
/// `bad-parquet` for damaged files and for other kinds of tables.
pub(crate) fn read(bytes: &[u8], names: &[&str]) -> Result<Table, Diagnostic> {
    table(bytes, names).map_err(|Broken(why)| {
        Diagnostic::input("bad-parquet", format!("unreadable Parquet table: {why}"))
            .hint("install the package again")
    })
}

fn table(bytes: &[u8], names: &[&str]) -> Result<Table, Broken> {
    let footer = Reader(footer(bytes)?).fields()?;
    let n_rows = footer.size(3)?;
    if n_rows > MAX_ROWS {
        return Err(Broken("it has more than a million rows"));
    }
    let mut columns = BTreeMap::new();
    for (index, element) in leaves(&footer)?.into_iter().enumerate() {
        let name = element.text(4).ok_or(Broken("a column has no name"))?;
        if !names.contains(&name) {
            continue;
        }
        let mut chunk = Chunk::new(element, n_rows)?;
        for group in footer.list(4) {
            let Value::Fields(group) = group else { return Err(Broken("a group is none")) };
            let Some(Value::Fields(column)) = group.list(1).get(index) else {
                return Err(Broken("a group lacks a column"));
            };
            chunk.read(bytes, column.fields(3).ok_or(Broken("a column has no metadata"))?)?;
        }
        columns.insert(name.to_owned(), chunk.column()?);
    }
    Ok(Table { n_rows, columns })
}

/// The metadata at the end of a file.
fn footer(bytes: &[u8]) -> Result<&[u8], Broken> {
    let body = bytes.strip_prefix(MAGIC).and_then(|rest| rest.strip_suffix(MAGIC));
    let body = body.ok_or(Broken("it does not begin and end with PAR1"))?;
    let (body, length) = body.split_last_chunk::<4>().ok_or(Broken("it ends too early"))?;
    let length = u32::from_le_bytes(*length) as usize;
    let start = body.len().checked_sub(length).filter(|_| length <= MAX_FOOTER);
    Ok(&body[start.ok_or(Broken("its metadata is longer than the file"))?..])
}

/// Schema elements of the columns of a flat table.
fn leaves<'a, 'b>(footer: &'b Fields<'a>) -> Result<Vec<&'b Fields<'a>>, Broken> {
    let mut elements = footer.list(2).iter().map(|element| match element {
        Value::Fields(fields) => Ok(fields),
        _ => Err(Broken("a column is none")),
    });
    let root = elements.next().ok_or(Broken("it has no columns"))??;
    let leaves: Vec<_> = elements.collect::<Result<_, _>>()?;
    let is_flat = leaves.iter().all(|leaf| leaf.whole(5).unwrap_or(0) == 0);
    if !is_flat || root.whole(5) != i64::try_from(leaves.len()).ok() {
        return Err(Broken("its columns have columns of their own"));
    }
    Ok(leaves)
}

#[cfg(test)]
mod tests;
