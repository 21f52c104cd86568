//! Splits of dnn-partitioning instances: which nodes a person has put on which device.

use ir::diagnostic::Diagnostic;
use ir::instance::Split;
use serde::Deserialize;

use crate::json;
use crate::source::{self, Source};

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    fpgas: Vec<DeviceDocument>,
    #[serde(default)]
    cpus: Vec<DeviceDocument>,
}

#[derive(Deserialize)]
struct DeviceDocument {
    #[serde(default)]
    nodes: Vec<u64>,
}

/// Reads a split.
///
/// # Errors
/// Those of the JSON reader.
pub(crate) fn read(source: &dyn Source) -> Result<Split, Diagnostic> {
    json::top_keys(source)?;
    let document: Document = json::parse(&source::read_all(source, json::MAX_BYTES)?)?;
    let nodes = |devices: Vec<DeviceDocument>| devices.into_iter().map(|d| d.nodes).collect();
    Ok(Split { accelerators: nodes(document.fpgas), cpus: nodes(document.cpus) })
}
