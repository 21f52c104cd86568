//! Instances that were made to have a split that just fits, or none.

use cost_model::given::Goal;
use ir::instance::{Instance, LoadInstance};
use ir::units::{Bytes, Nanos};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::agreement::{certain, for_seeds, program};
use crate::sample::{Size, with_size};

/// An instance whose memory and accelerators are all that counts: no cores.
fn bare(random: &mut SmallRng) -> LoadInstance {
    let size = Size { n_cpus: 0, ..Size::random(random) };
    let mut instance =
        with_size(random, Size { n_accelerators: size.n_accelerators.max(2), ..size });
    for node in &mut instance.nodes {
        let time = node.accelerator.unwrap_or(Nanos(5));
        node.accelerator = Some(time);
        node.bytes = Bytes(random.random_range(1..40));
        node.phase = ir::op::Phase::Forward;
    }
    instance
}

/// Each node a class of its own; at most 12.
fn uncoloured(instance: &mut LoadInstance) {
    instance.nodes.truncate(12);
    for node in &mut instance.nodes {
        node.colour = None;
    }
    let n_nodes = instance.nodes.len();
    instance.edges.retain(|(_, to)| (*to as usize) < n_nodes);
}

/// Bytes of each class, colours together.
fn classes(instance: &LoadInstance) -> Vec<u64> {
    let mut by_class = std::collections::BTreeMap::new();
    for (position, node) in (0u32..).zip(&instance.nodes) {
        let class = node.colour.map_or((1, position), |colour| (0, colour));
        *by_class.entry(class).or_insert(0) += node.bytes.get();
    }
    by_class.into_values().collect()
}

/// Whether each exact method finds a split, certainly: free, ordered, latency.
fn verdicts(instance: &LoadInstance) -> [bool; 3] {
    let wrapped = Instance::Load(instance.clone());
    let both = |goal, name: &str| {
        let (one, two) = (certain(&wrapped, goal, name), program(instance, goal));
        assert_eq!(one, two, "{instance:?}");
        one.is_some()
    };
    [
        both(Goal::MaxLoad, "columns"),
        both(Goal::ContiguousMaxLoad, "ideals"),
        program(instance, Goal::Latency).is_some(),
    ]
}

/// A hidden split into runs of a topological order, whose fullest device is exactly full.
#[test]
fn a_hidden_split_is_found() {
    for_seeds(300, |seed| {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut instance = bare(&mut random);
        // Edges go forward by position; without colours, runs of positions are ordered pieces.
        uncoloured(&mut instance);
        let mut bytes = vec![0; instance.n_accelerators];
        let mut device = 0;
        for node in &instance.nodes {
            bytes[device] += node.bytes.get();
            if device + 1 < bytes.len() && random.random_bool(0.3) {
                device += 1;
            }
        }
        instance.accelerator_memory = Bytes(bytes.into_iter().max().unwrap());
        assert_eq!(verdicts(&instance), [true; 3], "{seed}");
    });
}

#[test]
fn what_can_not_fit_is_called_infeasible() {
    for_seeds(300, |seed| {
        let mut random = SmallRng::seed_from_u64(1_000 + seed);
        let mut instance = bare(&mut random);
        let k = instance.n_accelerators as u64;
        let bytes = classes(&instance);
        let total: u64 = bytes.iter().sum();
        let largest = *bytes.iter().max().unwrap();
        instance.accelerator_memory = Bytes(match seed % 3 {
            // All together, short of a byte.
            0 => (total - 1) / k,
            // One class, short of a byte; there is room enough in all.
            1 => largest - 1,
            // One class more than devices, and no two fit together.
            _ => {
                let n_large = instance.n_accelerators + 1;
                uncoloured(&mut instance);
                if instance.nodes.len() < n_large {
                    return;
                }
                for (position, node) in instance.nodes.iter_mut().enumerate() {
                    node.bytes = Bytes(if position < n_large { 51 + seed % 7 } else { 0 });
                }
                101
            }
        });
        assert_eq!(verdicts(&instance), [false; 3], "{seed}");
        // A core takes what does not fit.
        instance.n_cpus = 1;
        assert_eq!(verdicts(&instance), [true; 3], "{seed}");
    });
}
