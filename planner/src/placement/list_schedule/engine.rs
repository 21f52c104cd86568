//! The loop of E3: finish, propose, commit, advance.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use cost_model::ops::problem::Problem;
use ir::id::{DeviceId, OpId, TensorId};
use ir::units::Bytes;

use super::Policy;
use super::awake::Awake;
use super::dry_run::{DryRun, Misfit, Start, released_by, reserve_of_first};
use super::headroom::Headroom;
use super::ledger::{Ledger, Reservation};
use super::ready_queues::ReadyQueues;
use crate::run::no_plan::{NoPlan, Reason};

/// Commits between two looks at the clock.
const COMMITS_PER_LOOK: u64 = 64;

/// A proposal, in the order in which proposals are preferred.
pub(super) type Proposal = (u64, u32, DeviceId);

pub(super) struct Engine<'a> {
    pub(super) problem: &'a Problem,
    policy: &'a Policy,
    /// E1: ops by position, and the position of each op.
    pub(super) order: Vec<OpId>,
    position: Vec<u32>,
    pub(super) ledger: Ledger<'a>,
    dry_run: DryRun,
    queues: ReadyQueues,
    pub(super) awake: Awake,
    /// Inputs in the order in which they are sent, once the op is ready.
    inputs: Vec<Vec<TensorId>>,
    missing: Vec<usize>,
    /// Positions of ops that are ready and not committed.
    pub(super) ready: BTreeSet<u32>,
    /// Ends of committed ops that are still to come, by (end, id).
    running: BinaryHeap<Reverse<(u64, OpId)>>,
    pub(super) time: u64,
    pub(super) commits: u64,
    aside: Vec<(u32, u64)>,
}

impl<'a> Engine<'a> {
    pub(super) fn new(
        problem: &'a Problem,
        policy: &'a Policy,
        headroom: Option<Headroom>,
    ) -> Self {
        let order = problem.topological_order();
        let mut position = vec![u32::MAX; problem.n_ops()];
        let mut missing = vec![usize::MAX; problem.n_ops()];
        for (index, op) in order.iter().enumerate() {
            position[op.index()] = index as u32;
            missing[op.index()] = problem.inputs(*op).len();
        }
        let n_devices = problem.cluster.n_devices();
        Self {
            problem,
            policy,
            ledger: Ledger::new(problem, policy.variant, headroom),
            dry_run: DryRun::default(),
            queues: ReadyQueues::new(n_devices, order.len()),
            awake: Awake::new(n_devices, order.len()),
            inputs: vec![Vec::new(); problem.n_ops()],
            missing,
            ready: BTreeSet::new(),
            running: BinaryHeap::new(),
            time: 0,
            commits: 0,
            aside: Vec::new(),
            order,
            position,
        }
    }

