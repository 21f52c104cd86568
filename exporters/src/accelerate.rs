//! Hugging Face Accelerate's `device_map`: a JSON object from module names to devices.
//!
//! A key covers the module and all below it; a device is a GPU index, `"cpu"` or `"disk"`.
//! Accelerate takes unknown keys and overlapping prefixes without a word and fails on parameters
//! without a key, so none of these is written:
//! * Keys are blocks ([`layout`]): what a model repeats, or the largest module beside a list of
//!   blocks. Where everything below a container shares a device the container is the key, which
//!   also covers parameters that the graph does not show (unused, folded, or tied away); a plan on
//!   one device is the single key `""`.
//! * Modules that share a parameter share a device, and so do ops of a container that work on the
//!   outputs of two of its blocks: PyTorch computes where the operands lie and moves none.
//!
//! A module that owns no op and no parameter of the graph (dropout; an embedding whose weight is
//! known to the graph by another name only) can't be known here. Where its container is split it
//! gets no key; a warning names convolutions that batch norms were folded into.

mod keys;
mod layout;
mod placed;

use ir::cluster::Cluster;
use ir::diagnostic::{Blame, Diagnostic};
use ir::graph::Graph;
use ir::id::{DeviceId, OpId};
use ir::op::Work;
use petgraph::unionfind::UnionFind;
use serde::Serialize;

use crate::format::{Export, Source};
use layout::{Layout, Operand, Owner};

pub use placed::placement;

/// A device as Accelerate names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum Target {
    /// Position among the accelerators of its host.
    Gpu(u64),
    /// `"cpu"` or `"disk"`.
    Storage(&'static str),
}

/// Ops that Accelerate can only keep together, each list in increasing order: give them to the
/// planner as colocations, and its plan can be exported.
///
/// # Errors
/// `cannot-express` where the graph names no modules.
pub fn colocation(graph: &Graph) -> Result<Vec<Vec<OpId>>, Diagnostic> {
    let layout = Layout::new(graph)?;
    let n_ops = graph.ops.len();
    let mut sets = UnionFind::<usize>::new(n_ops + layout.units.len());
    for (op, unit) in layout.unit.iter().enumerate() {
        if let Some(unit) = unit {
            sets.union(op, n_ops + unit);
        }
    }
    for parameter in &layout.parameters {
        let anchor = match parameter.owner {
            Owner::Unit(unit) => Some(n_ops + unit),
            Owner::Container => parameter.readers.first().map(|op| op.index()),
        };
        if let (Some(anchor), true) = (anchor, parameter.binds) {
            for reader in &parameter.readers {
                sets.union(anchor, reader.index());
            }
        }
    }
    for (op, operands) in &layout.glue {
        for operand in operands {
            if let Operand::Op(producer) = operand {
                sets.union(op.index(), producer.index());
            }
        }
    }
    let mut groups: std::collections::BTreeMap<usize, Vec<OpId>> = Default::default();
    for op in graph.op_ids().filter(|op| graph.op(*op).work != Work::View) {
        groups.entry(sets.find(op.index())).or_default().push(op);
    }
    let mut groups: Vec<Vec<OpId>> = groups.into_values().filter(|ops| ops.len() > 1).collect();
    groups.sort_by_key(|ops| ops.first().copied());
    Ok(groups)
}

/// The device map.
///
/// # Errors
/// `cannot-express`, with the unit and the two devices, where a plan splits what Accelerate can't.
pub fn export(source: &Source<'_>) -> Result<Export, Diagnostic> {
    let graph = &*source.problem.graph;
    let degrees = &source.plan.parallelism;
    if [degrees.data, degrees.tensor, degrees.expert, degrees.context].iter().any(|d| *d != 1) {
        return Err(refusal(
            "a device map has no words for data, tensor, expert or context \
                            parallelism"
                .to_owned(),
        ));
    }
    let layout = Layout::new(graph)?;
    let names = Devices::new(source)?;
    let mut keys = keys::Keys::new(&layout, source, &names)?;
    keys.check_glue()?;
    let map = keys.collapse();
    let mut warnings = layout.warnings(graph);
    warnings.extend(names.warning());
    warnings.extend(keys.warning());
    warnings.extend(layout.folded(graph, &map));
    let text = json(&map)?;
    Ok(Export { bytes: text.into_bytes(), warnings })
}

