//! Colocation groups, where those of the graph and of the user meet.

use ir::graph::Graph;
use ir::id::{GroupId, OpId};

use crate::ops::problem::Constraints;

/// Groups of the graph and of the user, merged where they share an op.
pub(crate) fn merge(
    graph: &Graph,
    constraints: &Constraints,
    actions: &[OpId],
) -> (Vec<Option<GroupId>>, Vec<Vec<OpId>>) {
    let n_ops = graph.ops.len();
    let mut sets = petgraph::unionfind::UnionFind::<usize>::new(n_ops + graph.n_groups);
    let mut grouped = vec![false; n_ops];
    for &op in actions {
        if let Some(group) = graph.op(op).group {
            sets.union(op.index(), n_ops + group.index());
            grouped[op.index()] = true;
        }
    }
    for ops in &constraints.colocate {
        for op in ops {
            sets.union(ops[0].index(), op.index());
            grouped[op.index()] = true;
        }
    }
    let mut number = std::collections::HashMap::new();
    let mut groups: Vec<Vec<OpId>> = Vec::new();
    let mut group_of = vec![None; n_ops];
    for &op in actions {
        if grouped[op.index()] {
            let next = groups.len();
            let position = *number.entry(sets.find(op.index())).or_insert(next);
            if position == next {
                groups.push(Vec::new());
            }
            groups[position].push(op);
            group_of[op.index()] = Some(GroupId::new(position));
        }
    }
    (group_of, groups)
}
