//! What every exporter is given, what it gives back, and its row in the table.

use cost_model::ops::judge::replay::Timeline;
use cost_model::ops::judge::report::Report;
use cost_model::ops::problem::Problem;
use ir::cluster::Cluster;
use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::id::{DeviceId, OpId};
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
    /// Versions of the consumer whose words it knows, the default first; empty = none is told apart.
    pub versions: &'static [&'static str],
    /// Whether a process on one host runs a model by it, each batch whole.
    pub is_executor: bool,
    /// Whether it runs inference alone.
    pub serves: bool,
    /// Whether it puts ops on a device.
    pub(crate) computes: fn(&Cluster, DeviceId) -> bool,
    pub(crate) export: fn(&Source<'_>) -> Result<Export, Diagnostic>,
    pub(crate) colocation: fn(&Graph) -> Result<Vec<Vec<OpId>>, Diagnostic>,
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

/// The error for a name that no row of a table has; `of` says what the table is for.
pub(crate) fn unknown_target(
    target: &str,
    of: &str,
    names: impl Iterator<Item = &'static str>,
) -> Diagnostic {
    let names: Vec<String> = names.map(str::to_owned).collect();
    Diagnostic::usage("unknown-target", format!("there is no format `{target}`{of}"))
        .hint(format!("choose from {}", names.join(", ")))
        .fact("targets", names)
}

/// The version that `name@version` names, of those that are known; the first of them, or none, where
/// the name stands alone.
pub(crate) fn version(target: &str, known: &[&'static str]) -> Result<&'static str, Diagnostic> {
    let Some((name, version)) = target.split_once('@') else {
        return Ok(known.first().copied().unwrap_or(""));
    };
    if let Some(own) = known.iter().find(|own| **own == version) {
        return Ok(own);
    }
    let message = match known.is_empty() {
        true => format!("{name} has no versions, so `@{version}` names none"),
        false => format!("no version `{version}` of {name} is known"),
    };
    let names = known.iter().map(|own| format!("{name}@{own}"));
    let names: Vec<String> = [name.to_owned()].into_iter().chain(names).collect();
    Err(Diagnostic::usage("unknown-target", message).hint(format!("use {}", names.join(" or "))))
}
