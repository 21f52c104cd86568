//! When an op could start on a device, without committing it (`docs/conventions.md`, E2 and M6).

mod gaps;

use ir::id::{ChannelId, DeviceId, OpId, TensorId};

pub(super) use gaps::{Ahead, end_of_child};

use super::ledger::{Copy, Ledger, signed, size};
use super::usage::Usage;

/// Why an op does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Misfit {
    /// Not enough memory, as things are.
    Memory,
    /// An input has no way there.
    NoWay,
}

/// A start that memory allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) at: u64,
    /// Memory delayed the op or one of its inputs, so that freed bytes may move it forward.
    pub(super) memory_bound: bool,
    /// Memory delayed it, and its inputs come over several receive channels: then even a later
    /// clock may move it forward, because a copy that comes later leaves room before it.
    pub(super) volatile: bool,
}

/// A transfer of the dry run.
#[derive(Clone, Copy)]
pub(super) struct Send {
    pub(super) tensor: TensorId,
    pub(super) copy: Copy,
    pub(super) waits: bool,
}

/// Scratch space of dry runs, and the transfers of the last one.
#[derive(Default)]
pub(super) struct DryRun {
    pub(super) sends: Vec<Send>,
    pub(super) op_waits: bool,
    /// Clocks of the channels that this dry run used.
    clocks: Vec<(ChannelId, u64)>,
    /// Bytes that this dry run added, from an instant on, by instant.
    added: Vec<(u64, i64)>,
    total: i64,
    /// Intervals that the transfers of the last dry run in gaps take on their channels.
    pub(super) sent: Vec<(ChannelId, u64, u64)>,
}

impl DryRun {
    /// The start of `op` on `device`, whose missing inputs come in the order of `inputs`.
    pub(super) fn start(
        &mut self,
        ledger: &mut Ledger,
        op: OpId,
        device: DeviceId,
        inputs: &[TensorId],
    ) -> Result<Start, Misfit> {
        let released = released_by(ledger, op);
        if let Some((since, bytes)) = released {
            ledger.add(device, since, -bytes);
        }
        let result = self.inner(ledger, op, device, inputs);
        if let Some((since, bytes)) = released {
            ledger.add(device, since, bytes);
        }
        result
    }

    fn inner(
        &mut self,
        ledger: &Ledger,
        op: OpId,
        device: DeviceId,
        inputs: &[TensorId],
    ) -> Result<Start, Misfit> {
        self.sends.clear();
        self.clocks.clear();
        self.added.clear();
        self.total = 0;
        let usage = ledger.usage[device.index()].as_ref();
        let limit = ledger.limit[device.index()];
        if let Some(usage) = usage {
            let new_bytes = new_held(ledger, op, device);
            if new_bytes > 0 && usage.top() + new_bytes > limit {
                return Err(Misfit::Memory);
            }
            if !ledger.leaves_room(op, device) {
                return Err(Misfit::Memory);
            }
            self.push(0, new_bytes);
        }
        let mut ready = ledger.clock[device.index()];
        let mut receive = None;
        let mut several = false;
        for &tensor in inputs {
            let Some(producer) = ledger.problem.producer(tensor) else { continue };
            let Some(from) = ledger.device[producer.index()] else { continue };
            if from == device {
                ready = ready.max(ledger.end[producer.index()]);
            } else if let Some(copy) = ledger.copy_on(tensor, device) {
                ready = ready.max(copy.end);
            } else {
                let route = ledger.problem.cluster.route(from, device).ok_or(Misfit::NoWay)?;
                several |= receive.is_some_and(|receive| receive != route.receive);
                receive = Some(route.receive);
                let produced = ledger.end[producer.index()];
                let free = produced.max(self.clock(ledger, route.send));
                let free = free.max(self.clock(ledger, route.receive));
                let duration = ledger.problem.transfer_ns(tensor, from, device);
                let end = self.bring(ledger, tensor, device, free, duration)?;
                self.set_clock(route.send, end);
                self.set_clock(route.receive, end);
                ready = ready.max(end);
            }
        }
        let need = ledger.running_bytes(op, device) + reserve_of_first(ledger, op);
        let at = match usage {
            Some(usage) if need > 0 => {
                self.first_fit(usage, limit, ready, need).ok_or(Misfit::Memory)?
            }
            _ => ready,
        };
        self.op_waits = at > ready;
        let memory_bound = self.op_waits || self.sends.iter().any(|send| send.waits);
        Ok(Start { at, memory_bound, volatile: memory_bound && several })
    }

