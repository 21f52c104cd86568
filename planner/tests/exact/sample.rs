//! Small random instances, by number of classes.

use ir::instance::{LoadInstance, LoadNode};
use ir::op::Phase;
use ir::units::{Bytes, Nanos};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Classes, accelerators and cores of an instance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) n_classes: usize,
    pub(crate) n_accelerators: usize,
    pub(crate) n_cpus: usize,
}

impl Size {
    /// Up to 12 classes and 4 accelerators; the largest ones are rare.
    pub(crate) fn random(random: &mut SmallRng) -> Self {
        let n_classes = match random.random_range(0..100) {
            0..80 => random.random_range(1..=5),
            80..98 => random.random_range(6..=7),
            _ => random.random_range(8..=12),
        };
        let most = if n_classes > 7 { 2 } else { 4 };
        let n_accelerators = random.random_range(1..=most);
        Self { n_classes, n_accelerators, n_cpus: [0, 1, 1, 2][random.random_range(0..4)] }
    }
}

/// An instance of a size: colours, backward nodes, tight memory and nodes that need a core occur.
pub(crate) fn instance(seed: u64) -> LoadInstance {
    let mut random = SmallRng::seed_from_u64(seed);
    let size = Size::random(&mut random);
    with_size(&mut random, size)
}

/// A random instance of a size.
pub(crate) fn with_size(random: &mut SmallRng, size: Size) -> LoadInstance {
    let n_extra = random.random_range(0..=size.n_classes / 2);
    // The first nodes are one of each class; further ones share their colours.
    let colours: Vec<u32> = (0..size.n_classes as u32)
        .chain((0..n_extra).map(|_| random.random_range(0..size.n_classes as u32)))
        .collect();
    let n_forward = if random.random_bool(0.6) { colours.len() } else { size.n_classes };
    let is_shared = |colour: u32| colours.iter().filter(|other| **other == colour).count() > 1;
    let nodes: Vec<LoadNode> = (0..)
        .zip(&colours)
        .map(|(id, colour)| {
            let time = if random.random_bool(0.15) { 0 } else { random.random_range(1..30) };
            LoadNode {
                source_id: id,
                name: String::new(),
                cpu: Nanos(if time == 0 { 0 } else { time * random.random_range(1..8) }),
                accelerator: (!random.random_bool(0.07)).then_some(Nanos(time)),
                transfer: Nanos(random.random_range(0..12)),
                bytes: Bytes(random.random_range(0..9)),
                colour: is_shared(*colour).then_some(*colour),
                phase: if (id as usize) < n_forward {
                    Phase::Forward
                } else {
                    Phase::BackwardInput
                },
            }
        })
        .collect();
    let mut edges = Vec::new();
    let density = random.random_range(0.05..0.6);
    for to in 1..nodes.len() as u32 {
        for from in to.saturating_sub(5)..to {
            if random.random_bool(density) {
                edges.push((from, to));
            }
        }
    }
    edges.sort_unstable();
    let total: u64 = nodes.iter().map(|node| node.bytes.get()).sum();
    let share = total / size.n_accelerators as u64;
    let memory = match random.random_range(0..3) {
        0 => total,
        1 => share + random.random_range(0..4),
        _ => random.random_range(share.saturating_sub(2)..=total + 1),
    };
    LoadInstance {
        name: String::new(),
        nodes,
        edges,
        n_colours: size.n_classes,
        n_accelerators: size.n_accelerators,
        n_cpus: size.n_cpus,
        accelerator_memory: Bytes(memory),
    }
}
