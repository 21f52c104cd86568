//! Instance files: ops with given durations, devices and links in one JSON object. Ids may have
//! holes; ops, tensors, devices and groups are numbered again in increasing order of their ids.

pub(crate) mod devices;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::id::{GroupId, OpId, TensorId};
use ir::op::{GivenCost, Op, Phase, Work};
use ir::order::topological;
use ir::tensor::{DType, Role, Tensor};
use ir::units::{Bytes, Nanos};
use serde::Deserialize;

use crate::import::{Import, ImportOptions, Summary};
use crate::source::{self, Source};
use crate::{json, sound};

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct InstanceDocument {
    name: Option<String>,
    ops: Vec<OpDocument>,
    devices: Vec<devices::DeviceDocument>,
    link: Option<devices::LinkDocument>,
    #[serde(default)]
    links: Vec<devices::PairDocument>,
    #[serde(default)]
    graph_inputs: Vec<TensorDocument>,
    #[serde(default)]
    graph_outputs: Vec<u64>,
    #[serde(default)]
    parameters: Vec<TensorDocument>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OpDocument {
    id: u64,
    name: Option<String>,
    op_type: Option<String>,
    /// Nanoseconds by device kind.
    time_ns: BTreeMap<String, u64>,
    /// Bytes held on the op's device from start to end.
    #[serde(default)]
    persistent: u64,
    /// Bytes held while the op runs.
    #[serde(default)]
    temp: u64,
    #[serde(default)]
    inputs: Vec<u64>,
    #[serde(default)]
    outputs: Vec<TensorDocument>,
    group: Option<u64>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TensorDocument {
    tensor: u64,
    bytes: u64,
}

/// Reads an instance.
///
/// # Errors
/// Those of the JSON reader, and `duplicate-id`, `duplicate-tensor`, `undefined-tensor`,
/// `graph-cycle`, `unknown-device`, `invalid-link`, `no-devices`, `too-many-devices`.
pub(crate) fn read(
    source: &dyn Source,
    name: &str,
    options: &ImportOptions,
) -> Result<Import, Diagnostic> {
    let document: InstanceDocument = json::parse(&source::read_all(source, json::budget())?)?;
    let cluster = devices::cluster(&document.devices, document.link.as_ref(), &document.links)?;
    if document.ops.is_empty() {
        return Err(sound::no_ops());
    }
    let graph = graph(document, name)?;
    let summary = Summary::of("instance", &graph);
    Ok(Import {
        graph,
        cluster: Some(cluster),
        summary,
        warnings: without_effect(options, "an instance: its costs and sizes are given"),
    })
}

/// Options that a file, whose costs or sizes are given, has no use for.
pub(crate) fn without_effect(options: &ImportOptions, what: &str) -> Vec<Diagnostic> {
    let stated = [
        ("--batch", options.batch.is_some()),
        ("--batch-axis", !options.batch_axis.is_empty()),
        ("--dim", !options.dims.is_empty()),
        ("--dtype", options.dtype.is_some()),
    ];
    let stated = stated.into_iter().filter(|(_, is_stated)| *is_stated);
    stated
        .map(|(flag, _)| {
            Diagnostic::warning("flag-without-effect", format!("`{flag}` has no effect on {what}"))
                .fact("flag", flag)
        })
        .collect()
}

fn graph(mut document: InstanceDocument, name: &str) -> Result<Graph, Diagnostic> {
    document.ops.sort_by_key(|op| op.id);
    if let Some(pair) = document.ops.windows(2).find(|pair| pair[0].id == pair[1].id) {
        return Err(Diagnostic::input(
            "duplicate-id",
            format!("two ops have the id {}", pair[0].id),
        ));
    }
    let mut tensors = Tensors::number(&document)?;
    let groups: BTreeSet<u64> = document.ops.iter().filter_map(|op| op.group).collect();
    let groups: HashMap<u64, usize> = groups.into_iter().zip(0..).collect();
    let n_groups = groups.len();
    let mut outputs = Vec::new();
    let mut listed = BTreeSet::new();
    for id in &document.graph_outputs {
        let tensor = tensors.find(*id, "the graph outputs")?;
        if listed.insert(tensor) {
            outputs.push(tensor);
        }
    }
    let inputs: BTreeSet<TensorId> = document
        .graph_inputs
        .iter()
        .filter_map(|t| tensors.by_id.get(&t.tensor).copied())
        .collect();
    let source_op_ids = document.ops.iter().map(|op| op.id).collect();
    let mut names = BTreeSet::new();
    let mut ops = Vec::with_capacity(document.ops.len());
    for op in document.ops {
        let group = op.group.and_then(|id| groups.get(&id)).map(|at| GroupId::new(*at));
        let op = tensors.op(op, group, &mut names)?;
        ops.push(op);
    }
    let graph = Graph {
        name: document.name.unwrap_or_else(|| name.to_owned()),
        ops,
        tensors: tensors.tensors,
        inputs: inputs.into_iter().collect(),
        outputs,
        n_groups,
        merges_equal_values: false,
        is_compiled: false,
        gradients: Vec::new(),
        source_op_ids,
        source_tensor_ids: tensors.source_ids,
    };
    check_acyclic(&graph)?;
    Ok(graph)
}

/// Tensors while ops are added.
struct Tensors {
    tensors: Vec<Tensor>,
    source_ids: Vec<u64>,
    by_id: HashMap<u64, TensorId>,
}

impl Tensors {
    /// Numbers every tensor of the file by increasing id.
    fn number(document: &InstanceDocument) -> Result<Self, Diagnostic> {
        let mut all: Vec<(TensorDocument, Role)> = Vec::new();
        all.extend(document.graph_inputs.iter().map(|t| (*t, Role::Input)));
        all.extend(document.parameters.iter().map(|t| (*t, Role::Parameter)));
        let made = document.ops.iter().flat_map(|op| &op.outputs);
        all.extend(made.map(|t| (*t, Role::Activation)));
        all.sort_by_key(|(t, _)| t.tensor);
        if let Some(pair) = all.windows(2).find(|pair| pair[0].0.tensor == pair[1].0.tensor) {
            let id = pair[0].0.tensor;
            return Err(Diagnostic::input(
                "duplicate-tensor",
                format!("tensor {id} is produced or declared twice"),
            )
            .fact("tensor", id));
        }
        let mut this = Self {
            tensors: Vec::with_capacity(all.len()),
            source_ids: Vec::with_capacity(all.len()),
            by_id: HashMap::with_capacity(all.len()),
        };
        for (document, role) in all {
            let name = format!("t{}", document.tensor);
            let id = this.push(name, document.tensor, document.bytes, role);
            this.by_id.insert(document.tensor, id);
        }
        Ok(this)
    }

    fn push(&mut self, name: String, source_id: u64, bytes: u64, role: Role) -> TensorId {
        let id = TensorId::new(self.tensors.len());
        self.source_ids.push(source_id);
        self.tensors.push(Tensor {
            name,
            dtype: DType::U8,
            shape: Vec::new(),
            bytes: Bytes(bytes),
            state_bytes: Bytes::ZERO,
            role,
            trainable: false,
        });
        id
    }

    fn find(&self, id: u64, reader: &str) -> Result<TensorId, Diagnostic> {
        self.by_id.get(&id).copied().ok_or_else(|| {
            Diagnostic::input(
                "undefined-tensor",
                format!("{reader} read tensor {id}, which nothing produces or declares"),
            )
            .fact("tensor", id)
        })
    }

    fn op(
        &mut self,
        document: OpDocument,
        group: Option<GroupId>,
        names: &mut BTreeSet<String>,
    ) -> Result<Op, Diagnostic> {
        let mut name = document.name.unwrap_or_else(|| format!("op{}", document.id));
        while !names.insert(name.clone()) {
            name = format!("{name}#{}", document.id);
        }
        let mut inputs = Vec::new();
        let mut parameters = Vec::new();
        let mut seen = BTreeSet::new();
        for id in document.inputs.iter().filter(|id| seen.insert(**id)) {
            let tensor = self.find(*id, &format!("the inputs of op `{name}`"))?;
            match self.tensors[tensor.index()].role {
                Role::Parameter => parameters.push(tensor),
                Role::Activation | Role::Input => inputs.push(tensor),
            }
        }
        let outputs =
            document.outputs.iter().filter_map(|t| self.by_id.get(&t.tensor).copied()).collect();
        if document.persistent > 0 {
            // A tensor of the op's own, numbered after all that the file numbers.
            let source_id = self.source_ids.last().map_or(0, |last| last.saturating_add(1));
            let private = format!("{name}.persistent");
            parameters.push(self.push(private, source_id, document.persistent, Role::Parameter));
        }
        let time = document.time_ns.into_iter().map(|(kind, ns)| (kind, Nanos(ns))).collect();
        Ok(Op {
            op_type: document.op_type.unwrap_or_else(|| "Given".to_owned()),
            name,
            module: None,
            phase: Phase::Forward,
            inputs,
            parameters,
            outputs,
            work: Work::Given(GivenCost { time, temporary: Bytes(document.temp) }),
            group,
            splits: ir::op::Splits::default(),
        })
    }
}

/// Refuses a graph with a cycle.
///
/// # Errors
/// `graph-cycle`.
pub(crate) fn check_acyclic(graph: &Graph) -> Result<(), Diagnostic> {
    let producers = graph.producers();
    let mut missing = vec![0usize; graph.ops.len()];
    let mut readers: Vec<Vec<OpId>> = vec![Vec::new(); graph.ops.len()];
    for reader in graph.op_ids() {
        for producer in graph.op(reader).inputs.iter().filter_map(|t| producers[t.index()]) {
            missing[reader.index()] += 1;
            readers[producer.index()].push(reader);
        }
    }
    let after = |op: usize| readers[op].iter().map(|reader| reader.index());
    let order = topological(0..graph.ops.len(), &mut missing, after, |_, _| ());
    if order.len() == graph.ops.len() {
        return Ok(());
    }
    // Going back from an op that waits along inputs that wait ends in the cycle.
    let waits = |op: OpId| missing[op.index()] > 0;
    let back = |op: OpId| {
        graph.op(op).inputs.iter().filter_map(|t| producers[t.index()]).find(|p| waits(*p))
    };
    let mut path: Vec<OpId> = Vec::new();
    let mut seen = vec![false; graph.ops.len()];
    let mut at = graph.op_ids().find(|op| waits(*op));
    while let Some(op) = at.filter(|op| !seen[op.index()]) {
        seen[op.index()] = true;
        path.push(op);
        at = back(op);
    }
    let first = path.iter().position(|op| Some(*op) == at).unwrap_or(0);
    let mut cycle = path.split_off(first);
    cycle.sort_unstable();
    let names: Vec<String> = cycle.iter().take(8).map(|op| graph.op(*op).name.clone()).collect();
    let shown: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    Err(Diagnostic::input("graph-cycle", format!("graph cycle through {}", shown.join(", ")))
        .fact("ops", names))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: &str = r#""link":{"latency_ns":1,"bytes_per_s":1e9,"duplex":"half"}"#;

    fn import(ops: &str, more: &str) -> Result<Import, Diagnostic> {
        let text = format!(
            r#"{{"ops":[{ops}],"devices":[{{"id":4,"kind":"a","limit":10}},{{"id":2,"kind":"a","limit":10}}],{LINK}{more}}}"#
        );
        crate::read_bytes("case.json", text.as_bytes(), &ImportOptions::default())
    }

    #[test]
    fn ids_with_holes_are_numbered_in_their_order() {
        let import = import(
            r#"{"id":9,"time_ns":{"a":2},"inputs":[70,5,5,60],"group":3},
               {"id":4,"name":"first","time_ns":{"a":1},"persistent":6,"temp":8,"outputs":[{"tensor":70,"bytes":2}],"group":8}"#,
            r#","graph_inputs":[{"tensor":5,"bytes":3}],"parameters":[{"tensor":60,"bytes":9}],"graph_outputs":[70]"#,
        )
        .unwrap();
        let graph = import.graph;
        assert_eq!(graph.source_op_ids, [4, 9]);
        assert_eq!(graph.source_tensor_ids, [5, 60, 70, 71]);
        assert_eq!(graph.ops[0].name, "first");
        assert_eq!(graph.ops[0].parameters, [TensorId(3)]);
        assert_eq!(graph.tensors[3].name, "first.persistent");
        assert_eq!(graph.tensors[3].bytes, Bytes(6));
        assert_eq!(graph.ops[1].inputs, [TensorId(2), TensorId(0)]);
        assert_eq!(graph.ops[1].parameters, [TensorId(1)]);
        assert_eq!((graph.ops[0].group, graph.ops[1].group), (Some(GroupId(1)), Some(GroupId(0))));
        assert_eq!((graph.inputs, graph.outputs), (vec![TensorId(0)], vec![TensorId(2)]));
        let cluster = import.cluster.unwrap();
        assert_eq!(cluster.devices[0].name, "d2");
        assert_eq!(cluster.classes.len(), 1);
    }

    #[test]
    fn options_without_effect_are_warned_of() {
        let options = ImportOptions {
            batch: Some(2),
            dims: [("s".to_owned(), 3)].into(),
            dtype: Some(DType::F16),
            ..ImportOptions::default()
        };
        let text = r#"{"ops":[{"id":1,"time_ns":{"a":1}}],"devices":[{"id":4,"kind":"a"}]}"#;
        let import = crate::read_bytes("case.json", text.as_bytes(), &options).unwrap();
        let said: Vec<_> = import.warnings.iter().map(|w| (w.code, w.message.as_str())).collect();
        assert_eq!(said.len(), 3);
        for ((code, message), flag) in said.iter().zip(["--batch", "--dim", "--dtype"]) {
            assert_eq!(*code, "flag-without-effect");
            assert!(message.contains(&format!("`{flag}`")), "{message}");
        }
    }

    #[test]
    fn faults_have_codes() {
        let code = |ops: &str, more: &str| import(ops, more).unwrap_err().code;
        let op = |id: u64, inputs: &str, outputs: &str| {
            format!(
                r#"{{"id":{id},"time_ns":{{"a":1}},"inputs":[{inputs}],"outputs":[{outputs}]}}"#
            )
        };
        let t = |id: u64| format!(r#"{{"tensor":{id},"bytes":1}}"#);
        assert_eq!(code(&op(1, "7", ""), ""), "undefined-tensor");
        assert_eq!(code(&op(1, "7", &t(7)), ""), "graph-cycle");
        let pair = format!("{},{}", op(1, "8", &t(7)), op(2, "7", &t(8)));
        assert_eq!(import(&pair, "").unwrap_err().message, "graph cycle through `op1`, `op2`");
        assert_eq!(code(&format!("{},{}", op(1, "", ""), op(1, "", "")), ""), "duplicate-id");
        assert_eq!(code(&op(1, "", &format!("{},{}", t(7), t(7))), ""), "duplicate-tensor");
        assert_eq!(code(&op(1, "", ""), r#","more":1"#), "invalid-document");
        assert_eq!(code(r#"{"id":-1,"time_ns":{}}"#, ""), "invalid-document");
        assert_eq!(code(r#"{"id":1,"time_ns":{"a":1,"a":2}}"#, ""), "duplicate-key");
    }
}
