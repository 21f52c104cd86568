//! Files that executors and viewers read, one module per format and one table that knows them all.

pub mod accelerate;
pub mod dot;
mod memory_curve;
pub mod svg;
pub mod trace;

#[cfg(test)]
mod sample;

use cost_model::judge::Timeline;
use cost_model::problem::Problem;
use cost_model::report::Report;
use ir::diagnostic::Diagnostic;
use ir::plan::Plan;

/// A judged plan: what every exporter is given.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// What was planned.
    pub problem: &'a Problem,
    /// The plan.
    pub plan: &'a Plan,
    /// When everything happens.
    pub timeline: &'a Timeline,
    /// Where the time and the memory go.
    pub report: &'a Report,
}

/// A row of the table.
pub struct Target {
    /// What the user calls it.
    pub name: &'static str,
    /// Name of the file unless the user gives one.
    pub file_name: &'static str,
    /// One line for lists.
    pub summary: &'static str,
    export: fn(&Source<'_>) -> Result<Export, Diagnostic>,
}

/// A file, and what it can't say.
#[derive(Clone, Debug, PartialEq)]
pub struct Export {
    /// The content.
    pub bytes: Vec<u8>,
    /// How the executor will differ from the plan.
    pub warnings: Vec<Diagnostic>,
}

impl From<String> for Export {
    fn from(text: String) -> Self {
        Self { bytes: text.into_bytes(), warnings: Vec::new() }
    }
}

const TARGETS: &[Target] = &[
    Target {
        name: "accelerate",
        file_name: "device_map.json",
        summary: "device_map of Hugging Face Accelerate: module name to device, by block",
        export: accelerate::export,
    },
    Target {
        name: "trace",
        file_name: "trace.json",
        summary: "timeline for Perfetto and chrome://tracing",
        export: trace::export,
    },
    Target {
        name: "dot",
        file_name: "plan.dot",
        summary: "graph by device for Graphviz",
        export: dot::export,
    },
    Target {
        name: "svg",
        file_name: "timeline.svg",
        summary: "picture of the timeline",
        export: svg::export,
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
    let Some(row) = TARGETS.iter().find(|row| row.name == target) else {
        let names: Vec<String> = TARGETS.iter().map(|row| row.name.to_owned()).collect();
        return Err(Diagnostic::usage("unknown-target", format!("there is no format `{target}`"))
            .hint(format!("choose from {}", names.join(", ")))
            .fact("targets", names));
    };
    (row.export)(source)
}
