//! A split by node ids as the device of every node.

use std::collections::HashMap;

use ir::diagnostic::Diagnostic;
use ir::instance::{LoadInstance, Split};

use super::max_load::illegal;

/// Device of each node: accelerators first, then CPU cores. Nodes that the split does not name
/// follow a node of their colour.
///
/// # Errors
/// `unplaced-node` for nodes without a place, or with several; `too-many-devices` where nodes are
/// put on devices that are not there.
pub fn devices(instance: &LoadInstance, split: &Split) -> Result<Vec<u32>, Diagnostic> {
    let numbers: HashMap<u64, usize> =
        instance.nodes.iter().enumerate().map(|(at, node)| (node.source_id, at)).collect();
    let accelerators = split
        .accelerators
        .iter()
        .zip(0..)
        .map(|(nodes, device)| (nodes, device, instance.n_accelerators));
    let first_cpu = instance.n_accelerators;
    let cpus = split.cpus.iter().zip(first_cpu..);
    let cpus = cpus.map(|(nodes, device)| (nodes, device, instance.n_devices()));
    let mut devices: Vec<Option<u32>> = vec![None; instance.nodes.len()];
    for (nodes, device, end) in accelerators.chain(cpus) {
        for id in nodes {
            if device >= end {
                let message = format!("node {id} is on a device that is not there");
                return Err(illegal("too-many-devices", message));
            }
            let slot = numbers.get(id).map(|at| &mut devices[*at]);
            let slot = slot.filter(|slot| slot.is_none());
            let slot = slot.ok_or_else(|| {
                let message = format!("node {id} is placed twice, or is not there");
                illegal("unplaced-node", message)
            })?;
            *slot = Some(device as u32);
        }
    }
    let mut of_colour: Vec<Option<u32>> = vec![None; instance.n_colours];
    for (node, device) in instance.nodes.iter().zip(&devices) {
        if let (Some(colour), Some(device)) = (node.colour, device) {
            of_colour[colour as usize].get_or_insert(*device);
        }
    }
    let placed = instance.nodes.iter().zip(devices).map(|(node, device)| {
        let by_colour = node.colour.and_then(|colour| of_colour[colour as usize]);
        device.or(by_colour).ok_or_else(|| {
            illegal("unplaced-node", format!("node {} has no place", node.source_id))
        })
    });
    placed.collect()
}
