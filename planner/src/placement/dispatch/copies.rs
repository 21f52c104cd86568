//! Where each tensor lies under a placement, and who still needs it there.

use ir::id::TensorId;

use super::network::{NONE, Network};

/// A tensor on a device: at home with its producer, or brought there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copy {
    pub(super) tensor: u32,
    pub(super) device: u16,
    /// Readers on the device that have not ended; at home also the op itself and each transfer.
    pub(super) left: u32,
    /// Start and end of the transfer that brings it.
    pub(super) start: u64,
    pub(super) end: u64,
}

/// All copies of a placement; a tensor's home comes first.
#[derive(Default)]
pub(super) struct Copies {
    pub(super) all: Vec<Copy>,
    /// By tensor: where its copies begin.
    pub(super) start: Vec<u32>,
    /// By edge: the copy that its op reads.
    pub(super) of_edge: Vec<u32>,
    /// By device: bytes that lie there from the start on.
    pub(super) held: Vec<u64>,
    /// By device: the last parameter that was counted there.
    counted: Vec<u32>,
}

impl Copies {
    /// Fills in everything for a placement.
    pub(super) fn place(&mut self, network: &Network, device: &[u16]) {
        let problem = network.problem;
        self.all.clear();
        self.start.clear();
        self.of_edge.resize(network.readers.len(), NONE);
        self.held.clear();
        self.held.resize(network.n_devices, 0);
        self.counted.clear();
        self.counted.resize(network.n_devices, NONE);
        for tensor in (0..problem.n_tensors()).map(TensorId::new) {
            let first = self.all.len();
            self.start.push(first as u32);
            if let Some(producer) = problem.producer(tensor) {
                let home = device[producer.index()];
                // The op itself; the caller never lets go of what it reads.
                let n_users = 1 + u32::from(problem.is_output(tensor));
                self.push(tensor, home, n_users);
            }
            let from = network.reader_start[tensor.index()] as usize;
            let to = network.reader_start[tensor.index() + 1] as usize;
            for &(op, edge) in &network.readers[from..to] {
                let here = device[op as usize];
                let found = self.all[first..].iter().position(|copy| copy.device == here);
                let copy = match found {
                    Some(offset) => {
                        self.all[first + offset].left += 1;
                        first + offset
                    }
                    None => {
                        self.push(tensor, here, 1);
                        self.all.len() - 1
                    }
                };
                self.of_edge[edge as usize] = copy as u32;
            }
            if problem.producer(tensor).is_some() {
                let sent = self.all.len() - first - 1;
                self.all[first].left += sent as u32;
            }
        }
        self.start.push(self.all.len() as u32);
        self.hold_given(network, device);
    }

    fn push(&mut self, tensor: TensorId, device: u16, left: u32) {
        self.all.push(Copy { tensor: tensor.0, device, left, start: 0, end: 0 });
    }

    /// Parameters and graph inputs, once per device that reads them.
    fn hold_given(&mut self, network: &Network, device: &[u16]) {
        let problem = network.problem;
        for &tensor in &network.given {
            let copies = self.of(tensor);
            if copies.is_empty() {
                for op in problem.consumers(tensor) {
                    let here = usize::from(device[op.index()]);
                    if std::mem::replace(&mut self.counted[here], tensor.0) != tensor.0 {
                        let bytes = problem.persistent_bytes(tensor);
                        self.held[here] = self.held[here].saturating_add(bytes);
                    }
                }
            } else {
                for copy in copies {
                    let here = usize::from(self.all[copy].device);
                    self.held[here] = self.held[here].saturating_add(problem.bytes(tensor));
                }
            }
        }
    }

    /// Positions of a tensor's copies.
    pub(super) fn of(&self, tensor: TensorId) -> std::ops::Range<usize> {
        self.start[tensor.index()] as usize..self.start[tensor.index() + 1] as usize
    }
}
