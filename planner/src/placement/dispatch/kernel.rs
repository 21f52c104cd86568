//! The event loop.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use ir::id::{ChannelId, DeviceId, OpId, TensorId};
use ir::plan::Placement;
use ir::schedule::{Action, Schedule, Transfer};

use super::copies::Copies;
use super::network::{NONE, Network};
use cost_model::ops::problem::UNSUPPORTED;

/// What a placement with keys is worth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Score {
    /// Nanoseconds of the step.
    pub(crate) makespan: u64,
    /// Sum over devices of peak over limit, less 1, where that is positive: 0 = everything fits.
    pub(crate) excess: f64,
}

/// What happens at an instant; at one instant in this order, then by number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    End(u32),
    Arrive(u32),
    Begin(u32),
}

/// The event loop with its scratch space, and the times of its last run.
pub(crate) struct Dispatcher<'a> {
    pub(crate) network: &'a Network<'a>,
    copies: Copies,
    missing: Vec<u32>,
    events: BinaryHeap<Reverse<(u64, Event)>>,
    ready: Vec<BinaryHeap<Reverse<(u64, u32)>>>,
    idle: Vec<bool>,
    channel: Vec<u64>,
    level: Vec<u64>,
    peak: Vec<u64>,
    /// Bytes to be taken at this instant, after everything that is freed.
    taken: Vec<(u16, u64)>,
    /// Ops in the order of their starts, and copies in the order in which they were sent.
    started: Vec<u32>,
    sent: Vec<u32>,
    /// By op: when it started, when its last input came, and the op before it on its device.
    pub(crate) start: Vec<u64>,
    pub(crate) ready_at: Vec<u64>,
    pub(crate) before: Vec<u32>,
    last: Vec<u32>,
}

impl<'a> Dispatcher<'a> {
    pub(crate) fn new(network: &'a Network<'a>) -> Self {
        let (n_ops, n_devices) = (network.problem.n_ops(), network.n_devices);
        Self {
            network,
            copies: Copies::default(),
            missing: vec![0; n_ops],
            events: BinaryHeap::new(),
            ready: vec![BinaryHeap::new(); n_devices],
            idle: vec![true; n_devices],
            channel: vec![0; network.problem.cluster.links.channels.len()],
            level: Vec::new(),
            peak: Vec::new(),
            taken: Vec::new(),
            started: Vec::new(),
            sent: Vec::new(),
            start: vec![0; n_ops],
            ready_at: vec![0; n_ops],
            before: vec![NONE; n_ops],
            last: vec![NONE; n_devices],
        }
    }

    /// Runs a placement (device by op) with a key by op: less goes first, ties by op. `None` if
    /// the step takes longer than `cutoff`, a tensor has no way, or an op can't run where it is.
    pub(crate) fn run(&mut self, device: &[u16], key: &[u64], cutoff: u64) -> Option<Score> {
        self.reset(device);
        for &op in &self.network.problem.actions {
            if self.missing[op.index()] == 0 {
                self.ready[usize::from(device[op.index()])].push(Reverse((key[op.index()], op.0)));
            }
        }
        let n_actions = self.network.problem.actions.len();
        let mut now = 0;
        let mut makespan = 0;
        self.dispatch(device, now, cutoff)?;
        while let Some(Reverse((time, event))) = self.events.pop() {
            if time != now {
                self.note_peaks();
                now = time;
            }
            self.take(event, device, key, now)?;
            while let Some(Reverse((next, _))) = self.events.peek()
                && *next == now
                && let Some(Reverse((_, event))) = self.events.pop()
            {
                self.take(event, device, key, now)?;
            }
            makespan = now;
            for (device, bytes) in self.taken.drain(..) {
                let level = &mut self.level[usize::from(device)];
                *level = level.saturating_add(bytes);
            }
            self.dispatch(device, now, cutoff)?;
        }
        self.note_peaks();
        (self.started.len() == n_actions).then(|| Score { makespan, excess: self.excess() })
    }

