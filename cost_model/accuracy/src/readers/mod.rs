//! Readers of published runs and of their memory, in tables that nothing else than the accuracy table
//! is made of.

use importers::measurements::Fields;
use ir::diagnostic::Diagnostic;

pub mod memory;
pub mod peak_memory;
pub mod published;
pub mod run;
pub mod serving;

/// A count of at least 1 that fits 32 bits.
fn small(fields: &Fields, column: &str) -> Result<u32, Diagnostic> {
    u32::try_from(fields.count(column)?).map_err(|_| fields.bad(column, "below 2^32"))
}
