//! What all instances share: nodes found by their ids, edges without cycles.

use std::collections::HashMap;
use std::hash::Hash;

use ir::diagnostic::Diagnostic;
use ir::order::topological;

/// Positions of nodes by their ids.
pub(super) struct Positions<'a, Id>(HashMap<&'a Id, u32>);

impl<'a, Id: Hash + Eq + std::fmt::Display> Positions<'a, Id> {
    /// Numbers nodes in the order of the file.
    ///
    /// # Errors
    /// `size-budget`, `duplicate-id`.
    pub(super) fn new(ids: impl ExactSizeIterator<Item = &'a Id>) -> Result<Self, Diagnostic> {
        if ids.len() > super::MAX_NODES {
            let message =
                format!("the instance has {} nodes, more than {}", ids.len(), super::MAX_NODES);
            return Err(Diagnostic::input("size-budget", message).fact("limit", super::MAX_NODES));
        }
        let mut positions = HashMap::with_capacity(ids.len());
        for (position, id) in (0..).zip(ids) {
            if positions.insert(id, position).is_some() {
                return Err(Diagnostic::input(
                    "duplicate-id",
                    format!("two nodes have the id {id}"),
                ));
            }
        }
        Ok(Self(positions))
    }

    /// The position of a node that an edge or a split names.
    ///
    /// # Errors
    /// `undefined-node`.
    pub(super) fn of(&self, id: &Id) -> Result<u32, Diagnostic> {
        self.0.get(id).copied().ok_or_else(|| {
            Diagnostic::input(
                "undefined-node",
                format!("an edge names node {id}, which is not there"),
            )
            .fact("node", id.to_string())
        })
    }
}

/// Checks that no edges form a cycle.
///
/// # Errors
/// `graph-cycle`, with up to eight nodes of one cycle by their names.
pub(super) fn check_acyclic(
    n_nodes: usize,
    edges: impl Iterator<Item = (u32, u32)> + Clone,
    name: impl Fn(usize) -> String,
) -> Result<(), Diagnostic> {
    let mut producers: Vec<Vec<u32>> = vec![Vec::new(); n_nodes];
    let mut waiting: Vec<usize> = vec![0; n_nodes];
    for (from, to) in edges {
        producers[to as usize].push(from);
        waiting[from as usize] += 1;
    }
    // Takes nodes whose consumers are all taken: what is left leads into cycles.
    let before = |node: usize| producers[node].iter().map(|producer| *producer as usize);
    let taken = topological(0..n_nodes, &mut waiting, before, |_, _| ());
    if taken.len() == n_nodes {
        return Ok(());
    }
    let names = cycle(&waiting, &producers).into_iter().take(8).map(name).collect::<Vec<_>>();
    let shown: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    Err(Diagnostic::input("graph-cycle", format!("graph cycle through {}", shown.join(", ")))
        .fact("nodes", names))
}

/// A cycle among nodes that wait. A waiting node may lead into a cycle without being on one, so the
/// way back is walked depth first until it meets itself.
fn cycle(waiting: &[usize], producers: &[Vec<u32>]) -> Vec<usize> {
    let n_nodes = waiting.len();
    let mut closed = vec![false; n_nodes];
    let mut on_path = vec![false; n_nodes];
    for start in (0..n_nodes).filter(|node| waiting[*node] > 0) {
        let mut path: Vec<(usize, usize)> = Vec::new();
        if !closed[start] {
            on_path[start] = true;
            path.push((start, 0));
        }
        while let Some(top) = path.last_mut() {
            let node = top.0;
            let Some(producer) = producers[node].get(top.1).map(|producer| *producer as usize)
            else {
                closed[node] = true;
                on_path[node] = false;
                path.pop();
                continue;
            };
            top.1 += 1;
            if on_path[producer] {
                let first = path.iter().position(|(node, _)| *node == producer).unwrap_or(0);
                let mut found: Vec<usize> = path[first..].iter().map(|(node, _)| *node).collect();
                found.sort_unstable();
                return found;
            }
            if waiting[producer] > 0 && !closed[producer] {
                on_path[producer] = true;
                path.push((producer, 0));
            }
        }
    }
    Vec::new()
}
