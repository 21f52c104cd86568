//! The dry run of insertion-based scheduling: an op or a transfer may go into a gap that earlier
//! commits left. Bytes follow M6 as ever: what starts at an instant must fit at all instants from
//! there on, whatever was committed before.

use ir::id::{ChannelId, DeviceId, OpId, TensorId};

use super::{Copy, DryRun, Misfit, Send, new_held, size};
use crate::placement::list_schedule::ledger::Ledger;
use crate::placement::list_schedule::slots::Gaps;

impl DryRun {
    /// The start of `op` in the first gap of `device` that suits it; see [`DryRun::start`].
    pub(in crate::placement::list_schedule) fn start_in_gaps(
        &mut self,
        ledger: &Ledger,
        gaps: &Gaps,
        op: OpId,
        device: DeviceId,
        inputs: &[TensorId],
    ) -> Result<u64, Misfit> {
        self.sends.clear();
        self.added.clear();
        self.total = 0;
        self.sent.clear();
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
        let mut ready = 0;
        for &tensor in inputs {
            let Some(producer) = ledger.problem.producer(tensor) else { continue };
            let Some(from) = ledger.device[producer.index()] else { continue };
            let produced = ledger.end[producer.index()];
            if from == device {
                ready = ready.max(produced);
            } else if let Some(copy) = ledger.copy_on(tensor, device) {
                ready = ready.max(copy.end);
            } else {
                let end = self.bring_in_gap(ledger, gaps, tensor, (from, device), produced)?;
                ready = ready.max(end);
            }
        }
        let need = ledger.running_bytes(op, device);
        let fits = match usage {
            Some(usage) if need > 0 => {
                self.first_fit(usage, limit, ready, need).ok_or(Misfit::Memory)?
            }
            _ => ready,
        };
        let at = gaps.devices[device.index()].first_gap(fits, ledger.problem.time_ns(op, device));
        self.op_waits = at == fits && fits > ready;
        Ok(at)
    }

    /// Adds the transfer of a missing input in the first gap of its channels; gives its end.
    fn bring_in_gap(
        &mut self,
        ledger: &Ledger,
        gaps: &Gaps,
        tensor: TensorId,
        (from, device): (DeviceId, DeviceId),
        produced: u64,
    ) -> Result<u64, Misfit> {
        let route = ledger.problem.cluster.route(from, device).ok_or(Misfit::NoWay)?;
        let channels = (route.send, route.receive);
        let duration = ledger.problem.transfer_ns(tensor, from, device);
        let bytes = size(ledger.problem, tensor);
        let limit = ledger.limit[device.index()];
        let fits = match &ledger.usage[device.index()] {
            Some(usage) if bytes > 0 => {
                self.first_fit(usage, limit, produced, bytes).ok_or(Misfit::Memory)?
            }
            _ => produced,
        };
        let start = gaps.first_on_both(channels, &self.sent, fits, duration);
        let end = start + duration;
        self.push(start, bytes);
        let waits = start == fits && fits > produced;
        self.sends.push(Send { tensor, copy: Copy { device, start, end }, waits });
        self.sent.push((channels.0, start, end));
        self.sent.push((channels.1, start, end));
        Ok(end)
    }
}

/// An op that is about to be committed, for a look at its children.
#[derive(Clone, Copy, Debug)]
pub(in crate::placement::list_schedule) struct Ahead<'a> {
    pub(in crate::placement::list_schedule) op: OpId,
    pub(in crate::placement::list_schedule) device: DeviceId,
    pub(in crate::placement::list_schedule) start: u64,
    pub(in crate::placement::list_schedule) end: u64,
    /// What its inputs would occupy.
    pub(in crate::placement::list_schedule) sent: &'a [(ChannelId, u64, u64)],
}

/// The end of a child on a device if `ahead` were committed: producers that are not committed,
/// memory, and clashes among the child's own inputs are left out. `None` without a way.
pub(in crate::placement::list_schedule) fn end_of_child(
    ledger: &Ledger,
    gaps: &Gaps,
    ahead: Ahead,
    child: OpId,
    device: DeviceId,
) -> Option<u64> {
    let problem = ledger.problem;
    let mut ready = 0;
    for &tensor in problem.inputs(child) {
        let Some(producer) = problem.producer(tensor) else { continue };
        let (from, produced) = if producer == ahead.op {
            (ahead.device, ahead.end)
        } else {
            let Some(from) = ledger.device[producer.index()] else { continue };
            (from, ledger.end[producer.index()])
        };
        let arrival = if from == device {
            produced
        } else if let Some(copy) = ledger.copy_on(tensor, device) {
            copy.end
        } else {
            let route = problem.cluster.route(from, device)?;
            let duration = problem.transfer_ns(tensor, from, device);
            let channels = (route.send, route.receive);
            gaps.first_on_both(channels, ahead.sent, produced, duration) + duration
        };
        ready = ready.max(arrival);
    }
    let duration = problem.time_ns(child, device);
    let slots = &gaps.devices[device.index()];
    let mut at = slots.first_gap(ready, duration);
    // The op itself occupies its device, too.
    if device == ahead.device && at < ahead.end && ahead.start < at.saturating_add(duration) {
        at = slots.first_gap(ahead.end.max(ready), duration);
    }
    Some(at.saturating_add(duration))
}
