//! Files that executors and viewers read, one module per format and one table that knows them all.

pub mod accelerate;
pub mod convergence;
pub mod dot;
mod format;
pub mod given_costs;
mod modules;
pub mod serving;
pub mod svg;
mod table;
mod target;
pub mod trace;
pub mod training;

#[cfg(test)]
mod tests;

pub use format::{Export, Source};
use ir::diagnostic::Diagnostic;
pub use table::{Found, find, row, targets};
pub use target::{Placed, Takes, Target, Told, Writer};

/// The file of a plan and what it can't say; those of training runs: [`training::export`].
///
/// # Errors
/// Those of [`find`], `cannot-express` where the target has no words for the plan.
pub fn export<P: Told>(target: &str, plan: &P) -> Result<Export, Diagnostic> {
    let found = find(P::KIND, target)?;
    let written = plan.written(found.writer, found.name);
    written.unwrap_or_else(|| Err(table::refused(P::KIND, target)))
}
