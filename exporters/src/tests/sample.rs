//! Judged plans for the tests of this crate.

use std::collections::BTreeMap;
use std::sync::Arc;

use cost_model::ops::judge::replay::{Timeline, replay};
use cost_model::ops::judge::report::{Report, report};
use cost_model::ops::problem::{Constraints, Objective, Problem};
use ir::cluster::{
    Channel, Check, Cluster, Device, DeviceKind, Duplex, Links, NO_ROUTE, Node, RouteKind,
};
use ir::graph::Graph;
use ir::id::{ChannelId, ClassId, DeviceId, KindId, NodeId, OpId, TensorId};
use ir::op::{GivenCost, Op, Phase, Work};
use ir::plan::{Parallelism, Partition, Placement, Plan};
use ir::schedule::{Action, Schedule, Transfer};
use ir::tensor::{DType, Role, Tensor};
use ir::units::{Bytes, BytesPerSecond, Nanos};
use ir::workload::Workload;

use crate::format::Source;

/// A name that no format may take literally.
pub(crate) const EVIL: &str = "</text><script>\u{1}\"\\\n&\u{202e}\u{9b}";

/// A judged plan.
pub(crate) struct Case {
    pub(crate) problem: Problem,
    pub(crate) plan: Plan,
    pub(crate) timeline: Timeline,
    pub(crate) report: Report,
}

/// A graph by name.
#[derive(Default)]
pub(crate) struct Builder {
    pub(crate) graph: Graph,
    names: BTreeMap<String, TensorId>,
}

impl Builder {
    fn tensor(&mut self, name: &str, role: Role, shape: &[u64]) -> TensorId {
        if let Some(id) = self.names.get(name) {
            return *id;
        }
        let id = TensorId::new(self.graph.tensors.len());
        self.graph.tensors.push(Tensor {
            name: name.into(),
            dtype: DType::F32,
            shape: shape.to_vec(),
            bytes: Bytes(4 * shape.iter().product::<u64>()),
            state_bytes: Bytes::ZERO,
            role,
            trainable: role == Role::Parameter,
        });
        self.names.insert(name.into(), id);
        id
    }

    pub(crate) fn input(&mut self, name: &str) {
        let id = self.tensor(name, Role::Input, &[8, 8]);
        self.graph.inputs.push(id);
    }

    pub(crate) fn parameter(&mut self, name: &str, shape: &[u64]) {
        self.tensor(name, Role::Parameter, shape);
    }

    /// An op that writes a tensor of its own name and lasts `10 + 7 x position` nanoseconds.
    pub(crate) fn op(&mut self, name: &str, module: Option<&str>, reads: &[&str]) {
        let output = self.tensor(name, Role::Activation, &[8, 8]);
        let ids: Vec<TensorId> = reads.iter().map(|read| self.names[*read]).collect();
        let is_parameter = |id: &TensorId| self.graph.tensor(*id).role == Role::Parameter;
        let (parameters, inputs) = ids.iter().partition::<Vec<_>, _>(|id| is_parameter(id));
        let time = Nanos(10 + 7 * self.graph.ops.len() as u64);
        self.graph.ops.push(Op {
            name: name.into(),
            op_type: "MatMul".into(),
            module: module.map(str::to_owned),
            phase: Phase::Forward,
            inputs,
            parameters,
            outputs: vec![output],
            work: Work::Given(GivenCost {
                time: BTreeMap::from([("kind".to_owned(), time)]),
                temporary: Bytes(100),
            }),
            group: None,
            splits: ir::op::Splits::default(),
        });
        self.graph.outputs = vec![output];
    }
}

/// Devices of these names on one host, full duplex, 5 ns + 1 ns per byte.
pub(crate) fn cluster(names: &[&str]) -> Cluster {
    let n = names.len();
    let device = |name: &&str| Device {
        name: (*name).to_owned(),
        kind: KindId(0),
        class: ClassId(0),
        node: Some(NodeId(0)),
        capacity: Some(Bytes(1 << 20)),
        context: Bytes::ZERO,
        reserve: Bytes::ZERO,
        is_reserve_stated: false,
    };
    Cluster {
        slots: Vec::new(),
        name: "box".into(),
        kinds: vec![DeviceKind {
            name: "kind".into(),
            source: "test".into(),
            check: Check::Given,
            ..DeviceKind::default()
        }],
        devices: names.iter().map(device).collect(),
        nodes: vec![Node {
            name: "node0".into(),
            host_memory: None,
            n_cpu_cores: None,
            host_bandwidth: None,
            to_device: None,
        }],
        duplex: Duplex::Full,
        links: Links {
            kinds: vec![RouteKind {
                name: "wire".into(),
                tier: 0,
                latency_ns: 5.0,
                bandwidth: BytesPerSecond::new(1e9).unwrap(),
                source: "test".into(),
                check: Check::Given,
            }],
            n_tiers: 1,
            channels: (0..2 * n)
                .map(|c| Channel {
                    name: format!("{} {}", ["send", "receive"][c % 2], names[c / 2]),
                })
                .collect(),
            send: (0..n).map(|d| ChannelId::new(2 * d)).collect(),
            receive: (0..n).map(|d| ChannelId::new(2 * d + 1)).collect(),
            by_hosts: Vec::new(),
            places: Vec::new(),
            pairs: (0..n * n).map(|p| if p / n == p % n { NO_ROUTE } else { 0 }).collect(),
        },
        classes: vec![(0..n).map(DeviceId::new).collect()],
    }
}