    /// Adds the transfer of a missing input, not before its channels are free; gives its end.
    fn bring(
        &mut self,
        ledger: &Ledger,
        tensor: TensorId,
        device: DeviceId,
        free: u64,
        duration: u64,
    ) -> Result<u64, Misfit> {
        let bytes = size(ledger.problem, tensor);
        let limit = ledger.limit[device.index()];
        let start = match &ledger.usage[device.index()] {
            Some(usage) if bytes > 0 => {
                self.first_fit(usage, limit, free, bytes).ok_or(Misfit::Memory)?
            }
            _ => free,
        };
        let end = start + duration;
        self.push(start, bytes);
        self.sends.push(Send { tensor, copy: Copy { device, start, end }, waits: start > free });
        Ok(end)
    }

    fn clock(&self, ledger: &Ledger, channel: ChannelId) -> u64 {
        let entry = self.clocks.iter().find(|(used, _)| *used == channel);
        entry.map_or(ledger.channel_clock[channel.index()], |(_, clock)| *clock)
    }

    fn set_clock(&mut self, channel: ChannelId, time: u64) {
        match self.clocks.iter_mut().find(|(used, _)| *used == channel) {
            Some((_, clock)) => *clock = time,
            None => self.clocks.push((channel, time)),
        }
    }

    fn push(&mut self, time: u64, bytes: i64) {
        self.total += bytes;
        let at = self.added.partition_point(|(earlier, _)| *earlier <= time);
        self.added.insert(at, (time, bytes));
    }

    /// The first instant from `ready` on from which `bytes` more fit for ever.
    fn first_fit(&self, usage: &Usage, limit: i64, ready: u64, bytes: i64) -> Option<u64> {
        if usage.top() + self.total + bytes <= limit {
            return Some(ready);
        }
        if usage.last() + self.total + bytes > limit {
            return None;
        }
        // Between two instants of `added`, the room is constant: from the last stretch back.
        let mut until = u64::MAX;
        let mut added = self.total;
        for &(since, amount) in self.added.iter().rev() {
            let from = ready.max(since);
            if until > from
                && let Some(end) = usage.last_above(limit - bytes - added, until)
                && end.is_none_or(|end| end > from)
            {
                return match end {
                    Some(end) if end < until => Some(end),
                    _ if until < u64::MAX => Some(until),
                    _ => None,
                };
            }
            if ready >= since {
                return Some(ready);
            }
            until = until.min(since);
            added -= amount;
        }
        Some(ready)
    }
}

/// Bytes that come to the device for the whole time: parameters, and graph inputs.
fn new_held(ledger: &Ledger, op: OpId, device: DeviceId) -> i64 {
    let problem = ledger.problem;
    let parameters = ledger.parameters(op).iter().filter(|t| !ledger.holds(**t, device));
    let inputs = problem.graph_inputs(op).iter().filter(|t| !ledger.holds(**t, device));
    parameters.map(|t| signed(problem.persistent_bytes(*t))).sum::<i64>()
        + inputs.map(|t| size(problem, *t)).sum::<i64>()
}

/// What the reservation of the op's group shrinks by when it is committed, and since when.
pub(super) fn released_by(ledger: &Ledger, op: OpId) -> Option<(u64, i64)> {
    let group = ledger.problem.group_of(op)?;
    let reservation = ledger.reservation[group.index()]?;
    let left = ledger.reserve_without(&ledger.problem.groups[group.index()], op);
    Some((reservation.since, reservation.bytes - left))
}

/// What the op's group would hold back from its start on, were it the first member.
pub(super) fn reserve_of_first(ledger: &Ledger, op: OpId) -> i64 {
    match ledger.problem.group_of(op) {
        Some(group)
            if ledger.variant == super::Variant::Reserve
                && ledger.group_device[group.index()].is_none() =>
        {
            ledger.reserve_without(&ledger.problem.groups[group.index()], op)
        }
        _ => 0,
    }
}

impl Ledger<'_> {
    /// Bytes that an op needs on a device, and bytes that are free there; `None` where memory is
    /// unlimited.
    pub(super) fn room(&self, op: OpId, device: DeviceId) -> Option<(i64, i64)> {
        let usage = self.usage[device.index()].as_ref()?;
        let limit = self.limit[device.index()];
        let new_bytes = new_held(self, op, device);
        if usage.top() + new_bytes > limit {
            return Some((new_bytes, limit - usage.top()));
        }
        let missing = self.problem.inputs(op).iter().filter(|tensor| {
            let producer = self.problem.producer(**tensor);
            producer.and_then(|op| self.device[op.index()]) != Some(device)
                && self.copy_on(**tensor, device).is_none()
        });
        let copies: i64 = missing.map(|tensor| size(self.problem, *tensor)).sum();
        let running = self.running_bytes(op, device) + reserve_of_first(self, op);
        Some((new_bytes + copies + running, limit - usage.last()))
    }
}
