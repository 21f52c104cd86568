//! In which sequence devices take pieces of a line.

use cost_model::ops::problem::{Problem, UNSUPPORTED};
use ir::id::DeviceId;
use ir::units::Bytes;

/// Bytes of the transfer by which ways are compared: large enough for bandwidth to count, small
/// enough for latency to count.
const PROBE: Bytes = Bytes(1 << 20);

/// The sequences that are tried, each once: by id; along short ways; where devices differ, the
/// fastest first, the slowest first and the largest first.
pub(crate) fn sequences(problem: &Problem) -> Vec<Vec<DeviceId>> {
    let ids: Vec<DeviceId> = problem.cluster.device_ids().collect();
    let mut sequences = vec![ids.clone()];
    let mut add = |sequence: Vec<DeviceId>| {
        if !sequences.contains(&sequence) {
            sequences.push(sequence);
        }
    };
    if problem.cluster.classes.len() > 1 {
        let total = totals(problem);
        let kind = |device: &DeviceId| problem.cluster.devices[device.index()].kind.index();
        let sorted = |key: &dyn Fn(&DeviceId) -> u128| {
            let mut sequence = ids.clone();
            sequence.sort_by_key(|device| (key(device), *device));
            sequence
        };
        add(along_short_ways(problem));
        add(sorted(&|device| total[kind(device)]));
        add(sorted(&|device| u128::MAX - total[kind(device)]));
        add(sorted(&|device| u128::from(u64::MAX - problem.memory_limit(*device))));
    }
    sequences
}

/// By kind: nanoseconds of all ops that it can run, those that it can't at their slowest elsewhere.
fn totals(problem: &Problem) -> Vec<u128> {
    let n_kinds = problem.cluster.kinds.len();
    let mut totals = vec![0u128; n_kinds];
    for &op in &problem.actions {
        let time = |kind| problem.time_on_kind_ns(op, kind);
        let known = (0..n_kinds).map(time).filter(|time| *time != UNSUPPORTED);
        let slowest = known.max().unwrap_or(0);
        for (kind, total) in totals.iter_mut().enumerate() {
            *total += u128::from(time(kind).min(slowest));
        }
    }
    totals
}

/// From the first device always on to the nearest that is left.
fn along_short_ways(problem: &Problem) -> Vec<DeviceId> {
    let mut left: Vec<DeviceId> = problem.cluster.device_ids().collect();
    let mut sequence = Vec::with_capacity(left.len());
    let mut at = 0;
    while at < left.len() {
        let from = left.remove(at);
        sequence.push(from);
        let way = |to: &DeviceId| {
            problem.cluster.transfer_time(PROBE, from, *to).map_or(u64::MAX, |time| time.get())
        };
        at = (0..left.len()).min_by_key(|at| (way(&left[*at]), left[*at])).unwrap_or(0);
    }
    sequence
}
