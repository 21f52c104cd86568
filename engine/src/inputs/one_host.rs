//! Executors that run as one process on one host get the devices of one node only.

use std::collections::{BTreeMap, BTreeSet};

use cost_model::ops::problem::Constraints;
use ir::cluster::Cluster;
use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::id::{DeviceId, NodeId, OpId};
use ir::op::Work;

use crate::request::executor::Executor;

/// Pins every op to the devices of one node where the cluster has several, and says which: the one
/// with the most memory of those that the constraints leave possible. Ties go to the first.
pub fn restrict(
    executor: Executor,
    graph: &Graph,
    cluster: &Cluster,
    constraints: &mut Constraints,
) -> Option<Diagnostic> {
    let mut nodes: BTreeMap<Option<NodeId>, Vec<DeviceId>> = BTreeMap::new();
    for device in cluster.device_ids() {
        nodes.entry(cluster.devices[device.index()].node).or_default().push(device);
    }
    if nodes.len() < 2 {
        return None;
    }
    let forbidden = forbidden(constraints);
    let possible = nodes.iter().filter(|(_, devices)| admits(devices, constraints, &forbidden));
    // Of equal ones the last wins, so they are looked at backwards.
    let chosen = possible.rev().max_by_key(|(_, devices)| memory(cluster, devices));
    // Where no node will do, the constraints contradict the executor: the first node lets the
    // solver say which op has no device.
    let (node, devices) = chosen.or_else(|| nodes.first_key_value())?;
    let ops = graph.op_ids().filter(|op| graph.op(*op).work != Work::View);
    constraints.pins.extend(ops.map(|op| (op, devices.clone())));
    let name = node.and_then(|node| cluster.nodes.get(node.index()));
    let name = name.map_or_else(|| "no node".to_owned(), |node| format!("node `{}`", node.name));
    let message = format!(
        "`{}` runs on one host: of {} nodes only the devices of {name} are used",
        executor.target(),
        nodes.len()
    );
    let names = devices.iter().map(|d| cluster.devices[d.index()].name.clone());
    Some(
        Diagnostic::warning("one-host", message)
            .fact("devices", names.collect::<Vec<_>>())
            .hint("leave out --for to plan for all nodes, or pin an op to choose another one"),
    )
}

/// Where each op must not run.
fn forbidden(constraints: &Constraints) -> BTreeMap<OpId, BTreeSet<DeviceId>> {
    let mut forbidden: BTreeMap<OpId, BTreeSet<DeviceId>> = BTreeMap::new();
    for (op, devices) in &constraints.forbids {
        forbidden.entry(*op).or_default().extend(devices);
    }
    forbidden
}

/// Whether every pinned op may run on one of these devices, and no op is forbidden on all.
fn admits(
    devices: &[DeviceId],
    constraints: &Constraints,
    forbidden: &BTreeMap<OpId, BTreeSet<DeviceId>>,
) -> bool {
    constraints.pins.iter().all(|(_, pinned)| pinned.iter().any(|d| devices.contains(d)))
        && forbidden.values().all(|barred| devices.iter().any(|d| !barred.contains(d)))
}

/// Bytes of all devices; one without a limit holds anything.
fn memory(cluster: &Cluster, devices: &[DeviceId]) -> u64 {
    devices.iter().fold(0, |sum: u64, device| {
        let limit = cluster.devices[device.index()].memory_limit();
        sum.saturating_add(limit.map_or(u64::MAX, |bytes| bytes.get()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_nodes() -> Cluster {
        let text = "name: c\nnodes:\n  - {count: 1, device: a100_sxm4_40gb, devices: 2, scaleup: nvlink3}\n  \
            - {count: 1, device: a100_sxm4_80gb, devices: 2, scaleup: nvlink3}\n\
            network: {link: ib_hdr_200}\n";
        importers::cluster::parse(text, "test", None).unwrap()
    }

    fn graph() -> Graph {
        let kernel = || Work::Kernel(ir::op::Kernel::default());
        let op = |name: &str| ir::op::Op {
            name: name.to_owned(),
            op_type: "MatMul".to_owned(),
            module: None,
            phase: ir::op::Phase::Forward,
            inputs: Vec::new(),
            parameters: Vec::new(),
            outputs: Vec::new(),
            work: kernel(),
            group: None,
            splits: ir::op::Splits::default(),
        };
        Graph { ops: vec![op("a"), op("b")], ..Graph::default() }
    }

    fn chosen(mut constraints: Constraints) -> Vec<DeviceId> {
        let warning = restrict(
            Executor::named("accelerate").unwrap(),
            &graph(),
            &two_nodes(),
            &mut constraints,
        )
        .unwrap();
        assert_eq!(warning.code, "one-host");
        let (op, devices) = constraints.pins.last().unwrap().clone();
        assert_eq!(op, OpId(1), "every op is pinned");
        devices
    }

    #[test]
    fn the_larger_node_is_taken_unless_a_constraint_says_otherwise() {
        let (small, large) = (vec![DeviceId(0), DeviceId(1)], vec![DeviceId(2), DeviceId(3)]);
        assert_eq!(chosen(Constraints::default()), large);
        let pins = vec![(OpId(0), vec![DeviceId(1)])];
        assert_eq!(chosen(Constraints { pins, ..Constraints::default() }), small);
        let forbids = vec![(OpId(1), large)];
        assert_eq!(chosen(Constraints { forbids, ..Constraints::default() }), small);
    }

    #[test]
    fn one_node_needs_no_word() {
        let text = "nodes: [{count: 1, device: a100_sxm4_80gb, devices: 2, scaleup: nvlink3}]\n";
        let cluster = importers::cluster::parse(text, "test", None).unwrap();
        let mut constraints = Constraints::default();
        assert_eq!(
            restrict(Executor::named("accelerate").unwrap(), &graph(), &cluster, &mut constraints),
            None
        );
        assert!(constraints.pins.is_empty());
    }
}
