//! Least loads as maximum flows, in whole numbers.
//!
//! An arc from each group to the sink has the group's time; a net is two nodes that all of its
//! members lead into and out of, with its weight between them. A cut is then the time of the groups
//! on the source's side plus the nets that they cut, and no flow is above any cut.

use std::collections::HashMap;

use super::{Checker, Flaw};

/// More than any limit, and far from overflow when flows are added to it.
const ENDLESS: u64 = u64::MAX / 4;

/// The network of the groups as they are.
pub(super) struct Network<'a> {
    checker: &'a Checker<'a>,
    node_of: HashMap<usize, usize>,
    sink: usize,
    /// Arcs of each node; arc `i ^ 1` is the way back of arc `i`.
    arcs: Vec<Vec<u32>>,
    to: Vec<u32>,
    capacity: Vec<u64>,
    /// Arc of each group to the sink.
    to_sink: Vec<u32>,
}

impl<'a> Network<'a> {
    pub(super) fn new(checker: &'a Checker<'a>) -> Self {
        let node_of: HashMap<usize, usize> = checker.groups.keys().copied().zip(0..).collect();
        let sink = node_of.len();
        let (arcs, to, capacity) = (vec![Vec::new(); sink + 1], Vec::new(), Vec::new());
        let mut network = Self { checker, node_of, sink, arcs, to, capacity, to_sink: Vec::new() };
        for (node, (root, group)) in checker.groups.iter().enumerate() {
            let time = group.accelerator.filter(|_| checker.may_hold(*root));
            network.to_sink.push(network.to.len() as u32);
            network.join(node, sink, time.unwrap_or(ENDLESS));
        }
        for (members, weight) in &checker.nets {
            let (some, all) = (network.arcs.len(), network.arcs.len() + 1);
            network.arcs.extend([Vec::new(), Vec::new()]);
            network.join(some, all, *weight);
            for member in members {
                let member = network.node_of[member];
                network.join(member, some, ENDLESS);
                network.join(all, member, ENDLESS);
            }
        }
        network
    }

    fn join(&mut self, from: usize, to: usize, capacity: u64) {
        self.arcs[from].push(self.to.len() as u32);
        self.arcs[to].push(self.to.len() as u32 + 1);
        self.to.extend([to as u32, from as u32]);
        self.capacity.extend([capacity, 0]);
    }

    /// Whether every accelerator that holds the group `inside`, but not `outside`, has a load above
    /// the limit.
    ///
    /// # Errors
    /// [`Flaw::Stopped`].
    pub(super) fn exceeds(&self, inside: usize, outside: Option<usize>) -> Result<bool, Flaw> {
        let source = self.node_of[&inside];
        let mut left = self.capacity.clone();
        if let Some(outside) = outside {
            left[self.to_sink[self.node_of[&outside]] as usize] = ENDLESS;
        }
        let limit = self.checker.limit;
        let mut flow = 0;
        while let Some(level) = self.levels(source, &left) {
            self.checker.go_on()?;
            let mut next = vec![0; self.arcs.len()];
            while let Some(path) = self.path(source, &left, &level, &mut next) {
                let room = path.iter().map(|arc| left[*arc as usize]).min().unwrap_or(0);
                // What is above the limit by one decides.
                let room = room.min(limit - flow + 1);
                for arc in path {
                    left[arc as usize] -= room;
                    left[arc as usize ^ 1] += room;
                }
                flow += room;
                if flow > limit {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Arcs from the source to each node; `None` where none lead to the sink.
    fn levels(&self, source: usize, left: &[u64]) -> Option<Vec<u32>> {
        let mut level = vec![u32::MAX; self.arcs.len()];
        level[source] = 0;
        let mut queue = vec![source];
        let mut at = 0;
        while let Some(node) = queue.get(at).copied() {
            at += 1;
            for arc in &self.arcs[node] {
                let to = self.to[*arc as usize] as usize;
                if left[*arc as usize] > 0 && level[to] == u32::MAX {
                    level[to] = level[node] + 1;
                    queue.push(to);
                }
            }
        }
        (level[self.sink] != u32::MAX).then_some(level)
    }

    /// Arcs of a shortest way to the sink. `next` remembers the arcs that lead nowhere.
    fn path(
        &self,
        source: usize,
        left: &[u64],
        level: &[u32],
        next: &mut [usize],
    ) -> Option<Vec<u32>> {
        let mut path: Vec<u32> = Vec::new();
        let mut node = source;
        while node != self.sink {
            match self.arcs[node].get(next[node]) {
                Some(arc) => {
                    let to = self.to[*arc as usize] as usize;
                    if left[*arc as usize] > 0 && level[to] == level[node] + 1 {
                        path.push(*arc);
                        node = to;
                    } else {
                        next[node] += 1;
                    }
                }
                None => {
                    node = self.to[path.pop()? as usize ^ 1] as usize;
                    next[node] += 1;
                }
            }
        }
        Some(path)
    }
}