    fn reset(&mut self, device: &[u16]) {
        self.copies.place(self.network, device);
        let problem = self.network.problem;
        for &op in &problem.actions {
            self.missing[op.index()] = problem.inputs(op).len() as u32;
            self.ready_at[op.index()] = 0;
        }
        self.events.clear();
        self.ready.iter_mut().for_each(BinaryHeap::clear);
        self.idle.fill(true);
        self.channel.fill(0);
        self.last.fill(NONE);
        self.level.clone_from(&self.copies.held);
        self.peak.clone_from(&self.copies.held);
        self.taken.clear();
        self.started.clear();
        self.sent.clear();
    }

    fn note_peaks(&mut self) {
        for (peak, level) in self.peak.iter_mut().zip(&self.level) {
            *peak = (*peak).max(*level);
        }
    }

    fn excess(&self) -> f64 {
        let over = |(peak, limit): (&u64, &u64)| {
            if peak > limit { (peak - limit) as f64 / (*limit).max(1) as f64 } else { 0.0 }
        };
        self.peak.iter().zip(&self.network.limit).map(over).sum()
    }

    /// Starts what can start now.
    fn dispatch(&mut self, device: &[u16], now: u64, cutoff: u64) -> Option<()> {
        let problem = self.network.problem;
        for here in 0..self.network.n_devices {
            if !self.idle[here] {
                continue;
            }
            let Some(Reverse((_, op))) = self.ready[here].pop() else { continue };
            let op = OpId(op);
            debug_assert_eq!(usize::from(device[op.index()]), here);
            if now.saturating_add(self.network.tail[op.index()]) > cutoff {
                return None;
            }
            let time = self.network.time_ns(op.index(), here);
            if time == UNSUPPORTED {
                return None;
            }
            self.idle[here] = false;
            self.start[op.index()] = now;
            self.before[op.index()] = std::mem::replace(&mut self.last[here], op.0);
            self.started.push(op.0);
            let outputs = problem.outputs(op).iter().map(|t| problem.bytes(*t));
            let bytes = outputs.fold(problem.temporary(op), u64::saturating_add);
            self.level[here] = self.level[here].saturating_add(bytes);
            self.events.push(Reverse((now.saturating_add(time), Event::End(op.0))));
        }
        Some(())
    }

    fn take(&mut self, event: Event, device: &[u16], key: &[u64], now: u64) -> Option<()> {
        match event {
            Event::End(op) => self.end(OpId(op), device, key, now)?,
            Event::Arrive(copy) => {
                let tensor = TensorId(self.copies.all[copy as usize].tensor);
                self.let_go(self.copies.of(tensor).start);
                self.deliver(copy as usize, device, key, now);
            }
            Event::Begin(copy) => self.receive(copy as usize),
        }
        Some(())
    }

    fn receive(&mut self, copy: usize) {
        let copy = &self.copies.all[copy];
        self.taken.push((copy.device, self.network.problem.bytes(TensorId(copy.tensor))));
    }

    fn end(&mut self, op: OpId, device: &[u16], key: &[u64], now: u64) -> Option<()> {
        let network = self.network;
        let problem = network.problem;
        let here = usize::from(device[op.index()]);
        self.idle[here] = true;
        self.level[here] = self.level[here].saturating_sub(problem.temporary(op));
        let (from, to) = (network.edge_start[op.index()], network.edge_start[op.index() + 1]);
        for edge in from..to {
            self.let_go(self.copies.of_edge[edge as usize] as usize);
        }
        for &tensor in problem.outputs(op) {
            let copies = self.copies.of(tensor);
            let home = copies.start;
            self.deliver(home, device, key, now);
            for copy in copies.skip(1) {
                let there = usize::from(self.copies.all[copy].device);
                let (send, receive) = network.channels[here * network.n_devices + there];
                let (send, receive) = (send as usize, receive as usize);
                let time = network.transfer_ns(tensor, here, there)?;
                let start = now.max(self.channel[send]).max(self.channel[receive]);
                let end = start.saturating_add(time);
                self.channel[send] = end;
                self.channel[receive] = end;
                self.copies.all[copy].start = start;
                self.copies.all[copy].end = end;
                self.sent.push(copy as u32);
                if start > now {
                    self.events.push(Reverse((start, Event::Begin(copy as u32))));
                } else {
                    self.receive(copy);
                }
                self.events.push(Reverse((end, Event::Arrive(copy as u32))));
            }
            self.let_go(home);
        }
        Some(())
    }

