//! Random models on random clusters: several outputs, groups, pins, devices and links that differ,
//! pairs without a way, and parameters that only just fit.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
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
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

const KINDS: [&str; 2] = ["fast", "slow"];
/// Bytes of a parameter are a multiple; all activations together are fewer.
const PARAMETER: u64 = 10_000;

/// A problem and what is special about it.
pub(crate) struct Drawn {
    pub(crate) problem: Problem,
    pub(crate) has_several_outputs: bool,
    pub(crate) lacks_a_way: bool,
    pub(crate) is_tight: bool,
}

/// Up to 12 ops; the seed says which features are on.
pub(crate) fn problem(seed: u64) -> Drawn {
    problem_of(seed, 4..=12)
}

/// The same with so many ops.
pub(crate) fn problem_of(seed: u64, n_ops: RangeInclusive<usize>) -> Drawn {
    let mut random = SmallRng::seed_from_u64(seed);
    loop {
        if let Some(drawn) = draw(&mut random, seed, n_ops.clone()) {
            return drawn;
        }
    }
}

/// A graph of a few ops on two or three devices that nothing tells apart.
pub(crate) fn on_equal_devices(seed: u64) -> Problem {
    let mut random = SmallRng::seed_from_u64(seed);
    let graph = draw_graph(&mut random, 1, 4..=10);
    let n_devices = random.random_range(2..=3);
    // No seed for which links differ or break.
    let cluster = draw_cluster(&mut random, 1, n_devices, u64::MAX / 2, 4);
    on(graph, cluster, Constraints::default()).unwrap()
}

fn draw(random: &mut SmallRng, seed: u64, n_ops: RangeInclusive<usize>) -> Option<Drawn> {
    let n_kinds = if seed.is_multiple_of(2) { 2 } else { 1 };
    let n_devices = random.random_range(2..=3);
    let graph = draw_graph(random, n_kinds, n_ops);
    let is_tight = seed.is_multiple_of(3);
    let all: u64 = graph.tensors.iter().filter(|t| t.role == Role::Parameter).map(bytes).sum();
    let limit = match is_tight {
        true => {
            (all / PARAMETER / n_devices as u64 + random.random_range(0..=3)) * PARAMETER
                + PARAMETER / 2
        }
        false => all + PARAMETER,
    };
    let cluster = draw_cluster(random, n_kinds, n_devices, limit, seed);
    let constraints = draw_constraints(random, &graph, n_devices, seed);
    let has_several_outputs = graph.ops.iter().any(|op| op.outputs.len() > 1);
    let off = (0..n_devices * n_devices).filter(|at| at / n_devices != at % n_devices);
    let lacks_a_way = off.into_iter().any(|at| cluster.links.pairs[at] == NO_ROUTE);
    let problem = on(graph, cluster, constraints)?;
    Some(Drawn { problem, has_several_outputs, lacks_a_way, is_tight })
}

fn on(graph: Graph, cluster: Cluster, constraints: Constraints) -> Option<Problem> {
    let (graph, cluster) = (Arc::new(graph), Arc::new(cluster));
    let given = |op: OpId| match &graph.op(op).work {
        Work::Given(given) => given.clone(),
        Work::View | Work::Kernel(_) => GivenCost::default(),
    };
    Problem::new(
        Arc::clone(&graph),
        Arc::clone(&cluster),
        Workload::default(),
        Objective::MAX_LOAD,
        constraints,
        |op, kind| given(op).time.get(&cluster.kinds[kind].name).copied(),
        |op| given(op).temporary,
    )
    .ok()
}

fn bytes(tensor: &Tensor) -> u64 {
    tensor.bytes.get()
}

fn push(graph: &mut Graph, bytes: u64, role: Role) -> TensorId {
    let id = TensorId::new(graph.tensors.len());
    graph.tensors.push(Tensor {
        name: format!("t{}", id.index()),
        dtype: DType::I8,
        shape: vec![bytes],
        bytes: Bytes(bytes),
        state_bytes: Bytes::ZERO,
        role,
        trainable: false,
    });
    id
}

