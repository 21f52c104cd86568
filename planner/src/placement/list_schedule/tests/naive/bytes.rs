//! Bytes and starts (M6, E2), from lists of intervals.

use std::collections::BTreeMap;

use ir::id::{DeviceId, OpId, TensorId};
use ir::schedule::Transfer;

use super::super::Variant;
use super::{Dry, Naive, Sent};

const NEVER: u64 = u64::MAX;

/// Bytes on a device over [start, end).
#[derive(Clone, Copy, Debug)]
struct Stay {
    device: DeviceId,
    start: u64,
    end: u64,
    bytes: u64,
}

impl Naive<'_> {
    pub(super) fn consumers_left(&self, tensor: TensorId) -> bool {
        self.problem.consumers(tensor).iter().any(|op| !self.done.contains_key(op))
    }

    pub(super) fn last_local_use(&self, tensor: TensorId, device: DeviceId) -> Option<u64> {
        let consumers = self.problem.consumers(tensor).iter().filter_map(|op| self.done.get(op));
        consumers.filter(|done| done.device == device).map(|done| done.end).max()
    }

    fn runs(&self, op: OpId, start: u64, device: DeviceId, stays: &mut Vec<Stay>) {
        let end = start + self.problem.time_ns(op, device);
        stays.push(Stay { device, start, end, bytes: self.problem.temporary(op) });
        for &tensor in self.problem.outputs(op) {
            let sent = self.sent.iter().filter(|s| s.transfer.tensor == tensor).map(|s| s.end);
            let end = if self.problem.is_output(tensor) || self.consumers_left(tensor) {
                NEVER
            } else {
                sent.chain(self.last_local_use(tensor, device)).max().unwrap_or(end)
            };
            stays.push(Stay { device, start, end, bytes: self.problem.bytes(tensor) });
        }
    }

    /// Everything that is committed, M1 to M6.
    fn stays(&self, without_reserve_of: Option<OpId>) -> Vec<Stay> {
        let mut stays = Vec::new();
        for (op, done) in &self.done {
            self.runs(*op, done.start, done.device, &mut stays);
        }
        for sent in &self.sent {
            let Transfer { tensor, to } = sent.transfer;
            let end = if self.consumers_left(tensor) {
                NEVER
            } else {
                self.last_local_use(tensor, to).unwrap()
            };
            stays.push(Stay {
                device: to,
                start: sent.start,
                end,
                bytes: self.problem.bytes(tensor),
            });
        }
        for device in self.problem.cluster.device_ids() {
            for tensor in self.held(device) {
                let is_parameter =
                    self.problem.graph.tensor(tensor).role == ir::tensor::Role::Parameter;
                let (bytes, end) = if is_parameter {
                    (self.problem.persistent_bytes(tensor), NEVER)
                } else if self.consumers_left(tensor) {
                    (self.problem.bytes(tensor), NEVER)
                } else {
                    (self.problem.bytes(tensor), self.last_local_use(tensor, device).unwrap())
                };
                stays.push(Stay { device, start: 0, end, bytes });
            }
        }
        if self.policy.variant == Variant::Reserve {
            for (group, (device, since)) in &self.group_since {
                let bytes = self.reserve(*group, without_reserve_of);
                stays.push(Stay { device: *device, start: *since, end: NEVER, bytes });
            }
        }
        stays
    }

    fn reserve(&self, group: usize, without: Option<OpId>) -> u64 {
        let left = || {
            let members = self.problem.groups[group].iter();
            members.filter(|op| !self.done.contains_key(op) && Some(**op) != without)
        };
        let outputs = left().flat_map(|op| self.problem.outputs(*op));
        left().map(|op| self.problem.temporary(*op)).max().unwrap_or(0)
            + outputs.map(|t| self.problem.bytes(*t)).sum::<u64>()
    }

    /// Parameters (of whole groups) and graph inputs on a device.
    fn held(&self, device: DeviceId) -> Vec<TensorId> {
        let mut tensors: Vec<TensorId> = Vec::new();
        for (op, done) in &self.done {
            if done.device == device {
                tensors.extend(self.persistent(*op));
                tensors.extend(self.problem.graph_inputs(*op));
            }
        }
        tensors.sort_unstable();
        tensors.dedup();
        tensors
    }

    fn persistent(&self, op: OpId) -> Vec<TensorId> {
        match self.problem.group_of(op) {
            Some(group) => {
                let members = self.problem.groups[group.index()].iter();
                members.flat_map(|op| self.problem.parameters(*op)).copied().collect()
            }
            None => self.problem.parameters(op).to_vec(),
        }
    }

    /// use(d, s).
    fn usage(stays: &[Stay], device: DeviceId, since: u64) -> u64 {
        let here: Vec<&Stay> = stays.iter().filter(|stay| stay.device == device).collect();
        let instants = here.iter().map(|stay| stay.start).filter(|s| *s > since).chain([since]);
        instants
            .map(|s| here.iter().filter(|x| x.start <= s && s < x.end).map(|x| x.bytes).sum())
            .max()
            .unwrap()
    }

    /// The first instant s >= `from` with use(d, s) + bytes <= limit.
    fn first(&self, stays: &[Stay], device: DeviceId, from: u64, bytes: u64) -> Option<u64> {
        let ends = stays.iter().filter(|stay| stay.device == device).map(|stay| stay.end);
        let starts = stays.iter().filter(|stay| stay.device == device).map(|stay| stay.start);
        let mut instants: Vec<u64> =
            ends.chain(starts).filter(|s| *s > from && *s < NEVER).chain([from]).collect();
        instants.sort_unstable();
        let limit = self.problem.memory_limit(device);
        instants.into_iter().find(|s| Self::usage(stays, device, *s) + bytes <= limit)
    }

    /// Bytes that come to a device for the whole time.
    fn new_held(&self, op: OpId, device: DeviceId, is_first: bool) -> u64 {
        let problem = self.problem;
        let present = self.held(device);
        let persistent =
            if is_first { self.persistent(op) } else { problem.parameters(op).to_vec() };
        let mut new: Vec<(TensorId, u64)> =
            persistent.iter().map(|t| (*t, problem.persistent_bytes(*t))).collect();
        new.extend(problem.graph_inputs(op).iter().map(|t| (*t, problem.bytes(*t))));
        new.sort_unstable();
        new.dedup();
        new.retain(|(tensor, _)| !present.contains(tensor));
        new.iter().map(|(_, bytes)| bytes).sum()
    }

    /// The dry run of E2 and M6; its start is est(o, d).
    pub(super) fn est(&self, op: OpId, device: DeviceId) -> Option<Dry> {
        let problem = self.problem;
        let mut stays = self.stays(Some(op));
        let is_first =
            problem.group_of(op).is_none_or(|group| !self.group_since.contains_key(&group.index()));
        let new = self.new_held(op, device, is_first);
        if new > 0 && Self::usage(&stays, device, 0) + new > problem.memory_limit(device) {
            return None;
        }
        stays.push(Stay { device, start: 0, end: NEVER, bytes: new });

        let mut clocks = BTreeMap::new();
        for sent in &self.sent {
            for channel in self.channels(sent.transfer) {
                let clock: &mut u64 = clocks.entry(channel).or_default();
                *clock = sent.end.max(*clock);
            }
        }
        let mut inputs: Vec<(u64, OpId, TensorId)> = problem
            .inputs(op)
            .iter()
            .map(|t| (problem.producer(*t).unwrap(), *t))
            .map(|(producer, t)| (self.done[&producer].end, producer, t))
            .collect();
        inputs.sort_unstable();
        let mut there = self.clock(device);
        let mut sent = Vec::new();
        for (end, producer, tensor) in inputs {
            let from = self.done[&producer].device;
            let transfer = Transfer { tensor, to: device };
            if from == device {
                there = there.max(end);
            } else if let Some(copy) = self.sent.iter().find(|s| s.transfer == transfer) {
                there = there.max(copy.end);
            } else {
                problem.cluster.route(from, device)?;
                let clock = |channel| clocks.get(&channel).copied().unwrap_or(0);
                let free = self.channels(transfer).into_iter().map(clock).max().unwrap().max(end);
                let bytes = problem.bytes(tensor);
                let start = self.first(&stays, device, free, bytes)?;
                let end = start + problem.transfer_ns(tensor, from, device);
                for channel in self.channels(transfer) {
                    clocks.insert(channel, end);
                }
                stays.push(Stay { device, start, end: NEVER, bytes });
                sent.push(Sent { transfer, start, end, waits: start > free });
                there = there.max(end);
            }
        }
        let zero = problem.time_ns(op, device) == 0;
        let outputs = problem
            .outputs(op)
            .iter()
            .filter(|t| !zero || problem.is_output(**t) || !problem.consumers(**t).is_empty());
        let mut bytes: u64 = outputs.map(|t| problem.bytes(*t)).sum();
        if !zero {
            bytes += problem.temporary(op);
        }
        if let (Some(group), Variant::Reserve, true) =
            (problem.group_of(op), self.policy.variant, is_first)
        {
            bytes += self.reserve(group.index(), Some(op));
        }
        let start = self.first(&stays, device, there, bytes)?;
        Some(Dry { start, waits: start > there, sent })
    }
}
