//! Fresh names for ops and tensors.

use std::collections::HashSet;

use ir::graph::Graph;

/// Names in use.
#[derive(Default)]
pub(super) struct Names {
    taken: HashSet<String>,
}

impl Names {
    /// Names of the graph's ops.
    pub(super) fn of_ops(graph: &Graph) -> Self {
        Self { taken: graph.ops.iter().map(|op| op.name.clone()).collect() }
    }

    /// Names of the graph's tensors.
    pub(super) fn of_tensors(graph: &Graph) -> Self {
        Self { taken: graph.tensors.iter().map(|tensor| tensor.name.clone()).collect() }
    }

    /// `wanted`, or `wanted.2`, `wanted.3`, ... where it is taken.
    pub(super) fn fresh(&mut self, wanted: String) -> String {
        let mut name = wanted.clone();
        let mut number = 2u64;
        while !self.taken.insert(name.clone()) {
            name = format!("{wanted}.{number}");
            number += 1;
        }
        name
    }
}
