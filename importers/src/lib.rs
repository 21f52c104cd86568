//! Readers of models, instances and clusters: one module per format, one table that knows them.
//!
//! [`read`] sniffs the format of a file by its extension, then by its first bytes.

mod benchmark;
pub mod cluster;
pub mod config;
mod foreign;
mod hints;
pub mod instance;
pub mod json;
pub mod launcher;
pub mod layers;
mod located;
pub mod measurements;
pub mod onnx;
pub mod profile;
mod sniff;
mod sound;
mod source;
mod summary;

use std::collections::BTreeMap;
use std::path::Path;

use ir::cluster::Cluster;
use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::instance::{Instance, Split};
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
    /// Whether the weights are to be trained: then they are not held in fewer bits than the model's
    /// type, whatever a config says.
    pub trains: bool,
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
#[derive(Clone, Copy, Debug)]
enum Reader {
    /// A graph, perhaps with a cluster.
    Model(fn(&dyn Source, &str, &ImportOptions) -> Result<Import, Diagnostic>),
    /// An instance of another planner's collection.
    Benchmark(benchmark::Reader),
}

/// What a file of any format holds.
#[derive(Clone, Debug)]
pub enum Content {
    /// A model, or an instance with devices and links.
    Model(Box<Import>),
    /// An instance of another planner's collection.
    Instance(Instance),
}

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
        read: Reader::Model(onnx::read),
    },
    Format {
        name: "config",
        extensions: &["json"],
        summary: "Hugging Face `config.json` of a transformer",
        read: Reader::Model(config::read),
    },
    Format {
        name: "instance",
        extensions: &["json"],
        summary: "ops with given costs, devices and links in one JSON file",
        read: Reader::Model(instance::read),
    },
    Format {
        name: "dnn-partitioning",
        extensions: &["json", "json.gz"],
        summary: "nodes with times on accelerators and CPU cores (msr-fiddle/dnn-partitioning)",
        read: Reader::Benchmark(benchmark::dnn_partitioning::read),
    },
    Format {
        name: "piper",
        extensions: &["json", "json.gz"],
        summary: "layers with configurations by tensor degree (msr-fiddle/piper)",
        read: Reader::Benchmark(benchmark::piper::read),
    },
    Format {
        name: "pipedream",
        extensions: &["txt"],
        summary: "layers with measured times, `graph.txt` (msr-fiddle/pipedream)",
        read: Reader::Benchmark(benchmark::pipedream::read),
    },
];

/// Reads a model or an instance from a file of any known format.
///
/// # Errors
/// `unreadable-file`, `unknown-format`, `no-graph` for instances of other planners, or whatever the
/// reader of the format finds; each names the file in the fact `file`.
pub fn read(path: &Path, options: &ImportOptions) -> Result<Import, Diagnostic> {
    read_any(path, options).and_then(|content| {
        model(content).map_err(|error| error.fact("file", path.display().to_string()))
    })
}

/// Reads a file of any known format, instances of other planners included.
///
/// # Errors
/// As [`read`], without `no-graph`.
pub fn read_any(path: &Path, options: &ImportOptions) -> Result<Content, Diagnostic> {
    let file = path.display().to_string();
    located::open(path)
        .and_then(|(source, name)| read_source(&source, &name, options))
        .map_err(|error| error.fact("file", file))
}

/// Reads a model or an instance from memory; `name` is what its file would be called.
///
/// # Errors
/// As [`read`].
pub fn read_bytes(name: &str, bytes: &[u8], options: &ImportOptions) -> Result<Import, Diagnostic> {
    read_any_bytes(name, bytes, options)
        .and_then(|content| model(content).map_err(|error| error.fact("file", name)))
}

/// [`read_any`] from memory.
///
/// # Errors
/// As [`read_any`].
pub fn read_any_bytes(
    name: &str,
    bytes: &[u8],
    options: &ImportOptions,
) -> Result<Content, Diagnostic> {
    read_source(&bytes, name, options).map_err(|error| error.fact("file", name))
}

