//! What is committed: times, clocks, copies, and bytes per device (`docs/conventions.md`, M6).

mod in_time;

use std::collections::{BTreeMap, HashMap};

use cost_model::ops::problem::{Problem, UNSUPPORTED};
use ir::id::{ChannelId, DeviceId, OpId, TensorId};
use ir::plan::Placement;
use ir::schedule::{Action, Schedule, Task, Transfer, Wait};

use super::headroom::Headroom;
use super::usage::Usage;
use super::{Listed, Variant};

/// A copy that a transfer brings.
#[derive(Clone, Copy)]
pub(super) struct Copy {
    pub(super) device: DeviceId,
    pub(super) start: u64,
    pub(super) end: u64,
}

/// Bytes that a group keeps free on its device (`variant=reserve`).
#[derive(Clone, Copy)]
pub(super) struct Reservation {
    /// Start of the first member.
    pub(super) since: u64,
    pub(super) bytes: i64,
}

pub(super) struct Ledger<'a> {
    pub(super) problem: &'a Problem,
    pub(super) variant: Variant,
    /// What must be left for others (`variant=room`).
    headroom: Option<Headroom>,
    pub(super) n_devices: usize,
    pub(super) device: Vec<Option<DeviceId>>,
    pub(super) start: Vec<u64>,
    pub(super) end: Vec<u64>,
    pub(super) clock: Vec<u64>,
    pub(super) channel_clock: Vec<u64>,
    /// `None` where memory is unlimited.
    pub(super) usage: Vec<Option<Usage>>,
    pub(super) limit: Vec<i64>,
    pub(super) copies: Vec<Vec<Copy>>,
    /// Devices that hold a parameter or a graph input, as bits: `tensor * words + device / 64`.
    held: Vec<u64>,
    words: usize,
    /// Consumers that are not committed, by tensor.
    pub(super) uncommitted: Vec<u32>,
    pub(super) group_device: Vec<Option<DeviceId>>,
    pub(super) group_parameters: Vec<Vec<TensorId>>,
    pub(super) reservation: Vec<Option<Reservation>>,
    /// Actions that free bytes, by device and instant.
    freers: Vec<HashMap<u64, Vec<Task>>>,
    actions: Vec<Vec<Action>>,
    channels: BTreeMap<ChannelId, Vec<Transfer>>,
    after: Vec<Wait>,
    /// Devices on which the last commit freed bytes.
    pub(super) freed: Vec<DeviceId>,
    last_use: Vec<(DeviceId, u64)>,
}

impl<'a> Ledger<'a> {
    pub(super) fn new(problem: &'a Problem, variant: Variant, headroom: Option<Headroom>) -> Self {
        let n_devices = problem.cluster.n_devices();
        let (n_ops, n_tensors) = (problem.n_ops(), problem.n_tensors());
        let words = n_devices.div_ceil(64);
        let limits: Vec<u64> =
            problem.cluster.device_ids().map(|d| problem.memory_limit(d)).collect();
        let tensors = (0..n_tensors).map(TensorId::new);
        Self {
            problem,
            variant,
            headroom,
            n_devices,
            device: vec![None; n_ops],
            start: vec![0; n_ops],
            end: vec![0; n_ops],
            clock: vec![0; n_devices],
            channel_clock: vec![0; problem.cluster.links.channels.len()],
            // No sum passes 2^62 (see `size`), so that a higher limit is none.
            usage: limits.iter().map(|limit| (*limit < 1 << 62).then(Usage::new)).collect(),
            limit: limits.iter().map(|limit| i64::try_from(*limit).unwrap_or(i64::MAX)).collect(),
            copies: vec![Vec::new(); n_tensors],
            held: vec![0; n_tensors * words],
            words,
            uncommitted: tensors.map(|t| problem.consumers(t).len() as u32).collect(),
            group_device: vec![None; problem.groups.len()],
            group_parameters: problem.groups.iter().map(|g| parameters_of(problem, g)).collect(),
            reservation: vec![None; problem.groups.len()],
            freers: vec![HashMap::new(); n_devices],
            actions: vec![Vec::new(); n_devices],
            channels: BTreeMap::new(),
            after: Vec::new(),
            freed: Vec::new(),
            last_use: Vec::new(),
        }
    }

    pub(super) fn holds(&self, tensor: TensorId, device: DeviceId) -> bool {
        let word = self.held[tensor.index() * self.words + device.index() / 64];
        word >> (device.index() % 64) & 1 == 1
    }

    fn hold(&mut self, tensor: TensorId, device: DeviceId) {
        self.held[tensor.index() * self.words + device.index() / 64] |= 1 << (device.index() % 64);
    }