    pub(super) fn run(
        mut self,
        stopped: &mut dyn FnMut() -> Option<NoPlan>,
    ) -> Result<Ledger<'a>, NoPlan> {
        for at in 0..self.order.len() {
            if self.missing[self.order[at].index()] == 0 {
                self.make_ready(self.order[at]);
            }
        }
        while (self.commits as usize) < self.order.len() {
            self.finish_ended();
            let next = loop {
                match self.round() {
                    Ok(proposal) => {
                        self.commit(proposal);
                        if self.commits.is_multiple_of(COMMITS_PER_LOOK)
                            && let Some(no_plan) = stopped()
                        {
                            return Err(no_plan);
                        }
                    }
                    Err(next) => break next,
                }
            };
            let end = self.running.peek().map(|Reverse((end, _))| *end);
            match [next, end].into_iter().flatten().min() {
                Some(time) => self.time = time,
                None if self.ready.is_empty() => break,
                None => return Err(self.no_room()),
            }
        }
        Ok(self.ledger)
    }

    /// E3 (b) and the choice of (c); without a proposal, the next instant at which an idle device
    /// may have one.
    fn round(&mut self) -> Result<Proposal, Option<u64>> {
        let mut best: Option<Proposal> = None;
        let mut next: Option<u64> = None;
        for device in (0..self.ledger.n_devices).map(DeviceId::new) {
            if self.ledger.clock[device.index()] > self.time {
                continue;
            }
            let (proposal, later) = match self.awake_for(device) {
                Some(favourite) => self.propose_awake(device, favourite),
                None => self.propose(device, best),
            };
            best = [best, proposal].into_iter().flatten().min();
            next = [next, later].into_iter().flatten().min();
        }
        best.ok_or(next)
    }

    /// The proposal of an idle device, unless it can't beat `best`; and the next instant at which
    /// it may have one.
    fn propose(
        &mut self,
        device: DeviceId,
        best: Option<Proposal>,
    ) -> (Option<Proposal>, Option<u64>) {
        let mut aside = std::mem::take(&mut self.aside);
        let result = loop {
            let clock = self.ledger.clock[device.index()];
            let (ledger, order) = (&self.ledger, &self.order);
            let is_open = |position: u32| is_open(ledger, order[position as usize], device);
            let Some(front) = self.queues.front(device.index(), clock, self.commits, is_open)
            else {
                break (None, None);
            };
            if front.bound > self.time {
                break (None, Some(front.bound));
            }
            let proposal = (front.bound, front.position, device);
            if best.is_some_and(|best| best <= proposal) {
                break (None, None);
            }
            let Some(at) = self.look(front.position, device) else { continue };
            if at != front.bound {
                self.queues.put(device.index(), front.position, at);
            } else if self.is_kept_for_another(front.position, device) {
                self.queues.take(device.index(), front.position);
                aside.push((front.position, at));
            } else {
                break (Some(proposal), None);
            }
        };
        for (position, at) in aside.drain(..) {
            self.queues.put(device.index(), position, at);
        }
        self.aside = aside;
        result
    }

    /// The start of an op at the front of a queue; one that does not fit leaves the queue.
    fn look(&mut self, position: u32, device: DeviceId) -> Option<u64> {
        match self.start(position, device) {
            Ok(start) => {
                if start.memory_bound {
                    self.queues.block(device.index(), position);
                }
                if start.volatile {
                    self.queues.mark_volatile(device.index(), position);
                }
                Some(start.at)
            }
            Err(misfit) => {
                self.queues.take(device.index(), position);
                if misfit == Misfit::Memory {
                    self.queues.block(device.index(), position);
                }
                None
            }
        }
    }

    /// est(o, d).
    pub(super) fn start(&mut self, position: u32, device: DeviceId) -> Result<Start, Misfit> {
        let op = self.order[position as usize];
        self.dry_run.start(&mut self.ledger, op, device, &self.inputs[op.index()])
    }

    /// E3 (c): the op starts at its est, its transfers at their dry-run times.
    fn commit(&mut self, (at, position, device): Proposal) {
        let op = self.order[position as usize];
        // Run again: other dry runs came in between, and nothing has changed since.
        let start = self.start(position, device);
        debug_assert_eq!(start.map(|start| start.at), Ok(at));
        let group = self.problem.group_of(op);
        let reserve = reserve_of_first(&self.ledger, op);
        let released = released_by(&self.ledger, op);
        if let Some((since, bytes)) = released {
            self.ledger.add(device, since, -bytes);
        }
        let holds_more = self.ledger.book_held(op, device);
        for index in 0..self.dry_run.sends.len() {
            let send = self.dry_run.sends[index];
            self.ledger.book_transfer(send.tensor, send.copy, send.waits);
        }
        self.ledger.book_op(op, device, at, self.dry_run.op_waits);
        if let Some(group) = group {
            let reservation = &mut self.ledger.reservation[group.index()];
            match (reservation.as_mut(), released) {
                (Some(reservation), Some((_, bytes))) => reservation.bytes -= bytes,
                _ if reserve > 0 => {
                    *reservation = Some(Reservation { since: at, bytes: reserve });
                    self.ledger.add(device, at, reserve);
                }
                _ => {}
            }
        }
        self.commits += 1;
        self.ready.remove(&position);
        self.awake.committed(position, device);
        // Its group needs less from now on, whether it is the first member or not.
        if holds_more || group.is_some() {
            self.ledger.freed.push(device);
        }
        if self.ledger.takes_room(op, device) {
            self.ledger.freed.extend((0..self.ledger.n_devices).map(DeviceId::new));
        }
        self.look_again(device);
        let end = self.ledger.end[op.index()];
        self.running.push(Reverse((end, op)));
        if end <= self.time {
            self.finish_ended();
        }
    }

    /// Puts in anew whatever the last commit may have moved forward.
    fn look_again(&mut self, device: DeviceId) {
        for index in 0..self.dry_run.sends.len() {
            for &consumer in self.problem.consumers(self.dry_run.sends[index].tensor) {
                let position = self.position[consumer.index()];
                if self.ready.contains(&position) && is_open(&self.ledger, consumer, device) {
                    self.queues.put_anew(device.index(), position);
                }
            }
        }
        let mut freed = std::mem::take(&mut self.ledger.freed);
        freed.sort_unstable();
        freed.dedup();
        let (ledger, order) = (&self.ledger, &self.order);
        for &device in &freed {
            self.queues.unblock(device.index(), |position| {
                is_open(ledger, order[position as usize], device)
            });
        }
        self.ledger.freed = freed;
    }

    /// E3 (a), and S4 for what has ended.
    fn finish_ended(&mut self) {
        let mut ended = Vec::new();
        while let Some(Reverse((end, op))) = self.running.peek().copied()
            && end <= self.time
        {
            self.running.pop();
            ended.push(op);
        }
        for &op in &ended {
            for &tensor in self.problem.outputs(op) {
                for &consumer in self.problem.consumers(tensor) {
                    self.missing[consumer.index()] -= 1;
                    if self.missing[consumer.index()] == 0 {
                        self.make_ready(consumer);
                    }
                }
            }
        }
        if !self.policy.favourite.is_empty() {
            for &op in &ended {
                if let Some(favourite) = self.policy.favourite.get(op.index()).copied().flatten() {
                    self.wake(op, self.position[favourite.index()]);
                }
            }
        }
    }

    fn make_ready(&mut self, op: OpId) {
        let position = self.position[op.index()];
        let end_of = |tensor: &TensorId| {
            let producer = self.problem.producer(*tensor);
            (producer.map_or(0, |p| self.ledger.end[p.index()]), producer, *tensor)
        };
        // E2: the order in which missing inputs are sent.
        let mut inputs = self.problem.inputs(op).to_vec();
        inputs.sort_by_key(end_of);
        let ready_at = inputs.last().map_or(0, |tensor| end_of(tensor).0);
        self.inputs[op.index()] = inputs;
        self.ready.insert(position);
        self.queues.set_ready(position, ready_at);
        for device in self.problem.placeable(op).iter() {
            if is_open(&self.ledger, op, device) {
                self.queues.put(device.index(), position, ready_at);
            }
        }
    }

    /// E3 (e): no ready op will ever fit. Names the first one by id.
    fn no_room(&mut self) -> NoPlan {
        let op = self.ready.iter().map(|position| self.order[*position as usize]).min();
        let Some(op) = op else {
            let message = "no device has room for what is left";
            return NoPlan::not_found(Reason::MemoryExceeded, "memory-exceeded", message);
        };
        let name = self.problem.graph.op(op).name.as_str();
        let position = self.position[op.index()];
        let devices: Vec<DeviceId> = self.problem.placeable(op).iter().collect();
        let open: Vec<DeviceId> =
            devices.into_iter().filter(|device| is_open(&self.ledger, op, *device)).collect();
        let kept_out: Vec<DeviceId> = open
            .into_iter()
            .filter(|device| self.start(position, *device) == Err(Misfit::Memory))
            .collect();
        if kept_out.is_empty() {
            let message = format!("no device can receive all inputs of op `{name}`");
            return NoPlan::not_found(Reason::Unreachable, "no-route", message)
                .fact("op", name)
                .hint("connect the devices, or pin the op to where its inputs are");
        }
        let no_plan =
            NoPlan::not_found(Reason::MemoryExceeded, "memory-exceeded", self.what_is_kept_out(op))
                .fact("op", name);
        let rooms = kept_out.into_iter().filter_map(|device| {
            let (need, have) = self.ledger.room(op, device)?;
            Some((need - have, device, need, have))
        });
        let Some((_, device, need, have)) = rooms.min() else { return no_plan };
        no_plan
            .fact("device", self.problem.cluster.devices[device.index()].name.clone())
            .fact("need", Bytes(need.unsigned_abs()))
            .fact("have", Bytes(have.max(0).unsigned_abs()))
    }

    /// An op alone, or its group where that goes as one because none of it is placed yet.
    fn what_is_kept_out(&self, op: OpId) -> String {
        let name = &self.problem.graph.op(op).name;
        let first =
            self.problem.group_of(op).filter(|g| self.ledger.group_device[g.index()].is_none());
        match first.and_then(|group| self.problem.groups.get(group.index())) {
            Some(members) if members.len() > 1 => format!(
                "no device has room for the {} ops tied to `{name}` beside what was placed before them",
                members.len()
            ),
            _ => format!("no device has room for op `{name}` beside what was placed before it"),
        }
    }
}

/// Whether an op is still to be placed and may go to a device.
pub(super) fn is_open(ledger: &Ledger, op: OpId, device: DeviceId) -> bool {
    ledger.device[op.index()].is_none()
        && ledger.problem.can_place(op, device)
        && ledger
            .problem
            .group_of(op)
            .and_then(|group| ledger.group_device[group.index()])
            .is_none_or(|fixed| fixed == device)
}
