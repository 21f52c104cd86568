//! What the service asks of a database: statements with parameters `$1`, `$2`, .. in the words
//! that SQLite and PostgreSQL share.

use crate::fault::Fault;

/// A value of a column or a parameter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
}

impl From<i64> for Cell {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for Cell {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Cell {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<&[u8]> for Cell {
    fn from(value: &[u8]) -> Self {
        Self::Bytes(value.to_vec())
    }
}

impl<T: Into<Self>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A row of an answer; its columns are taken in order.
#[derive(Clone, Debug)]
pub(crate) struct Row(std::vec::IntoIter<Cell>);

impl Row {
    pub(crate) fn new(cells: Vec<Cell>) -> Self {
        Self(cells.into_iter())
    }

    /// The next column as a number, 0 where it is null.
    pub(crate) fn int(&mut self) -> i64 {
        self.maybe_int().unwrap_or(0)
    }

    pub(crate) fn maybe_int(&mut self) -> Option<i64> {
        match self.0.next() {
            Some(Cell::Int(value)) => Some(value),
            _ => None,
        }
    }

    /// The next column as text, empty where it is null.
    pub(crate) fn text(&mut self) -> String {
        self.maybe_text().unwrap_or_default()
    }

    pub(crate) fn maybe_text(&mut self) -> Option<String> {
        match self.0.next() {
            Some(Cell::Text(value)) => Some(value),
            _ => None,
        }
    }

    pub(crate) fn bytes(&mut self) -> Vec<u8> {
        match self.0.next() {
            Some(Cell::Bytes(value)) => value,
            _ => Vec::new(),
        }
    }
}

/// One connection.
pub(crate) trait Sql {
    /// Runs a statement; how many rows it changed.
    ///
    /// # Errors
    /// Those of the database.
    fn run(&mut self, statement: &str, values: &[Cell]) -> Result<u64, Fault>;

    /// All rows of an answer.
    ///
    /// # Errors
    /// Those of the database.
    fn rows(&mut self, statement: &str, values: &[Cell]) -> Result<Vec<Row>, Fault>;

    /// What follows the inner `SELECT` of a statement that takes a row from a queue.
    fn skip_locked(&self) -> &'static str;

    /// Makes others that number rows wait until this transaction ends.
    ///
    /// # Errors
    /// Those of the database.
    fn lock_order(&mut self) -> Result<(), Fault>;

    /// Milliseconds since 1970 by the clock that all share who use the database.
    fn now_ms(&self) -> i64 {
        crate::log::now_ms()
    }

    /// The first row of an answer.
    ///
    /// # Errors
    /// Those of the database.
    fn row(&mut self, statement: &str, values: &[Cell]) -> Result<Option<Row>, Fault> {
        Ok(self.rows(statement, values)?.into_iter().next())
    }
}
