//! Problems sketched in a few lines, with names instead of ids.
#![allow(dead_code, clippy::unwrap_used, reason = "tests, each of which uses a part")]

use std::collections::BTreeMap;
use std::sync::Arc;

use cost_model::ops::problem::{Constraints, Objective, Problem};
use ir::cluster::{
    Channel, Check, Cluster, Device, DeviceKind, Duplex, Links, NO_ROUTE, RouteKind,
};
use ir::graph::Graph;
use ir::id::{ChannelId, ClassId, GroupId, KindId, OpId, TensorId};
use ir::op::{GivenCost, Op, Phase, Work};
use ir::tensor::{DType, Role, Tensor};
use ir::units::{Bytes, BytesPerSecond, Nanos};
use ir::workload::Workload;

/// An op in the making. Tensors are `(name, bytes)`.
#[derive(Clone, Debug, Default)]
pub(crate) struct SketchOp {
    pub(crate) name: String,
    /// `(kind, nanoseconds)`.
    pub(crate) times: Vec<(String, u64)>,
    /// Tensors that other ops write.
    pub(crate) inputs: Vec<String>,
    pub(crate) outputs: Vec<(String, u64)>,
    pub(crate) parameters: Vec<(String, u64)>,
    pub(crate) graph_inputs: Vec<(String, u64)>,
    pub(crate) temporary: u64,
    pub(crate) group: Option<usize>,
}

/// A problem in the making: full-duplex links of 1 byte per nanosecond after a latency, unless
/// `links` says otherwise.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sketch {
    pub(crate) latency_ns: f64,
    /// `(kind, memory limit)`.
    pub(crate) devices: Vec<(String, Option<u64>)>,
    pub(crate) ops: Vec<SketchOp>,
    /// Tensors that the caller reads at the end.
    pub(crate) graph_outputs: Vec<String>,
    pub(crate) links: Option<Links>,
}

impl Sketch {
    pub(crate) fn new(latency_ns: f64) -> Self {
        Self { latency_ns, ..Self::default() }
    }

    pub(crate) fn device(mut self, kind: &str, limit: u64) -> Self {
        self.devices.push((kind.to_owned(), Some(limit)));
        self
    }

    /// An op that runs on one kind; inputs as `x y`, outputs with bytes as `x:2 y:1`.
    pub(crate) fn op(
        mut self,
        name: &str,
        kind: &str,
        nanoseconds: u64,
        inputs: &str,
        outputs: &str,
    ) -> Self {
        let outputs = outputs.split_whitespace().map(|output| {
            let (name, bytes) = output.split_once(':').unwrap();
            (name.to_owned(), bytes.parse().unwrap())
        });
        self.ops.push(SketchOp {
            name: name.to_owned(),
            times: vec![(kind.to_owned(), nanoseconds)],
            inputs: inputs.split_whitespace().map(str::to_owned).collect(),
            outputs: outputs.collect(),
            ..SketchOp::default()
        });
        self
    }

    /// The last op has a parameter of its own.
    pub(crate) fn persistent(mut self, bytes: u64) -> Self {
        let op = self.ops.last_mut().unwrap();
        op.parameters.push((format!("weight of {}", op.name), bytes));
        self
    }

    /// The last op needs scratch bytes.
    pub(crate) fn temporary(mut self, bytes: u64) -> Self {
        self.ops.last_mut().unwrap().temporary = bytes;
        self
    }

    /// The last op is in the one colocation group.
    pub(crate) fn group(mut self) -> Self {
        self.ops.last_mut().unwrap().group = Some(0);
        self
    }

    pub(crate) fn problem(&self) -> Problem {
        self.try_problem().unwrap()
    }

    /// `None` where an op or a group has no device.
    pub(crate) fn try_problem(&self) -> Option<Problem> {
        let cluster = self.cluster();
        let kinds: Vec<String> = cluster.kinds.iter().map(|kind| kind.name.clone()).collect();
        let graph = self.graph();
        let time = |op: OpId, kind: usize| {
            let times = &self.ops[op.index()].times;
            times.iter().find(|(name, _)| *name == kinds[kind]).map(|(_, time)| Nanos(*time))
        };
        Problem::new(
            Arc::new(graph),
            Arc::new(cluster),
            Workload::default(),
            Objective::STEP_TIME,
            Constraints::default(),
            time,
            |op| Bytes(self.ops[op.index()].temporary),
        )
        .ok()
    }

