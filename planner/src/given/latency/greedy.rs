//! Greedy fill: each accelerator takes the next classes of an order until one does not fit, and
//! the CPU what is left.

use ir::instance::LoadInstance;

use crate::given::ideals::classes::ClassGraph;

/// Device of each class.
pub(super) fn fill(instance: &LoadInstance, graph: &ClassGraph, order: &[u32]) -> Vec<u32> {
    let cpu = instance.n_accelerators as u32;
    let memory = instance.accelerator_memory.get();
    let mut devices = vec![cpu; graph.n_classes()];
    let (mut device, mut used, mut is_open) = (0, 0, false);
    for &class in order {
        let class = class as usize;
        let bytes = graph.bytes[class];
        let can_run = graph.accelerator[class].is_some() && bytes <= memory;
        // A class on the CPU ends the block: the block would wait for it.
        if is_open && (!can_run || used + bytes > memory) {
            (device, used, is_open) = (device + 1, 0, false);
        }
        if can_run && device < cpu {
            devices[class] = device;
            used += bytes;
            is_open = true;
        }
    }
    devices
}
