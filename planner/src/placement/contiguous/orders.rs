//! Linear orders of the ops that are worth cutting.

use std::cmp::Reverse;

use cost_model::ops::problem::Problem;
use ir::id::OpId;

use crate::line::by;

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
