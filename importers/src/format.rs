//! The table of formats.

use ir::diagnostic::Diagnostic;

use crate::import::{Import, ImportOptions};
use crate::source::Source;
use crate::{benchmark, config, instance, onnx};

/// How a format is read from a source; the name becomes the graph's where the file has none.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reader {
    /// A graph, perhaps with a cluster.
    Model(fn(&dyn Source, &str, &ImportOptions) -> Result<Import, Diagnostic>),
    /// An instance of another planner's collection.
    Benchmark(benchmark::Reader),
}

/// A row of the format table.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// Name, such as `onnx`.
    pub name: &'static str,
    pub(crate) read: Reader,
}

/// Every format, in the order in which they are listed.
#[must_use]
pub fn formats() -> &'static [Format] {
    FORMATS
}

static FORMATS: &[Format] = &[
    Format {
        name: "onnx",
        // ONNX model; weights inline or external, never read
        read: Reader::Model(onnx::read),
    },
    Format {
        name: "config",
        // Hugging Face `config.json` of a transformer
        read: Reader::Model(config::read),
    },
    Format {
        name: "instance",
        // ops with given costs, devices and links in one JSON file
        read: Reader::Model(instance::read),
    },
    Format {
        name: "dnn-partitioning",
        // nodes with times on accelerators and CPU cores (msr-fiddle/dnn-partitioning)
        read: Reader::Benchmark(benchmark::dnn_partitioning::read),
    },
    Format {
        name: "piper",
        // layers with configurations by tensor degree (msr-fiddle/piper)
        read: Reader::Benchmark(benchmark::piper::read),
    },
    Format {
        name: "pipedream",
        // layers with measured times, `graph.txt` (msr-fiddle/pipedream)
        read: Reader::Benchmark(benchmark::pipedream::read),
    },
];
