//! The verifier's account of memory: device by device, intervals in order of their starts.

use std::cmp::Reverse;

use ir::id::{OpId, TensorId};
use ir::plan::Plan;
use ir::schedule::Action;

use super::clock::Times;
use super::structure::Needed;
use crate::ops::judge::holding::{Holding, HoldingKind};
use crate::ops::judge::violation::{Findings, Violation};
use crate::ops::problem::Problem;

/// So many holdings explain an excess.
const N_EXPLAINED: usize = 5;

/// Bytes that lie on a device over `[start, end)`.
#[derive(Clone, Copy)]
struct Interval {
    start: u64,
    end: u64,
    bytes: u64,
    what: HoldingKind,
    id: u32,
}

/// Reports each device that holds more than it can.
pub(super) fn check(
    problem: &Problem,
    plan: &Plan,
    needed: &Needed,
    times: &Times,
    findings: &mut Findings,
) {
    let mut sent = vec![0u64; problem.n_tensors()];
    let mut received: Vec<Vec<(TensorId, u64)>> = vec![Vec::new(); problem.cluster.n_devices()];
    for (transfer, (start, end)) in needed.keys().zip(&times.transfers) {
        let last = &mut sent[transfer.tensor.index()];
        *last = (*last).max(*end);
        received[transfer.to.index()].push((transfer.tensor, *start));
    }
    let mut last_read: Vec<u64> = vec![0; problem.n_tensors()];
    for device in problem.cluster.device_ids() {
        let limit = problem.memory_limit(device);
        let row = plan.schedule.actions.get(device.index()).map_or(&[][..], Vec::as_slice);
        if limit == u64::MAX || row.is_empty() {
            continue;
        }
        let ops: Vec<OpId> = row.iter().map(|Action::Op(op)| *op).collect();
        let mut intervals = local(problem, &ops, times, &sent, &mut last_read);
        for &(tensor, start) in &received[device.index()] {
            let end = last_read[tensor.index()];
            let bytes = problem.bytes(tensor);
            intervals.push(Interval { start, end, bytes, what: HoldingKind::Copy, id: tensor.0 });
        }
        forget(problem, &ops, &mut last_read);
        intervals.retain(|i| i.start < i.end && i.bytes > 0);
        intervals.sort_by_key(|i| i.start);
        let (need, at) = highest(&intervals);
        if need > u128::from(limit) {
            findings.push(Violation::MemoryExceeded {
                device,
                at,
                need: u64::try_from(need).unwrap_or(u64::MAX),
                limit,
                op: running(&ops, times, at),
                alive: explain(problem, intervals, at),
            });
        }
    }
}

/// What the ops of one device hold there, received copies apart; leaves in `last_read` the end of
/// the last reader of each tensor that they read.
fn local(
    problem: &Problem,
    ops: &[OpId],
    times: &Times,
    sent: &[u64],
    last_read: &mut [u64],
) -> Vec<Interval> {
    let mut intervals = Vec::new();
    let mut parameters = Vec::new();
    let mut fed = Vec::new();
    for &op in ops {
        let (start, end) = times.ops[op.index()];
        for tensor in problem.inputs(op).iter().chain(problem.graph_inputs(op)) {
            let last = &mut last_read[tensor.index()];
            *last = (*last).max(end);
        }
        parameters.extend_from_slice(problem.parameters(op));
        fed.extend_from_slice(problem.graph_inputs(op));
        let bytes = problem.temporary(op);
        intervals.push(Interval { start, end, bytes, what: HoldingKind::Temporary, id: op.0 });
    }
    for list in [&mut parameters, &mut fed] {
        list.sort_unstable();
        list.dedup();
    }
    for tensor in parameters {
        let bytes = problem.persistent_bytes(tensor);
        let (what, id) = (HoldingKind::Parameter, tensor.0);
        intervals.push(Interval { start: 0, end: u64::MAX, bytes, what, id });
    }
    for tensor in fed {
        let (bytes, end) = (problem.bytes(tensor), last_read[tensor.index()]);
        let (what, id) = (HoldingKind::GraphInput, tensor.0);
        intervals.push(Interval { start: 0, end, bytes, what, id });
    }
    for &op in ops {
        let (start, own_end) = times.ops[op.index()];
        for &tensor in problem.outputs(op) {
            let index = tensor.index();
            let output_end = if problem.is_output(tensor) { u64::MAX } else { 0 };
            let end = own_end.max(last_read[index]).max(sent[index]).max(output_end);
            let bytes = problem.bytes(tensor);
            intervals.push(Interval { start, end, bytes, what: HoldingKind::Output, id: tensor.0 });
        }
    }
    intervals
}

fn forget(problem: &Problem, ops: &[OpId], last_read: &mut [u64]) {
    for &op in ops {
        for tensor in problem.inputs(op).iter().chain(problem.graph_inputs(op)) {
            last_read[tensor.index()] = 0;
        }
    }
}

/// Most bytes, and the earliest instant with that many. Only a start can raise the level.
fn highest(by_start: &[Interval]) -> (u128, u64) {
    let mut ends: Vec<(u64, u64)> = by_start.iter().map(|i| (i.end, i.bytes)).collect();
    ends.sort_unstable();
    let mut ends = ends.into_iter().peekable();
    let mut level = 0u128;
    let mut best = (0u128, 0u64);
    let mut next = 0;
    while let Some(first) = by_start.get(next) {
        let now = first.start;
        // Each was begun before it ends, as none is empty.
        while let Some((_, bytes)) = ends.next_if(|(end, _)| *end <= now) {
            level -= u128::from(bytes);
        }
        while let Some(interval) = by_start.get(next)
            && interval.start == now
        {
            level += u128::from(interval.bytes);
            next += 1;
        }
        if level > best.0 {
            best = (level, now);
        }
    }
    best
}

fn running(ops: &[OpId], times: &Times, at: u64) -> Option<OpId> {
    ops.iter().copied().find(|op| {
        let (start, end) = times.ops[op.index()];
        start <= at && at < end
    })
}

fn explain(problem: &Problem, mut intervals: Vec<Interval>, at: u64) -> Vec<Holding> {
    intervals.retain(|i| i.start <= at && at < i.end);
    intervals.sort_by_key(|i| (Reverse(i.bytes), i.what, i.id));
    intervals
        .into_iter()
        .take(N_EXPLAINED)
        .map(|i| Holding {
            what: i.what,
            name: if i.what == HoldingKind::Temporary {
                problem.graph.op(OpId(i.id)).name.clone()
            } else {
                problem.graph.tensor(TensorId(i.id)).name.clone()
            },
            bytes: i.bytes,
        })
        .collect()
}
