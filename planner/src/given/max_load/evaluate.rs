//! The greatest load of a placement, node by node from the instance.

use std::collections::{BTreeMap, BTreeSet};

use ir::instance::LoadInstance;

/// ns; `None` if a node is on no device, or on one that can't run it; if a colour is parted; or if
/// an accelerator holds too many bytes. Devices: accelerators first, then CPU cores.
#[must_use]
pub fn evaluate(instance: &LoadInstance, device_of: &[u32]) -> Option<u64> {
    if device_of.len() != instance.nodes.len() {
        return None;
    }
    let mut loads = vec![0_u64; instance.n_devices()];
    let mut bytes = vec![0_u64; instance.n_accelerators];
    let mut of_colour: BTreeMap<u32, u32> = BTreeMap::new();
    for (node, device) in instance.nodes.iter().zip(device_of) {
        let is_accelerator = (*device as usize) < instance.n_accelerators;
        let time = if is_accelerator { node.accelerator? } else { node.cpu };
        let load = loads.get_mut(*device as usize)?;
        *load = load.checked_add(time.get())?;
        if let Some(bytes) = bytes.get_mut(*device as usize) {
            *bytes = bytes.checked_add(node.bytes.get())?;
        }
        if node.colour.is_some_and(|c| *of_colour.entry(c).or_insert(*device) != *device) {
            return None;
        }
    }
    // A producer's bytes move once into each other accelerator that reads them, and once out of its
    // own if anybody else does.
    let mut moves: BTreeSet<(u32, u32)> = BTreeSet::new();
    for (producer, consumer) in &instance.edges {
        let (from, to) = (device_of[*producer as usize], device_of[*consumer as usize]);
        if from != to {
            moves.extend([(*producer, from), (*producer, to)]);
        }
    }
    for (producer, device) in moves {
        if (device as usize) < instance.n_accelerators {
            let load = &mut loads[device as usize];
            *load = load.checked_add(instance.nodes[producer as usize].transfer.get())?;
        }
    }
    let fits = bytes.iter().all(|bytes| *bytes <= instance.accelerator_memory.get());
    fits.then(|| loads.into_iter().max().unwrap_or(0))
}
