//! Linear orders that agree with the graph.

use cost_model::ops::problem::Problem;
use ir::id::OpId;
use ir::order::topological;

/// The lines that are tried, the most promising first, each once.
pub(crate) fn lines(problem: &Problem) -> Vec<Vec<OpId>> {
    let mut lines = vec![depth_first(problem)];
    for line in [by_id(problem), problem.topological_order()] {
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}

/// Depth first from the results back to the sources: what an op reads stands shortly before it.
/// Results by id, inputs in the op's own order.
pub(crate) fn depth_first(problem: &Problem) -> Vec<OpId> {
    let is_result =
        |op: &OpId| problem.outputs(*op).iter().all(|tensor| problem.consumers(*tensor).is_empty());
    let mut line = Vec::with_capacity(problem.actions.len());
    let mut seen = vec![false; problem.n_ops()];
    // An op, and how many of its inputs were followed.
    let mut path: Vec<(OpId, usize)> = Vec::new();
    for &result in problem.actions.iter().filter(|op| is_result(op)) {
        if std::mem::replace(&mut seen[result.index()], true) {
            continue;
        }
        path.push((result, 0));
        while let Some((op, followed)) = path.last_mut() {
            match problem.inputs(*op).get(*followed) {
                Some(tensor) => {
                    *followed += 1;
                    let Some(maker) = problem.producer(*tensor) else { continue };
                    if !std::mem::replace(&mut seen[maker.index()], true) {
                        path.push((maker, 0));
                    }
                }
                None => {
                    line.push(*op);
                    path.pop();
                }
            }
        }
    }
    line
}

/// Kahn's algorithm, least id first: as the model was written, where that was a legal order.
fn by_id(problem: &Problem) -> Vec<OpId> {
    by(problem, |_, _| ())
}

/// A topological order that takes the ready op of the least key; ties by id. The key may depend on
/// the turn in which the op became ready.
pub(crate) fn by<K: Ord>(problem: &Problem, key: impl Fn(OpId, usize) -> K) -> Vec<OpId> {
    let mut missing = vec![0; problem.n_ops()];
    for &op in &problem.actions {
        missing[op.index()] = problem.inputs(op).len();
    }
    let after = |op| {
        let outputs = problem.outputs(OpId::new(op)).iter();
        outputs.flat_map(|tensor| problem.consumers(*tensor)).map(|reader| reader.index())
    };
    let actions = problem.actions.iter().map(|op| op.index());
    let order = topological(actions, &mut missing, after, |op, turn| key(OpId::new(op), turn));
    order.into_iter().map(OpId::new).collect()
}
