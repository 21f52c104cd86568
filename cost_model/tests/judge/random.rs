//! Problems and plans drawn at random.

use std::collections::BTreeMap;

use cost_model::ops::problem::Problem;
use ir::cluster::{Cluster, Duplex, RouteKind};
use ir::id::{ChannelId, DeviceId, OpId, TensorId};
use ir::op::Work;
use ir::plan::Plan;
use ir::schedule::{Action, Schedule, Task, Transfer, Wait};
use ir::tensor::Role;
use ir::units::BytesPerSecond;

use crate::cases::{Case, cluster, plan};

/// splitmix64 (Steele, Lea, Flood 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// A random problem of up to 12 ops (views among them) on up to 4 devices of up to 2 kinds.
pub(crate) fn random_case(random: &mut Random) -> Case {
    let n_devices = 1 + random.below(4);
    let n_kinds = 1 + random.below(2).min(n_devices - 1);
    let devices: Vec<(usize, u64)> = (0..n_devices)
        .map(|d| (if d < n_kinds { d } else { random.below(n_kinds) }, u64::MAX))
        .collect();
    let duplex = if random.one_in(3) { Duplex::Half } else { Duplex::Full };
    let mut case =
        Case { cluster: cluster(&devices, random.below(4) as f64, duplex), ..Case::default() };
    match random.below(4) {
        0 => one_channel(&mut case.cluster),
        1 => two_tiers(&mut case.cluster),
        _ => {}
    }
    let scale = [1, 4, 20][random.below(3)];
    let mut readable: Vec<TensorId> = Vec::new();
    for i in 0..random.below(3) {
        let bytes = random.below(6) as u64;
        let role = if random.one_in(2) { Role::Input } else { Role::Parameter };
        readable.push(case.tensor(&format!("given{i}"), bytes, role));
    }
    let n_ops = 1 + random.below(12);
    for i in 0..n_ops {
        random_op(&mut case, random, &mut readable, i, n_kinds, scale);
    }
    for op in 0..n_ops {
        if random.one_in(6) && case.graph.ops[op].work != Work::View {
            case.group(OpId::new(op), 0);
        }
    }
    if random.one_in(4) {
        let op = OpId::new(random.below(n_ops));
        case.constraints.pins.push((op, vec![DeviceId::new(random.below(n_devices))]));
    }
    case
}

/// All transfers share one channel, which is then both ends of each.
fn one_channel(cluster: &mut Cluster) {
    cluster.links.channels.truncate(1);
    let links = &mut cluster.links;
    links.send.iter_mut().chain(&mut links.receive).for_each(|channel| *channel = ChannelId(0));
}

/// Devices 0 and 1 sit in one node, the others in a second; between the nodes a slower way without
/// start-up cost, with channels of its own.
fn two_tiers(cluster: &mut Cluster) {
    let n = cluster.n_devices();
    let links = &mut cluster.links;
    let slow = BytesPerSecond::new(0.5e9).unwrap();
    let inside = links.kinds[0].clone();
    links.kinds.push(RouteKind { tier: 1, latency_ns: 0.0, bandwidth: slow, ..inside });
    let n_channels = links.channels.len();
    links.channels.extend(links.channels.clone());
    links.n_tiers = 2;
    for side in [&mut links.send, &mut links.receive] {
        let both = |c: &ChannelId| [*c, ChannelId::new(c.index() + n_channels)];
        *side = side.iter().flat_map(both).collect();
    }
    for (index, pair) in links.pairs.iter_mut().enumerate() {
        if *pair == 0 && (index / n < 2) != (index % n < 2) {
            *pair = 1;
        }
    }
}