    fn graph(&self) -> Graph {
        let mut tensors = Vec::new();
        let mut ids = BTreeMap::new();
        let mut tensor = |name: &str, bytes: u64, role: Role| {
            *ids.entry(name.to_owned()).or_insert_with(|| {
                tensors.push(Tensor {
                    name: name.to_owned(),
                    dtype: DType::U8,
                    shape: vec![bytes],
                    bytes: Bytes(bytes),
                    state_bytes: Bytes::ZERO,
                    role,
                    trainable: false,
                });
                TensorId::new(tensors.len() - 1)
            })
        };
        // Ids of activations follow their producers; ops may read what a later one writes.
        for op in &self.ops {
            op.outputs.iter().for_each(|(name, bytes)| {
                tensor(name, *bytes, Role::Activation);
            });
        }
        let mut ops = Vec::new();
        for op in &self.ops {
            let inputs = op.inputs.iter().map(|name| tensor(name, 0, Role::Activation));
            let mut inputs: Vec<TensorId> = inputs.collect();
            inputs.extend(op.graph_inputs.iter().map(|(n, bytes)| tensor(n, *bytes, Role::Input)));
            ops.push(Op {
                name: op.name.clone(),
                op_type: "Given".to_owned(),
                module: None,
                phase: Phase::Forward,
                inputs,
                parameters: op
                    .parameters
                    .iter()
                    .map(|(name, bytes)| tensor(name, *bytes, Role::Parameter))
                    .collect(),
                outputs: op
                    .outputs
                    .iter()
                    .map(|(name, bytes)| tensor(name, *bytes, Role::Activation))
                    .collect(),
                work: Work::Given(GivenCost {
                    time: op.times.iter().map(|(kind, ns)| (kind.clone(), Nanos(*ns))).collect(),
                    temporary: Bytes(op.temporary),
                }),
                group: op.group.map(GroupId::new),
                splits: ir::op::Splits::default(),
            });
        }
        let outputs = self.graph_outputs.iter().map(|name| tensor(name, 0, Role::Activation));
        let outputs = outputs.collect();
        let n_groups = self.ops.iter().filter_map(|op| op.group).max().map_or(0, |most| most + 1);
        Graph { name: "sketch".to_owned(), ops, tensors, outputs, n_groups, ..Graph::default() }
    }

    fn cluster(&self) -> Cluster {
        let mut kinds: Vec<String> = Vec::new();
        for (kind, _) in &self.devices {
            if !kinds.contains(kind) {
                kinds.push(kind.clone());
            }
        }
        let devices: Vec<Device> = self
            .devices
            .iter()
            .enumerate()
            .map(|(number, (kind, limit))| Device {
                name: format!("d{number}"),
                kind: KindId::new(kinds.iter().position(|other| other == kind).unwrap()),
                class: ClassId::new(number),
                node: None,
                capacity: limit.map(Bytes),
                context: Bytes::ZERO,
                reserve: Bytes::ZERO,
                is_reserve_stated: false,
            })
            .collect();
        let links =
            self.links.clone().unwrap_or_else(|| full_duplex(devices.len(), self.latency_ns));
        Cluster {
            slots: Vec::new(),
            name: "sketch".to_owned(),
            classes: (0..devices.len()).map(|d| vec![ir::id::DeviceId::new(d)]).collect(),
            devices,
            duplex: if links.send == links.receive { Duplex::Half } else { Duplex::Full },
            links,
            kinds: kinds
                .into_iter()
                .map(|name| DeviceKind {
                    name,
                    memory: None,
                    memory_bandwidth: None,
                    peak: BTreeMap::new(),
                    n_multiprocessors: None,
                    last_level_cache: None,
                    clock: None,
                    power: None,
                    source: "sketch".to_owned(),
                    check: Check::Given,
                    ..DeviceKind::default()
                })
                .collect(),
            ..Cluster::default()
        }
    }
}

/// A kind of route: bytes per nanosecond after a latency.
pub(crate) fn route_kind(tier: usize, latency_ns: f64, bytes_per_ns: f64) -> RouteKind {
    RouteKind {
        name: format!("tier {tier}"),
        tier,
        latency_ns,
        bandwidth: BytesPerSecond::new(bytes_per_ns * 1e9).unwrap(),
        source: "sketch".to_owned(),
        check: Check::Given,
    }
}

/// One send and one receive channel per device, named `send0`, `recv0`, ...
pub(crate) fn full_duplex(n_devices: usize, latency_ns: f64) -> Links {
    let mut links = Links {
        kinds: vec![route_kind(0, latency_ns, 1.0)],
        n_tiers: 1,
        pairs: vec![0; n_devices * n_devices],
        ..Links::default()
    };
    for device in 0..n_devices {
        links.pairs[device * n_devices + device] = NO_ROUTE;
        links.channels.push(Channel { name: format!("send{device}") });
        links.channels.push(Channel { name: format!("recv{device}") });
        links.send.push(ChannelId::new(2 * device));
        links.receive.push(ChannelId::new(2 * device + 1));
    }
    links
}
