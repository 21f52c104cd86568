//! Instances of Tarnawski et al., "Piper: Multidimensional Planner for DNN Parallelization"
//! (NeurIPS 2021): layers with configurations (TMPCs) by tensor-parallel degree.

use std::collections::BTreeMap;

use ir::diagnostic::Diagnostic;
use ir::instance::{Configuration, Instance, StageInstance, StageNode, TimeUnit};
use ir::units::Bytes;
use serde::Deserialize;

use super::quantity::{self, Totals};
use super::structure::{Positions, check_acyclic};
use crate::json;
use crate::source::{self, Source};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    max_devices: u64,
    max_memory_per_device: f64,
    bandwidth: f64,
    #[serde(alias = "maxBatchSize")]
    mbs_in_batch: u64,
    nodes: Vec<NodeDocument>,
    edges: Vec<EdgeDocument>,
}

#[derive(Deserialize)]
struct NodeDocument {
    id: u64,
    name: Option<String>,
    #[serde(rename = "TMPCs")]
    configurations: BTreeMap<String, Vec<ConfigurationDocument>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConfigurationDocument {
    id: Option<String>,
    time_per_sample: f64,
    parameter_size: f64,
    memory_usage_a: f64,
    memory_usage_b: f64,
    #[serde(default)]
    sync_time_fw: BTreeMap<String, f64>,
    #[serde(default)]
    sync_time_bw: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EdgeDocument {
    source_id: u64,
    dest_id: u64,
    communication_cost: f64,
}

/// Most micro-batches in a batch.
const MAX_MICRO_BATCHES: u64 = 1 << 32;

/// Reads an instance.
///
/// # Errors
/// Those of the JSON reader, and `duplicate-id`, `undefined-node`, `graph-cycle`,
/// `number-out-of-range`, `invalid-field`, `no-devices`, `too-many-devices`, `empty-instance`,
/// `size-budget`.
pub(crate) fn read(source: &dyn Source, name: &str) -> Result<Instance, Diagnostic> {
    let document: Document = json::parse(&source::read_all(source, json::MAX_BYTES)?)?;
    let positions = Positions::new(document.nodes.iter().map(|node| &node.id))?;
    quantity::some_nodes(document.nodes.len(), "nodes")?;
    let n_devices = quantity::devices(document.max_devices, "maxDevices")?;
    if n_devices == 0 {
        return Err(Diagnostic::input("no-devices", "the instance has no device at all")
            .hint("give `maxDevices` a number above 0"));
    }
    let mut totals = Totals::new(TimeUnit::UNSTATED);
    let mut edges = Vec::with_capacity(document.edges.len());
    for edge in &document.edges {
        let bytes = totals.bytes(edge.communication_cost, "communicationCost")?;
        edges.push((positions.of(&edge.source_id)?, positions.of(&edge.dest_id)?, bytes));
    }
    let pairs = edges.iter().map(|(from, to, _)| (*from, *to));
    check_acyclic(document.nodes.len(), pairs, |node| document.nodes[node].id.to_string())?;
    let n_micro_batches = document.mbs_in_batch;
    if !(1..=MAX_MICRO_BATCHES).contains(&n_micro_batches) {
        let message = format!("`mbsInBatch` is {n_micro_batches}, not in 1..={MAX_MICRO_BATCHES}");
        return Err(Diagnostic::input("number-out-of-range", message));
    }
    let nodes = document
        .nodes
        .iter()
        .map(|node| self::node(node, &positions, &mut totals))
        .collect::<Result<_, _>>()?;
    let bandwidth = totals.bandwidth(document.bandwidth, "bandwidth")?;
    Ok(Instance::Stages(StageInstance {
        name: name.to_owned(),
        nodes,
        edges,
        n_devices,
        device_memory: quantity::limit(document.max_memory_per_device, "maxMemoryPerDevice")?,
        bandwidth,
        n_micro_batches,
    }))
}

fn node(
    node: &NodeDocument,
    positions: &Positions<u64>,
    totals: &mut Totals,
) -> Result<StageNode, Diagnostic> {
    let mut configurations = Vec::new();
    for (degree, documents) in &node.configurations {
        let degree = degree
            .parse()
            .ok()
            .filter(|degree: &u32| *degree > 0 && u64::from(*degree) <= super::MAX_DEVICES);
        let degree = degree.ok_or_else(|| {
            let message = format!("node {} has a tensor-parallel degree that is none", node.id);
            Diagnostic::input("invalid-field", message).fact("node", node.id)
        })?;
        for document in documents {
            configurations.push(Configuration {
                name: document.id.clone().unwrap_or_default(),
                degree,
                time: totals.time(document.time_per_sample, "timePerSample")?,
                parameters: totals.bytes(document.parameter_size, "parameterSize")?,
                bytes_per_sample: totals.bytes(document.memory_usage_a, "memoryUsageA")?,
                bytes_fixed: totals.bytes(document.memory_usage_b, "memoryUsageB")?,
                forward_sync: sync(&document.sync_time_fw, positions, totals)?,
                backward_sync: sync(&document.sync_time_bw, positions, totals)?,
            });
        }
    }
    // The keys were sorted as text.
    configurations.sort_by_key(|configuration: &Configuration| configuration.degree);
    Ok(StageNode {
        source_id: node.id,
        name: node.name.clone().unwrap_or_default(),
        configurations,
    })
}

fn sync(
    by_node: &BTreeMap<String, f64>,
    positions: &Positions<u64>,
    totals: &mut Totals,
) -> Result<Vec<(u32, Bytes)>, Diagnostic> {
    let mut found = Vec::with_capacity(by_node.len());
    for (node, bytes) in by_node {
        let id: u64 = node.parse().map_err(|_| {
            Diagnostic::input("invalid-field", format!("`{node}` in a sync time is no node id"))
        })?;
        found.push((positions.of(&id)?, totals.bytes(*bytes, "syncTime")?));
    }
    found.sort_unstable();
    Ok(found)
}
