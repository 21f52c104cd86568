//! All splits of a small instance, by the objectives' definitions alone.

use cost_model::given::latency::Blocks;
use cost_model::given::max_load::{self, Contiguity};
use ir::instance::LoadInstance;

/// Least values over all splits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Least {
    /// Max-load of any split.
    pub(crate) free: Option<u64>,
    /// Max-load of splits whose devices have an order in which no forward edge goes back.
    pub(crate) ordered: Option<u64>,
    /// Latency; CPU cores are as many as are wanted.
    pub(crate) latency: Option<u64>,
}

/// Tries every split; of equal devices that are empty, the first stands for all.
pub(crate) fn least(instance: &LoadInstance) -> Least {
    let n = instance.nodes.len();
    let mut members: Vec<Vec<usize>> = Vec::new();
    for (node, entry) in instance.nodes.iter().enumerate() {
        let colour = |class: &Vec<usize>| instance.nodes[class[0]].colour;
        let same =
            |class: &&mut Vec<usize>| entry.colour.is_some() && colour(class) == entry.colour;
        match members.iter_mut().find(same) {
            Some(class) => class.push(node),
            None => members.push(vec![node]),
        }
    }
    let mut walk = Walk {
        instance,
        blocks: Blocks::new(instance),
        pairs: pairs(instance),
        members,
        devices: vec![0; n],
        work: vec![0; instance.n_devices()],
        bytes: vec![0; instance.n_devices()],
        least: Least::default(),
    };
    walk.descend(0);
    walk.least
}

/// Forward edges by node; edges between backward nodes count the other way round where one of them
/// has no forward node of its colour.
fn pairs(instance: &LoadInstance) -> Vec<(usize, usize)> {
    let part = max_load::forward_part(instance);
    let class = |node: u32| match instance.nodes[node as usize].colour {
        Some(colour) => (0, colour),
        None => (1, node),
    };
    let is_orphan = |node: u32| {
        let same = |other: &u32| class(*other) == class(node);
        (0..instance.nodes.len() as u32).filter(same).all(|other| !part[other as usize])
    };
    let pair = |&(from, to): &(u32, u32)| match (part[from as usize], part[to as usize]) {
        (true, true) => Some((from as usize, to as usize)),
        (false, false) if is_orphan(from) || is_orphan(to) => Some((to as usize, from as usize)),
        _ => None,
    };
    instance.edges.iter().filter_map(pair).collect()
}

struct Walk<'a> {
    instance: &'a LoadInstance,
    blocks: Blocks<'a>,
    pairs: Vec<(usize, usize)>,
    members: Vec<Vec<usize>>,
    devices: Vec<u32>,
    work: Vec<u64>,
    bytes: Vec<u64>,
    least: Least,
}

impl Walk<'_> {
    fn descend(&mut self, class: usize) {
        let k = self.instance.n_accelerators;
        if class == self.members.len() {
            return self.configuration();
        }
        let used = |walk: &Self, device: usize| {
            walk.members[..class].iter().flatten().any(|n| walk.devices[*n] as usize == device)
        };
        for (first, end) in [(0, k), (k, self.instance.n_devices())] {
            for device in first..end {
                self.put(class, device);
                if !used(self, device) {
                    break;
                }
            }
        }
    }

    fn put(&mut self, class: usize, device: usize) {
        let is_accelerator = device < self.instance.n_accelerators;
        let (mut work, mut bytes) = (0, 0);
        for &node in &self.members[class] {
            let node = &self.instance.nodes[node];
            if is_accelerator && node.accelerator.is_none() {
                return;
            }
            work += if is_accelerator { node.accelerator.unwrap() } else { node.cpu }.get();
            bytes += if is_accelerator { node.bytes.get() } else { 0 };
        }
        if self.bytes[device] + bytes > self.instance.accelerator_memory.get() {
            return;
        }
        for &node in &self.members[class] {
            self.devices[node] = device as u32;
        }
        self.work[device] += work;
        self.bytes[device] += bytes;
        self.descend(class + 1);
        self.work[device] -= work;
        self.bytes[device] -= bytes;
    }

    fn configuration(&mut self) {
        let least = |old: Option<u64>, new: Option<u64>| old.into_iter().chain(new).min();
        let k = self.instance.n_accelerators as u32;
        // Cores don't run out there: one stands for all of them.
        if self.devices.iter().all(|device| *device <= k) {
            let latency = self.blocks.evaluate(&self.devices).map(|value| value.get());
            self.least.latency = least(self.least.latency, latency);
        }
        let work = self.work.iter().copied().max().unwrap_or(0);
        if self.least.ordered.is_some_and(|least| work >= least) {
            return;
        }
        let value = max_load::evaluate(self.instance, &self.devices, Contiguity::Free);
        let value = value.unwrap().get();
        self.least.free = least(self.least.free, Some(value));
        if self.least.ordered.is_none_or(|least| value < least) && self.has_order() {
            self.least.ordered = Some(value);
        }
    }

    fn has_order(&self) -> bool {
        let mut left: Vec<u32> = (0..self.instance.n_devices() as u32).collect();
        let waits = |device: u32, left: &[u32]| {
            self.pairs.iter().any(|(from, to)| {
                let (from, to) = (self.devices[*from], self.devices[*to]);
                to == device && from != device && left.contains(&from)
            })
        };
        while let Some(at) = left.iter().position(|device| !waits(*device, &left)) {
            left.remove(at);
        }
        left.is_empty()
    }
}
