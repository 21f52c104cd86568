//! The solution of an instance with given costs: what `plan -o` writes for it.
//!
//! Devices have the format of splits of the dnn-partitioning collection, so that its tools read them.

use ir::diagnostic::Diagnostic;
use serde::{Deserialize, Serialize};

use crate::plan::CommunicationDocument;
use crate::report::TracePointDocument;

/// The version that this crate writes and reads.
pub const FORMAT: &str = "meshwright.solution/1";

/// A solution with what it states of its value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SolutionDocument {
    /// [`FORMAT`].
    pub format: String,
    /// Name of the instance.
    pub instance: String,
    /// Name of the objective.
    pub objective: String,
    /// Its value, in nanoseconds.
    pub value_ns: u64,
    /// No legal solution that the bound covers is below this, in nanoseconds.
    pub bound_ns: u64,
    /// Which bound it is.
    pub bound_method: String,
    /// How the bound was established: `derived`, `certificate-checked`,
    /// `certificate-too-large-to-check` or `certificate-not-checked-in-time`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound_standing: Option<String>,
    /// Which solutions the bound speaks of, where these are not all: `devices-in-one-order`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound_covers: Option<String>,
    /// Whether no solution that the bound covers is better.
    pub proved_optimal: bool,
    /// Nanoseconds of one unit of the instance's file.
    pub unit_ns: u64,
    /// Accelerators that it was planned for, where the file's number does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accelerators: Option<usize>,
    /// Nodes of each accelerator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fpgas: Option<Vec<ShareDocument>>,
    /// Nodes of each CPU core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Vec<ShareDocument>>,
    /// Stage of each layer of a straight pipeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<LayerDocument>>,
    /// Stages of a pipeline with degrees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stages: Option<Vec<StageDocument>>,
    /// Buckets of gradients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub communication: Option<CommunicationDocument>,
    /// Samples per second of all replicas, where the instance states those of a step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples_per_s: Option<f64>,
    /// Tasks of each device, in an instance of tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queues: Option<Vec<QueueDocument>>,
    /// Why no solution is below the bound, where a search for the greatest load says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateDocument>,
    /// Where the files are that it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<crate::plan::inputs::InputsDocument>,
}

/// A solution with how it was found: what `plan --json` prints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SolutionReportDocument {
    /// The solution, without its certificate, which is only in the solution file.
    #[serde(flatten)]
    pub solution: SolutionDocument,
    /// The method that found it.
    pub algorithm: String,
    /// Why the search ended.
    pub stop_reason: String,
    /// Value / bound - 1; null where no bound is known.
    pub gap: Option<f64>,
    /// What was tried.
    pub attempts: Vec<MethodDocument>,
    /// How the run went.
    pub run: SolutionRunDocument,
}

/// A method that was tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MethodDocument {
    /// Its name.
    pub algorithm: String,
    /// Nanoseconds of its best solution; null where it found none.
    pub value_ns: Option<u64>,
}

/// What may differ between two runs of the same request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SolutionRunDocument {
    /// Seconds of planning.
    pub planning_time_s: f64,
    /// Seconds that each method took, in their order.
    pub attempts_s: Vec<f64>,
    /// The search over time.
    pub trace: Vec<TracePointDocument>,
}

/// A proof that every split has a load above a limit. Nodes go by their position in the
/// instance's file, from 0; a group of nodes goes by any of its nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CertificateDocument {
    /// The limit, in nanoseconds: the bound less 1.
    pub limit_ns: u64,
    /// Pairs, in order: the first costs nothing and may follow the second.
    pub followers: Vec<[u32; 2]>,
    /// What all splits within the limit have in common.
    pub rounds: Vec<RoundDocument>,
    /// Groups in an order along which few outputs are open.
    pub order: Vec<u32>,
    /// What refutes the limit.
    pub reason: ReasonDocument,
}

/// Findings that hold for the groups that the rounds before left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RoundDocument {
    /// Pairs: the second is where the first is.
    pub pairs: Vec<[u32; 2]>,
    /// Groups that no accelerator can hold.
    pub off_accelerators: Vec<u32>,
}

/// What refutes a limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ReasonDocument {
    /// A group can't run on any device within the limit.
    NoDevice,
    /// All placements of the groups that are left were tried.
    Exhausted,
    /// All devices together can't take the worth of all groups.
    Prices {
        /// Node and worth of its group, in 2^-32.
        price: Vec<(u32, i64)>,
        /// Worth of holding all bytes of an accelerator on the CPU cores, in 2^-32.
        byte_price: i64,
    },
}

/// What one device holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ShareDocument {
    /// Its load, in units of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<f64>,
    /// Ids of its nodes.
    pub nodes: Vec<u64>,
}

/// What a device runs, one task after the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct QueueDocument {
    /// Its name.
    pub device: String,
    /// Seconds of all of its tasks.
    pub seconds: f64,
    /// Seconds of any task.
    pub start_up_s: f64,
    /// Seconds of a unit of size.
    pub per_size_s: f64,
    /// Where these two come from: `line`, least squares over what the device ran; `through-origin`, the
    /// same without a start-up; `others`, of what all devices ran; `assumed`.
    pub fit: String,
    /// How many of its runs they were fitted to.
    pub runs: u64,
    /// Mean of |predicted - measured| / measured over these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fit_error: Option<f64>,
    /// Its tasks, the largest first.
    pub tasks: Vec<String>,
}

/// Where a layer runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LayerDocument {
    /// Its name.
    pub id: String,
    /// Number of its stage, from 0.
    pub stage: u32,
}

/// A stage with degrees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct StageDocument {
    /// Copies of the stage.
    pub data: u32,
    /// Devices of one copy.
    pub tensor: u32,
    /// Its nodes.
    pub nodes: Vec<NodeDocument>,
}

/// A node of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NodeDocument {
    /// Its id.
    pub id: u64,
    /// Name of its configuration of the stage's tensor degree.
    pub configuration: String,
}

impl SolutionDocument {
    /// Reads a document of this version.
    ///
    /// # Errors
    /// `invalid-solution` if the text is none.
    pub fn parse(text: &[u8]) -> Result<Self, Diagnostic> {
        let invalid = |why: String| {
            Diagnostic::input("invalid-solution", "this is no solution of an instance")
                .fact("reason", why)
                .hint("give a file that `meshwright solve INSTANCE -o FILE` wrote")
        };
        let document: Self = crate::json::read(text, |error| {
            invalid(crate::json::reason(error))
                .fact("line", error.line())
                .fact("column", error.column())
        })?;
        if document.format != FORMAT {
            return Err(invalid(format!("its format is not `{FORMAT}`")));
        }
        Ok(document)
    }
}
