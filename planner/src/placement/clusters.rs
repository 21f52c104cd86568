//! Units of placement, and ever larger clusters of them: heavy-edge coarsening.
//!
//! A unit is a colocation group, or an op in none. Two clusters whose tensors cost most to move are
//! merged first (Karypis and Kumar, SIAM J. Sci. Comput. 20(1), 1998, heavy-edge matching), as long
//! as a cluster stays a modest part of the work and of the bytes. Groups hold forward and backward
//! ops, so that even units wait for each other in circles: clusters are units of placement only, ops
//! keep their own order, and nothing has to be kept free of circles.

use cost_model::numeric::device_set::DeviceSet;
use cost_model::ops::problem::{Problem, UNSUPPORTED};
use ir::id::OpId;

use crate::placement::dispatch::Network;

/// Units of placement.
pub(crate) struct Units<'a> {
    /// Ops by unit.
    pub(crate) members: Vec<Vec<OpId>>,
    /// Unit by op; views have none (`u32::MAX`).
    pub(crate) of: Vec<u32>,
    /// Where each unit can be.
    pub(crate) placeable: Vec<&'a DeviceSet>,
    /// Least nanoseconds of each unit, by device the same for all of a kind.
    pub(crate) time: Vec<u64>,
    /// Bytes of each unit: parameters, graph inputs and outputs of its ops.
    pub(crate) bytes: Vec<u64>,
}

impl<'a> Units<'a> {
    pub(crate) fn new(problem: &'a Problem) -> Self {
        let members = problem.units();
        let mut of = vec![u32::MAX; problem.n_ops()];
        let mut units = Self {
            of: Vec::new(),
            placeable: Vec::with_capacity(members.len()),
            time: Vec::with_capacity(members.len()),
            bytes: Vec::with_capacity(members.len()),
            members: Vec::new(),
        };
        for (unit, ops) in members.iter().enumerate() {
            ops.iter().for_each(|op| of[op.index()] = unit as u32);
            units.placeable.push(problem.placeable(ops[0]));
            let times = ops.iter().map(|op| problem.least_time_ns(*op));
            units.time.push(times.fold(0, u64::saturating_add));
            units.bytes.push(bytes_of(problem, ops));
        }
        units.of = of;
        units.members = members;
        units
    }

    pub(crate) fn n(&self) -> usize {
        self.members.len()
    }

    /// Nanoseconds of a unit on a device.
    pub(crate) fn time_on(&self, problem: &Problem, unit: usize, device: usize) -> u64 {
        let device = ir::id::DeviceId::new(device);
        let times = self.members[unit].iter().map(|op| problem.time_ns(*op, device));
        times.fold(0u64, |sum, time| match time {
            UNSUPPORTED => UNSUPPORTED,
            time => sum.saturating_add(time),
        })
    }
}

fn bytes_of(problem: &Problem, ops: &[OpId]) -> u64 {
    let mut read: Vec<(u32, u64)> = Vec::new();
    for op in ops {
        read.extend(problem.parameters(*op).iter().map(|t| (t.0, problem.persistent_bytes(*t))));
        read.extend(problem.graph_inputs(*op).iter().map(|t| (t.0, problem.bytes(*t))));
        read.extend(problem.outputs(*op).iter().map(|t| (t.0, problem.bytes(*t))));
    }
    read.sort_unstable();
    read.dedup();
    read.into_iter().map(|(_, bytes)| bytes).fold(0, u64::saturating_add)
}

/// Clusters of units, finer levels first; the first level is the units themselves.
pub(crate) struct Hierarchy {
    /// By level, by cluster: its units.
    pub(crate) levels: Vec<Vec<Vec<u32>>>,
    /// By level, by unit: its cluster.
    pub(crate) of: Vec<Vec<u32>>,
}

/// Merging stops at so many clusters per device.
const CLUSTERS_PER_DEVICE: usize = 4;
/// A level that merges less than this part of its clusters is the last.
const LEAST_PROGRESS: f64 = 0.05;
/// A cluster holds at most this part of one device's even share of the work.
const MOST_OF_SHARE: f64 = 0.5;

/// An edge between clusters: (one, other, cost of moving what goes between them).
type Edge = (u32, u32, u64);

impl Hierarchy {
    pub(crate) fn new(network: &Network, units: &Units) -> Self {
        let n = units.n();
        let mut hierarchy = Self {
            levels: vec![(0..n as u32).map(|unit| vec![unit]).collect()],
            of: vec![(0..n as u32).collect()],
        };
        let mut edges = unit_edges(network, units);
        let mut time = units.time.clone();
        let mut bytes = units.bytes.clone();
        let mut example: Vec<u32> = (0..n as u32).collect();
        let caps = Caps::new(network, units);
        let least = CLUSTERS_PER_DEVICE * network.n_devices;
        while time.len() > least {
            let parent = merge(&edges, &time, &bytes, &caps, |a, b| {
                units.placeable[example[a] as usize] == units.placeable[example[b] as usize]
            });
            let n_new = parent.iter().map(|p| *p as usize + 1).max().unwrap_or(0);
            if ((time.len() - n_new) as f64) < LEAST_PROGRESS * time.len() as f64 {
                break;
            }
            time = summed(&time, &parent, n_new);
            bytes = summed(&bytes, &parent, n_new);
            let mut examples = vec![0; n_new];
            parent.iter().zip(&example).for_each(|(p, e)| examples[*p as usize] = *e);
            example = examples;
            edges = lifted(&edges, &parent);
            hierarchy.push(&parent, n_new);
        }
        hierarchy
    }

