//! What exporters of placements are given, and what every exporter gives back.

use cost_model::ops::judge::replay::Timeline;
use cost_model::ops::judge::report::Report;
use cost_model::ops::problem::Problem;
use ir::cluster::Cluster;
use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::id::{DeviceId, OpId};
use ir::plan::Plan;

/// A judged placement of ops.
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

/// A file, and what its format cannot express.
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

/// How placements of ops are written.
#[derive(Clone, Copy)]
pub struct Placed {
    /// Whether a process on one host runs a model by the file, each batch whole.
    pub is_executor: bool,
    /// Whether that runs inference alone.
    pub serves: bool,
    /// Whether it also runs tensor, expert and data parallelism, which placements of layers leave out.
    pub shards: bool,
    /// Whether it puts ops on a device.
    pub computes: fn(&Cluster, DeviceId) -> bool,
    pub(crate) export: fn(&Source<'_>) -> Result<Export, Diagnostic>,
    /// Ops that it can only keep together: a plan under these colocations can be written.
    pub colocation: fn(&Graph) -> Result<Vec<Vec<OpId>>, Diagnostic>,
}

impl Placed {
    /// A file about a placement of any kind, which runs nothing.
    pub(crate) const fn file(export: fn(&Source<'_>) -> Result<Export, Diagnostic>) -> Self {
        Self {
            is_executor: false,
            serves: false,
            shards: false,
            computes: |_, _| true,
            export,
            colocation: |_| Ok(Vec::new()),
        }
    }
}
