//! First solutions of instances of any size, in one walk over the nodes: everything in one place,
//! and pieces of equal work along a topological order. What no other row betters in time is kept.

use cost_model::given::straight::counted;
use cost_model::given::time_per_sample::Stage;
use cost_model::given::{Goal, max_load};
use ir::instance::{Instance, LayerProfile, LoadInstance, StageInstance};

use super::{Run, Solution};

/// Offers those of them that are legal.
pub(super) fn offer_all(run: &Run) {
    let solutions = match run.instance() {
        Instance::Load(instance) => of_load(instance, run.goal()),
        Instance::Profile(profile) => of_profile(profile, run.n_devices()),
        Instance::Stages(instance) => of_stages(instance),
        // Rules are as quick.
        Instance::Gradients(_) | Instance::Tasks(_) | Instance::Averaging(_) => Vec::new(),
    };
    for solution in solutions {
        // The judge says which of them are legal.
        let _ = run.offer(solution);
        if run.is_over() {
            return;
        }
    }
}

fn of_load(instance: &LoadInstance, goal: Goal) -> Vec<Solution> {
    let n = instance.nodes.len();
    let mut found = Vec::new();
    if instance.n_accelerators > 0 {
        found.push(vec![0; n]);
    }
    let core = instance.n_accelerators as u32;
    if instance.n_cpus > 0 {
        found.push(vec![core; n]);
    }
    if goal != Goal::Latency && instance.n_accelerators > 1 {
        let order = max_load::order(instance);
        let work = |node: usize| instance.nodes[node].accelerator.map_or(0, |time| time.get());
        let bytes = |node: usize| instance.nodes[node].bytes.get();
        let memory = instance.accelerator_memory.get();
        let mut devices = pieces(&order, work, bytes, memory, instance.n_accelerators);
        // A colour goes where its first node is.
        let mut of_colour = vec![None; instance.n_colours];
        for &node in &order {
            if let Some(colour) = instance.nodes[node].colour {
                devices[node] = *of_colour[colour as usize].get_or_insert(devices[node]);
            }
        }
        if instance.n_cpus > 0 {
            for (device, node) in devices.iter_mut().zip(&instance.nodes) {
                if node.accelerator.is_none() && node.colour.is_none() {
                    *device = core;
                }
            }
        }
        found.push(devices);
    }
    found.into_iter().map(Solution::Devices).collect()
}

fn of_profile(profile: &LayerProfile, n_devices: usize) -> Vec<Solution> {
    let n = profile.nodes.len();
    let mut found = vec![Solution::Devices(vec![0; n])];
    let mut graph = petgraph::graph::DiGraph::<(), (), u32>::with_capacity(n, profile.edges.len());
    for _ in 0..n {
        graph.add_node(());
    }
    graph.extend_with_edges(profile.edges.iter().copied());
    if let Ok(order) = petgraph::algo::toposort(&graph, None) {
        let order: Vec<usize> = order.into_iter().map(petgraph::graph::NodeIndex::index).collect();
        let counted = counted(profile);
        let work = |node: usize| {
            let layer = &profile.nodes[node];
            if counted[node] { (layer.forward + layer.backward).get() } else { 0 }
        };
        found.push(Solution::Devices(pieces(&order, work, |_| 0, u64::MAX, n_devices)));
    }
    found
}

/// Everything in one stage on one device, or on as many as its nodes can share.
fn of_stages(instance: &StageInstance) -> Vec<Solution> {
    let first = |degree: u32| -> Option<Vec<(u32, u32)>> {
        let choose = |(at, node): (u32, &ir::instance::StageNode)| {
            let fitting = node.configurations.iter().zip(0..).filter(|(c, _)| c.degree == degree);
            let (_, choice) = fitting.min_by_key(|(c, _)| (c.bytes_fixed, c.time))?;
            Some((at, choice))
        };
        (0..).zip(&instance.nodes).map(choose).collect()
    };
    let degrees = instance.nodes.first().into_iter().flat_map(|node| &node.configurations);
    let mut degrees: Vec<u32> = degrees.map(|configuration| configuration.degree).collect();
    degrees.dedup();
    let stage = |degree: u32| {
        let nodes = first(degree)?;
        Some(Solution::Stages(vec![Stage { nodes, data: 1, tensor: degree }]))
    };
    degrees.into_iter().filter_map(stage).collect()
}

/// Device of each node: along the order, the next device once the nodes so far have their share of
/// the work, or the memory is full.
fn pieces(
    order: &[usize],
    work: impl Fn(usize) -> u64,
    bytes: impl Fn(usize) -> u64,
    memory: u64,
    n_devices: usize,
) -> Vec<u32> {
    let total: u128 = order.iter().map(|node| u128::from(work(*node))).sum();
    let n = n_devices as u128;
    let (mut done, mut used, mut device) = (0_u128, 0_u64, 0_usize);
    let mut devices = vec![0; order.len()];
    for &node in order {
        let is_full = used.saturating_add(bytes(node)) > memory;
        // The middle of the node decides whose share it is.
        let has_share = 2 * done + u128::from(work(node)) >= 2 * (device as u128 + 1) * total / n;
        if device + 1 < n_devices && (used > 0 || done > 0) && (is_full || has_share) {
            device += 1;
            used = 0;
        }
        devices[node] = device as u32;
        done += u128::from(work(node));
        used = used.saturating_add(bytes(node));
    }
    devices
}
