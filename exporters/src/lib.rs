//! Files that executors and viewers read, one module per format and one table that knows them all.

pub mod accelerate;
pub mod convergence;
pub mod dot;
mod format;
pub mod given_costs;
pub mod svg;
pub mod trace;
pub mod training;

#[cfg(test)]
mod tests;

use format::unknown_target;
pub use format::{Export, Source, Target};
use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::id::OpId;

const TARGETS: &[Target] = &[
    Target {
        name: "accelerate",
        file_name: "device_map.json",
        summary: "device_map of Hugging Face Accelerate: module name to device, by block",
        is_executor: true,
        export: accelerate::export,
        colocation: accelerate::colocation,
    },
    Target {
        name: "trace",
        file_name: "trace.json",
        summary: "timeline for Perfetto and chrome://tracing",
        is_executor: false,
        export: trace::export,
        colocation: anywhere,
    },
    Target {
        name: "dot",
        file_name: "plan.dot",
        summary: "graph by device for Graphviz",
        is_executor: false,
        export: dot::export,
        colocation: anywhere,
    },
    Target {
        name: "svg",
        file_name: "timeline.svg",
        summary: "picture of the timeline",
        is_executor: false,
        export: svg::export,
        colocation: anywhere,
    },
];

/// All formats.
#[must_use]
pub fn targets() -> &'static [Target] {
    TARGETS
}

/// The file of a format.
///
/// # Errors
/// `unknown-target` with the known ones, `cannot-express` where the format has no words for the
/// plan.
pub fn write(target: &str, source: &Source<'_>) -> Result<Vec<u8>, Diagnostic> {
    export(target, source).map(|export| export.bytes)
}

/// The file of a format and what it can't say.
///
/// # Errors
/// As [`write`].
pub fn export(target: &str, source: &Source<'_>) -> Result<Export, Diagnostic> {
    (row(target)?.export)(source)
}

/// Ops that a format can only keep together. A plan under these colocations can be written.
///
/// # Errors
/// `unknown-target` with the known ones, `cannot-express` where the format has no words for the
/// model.
pub fn colocation(target: &str, graph: &Graph) -> Result<Vec<Vec<OpId>>, Diagnostic> {
    (row(target)?.colocation)(graph)
}

/// For formats that take any placement.
fn anywhere(_: &Graph) -> Result<Vec<Vec<OpId>>, Diagnostic> {
    Ok(Vec::new())
}

fn row(target: &str) -> Result<&'static Target, Diagnostic> {
    let row = TARGETS.iter().find(|row| row.name == target);
    row.ok_or_else(|| unknown_target(target, "", TARGETS.iter().map(|row| row.name)))
}