    pub(super) fn copy_on(&self, tensor: TensorId, device: DeviceId) -> Option<Copy> {
        self.copies[tensor.index()].iter().copied().find(|copy| copy.device == device)
    }

    /// Parameters that come to a device with an op: its own, or its whole group's.
    pub(super) fn parameters(&self, op: OpId) -> &[TensorId] {
        match self.problem.group_of(op) {
            Some(group) if self.group_device[group.index()].is_none() => {
                &self.group_parameters[group.index()]
            }
            _ => self.problem.parameters(op),
        }
    }

    /// Bytes of the outputs that outlive an op.
    pub(super) fn lasting_outputs(&self, op: OpId) -> i64 {
        let problem = self.problem;
        problem
            .outputs(op)
            .iter()
            .filter(|t| outlives(problem, **t))
            .map(|t| size(problem, *t))
            .sum()
    }

    /// Bytes that an op needs while it runs: temporary and outputs; where it takes no time, only
    /// the outputs that outlive it.
    pub(super) fn running_bytes(&self, op: OpId, device: DeviceId) -> i64 {
        if self.problem.time_ns(op, device) == 0 {
            return self.lasting_outputs(op);
        }
        let outputs: i64 = self.problem.outputs(op).iter().map(|t| size(self.problem, *t)).sum();
        outputs + signed(self.problem.temporary(op))
    }

    /// What a group holds back once `without` is committed: the most that one of its uncommitted
    /// members needs while it runs.
    pub(super) fn reserve_without(&self, members: &[OpId], without: OpId) -> i64 {
        let waiting =
            || members.iter().filter(|op| **op != without && self.device[op.index()].is_none());
        let temporary = waiting().map(|op| signed(self.problem.temporary(*op))).max().unwrap_or(0);
        let outputs: i64 = waiting()
            .flat_map(|op| self.problem.outputs(*op))
            .map(|t| size(self.problem, *t))
            .sum();
        temporary + outputs
    }

    /// Whether an op on a device leaves room for what is still to be placed.
    pub(super) fn leaves_room(&self, op: OpId, device: DeviceId) -> bool {
        self.headroom.as_ref().is_none_or(|headroom| headroom.allows(self.problem, op, device))
    }

    /// Books the room of an op's unit; whether that changes what others are allowed.
    pub(super) fn takes_room(&mut self, op: OpId, device: DeviceId) -> bool {
        self.headroom.as_mut().is_some_and(|headroom| headroom.place(op, device))
    }

    pub(super) fn add(&mut self, device: DeviceId, time: u64, delta: i64) {
        if delta != 0
            && let Some(usage) = &mut self.usage[device.index()]
        {
            usage.add(time, delta);
        }
    }

    /// Ledger a transfer that the dry run found.
    pub(super) fn book_transfer(&mut self, tensor: TensorId, copy: Copy, waits: bool) {
        let transfer = Transfer { tensor, to: copy.device };
        if waits {
            self.book_wait(Task::Transfer(transfer), copy.device, copy.start);
        }
        let from = self.problem.producer(tensor).and_then(|op| self.device[op.index()]);
        if let Some(route) = from.and_then(|from| self.problem.cluster.route(from, copy.device)) {
            self.channel_clock[route.send.index()] = copy.end;
            self.channels.entry(route.send).or_default().push(transfer);
            if route.receive != route.send {
                self.channel_clock[route.receive.index()] = copy.end;
                self.channels.entry(route.receive).or_default().push(transfer);
            }
        }
        self.copies[tensor.index()].push(copy);
        self.add(copy.device, copy.start, size(self.problem, tensor));
    }

    /// Ledger what an op holds from time 0: parameters and graph inputs. Whether that is anything.
    pub(super) fn book_held(&mut self, op: OpId, device: DeviceId) -> bool {
        let mut bytes = 0;
        let mut any = false;
        for tensor in self.parameters(op).to_vec() {
            if !self.holds(tensor, device) {
                self.hold(tensor, device);
                bytes += signed(self.problem.persistent_bytes(tensor));
                any = true;
            }
        }
        for &tensor in self.problem.graph_inputs(op) {
            if !self.holds(tensor, device) {
                self.hold(tensor, device);
                bytes += size(self.problem, tensor);
                any = true;
            }
        }
        self.add(device, 0, bytes);
        any
    }

