//! A fleet as writers are given it, and what they share.

use documents::plan::fleet::FleetDocument;
use ir::card::stored::CacheType;
use ir::cluster::Cluster;
use ir::diagnostic::Diagnostic;
use serde_json::Value;

/// Dynamo's target.
pub(crate) const DYNAMO: &str = "dynamo";

/// A fleet of workers of a model on the devices of a cluster.
#[derive(Clone, Copy, Debug)]
pub struct FleetSource<'a> {
    /// The model's name.
    pub model: &'a str,
    /// The cluster.
    pub cluster: &'a Cluster,
    /// Workers, their settings and devices.
    pub fleet: &'a FleetDocument,
    /// Type that products are computed in, such as `bf16`.
    pub dtype: &'a str,
    /// Type of cached keys and values where servers have to be told of it.
    pub cache: Option<CacheType>,
}

/// A document as YAML, which ends with a line.
pub(super) fn yaml(value: &Value) -> Result<String, Diagnostic> {
    let mut text = serde_yaml::to_string(value)
        .map_err(|error| Diagnostic::input("cannot-express", format!("no YAML: {error}")))?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}
