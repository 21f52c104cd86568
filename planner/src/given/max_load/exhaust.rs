//! All placements of a few classes, branch by branch.

use super::control::Control;
use super::model::Model;

/// Classes up to which all placements are tried.
pub(super) const MAX_CLASSES: usize = 13;

/// The best placement of value below `limit` ns, if there is one; `None` if stopped.
pub(super) fn best_below(
    model: &Model,
    limit: f64,
    control: &Control,
) -> Option<Option<(Vec<u32>, f64)>> {
    let n_devices = model.n_accelerators + model.n_cpus;
    let mut order: Vec<usize> = (0..model.n_classes()).collect();
    let weight = |class: &usize| model.cpu[*class];
    order.sort_by(|a, b| weight(b).total_cmp(&weight(a)).then(a.cmp(b)));
    let mut walk = Walk {
        model,
        control,
        order,
        device_of: vec![u32::MAX; model.n_classes()],
        loads: vec![0.0; n_devices],
        bytes: vec![0; n_devices],
        n_on: vec![0; n_devices],
        best: None,
        limit,
        n_nodes: 0,
    };
    walk.descend(0).then_some(walk.best)
}

struct Walk<'a> {
    model: &'a Model,
    control: &'a Control,
    order: Vec<usize>,
    device_of: Vec<u32>,
    /// Work, and nets that are cut for sure.
    loads: Vec<f64>,
    bytes: Vec<u64>,
    n_on: Vec<usize>,
    best: Option<(Vec<u32>, f64)>,
    /// Loads must stay below.
    limit: f64,
    n_nodes: u64,
}

impl Walk<'_> {
    /// Tries all devices for the class at a depth; false if stopped.
    fn descend(&mut self, depth: usize) -> bool {
        self.n_nodes += 1;
        if self.n_nodes.is_multiple_of(1024) && !self.control.spend(1024) {
            return false;
        }
        let Some(class) = self.order.get(depth).copied() else {
            let value = self.loads.iter().copied().fold(0.0, f64::max);
            self.best = Some((self.device_of.clone(), value));
            self.limit = value;
            return true;
        };
        let k = self.model.n_accelerators;
        for (first, end) in [(0, k), (k, self.loads.len())] {
            for device in first..end {
                if !self.take(class, device, depth) {
                    return false;
                }
                // Empty devices of one kind are all alike.
                if self.n_on[device] == 0 {
                    break;
                }
            }
        }
        true
    }

    /// Goes on with a class on a device where that can be; false if stopped.
    fn take(&mut self, class: usize, device: usize, depth: usize) -> bool {
        let model = self.model;
        let is_accelerator = device < model.n_accelerators;
        let fits = self.bytes[device] + model.bytes[class] <= model.limit_bytes;
        if is_accelerator && !(fits && model.is_on_accelerators(class)) {
            return true;
        }
        let before = self.loads.clone();
        self.loads[device] +=
            if is_accelerator { model.accelerator[class] } else { model.cpu[class] };
        for net in &model.nets_of[class] {
            self.cut(*net as usize, class, device);
        }
        let mut goes_on = true;
        if self.loads.iter().all(|load| *load < self.limit) {
            self.device_of[class] = device as u32;
            self.bytes[device] += model.bytes[class];
            self.n_on[device] += 1;
            goes_on = self.descend(depth + 1);
            self.device_of[class] = u32::MAX;
            self.bytes[device] -= model.bytes[class];
            self.n_on[device] -= 1;
        }
        self.loads = before;
        goes_on
    }

    /// Books what a net costs more once a class of it is on a device.
    fn cut(&mut self, net: usize, class: usize, device: usize) {
        let entry = &self.model.nets[net];
        let mut touched: Vec<u32> = Vec::new();
        for member in entry.members.iter().filter(|member| **member as usize != class) {
            let on = self.device_of[*member as usize];
            if on != u32::MAX && !touched.contains(&on) {
                touched.push(on);
            }
        }
        if touched.is_empty() || touched.contains(&(device as u32)) && touched.len() == 1 {
            return;
        }
        let is_new_here = !touched.contains(&(device as u32));
        // A device that held the net alone so far pays from now on, and so does a new one.
        let alone = (touched.len() == 1).then(|| touched[0] as usize);
        for on in alone.into_iter().chain(is_new_here.then_some(device)) {
            if on < self.model.n_accelerators {
                self.loads[on] += entry.weight;
            }
        }
    }
}
