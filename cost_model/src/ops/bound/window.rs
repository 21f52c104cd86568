//! Work that must happen in a part of the step.
//!
//! Take the ops whose head is at least `h` and whose tail is at least `t`. In a plan that takes `T`
//! all of them run within `[h, T - t]`, so by the argument of weighted work (see `work.rs`)
//! `T >= h + t + sum over these ops of min over types (w x time) / sum over devices of w`.
//! It joins what the critical path and the work bound each see only alone (Fernandez and Bussell
//! 1973 bound schedules of equal processors by such intervals).

use ir::id::OpId;

use super::device_types::DeviceTypes;
use super::paths::Paths;
use super::work::{Work, least_weighted};
use crate::ops::problem::Problem;

/// At most so many values of `h`; all values of `t` are tried for each.
const MAX_STARTS: usize = 64;

/// The best window.
pub(super) fn bound(problem: &Problem, types: &DeviceTypes, work: &Work, paths: &Paths) -> u64 {
    let mut by_tail: Vec<OpId> = problem.actions.clone();
    by_tail.sort_unstable_by_key(|op| (std::cmp::Reverse(paths.least_tail[op.index()]), *op));
    let mut starts: Vec<u64> =
        problem.actions.iter().map(|op| paths.least_head[op.index()]).collect();
    starts.sort_unstable();
    starts.dedup();
    let stride = starts.len().div_ceil(MAX_STARTS).max(1);
    let mut best = 0;
    for weights in &work.weightings {
        let capacity = work.capacity(weights);
        if capacity == 0 {
            continue;
        }
        let amounts: Vec<u128> =
            by_tail.iter().map(|op| least_weighted(weights, types.times(*op))).collect();
        for &start in starts.iter().step_by(stride) {
            let mut inside = 0u128;
            for (op, amount) in by_tail.iter().zip(&amounts) {
                if *amount == 0 || paths.least_head[op.index()] < start {
                    continue;
                }
                inside += amount;
                let outside = u128::from(start) + u128::from(paths.least_tail[op.index()]);
                best = best.max(outside + inside.div_ceil(capacity));
            }
        }
    }
    u64::try_from(best).unwrap_or(u64::MAX)
}
