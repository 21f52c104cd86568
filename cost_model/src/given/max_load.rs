//! Greatest load over the devices: what limits the rate of a pipeline that is kept full
//! (Tarnawski et al., NeurIPS 2020, section 3; `docs/conventions.md`, max-load).
//!
//! The load of an accelerator is the time of its nodes, and each output that crosses its border
//! once, in or out. A CPU core pays for its nodes only.

use ir::diagnostic::{Blame, Diagnostic};
use ir::instance::LoadInstance;
use ir::op::Phase;
use ir::order::topological;
use ir::units::Nanos;

/// Which splits are legal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Contiguity {
    /// Any.
    #[default]
    Free,
    /// No path between forward nodes of a device leaves it.
    Contiguous,
}

/// Device of each node, by position: accelerators first, then CPU cores.
pub type Devices = [u32];

/// Load of each device.
///
/// # Panics
/// If `devices` names fewer nodes than there are, or devices that are not there;
/// [`check`] finds both.
#[must_use]
pub fn loads(instance: &LoadInstance, devices: &Devices) -> Vec<Nanos> {
    let mut loads = vec![0u64; instance.n_devices()];
    let is_accelerator = |device: u32| (device as usize) < instance.n_accelerators;
    for (node, &device) in instance.nodes.iter().zip(devices) {
        let time = match node.accelerator {
            Some(time) if is_accelerator(device) => time,
            _ => node.cpu,
        };
        loads[device as usize] += time.get();
    }
    let mut at = 0;
    let mut readers: Vec<u32> = Vec::new();
    while let Some(&(from, _)) = instance.edges.get(at) {
        let source = devices[from as usize];
        readers.clear();
        while let Some((_, to)) = instance.edges.get(at).filter(|edge| edge.0 == from) {
            readers.push(devices[*to as usize]);
            at += 1;
        }
        readers.retain(|device| *device != source);
        readers.sort_unstable();
        readers.dedup();
        if !readers.is_empty() {
            readers.push(source);
        }
        let transfer = instance.nodes[from as usize].transfer.get();
        for &device in readers.iter().filter(|device| is_accelerator(**device)) {
            loads[device as usize] += transfer;
        }
    }
    loads.into_iter().map(Nanos).collect()
}

/// Whether a split is legal: every node on a device that is there and can run it, colours together,
/// memory kept to, and contiguous where that is asked for.
///
/// # Errors
/// `unplaced-node`, `unsupported-device`, `separated-colour`, `memory-exceeded`, `not-contiguous`.
pub fn check(
    instance: &LoadInstance,
    devices: &Devices,
    contiguity: Contiguity,
) -> Result<(), Diagnostic> {
    check_devices(instance, devices)?;
    check_colours(instance, devices)?;
    check_memory(instance, devices)?;
    match contiguity {
        Contiguity::Free => Ok(()),
        Contiguity::Contiguous => check_contiguous(instance, devices),
    }
}

/// The greatest load of a legal split.
///
/// # Errors
/// As [`check`].
pub fn evaluate(
    instance: &LoadInstance,
    devices: &Devices,
    contiguity: Contiguity,
) -> Result<Nanos, Diagnostic> {
    check(instance, devices, contiguity)?;
    Ok(loads(instance, devices).into_iter().max().unwrap_or(Nanos::ZERO))
}

/// A load that no split is below: all work spread evenly, or the greatest unit that can't be
/// spread.
///
/// With `T` the greatest load, accelerators take at most `k T` of accelerator time, and CPU cores
/// work that would take at most `l T max(F / C)` there.
#[must_use]
pub fn bound(instance: &LoadInstance) -> Nanos {
    let mut total = 0u128;
    // Greatest accelerator time per CPU time, as a fraction.
    let mut ratio = (0u128, 1u128);
    let mut cpu_only = 0u128;
    let mut units = std::collections::BTreeMap::new();
    for (position, node) in instance.nodes.iter().enumerate() {
        let unit = match node.colour {
            Some(colour) => (0, colour as usize),
            None => (1, position),
        };
        let entry = units.entry(unit).or_insert((Some(0u64), 0u64));
        entry.0 = entry.0.zip(node.accelerator).map(|(sum, time)| sum + time.get());
        entry.1 += node.cpu.get();
    }
    let mut largest = 0u64;
    for (accelerator, cpu) in units.into_values() {
        let accelerator = accelerator.filter(|_| instance.n_accelerators > 0);
        let on_cpu = (instance.n_cpus > 0).then_some(cpu);
        let least = accelerator.into_iter().chain(on_cpu).min().unwrap_or(0);
        largest = largest.max(least);
        let Some(accelerator) = accelerator else {
            cpu_only += u128::from(cpu);
            continue;
        };
        total += u128::from(accelerator);
        let (f, c) = (u128::from(accelerator), u128::from(cpu));
        if f * ratio.1 > ratio.0 * c {
            ratio = (f, c);
        }
    }
    let (k, l) = (instance.n_accelerators as u128, instance.n_cpus as u128);
    let (f, c) = ratio;
    let spread = match (l, c) {
        (0, _) => total.div_ceil(k.max(1)),
        // Work that costs a core nothing can all go there.
        (_, 0) => 0,
        // T (k + l f / c) >= total; sums of an instance stay below 2^60, so products fit.
        _ => (total * c).div_ceil((k * c + l * f).max(1)),
    };
    let cores = if l > 0 { cpu_only.div_ceil(l) } else { 0 };
    let bound = spread.max(cores).max(u128::from(largest));
    Nanos(u64::try_from(bound).unwrap_or(u64::MAX))
}

