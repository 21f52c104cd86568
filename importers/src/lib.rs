//! Readers of models, instances and clusters: one module per format, one table that knows them.
//!
//! [`read`] sniffs the format of a file by its extension, then by its first bytes.

pub mod chakra;
pub mod cluster;
pub mod config;
pub mod execution_trace;
mod hints;
pub mod instance;
pub mod json;
pub mod measurements;
pub mod onnx;
pub mod profile;
pub mod schedule_csv;
mod sniff;
mod source;
mod summary;
pub mod torch_export;

use std::collections::BTreeMap;
use std::path::Path;

use ir::cluster::Cluster;
use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::tensor::DType;

use crate::source::{FileSource, Source};

/// What the caller fixes about a model while it is read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImportOptions {
    /// Values of symbolic dimensions, by symbol.
    pub dims: BTreeMap<String, u64>,
    /// Samples that go through at once (the micro-batch).
    pub batch: Option<u64>,
    /// Axis of the batch by graph input, where it is not 0.
    pub batch_axis: BTreeMap<String, usize>,
    /// Replaces the element type of every float of 16 bits and more.
    pub dtype: Option<DType>,
}

/// What a file holds.
#[derive(Clone, Debug)]
pub struct Import {
    /// The operator graph.
    pub graph: Graph,
    /// The cluster, where the file carries one (instance files).
    pub cluster: Option<Cluster>,
    /// Counts and totals.
    pub summary: Summary,
    /// What is worth knowing.
    pub warnings: Vec<Diagnostic>,
}

/// Counts and totals of an import.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Name of the format in [`formats`].
    pub format: &'static str,
    /// Ops, views included.
    pub n_ops: u64,
    /// Views among them.
    pub n_views: u64,
    /// Initializer tensors, used or not, tied ones once.
    pub n_parameters: u64,
    /// Elements of all initializers.
    pub initializer_elements: u64,
    /// Bytes of all parameters.
    pub parameter_bytes: u64,
    /// Floating-point operations of the forward pass.
    pub forward_flops: u64,
    /// Share of the ops, views excluded, whose work is guessed.
    pub guessed_share: f64,
    /// Share of the ops, views excluded, whose work is scaled from another batch size.
    pub scaled_share: f64,
    /// Operator sets: domain to version.
    pub opsets: BTreeMap<String, i64>,
    /// Pipeline stage by op, where the file annotates stages.
    pub stages: BTreeMap<String, i32>,
    /// Totals by op type.
    pub op_types: BTreeMap<String, OpTypeSummary>,
}

/// Totals of one op type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpTypeSummary {
    /// Ops of this type.
    pub count: u64,
    /// Their floating-point operations.
    pub flops: u64,
    /// Bytes that they read and write.
    pub bytes: u64,
}

/// How a format is read from a source; the name becomes the graph's where the file has none.
type Reader = fn(&dyn Source, &str, &ImportOptions) -> Result<Import, Diagnostic>;

/// A row of the format table.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// Name, such as `onnx`.
    pub name: &'static str,
    /// File name extensions, without the dot.
    pub extensions: &'static [&'static str],
    /// One line for people.
    pub summary: &'static str,
    read: Reader,
}

/// Every format, in the order in which they are listed.
#[must_use]
pub fn formats() -> &'static [Format] {
    FORMATS
}

static FORMATS: &[Format] = &[
    Format {
        name: "onnx",
        extensions: &["onnx"],
        summary: "ONNX model; weights inline or external, never read",
        read: onnx::read,
    },
    Format {
        name: "config",
        extensions: &["json"],
        summary: "Hugging Face `config.json` of a transformer",
        read: config::read,
    },
    Format {
        name: "instance",
        extensions: &["json"],
        summary: "ops with given costs, devices and links in one JSON file",
        read: instance::read,
    },
    Format {
        name: "torch-export",
        extensions: &["pt2"],
        summary: "`torch.export` archive (checked only, cannot be planned yet)",
        read: torch_export::read,
    },
    Format {
        name: "execution-trace",
        extensions: &["json"],
        summary: "PyTorch ExecutionTrace (checked only, cannot be planned yet)",
        read: execution_trace::read,
    },
    Format {
        name: "chakra",
        extensions: &["et"],
        summary: "MLCommons Chakra trace (checked only, cannot be planned yet)",
        read: chakra::read,
    },
    Format {
        name: "schedule",
        extensions: &["csv"],
        summary: "torch pipelining schedule (checked only, cannot be planned yet)",
        read: schedule_csv::read,
    },
];

/// Reads a model or an instance from a file of any known format.
///
/// # Errors
/// `unreadable-file`, `unknown-format`, or whatever the reader of the format finds; each names the
/// file in the fact `file`.
pub fn read(path: &Path, options: &ImportOptions) -> Result<Import, Diagnostic> {
    let file = path.display().to_string();
    FileSource::open(path)
        .and_then(|source| read_source(&source, &path.to_string_lossy(), options))
        .map_err(|error| error.fact("file", file))
}

/// Reads a model or an instance from memory; `name` is what its file would be called.
///
/// # Errors
/// As [`read`].
pub fn read_bytes(name: &str, bytes: &[u8], options: &ImportOptions) -> Result<Import, Diagnostic> {
    read_source(&bytes, name, options).map_err(|error| error.fact("file", name))
}

fn read_source(
    source: &dyn Source,
    name: &str,
    options: &ImportOptions,
) -> Result<Import, Diagnostic> {
    let stem = Path::new(name).file_stem().map_or_else(String::new, |s| s.to_string_lossy().into());
    sniff::format(source, name)
        .and_then(|format| (format.read)(source, &stem, options))
        .map_err(hints::complete)
}
