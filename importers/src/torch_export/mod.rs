//! Archives of `torch.export.save` (`.pt2`): a zip whose JSON members describe a graph of ATen
//! operators, with every shape and every parameter's name. Nothing else of it is read.
//!
//! Form and traps: `torch/_export/serde/schema.py` of PyTorch, schema version 8.

mod aliasing;
mod archive;
mod build;
mod document;
mod effort;
mod higher_order;
mod layout;
mod modules;
mod phases;
mod program;
mod sizes;
mod symbol;
#[cfg(test)]
mod tests;
mod values;

use ir::diagnostic::Diagnostic;

use crate::import::{Import, ImportOptions};
use crate::source::Source;

/// Reads an exported program.
///
/// # Errors
/// `truncated-archive`, `invalid-archive`, `ambiguous-archive`, `no-program`, `size-budget`, those of
/// the JSON reader (with the fact `member`), `unsupported-schema`, `unknown-dtype`, `undefined-tensor`,
/// `duplicate-tensor`, `size-overflow`, `invalid-batch`, `unknown-input`, `batch-sizes`,
/// `dimension-out-of-range`.
pub(crate) fn read(
    source: &dyn Source,
    name: &str,
    options: &ImportOptions,
) -> Result<Import, Diagnostic> {
    let loaded = program::load(source)?;
    build::build(&loaded, name, options)
}
