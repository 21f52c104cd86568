//! Linear orders of the ops that are worth cutting.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use cost_model::ops::problem::Problem;
use ir::id::OpId;

/// Topological orders, each once: breadth first, depth first, as in the file, and with the least
/// bytes alive.
pub(crate) fn orders(problem: &Problem) -> Vec<Vec<OpId>> {
    let all = [
        problem.topological_order(),
        by(problem, |_, turn| Reverse(turn)),
        by(problem, |_, _| Reverse(0)),
        by(problem, |op, turn| (growth(problem, op), Reverse(turn))),
    ];
    let mut orders: Vec<Vec<OpId>> = Vec::new();
    for order in all {
        if !orders.contains(&order) {
            orders.push(order);
        }
    }
    orders
}

/// A topological order that takes the ready op of the least key; ties by id. The key may depend on
/// the turn in which the op became ready.
fn by<K: Ord>(problem: &Problem, key: impl Fn(OpId, usize) -> K) -> Vec<OpId> {
    let mut missing = vec![0usize; problem.n_ops()];
    let mut ready = BinaryHeap::new();
    for &op in &problem.actions {
        missing[op.index()] = problem.inputs(op).len();
        if missing[op.index()] == 0 {
            ready.push(Reverse((key(op, 0), op)));
        }
    }
    let mut order = Vec::with_capacity(problem.actions.len());
    while let Some(Reverse((_, op))) = ready.pop() {
        order.push(op);
        for consumer in problem.outputs(op).iter().flat_map(|t| problem.consumers(*t)) {
            missing[consumer.index()] -= 1;
            if missing[consumer.index()] == 0 {
                ready.push(Reverse((key(*consumer, order.len()), *consumer)));
            }
        }
    }
    order
}

/// By how many bytes more lies in memory after an op than before, each input shared out among its
/// readers.
fn growth(problem: &Problem, op: OpId) -> i128 {
    let written: i128 = problem.outputs(op).iter().map(|t| i128::from(problem.bytes(*t))).sum();
    let read = problem.inputs(op).iter().map(|t| {
        let n_readers = problem.consumers(*t).len().max(1) as i128;
        i128::from(problem.bytes(*t)) / n_readers
    });
    written - read.sum::<i128>()
}
