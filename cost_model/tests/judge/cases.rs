//! Small problems and plans by hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use cost_model::ops::problem::{Constraints, Objective, Problem};
use ir::cluster::{
    Channel, Check, Cluster, Device, DeviceKind, Duplex, Links, NO_ROUTE, RouteKind,
};
use ir::graph::Graph;
use ir::id::{ChannelId, ClassId, DeviceId, GroupId, KindId, OpId, TensorId};
use ir::op::{GivenCost, Op, Phase, Work};
use ir::plan::{Parallelism, Partition, Placement, Plan};
use ir::schedule::{Action, Schedule, Task, Transfer, Wait};
use ir::tensor::{DType, Role, Tensor};
use ir::units::{Bytes, BytesPerSecond, Nanos};
use ir::workload::Workload;

/// A graph with its costs, growing op by op.
#[derive(Clone, Default)]
pub(crate) struct Case {
    pub(crate) graph: Graph,
    /// By op: (kind, nanoseconds).
    pub(crate) times: Vec<Vec<(usize, u64)>>,
    pub(crate) temporary: Vec<u64>,
    pub(crate) cluster: Cluster,
    pub(crate) constraints: Constraints,
}

impl Case {
    pub(crate) fn tensor(&mut self, name: &str, bytes: u64, role: Role) -> TensorId {
        self.graph.tensors.push(Tensor {
            name: name.to_owned(),
            dtype: DType::U8,
            shape: Vec::new(),
            bytes: Bytes(bytes),
            state_bytes: Bytes::ZERO,
            role,
            trainable: false,
        });
        let id = TensorId::new(self.graph.tensors.len() - 1);
        if role == Role::Input {
            self.graph.inputs.push(id);
        }
        id
    }

    pub(crate) fn op(
        &mut self,
        name: &str,
        times: &[(usize, u64)],
        inputs: &[TensorId],
        outputs: &[TensorId],
    ) -> OpId {
        let (parameters, inputs) =
            inputs.iter().copied().partition(|t| self.graph.tensor(*t).role == Role::Parameter);
        self.graph.ops.push(Op {
            name: name.to_owned(),
            op_type: "Op".to_owned(),
            module: None,
            phase: Phase::Forward,
            inputs,
            parameters,
            outputs: outputs.to_vec(),
            work: Work::Given(GivenCost::default()),
            group: None,
            splits: ir::op::Splits::default(),
        });
        self.times.push(times.to_vec());
        self.temporary.push(0);
        OpId::new(self.graph.ops.len() - 1)
    }

    pub(crate) fn activation(&mut self, name: &str, bytes: u64) -> TensorId {
        self.tensor(name, bytes, Role::Activation)
    }

    pub(crate) fn group(&mut self, op: OpId, group: usize) {
        self.graph.ops[op.index()].group = Some(GroupId::new(group));
        self.graph.n_groups = self.graph.n_groups.max(group + 1);
    }

    pub(crate) fn problem(&self) -> Problem {
        self.scaled(1).unwrap()
    }

    /// All durations of ops times `factor`.
    pub(crate) fn scaled(&self, factor: u64) -> Result<Problem, ir::diagnostic::Diagnostic> {
        Problem::new(
            Arc::new(self.graph.clone()),
            Arc::new(self.cluster.clone()),
            Workload::default(),
            Objective::STEP_TIME,
            self.constraints.clone(),
            |op, kind| {
                let known = self.times[op.index()].iter().find(|(k, _)| *k == kind);
                known.map(|(_, ns)| Nanos(ns * factor))
            },
            |op| Bytes(self.temporary[op.index()]),
        )
    }
}

/// Devices of the given (kind, limit); one way of 1 byte per ns between all pairs.
pub(crate) fn cluster(devices: &[(usize, u64)], latency_ns: f64, duplex: Duplex) -> Cluster {
    let n = devices.len();
    let n_kinds = devices.iter().map(|d| d.0 + 1).max().unwrap_or(0);
    let half = duplex == Duplex::Half;
    let channel = |name: String| Channel { name };
    let channels = if half {
        (0..n).map(|d| channel(format!("both {d}"))).collect()
    } else {
        (0..2 * n).map(|c| channel(format!("{} {}", ["send", "receive"][c % 2], c / 2))).collect()
    };
    let side = |d: usize, side: usize| ChannelId::new(if half { d } else { 2 * d + side });
    Cluster {
        slots: Vec::new(),
        name: "test".to_owned(),
        kinds: (0..n_kinds)
            .map(|k| DeviceKind {
                name: format!("kind{k}"),
                memory: None,
                memory_bandwidth: None,
                peak: BTreeMap::new(),
                n_multiprocessors: None,
                last_level_cache: None,
                clock: None,
                power: None,
                source: "test".to_owned(),
                check: Check::Given,
                ..DeviceKind::default()
            })
            .collect(),
        devices: devices
            .iter()
            .enumerate()
            .map(|(index, (kind, limit))| Device {
                name: format!("d{index}"),
                kind: KindId::new(*kind),
                class: ClassId::new(*kind),
                node: None,
                capacity: (*limit != u64::MAX).then_some(Bytes(*limit)),
                context: Bytes::ZERO,
                reserve: Bytes::ZERO,
                is_reserve_stated: false,
            })
            .collect(),
        nodes: Vec::new(),
        duplex,
        links: Links {
            kinds: vec![RouteKind {
                name: "link".to_owned(),
                tier: 0,
                latency_ns,
                bandwidth: BytesPerSecond::new(1e9).unwrap(),
                source: "test".to_owned(),
                check: Check::Given,
            }],
            n_tiers: 1,
            channels,
            send: (0..n).map(|d| side(d, 0)).collect(),
            receive: (0..n).map(|d| side(d, 1)).collect(),
            by_hosts: Vec::new(),
            places: Vec::new(),
            pairs: (0..n * n).map(|i| if i / n == i % n { NO_ROUTE } else { 0 }).collect(),
        },
        classes: (0..n_kinds)
            .map(|k| (0..n).filter(|d| devices[*d].0 == k).map(DeviceId::new).collect())
            .collect(),
    }
}

/// A plan from device rows, channel rows and waits.
pub(crate) fn plan(
    n_ops: usize,
    rows: &[&[u32]],
    channels: &[(ChannelId, Vec<Transfer>)],
    after: &[(Task, Vec<Task>)],
) -> Plan {
    let mut device = vec![None; n_ops];
    for (index, row) in rows.iter().enumerate() {
        for op in *row {
            device[*op as usize] = Some(DeviceId::new(index));
        }
    }
    let row = |row: &&[u32]| row.iter().map(|op| Action::Op(OpId(*op))).collect();
    Plan {
        parallelism: Parallelism::default(),
        partition: Partition::whole(),
        placement: Placement { device },
        schedule: Schedule {
            actions: rows.iter().map(row).collect(),
            channels: channels.iter().cloned().collect(),
            after: after
                .iter()
                .map(|(task, after)| Wait { task: *task, after: after.clone() })
                .collect(),
            grid: None,
        },
    }
}

pub(crate) fn transfer(tensor: TensorId, to: u32) -> Transfer {
    Transfer { tensor, to: DeviceId(to) }
}
