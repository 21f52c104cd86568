//! A small graph, cluster and plan for the tests of this crate.

mod calibrated;

use std::collections::BTreeMap;

use ir::cluster::{
    Channel, Check, Cluster, Device, DeviceKind, Duplex, Links, NO_ROUTE, Node, RouteKind,
};
use ir::graph::Graph;
use ir::id::{ChannelId, ClassId, DeviceId, KindId, NodeId, OpId, TensorId};
use ir::op::{GivenCost, Op, Phase, Work};
use ir::plan::{Parallelism, Partition, Placement, Plan};
use ir::profile::{KernelConstants, Provenance};
use ir::schedule::{Action, Schedule, Task, Transfer, Wait};
use ir::tensor::{DType, Role, Tensor};
use ir::units::{Bytes, BytesPerSecond, Nanos, Seconds};

pub(crate) use calibrated::profile;

/// A name that no format may take literally.
pub(crate) const EVIL: &str = "</text><script>\u{1}\"\\";

fn tensor(name: &str, role: Role) -> Tensor {
    Tensor {
        name: name.into(),
        dtype: DType::F32,
        shape: vec![2, 3],
        bytes: Bytes(24),
        state_bytes: Bytes::ZERO,
        role,
        trainable: role == Role::Parameter,
    }
}

fn op(name: &str, inputs: &[u32], outputs: &[u32], work: Work) -> Op {
    Op {
        name: name.into(),
        op_type: "Add".into(),
        module: None,
        phase: Phase::Forward,
        inputs: inputs.iter().map(|id| TensorId(*id)).collect(),
        parameters: Vec::new(),
        outputs: outputs.iter().map(|id| TensorId(*id)).collect(),
        work,
        group: None,
        splits: ir::op::Splits::default(),
    }
}

fn given(ns: u64) -> Work {
    let time = BTreeMap::from([("kind".to_owned(), Nanos(ns))]);
    Work::Given(GivenCost { time, temporary: Bytes::ZERO })
}

/// x -> a -> view -> b, where a's name is [`EVIL`].
pub(crate) fn graph() -> Graph {
    Graph {
        name: "sample".into(),
        ops: vec![
            op(EVIL, &[0], &[1], given(10)),
            op("view", &[1], &[2], Work::View),
            op("b", &[2], &[3], given(20)),
        ],
        tensors: vec![
            tensor("x", Role::Input),
            tensor("t", Role::Activation),
            tensor("t_view", Role::Activation),
            tensor("y", Role::Activation),
        ],
        inputs: vec![TensorId(0)],
        outputs: vec![TensorId(3)],
        ..Graph::default()
    }
}

fn device(name: &str) -> Device {
    Device {
        name: name.into(),
        kind: KindId(0),
        class: ClassId(0),
        node: Some(NodeId(0)),
        capacity: Some(Bytes(1000)),
        context: Bytes(1),
        reserve: Bytes(2),
        is_reserve_stated: false,
    }
}

/// Two devices, full duplex.
pub(crate) fn cluster() -> Cluster {
    let channel = |name: &str| Channel { name: name.into() };
    Cluster {
        slots: Vec::new(),
        name: "pair".into(),
        kinds: vec![DeviceKind {
            name: "kind".into(),
            memory: Some(Bytes(1000)),
            source: "test".into(),
            check: Check::Given,
            ..DeviceKind::default()
        }],
        devices: vec![device("gpu0"), device("gpu1")],
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
            channels: vec![
                channel("send gpu0 wire"),
                channel("receive gpu0 wire"),
                channel("send gpu1 wire"),
                channel("receive gpu1 wire"),
            ],
            send: vec![ChannelId(0), ChannelId(2)],
            receive: vec![ChannelId(1), ChannelId(3)],
            by_hosts: Vec::new(),
            places: Vec::new(),
            pairs: vec![NO_ROUTE, 0, 0, NO_ROUTE],
        },
        classes: vec![vec![DeviceId(0), DeviceId(1)]],
    }
}

/// a on gpu0, b on gpu1, with a wait that changes nothing.
pub(crate) fn plan() -> Plan {
    let transfer = Transfer { tensor: TensorId(1), to: DeviceId(1) };
    Plan {
        parallelism: Parallelism::default(),
        partition: Partition::whole(),
        placement: Placement { device: vec![Some(DeviceId(0)), None, Some(DeviceId(1))] },
        schedule: Schedule {
            actions: vec![vec![Action::Op(OpId(0))], vec![Action::Op(OpId(2))]],
            channels: BTreeMap::from([
                (ChannelId(0), vec![transfer]),
                (ChannelId(3), vec![transfer]),
            ]),
            after: vec![Wait {
                task: Task::Op(OpId(2)),
                after: vec![Task::Op(OpId(0)), Task::Transfer(transfer)],
            }],
            grid: None,
        },
    }
}

/// Nominal constants with this launch time in seconds.
pub(crate) fn constants(launch: f64) -> KernelConstants {
    KernelConstants {
        launch: Seconds::new(launch).unwrap(),
        compute_efficiency: 0.5,
        memory_efficiency: 0.5,
        p_norm: 2.0,
        tile: None,
        provenance: Provenance::Nominal { source: "test".into() },
    }
}