fn check_devices(instance: &LoadInstance, devices: &Devices) -> Result<(), Diagnostic> {
    if devices.len() != instance.nodes.len() {
        let message = format!(
            "the split places {} nodes, but there are {}",
            devices.len(),
            instance.nodes.len()
        );
        return Err(illegal("unplaced-node", message));
    }
    for (node, &device) in instance.nodes.iter().zip(devices) {
        if device as usize >= instance.n_devices() {
            let message = format!("node {} is placed on no device that is there", node.source_id);
            return Err(illegal("unplaced-node", message).fact("node", node.source_id));
        }
        if node.accelerator.is_none() && (device as usize) < instance.n_accelerators {
            let message =
                format!("node {} can't run on an accelerator, but is placed there", node.source_id);
            return Err(illegal("unsupported-device", message).fact("node", node.source_id));
        }
    }
    Ok(())
}

fn check_colours(instance: &LoadInstance, devices: &Devices) -> Result<(), Diagnostic> {
    let mut first: Vec<Option<usize>> = vec![None; instance.n_colours];
    for (position, node) in instance.nodes.iter().enumerate() {
        let Some(slot) = node.colour.and_then(|colour| first.get_mut(colour as usize)) else {
            continue;
        };
        let other = *slot.get_or_insert(position);
        if devices[other] != devices[position] {
            let (one, two) = (instance.nodes[other].source_id, node.source_id);
            let message = format!("nodes {one} and {two} have one colour, but two devices");
            return Err(illegal("separated-colour", message).fact("node", two));
        }
    }
    Ok(())
}

pub(super) fn check_memory(instance: &LoadInstance, devices: &Devices) -> Result<(), Diagnostic> {
    let mut bytes = vec![0u64; instance.n_accelerators];
    for (node, &device) in instance.nodes.iter().zip(devices) {
        if let Some(bytes) = bytes.get_mut(device as usize) {
            *bytes += node.bytes.get();
        }
    }
    let limit = instance.accelerator_memory;
    match bytes.iter().position(|bytes| *bytes > limit.get()) {
        None => Ok(()),
        Some(device) => {
            let used = ir::units::Bytes(bytes[device]);
            let message = format!("accelerator {device} holds {used}, its memory is {limit}");
            Err(illegal("memory-exceeded", message).fact("bytes", used).fact("limit", limit))
        }
    }
}

/// Nodes that lie before a forward node, all forward nodes included: the part of the graph whose
/// paths count.
#[must_use]
pub fn forward_part(instance: &LoadInstance) -> Vec<bool> {
    let mut part: Vec<bool> =
        instance.nodes.iter().map(|node| node.phase == Phase::Forward).collect();
    for node in order(instance).into_iter().rev() {
        let feeds = consumers(instance, node).iter().any(|(_, to)| part[*to as usize]);
        part[node] |= feeds;
    }
    part
}

fn consumers(instance: &LoadInstance, node: usize) -> &[(u32, u32)] {
    let from = instance.edges.partition_point(|edge| (edge.0 as usize) < node);
    let to = instance.edges.partition_point(|edge| edge.0 as usize <= node);
    &instance.edges[from..to]
}

/// A topological order: Kahn, first in first out, by position.
#[must_use]
pub fn order(instance: &LoadInstance) -> Vec<usize> {
    let n_nodes = instance.nodes.len();
    let mut missing = vec![0usize; n_nodes];
    for (_, to) in &instance.edges {
        missing[*to as usize] += 1;
    }
    let after = |node| consumers(instance, node).iter().map(|(_, to)| *to as usize);
    topological(0..n_nodes, &mut missing, after, |_, turn| turn)
}

fn check_contiguous(instance: &LoadInstance, devices: &Devices) -> Result<(), Diagnostic> {
    let part = forward_part(instance);
    let order = order(instance);
    let used: std::collections::BTreeSet<u32> = devices.iter().copied().collect();
    let mut number = vec![0; instance.n_devices()];
    for (device, at) in used.iter().zip(0_u32..) {
        number[*device as usize] = at;
    }
    // Devices at hand, a bit each, that a path to a node has left on its way.
    let mut left = vec![0_u64; instance.nodes.len()];
    for first in (0..used.len() as u32).step_by(64) {
        left.fill(0);
        for &node in order.iter().filter(|node| part[**node]) {
            let device = devices[node];
            let place = number[device as usize].checked_sub(first).filter(|at| *at < 64);
            let bit = place.map_or(0, |at| 1 << at);
            if left[node] & bit != 0 {
                let id = instance.nodes[node].source_id;
                let message = format!("a path leaves device {device} and comes back at node {id}");
                return Err(illegal("not-contiguous", message).fact("node", id));
            }
            let gone = left[node];
            for (_, to) in consumers(instance, node) {
                let leaves = if devices[*to as usize] == device { 0 } else { bit };
                left[*to as usize] |= gone | leaves;
            }
        }
    }
    Ok(())
}

pub(super) fn illegal(code: &'static str, message: String) -> Diagnostic {
    Diagnostic::error(Blame::IllegalPlan, code, message)
        .hint("correct the split, or give the instance that it was made for")
}
