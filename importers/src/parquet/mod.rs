//! Parquet files of flat tables, as Apache Arrow writes them: columns of text, whole numbers and real
//! numbers, plain or by dictionary, packed with Snappy or Zstandard.
//!
//! Apache Parquet Format 2.11. A file that is damaged ends in an error; memory is bounded by the rows
//! that a table may have, whatever the file says of itself.

mod page;
mod thrift;

use std::collections::BTreeMap;

use ir::diagnostic::Diagnostic;

use self::page::Chunk;
use self::thrift::{Fields, Reader, Value};

/// Rows that a table may have.
const MAX_ROWS: usize = 1_000_000;
/// Bytes that a file may have.
pub(crate) const MAX_BYTES: u64 = 64 << 20;
/// Bytes of what a file says of itself; the largest table of AIConfigurator has 15 kB.
const MAX_FOOTER: usize = 1 << 20;
/// The first and the last bytes of a file.
const MAGIC: &[u8] = b"PAR1";

/// What is wrong with a file.
#[derive(Clone, Copy, Debug)]
struct Broken(&'static str);

/// A column; a cell may hold nothing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Column {
    /// Texts, and which one each row has.
    Text(Vec<String>, Vec<Option<u32>>),
    /// Whole numbers.
    Whole(Vec<Option<i64>>),
    /// Real numbers.
    Real(Vec<Option<f64>>),
}

/// A table of columns by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Table {
    /// Rows.
    pub(crate) n_rows: usize,
    /// The columns that were asked for and are there.
    pub(crate) columns: BTreeMap<String, Column>,
}

/// Reads the columns of these names, where they are there.
///
/// # Errors
/// `bad-parquet` for what is no such file or damaged.
pub(crate) fn read(bytes: &[u8], names: &[&str]) -> Result<Table, Diagnostic> {
    table(bytes, names).map_err(|Broken(why)| {
        Diagnostic::input("bad-parquet", format!("not a readable Parquet table: {why}"))
            .hint("install the package again: files of a table are never changed")
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
            chunk
                .read(bytes, column.fields(3).ok_or(Broken("a column says nothing of itself"))?)?;
        }
        columns.insert(name.to_owned(), chunk.column()?);
    }
    Ok(Table { n_rows, columns })
}

/// What a file says of itself, at its end.
fn footer(bytes: &[u8]) -> Result<&[u8], Broken> {
    let body = bytes.strip_prefix(MAGIC).and_then(|rest| rest.strip_suffix(MAGIC));
    let body = body.ok_or(Broken("it does not begin and end with PAR1"))?;
    let (body, length) = body.split_last_chunk::<4>().ok_or(Broken("it ends too early"))?;
    let length = u32::from_le_bytes(*length) as usize;
    let start = body.len().checked_sub(length).filter(|_| length <= MAX_FOOTER);
    Ok(&body[start.ok_or(Broken("what it says of itself is longer than the file"))?..])
}

/// The columns of a flat table: what lies below the first element.
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
