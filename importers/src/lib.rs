//! Readers of models, instances and clusters: one module per format, one table that knows them.
//!
//! [`read`] sniffs the format of a file by its extension, then by its first bytes.

pub mod aiconfigurator;
mod aten;
mod benchmark;
pub mod cluster;
pub mod config;
mod foreign;
mod format;
pub mod gguf;
mod hints;
pub mod histogram;
mod import;
pub mod instance;
pub mod interference;
mod items;
pub mod json;
pub mod launcher;
pub mod layers;
mod located;
pub mod measurements;
pub mod onnx;
mod parquet;
pub mod profile;
pub mod request_log;
pub mod routing_trace;
mod sniff;
mod sound;
mod source;
mod stablehlo;
mod summary;
mod torch_export;
mod trace;
mod yaml;

use std::path::{Path, PathBuf};

use ir::diagnostic::Diagnostic;
use ir::instance::{Instance, Split};

use crate::format::Reader;
use crate::source::{FileSource, Source};

pub use format::{Format, formats};
pub use import::{Import, ImportOptions, OpTypeSummary, Recorded, Summary};

/// What a file of any format holds.
#[derive(Clone, Debug)]
pub enum Content {
    /// A model, or an instance with devices and links.
    Model(Box<Import>),
    /// An instance of another planner's collection.
    Instance(Instance),
}

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

/// Reads a model from standard input, whose format is told by its content; the model is called
/// `stdin`.
///
/// # Errors
/// As [`read`]; `size-budget` past 1 GiB.
pub fn read_standard_input(options: &ImportOptions) -> Result<Import, Diagnostic> {
    let bytes = source::standard_input(1 << 30)?;
    read_bytes("stdin", &bytes, options)
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
        // Traces are read item by item, and no further than they are needed.
        _ if matches!(sniff::streamed(source), Ok(Some(_))) => Ok(None),
        Ok(Reader::Benchmark(read)) => checked(read, source, name).map(Some),
        Err(error) if json::is_broken(&error) => Err(error),
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

/// The file of a model, which may be given as a checkpoint folder, and the name that it is read
/// under.
///
/// # Errors
/// `no-config` for a folder without `config.json`.
pub fn file(path: &Path) -> Result<(PathBuf, String), Diagnostic> {
    located::file(path).map_err(|error| error.fact("file", path.display().to_string()))
}

/// Whether a file is a model config or a GGUF file, which is read as one, or none that could be told.
#[must_use]
pub fn is_config(path: &Path) -> bool {
    let Ok((source, name)) = located::open(path) else { return true };
    match sniff::format(&source, &name) {
        Ok(format) => ["config", "gguf"].contains(&format.name),
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
            "this is an instance with given costs, without an operator graph",
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
    if let Some(format) = sniff::streamed(source)? {
        let plain = name.strip_suffix(".gz").unwrap_or(name);
        return read_as(format, source, plain, options);
    }
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
    read_as(sniff::format(source, name)?, source, name, options)
}

fn read_as(
    format: &Format,
    source: &dyn Source,
    name: &str,
    options: &ImportOptions,
) -> Result<Content, Diagnostic> {
    match format.read {
        Reader::Model(read) => {
            let mut import = read(source, &stem(name), options)?;
            sound::graph(&import.graph)?;
            if options.qdq_as_written && format.name != "onnx" {
                import.warnings.push(onnx::no_pairs());
            }
            if !options.traces.is_empty() && !format.is_trace() {
                trace::onto(&mut import, options)?;
            }
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
