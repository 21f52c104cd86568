//! Ways through several links.
//!
//! The path with the least sum of latencies, the widest of those (its narrowest link decides), the
//! one of fewest links among those. A path may lead through switches and other devices; it occupies
//! only the channels of its two ends, on the highest tier among its links.

use std::cmp::Ordering;
use std::ops::Add;

use ir::cluster::Check;
use petgraph::graph::{DiGraph, NodeIndex};

use super::links::Fabric;

/// The cost of a path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hop {
    pub(super) latency_ns: f64,
    pub(super) bandwidth: f64,
    pub(super) n_links: u32,
    pub(super) tier: usize,
    pub(super) recalled: bool,
}

impl Default for Hop {
    /// The empty path.
    fn default() -> Self {
        Self { latency_ns: 0.0, bandwidth: f64::INFINITY, n_links: 0, tier: 0, recalled: false }
    }
}

impl Add for Hop {
    type Output = Self;
    fn add(self, next: Self) -> Self {
        Self {
            latency_ns: self.latency_ns + next.latency_ns,
            bandwidth: self.bandwidth.min(next.bandwidth),
            n_links: self.n_links.saturating_add(next.n_links),
            tier: self.tier.max(next.tier),
            recalled: self.recalled || next.recalled,
        }
    }
}

impl Hop {
    fn compare(&self, other: &Self) -> Ordering {
        self.latency_ns
            .total_cmp(&other.latency_ns)
            .then(other.bandwidth.total_cmp(&self.bandwidth))
            .then(self.n_links.cmp(&other.n_links))
            .then(self.tier.cmp(&other.tier))
            .then(self.recalled.cmp(&other.recalled))
    }
}

impl PartialEq for Hop {
    fn eq(&self, other: &Self) -> bool {
        self.compare(other) == Ordering::Equal
    }
}

impl PartialOrd for Hop {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.compare(other))
    }
}

/// Devices, switches and hubs as vertices, links and memberships as edges.
pub(super) struct LinkGraph {
    graph: DiGraph<(), Hop>,
    n_devices: usize,
}

impl LinkGraph {
    pub(super) fn new(fabric: &Fabric, n_devices: usize) -> Self {
        let mut graph = DiGraph::new();
        let vertices: Vec<NodeIndex> = (0..n_devices + fabric.n_switches + fabric.n_hubs)
            .map(|_| graph.add_node(()))
            .collect();
        let hop = |tier: usize, way: usize| {
            let way = &fabric.ways[way];
            Hop {
                latency_ns: way.latency_ns,
                bandwidth: way.bandwidth.get(),
                n_links: 1,
                tier,
                recalled: way.check == Check::Recalled,
            }
        };
        for &(from, to, tier, way) in &fabric.direct {
            graph.add_edge(vertices[from], vertices[to], hop(tier, way));
        }
        for (device, memberships) in fabric.memberships.iter().enumerate() {
            for membership in memberships {
                let hub = vertices[n_devices + fabric.n_switches + membership.hub];
                let into = hop(membership.tier, membership.way);
                // The link is paid on the way into the hub; the way out only has its width.
                let out = Hop { latency_ns: 0.0, n_links: 0, ..into };
                graph.add_edge(vertices[device], hub, into);
                graph.add_edge(hub, vertices[device], out);
            }
        }
        Self { graph, n_devices }
    }

    /// The best path from a device to each device, `None` where there is none.
    pub(super) fn from(&self, device: usize) -> Vec<Option<Hop>> {
        let costs =
            petgraph::algo::dijkstra(&self.graph, NodeIndex::new(device), None, |e| *e.weight());
        (0..self.n_devices).map(|to| costs.get(&NodeIndex::new(to)).copied()).collect()
    }
}
