//! The instance as the search sees it: classes that share a device, and nets that a device pays
//! for when it cuts them.
//!
//! A producer `u` with consumers in the classes `T` costs an accelerator `S` its transfer time
//! where `u` is in `S` and some of `T` is not, or where `u` is not in `S` and some of `T` is.
//! Both say that `S` contains some, but not all, of `{u} ∪ T`: a load is the time of the classes of
//! `S` plus the weight of the nets that `S` cuts, whichever way the bytes flow. Nets with the same
//! members are therefore one net.

use std::collections::BTreeMap;

use ir::diagnostic::Diagnostic;
use ir::instance::LoadInstance;

/// Greatest sum of all times in ns, and of all bytes: such integers are exact in f64.
const GREATEST_SUM: u64 = 1 << 52;

/// Classes of ops that a device cuts at a price.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Net {
    /// Class ids, increasing, at least two.
    pub(super) members: Vec<u32>,
    /// ns that each accelerator pays that holds some of the members, but not all.
    pub(super) weight: f64,
}

/// Classes, nets and devices. Times are whole ns in f64, and so are all their sums.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Model {
    /// Time of each class on an accelerator, ns; infinite where it can't run there.
    pub(super) accelerator: Vec<f64>,
    /// Time of each class on a CPU core, ns.
    pub(super) cpu: Vec<f64>,
    /// Bytes of each class on an accelerator.
    pub(super) bytes: Vec<u64>,
    /// Nets, by members.
    pub(super) nets: Vec<Net>,
    /// Nets of each class, increasing.
    pub(super) nets_of: Vec<Vec<u32>>,
    /// Accelerators, `k`.
    pub(super) n_accelerators: usize,
    /// CPU cores, `l`.
    pub(super) n_cpus: usize,
    /// Memory of one accelerator.
    pub(super) limit_bytes: u64,
    /// Class of each node of the instance.
    pub(super) class_of: Vec<u32>,
}

impl Model {
    /// Joins nodes of one colour, and producers with equal members.
    ///
    /// # Errors
    /// `bad-instance` if a sum of times or bytes passes 2^52, or there is no device.
    pub(super) fn new(instance: &LoadInstance) -> Result<Self, Diagnostic> {
        check_sums(instance)?;
        let class_of = classes(instance);
        let n = class_of.iter().max().map_or(0, |last| *last as usize + 1);
        let mut model = Self {
            accelerator: vec![0.0; n],
            cpu: vec![0.0; n],
            bytes: vec![0; n],
            nets: Vec::new(),
            nets_of: Vec::new(),
            n_accelerators: instance.n_accelerators,
            n_cpus: instance.n_cpus,
            limit_bytes: instance.accelerator_memory.get(),
            class_of,
        };
        for (node, class) in instance.nodes.iter().zip(&model.class_of) {
            let class = *class as usize;
            model.accelerator[class] += node.accelerator.map_or(f64::INFINITY, |t| t.as_f64());
            model.cpu[class] += node.cpu.as_f64();
            model.bytes[class] += node.bytes.get();
        }
        model.keep_off();
        model.join_nets(producer_nets(instance, &model.class_of));
        Ok(model)
    }

    /// Number of classes.
    #[must_use]
    pub(super) fn n_classes(&self) -> usize {
        self.cpu.len()
    }

    /// The first node of each class.
    #[must_use]
    pub(super) fn first_nodes(&self) -> Vec<u32> {
        let mut first = vec![u32::MAX; self.n_classes()];
        for (node, class) in self.class_of.iter().enumerate().rev() {
            first[*class as usize] = node as u32;
        }
        first
    }

    /// The model whose classes are groups of these classes. `group_of[class]` numbers the groups
    /// without holes.
    #[must_use]
    pub(super) fn grouped(&self, group_of: &[u32]) -> Self {
        let n = group_of.iter().max().map_or(0, |last| *last as usize + 1);
        let mut model = Self {
            accelerator: vec![0.0; n],
            cpu: vec![0.0; n],
            bytes: vec![0; n],
            nets: Vec::new(),
            nets_of: Vec::new(),
            n_accelerators: self.n_accelerators,
            n_cpus: self.n_cpus,
            limit_bytes: self.limit_bytes,
            class_of: self.class_of.iter().map(|class| group_of[*class as usize]).collect(),
        };
        for (class, group) in group_of.iter().enumerate() {
            let group = *group as usize;
            model.accelerator[group] += self.accelerator[class];
            model.cpu[group] += self.cpu[class];
            model.bytes[group] += self.bytes[class];
        }
        model.keep_off();
        let nets = self.nets.iter().map(|net| {
            (net.members.iter().map(|class| group_of[*class as usize]).collect(), net.weight)
        });
        model.join_nets(nets.collect());
        model
    }

    /// Classes that are too large for an accelerator can't run there.
    fn keep_off(&mut self) {
        for (time, bytes) in self.accelerator.iter_mut().zip(&self.bytes) {
            if *bytes > self.limit_bytes {
                *time = f64::INFINITY;
            }
        }
    }

