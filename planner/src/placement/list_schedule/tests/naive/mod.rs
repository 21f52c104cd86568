//! The rules of `docs/conventions.md` written down literally: every start is computed from lists of
//! intervals, whenever it is asked for. The yardstick of the engine.

mod bytes;

use cost_model::ops::problem::Problem;
use ir::id::{DeviceId, OpId, TensorId};
use ir::plan::Placement;
use ir::schedule::{Action, Schedule, Task, Transfer, Wait};
use std::collections::BTreeMap;

use super::{Listed, Policy};

#[derive(Clone, Copy, Debug)]
struct Sent {
    transfer: Transfer,
    start: u64,
    end: u64,
    waits: bool,
}

/// What a dry run found.
#[derive(Clone, Debug)]
struct Dry {
    start: u64,
    waits: bool,
    sent: Vec<Sent>,
}

#[derive(Clone, Copy)]
struct Done {
    device: DeviceId,
    start: u64,
    end: u64,
}

struct Naive<'a> {
    problem: &'a Problem,
    policy: &'a Policy,
    order: Vec<OpId>,
    done: BTreeMap<OpId, Done>,
    sent: Vec<Sent>,
    orders: Vec<Vec<Action>>,
    waits: Vec<Wait>,
    group_since: BTreeMap<usize, (DeviceId, u64)>,
    awake: Vec<Option<OpId>>,
    finished: Vec<OpId>,
}

/// As [`super::schedule`]; `None` where no ready op fits.
pub(super) fn schedule(problem: &Problem, policy: &Policy) -> Option<Listed> {
    let n_devices = problem.cluster.n_devices();
    let mut naive = Naive {
        problem,
        policy,
        order: problem.topological_order(),
        done: BTreeMap::new(),
        sent: Vec::new(),
        orders: vec![Vec::new(); n_devices],
        waits: Vec::new(),
        group_since: BTreeMap::new(),
        awake: vec![None; n_devices],
        finished: Vec::new(),
    };
    let mut time = 0;
    loop {
        naive.finish(time);
        while let Some((_, op, device)) = naive.choose(time) {
            naive.commit(op, device);
            naive.finish(time);
        }
        if naive.done.len() == naive.order.len() {
            break;
        }
        time = naive.next(time)?;
    }
    Some(naive.listed())
}

