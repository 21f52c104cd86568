//! Max-load under single moves: each move costs as much as the edges of what moves.

use ir::instance::LoadInstance;
use ir::units::Nanos;

use super::max_load::{self, Devices};

/// A split that changes move by move; every value is exact, and every move can be taken back.
pub struct LoadSession<'a> {
    instance: &'a LoadInstance,
    devices: Vec<u32>,
    loads: Vec<u64>,
    bytes: Vec<u64>,
    /// Consumers of each node on each device.
    readers: Vec<u32>,
    producers: Vec<Vec<u32>>,
    consumers: Vec<Vec<u32>>,
    history: Vec<(u32, u32)>,
}

impl<'a> LoadSession<'a> {
    /// Starts from a split that [`max_load::check`] accepts.
    ///
    /// # Panics
    /// If the split names fewer nodes than there are, or devices that are not there.
    #[must_use]
    pub fn new(instance: &'a LoadInstance, devices: &Devices) -> Self {
        let n_devices = instance.n_devices();
        let mut readers = vec![0; instance.nodes.len() * n_devices];
        let mut producers = vec![Vec::new(); instance.nodes.len()];
        let mut consumers = vec![Vec::new(); instance.nodes.len()];
        for &(from, to) in &instance.edges {
            readers[from as usize * n_devices + devices[to as usize] as usize] += 1;
            producers[to as usize].push(from);
            consumers[from as usize].push(to);
        }
        let mut bytes = vec![0; n_devices];
        for (node, device) in instance.nodes.iter().zip(devices) {
            bytes[*device as usize] += node.bytes.get();
        }
        let loads = max_load::loads(instance, devices).into_iter().map(Nanos::get).collect();
        Self {
            instance,
            devices: devices.to_vec(),
            loads,
            bytes,
            readers,
            producers,
            consumers,
            history: Vec::new(),
        }
    }

    /// Device of each node.
    #[must_use]
    pub fn devices(&self) -> &Devices {
        &self.devices
    }

    /// Load of each device, in nanoseconds.
    #[must_use]
    pub fn loads_ns(&self) -> &[u64] {
        &self.loads
    }

    /// Bytes of the nodes on a device.
    #[must_use]
    pub fn bytes_on(&self, device: u32) -> u64 {
        self.bytes[device as usize]
    }

    /// The greatest load.
    #[must_use]
    pub fn value(&self) -> Nanos {
        Nanos(self.loads.iter().copied().max().unwrap_or(0))
    }

    /// Moves a node; the caller keeps colours together and to what a device can run and hold.
    pub fn place(&mut self, node: u32, device: u32) {
        let before = self.devices[node as usize];
        if before != device {
            self.history.push((node, before));
            self.shift(node, device);
        }
    }

    /// How many moves can be taken back.
    #[must_use]
    pub fn n_moves(&self) -> usize {
        self.history.len()
    }

    /// Takes moves back until `n_moves` are left.
    pub fn undo_to(&mut self, n_moves: usize) {
        while self.history.len() > n_moves {
            if let Some((node, device)) = self.history.pop() {
                self.shift(node, device);
            }
        }
    }

    /// Keeps all moves so far: they can't be taken back any more.
    pub fn keep(&mut self) {
        self.history.clear();
    }

    fn shift(&mut self, node: u32, to: u32) {
        let from = std::mem::replace(&mut self.devices[node as usize], to);
        let own = &self.instance.nodes[node as usize];
        let n_accelerators = self.instance.n_accelerators;
        let time = |device: u32| match own.accelerator {
            Some(time) if (device as usize) < n_accelerators => time.get(),
            _ => own.cpu.get(),
        };
        self.loads[from as usize] -= time(from);
        self.loads[to as usize] += time(to);
        self.bytes[from as usize] -= own.bytes.get();
        self.bytes[to as usize] += own.bytes.get();
        self.charge_output(node, from, to);
        for at in 0..self.producers[node as usize].len() {
            let producer = self.producers[node as usize][at];
            self.move_reader(producer, from, to);
        }
    }

    fn pay(&mut self, device: usize, amount: i128) {
        if device < self.instance.n_accelerators {
            let load = i128::from(self.loads[device]) + amount;
            self.loads[device] = u64::try_from(load).unwrap_or(0);
        }
    }

    /// The output of a node that moves: both borders change.
    fn charge_output(&mut self, node: u32, from: u32, to: u32) {
        let transfer = i128::from(self.instance.nodes[node as usize].transfer.get());
        if transfer == 0 || self.consumers[node as usize].is_empty() {
            return;
        }
        let n_devices = self.instance.n_devices();
        let row = node as usize * n_devices;
        let reads = |this: &Self, device: u32| this.readers[row + device as usize] > 0;
        let n_reading = (0..n_devices as u32).filter(|device| reads(self, *device)).count();
        let crosses = |inside: bool| n_reading > usize::from(inside);
        let (in_from, in_to) = (reads(self, from), reads(self, to));
        if crosses(in_from) {
            self.pay(from as usize, -transfer);
        }
        if in_from {
            self.pay(from as usize, transfer);
        }
        if in_to {
            self.pay(to as usize, -transfer);
        }
        if crosses(in_to) {
            self.pay(to as usize, transfer);
        }
    }

    /// A consumer of `producer` moves from one device to another.
    fn move_reader(&mut self, producer: u32, from: u32, to: u32) {
        let n_devices = self.instance.n_devices();
        let row = producer as usize * n_devices;
        let own = self.devices[producer as usize];
        let transfer = i128::from(self.instance.nodes[producer as usize].transfer.get());
        let outside = |this: &Self| {
            (0..n_devices).any(|device| device != own as usize && this.readers[row + device] > 0)
        };
        let before = outside(self);
        self.readers[row + from as usize] -= 1;
        if from != own && self.readers[row + from as usize] == 0 {
            self.pay(from as usize, -transfer);
        }
        self.readers[row + to as usize] += 1;
        if to != own && self.readers[row + to as usize] == 1 {
            self.pay(to as usize, transfer);
        }
        match (before, outside(self)) {
            (false, true) => self.pay(own as usize, transfer),
            (true, false) => self.pay(own as usize, -transfer),
            _ => {}
        }
    }
}
