//! Small random problems, the same for the same seed, with every feature that a placer can trip
//! over: kinds that can't run an op, limits that bind, groups, views, shared parameters, graph
//! inputs and outputs, empty tensors, ops and links of no length, half duplex, shared channels,
//! pairs without a way, and ids in no topological order.

use std::collections::BTreeMap;
use std::sync::Arc;

use cost_model::ops::judge::memory::peaks;
use cost_model::ops::judge::replay::replay;
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
use planner::placement::brute_force::{self, Verdict};

/// SplitMix64 (Steele, Lea and Flood 2014): a few lines, equal on every platform.
pub(crate) struct Random(u64);

impl Random {
    /// Starts a sequence of its own for each seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `from..=to`.
    pub(crate) fn within(&mut self, from: u64, to: u64) -> u64 {
        from + self.next() % (to - from + 1)
    }

    /// True in `percent` of 100 cases.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    /// A random order of `0..n`.
    pub(crate) fn order(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for at in (1..n).rev() {
            order.swap(at, self.within(0, at as u64) as usize);
        }
        order
    }
}

/// A problem and what is special about it.
pub(crate) struct RandomProblem {
    /// The problem.
    pub(crate) problem: Arc<Problem>,
    /// Devices of several kinds, or ops that a kind can't run.
    pub(crate) heterogeneous: bool,
    /// A best plan without limits does not fit.
    pub(crate) limited: bool,
    /// At least two ops share a group.
    pub(crate) colocated: bool,
}

/// The problem of a seed.
pub(crate) fn random_problem(seed: u64) -> RandomProblem {
    // A draw whose groups or kinds leave an op without a device is no problem: draw again.
    (0..)
        .find_map(|attempt| {
            draw(&mut Random::new(seed.wrapping_mul(1_000).wrapping_add(attempt)), seed)
        })
        .unwrap_or_else(|| unreachable!("the attempts are endless"))
}

fn draw(random: &mut Random, seed: u64) -> Option<RandomProblem> {
    // The seed, not the dice, says which features are on: the shares are then exact.
    let heterogeneous = seed.is_multiple_of(2);
    let limited = (seed / 2).is_multiple_of(2);
    let colocated = (seed / 4).is_multiple_of(4);
    let n_kinds = if heterogeneous { 2 } else { 1 };
    let mut graph = draw_graph(random, n_kinds);
    if colocated {
        draw_groups(random, &mut graph);
    }
    let mut cluster = draw_cluster(random, n_kinds);
    if limited {
        let peaks = best_peaks(&build(graph.clone(), cluster.clone())?)?;
        draw_limits(random, &peaks, &mut cluster)?;
    }
    if colocated != (graph.n_groups > 0) {
        return None;
    }
    let problem = build(graph, cluster)?;
    Some(RandomProblem { problem: Arc::new(problem), heterogeneous, limited, colocated })
}

/// The problem of a graph whose costs are all given; `None` if an op is left without a device.
pub(crate) fn build(graph: Graph, cluster: Cluster) -> Option<Problem> {
    let (graph, cluster) = (Arc::new(graph), Arc::new(cluster));
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
    .ok()
}

/// The same problem on devices without limits.
pub(crate) fn without_limits(problem: &Problem) -> Problem {
    let mut cluster = problem.cluster.as_ref().clone();
    cluster.devices.iter_mut().for_each(|device| device.capacity = None);
    build(problem.graph.as_ref().clone(), cluster)
        .unwrap_or_else(|| unreachable!("limits decide nothing about where an op can run"))
}

/// Bytes by device at the peaks of a best plan; `None` if there is no plan.
fn best_peaks(problem: &Problem) -> Option<Vec<u64>> {
    let Verdict::Optimal(plan, _) = brute_force::solve(problem, &mut |_| false) else {
        return None;
    };
    let timeline = replay(problem, &plan).ok()?;
    Some(peaks(problem, &plan, &timeline).iter().map(|peak| peak.bytes).collect())
}

/// A tensor of single bytes.
pub(crate) fn tensor(name: String, bytes: u64, role: Role) -> Tensor {
    Tensor {
        name,
        dtype: DType::I8,
        shape: vec![bytes],
        bytes: Bytes(bytes),
        state_bytes: Bytes::ZERO,
        role,
        trainable: false,
    }
}