impl Naive<'_> {
    fn topo(&self, op: OpId) -> usize {
        self.order.iter().position(|other| *other == op).unwrap()
    }

    fn clock(&self, device: DeviceId) -> u64 {
        self.done.values().filter(|d| d.device == device).map(|d| d.end).max().unwrap_or(0)
    }

    fn ready(&self, time: u64) -> Vec<OpId> {
        let ended = |tensor: &TensorId| {
            let producer = self.problem.producer(*tensor).unwrap();
            self.done.get(&producer).is_some_and(|done| done.end <= time)
        };
        self.order
            .iter()
            .copied()
            .filter(|op| !self.done.contains_key(op) && self.problem.inputs(*op).iter().all(ended))
            .collect()
    }

    fn devices(&self, op: OpId) -> Vec<DeviceId> {
        let fixed = self.problem.group_of(op).and_then(|g| self.group_since.get(&g.index()));
        self.problem
            .cluster
            .device_ids()
            .filter(|d| self.problem.can_place(op, *d) && fixed.is_none_or(|fixed| fixed.0 == *d))
            .collect()
    }

    fn channels(&self, transfer: Transfer) -> Vec<ir::id::ChannelId> {
        let producer = self.problem.producer(transfer.tensor).unwrap();
        let route = self.problem.cluster.route(self.done[&producer].device, transfer.to).unwrap();
        let mut channels = vec![route.send];
        if route.receive != route.send {
            channels.push(route.receive);
        }
        channels
    }

    /// E3 (b) and (c), with S4.
    fn choose(&mut self, time: u64) -> Option<(u64, OpId, DeviceId)> {
        let mut best: Option<(u64, usize, DeviceId)> = None;
        for device in self.problem.cluster.device_ids() {
            if self.clock(device) > time {
                continue;
            }
            if let Some(favourite) = self.awake[device.index()]
                && (self.done.contains_key(&favourite)
                    || !self.devices(favourite).contains(&device)
                    || self.est(favourite, device).is_none())
            {
                self.awake[device.index()] = None;
            }
            for op in self.ready(time) {
                if !self.devices(op).contains(&device) {
                    continue;
                }
                let allowed = match self.awake[device.index()] {
                    Some(favourite) => op == favourite || self.is_urgent(op, time),
                    None => !self.awake.contains(&Some(op)) || self.is_urgent(op, time),
                };
                let est = self.est(op, device).map(|dry| dry.start);
                if let Some(est) = est.filter(|est| allowed && *est <= time) {
                    let proposal = (est, self.topo(op), device);
                    best = Some(best.map_or(proposal, |best| best.min(proposal)));
                }
            }
        }
        best.map(|(est, topo, device)| (est, self.order[topo], device))
    }

    fn is_urgent(&self, op: OpId, time: u64) -> bool {
        let starts: Vec<u64> =
            self.devices(op).iter().filter_map(|d| self.est(op, *d)).map(|dry| dry.start).collect();
        starts.iter().max().is_some_and(|latest| *latest <= time)
    }

    /// E3 (e).
    fn next(&self, time: u64) -> Option<u64> {
        let ends = self.done.values().map(|done| done.end);
        let idle = self.problem.cluster.device_ids().filter(|d| self.clock(*d) <= time);
        let starts = idle.flat_map(|device| {
            let ready = self.ready(time).into_iter();
            ready.filter_map(move |op| {
                self.devices(op).contains(&device).then(|| self.est(op, device))?
            })
        });
        ends.chain(starts.map(|dry| dry.start)).filter(|at| *at > time).min()
    }

    fn commit(&mut self, op: OpId, device: DeviceId) {
        let dry = self.est(op, device).unwrap();
        // E6: who ends at that instant and frees bytes on the device.
        let after = |this: &Self, at: u64| -> Vec<Task> {
            let freed = |end: u64, task: Task| end == at && this.frees(task, device, at);
            let ops = this.done.iter().map(|(op, done)| (done.end, Task::Op(*op)));
            let sent = this.sent.iter().map(|s| (s.end, Task::Transfer(s.transfer)));
            ops.chain(sent).filter(|(end, task)| freed(*end, *task)).map(|(_, task)| task).collect()
        };
        let mut waits = Vec::new();
        for sent in dry.sent.iter().filter(|sent| sent.waits) {
            waits
                .push(Wait { task: Task::Transfer(sent.transfer), after: after(self, sent.start) });
        }
        if dry.waits {
            waits.push(Wait { task: Task::Op(op), after: after(self, dry.start) });
        }
        self.waits.extend(waits);
        self.sent.extend(&dry.sent);
        let end = dry.start + self.problem.time_ns(op, device);
        self.done.insert(op, Done { device, start: dry.start, end });
        self.orders[device.index()].push(Action::Op(op));
        if let Some(group) = self.problem.group_of(op) {
            self.group_since.entry(group.index()).or_insert((device, dry.start));
        }
        // S4: a wait ends with any commit on the device, and with its op's.
        self.awake[device.index()] = None;
        for awake in &mut self.awake {
            if *awake == Some(op) {
                *awake = None;
            }
        }
    }

    /// Whether a task that ends at `at` is the last to use some bytes on the device.
    fn frees(&self, task: Task, device: DeviceId, at: u64) -> bool {
        let problem = self.problem;
        let ends = |tensor: TensorId, since: u64, last: Option<u64>| {
            problem.bytes(tensor) > 0
                && last == Some(at)
                && since < at
                && !self.consumers_left(tensor)
        };
        let owner_ends = |tensor: TensorId, owner: Done| {
            let sent = self.sent.iter().filter(|s| s.transfer.tensor == tensor).map(|s| s.end);
            let last = sent.chain(self.last_local_use(tensor, owner.device)).max();
            !problem.is_output(tensor) && ends(tensor, owner.start, last)
        };
        match task {
            Task::Transfer(transfer) => {
                let owner = self.done[&problem.producer(transfer.tensor).unwrap()];
                owner.device == device && owner_ends(transfer.tensor, owner)
            }
            Task::Op(op) => {
                let done = self.done[&op];
                if done.device != device {
                    return false;
                }
                let unread = problem.outputs(op).iter().any(|t| {
                    problem.consumers(*t).is_empty()
                        && !problem.is_output(*t)
                        && problem.bytes(*t) > 0
                });
                let op_frees = done.end > done.start && (unread || problem.temporary(op) > 0);
                op_frees
                    || problem.inputs(op).iter().any(|tensor| {
                        let owner = self.done[&problem.producer(*tensor).unwrap()];
                        if owner.device == device {
                            return owner_ends(*tensor, owner);
                        }
                        let copy = Transfer { tensor: *tensor, to: device };
                        let copy = self.sent.iter().find(|s| s.transfer == copy).unwrap();
                        ends(*tensor, copy.start, self.last_local_use(*tensor, device))
                    })
                    || problem
                        .graph_inputs(op)
                        .iter()
                        .any(|tensor| ends(*tensor, 0, self.last_local_use(*tensor, device)))
            }
        }
    }

    /// E3 (a) and the beginning of S4.
    fn finish(&mut self, time: u64) {
        let mut ended: Vec<(u64, OpId)> = self
            .done
            .iter()
            .filter(|(op, done)| done.end <= time && !self.finished.contains(op))
            .map(|(op, done)| (done.end, *op))
            .collect();
        ended.sort_unstable();
        self.finished.extend(ended.iter().map(|(_, op)| *op));
        for (_, op) in ended {
            let Some(favourite) = self.policy.favourite.get(op.index()).copied().flatten() else {
                continue;
            };
            let device = self.done[&op].device;
            if self.ready(time).contains(&favourite)
                && let Some(here) = self.est(favourite, device)
                && self.devices(favourite).contains(&device)
                && self
                    .devices(favourite)
                    .iter()
                    .filter_map(|d| self.est(favourite, *d))
                    .all(|dry| dry.start >= here.start)
            {
                self.awake[device.index()] = Some(favourite);
            }
        }
    }

    fn listed(self) -> Listed {
        let mut device = vec![None; self.problem.n_ops()];
        for (op, done) in &self.done {
            device[op.index()] = Some(done.device);
        }
        let mut channels: BTreeMap<_, Vec<Transfer>> = BTreeMap::new();
        for sent in &self.sent {
            for channel in self.channels(sent.transfer) {
                channels.entry(channel).or_default().push(sent.transfer);
            }
        }
        let mut after = self.waits;
        after.iter_mut().for_each(|wait| wait.after.sort_unstable());
        after.sort_unstable();
        Listed {
            placement: Placement { device },
            schedule: Schedule { actions: self.orders, channels, after, grid: None },
        }
    }
}
