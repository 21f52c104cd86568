//! The table of formats.

use ir::diagnostic::Diagnostic;

use crate::import::{Import, ImportOptions};
use crate::source::Source;
use crate::{benchmark, config, gguf, instance, onnx, stablehlo, torch_export, trace};

/// How a format is read from a source; the name becomes the graph's where the file has none.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reader {
    /// A graph, perhaps with a cluster.
    Model(fn(&dyn Source, &str, &ImportOptions) -> Result<Import, Diagnostic>),
    /// An instance of another planner's collection.
    Benchmark(benchmark::Reader),
}

/// What tells a file of a format from others.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Signs {
    /// JSON with all these keys at the top; of several formats the one that names most.
    Keys(&'static [&'static str]),
    /// The same of a file that is read item by item: most are too long to be looked through first.
    Stream(&'static [&'static str]),
    /// An extension, or where there is none that is known the first bytes.
    Head(&'static str, fn(&[u8]) -> bool),
}

/// A row of the format table.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// Name, such as `onnx`.
    pub name: &'static str,
    /// What its files are, as docs/formats.md says it.
    pub what: &'static str,
    /// How its files are told from others.
    pub(crate) signs: Signs,
    pub(crate) read: Reader,
}

impl Format {
    /// The keys of its JSON files, in words; `None` where they are told by other signs.
    pub(crate) fn keys(&self) -> Option<String> {
        let (Signs::Keys(all) | Signs::Stream(all)) = self.signs else { return None };
        let quoted: Vec<String> = all.iter().map(|key| format!("`{key}`")).collect();
        Some(format!("{} has {}", self.name, quoted.join(" and ")))
    }

    /// Whether its readers take traces beside a file themselves.
    pub(crate) fn is_trace(&self) -> bool {
        ["execution-trace", "kineto", "chakra", "chakra-json"].contains(&self.name)
    }
}

/// An attribute of the first message of a Chakra trace, as the converter writes it.
const SCHEMA: &[u8] = b"\n\x06schema";

/// What stands between id and description of a layer in a PipeDream profile.
const BETWEEN: &[u8] = b" -- ";

/// Every format, in the order in which they are listed.
#[must_use]
pub fn formats() -> &'static [Format] {
    FORMATS
}

static FORMATS: &[Format] = &[
    Format {
        name: "onnx",
        what: "ONNX model",
        // Field 1 (the IR version), a varint: how every writer begins an ONNX model.
        signs: Signs::Head("onnx", |head| head.first() == Some(&0x08)),
        read: Reader::Model(onnx::read),
    },
    Format {
        name: "torch.export",
        what: "archive of `torch.export.save`, `.pt2`",
        signs: Signs::Head("pt2", |head| head.starts_with(b"PK")),
        read: Reader::Model(torch_export::read),
    },
    Format {
        name: "config",
        what: "`config.json` of a Hugging Face model, or the folder that holds it",
        signs: Signs::Keys(&["model_type"]),
        read: Reader::Model(config::read),
    },
    Format {
        name: "gguf",
        what: "GGUF model of llama.cpp, of which the header alone is read",
        signs: Signs::Head("gguf", gguf::is),
        read: Reader::Model(config::of_gguf),
    },
    Format {
        name: "instance",
        what: "ops with given costs, devices and links in one JSON file",
        signs: Signs::Keys(&["ops", "devices"]),
        read: Reader::Model(instance::read),
    },
    Format {
        name: "stablehlo",
        what: "StableHLO or MLIR text of jax and torch-xla, `.mlir`",
        signs: Signs::Head("mlir", stablehlo::is),
        read: Reader::Model(stablehlo::read),
    },
    Format {
        name: "dnn-partitioning",
        what: "instances of other planners",
        signs: Signs::Keys(&["nodes", "maxFPGAs"]),
        read: Reader::Benchmark(benchmark::dnn_partitioning::read),
    },
    Format {
        name: "piper",
        what: "instances of other planners",
        signs: Signs::Keys(&["nodes", "maxDevices"]),
        read: Reader::Benchmark(benchmark::piper::read),
    },
    Format {
        name: "pipedream",
        what: "instances of other planners",
        signs: Signs::Head("txt", |head| {
            head.windows(BETWEEN.len()).any(|window| window == BETWEEN)
        }),
        read: Reader::Benchmark(benchmark::pipedream::read),
    },
    Format {
        name: "gradients",
        what: "sizes and times of gradients, and what exchanging them costs, in one JSON file",
        signs: Signs::Keys(&["gradients", "replicas"]),
        read: Reader::Benchmark(benchmark::gradients::read),
    },
    Format {
        name: "tasks",
        what: "tasks of known sizes, and what devices took for tasks before, in one JSON file",
        signs: Signs::Keys(&["tasks", "devices"]),
        read: Reader::Benchmark(benchmark::tasks::read),
    },
    Format {
        name: "averaging",
        what: "nodes that average their models in pairs or through a server, and their bandwidths",
        signs: Signs::Keys(&["kind", "bytes_per_s"]),
        read: Reader::Benchmark(benchmark::averaging::read),
    },
    Format {
        name: "execution-trace",
        what: "PyTorch's ExecutionTrace, `.et.json`",
        signs: Signs::Stream(&["schema", "nodes"]),
        read: Reader::Model(trace::read_execution),
    },
    Format {
        name: "kineto",
        what: "trace of PyTorch's profiler",
        signs: Signs::Stream(&["traceEvents"]),
        read: Reader::Model(trace::read_profile),
    },
    Format {
        name: "chakra",
        what: "MLCommons Chakra trace, `.et`",
        signs: Signs::Head("et", |head| head.windows(SCHEMA.len()).any(|window| window == SCHEMA)),
        read: Reader::Model(trace::read_chakra),
    },
    Format {
        name: "chakra-json",
        what: "MLCommons Chakra trace in JSON",
        signs: Signs::Stream(&["workload_graph"]),
        read: Reader::Model(trace::read_chakra),
    },
];