    /// Joins nets with the same members; drops those that no device can cut.
    fn join_nets(&mut self, nets: Vec<(Vec<u32>, f64)>) {
        let mut joined: BTreeMap<Vec<u32>, f64> = BTreeMap::new();
        for (mut members, weight) in nets {
            members.sort_unstable();
            members.dedup();
            if members.len() > 1 && weight > 0.0 {
                *joined.entry(members).or_insert(0.0) += weight;
            }
        }
        self.nets = joined.into_iter().map(|(members, weight)| Net { members, weight }).collect();
        self.nets_of = vec![Vec::new(); self.n_classes()];
        for (net, entry) in self.nets.iter().enumerate() {
            for class in &entry.members {
                self.nets_of[*class as usize].push(net as u32);
            }
        }
    }

    /// Whether a class may run on an accelerator at all.
    #[must_use]
    pub(super) fn is_on_accelerators(&self, class: usize) -> bool {
        self.accelerator[class].is_finite()
    }

    /// Load of an accelerator that holds the classes of `inside`, ns.
    #[must_use]
    pub(super) fn load(&self, inside: &[bool]) -> f64 {
        let work: f64 =
            inside.iter().zip(&self.accelerator).filter(|(is, _)| **is).map(|(_, t)| *t).sum();
        let cut = self.nets.iter().filter(|net| {
            let n_inside = net.members.iter().filter(|class| inside[**class as usize]).count();
            n_inside > 0 && n_inside < net.members.len()
        });
        work + cut.map(|net| net.weight).sum::<f64>()
    }

    /// Load of every device, accelerators first, ns. `device_of[class]` counts likewise.
    #[must_use]
    pub(super) fn loads(&self, device_of: &[u32]) -> Vec<f64> {
        let mut loads = vec![0.0; self.n_accelerators + self.n_cpus];
        for (class, device) in device_of.iter().enumerate() {
            let device = *device as usize;
            loads[device] += if device < self.n_accelerators {
                self.accelerator[class]
            } else {
                self.cpu[class]
            };
        }
        let mut touched: Vec<u32> = Vec::new();
        for net in &self.nets {
            touched.clear();
            touched.extend(net.members.iter().map(|class| device_of[*class as usize]));
            touched.sort_unstable();
            touched.dedup();
            if touched.len() > 1 {
                for device in touched.iter().filter(|d| (**d as usize) < self.n_accelerators) {
                    loads[*device as usize] += net.weight;
                }
            }
        }
        loads
    }

    /// Bytes on each accelerator.
    #[must_use]
    pub(super) fn bytes_on(&self, device_of: &[u32]) -> Vec<u64> {
        let mut bytes = vec![0; self.n_accelerators];
        for (class, device) in device_of.iter().enumerate() {
            if let Some(sum) = bytes.get_mut(*device as usize) {
                *sum += self.bytes[class];
            }
        }
        bytes
    }

    /// The greatest load of a placement whose accelerators hold what they can, ns.
    #[must_use]
    pub(super) fn value(&self, device_of: &[u32]) -> Option<f64> {
        let fits = self.bytes_on(device_of).iter().all(|bytes| *bytes <= self.limit_bytes);
        let value = self.loads(device_of).into_iter().fold(0.0, f64::max);
        (fits && value.is_finite()).then_some(value)
    }
}

/// Class of each node: colours by first appearance, nodes without one are alone.
fn classes(instance: &LoadInstance) -> Vec<u32> {
    let mut of_colour: BTreeMap<u32, u32> = BTreeMap::new();
    let mut n = 0;
    let mut next = || {
        n += 1;
        n - 1
    };
    let class = |colour: Option<u32>| match colour {
        None => next(),
        Some(colour) => *of_colour.entry(colour).or_insert_with(&mut next),
    };
    instance.nodes.iter().map(|node| node.colour).map(class).collect()
}

/// Members and transfer time of each node with consumers.
fn producer_nets(instance: &LoadInstance, class_of: &[u32]) -> Vec<(Vec<u32>, f64)> {
    let mut members: Vec<Vec<u32>> = vec![Vec::new(); instance.nodes.len()];
    for (producer, consumer) in &instance.edges {
        members[*producer as usize].push(class_of[*consumer as usize]);
    }
    let mut nets = Vec::new();
    for (node, mut members) in members.into_iter().enumerate() {
        if !members.is_empty() {
            members.push(class_of[node]);
            nets.push((members, instance.nodes[node].transfer.as_f64()));
        }
    }
    nets
}

fn check_sums(instance: &LoadInstance) -> Result<(), Diagnostic> {
    if instance.n_devices() == 0 {
        return Err(Diagnostic::input("bad-instance", "the instance has no device"));
    }
    let sum = |of: &dyn Fn(&ir::instance::LoadNode) -> u64| {
        instance.nodes.iter().try_fold(0_u64, |sum, node| sum.checked_add(of(node)))
    };
    let sums = [
        ("CPU times", sum(&|node| node.cpu.get())),
        ("accelerator times", sum(&|node| node.accelerator.map_or(0, |t| t.get()))),
        ("transfer times", sum(&|node| node.transfer.get())),
        ("bytes", sum(&|node| node.bytes.get())),
    ];
    for (what, sum) in sums {
        if sum.is_none_or(|sum| sum > GREATEST_SUM / 4) {
            let message = format!("the sum of all {what} is too large");
            return Err(Diagnostic::input("bad-instance", message)
                .fact("instance", instance.name.as_str())
                .fact("limit", GREATEST_SUM / 4)
                .hint("use a greater unit of time or of size"));
        }
    }
    Ok(())
}