/// Reads an instance of another planner; `None` for a file of any other format, or of none, which
/// [`read`] then tells.
///
/// # Errors
/// What the reader of the format finds; each names the file in the fact `file`.
pub fn instance(path: &Path) -> Result<Option<Instance>, Diagnostic> {
    let file = path.display().to_string();
    let read = |source: &dyn Source, name: &str| match sniff::format(source, name)
        .map(|format| format.read)
    {
        Ok(Reader::Benchmark(read)) => checked(read, source, name).map(Some),
        _ => Ok(None),
    };
    let Ok(source) = FileSource::open(path) else { return Ok(None) };
    // No reader of such instances takes more, and a large model is not read twice for nothing.
    if source.len() > json::MAX_BYTES {
        return Ok(None);
    }
    let found = match source::inflated(&source, json::MAX_BYTES) {
        Ok(None) => read(&source, &file),
        Ok(Some(bytes)) => read(&bytes.as_slice(), file.strip_suffix(".gz").unwrap_or(&file)),
        Err(_) => Ok(None),
    };
    found.map_err(|error| hints::complete(error).fact("file", file.clone()))
}

/// Whether a file is a model config, or none that could be told.
#[must_use]
pub fn is_config(path: &Path) -> bool {
    let Ok((source, name)) = located::open(path) else { return true };
    match sniff::format(&source, &name) {
        Ok(format) => format.name == "config",
        Err(error) => error.code != foreign::CODE && !path.to_string_lossy().ends_with(".gz"),
    }
}

/// Reads a split of a dnn-partitioning instance.
///
/// # Errors
/// `unreadable-file` and those of the JSON reader; each names the file in the fact `file`.
pub fn read_split(path: &Path) -> Result<Split, Diagnostic> {
    let file = path.display().to_string();
    FileSource::open(path)
        .and_then(|source| benchmark::read_split(&source))
        .map_err(|error| hints::complete(error).fact("file", file))
}

fn model(content: Content) -> Result<Import, Diagnostic> {
    match content {
        Content::Model(import) => Ok(*import),
        Content::Instance(_) => Err(Diagnostic::input(
            "no-graph",
            "this is an instance of another planner: costs without an operator graph",
        )
        .hint("`meshwright plan` takes such files")),
    }
}

fn read_source(
    source: &dyn Source,
    name: &str,
    options: &ImportOptions,
) -> Result<Content, Diagnostic> {
    read_plain(source, name, options).map_err(hints::complete)
}

fn read_plain(
    source: &dyn Source,
    name: &str,
    options: &ImportOptions,
) -> Result<Content, Diagnostic> {
    let inflated = source::inflated(source, json::budget())?;
    match &inflated {
        Some(bytes) => {
            read_sniffed(&bytes.as_slice(), name.strip_suffix(".gz").unwrap_or(name), options)
        }
        None => read_sniffed(source, name, options),
    }
}

fn read_sniffed(
    source: &dyn Source,
    name: &str,
    options: &ImportOptions,
) -> Result<Content, Diagnostic> {
    match sniff::format(source, name)?.read {
        Reader::Model(read) => {
            let import = read(source, &stem(name), options)?;
            sound::graph(&import.graph)?;
            Ok(Content::Model(Box::new(import)))
        }
        Reader::Benchmark(read) => checked(read, source, name).map(Content::Instance),
    }
}

fn checked(
    read: benchmark::Reader,
    source: &dyn Source,
    name: &str,
) -> Result<Instance, Diagnostic> {
    let instance = read(source, &stem(name))?;
    sound::instance(&instance)?;
    Ok(instance)
}

fn stem(name: &str) -> String {
    Path::new(name).file_stem().map_or_else(String::new, |s| s.to_string_lossy().into())
}
