//! Instances of Tarnawski et al., "Efficient Algorithms for Device Placement of DNN Graph
//! Operators" (NeurIPS 2020): nodes, edges, `k` accelerators ("FPGAs"), `l` CPU cores.

use std::collections::BTreeMap;

use ir::diagnostic::Diagnostic;
use ir::instance::{Instance, LoadInstance, LoadNode, TimeUnit};
use ir::op::Phase;
use ir::units::Nanos;
use serde::{Deserialize, Deserializer};

use super::quantity::{self, Totals};
use super::structure::{Positions, check_acyclic};
use crate::json;
use crate::source::{self, Source};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(rename = "maxSizePerFPGA")]
    memory: f64,
    #[serde(rename = "maxFPGAs")]
    accelerators: u64,
    #[serde(rename = "maxCPUs")]
    cpus: u64,
    nodes: Vec<NodeDocument>,
    edges: Vec<EdgeDocument>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeDocument {
    id: u64,
    name: Option<String>,
    #[serde(default = "yes", deserialize_with = "flag")]
    supported_on_fpga: bool,
    cpu_latency: f64,
    fpga_latency: Option<f64>,
    #[serde(default, deserialize_with = "flag")]
    is_backward_node: bool,
    color_class: Option<i64>,
    size: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EdgeDocument {
    source_id: u64,
    dest_id: u64,
    cost: f64,
}

/// Greatest difference of two costs of one node's output that is put down to rounding, in the
/// file's unit: the authors' own programs refuse more.
const SAME_COST: f64 = 1e-6;

fn yes() -> bool {
    true
}

/// `true`, `false`, or a number that is 0 or not.
fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Flag {
        Truth(bool),
        Number(f64),
    }
    Ok(match Flag::deserialize(deserializer)? {
        Flag::Truth(truth) => truth,
        Flag::Number(number) => number != 0.0,
    })
}

/// Reads an instance.
///
/// # Errors
/// Those of the JSON reader, and `duplicate-id`, `undefined-node`, `graph-cycle`, `unequal-costs`,
/// `number-out-of-range`, `missing-field`, `no-devices`, `too-many-devices`, `empty-instance`,
/// `size-budget`.
pub(crate) fn read(source: &dyn Source, name: &str) -> Result<Instance, Diagnostic> {
    let document: Document = json::parse(&source::read_all(source, json::MAX_BYTES)?)?;
    let positions = Positions::new(document.nodes.iter().map(|node| &node.id))?;
    let n_accelerators = quantity::devices(document.accelerators, "maxFPGAs")?;
    let n_cpus = quantity::devices(document.cpus, "maxCPUs")?;
    if n_accelerators + n_cpus == 0 {
        return Err(Diagnostic::input("no-devices", "the instance has no device at all")
            .hint("give `maxFPGAs` or `maxCPUs` a number above 0"));
    }
    quantity::some_nodes(document.nodes.len(), "nodes")?;
    let mut totals = Totals::new(TimeUnit::UNSTATED);
    let (edges, costs) = edges(&document, &positions)?;
    let mut n_readers = vec![0_u64; document.nodes.len()];
    for (producer, _) in &edges {
        n_readers[*producer as usize] += 1;
    }
    let colours: BTreeMap<i64, u32> =
        document.nodes.iter().filter_map(|node| node.color_class).map(|c| (c, 0)).collect();
    let colours: BTreeMap<i64, u32> = colours.into_keys().zip(0..).collect();
    let nodes = document
        .nodes
        .iter()
        .zip(costs.into_iter().zip(n_readers))
        .map(|(node, output)| self::node(node, output, &colours, &mut totals))
        .collect::<Result<Vec<_>, _>>()?;
    check_acyclic(nodes.len(), edges.iter().copied(), |node| document.nodes[node].id.to_string())?;
    Ok(Instance::Load(LoadInstance {
        name: name.to_owned(),
        nodes,
        edges,
        n_colours: colours.len(),
        n_accelerators,
        n_cpus,
        accelerator_memory: quantity::limit(document.memory, "maxSizePerFPGA")?,
    }))
}

fn node(
    node: &NodeDocument,
    (cost, n_readers): (f64, u64),
    colours: &BTreeMap<i64, u32>,
    totals: &mut Totals,
) -> Result<LoadNode, Diagnostic> {
    let accelerator = match (node.supported_on_fpga, node.fpga_latency) {
        (false, _) => None,
        (true, Some(latency)) => Some(totals.time(latency, "fpgaLatency")?),
        (true, None) => {
            let message =
                format!("node {} runs on accelerators, but has no `fpgaLatency`", node.id);
            return Err(Diagnostic::input("missing-field", message).fact("node", node.id));
        }
    };
    // A transfer is paid where it starts and by each device that reads it.
    let transfer: Nanos = totals.time_often(cost, n_readers + 1, "cost")?;
    Ok(LoadNode {
        source_id: node.id,
        name: node.name.clone().unwrap_or_default(),
        cpu: totals.time(node.cpu_latency, "cpuLatency")?,
        accelerator,
        transfer,
        bytes: totals.bytes(node.size.unwrap_or(0.0), "size")?,
        colour: node.color_class.and_then(|colour| colours.get(&colour).copied()),
        phase: if node.is_backward_node { Phase::BackwardInput } else { Phase::Forward },
    })
}

/// Distinct pairs in increasing order, and the cost of each node's output.
type Edges = (Vec<(u32, u32)>, Vec<f64>);

fn edges(document: &Document, positions: &Positions<u64>) -> Result<Edges, Diagnostic> {
    let mut costs: Vec<Option<f64>> = vec![None; document.nodes.len()];
    let mut pairs = Vec::with_capacity(document.edges.len());
    for edge in &document.edges {
        let (from, to) = (positions.of(&edge.source_id)?, positions.of(&edge.dest_id)?);
        let cost = costs[from as usize].get_or_insert(edge.cost);
        if (*cost - edge.cost).abs() > SAME_COST {
            return Err(Diagnostic::input(
                "unequal-costs",
                format!(
                    "the edges out of node {} cost {cost} and {}, but one output has one cost",
                    edge.source_id, edge.cost
                ),
            )
            .fact("node", edge.source_id)
            .hint("give all edges out of a node the same `cost`"));
        }
        *cost = cost.max(edge.cost);
        pairs.push((from, to));
    }
    pairs.sort_unstable();
    pairs.dedup();
    Ok((pairs, costs.into_iter().map(Option::unwrap_or_default).collect()))
}
