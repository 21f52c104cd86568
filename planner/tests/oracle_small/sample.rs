//! Problems written down in a few lines.

use std::collections::BTreeMap;
use std::sync::Arc;

use cost_model::ops::problem::{Constraints, Objective, Problem};
use ir::cluster::{
    Channel, Check, Cluster, Device, DeviceKind, Duplex, Links, NO_ROUTE, RouteKind,
};
use ir::graph::Graph;
use ir::id::{ChannelId, ClassId, DeviceId, GroupId, KindId, OpId, TensorId};
use ir::op::{GivenCost, Op, Phase, Work};
use ir::tensor::{DType, Role, Tensor};
use ir::units::{Bytes, BytesPerSecond, Nanos};
use ir::workload::Workload;

/// A problem in the making. Tensors and devices go by name.
#[derive(Default)]
pub(crate) struct Sample {
    graph: Graph,
    tensors: BTreeMap<String, TensorId>,
    devices: Vec<(String, u64)>,
    latency_ns: f64,
}

impl Sample {
    /// Nothing yet; links of 1 byte per nanosecond after a latency.
    pub(crate) fn new(latency_ns: f64) -> Self {
        Self { latency_ns, ..Self::default() }
    }

    fn tensor(&mut self, name: &str, bytes: u64, role: Role) -> TensorId {
        let id = TensorId::new(self.graph.tensors.len());
        self.tensors.insert(name.to_owned(), id);
        self.graph.tensors.push(Tensor {
            name: name.to_owned(),
            dtype: DType::F32,
            shape: vec![bytes],
            bytes: Bytes(bytes),
            state_bytes: Bytes::ZERO,
            role,
            trainable: false,
        });
        id
    }

    /// An op: durations by kind as `a=2 b=3`, inputs as `x y`, outputs with bytes as `z=4`.
    pub(crate) fn op(mut self, name: &str, times: &str, inputs: &str, outputs: &str) -> Self {
        let pairs = |text: &str| -> Vec<(String, u64)> {
            text.split_whitespace()
                .map(|pair| pair.split_once('=').unwrap())
                .map(|(name, number)| (name.to_owned(), number.parse().unwrap()))
                .collect()
        };
        let time = pairs(times).into_iter().map(|(kind, ns)| (kind, Nanos(ns))).collect();
        let inputs = inputs.split_whitespace().map(|name| self.tensors[name]).collect();
        let outputs = pairs(outputs)
            .into_iter()
            .map(|(name, bytes)| self.tensor(&name, bytes, Role::Activation))
            .collect();
        self.graph.ops.push(Op {
            name: name.to_owned(),
            op_type: "Sample".to_owned(),
            module: None,
            phase: Phase::Forward,
            inputs,
            parameters: Vec::new(),
            outputs,
            work: Work::Given(GivenCost { time, temporary: Bytes::ZERO }),
            group: None,
            splits: ir::op::Splits::default(),
        });
        self
    }

    fn last(&mut self) -> &mut Op {
        self.graph.ops.last_mut().unwrap()
    }

    /// The last op holds scratch bytes.
    pub(crate) fn temporary(mut self, bytes: u64) -> Self {
        if let Work::Given(given) = &mut self.last().work {
            given.temporary = Bytes(bytes);
        }
        self
    }

    /// The last op reads a parameter, a new one or one that was named before.
    pub(crate) fn parameter(mut self, name: &str, bytes: u64) -> Self {
        let known = self.tensors.get(name).copied();
        let id = known.unwrap_or_else(|| self.tensor(name, bytes, Role::Parameter));
        self.last().parameters.push(id);
        self
    }

    /// The last op belongs to a module.
    pub(crate) fn module(mut self, path: &str) -> Self {
        self.last().module = Some(path.to_owned());
        self
    }

    /// The last op belongs to a group.
    pub(crate) fn group(mut self, group: usize) -> Self {
        self.last().group = Some(GroupId::new(group));
        self.graph.n_groups = self.graph.n_groups.max(group + 1);
        self
    }

    /// A device of a kind with a limit in bytes.
    pub(crate) fn device(mut self, kind: &str, limit: u64) -> Self {
        self.devices.push((kind.to_owned(), limit));
        self
    }

    fn cluster(&self) -> Cluster {
        let n = self.devices.len();
        let mut names: Vec<String> = self.devices.iter().map(|(kind, _)| kind.clone()).collect();
        names.sort();
        names.dedup();
        let kind = |name: &String| DeviceKind {
            name: name.clone(),
            memory: None,
            memory_bandwidth: None,
            peak: BTreeMap::new(),
            n_multiprocessors: None,
            last_level_cache: None,
            clock: None,
            power: None,
            source: "by hand".to_owned(),
            check: Check::Given,
            ..DeviceKind::default()
        };
        let device = |(index, (kind, limit)): (usize, &(String, u64))| Device {
            name: format!("d{index}"),
            kind: KindId::new(names.iter().position(|name| name == kind).unwrap()),
            class: ClassId::new(index),
            node: None,
            capacity: Some(Bytes(*limit)),
            context: Bytes::ZERO,
            reserve: Bytes::ZERO,
            is_reserve_stated: false,
        };
        Cluster {
            slots: Vec::new(),
            name: "by hand".to_owned(),
            kinds: names.iter().map(kind).collect(),
            devices: self.devices.iter().enumerate().map(device).collect(),
            nodes: Vec::new(),
            duplex: Duplex::Full,
            links: Links {
                kinds: vec![RouteKind {
                    name: "link".to_owned(),
                    tier: 0,
                    latency_ns: self.latency_ns,
                    bandwidth: BytesPerSecond::new(1e9).unwrap(),
                    source: "by hand".to_owned(),
                    check: Check::Given,
                }],
                n_tiers: 1,
                channels: (0..2 * n).map(|c| Channel { name: format!("channel{c}") }).collect(),
                send: (0..n).map(|d| ChannelId::new(2 * d)).collect(),
                receive: (0..n).map(|d| ChannelId::new(2 * d + 1)).collect(),
                by_hosts: Vec::new(),
                places: Vec::new(),
                pairs: (0..n * n).map(|p| if p / n == p % n { NO_ROUTE } else { 0 }).collect(),
            },
            classes: (0..n).map(|d| vec![DeviceId::new(d)]).collect(),
        }
    }

    /// The problem.
    pub(crate) fn problem(self) -> Problem {
        let cluster = Arc::new(self.cluster());
        let graph = Arc::new(self.graph);
        let given = |op: OpId| match &graph.op(op).work {
            Work::Given(given) => given.clone(),
            Work::View | Work::Kernel(_) => GivenCost::default(),
        };
        Problem::new(
            Arc::clone(&graph),
            Arc::clone(&cluster),
            Workload::default(),
            Objective::STEP_TIME,
            Constraints::default(),
            |op, kind| given(op).time.get(&cluster.kinds[kind].name).copied(),
            |op| given(op).temporary,
        )
        .unwrap()
    }
}