fn draw_graph(random: &mut SmallRng, n_kinds: usize, n_ops: RangeInclusive<usize>) -> Graph {
    let mut graph = Graph { name: "drawn".to_owned(), ..Graph::default() };
    let n_ops = random.random_range(n_ops);
    let mut made: Vec<TensorId> = Vec::new();
    let shared = push(&mut graph, PARAMETER, Role::Parameter);
    for index in 0..n_ops {
        let near = made.len().saturating_sub(5);
        let inputs = made[near..].iter().copied().filter(|_| random.random_bool(0.4)).collect();
        let mut parameters = Vec::new();
        if random.random_bool(0.6) {
            let bytes = random.random_range(1..=3) * PARAMETER;
            parameters.push(push(&mut graph, bytes, Role::Parameter));
        }
        if random.random_bool(0.15) {
            parameters.push(shared);
        }
        let n_outputs = [1, 1, 1, 2, 2, 3][random.random_range(0..6)];
        let outputs: Vec<TensorId> = (0..n_outputs)
            .map(|_| push(&mut graph, random.random_range(0..=9), Role::Activation))
            .collect();
        made.extend(&outputs);
        let sure = random.random_range(0..n_kinds);
        let time = (0..n_kinds).filter(|kind| *kind == sure || random.random_bool(0.85));
        let time: Vec<usize> = time.collect();
        let time: BTreeMap<String, Nanos> = time
            .into_iter()
            .map(|kind| (KINDS[kind].to_owned(), Nanos(random.random_range(0..=30))))
            .collect();
        graph.ops.push(Op {
            name: format!("op{index}"),
            op_type: "Drawn".to_owned(),
            module: None,
            phase: Phase::Forward,
            inputs,
            parameters,
            outputs,
            work: Work::Given(GivenCost { time, temporary: Bytes::ZERO }),
            group: None,
            splits: ir::op::Splits::default(),
        });
    }
    if random.random_bool(0.5) {
        for _ in 0..random.random_range(2..=3) {
            let at = random.random_range(0..n_ops);
            graph.ops[at].group = Some(GroupId::new(0));
        }
        graph.n_groups = 1;
    }
    graph
}

fn draw_constraints(
    random: &mut SmallRng,
    graph: &Graph,
    n_devices: usize,
    seed: u64,
) -> Constraints {
    let mut constraints = Constraints::default();
    let op = |random: &mut SmallRng| OpId::new(random.random_range(0..graph.ops.len()));
    let device = |random: &mut SmallRng| DeviceId::new(random.random_range(0..n_devices));
    if (seed / 2).is_multiple_of(2) {
        constraints.pins.push((op(random), vec![device(random)]));
        constraints.forbids.push((op(random), vec![device(random)]));
    }
    if (seed / 2).is_multiple_of(5) {
        constraints.colocate.push(vec![op(random), op(random)]);
    }
    constraints
}

fn draw_cluster(random: &mut SmallRng, n_kinds: usize, n: usize, limit: u64, seed: u64) -> Cluster {
    let kind = |name: &&str| DeviceKind {
        name: (*name).to_owned(),
        source: "drawn".to_owned(),
        check: Check::Given,
        ..DeviceKind::default()
    };
    let devices = (0..n).map(|index| Device {
        name: format!("d{index}"),
        kind: KindId::new(index % n_kinds),
        class: ClassId::new(index),
        node: None,
        capacity: Some(Bytes(limit + if n_kinds > 1 && index == 0 { PARAMETER } else { 0 })),
        context: Bytes::ZERO,
        reserve: Bytes::ZERO,
        is_reserve_stated: false,
    });
    let n_links = if (seed / 3).is_multiple_of(2) { 2 } else { 1 };
    // One is quick to start, the other quick to go on: which is faster depends on the tensor.
    let way = |(index, (latency_ns, bandwidth)): (usize, (f64, f64))| RouteKind {
        name: format!("link{index}"),
        tier: 0,
        latency_ns,
        bandwidth: BytesPerSecond::new(bandwidth).unwrap(),
        source: "drawn".to_owned(),
        check: Check::Given,
    };
    let breaks = seed % 7 == 3;
    let mut pairs = Vec::new();
    for at in 0..n * n {
        let none = at / n == at % n || (breaks && random.random_bool(0.3));
        pairs.push(if none { NO_ROUTE } else { random.random_range(0..n_links) });
    }
    Cluster {
        slots: Vec::new(),
        name: "drawn".to_owned(),
        kinds: KINDS[..n_kinds].iter().map(kind).collect(),
        devices: devices.collect(),
        nodes: Vec::new(),
        duplex: Duplex::Full,
        links: Links {
            kinds: [(1.0, 0.5e9), (5.0, 2e9)]
                .into_iter()
                .take(usize::from(n_links))
                .enumerate()
                .map(way)
                .collect(),
            n_tiers: 1,
            channels: (0..2 * n).map(|c| Channel { name: format!("channel{c}") }).collect(),
            send: (0..n).map(|d| ChannelId::new(2 * d)).collect(),
            receive: (0..n).map(|d| ChannelId::new(2 * d + 1)).collect(),
            by_hosts: Vec::new(),
            places: Vec::new(),
            pairs,
        },
        classes: (0..n).map(|d| vec![DeviceId::new(d)]).collect(),
    }
}