fn draw_graph(random: &mut Random, n_kinds: usize) -> Graph {
    let mut graph = Graph { name: "random".to_owned(), ..Graph::default() };
    let push = |graph: &mut Graph, bytes, role| {
        let id = TensorId::new(graph.tensors.len());
        graph.tensors.push(tensor(format!("t{}", id.index()), bytes, role));
        id
    };
    for _ in 0..random.within(0, 2) {
        let bytes = random.within(0, 4);
        let id = push(&mut graph, bytes, Role::Input);
        graph.inputs.push(id);
    }
    let mut parameters = Vec::new();
    for _ in 0..random.within(0, 3) {
        let bytes = random.within(1, 6);
        let id = push(&mut graph, bytes, Role::Parameter);
        graph.tensors[id.index()].state_bytes = Bytes(if random.chance(20) { 2 } else { 0 });
        parameters.push(id);
    }
    let mut readable: Vec<TensorId> = graph.inputs.clone();
    for index in 0..random.within(2, 7) {
        let mut inputs = Vec::new();
        for &candidate in &readable {
            if inputs.len() < 3 && random.chance(30) {
                inputs.push(candidate);
            }
        }
        let read: Vec<TensorId> =
            parameters.iter().copied().filter(|_| random.chance(25)).collect();
        let mut outputs = Vec::new();
        for _ in 0..[1, 1, 1, 1, 2, 0][random.within(0, 5) as usize] {
            let bytes = if random.chance(15) { 0 } else { random.within(1, 6) };
            outputs.push(push(&mut graph, bytes, Role::Activation));
        }
        readable.extend(&outputs);
        let work = Work::Given(draw_cost(random, n_kinds));
        graph.ops.push(op(format!("op{index}"), inputs, read, outputs, work));
        if !readable.is_empty() && random.chance(15) {
            let source = readable[random.within(0, readable.len() as u64 - 1) as usize];
            let view = push(&mut graph, 0, Role::Activation);
            readable.push(view);
            graph.ops.push(op(
                format!("view{index}"),
                vec![source],
                Vec::new(),
                vec![view],
                Work::View,
            ));
        }
    }
    for &candidate in &readable {
        if graph.tensor(candidate).role == Role::Activation && random.chance(15) {
            graph.outputs.push(candidate);
        }
    }
    if random.chance(30) {
        let order = random.order(graph.ops.len());
        graph.ops = order.into_iter().map(|at| graph.ops[at].clone()).collect();
    }
    graph
}

/// An op in no group.
pub(crate) fn op(
    name: String,
    inputs: Vec<TensorId>,
    parameters: Vec<TensorId>,
    outputs: Vec<TensorId>,
    work: Work,
) -> Op {
    Op {
        name,
        op_type: "Random".to_owned(),
        module: None,
        phase: Phase::Forward,
        inputs,
        parameters,
        outputs,
        work,
        group: None,
        splits: ir::op::Splits::default(),
    }
}

fn draw_cost(random: &mut Random, n_kinds: usize) -> GivenCost {
    let mut time = BTreeMap::new();
    let sure = random.within(0, n_kinds as u64 - 1) as usize;
    for (kind, name) in KIND_NAMES.iter().enumerate().take(n_kinds) {
        let ns = if random.chance(8) { 0 } else { random.within(1, 9) };
        if kind == sure || random.chance(70) {
            time.insert((*name).to_owned(), Nanos(ns));
        }
    }
    GivenCost { time, temporary: Bytes(if random.chance(50) { 0 } else { random.within(1, 5) }) }
}

fn draw_groups(random: &mut Random, graph: &mut Graph) {
    for group in 0..random.within(1, 2) as usize {
        let free: Vec<usize> = (0..graph.ops.len())
            .filter(|at| graph.ops[*at].work != Work::View && graph.ops[*at].group.is_none())
            .collect();
        if free.len() < 2 {
            return;
        }
        let order = random.order(free.len());
        for &at in order.iter().take(random.within(2, 3) as usize) {
            graph.ops[free[at]].group = Some(GroupId::new(group));
        }
        graph.n_groups = group + 1;
    }
}

/// Names of the kinds.
pub(crate) const KIND_NAMES: [&str; 2] = ["a", "b"];

