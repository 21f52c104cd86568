//! Sums a timeline up: where each device's time and memory go, and what each channel carries.

use ir::id::{ChannelId, DeviceId};
use ir::plan::Plan;
use ir::schedule::Action;
use ir::units::Nanos;

use crate::kernels::origin::{Origin, Shares};
use crate::ops::judge::memory::{self, Holding, Peak};
use crate::ops::judge::replay::{Span, Timeline};
use crate::ops::problem::Problem;

/// So many holdings say what peaks.
const N_LARGEST: usize = 5;

/// Where the time and the memory of one device go. Computing, exposed communication and idle time
/// add up to the step time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceReport {
    /// Which device.
    pub device: DeviceId,
    /// Nanoseconds in which it runs an op.
    pub compute_ns: u64,
    /// Exposed communication: nanoseconds in which it runs no op while it sends or receives.
    pub communication_ns: u64,
    /// Nanoseconds in which it does neither.
    pub idle_ns: u64,
    /// The most that lies in its memory, and when.
    pub peak: Peak,
    /// Bytes that it can hold; `None` = unlimited.
    pub limit: Option<u64>,
    /// Bytes of its parameters with all that they drag along (M1).
    pub parameter_bytes: u64,
    /// The largest holdings at the peak, largest first.
    pub what_peaks: Vec<Holding>,
    /// Computing and exposed communication by the origin of the durations; where exposed transfers
    /// have several, their time is shared out as their lengths are.
    pub origins: Shares,
}

/// What one channel carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkReport {
    /// Which channel.
    pub channel: ChannelId,
    /// Nanoseconds in which it is occupied.
    pub busy_ns: u64,
    /// Bytes over it.
    pub bytes: u64,
    /// Transfers over it.
    pub n_transfers: u64,
}

/// A timeline in figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// End of the last op or transfer.
    pub step_time: Nanos,
    /// By device id, idle ones included.
    pub devices: Vec<DeviceReport>,
    /// Channels in use, by id.
    pub links: Vec<LinkReport>,
    /// Whether any time of a device rests on nominal constants.
    pub nominal: bool,
}

/// Sums up the timeline of a plan; see [`crate::ops::judge::replay::replay`].
#[must_use]
pub fn report(problem: &Problem, plan: &Plan, timeline: &Timeline) -> Report {
    let peaks = memory::peaks(problem, plan, timeline);
    let instants: Vec<u64> = peaks.iter().map(|peak| peak.at).collect();
    let what = memory::largest(problem, plan, timeline, &instants, N_LARGEST);
    let mut touching: Vec<Vec<Span>> = vec![Vec::new(); peaks.len()];
    let mut sending = vec![Shares::default(); peaks.len()];
    for sent in &timeline.transfers {
        let origin = problem.transfer_origin(sent.from, sent.transfer.to);
        for device in [sent.from, sent.transfer.to] {
            if let Some(list) = touching.get_mut(device.index()) {
                list.push(sent.span);
                sending[device.index()].add(origin, sent.span.end - sent.span.start);
            }
        }
    }
    let parameters = parameter_bytes(problem, plan);
    let step = timeline.step_time.get();
    let devices: Vec<DeviceReport> = peaks
        .into_iter()
        .zip(what)
        .zip(touching.iter().zip(parameters))
        .enumerate()
        .map(|(index, ((peak, what_peaks), (transfers, parameter_bytes)))| {
            let device = DeviceId::new(index);
            let compute = computing(plan, timeline, device);
            let compute_ns = length(&compute);
            let communication_ns = exposed(transfers, &compute);
            DeviceReport {
                device,
                compute_ns,
                communication_ns,
                idle_ns: step.saturating_sub(compute_ns).saturating_sub(communication_ns),
                peak,
                limit: problem.cluster.devices[index].memory_limit().map(|limit| limit.get()),
                parameter_bytes,
                what_peaks,
                origins: origins(problem, plan, timeline, device)
                    .plus(sending[index].scaled(communication_ns)),
            }
        })
        .collect();
    Report {
        step_time: timeline.step_time,
        nominal: devices.iter().any(|device| device.origins.of(Origin::Nominal) > 0),
        devices,
        links: links(problem, timeline),
    }
}

