//! Either a connected part of the graph stays on one device, or one of its edges is cut.
//!
//! In any plan, for each weakly connected part of the graph: if all of its ops share a device, the
//! step takes at least the sum of their times there, and that device has room for their parameters.
//! Otherwise two neighbours are on different devices, and the step takes at least the head of the
//! first, its time, the transfers between them, the time of the second and its tail. The least over
//! all these cases bounds every plan; the greatest over the parts is the bound.

use super::device_types::DeviceTypes;
use super::paths::{Paths, same_group};
use crate::ops::problem::{Problem, UNSUPPORTED};

/// The best part.
pub(super) fn bound(problem: &Problem, types: &DeviceTypes, paths: &Paths) -> u64 {
    let part = parts(problem, paths);
    let mut cut = vec![u64::MAX; problem.n_ops()];
    for edge in &paths.edges {
        if !same_group(problem, edge.from, edge.to) {
            let least = &mut cut[part[edge.from.index()]];
            *least = (*least).min(through(problem, types, paths, edge));
        }
    }
    let whole = on_one_device(problem, types, &part);
    let bounds = problem.actions.iter().filter(|op| part[op.index()] == op.index());
    bounds
        .map(|op| cut[op.index()].min(whole[op.index()]))
        .filter(|b| *b != u64::MAX)
        .max()
        .unwrap_or(0)
}

/// By op, the least op of its part.
fn parts(problem: &Problem, paths: &Paths) -> Vec<usize> {
    let mut sets = petgraph::unionfind::UnionFind::<usize>::new(problem.n_ops());
    for edge in &paths.edges {
        sets.union(edge.from.index(), edge.to.index());
    }
    let mut least = vec![usize::MAX; problem.n_ops()];
    let mut part = vec![usize::MAX; problem.n_ops()];
    for &op in &problem.actions {
        let slot = &mut least[sets.find(op.index())];
        *slot = (*slot).min(op.index());
        part[op.index()] = *slot;
    }
    part
}

/// The least length of a path through an edge that is cut.
fn through(
    problem: &Problem,
    types: &DeviceTypes,
    paths: &Paths,
    edge: &super::paths::Edge,
) -> u64 {
    let mut least = u64::MAX;
    for (a, &first) in types.times(edge.from).iter().enumerate() {
        for (b, &second) in types.times(edge.to).iter().enumerate() {
            if first != UNSUPPORTED && second != UNSUPPORTED {
                let length = [
                    paths.head(edge.from, a),
                    first,
                    types.remote(problem, a, b, &edge.bytes),
                    second,
                    paths.tail(edge.to, b),
                ];
                least = least.min(length.into_iter().fold(0, u64::saturating_add));
            }
        }
    }
    least
}

/// By least op of a part: the least time of the part on one device that has room for its
/// parameters, `u64::MAX` if there is none.
fn on_one_device(problem: &Problem, types: &DeviceTypes, part: &[usize]) -> Vec<u64> {
    let mut bytes = vec![0u64; part.len()];
    let mut counted: Vec<(usize, usize)> = Vec::new();
    for &op in &problem.actions {
        let here = part[op.index()];
        counted.extend(problem.parameters(op).iter().map(|tensor| (here, tensor.index())));
    }
    counted.sort_unstable();
    counted.dedup();
    for (here, tensor) in counted {
        let size = problem.persistent_bytes(ir::id::TensorId::new(tensor));
        bytes[here] = bytes[here].saturating_add(size);
    }
    let mut least = vec![u64::MAX; part.len()];
    for (c, members) in types.members.iter().enumerate() {
        let room = members.iter().map(|d| problem.memory_limit(*d)).max().unwrap_or(0);
        let mut total = vec![0u64; part.len()];
        for &op in &problem.actions {
            let sum = &mut total[part[op.index()]];
            *sum = match types.times(op)[c] {
                UNSUPPORTED => u64::MAX,
                time => sum.saturating_add(time),
            };
        }
        for (slot, (total, bytes)) in least.iter_mut().zip(total.into_iter().zip(&bytes)) {
            if *bytes <= room {
                *slot = (*slot).min(total);
            }
        }
    }
    least
}
