//! Readers of published runs and of their memory, in tables that nothing else than the accuracy table
//! is made of.

use std::path::Path;

use importers::measurements::{Fields, read_table};
use ir::diagnostic::Diagnostic;

pub mod memory;
pub mod peak_memory;
pub mod published;
pub mod run;
pub mod serving;

/// Bytes of a GiB.
const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

/// Rows and tables that can't be read, each with its reason.
#[derive(Clone, Debug, Default)]
pub struct Left(pub Vec<Diagnostic>);

impl Left {
    /// The rows of a table that can be read; `row` makes one, or `None` of a row that is not wanted. A
    /// table that is not there has none.
    pub fn rows<T>(
        &mut self,
        path: &Path,
        mut row: impl FnMut(&Fields) -> Result<Option<T>, Diagnostic>,
    ) -> Vec<T> {
        let mut left = Vec::new();
        let rows = self.table(path, |path| {
            read_table(path, |fields| {
                Ok(row(fields).unwrap_or_else(|error| {
                    left.push(error);
                    None
                }))
            })
        });
        self.0.append(&mut left);
        rows
    }

    /// The rows of a table that is read as a whole.
    pub fn table<T>(
        &mut self,
        path: &Path,
        read: impl FnOnce(&Path) -> Result<Vec<T>, Diagnostic>,
    ) -> Vec<T> {
        if !path.exists() {
            return Vec::new();
        }
        read(path).unwrap_or_else(|error| {
            self.0.push(error);
            Vec::new()
        })
    }
}

/// A count of at least 1 that fits 32 bits.
fn small(fields: &Fields, column: &str) -> Result<u32, Diagnostic> {
    u32::try_from(fields.count(column)?).map_err(|_| fields.bad(column, "below 2^32"))
}
