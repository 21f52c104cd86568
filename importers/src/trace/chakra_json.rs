//! The JSON form of Chakra traces, as the feeder of MLCommons reads it: `workload_graph` lists nodes.

use std::collections::HashSet;

use ir::diagnostic::Diagnostic;
use serde::Deserialize;

use super::calls::{Call, Shared, invalid_field};
use super::chakra::{Node, NodeType, duplicate, too_many};
use super::execution::MAX_NODES;
use crate::items::{self, Part};
use crate::json;
use crate::source::{self, Source};

/// The member that lists the nodes.
pub(crate) const NODES: &str = "workload_graph";

/// A node as recorded. Names are those of the feeder; times are in microseconds, sizes in bytes.
#[derive(Deserialize)]
struct Recorded {
    #[serde(rename = "Id")]
    id: u64,
    #[serde(rename = "Name")]
    name: String,
    #[serde(rename = "NodeType")]
    kind: u64,
    #[serde(default)]
    runtime: u64,
    #[serde(default)]
    data_deps: Vec<u64>,
    #[serde(default, alias = "ctrlDeps")]
    ctrl_deps: Vec<u64>,
    comm_type: Option<u64>,
    comm_size: Option<u64>,
    tensor_size: Option<u64>,
    num_ops: Option<u64>,
}

/// Reads the nodes of a trace.
///
/// # Errors
/// `invalid-field`, `too-many-nodes`, `duplicate-id`, and those of [`items::each`].
pub(super) fn read(source: &dyn Source) -> Result<Vec<Node>, Diagnostic> {
    let mut shared = Shared::default();
    let mut ids = HashSet::new();
    let mut nodes = Vec::new();
    items::each(source::text(source)?, NODES, &mut |part| {
        let Part::Item(n, text) = part else { return Ok(()) };
        if n >= MAX_NODES {
            return Err(too_many());
        }
        let recorded: Recorded = json::parse(text).map_err(|error| error.fact("node", n))?;
        let node = node(recorded, &mut shared)?;
        if !ids.insert(node.call.id) {
            return Err(duplicate(node.call.id));
        }
        nodes.push(node);
        Ok(())
    })?;
    Ok(nodes)
}

fn node(recorded: Recorded, shared: &mut Shared) -> Result<Node, Diagnostic> {
    let Recorded { id, name, kind, runtime, data_deps, ctrl_deps, .. } = recorded;
    let kind = NodeType::of(kind).ok_or_else(|| {
        let what = format!("node {id} (`{name}`)");
        invalid_field(&what, &id.to_string(), "NodeType", "a number from 0 to 7")
    })?;
    let sizes = [
        ("comm_type", recorded.comm_type),
        ("comm_size", recorded.comm_size),
        ("tensor_size", recorded.tensor_size),
        ("num_ops", recorded.num_ops),
    ];
    let numbers = sizes.into_iter().filter_map(|(name, size)| Some((name.to_owned(), size?)));
    Ok(Node {
        call: Call { id, name: shared.text(&name), ..Call::default() },
        kind,
        control: ctrl_deps,
        data: data_deps,
        duration: runtime,
        numbers: numbers.collect(),
        ..Node::default()
    })
}