fn random_op(
    case: &mut Case,
    random: &mut Random,
    readable: &mut Vec<TensorId>,
    i: usize,
    n_kinds: usize,
    scale: usize,
) {
    let mut inputs: Vec<TensorId> = Vec::new();
    for _ in 0..random.below(4).min(readable.len()) {
        let back = random.below(readable.len().min(6));
        inputs.push(readable[readable.len() - 1 - back]);
    }
    inputs.sort_unstable();
    inputs.dedup();
    let is_view = inputs.len() == 1 && random.one_in(4);
    let outputs: Vec<TensorId> = (0..if is_view { 1 } else { random.below(3) })
        .map(|k| {
            let bytes = (random.below(7) * scale) as u64;
            case.activation(&format!("t{i}.{k}"), bytes)
        })
        .collect();
    let all = random.below(n_kinds + 2);
    let times: Vec<(usize, u64)> = (0..n_kinds)
        .filter(|k| all >= n_kinds || *k == all)
        .map(|k| (k, random.below(8) as u64))
        .collect();
    let op = case.op(&format!("op{i}"), &times, &inputs, &outputs);
    if is_view {
        case.graph.ops[op.index()].work = Work::View;
    } else {
        case.temporary[op.index()] = random.below(9) as u64;
    }
    for tensor in outputs {
        if random.one_in(5) {
            case.graph.outputs.push(tensor);
        }
        readable.push(tensor);
    }
}

/// A random problem that has a device for every op.
pub(crate) fn random_problem(random: &mut Random) -> (Case, Problem) {
    loop {
        let case = random_case(random);
        if let Ok(problem) = case.scaled(1) {
            return (case, problem);
        }
    }
}

/// A random plan without a circle: random devices, then ops and transfers in a random order that
/// respects the data; sometimes with waits that follow that order.
pub(crate) fn random_plan(problem: &Problem, random: &mut Random) -> Plan {
    let mut device = vec![None; problem.n_ops()];
    for unit in problem.units() {
        let choice: Vec<DeviceId> = problem.placeable(unit[0]).iter().collect();
        let home = choice[random.below(choice.len())];
        unit.iter().for_each(|op| device[op.index()] = Some(home));
    }
    let mut actions = vec![Vec::new(); problem.cluster.n_devices()];
    let mut channels: BTreeMap<ChannelId, Vec<Transfer>> = BTreeMap::new();
    let mut done: Vec<Task> = Vec::new();
    let mut after: BTreeMap<Task, Vec<Task>> = BTreeMap::new();
    loop {
        let ready = ready(problem, &device, &done);
        if ready.is_empty() {
            break;
        }
        let task = ready[random.below(ready.len())];
        if !done.is_empty() && random.one_in(6) {
            after.entry(task).or_default().push(done[random.below(done.len())]);
        }
        match task {
            Task::Op(op) => actions[device[op.index()].unwrap().index()].push(Action::Op(op)),
            Task::Transfer(transfer) => {
                let from = device[problem.producer(transfer.tensor).unwrap().index()].unwrap();
                let route = problem.cluster.route(from, transfer.to).unwrap();
                channels.entry(route.send).or_default().push(transfer);
                if route.send != route.receive {
                    channels.entry(route.receive).or_default().push(transfer);
                }
            }
        }
        done.push(task);
    }
    let after = after.into_iter().map(|(task, after)| Wait { task, after }).collect();
    let mut plan = plan(problem.n_ops(), &[], &[], &[]);
    plan.placement.device = device;
    plan.schedule = Schedule { actions, channels, after, grid: None };
    plan
}

fn ready(problem: &Problem, device: &[Option<DeviceId>], done: &[Task]) -> Vec<Task> {
    let is_done = |task: Task| done.contains(&task);
    let mut ready = Vec::new();
    for &op in &problem.actions {
        let here = device[op.index()].unwrap();
        let bring = |tensor: &TensorId| {
            let maker = problem.producer(*tensor).unwrap();
            if device[maker.index()] == Some(here) {
                Task::Op(maker)
            } else {
                Task::Transfer(Transfer { tensor: *tensor, to: here })
            }
        };
        if is_done(Task::Op(op)) {
            for &tensor in problem.outputs(op) {
                for consumer in problem.consumers(tensor) {
                    let to = device[consumer.index()].unwrap();
                    let task = Task::Transfer(Transfer { tensor, to });
                    if to != here && !is_done(task) && !ready.contains(&task) {
                        ready.push(task);
                    }
                }
            }
        } else if problem.inputs(op).iter().all(|tensor| is_done(bring(tensor))) {
            ready.push(Task::Op(op));
        }
    }
    ready
}