    fn push(&mut self, parent: &[u32], n_new: usize) {
        let Some(below) = self.of.last() else { return };
        let of: Vec<u32> = below.iter().map(|cluster| parent[*cluster as usize]).collect();
        let mut clusters = vec![Vec::new(); n_new];
        of.iter().zip(0u32..).for_each(|(cluster, unit)| clusters[*cluster as usize].push(unit));
        self.levels.push(clusters);
        self.of.push(of);
    }
}

/// The most that a cluster may hold.
struct Caps {
    time: u64,
    bytes: u64,
}

impl Caps {
    fn new(network: &Network, units: &Units) -> Self {
        let n_devices = network.n_devices.max(1) as f64;
        let part = |all: &[u64]| {
            let sum = all.iter().fold(0u64, |sum, x| sum.saturating_add(*x));
            (sum as f64 / n_devices * MOST_OF_SHARE) as u64
        };
        Self { time: part(&units.time), bytes: part(&units.bytes) }
    }
}

fn summed(values: &[u64], parent: &[u32], n_new: usize) -> Vec<u64> {
    let mut sums = vec![0u64; n_new];
    for (value, parent) in values.iter().zip(parent) {
        let sum = &mut sums[*parent as usize];
        *sum = sum.saturating_add(*value);
    }
    sums
}

/// What it costs on average to bring tensors from one unit to another, both ways summed.
fn unit_edges(network: &Network, units: &Units) -> Vec<Edge> {
    let problem = network.problem;
    let mean = network.mean_transfers();
    let mut edges = Vec::new();
    for &op in &problem.actions {
        let from = units.of[op.index()];
        for &tensor in problem.outputs(op) {
            for consumer in problem.consumers(tensor) {
                let to = units.of[consumer.index()];
                if to != from {
                    edges.push((from.min(to), from.max(to), mean[tensor.index()].max(1)));
                }
            }
        }
    }
    joined(edges)
}

fn joined(mut edges: Vec<Edge>) -> Vec<Edge> {
    edges.sort_unstable();
    edges
        .chunk_by(|a, b| (a.0, a.1) == (b.0, b.1))
        .map(|same| {
            (same[0].0, same[0].1, same.iter().fold(0u64, |sum, e| sum.saturating_add(e.2)))
        })
        .collect()
}

fn lifted(edges: &[Edge], parent: &[u32]) -> Vec<Edge> {
    let up = |(a, b, cost): &Edge| {
        let (a, b) = (parent[*a as usize], parent[*b as usize]);
        (a != b).then_some((a.min(b), a.max(b), *cost))
    };
    joined(edges.iter().filter_map(up).collect())
}

/// Matches clusters over their dearest edges; gives the new cluster of each.
fn merge(
    edges: &[Edge],
    time: &[u64],
    bytes: &[u64],
    caps: &Caps,
    alike: impl Fn(usize, usize) -> bool,
) -> Vec<u32> {
    let mut dearest: Vec<&Edge> = edges.iter().collect();
    dearest.sort_unstable_by_key(|(a, b, cost)| (std::cmp::Reverse(*cost), *a, *b));
    let mut partner: Vec<Option<usize>> = vec![None; time.len()];
    for &&(a, b, _) in &dearest {
        let (a, b) = (a as usize, b as usize);
        if partner[a].is_none()
            && partner[b].is_none()
            && time[a].saturating_add(time[b]) <= caps.time
            && bytes[a].saturating_add(bytes[b]) <= caps.bytes
            && alike(a, b)
        {
            partner[a] = Some(b);
            partner[b] = Some(a);
        }
    }
    let mut parent = vec![u32::MAX; time.len()];
    let mut next = 0;
    for (cluster, partner) in partner.into_iter().enumerate() {
        if parent[cluster] == u32::MAX {
            parent[cluster] = next;
            if let Some(other) = partner {
                parent[other] = next;
            }
            next += 1;
        }
    }
    parent
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::list_schedule::sketch::Sketch;

    #[test]
    fn the_dearest_edge_is_merged_first_and_every_level_keeps_all_units() {
        let mut sketch = Sketch::new(1.0).device("a", 999).device("a", 999);
        let mut input = String::new();
        for op in 0..32 {
            // Every other tensor is large.
            let output = format!("t{op}:{}", if op % 2 == 0 { 50 } else { 1 });
            sketch = sketch.op(&format!("o{op}"), "a", 1, &input, &output);
            input = format!("t{op}");
        }
        let problem = sketch.problem();
        let network = Network::new(&problem);
        let units = Units::new(&problem);
        let hierarchy = Hierarchy::new(&network, &units);
        assert_eq!(hierarchy.levels[0].len(), 32);
        assert_eq!(hierarchy.levels[1].len(), 16);
        assert_eq!(hierarchy.levels[1][0], [0, 1], "the large tensor stays inside");
        for (level, of) in hierarchy.levels.iter().zip(&hierarchy.of) {
            let mut all: Vec<u32> = level.iter().flatten().copied().collect();
            all.sort_unstable();
            assert_eq!(all, (0..32).collect::<Vec<u32>>());
            assert!((0..32).all(|unit| level[of[unit as usize] as usize].contains(&unit)));
        }
    }
}