    /// Ledger the op itself, after its inputs and what it holds.
    pub(super) fn book_op(&mut self, op: OpId, device: DeviceId, start: u64, waits: bool) {
        let problem = self.problem;
        if waits {
            self.book_wait(Task::Op(op), device, start);
        }
        let duration = problem.time_ns(op, device);
        let end = start + duration;
        self.device[op.index()] = Some(device);
        self.start[op.index()] = start;
        self.end[op.index()] = end;
        self.clock[device.index()] = end;
        self.actions[device.index()].push(Action::Op(op));
        let lasting = self.lasting_outputs(op);
        let running = self.running_bytes(op, device);
        self.add(device, start, running);
        self.freed.clear();
        if running > lasting {
            self.book_free(device, end, running - lasting, &[Task::Op(op)]);
        }
        if let Some(group) = problem.group_of(op) {
            self.group_device[group.index()] = Some(device);
        }
        for &tensor in problem.inputs(op).iter().chain(problem.graph_inputs(op)) {
            self.uncommitted[tensor.index()] -= 1;
            if self.uncommitted[tensor.index()] == 0 {
                self.release(tensor);
            }
        }
    }

    fn book_wait(&mut self, task: Task, device: DeviceId, start: u64) {
        let mut after = self.freers[device.index()].get(&start).cloned().unwrap_or_default();
        after.sort_unstable();
        after.dedup();
        self.after.push(Wait { task, after });
    }

    fn book_free(&mut self, device: DeviceId, time: u64, bytes: i64, tasks: &[Task]) {
        if bytes > 0 && self.usage[device.index()].is_some() {
            self.add(device, time, -bytes);
            self.freers[device.index()].entry(time).or_default().extend_from_slice(tasks);
            self.freed.push(device);
        }
    }

    /// All consumers of a tensor are committed: its copies live until their last use.
    fn release(&mut self, tensor: TensorId) {
        let problem = self.problem;
        let mut last_use = std::mem::take(&mut self.last_use);
        last_use.clear();
        let mut note =
            |device: DeviceId, end: u64| match last_use.iter_mut().find(|(at, _)| *at == device) {
                Some((_, last)) => *last = end.max(*last),
                None => last_use.push((device, end)),
            };
        for &consumer in problem.consumers(tensor) {
            if let Some(device) = self.device[consumer.index()] {
                note(device, self.end[consumer.index()]);
            }
        }
        let producer = problem.producer(tensor);
        let owner = producer.and_then(|op| self.device[op.index()]);
        if let Some(owner) = owner {
            self.copies[tensor.index()].iter().for_each(|copy| note(owner, copy.end));
        }
        for &(device, end) in &last_use {
            let is_owner = owner == Some(device);
            if is_owner && problem.is_output(tensor) {
                continue;
            }
            let since = match (is_owner, producer) {
                (true, Some(op)) => self.start[op.index()],
                _ => self.copy_on(tensor, device).map_or(0, |copy| copy.start),
            };
            let bytes = size(problem, tensor);
            if since == end {
                self.add(device, end, -bytes);
                self.freed.push(device);
                continue;
            }
            let tasks = self.users_at(tensor, device, end, is_owner);
            self.book_free(device, end, bytes, &tasks);
        }
        self.last_use = last_use;
    }

    /// The uses of a tensor on a device that end at an instant.
    fn users_at(&self, tensor: TensorId, device: DeviceId, end: u64, is_owner: bool) -> Vec<Task> {
        let consumers =
            self.problem.consumers(tensor).iter().filter(|op| {
                self.device[op.index()] == Some(device) && self.end[op.index()] == end
            });
        let mut tasks: Vec<Task> = consumers.map(|op| Task::Op(*op)).collect();
        if is_owner {
            let sent = self.copies[tensor.index()].iter().filter(|copy| copy.end == end);
            tasks.extend(sent.map(|copy| Task::Transfer(Transfer { tensor, to: copy.device })));
        }
        tasks
    }

    /// The finished schedule.
    pub(super) fn close(mut self) -> Listed {
        self.after.sort_unstable();
        Listed {
            placement: Placement { device: self.device },
            schedule: Schedule {
                actions: self.actions,
                channels: self.channels,
                after: self.after,
                grid: None,
            },
        }
    }
}

pub(super) fn parameters_of(problem: &Problem, members: &[OpId]) -> Vec<TensorId> {
    let mut all: Vec<TensorId> =
        members.iter().flat_map(|op| problem.parameters(*op)).copied().collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Whether an output stays after its op: somebody reads it, or the caller does.
fn outlives(problem: &Problem, tensor: TensorId) -> bool {
    problem.is_output(tensor) || !problem.consumers(tensor).is_empty()
}

/// Bytes of a tensor; `size` checked that they fit.
pub(super) fn size(problem: &Problem, tensor: TensorId) -> i64 {
    signed(problem.bytes(tensor))
}

pub(super) fn signed(bytes: u64) -> i64 {
    debug_assert_ne!(bytes, UNSUPPORTED);
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
