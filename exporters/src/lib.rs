//! Files that executors and viewers read, one module per format and one table that knows them all.

pub mod accelerate;
pub mod convergence;
pub mod dot;
mod format;
pub mod given_costs;
mod modules;
pub mod serving;
pub mod svg;
pub mod trace;
pub mod training;

#[cfg(test)]
mod tests;

pub use format::{Export, Source, Target};
use format::{unknown_target, version};
use ir::cluster::Cluster;
use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::id::{DeviceId, OpId};

const TARGETS: &[Target] = &[
    Target {
        name: "accelerate",
        file_name: "device_map.json",
        summary: "device_map of Hugging Face Accelerate: module name to device, by block",
        versions: &[],
        is_executor: true,
        serves: false,
        computes: |_, _| true,
        export: accelerate::export,
        colocation: accelerate::colocation,
    },
    Target {
        name: serving::VLLM,
        file_name: "vllm.sh",
        summary: "starts vLLM with the layers of each pipeline rank",
        versions: &[],
        is_executor: true,
        serves: true,
        computes: |cluster, device| cluster.storage(device).is_none(),
        export: serving::vllm,
        colocation: |graph| serving::pipelined_colocation(graph, serving::VLLM),
    },
    Target {
        name: serving::SGLANG,
        file_name: "sglang.sh",
        summary: "starts SGLang with the layers of each pipeline rank",
        versions: &["0.5"],
        is_executor: true,
        serves: true,
        computes: |cluster, device| cluster.storage(device).is_none(),
        export: serving::sglang,
        colocation: |graph| serving::pipelined_colocation(graph, serving::SGLANG),
    },
    Target {
        name: serving::LLAMA_CPP,
        file_name: "llama.sh",
        summary: "starts llama.cpp with the share of each device and tensors elsewhere",
        versions: &[],
        is_executor: true,
        serves: true,
        computes: |cluster, device| cluster.storage(device) != Some("disk"),
        export: serving::llama_cpp,
        colocation: serving::llama_cpp_colocation,
    },
    Target {
        name: "max-memory",
        file_name: "max_memory.yaml",
        summary: "max_memory of Accelerate: bytes for weights on each device of the plan",
        versions: &[],
        is_executor: false,
        serves: false,
        computes: |_, _| true,
        export: accelerate::max_memory::export,
        colocation: anywhere,
    },
    Target {
        name: "trace",
        file_name: "trace.json",
        summary: "timeline for Perfetto and chrome://tracing",
        versions: &[],
        is_executor: false,
        serves: false,
        computes: |_, _| true,
        export: trace::export,
        colocation: anywhere,
    },
    Target {
        name: "dot",
        file_name: "plan.dot",
        summary: "graph by device for Graphviz",
        versions: &[],
        is_executor: false,
        serves: false,
        computes: |_, _| true,
        export: dot::export,
        colocation: anywhere,
    },
    Target {
        name: "svg",
        file_name: "timeline.svg",
        summary: "picture of the timeline",
        versions: &[],
        is_executor: false,
        serves: false,
        computes: |_, _| true,
        export: svg::export,
        colocation: anywhere,
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
    (row(target)?.export)(source)
}

/// Ops that a format can only keep together. A plan under these colocations can be written.
///
/// # Errors
/// `unknown-target` with the known ones, `cannot-express` where the format has no words for the
/// model.
pub fn colocation(target: &str, graph: &Graph) -> Result<Vec<Vec<OpId>>, Diagnostic> {
    (row(target)?.colocation)(graph)
}

/// Devices that a format puts nothing on.
///
/// # Errors
/// `unknown-target` with the known ones.
pub fn barred(target: &str, cluster: &Cluster) -> Result<Vec<DeviceId>, Diagnostic> {
    let computes = row(target)?.computes;
    Ok(cluster.device_ids().filter(|device| !computes(cluster, *device)).collect())
}

/// For formats that take any placement.
fn anywhere(_: &Graph) -> Result<Vec<Vec<OpId>>, Diagnostic> {
    Ok(Vec::new())
}

/// The version of a format that `name@version` names.
///
/// # Errors
/// Those of [`row`].
pub fn versioned(target: &str) -> Result<&'static str, Diagnostic> {
    version(target, row(target)?.versions)
}

/// The row of a format, by `name` or `name@version`.
///
/// # Errors
/// `unknown-target` with the known ones.
pub fn row(target: &str) -> Result<&'static Target, Diagnostic> {
    let name = target.split('@').next().unwrap_or_default();
    let row = TARGETS.iter().find(|row| row.name == name);
    let row = row.ok_or_else(|| unknown_target(name, "", TARGETS.iter().map(|row| row.name)))?;
    version(target, row.versions).map(|_| row)
}
