//! What no plan's max-load is below.
//!
//! **Work** and **pigeonhole** hold as they stand: a device that runs ops for a time has at least
//! that load. **Dearest**: some device runs the unit whose least time is greatest.
//!
//! **Split.** Let `W` be the sum over units of their least times, and `q` the number of parts of
//! the graph between which no tensor passes. A plan that uses `m` devices makes a network of
//! devices out of each part's: each transfer joins its two ends, so there are at least `m - q`
//! transfers (an end that shares two parts only saves some of these), each charged at least the
//! least transfer time `c` to its receiver, and once more to some sender. Hence the loads sum to
//! `W + (m - q + 1) c` where `m > q`, and the greatest is at least the `m`-th part of that. Every
//! parameter lies on some device, so `m` is at least the number of the largest limits that hold
//! them all. The least over all such `m` is the bound.

use ir::id::TensorId;
use ir::units::{Bytes, Nanos};

use super::Bound;
use super::device_types::DeviceTypes;
use super::work::Work;
use crate::ops::problem::Problem;

/// The greatest of the bounds above; the first named where several are equal.
#[must_use]
pub fn max_load_bound(problem: &Problem) -> Bound {
    let types = DeviceTypes::new(problem);
    let work = Work::new(problem, &types);
    let offers = [
        ("work", work.fractional()),
        ("pigeonhole", work.pigeonhole()),
        ("dearest", work.dearest()),
        ("split", split(problem, &work)),
    ];
    let mut best = Bound { value: Nanos::ZERO, method: "none" };
    for (method, value) in offers {
        if value > best.value.get() {
            best = Bound { value: Nanos(value), method };
        }
    }
    best
}

fn split(problem: &Problem, work: &Work) -> u64 {
    let n_devices = problem.cluster.n_devices() as u64;
    let n_parts = n_parts(problem);
    let least = least_transfer(problem);
    let total = work.least_sum();
    let load = |m: u64| {
        let n_transfers = if m > n_parts { m - n_parts + 1 } else { 0 };
        (total + u128::from(n_transfers) * u128::from(least)).div_ceil(u128::from(m))
    };
    let first = least_devices(problem);
    let best = (first..=n_devices).map(load).min();
    best.map_or(0, |load| u64::try_from(load).unwrap_or(u64::MAX))
}

/// Parts of the graph between which no produced tensor passes.
fn n_parts(problem: &Problem) -> u64 {
    let mut sets = petgraph::unionfind::UnionFind::<usize>::new(problem.n_ops());
    let mut n = problem.actions.len() as u64;
    for &op in &problem.actions {
        let makers = problem.inputs(op).iter().filter_map(|tensor| problem.producer(*tensor));
        n -= makers.filter(|maker| sets.union(maker.index(), op.index())).count() as u64;
    }
    n
}

/// Nanoseconds that a tensor between two ops takes at least over a link.
fn least_transfer(problem: &Problem) -> u64 {
    let passed = (0..problem.n_tensors()).map(TensorId::new).filter(|tensor| {
        problem.producer(*tensor).is_some() && !problem.consumers(*tensor).is_empty()
    });
    let bytes = passed.map(|tensor| problem.bytes(tensor)).min();
    let time = |bytes| {
        problem.cluster.links.kinds.iter().map(move |kind| kind.time(Bytes(bytes)).get()).min()
    };
    bytes.and_then(time).unwrap_or(0)
}

/// Fewest devices whose limits hold all parameters once; one more than there are where none do.
fn least_devices(problem: &Problem) -> u64 {
    let mut is_read = vec![false; problem.n_tensors()];
    for op in &problem.actions {
        problem.parameters(*op).iter().for_each(|tensor| is_read[tensor.index()] = true);
    }
    let read = (0..problem.n_tensors()).map(TensorId::new).filter(|t| is_read[t.index()]);
    let mut left: u128 = read.map(|tensor| u128::from(problem.persistent_bytes(tensor))).sum();
    let mut limits: Vec<u64> =
        problem.cluster.device_ids().map(|device| problem.memory_limit(device)).collect();
    limits.sort_unstable_by(|a, b| b.cmp(a));
    let mut n = 1;
    for limit in limits {
        left = left.saturating_sub(u128::from(limit));
        if left == 0 {
            return n;
        }
        n += 1;
    }
    n
}