impl Case {
    /// Ops in order of id on these devices.
    pub(crate) fn new(graph: Graph, cluster: Cluster, devices: &[usize]) -> Self {
        let time = |op: OpId, _: usize| match &graph.op(op).work {
            Work::Given(given) => given.time.get("kind").copied(),
            _ => None,
        };
        let shared = Arc::new(graph.clone());
        let problem = Problem::new(
            shared,
            Arc::new(cluster),
            Workload::default(),
            Objective::default(),
            Constraints::default(),
            time,
            |_| Bytes(100),
        )
        .unwrap();
        let plan = plan(&problem, devices);
        let timeline = replay(&problem, &plan).unwrap_or_else(|_| panic!("the sample is illegal"));
        let report = report(&problem, &plan, &timeline);
        Self { problem, plan, timeline, report }
    }

    pub(crate) fn source(&self) -> Source<'_> {
        Source {
            problem: &self.problem,
            plan: &self.plan,
            timeline: &self.timeline,
            report: &self.report,
        }
    }

    /// Two ops on two devices; the first has an evil name.
    pub(crate) fn pair() -> Self {
        Self::chain_named(&[EVIL, "b"], &[0, 1])
    }

    /// A chain of ops over two devices in turn.
    pub(crate) fn chain(n: usize) -> Self {
        let names: Vec<String> = (0..n).map(|i| format!("op{i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let devices: Vec<usize> = (0..n).map(|i| i / 2 % 2).collect();
        Self::chain_named(&names, &devices)
    }

    fn chain_named(names: &[&str], devices: &[usize]) -> Self {
        let mut builder = Builder::default();
        builder.input("x");
        let mut last = "x";
        for name in names {
            builder.op(name, Some("m.h.0.proj"), &[last]);
            last = name;
        }
        Self::new(builder.graph, cluster(&["gpu0", "gpu1"]), devices)
    }

    /// A small language model with tied embeddings in a wrapper `m`: embeddings and head on
    /// `devices[0]`, block 0 on `devices[1]`, block 1 and the norm on `devices[2]`.
    pub(crate) fn blocks(devices: &[usize; 3]) -> Self {
        let graph = language_model();
        let of = |op: &Op| match op.module.as_deref().unwrap_or_default() {
            "m.transformer.h.0.attn" | "m.transformer.h.0.mlp" => devices[1],
            "m.transformer.h.1.attn" | "m.transformer.h.1.mlp" | "m.transformer.ln_f" => devices[2],
            _ if op.name == "split" => devices[1],
            _ => devices[0],
        };
        let placed: Vec<usize> = graph.ops.iter().map(of).collect();
        Self::new(graph, cluster(&["gpu0", "gpu1"]), &placed)
    }
}

/// See [`Case::blocks`].
pub(crate) fn language_model() -> Graph {
    let mut b = Builder::default();
    b.input("ids");
    b.parameter("m.lm_head.weight", &[50, 64]);
    b.parameter("m.transformer.wpe.weight", &[20, 64]);
    b.parameter("m.transformer.h.0.ln.bias", &[64]);
    b.parameter("val_49", &[64, 64]);
    b.op("wte", Some("m.transformer.wte"), &["ids", "m.lm_head.weight"]);
    b.op("wpe", Some("m.transformer.wpe"), &["ids", "m.transformer.wpe.weight"]);
    b.op("add", Some("m.transformer"), &["wte", "wpe"]);
    b.op("attn0", Some("m.transformer.h.0.attn"), &["add", "m.transformer.h.0.ln.bias"]);
    b.op("split", None, &["attn0"]);
    b.op("mlp0", Some("m.transformer.h.0.mlp"), &["split", "val_49"]);
    b.op("attn1", Some("m.transformer.h.1.attn"), &["mlp0", "m.transformer.h.0.ln.bias"]);
    b.op("mlp1", Some("m.transformer.h.1.mlp"), &["attn1"]);
    b.op("ln_f", Some("m.transformer.ln_f"), &["mlp1"]);
    b.op("head", Some("m.lm_head"), &["ln_f", "m.lm_head.weight"]);
    b.graph.name = "tiny".into();
    b.graph
}

fn plan(problem: &Problem, devices: &[usize]) -> Plan {
    let device: Vec<Option<DeviceId>> =
        devices.iter().map(|device| Some(DeviceId::new(*device))).collect();
    let mut actions = vec![Vec::new(); problem.cluster.n_devices()];
    let mut channels: BTreeMap<ChannelId, Vec<Transfer>> = BTreeMap::new();
    for &op in &problem.actions {
        let home = devices[op.index()];
        actions[home].push(Action::Op(op));
        for &tensor in problem.outputs(op) {
            let mut sent = Vec::new();
            for reader in problem.consumers(tensor) {
                let to = devices[reader.index()];
                if to == home || sent.contains(&to) {
                    continue;
                }
                sent.push(to);
                let transfer = Transfer { tensor, to: DeviceId::new(to) };
                let route = problem.cluster.route(DeviceId::new(home), transfer.to).unwrap();
                channels.entry(route.send).or_default().push(transfer);
                channels.entry(route.receive).or_default().push(transfer);
            }
        }
    }
    Plan {
        parallelism: Parallelism::default(),
        partition: Partition::whole(),
        placement: Placement { device },
        schedule: Schedule { actions, channels, after: Vec::new(), grid: None },
    }
}
