//! Hugging Face Accelerate's `device_map`: a JSON object from module names to devices.
//!
//! A key covers the module and all below it; a device is a GPU index, `"cpu"` or `"disk"`.
//! Accelerate takes unknown keys and overlapping prefixes without a word and fails on parameters
//! without a key, so none of these is written:
//! * Keys are blocks ([`Layout`]): what a model repeats, or the largest module beside a list of
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
pub mod max_memory;
mod placed;

use std::collections::{BTreeMap, BTreeSet};

use ir::diagnostic::{Blame, Diagnostic};
use ir::graph::Graph;
use ir::id::{OpId, TensorId};
use ir::op::Work;
use petgraph::unionfind::UnionFind;

use crate::format::{Export, Placed, Source};
use crate::modules::devices::{Devices, Place};
use crate::modules::layout::{Layout, Operand, Owner};
use crate::modules::refusal;

pub use placed::placement;

/// What it is called on the command line.
pub(crate) const TARGET: &str = "accelerate";

pub(crate) const PLACED: Placed = Placed {
    is_executor: true,
    serves: false,
    shards: false,
    computes: |_, _| true,
    export,
    colocation,
};

/// Ops that Accelerate can only keep together, each list in increasing order: give them to the
/// planner as colocations, and its plan can be exported.
///
/// # Errors
/// `cannot-express` where the graph names no modules.
pub fn colocation(graph: &Graph) -> Result<Vec<Vec<OpId>>, Diagnostic> {
    let layout = Layout::new(graph, TARGET)?;
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
    for (unit, reader) in sources(graph, &layout) {
        sets.union(n_ops + unit, reader.index());
    }
    let mut groups: BTreeMap<usize, Vec<OpId>> = BTreeMap::new();
    for op in graph.op_ids().filter(|op| graph.op(*op).work != Work::View) {
        groups.entry(sets.find(op.index())).or_default().push(op);
    }
    let mut groups: Vec<Vec<OpId>> = groups.into_values().filter(|ops| ops.len() > 1).collect();
    groups.sort_by_key(|ops| ops.first().copied());
    Ok(groups)
}

/// Modules that work on inputs alone and hold no matrix, such as rotary positions, each with the first op
/// of another module that reads it: on the device of that one they cost a first layer no transfer.
fn sources(graph: &Graph, layout: &Layout) -> BTreeMap<usize, OpId> {
    let (roots, producers) = (graph.roots(), graph.producers());
    let unit = |op: OpId| layout.unit.get(op.index()).copied().flatten();
    let mut readers = BTreeMap::new();
    let mut others = BTreeSet::new();
    for op in graph.op_ids() {
        let Some(reader) = unit(op) else { continue };
        let node = graph.op(op);
        let is_matrix =
            |id: &TensorId| graph.tensor(*id).shape.iter().filter(|n| **n > 1).count() > 1;
        if node.parameters.iter().any(is_matrix) {
            others.insert(reader);
        }
        for tensor in &node.inputs {
            let producer = producers[roots[tensor.index()].index()].and_then(unit);
            if let Some(producer) = producer.filter(|producer| *producer != reader) {
                others.insert(reader);
                readers.entry(producer).or_insert(op);
            }
        }
    }
    readers.retain(|unit, _| !others.contains(unit));
    readers
}

/// The device map.
///
/// # Errors
/// `cannot-express`, with the unit and the two devices, where a plan splits what Accelerate can't.
pub fn export(source: &Source<'_>) -> Result<Export, Diagnostic> {
    let graph = &*source.problem.graph;
    let degrees = &source.plan.parallelism;
    if [degrees.data, degrees.tensor, degrees.expert, degrees.context].iter().any(|d| *d != 1) {
        let message = "a device map has no words for data, tensor, expert or context parallelism";
        return Err(refusal(TARGET, message.to_owned()));
    }
    let layout = Layout::new(graph, TARGET)?;
    let names = Devices::new(source, TARGET)?;
    let mut keys = keys::Keys::new(&layout, source, &names)?;
    keys.check_glue()?;
    let map = keys.collapse();
    let mut warnings = layout.warnings(graph);
    warnings.extend(storage_only(&names));
    warnings.extend(keys.warning());
    warnings.extend(folded(&layout, graph, &map));
    let text = json(&map)?;
    Ok(Export { bytes: text.into_bytes(), warnings })
}

/// One entry per line, in the order of the model.
fn json(map: &[(String, Place)]) -> Result<String, Diagnostic> {
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

/// Accelerate computes modules on `"cpu"` and `"disk"` on the first GPU.
fn storage_only(names: &Devices<'_>) -> Option<Diagnostic> {
    let first = names.accelerators().next()?;
    let storage = names.used().find(|device| matches!(names.place(*device), Place::Storage(_)))?;
    let (storage, first) = (names.name(storage), names.name(first));
    let message = format!(
        "Accelerate keeps what is placed on `{storage}` there, but computes it on `{first}`"
    );
    Some(
        Diagnostic::warning("storage-only", message)
            .hint("forbid this device, or expect other times than the plan's"),
    )
}

/// Convolutions with weights that the exporter made, and no key above their own: what was folded into
/// them has parameters in PyTorch, but none here.
fn folded(layout: &Layout, graph: &Graph, map: &[(String, Place)]) -> Option<Diagnostic> {
    let keys: BTreeSet<&str> = map.iter().map(|(key, _)| key.as_str()).collect();
    let is_made = |id: &TensorId| graph.tensor(*id).name.starts_with("onnx::");
    let mut alone: BTreeSet<&str> = BTreeSet::new();
    for (op, module) in graph.ops.iter().zip(&layout.modules) {
        if let Some(module) = module
            && op.op_type.starts_with("Conv")
            && op.parameters.iter().any(is_made)
            && keys.contains(module.as_str())
        {
            alone.insert(module);
        }
    }
    let first = *alone.first()?;
    let message = format!(
        "the exporter folded other modules, such as batch norms, into `{first}`: they have parameters \
         in PyTorch and no key here, on which Accelerate fails"
    );
    Some(
        Diagnostic::warning("folded-parameters", message)
            .fact("modules", alone.into_iter().map(str::to_owned).collect::<Vec<_>>())
            .hint(
                "add a key for each such module, or export with dynamo=True, or with \
                 training=TrainingMode.PRESERVE and do_constant_folding=False",
            ),
    )
}

#[cfg(test)]
mod tests;