    /// One use of a copy has ended.
    fn let_go(&mut self, copy: usize) {
        let copy = &mut self.copies.all[copy];
        copy.left -= 1;
        if copy.left == 0 {
            let bytes = self.network.problem.bytes(TensorId(copy.tensor));
            let level = &mut self.level[usize::from(copy.device)];
            *level = level.saturating_sub(bytes);
        }
    }

    /// A copy is there: its readers have one input more.
    fn deliver(&mut self, copy: usize, device: &[u16], key: &[u64], now: u64) {
        let network = self.network;
        let copy = self.copies.all[copy];
        let tensor = copy.tensor as usize;
        let from = network.reader_start[tensor] as usize;
        let to = network.reader_start[tensor + 1] as usize;
        for &(op, _) in &network.readers[from..to] {
            let op = op as usize;
            if device[op] != copy.device {
                continue;
            }
            self.missing[op] -= 1;
            if self.missing[op] == 0 {
                self.ready_at[op] = now;
                self.ready[usize::from(copy.device)].push(Reverse((key[op], op as u32)));
            }
        }
    }

    /// The input that came last of the last run: (its producer, whether it was brought).
    pub(crate) fn last_input(&self, op: usize, device: &[u16]) -> Option<(OpId, Way)> {
        let problem = self.network.problem;
        problem.inputs(OpId::new(op)).iter().find_map(|tensor| {
            let producer = problem.producer(*tensor)?;
            if device[producer.index()] == device[op] {
                let end = self.start[producer.index()]
                    + self.network.time_ns(producer.index(), usize::from(device[op]));
                (end == self.ready_at[op]).then_some((producer, Way::Local))
            } else {
                let copy = self.copies.of(*tensor).find(|copy| {
                    let copy = &self.copies.all[*copy];
                    copy.device == device[op] && copy.end == self.ready_at[op]
                });
                copy.map(|_| (producer, Way::Brought))
            }
        })
    }

    /// Placement and orders of the last run, which must have come to its end.
    pub(crate) fn plan(&self, device: &[u16]) -> (Placement, Schedule) {
        let network = self.network;
        let mut placement = Placement { device: vec![None; network.problem.n_ops()] };
        let mut actions = vec![Vec::new(); network.n_devices];
        for &op in &self.started {
            let here = usize::from(device[op as usize]);
            placement.device[op as usize] = Some(DeviceId::new(here));
            actions[here].push(Action::Op(OpId(op)));
        }
        let mut channels: BTreeMap<ChannelId, Vec<Transfer>> = BTreeMap::new();
        for &copy in &self.sent {
            let copy = &self.copies.all[copy as usize];
            let tensor = TensorId(copy.tensor);
            let Some(producer) = network.problem.producer(tensor) else { continue };
            let (from, to) = (usize::from(device[producer.index()]), usize::from(copy.device));
            let (send, receive) = network.channels[from * network.n_devices + to];
            let transfer = Transfer { tensor, to: DeviceId::new(to) };
            channels.entry(ChannelId(send)).or_default().push(transfer);
            if receive != send {
                channels.entry(ChannelId(receive)).or_default().push(transfer);
            }
        }
        (placement, Schedule { actions, channels, after: Vec::new(), grid: None })
    }
}

/// How an input came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Its producer runs on the same device.
    Local,
    /// By a transfer.
    Brought,
}