/// Time of a device's ops by the origin of their durations.
fn origins(problem: &Problem, plan: &Plan, timeline: &Timeline, device: DeviceId) -> Shares {
    let row = plan.schedule.actions.get(device.index()).map_or(&[][..], Vec::as_slice);
    let mut shares = Shares::default();
    for Action::Op(op) in row {
        if let Some(span) = timeline.ops.get(op.index()).copied().flatten() {
            shares.add(problem.op_origin(*op, device), span.end - span.start);
        }
    }
    shares
}

/// When a device runs ops, in its order.
fn computing(plan: &Plan, timeline: &Timeline, device: DeviceId) -> Vec<Span> {
    let row = plan.schedule.actions.get(device.index()).map_or(&[][..], Vec::as_slice);
    row.iter()
        .filter_map(|Action::Op(op)| timeline.ops.get(op.index()).copied().flatten())
        .collect()
}

fn length(disjoint: &[Span]) -> u64 {
    disjoint.iter().map(|span| span.end - span.start).fold(0, u64::saturating_add)
}

/// Nanoseconds covered by `transfers` (ordered by start, may overlap) but not by `compute`
/// (ordered and disjoint).
fn exposed(transfers: &[Span], compute: &[Span]) -> u64 {
    let mut total = 0u64;
    let mut covered_to = 0u64;
    let mut next = 0;
    for transfer in transfers {
        let mut from = transfer.start.max(covered_to);
        while from < transfer.end {
            while compute.get(next).is_some_and(|op| op.end <= from) {
                next += 1;
            }
            let (op_start, op_end) =
                compute.get(next).map_or((u64::MAX, u64::MAX), |op| (op.start, op.end));
            total += op_start.clamp(from, transfer.end) - from;
            from = op_end.max(op_start).min(transfer.end).max(from);
        }
        covered_to = covered_to.max(transfer.end);
    }
    total
}

fn parameter_bytes(problem: &Problem, plan: &Plan) -> Vec<u64> {
    let n_devices = problem.cluster.n_devices();
    let mut total = vec![0u64; n_devices];
    let mut seen: Vec<Vec<bool>> = vec![Vec::new(); n_devices];
    for &op in &problem.actions {
        let Some(device) = plan.placement.of(op) else { continue };
        let Some(seen) = seen.get_mut(device.index()) else { continue };
        if !problem.parameters(op).is_empty() {
            seen.resize(problem.n_tensors(), false);
        }
        for &tensor in problem.parameters(op) {
            if !std::mem::replace(&mut seen[tensor.index()], true) {
                let sum = &mut total[device.index()];
                *sum = sum.saturating_add(problem.persistent_bytes(tensor));
            }
        }
    }
    total
}

fn links(problem: &Problem, timeline: &Timeline) -> Vec<LinkReport> {
    let mut reports: Vec<LinkReport> = (0..problem.cluster.links.channels.len())
        .map(|index| LinkReport {
            channel: ChannelId::new(index),
            busy_ns: 0,
            bytes: 0,
            n_transfers: 0,
        })
        .collect();
    for sent in &timeline.transfers {
        let Some(route) = problem.cluster.route(sent.from, sent.transfer.to) else { continue };
        let both = [Some(route.send), (route.receive != route.send).then_some(route.receive)];
        for channel in both.into_iter().flatten() {
            if let Some(link) = reports.get_mut(channel.index()) {
                link.busy_ns = link.busy_ns.saturating_add(sent.span.end - sent.span.start);
                link.bytes = link.bytes.saturating_add(problem.bytes(sent.transfer.tensor));
                link.n_transfers += 1;
            }
        }
    }
    reports.retain(|link| link.n_transfers > 0);
    reports
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: u64, end: u64) -> Span {
        Span { start, end }
    }

    #[test]
    fn only_what_no_op_hides_is_exposed() {
        let compute = [span(2, 4), span(6, 6), span(7, 9)];
        assert_eq!(exposed(&[span(0, 10)], &compute), 6);
        assert_eq!(exposed(&[span(0, 3), span(1, 8), span(8, 8)], &compute), 5);
        assert_eq!(exposed(&[span(2, 4), span(7, 9)], &compute), 0);
        assert_eq!(exposed(&[], &compute), 0);
        assert_eq!(exposed(&[span(0, 5), span(3, 5)], &[]), 5);
    }
}