/// One entry per line, in the order of the model.
fn json(map: &[(String, Target)]) -> Result<String, Diagnostic> {
    let lines = map
        .iter()
        .map(|(key, device)| {
            let key = serde_json::to_string(key)?;
            Ok(format!("  {key}: {}", serde_json::to_string(device)?))
        })
        .collect::<Result<Vec<_>, serde_json::Error>>()
        .map_err(|error| {
            Diagnostic::error(
                Blame::Internal,
                "internal",
                format!("a name has no JSON form: {error}"),
            )
        })?;
    Ok(documents::json::escaped(format!("{{\n{}\n}}\n", lines.join(",\n"))))
}

fn refusal(message: String) -> Diagnostic {
    Diagnostic::input("cannot-express", message).fact("target", "accelerate")
}

/// How Accelerate names the devices of a plan.
struct Devices<'a> {
    cluster: &'a Cluster,
    targets: Vec<Target>,
    used: Vec<bool>,
}

impl<'a> Devices<'a> {
    fn new(source: &Source<'a>) -> Result<Self, Diagnostic> {
        let cluster = &*source.problem.cluster;
        let mut used = vec![false; cluster.n_devices()];
        for device in source.plan.placement.device.iter().flatten() {
            if let Some(slot) = used.get_mut(device.index()) {
                *slot = true;
            }
        }
        let mut next = std::collections::BTreeMap::new();
        let mut targets = Vec::with_capacity(cluster.n_devices());
        for device in cluster.device_ids() {
            targets.push(match storage(cluster, device) {
                Some(storage) => Target::Storage(storage),
                None => {
                    let node = cluster.devices.get(device.index()).and_then(|d| d.node);
                    let position = next.entry(node).or_insert(0);
                    *position += 1;
                    Target::Gpu(*position - 1)
                }
            });
        }
        let names = Self { cluster, targets, used };
        names.check_one_host()?;
        Ok(names)
    }

    fn target(&self, device: DeviceId) -> Target {
        self.targets.get(device.index()).copied().unwrap_or(Target::Gpu(u64::from(device.0)))
    }

    fn name(&self, device: DeviceId) -> String {
        self.cluster
            .devices
            .get(device.index())
            .map_or_else(|| device.to_string(), |device| device.name.clone())
    }

    fn accelerators(&self) -> impl Iterator<Item = DeviceId> + '_ {
        self.cluster.device_ids().filter(|device| {
            self.used.get(device.index()) == Some(&true)
                && matches!(self.target(*device), Target::Gpu(_))
        })
    }

    fn check_one_host(&self) -> Result<(), Diagnostic> {
        let node = |device: DeviceId| self.cluster.devices.get(device.index()).and_then(|d| d.node);
        let mut accelerators = self.accelerators();
        let Some(first) = accelerators.next() else {
            return Ok(());
        };
        match accelerators.find(|device| node(*device) != node(first)) {
            None => Ok(()),
            Some(other) => Err(refusal(format!(
                "a device map belongs to one process on one host, but `{}` and `{}` are in two",
                self.name(first),
                self.name(other)
            ))
            .hint("plan for the devices of one node")),
        }
    }

    /// Accelerate computes modules on `"cpu"` and `"disk"` on the first GPU.
    fn warning(&self) -> Option<Diagnostic> {
        let first = self.accelerators().next()?;
        let storage = self.cluster.device_ids().find(|device| {
            self.used.get(device.index()) == Some(&true)
                && matches!(self.target(*device), Target::Storage(_))
        })?;
        Some(
            Diagnostic::warning(
                "storage-only",
                format!(
                    "Accelerate keeps what is placed on `{}` there, but computes it on `{}`",
                    self.name(storage),
                    self.name(first)
                ),
            )
            .hint("forbid this device, or expect other times than the plan's"),
        )
    }
}

/// `"cpu"` or `"disk"` where the kind or the last part of the name, less its number, says so.
fn storage(cluster: &Cluster, device: DeviceId) -> Option<&'static str> {
    let entry = cluster.devices.get(device.index())?;
    let kind = cluster.kinds.get(entry.kind.index()).map_or("", |kind| kind.name.as_str());
    let last = entry.name.rsplit('.').next().unwrap_or_default();
    let bare = last.trim_end_matches(|c: char| c.is_ascii_digit());
    ["cpu", "disk"]
        .into_iter()
        .find(|storage| kind.eq_ignore_ascii_case(storage) || bare.eq_ignore_ascii_case(storage))
}

#[cfg(test)]
mod tests;
