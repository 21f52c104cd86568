//! What a model is read with, and what of it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ir::cluster::Cluster;
use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::tensor::DType;
use ir::units::Nanos;

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
    /// Whether `QuantizeLinear` and `DequantizeLinear` are priced as they stand in the file, and not
    /// as the integer kernels that executors make of them.
    pub qdq_as_written: bool,
    /// Whether the weights are to be trained: then they are not held in fewer bits than the model's
    /// type, whatever a config says.
    pub trains: bool,
    /// Profiles of runs of the model, whose durations its ops take.
    pub traces: Vec<PathBuf>,
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
    /// Bytes of constants that are no parameters, where the format tells them apart.
    pub buffer_bytes: u64,
    /// Floating-point operations of the forward pass.
    pub forward_flops: u64,
    /// Those of the backward pass, where the graph holds one.
    pub backward_flops: u64,
    /// Share of the ops, views excluded, whose work is guessed.
    pub guessed_share: f64,
    /// Share of the ops, views excluded, whose work is the most that the graph allows, because
    /// extents depend on data.
    pub bounded_share: f64,
    /// Share of the ops, views excluded, whose work is scaled from another batch size.
    pub scaled_share: f64,
    /// Operator sets: domain to version.
    pub opsets: BTreeMap<String, i64>,
    /// Pipeline stage by op, where the file annotates stages.
    pub stages: BTreeMap<String, i32>,
    /// Degrees of parallelism as `--pin` takes them, where the file shards its tensors.
    pub pins: Vec<String>,
    /// Shardings by tensor, as the file states them.
    pub shardings: BTreeMap<String, String>,
    /// Totals by op type.
    pub op_types: BTreeMap<String, OpTypeSummary>,
    /// Which step of a trace it is, in words: `ProfilerStep#6, the median of 5 complete`.
    pub step: Option<String>,
    /// Profiles whose durations the ops have.
    pub recorded: Vec<Recorded>,
    /// Tokens of a sample, of models that are written out from a config; `None` where samples are
    /// pictures or sound alone, and for other formats.
    pub tokens: Option<u64>,
}

/// What a profile of a run gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recorded {
    /// Name of the kind of device that it was recorded on.
    pub kind: String,
    /// Events in the file.
    pub events: u64,
    /// Time of all calls of operators, or of all kernels, without any in which nothing ran; on the
    /// graph of another file less what belongs to parts of the step that it has not.
    pub op_time: Nanos,
    /// Share of it that ops of the graph have.
    pub landed_share: f64,
    /// Share of it that ops of the graph have from others of the same segment, where the graph is of
    /// another file and the trace has no op like them.
    pub segment_share: f64,
    /// From the first event to the end of the last.
    pub step_time: Nanos,
    /// Share of the step in which nothing ran.
    pub idle_share: f64,
    /// As much of that time as ops of the graph have beside their own.
    pub idle_time: Nanos,
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

/// A warning that lists the first few names, if there are any.
pub(crate) fn listed(
    code: &'static str,
    what: &str,
    names: impl IntoIterator<Item = String>,
) -> Option<Diagnostic> {
    let names: Vec<String> = names.into_iter().collect();
    let count = names.len();
    let first: Vec<String> = names.into_iter().take(5).collect();
    let quoted: Vec<String> = first.iter().map(|name| format!("`{name}`")).collect();
    let more = if count > first.len() { ", ..." } else { "" };
    (count > 0).then(|| {
        Diagnostic::warning(code, format!("{what}: {}{more}", quoted.join(", ")))
            .fact("names", first)
            .fact("count", count)
    })
}