fn draw_cluster(random: &mut Random, n_kinds: usize) -> Cluster {
    let n = random.within(n_kinds as u64, 3) as usize;
    let kinds: Vec<usize> = (0..n)
        .map(|d| if d < n_kinds { d } else { random.within(0, n_kinds as u64 - 1) as usize })
        .collect();
    let duplex = if random.chance(40) { Duplex::Half } else { Duplex::Full };
    let n_links = if random.chance(70) { 1 } else { 2 };
    let n_tiers = n_links;
    let mut links = Links { n_tiers, ..Links::default() };
    for tier in 0..n_links {
        links.kinds.push(RouteKind {
            name: format!("link{tier}"),
            tier,
            latency_ns: random.within(0, 4) as f64 / 2.0,
            bandwidth: BytesPerSecond::new([0.5e9, 1e9, 2e9, 8e9][random.within(0, 3) as usize])
                .unwrap_or_else(|| unreachable!("all four are positive")),
            source: "drawn".to_owned(),
            check: Check::Given,
        });
    }
    // One channel for all devices of a tier, now and then: a shared bus.
    let shared = random.chance(10);
    let (mut sends, mut receives) = (Vec::new(), Vec::new());
    for device in 0..n {
        for tier in 0..n_tiers {
            let first = 2 * (if shared { 0 } else { device } * n_tiers + tier);
            sends.push(ChannelId::new(first));
            receives.push(ChannelId::new(if duplex == Duplex::Half { first } else { first + 1 }));
        }
    }
    links.channels =
        (0..2 * n * n_tiers).map(|c| Channel { name: format!("channel{c}") }).collect();
    links.send = sends;
    links.receive = receives;
    let broken = random.chance(10);
    for from in 0..n {
        for to in 0..n {
            let way = random.within(0, n_links as u64 - 1) as u16;
            let none = from == to || (broken && random.chance(30));
            links.pairs.push(if none { NO_ROUTE } else { way });
        }
    }
    let devices = (0..n).map(|d| device(d, kinds[d])).collect();
    let kinds = KIND_NAMES[..n_kinds].iter().map(|name| kind(name)).collect();
    let mut cluster = Cluster {
        slots: Vec::new(),
        name: "random".to_owned(),
        kinds,
        devices,
        nodes: Vec::new(),
        duplex,
        links,
        classes: Vec::new(),
    };
    classify(&mut cluster);
    cluster
}

/// An unlimited device in a class of its own.
pub(crate) fn device(index: usize, kind: usize) -> Device {
    Device {
        name: format!("d{index}"),
        kind: KindId::new(kind),
        class: ClassId::new(index),
        node: None,
        capacity: None,
        context: Bytes::ZERO,
        reserve: Bytes::ZERO,
        is_reserve_stated: false,
    }
}

/// A kind without a data sheet.
pub(crate) fn kind(name: &str) -> DeviceKind {
    DeviceKind {
        name: name.to_owned(),
        memory: None,
        memory_bandwidth: None,
        peak: BTreeMap::new(),
        n_multiprocessors: None,
        last_level_cache: None,
        clock: None,
        power: None,
        source: "drawn".to_owned(),
        check: Check::Given,
        ..DeviceKind::default()
    }
}

/// Limits that rule out the best plan without limits, whose peaks these are: its fullest device
/// gets less than it would hold, the others get less or more than that.
fn draw_limits(random: &mut Random, peaks: &[u64], cluster: &mut Cluster) -> Option<()> {
    let most = peaks.iter().copied().max().filter(|most| *most > 0)?;
    let fullest = peaks.iter().position(|peak| *peak == most)?;
    let tight = most * random.within(80, 99) / 100;
    let uniform = random.chance(25);
    for (index, device) in cluster.devices.iter_mut().enumerate() {
        let loose = most * random.within(80, 250) / 100;
        let limit = if uniform || index == fullest { tight } else { loose };
        device.capacity = Some(Bytes(limit));
    }
    classify(cluster);
    Some(())
}

/// One class for devices that nothing tells apart: same kind and limit, and one cost and no
/// shared channel for every pair of the cluster.
pub(crate) fn classify(cluster: &mut Cluster) {
    let n = cluster.devices.len();
    let even =
        (0..n * n).filter(|pair| pair / n != pair % n).all(|pair| cluster.links.pairs[pair] == 0);
    cluster.classes.clear();
    for d in 0..n {
        let (kind, limit) = (cluster.devices[d].kind, cluster.devices[d].capacity);
        let twin = (0..d).find(|t| {
            even && cluster.devices[*t].kind == kind && cluster.devices[*t].capacity == limit
        });
        let class = twin.map_or(ClassId::new(cluster.classes.len()), |t| cluster.devices[t].class);
        if class.index() == cluster.classes.len() {
            cluster.classes.push(Vec::new());
        }
        cluster.classes[class.index()].push(DeviceId::new(d));
        cluster.devices[d].class = class;
    }
}
