//! Colocation groups of a step.

use std::collections::HashMap;

use ir::graph::Graph;
use ir::id::{GroupId, OpId};
use ir::op::Work;
use petgraph::unionfind::UnionFind;

/// Sets of ops that share a device, over the ops and groups of a forward graph.
pub(super) struct Groups {
    sets: UnionFind<usize>,
    n_ops: usize,
    n_groups: usize,
    grouped: Vec<bool>,
}

impl Groups {
    /// The groups that the graph has already.
    pub(super) fn of(graph: &Graph) -> Self {
        let n_ops = graph.ops.len();
        let mut groups = Self {
            sets: UnionFind::new(n_ops + graph.n_groups),
            n_ops,
            n_groups: graph.n_groups,
            grouped: vec![false; n_ops],
        };
        for op in graph.op_ids() {
            if let Some(group) = graph.op(op).group.filter(|g| g.index() < groups.n_groups) {
                groups.sets.union(op.index(), n_ops + group.index());
                groups.grouped[op.index()] = true;
            }
        }
        groups
    }

    /// These two share a device. An op joined with itself has a group of its own.
    pub(super) fn join(&mut self, a: OpId, b: OpId) {
        if a.index() < self.n_ops && b.index() < self.n_ops {
            self.sets.union(a.index(), b.index());
            self.grouped[a.index()] = true;
            self.grouped[b.index()] = true;
        }
    }

    /// Writes the groups into a graph whose op `i` belongs to op `owner[i]` of the forward graph.
    /// Groups are numbered by their first member; views have none.
    pub(super) fn write(&self, graph: &mut Graph, owner: &[Option<OpId>]) {
        let mut numbers: HashMap<usize, usize> = HashMap::new();
        for (op, owner) in graph.ops.iter_mut().zip(owner) {
            op.group = None;
            let Some(owner) = owner.filter(|owner| self.grouped[owner.index()]) else {
                continue;
            };
            if op.work == Work::View {
                continue;
            }
            let next = numbers.len();
            let number = *numbers.entry(self.sets.find(owner.index())).or_insert(next);
            op.group = Some(GroupId::new(number));
        }
        graph.n_groups = numbers.len();
    }
}
