//! Fresh names for ops and tensors.

use std::collections::HashMap;

use std::fmt;

use ir::graph::Graph;

/// Names in use.
#[derive(Default)]
pub(super) struct Names {
    /// Whether nobody reads the names: all are empty.
    is_silent: bool,
    /// With the number that is tried next where a name is wanted again.
    taken: HashMap<String, u64>,
}

impl Names {
    /// Names of the graph's ops.
    pub(super) fn of_ops(graph: &Graph) -> Self {
        let taken = graph.ops.iter().map(|op| (op.name.clone(), 2)).collect();
        Self { is_silent: false, taken }
    }

    /// Names of the graph's tensors.
    pub(super) fn of_tensors(graph: &Graph) -> Self {
        let taken = graph.tensors.iter().map(|tensor| (tensor.name.clone(), 2)).collect();
        Self { is_silent: false, taken }
    }

    /// Of a graph in which nobody reads the names of what is added.
    pub(super) fn silent() -> Self {
        Self { is_silent: true, taken: HashMap::new() }
    }

    /// A name to be wanted, in words only where it is read.
    pub(super) fn text(&self, words: fmt::Arguments<'_>) -> String {
        if self.is_silent { String::new() } else { fmt::format(words) }
    }

    /// `wanted`, or `wanted.2`, `wanted.3`, ... where it is taken.
    pub(super) fn fresh(&mut self, wanted: String) -> String {
        if self.is_silent {
            return wanted;
        }
        let Some(next) = self.taken.get(&wanted) else {
            self.taken.insert(wanted.clone(), 2);
            return wanted;
        };
        let mut numbered = (*next..).map(|number| (number, format!("{wanted}.{number}")));
        let free = numbered.find(|(_, name)| !self.taken.contains_key(name));
        let (number, name) = free.unwrap_or_default();
        self.taken.insert(wanted, number + 1);
        self.taken.insert(name.clone(), 2);
        name
    }
}
