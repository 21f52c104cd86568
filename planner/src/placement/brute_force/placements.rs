//! All placements that could beat a bound, one of each set of mirror images.

use cost_model::ops::problem::{Problem, UNSUPPORTED};
use ir::id::{DeviceId, OpId, TensorId};

use super::tasks::{MAX_DEVICES, PerDevice};

/// A complete placement with a bound on its step time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    /// Nothing on this placement ends before.
    pub(super) bound: u64,
    /// Device by op id; views are on device 0, which nobody reads.
    pub(super) device: Vec<DeviceId>,
}

/// What the enumeration met.
#[derive(Clone, Debug, Default)]
pub(super) struct Met {
    /// Some placement holds more parameters than a device can.
    pub(super) full_device: bool,
    /// Some placement separates a producer from a reader that it can't reach.
    pub(super) no_way: bool,
}

struct Enumeration<'a> {
    problem: &'a Problem,
    order: &'a [OpId],
    /// `twins[d]`: devices below `d` that can be swapped with it.
    twins: Vec<Vec<usize>>,
    /// Least time from the end of an op to the end of the step, by op id.
    tails: Vec<u64>,
    /// Least work of the ops from a position of `order` on.
    rest: Vec<u64>,
    upper: u64,
    assigned: Vec<Option<DeviceId>>,
    ends: Vec<u64>,
    load: PerDevice,
    held: Vec<Vec<TensorId>>,
    fixed: PerDevice,
    members: PerDevice,
    met: Met,
    found: Vec<Candidate>,
}

/// Complete placements whose bound is below `upper`, the most promising first.
pub(super) fn below(problem: &Problem, order: &[OpId], upper: u64) -> (Vec<Candidate>, Met) {
    let n_ops = problem.n_ops();
    let mut tails = vec![0u64; n_ops];
    let mut rest = vec![0u64; order.len() + 1];
    for (position, &op) in order.iter().enumerate().rev() {
        let least = problem.least_time_ns(op);
        rest[position] = rest[position + 1].saturating_add(least);
        let through = tails[op.index()].saturating_add(least);
        for producer in problem.inputs(op).iter().filter_map(|t| problem.producer(*t)) {
            let tail = &mut tails[producer.index()];
            *tail = (*tail).max(through);
        }
    }
    let n_devices = problem.cluster.n_devices();
    let mut enumeration = Enumeration {
        problem,
        order,
        twins: twins(problem),
        tails,
        rest,
        upper,
        assigned: vec![None; n_ops],
        ends: vec![0; n_ops],
        load: [0; MAX_DEVICES],
        held: vec![Vec::new(); n_devices],
        fixed: [0; MAX_DEVICES],
        members: [0; MAX_DEVICES],
        met: Met::default(),
        found: Vec::new(),
    };
    enumeration.extend(0, 0);
    let mut found = enumeration.found;
    found.sort_unstable();
    (found, enumeration.met)
}

impl Enumeration<'_> {
    fn extend(&mut self, position: usize, path: u64) {
        let n_devices = self.problem.cluster.n_devices();
        let work = self.load.iter().fold(self.rest[position], |sum, l| sum.saturating_add(*l));
        let busiest = self.load.iter().copied().max().unwrap_or(0);
        let bound = path.max(busiest).max(work.div_ceil(n_devices.max(1) as u64));
        if bound >= self.upper {
            return;
        }
        let Some(&op) = self.order.get(position) else {
            let device = self.assigned.iter().map(|d| d.unwrap_or(DeviceId::new(0))).collect();
            self.found.push(Candidate { bound, device });
            return;
        };
        for device in self.problem.cluster.device_ids() {
            if self.is_open(op, device) {
                self.assign(position, op, device, path);
            }
        }
    }

    /// Whether the op may go there: allowed, with its group, and not the mirror image of a
    /// placement on an unused device with a lower id.
    fn is_open(&self, op: OpId, device: DeviceId) -> bool {
        let group = self.problem.group_of(op).map(|g| &self.problem.groups[g.index()]);
        let fixed = group.and_then(|members| members.iter().find_map(|m| self.assigned[m.index()]));
        let d = device.index();
        let mirrored = self.members[d] == 0 && self.twins[d].iter().any(|t| self.members[*t] == 0);
        self.problem.can_place(op, device) && fixed.is_none_or(|f| f == device) && !mirrored
    }

    fn assign(&mut self, position: usize, op: OpId, device: DeviceId, path: u64) {
        let mut start = 0u64;
        for &tensor in self.problem.inputs(op) {
            let Some(producer) = self.problem.producer(tensor) else { return };
            let from = self.assigned[producer.index()].unwrap_or(device);
            let transfer = self.problem.transfer_ns(tensor, from, device);
            if transfer == UNSUPPORTED {
                self.met.no_way = true;
                return;
            }
            start = start.max(self.ends[producer.index()].saturating_add(transfer));
        }
        let time = self.problem.time_ns(op, device);
        let d = device.index();
        let (fixed, load, n_held) = (self.fixed[d], self.load[d], self.held[d].len());
        for &tensor in self.problem.parameters(op) {
            if !self.held[d].contains(&tensor) {
                self.held[d].push(tensor);
                let bytes = self.problem.persistent_bytes(tensor);
                self.fixed[d] = self.fixed[d].saturating_add(bytes);
            }
        }
        if self.fixed[d] > self.problem.memory_limit(device) {
            self.met.full_device = true;
        } else {
            self.load[d] = load.saturating_add(time);
            self.members[d] += 1;
            self.assigned[op.index()] = Some(device);
            let end = start.saturating_add(time);
            self.ends[op.index()] = end;
            self.extend(position + 1, path.max(end.saturating_add(self.tails[op.index()])));
            self.assigned[op.index()] = None;
            self.members[d] -= 1;
            self.load[d] = load;
        }
        self.held[d].truncate(n_held);
        self.fixed[d] = fixed;
    }
}

/// For each device, the lower ones with which it can change places without changing anything
/// else: same kind and limit, the same ops allowed, equal ways, and the channels change places
/// one for one. Checked here rather than read off the classes, since pins tell twins apart.
fn twins(problem: &Problem) -> Vec<Vec<usize>> {
    let n = problem.cluster.n_devices();
    (0..n).map(|b| (0..b).filter(|a| are_twins(problem, *a, b)).collect()).collect()
}

fn are_twins(problem: &Problem, a: usize, b: usize) -> bool {
    let cluster = &problem.cluster;
    let swap = |d: usize| match d {
        d if d == a => b,
        d if d == b => a,
        d => d,
    };
    let (x, y) = (DeviceId::new(a), DeviceId::new(b));
    let alike = cluster.devices[a].kind == cluster.devices[b].kind
        && problem.memory_limit(x) == problem.memory_limit(y)
        && problem.actions.iter().all(|op| problem.can_place(*op, x) == problem.can_place(*op, y));
    let mut channels = Vec::new();
    alike
        && cluster.device_ids().all(|from| {
            cluster.device_ids().all(|to| {
                let image = (DeviceId::new(swap(from.index())), DeviceId::new(swap(to.index())));
                match (cluster.route(from, to), cluster.route(image.0, image.1)) {
                    (None, None) => true,
                    (Some(route), Some(other)) => {
                        channels.push((route.send, other.send));
                        channels.push((route.receive, other.receive));
                        route.kind.latency_ns == other.kind.latency_ns
                            && route.kind.bandwidth == other.kind.bandwidth
                    }
                    _ => false,
                }
            })
        })
        && channels.iter().all(|(c, i)| channels.iter().all(|(d, j)| (c == d) == (i == j)))
}
