//! A device map read back: where it makes the ops of a graph run.

use cost_model::ops::problem::Problem;
use ir::cluster::Cluster;
use ir::diagnostic::Diagnostic;
use ir::id::{DeviceId, OpId};
use ir::launch::{DeviceMap, MapPlace};
use ir::op::Work;
use ir::plan::Placement;

use super::TARGET;
use crate::modules::layout::{Layout, prefixes};

/// Where a device map makes ops run: on the device of their module; ops that no key covers where
/// their first operand lies, as PyTorch computes them. Accelerators are numbered as in
/// [`super::export`], those of the first node that has any.
///
/// # Errors
/// `bad-settings` with the module, parameter or device for which map, graph and cluster do not fit
/// each other; `cannot-express` where the graph names no modules.
pub fn placement(problem: &Problem, map: &DeviceMap) -> Result<Placement, Diagnostic> {
    let graph = &*problem.graph;
    let layout = Layout::new(graph, TARGET)?;
    let of_key = |path: &str| {
        let above = std::iter::once("").chain(prefixes(path));
        above.filter_map(|prefix| map.entries.get_key_value(prefix)).last()
    };
    for name in layout.parameters.iter().map(|parameter| &parameter.name) {
        if of_key(name).is_none() {
            let message = format!("no key of the device map covers the parameter `{name}`");
            return Err(Diagnostic::input("bad-settings", message)
                .hint("give every module a key, or the map of this model"));
        }
    }
    let devices = Devices::new(&problem.cluster);
    let producers = graph.producers();
    let roots = graph.roots();
    let mut device: Vec<Option<DeviceId>> = vec![None; graph.ops.len()];
    let mut used = std::collections::BTreeSet::new();
    let order = problem.topological_order();
    for &op in &order {
        let keyed = layout.modules.get(op.index()).and_then(Option::as_deref).and_then(of_key);
        let found = match keyed {
            Some((key, place)) => {
                used.insert(key);
                Some(devices.of(key, *place)?)
            }
            None => graph.op(op).inputs.iter().find_map(|tensor| {
                let producer = producers.get(roots.get(tensor.index())?.index()).copied()??;
                device.get(producer.index()).copied().flatten()
            }),
        };
        device[op.index()] = found;
    }
    fill(problem, &order, &mut device, &producers, &roots);
    if let (true, Some(key)) = (used.is_empty(), map.entries.keys().next()) {
        let message = format!("`{}` has no module `{key}`", graph.name);
        return Err(Diagnostic::input("bad-settings", message).hint("give the map of this model"));
    }
    for (position, slot) in device.iter_mut().enumerate() {
        if graph.op(OpId::new(position)).work == Work::View {
            *slot = None;
        }
    }
    Ok(Placement { device })
}

/// Ops before the first module run where they are used first.
fn fill(
    problem: &Problem,
    order: &[OpId],
    device: &mut [Option<DeviceId>],
    producers: &[Option<OpId>],
    roots: &[ir::id::TensorId],
) {
    for op in order.iter().rev() {
        let Some(id) = device[op.index()] else { continue };
        for tensor in &problem.graph.op(*op).inputs {
            let root = roots.get(tensor.index()).map(|root| root.index());
            let producer = root.and_then(|root| producers.get(root).copied().flatten());
            if let Some(slot) = producer.and_then(|producer| device.get_mut(producer.index())) {
                slot.get_or_insert(id);
            }
        }
    }
    let first = device.iter().flatten().next().copied();
    for slot in device.iter_mut() {
        *slot = slot.or(first);
    }
}

/// The devices that a map can name.
struct Devices<'a> {
    cluster: &'a Cluster,
    accelerators: Vec<DeviceId>,
}

impl<'a> Devices<'a> {
    fn new(cluster: &'a Cluster) -> Self {
        let node = |device: DeviceId| cluster.devices.get(device.index()).and_then(|d| d.node);
        let all = || cluster.device_ids().filter(|device| cluster.storage(*device).is_none());
        let first = all().next().map(node);
        let accelerators = all().filter(|device| Some(node(*device)) == first).collect();
        Self { cluster, accelerators }
    }

    fn of(&self, key: &str, place: MapPlace) -> Result<DeviceId, Diagnostic> {
        let named = |name: &str| {
            let mut all = self.cluster.device_ids();
            all.find(|device| self.cluster.storage(*device) == Some(name))
        };
        let (found, what) = match place {
            MapPlace::Accelerator(number) => {
                (self.accelerators.get(number as usize).copied(), format!("accelerator {number}"))
            }
            MapPlace::Cpu => (named("cpu"), "device `cpu`".to_owned()),
            MapPlace::Disk => (named("disk"), "device `disk`".to_owned()),
        };
        found.ok_or_else(|| {
            let message = format!("`{key}` is on {what}, which the cluster does not have");
            Diagnostic::input("bad-settings", message)
                .fact("accelerators", self.accelerators.len())
                .hint("give the cluster that the map was made for")
        })
    }
}
