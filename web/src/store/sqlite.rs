//! SQLite: one file.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, ErrorCode, ToSql, params_from_iter};

use super::sql::{Cell, Row, Sql};
use crate::fault::Fault;

/// How long a statement waits for another connection's.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to the file.
pub(crate) struct Sqlite(Connection);

impl Sqlite {
    /// Opens the file, and makes it where there is none. What is committed is on disk: the log is
    /// synced with each commit.
    pub(crate) fn open(path: &Path) -> Result<Self, Fault> {
        if path != Path::new(":memory:") {
            private(path).map_err(|error| Fault::Other(error.to_string()))?;
        }
        let connection = Connection::open(path).map_err(fault)?;
        connection.busy_timeout(PATIENCE).map_err(fault)?;
        let settings = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
            PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY; PRAGMA journal_size_limit = 67108864;";
        // The handler is not asked where several switch to the log at once.
        let begun = Instant::now();
        while let Err(error) = connection.execute_batch(settings) {
            let is_busy = error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy);
            if !is_busy || begun.elapsed() > PATIENCE {
                return Err(fault(error));
            }
            thread::sleep(Duration::from_millis(5));
        }
        connection.set_prepared_statement_cache_capacity(64);
        Ok(Self(connection))
    }
}

/// Makes a missing file readable by its owner alone: plans and models are in it. SQLite gives its log
/// the same mode.
fn private(path: &Path) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600).open(path).map(drop)
}

impl ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Owned(Value::Null),
            Self::Int(value) => ToSqlOutput::Owned(Value::Integer(*value)),
            Self::Text(value) => ToSqlOutput::Borrowed(ValueRef::Text(value.as_bytes())),
            Self::Bytes(value) => ToSqlOutput::Borrowed(ValueRef::Blob(value)),
        })
    }
}

impl Sql for Sqlite {
    fn run(&mut self, statement: &str, values: &[Cell]) -> Result<u64, Fault> {
        let mut prepared = self.0.prepare_cached(&numbered(statement)).map_err(fault)?;
        prepared.execute(params_from_iter(values)).map(|n| n as u64).map_err(fault)
    }

    fn rows(&mut self, statement: &str, values: &[Cell]) -> Result<Vec<Row>, Fault> {
        let mut prepared = self.0.prepare_cached(&numbered(statement)).map_err(fault)?;
        let n_columns = prepared.column_count();
        let mut found = prepared.query(params_from_iter(values)).map_err(fault)?;
        let mut rows = Vec::new();
        while let Some(row) = found.next().map_err(fault)? {
            let cell = |column: usize| {
                Ok(match row.get_ref(column)? {
                    ValueRef::Null => Cell::Null,
                    ValueRef::Integer(value) => Cell::Int(value),
                    ValueRef::Real(value) => Cell::Int(value as i64),
                    ValueRef::Text(text) => Cell::Text(String::from_utf8_lossy(text).into_owned()),
                    ValueRef::Blob(bytes) => Cell::Bytes(bytes.to_vec()),
                })
            };
            let cells = (0..n_columns).map(cell).collect::<rusqlite::Result<_>>().map_err(fault)?;
            rows.push(Row::new(cells));
        }
        Ok(rows)
    }

    /// There is one writer.
    fn skip_locked(&self) -> &'static str {
        ""
    }

    fn lock_order(&mut self) -> Result<(), Fault> {
        Ok(())
    }
}

/// `$1` is a name to SQLite, `?1` a number. A transaction takes its lock at once: one that gets it
/// later fails where another process has written meanwhile.
fn numbered(statement: &str) -> String {
    match statement {
        "BEGIN" => "BEGIN IMMEDIATE".to_owned(),
        _ => statement.replace('$', "?"),
    }
}

fn fault(error: rusqlite::Error) -> Fault {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Fault::Full,
        // Where no page of the log can be written, the system's own word is lost.
        Some(ErrorCode::SystemIoFailure) if error.to_string().contains("full") => Fault::Full,
        _ => Fault::Other(error.to_string()),
    }
}
