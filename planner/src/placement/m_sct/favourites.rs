//! Edges between ops, and the matching that makes favourites of them (S2, S3, S5).

use cost_model::ops::problem::{Problem, UNSUPPORTED};
use ir::id::{OpId, TensorId};

/// A pair of ops with tensors between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    pub(super) from: OpId,
    pub(super) to: OpId,
    /// c_e: lower median over ordered device pairs of the summed transfer times, in nanoseconds.
    pub(super) time: u64,
}

/// The edges, numbered by (producer id, consumer id).
pub(super) fn edges(problem: &Problem) -> Vec<Edge> {
    let pairs = pairs_by_route(problem);
    let mut edges = Vec::new();
    let mut found: Vec<(OpId, TensorId)> = Vec::new();
    for &from in &problem.actions {
        found.clear();
        for &tensor in problem.outputs(from) {
            found.extend(problem.consumers(tensor).iter().map(|to| (*to, tensor)));
        }
        found.sort_unstable();
        for of_consumer in found.chunk_by(|a, b| a.0 == b.0) {
            let Some((to, _)) = of_consumer.first() else { continue };
            let tensors: Vec<TensorId> = of_consumer.iter().map(|(_, tensor)| *tensor).collect();
            edges.push(Edge { from, to: *to, time: median_time(problem, &pairs, &tensors) });
        }
    }
    edges
}

/// How many ordered pairs of devices share each kind of route.
fn pairs_by_route(problem: &Problem) -> Vec<usize> {
    let links = &problem.cluster.links;
    let n = problem.cluster.n_devices();
    let mut count = vec![0; links.kinds.len()];
    for from in 0..n {
        for to in (0..n).filter(|to| *to != from) {
            let kind = links.pairs.get(from * n + to).copied().map(usize::from);
            if let Some(count) = kind.and_then(|kind| count.get_mut(kind)) {
                *count += 1;
            }
        }
    }
    count
}

/// S5: pairs without a way don't count.
fn median_time(problem: &Problem, pairs: &[usize], tensors: &[TensorId]) -> u64 {
    let kinds = &problem.cluster.links.kinds;
    let mut times: Vec<(u64, usize)> = kinds
        .iter()
        .zip(pairs)
        .filter(|(_, count)| **count > 0)
        .map(|(kind, count)| {
            let each = tensors.iter().map(|t| kind.time(ir::units::Bytes(problem.bytes(*t))).get());
            (each.fold(0, u64::saturating_add), *count)
        })
        .collect();
    times.sort_unstable();
    let total: usize = times.iter().map(|(_, count)| count).sum();
    // Lower median: the element at (total - 1) / 2.
    let mut left = total.saturating_sub(1) / 2;
    for (time, count) in times {
        if left < count {
            return time.min(UNSUPPORTED - 1);
        }
        left -= count;
    }
    0
}

/// S3: x = 0 for each op's dearest outgoing edge (ties: the first), else 1.
pub(super) fn dearest(problem: &Problem, edges: &[Edge]) -> Vec<f64> {
    let mut best: Vec<Option<usize>> = vec![None; problem.n_ops()];
    for (number, edge) in edges.iter().enumerate() {
        let slot = &mut best[edge.from.index()];
        if slot.is_none_or(|old| edge.time > edges[old].time) {
            *slot = Some(number);
        }
    }
    let mut x = vec![1.0; edges.len()];
    best.into_iter().flatten().for_each(|number| x[number] = 0.0);
    x
}

/// S2: greedily in order (x_e, number) over the edges with x_e <= theta.
pub(super) fn match_greedily(
    problem: &Problem,
    edges: &[Edge],
    x: &[f64],
    theta: f64,
) -> Vec<Option<OpId>> {
    let mut order: Vec<usize> = (0..edges.len()).filter(|number| x[*number] <= theta).collect();
    order.sort_by(|a, b| x[*a].total_cmp(&x[*b]).then(a.cmp(b)));
    let mut favourite = vec![None; problem.n_ops()];
    let mut is_favourite = vec![false; problem.n_ops()];
    for number in order {
        let Edge { from, to, .. } = edges[number];
        // An op can be a parent in one edge and a child in another.
        if favourite[from.index()].is_none() && !is_favourite[to.index()] {
            favourite[from.index()] = Some(to);
            is_favourite[to.index()] = true;
        }
    }
    favourite
}
