//! Small random instances, and all their splits.

use ir::instance::{LoadInstance, LoadNode};
use ir::op::Phase;
use ir::units::{Bytes, Nanos};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// An instance of up to `most` nodes: colours, backward nodes, tight memory and nodes that need a
/// CPU core all occur.
pub(crate) fn instance(seed: u64, most: usize) -> LoadInstance {
    let mut random = SmallRng::seed_from_u64(seed);
    let n_nodes = random.random_range(1..=most);
    let n_forward = if random.random_bool(0.5) { n_nodes } else { n_nodes.div_ceil(2) };
    let n_colours = random.random_range(0..=n_nodes);
    let free = random.random_bool(0.3);
    let nodes: Vec<LoadNode> = (0..n_nodes)
        .map(|node| {
            let coloured = n_colours > 0 && random.random_bool(0.4);
            let is_free = random.random_bool(0.2);
            LoadNode {
                source_id: node as u64,
                name: String::new(),
                cpu: Nanos(if is_free { 0 } else { random.random_range(1..60) }),
                accelerator: match (is_free, random.random_bool(0.1)) {
                    (_, true) => None,
                    (true, false) => Some(Nanos(0)),
                    (false, false) => Some(Nanos(random.random_range(1..12))),
                },
                transfer: Nanos(if free { 0 } else { random.random_range(0..5) }),
                bytes: Bytes(random.random_range(0..4)),
                colour: coloured.then(|| random.random_range(0..n_colours as u32)),
                phase: if node < n_forward { Phase::Forward } else { Phase::BackwardInput },
            }
        })
        .collect();
    let mut edges = Vec::new();
    let density = random.random_range(0.1..0.7);
    for to in 1..n_nodes as u32 {
        for from in 0..to {
            if random.random_bool(density) {
                edges.push((from, to));
            }
        }
    }
    edges.sort_unstable();
    let total: u64 = nodes.iter().map(|node| node.bytes.get()).sum();
    let n_accelerators = random.random_range(0..=3);
    LoadInstance {
        name: format!("sample {seed}"),
        nodes,
        edges,
        n_colours,
        n_accelerators,
        n_cpus: random.random_range(usize::from(n_accelerators == 0)..=2),
        accelerator_memory: Bytes(if random.random_bool(0.5) {
            total
        } else {
            random.random_range(0..=total)
        }),
    }
}

/// Calls `each` with every assignment of devices to nodes.
pub(crate) fn every_split(instance: &LoadInstance, mut each: impl FnMut(&[u32])) {
    let mut devices = vec![0u32; instance.nodes.len()];
    loop {
        each(&devices);
        let Some(at) =
            devices.iter().rposition(|device| (*device as usize) + 1 < instance.n_devices())
        else {
            return;
        };
        devices[at] += 1;
        devices[at + 1..].fill(0);
    }
}
