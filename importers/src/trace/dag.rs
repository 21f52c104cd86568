//! The operator graph of a Chakra trace: its nodes and the dependencies that it states.

use std::collections::{BTreeSet, HashMap};

use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::id::{OpId, TensorId};
use ir::op::{Kernel, Op, Phase, Product, Work};
use ir::order::topological;
use ir::tensor::{DType, Role, Tensor};
use ir::units::{Bytes, Nanos};

use super::calls::Call;
use super::chakra::{self, Node, NodeType};
use super::forest::{Unit, is_around};
use super::storages::created;
use super::work;
use crate::aten;
use crate::instance::check_acyclic;

/// The dtype of such matmuls, which no trace states.
const STATED: DType = DType::Bf16;

/// How the protocol numbers collectives.
const COLLECTIVES: [(u64, &str); 10] = [
    (0, "AllReduce"),
    (1, "Reduce"),
    (2, "AllGather"),
    (3, "Gather"),
    (4, "Scatter"),
    (5, "Broadcast"),
    (6, "AllToAll"),
    (7, "ReduceScatter"),
    (8, "ReduceScatter"),
    (9, "Barrier"),
];

/// Nodes that may lie between a composite operator and the one that makes its result.
const REACH: usize = 64;

/// The kind of device that durations of a trace are of, which it does not name.
pub(super) const KIND: &str = "recorded";

/// A graph, its collectives with their groups, and what is worth knowing.
type Made = (Graph, Vec<(OpId, String)>, Vec<Diagnostic>);

/// Makes the graph, and says what the trace lacks.
///
/// # Errors
/// `graph-cycle`.
pub(super) fn graph(nodes: &[Node], name: &str) -> Result<Made, Diagnostic> {
    let by_id = chakra::by_id(nodes);
    let positions =
        |ids: &[u64]| ids.iter().filter_map(|id| by_id.get(id).copied()).collect::<Vec<_>>();
    let mut waits: Vec<[Vec<usize>; 2]> =
        nodes.iter().map(|node| [positions(&node.data), positions(&node.control)]).collect();
    let mut warnings: Vec<Diagnostic> = absent(nodes, &by_id).into_iter().collect();
    warnings.extend(unwound(nodes, &mut waits));
    warnings.extend(lacks(nodes, &waits));
    let composite = composites(nodes);
    let mut builder = Builder {
        nodes,
        graph: Graph { name: name.to_owned(), ..Graph::default() },
        results: HashMap::new(),
        ops: HashMap::new(),
        collectives: Vec::new(),
    };
    for at in sorted(&waits).0 {
        builder.op(at, &waits[at], composite.contains(&at));
    }
    check_acyclic(&builder.graph)?;
    Ok((builder.graph, builder.collectives, warnings))
}

/// A warning of dependencies on nodes that a trace leaves out, as converters do with roots and with
/// nodes of other processes.
fn absent(nodes: &[Node], by_id: &HashMap<u64, usize>) -> Option<Diagnostic> {
    let is_absent = |id: &&u64| !by_id.contains_key(*id);
    let all = || nodes.iter().flat_map(|node| node.data.iter().chain(&node.control));
    let count = all().filter(is_absent).count();
    let missing: BTreeSet<u64> = all().filter(is_absent).copied().collect();
    let what = format!(
        "{count} dependencies are on {} nodes that the trace does not hold: nothing waits for them",
        missing.len()
    );
    (count > 0).then(|| {
        Diagnostic::warning("absent-nodes", what)
            .fact("dependencies", count)
            .fact("nodes", missing.len())
            .fact("first", missing.first().copied().unwrap_or(0))
    })
}

/// Drops control dependencies that close cycles, as a converter writes them that lets a call wait for
/// its own kernel, and warns of them. Data goes one way: where it does not, nothing is dropped.
fn unwound(nodes: &[Node], waits: &mut [[Vec<usize>; 2]]) -> Option<Diagnostic> {
    let (order, n_free) = sorted(waits);
    let data: Vec<[Vec<usize>; 2]> =
        waits.iter().map(|[data, _]| [data.clone(), Vec::new()]).collect();
    let (by_data, n_sorted) = sorted(&data);
    if n_free == nodes.len() || n_sorted < nodes.len() {
        return None;
    }
    let mut place = vec![0; nodes.len()];
    by_data.iter().enumerate().for_each(|(turn, at)| place[*at] = turn + 1);
    order[..n_free].iter().for_each(|at| place[*at] = 0);
    let (mut n, mut first) = (0, u64::MAX);
    for (at, [_, control]) in waits.iter_mut().enumerate() {
        let n_before = control.len();
        control.retain(|before| place[*before] < place[at] || place[at] == 0);
        if control.len() < n_before {
            n += n_before - control.len();
            first = first.min(nodes[at].call.id);
        }
    }
    let what = format!("{n} control dependencies are on nodes that come later: they are left out");
    Some(
        Diagnostic::warning("control-cycle", what)
            .fact("dependencies", n)
            .fact("first", first)
            .hint("convert the trace again with a current chakra_converter"),
    )
}

/// Nodes, each after those that it waits for, and how many; behind those come the nodes on cycles,
/// which are refused later.
fn sorted(waits: &[[Vec<usize>; 2]]) -> (Vec<usize>, usize) {
    let mut missing: Vec<usize> =
        waits.iter().map(|lists| lists.iter().map(Vec::len).sum()).collect();
    let mut after = vec![Vec::new(); waits.len()];
    for (at, lists) in waits.iter().enumerate() {
        lists.iter().flatten().for_each(|before| after[*before].push(at));
    }
    let mut order =
        topological(0..waits.len(), &mut missing, |at| after[at].iter().copied(), |at, _| at);
    let n = order.len();
    order.extend((0..waits.len()).filter(|at| missing[*at] > 0));
    (order, n)
}

/// Composite operators: nodes whose result a later product, inside of them, writes.
fn composites(nodes: &[Node]) -> BTreeSet<usize> {
    let multiplies = |call: &Call| {
        matches!(aten::find(&call.name).map(|rule| rule.effect), Some(aten::Effect::Multiplies(_)))
    };
    let result = |node: &Node| {
        let found = created(&node.call).next().map(|operand| operand.storage);
        found.filter(|_| multiplies(&node.call))
    };
    let writes = |node: &Node, storage| result(node) == Some(storage);
    let inner = |at: usize| {
        let storage = result(&nodes[at])?;
        let end = nodes.len().min(at + REACH);
        // Memory that was read in between has been freed since, and used again.
        let is_read = |node: &&Node| node.call.inputs.iter().any(|input| input.storage == storage);
        let later = &nodes[at + 1..end];
        let first = later.iter().find(|node| writes(node, storage) || is_read(node))?;
        writes(first, storage).then_some(at)
    };
    (0..nodes.len()).filter_map(inner).collect()
}

struct Builder<'n> {
    nodes: &'n [Node],
    graph: Graph,
    /// By node, its result.
    results: HashMap<usize, (TensorId, Option<TensorId>)>,
    /// By node, its op.
    ops: HashMap<usize, usize>,
    collectives: Vec<(OpId, String)>,
}

impl Builder<'_> {
    fn op(&mut self, at: usize, [data, control]: &[Vec<usize>; 2], is_composite: bool) {
        let node = &self.nodes[at];
        let call = &node.call;
        let unit = Unit { call: at, rule: aten::find(&call.name), is_view: false };
        let mut kernel = match node.kind {
            NodeType::Compute if !is_around(&call.name) => work::kernel(call, &unit),
            _ => Kernel::default(),
        };
        if is_composite {
            kernel = Kernel { products: Vec::new(), dtype: None, ..kernel };
        }
        if let Some(operations) = stated(node) {
            kernel = of_stated(operations, size(node));
        }
        let bytes = match node.kind {
            NodeType::Compute | NodeType::Metadata => kernel.bytes_written.get(),
            _ => size(node),
        };
        if node.kind != NodeType::Compute {
            (kernel.bytes_read, kernel.bytes_written) = (Bytes(bytes), Bytes(bytes));
        }
        if node.duration > 0 {
            let time = Nanos(node.duration.saturating_mul(1_000));
            kernel.measured.insert(KIND.to_owned(), time);
        }
        let mut inputs = Vec::new();
        for before in data {
            inputs.push(self.result(*before, None));
        }
        for before in control {
            inputs.push(self.done(*before));
        }
        inputs.sort_unstable();
        inputs.dedup();
        let name = format!("{}#{}", call.short_name(), call.id);
        let output = self.result(at, Some(bytes));
        self.ops.insert(at, self.graph.ops.len());
        if node.kind == NodeType::Collective {
            let group = node.texts.get("pg_name").cloned().unwrap_or_default();
            self.collectives.push((OpId::new(self.graph.ops.len()), group));
        }
        self.graph.ops.push(Op {
            name,
            op_type: op_type(node, &unit),
            module: None,
            phase: phase(call),
            inputs,
            parameters: Vec::new(),
            outputs: vec![output],
            work: Work::Kernel(kernel),
            group: None,
            splits: ir::op::Splits::default(),
        });
        if let Some((_, Some(done))) = self.results.get(&at)
            && let Some(op) = self.graph.ops.last_mut()
        {
            op.outputs.push(*done);
        }
    }

    /// The tensor of a node's result.
    fn result(&mut self, at: usize, bytes: Option<u64>) -> TensorId {
        let known = self.results.get(&at).map(|(tensor, _)| *tensor);
        let tensor = known.unwrap_or_else(|| self.tensor(at, ""));
        self.results.entry(at).or_insert((tensor, None));
        if let Some(bytes) = bytes {
            self.graph.tensors[tensor.index()].bytes = Bytes(bytes);
            self.graph.tensors[tensor.index()].shape = vec![bytes];
        }
        tensor
    }

    /// The tensor without bytes that says that a node is done.
    fn done(&mut self, at: usize) -> TensorId {
        let result = self.result(at, None);
        if let Some((_, Some(done))) = self.results.get(&at) {
            return *done;
        }
        let done = self.tensor(at, ":done");
        self.results.insert(at, (result, Some(done)));
        // Nodes on cycles have no op yet.
        if let Some(op) = self.ops.get(&at) {
            self.graph.ops[*op].outputs.push(done);
        }
        done
    }

    fn tensor(&mut self, at: usize, suffix: &str) -> TensorId {
        let call = &self.nodes[at].call;
        let id = TensorId::new(self.graph.tensors.len());
        self.graph.tensors.push(Tensor {
            name: format!("{}#{}:0{suffix}", call.short_name(), call.id),
            dtype: DType::U8,
            shape: vec![0],
            bytes: Bytes::ZERO,
            state_bytes: Bytes::ZERO,
            role: Role::Activation,
            trainable: false,
        });
        id
    }
}

/// Bytes of a message, or of what is moved.
fn size(node: &Node) -> u64 {
    let stated = ["comm_size", "tensor_size"].iter().find_map(|name| node.numbers.get(*name));
    stated.copied().unwrap_or(0)
}

/// The operation count of a node without tensors, as in traces of simulators.
fn stated(node: &Node) -> Option<u64> {
    let has_tensors = !(node.call.inputs.is_empty() && node.call.outputs.is_empty());
    let operations = node.numbers.get("num_ops").copied().filter(|operations| *operations > 0)?;
    (node.kind == NodeType::Compute && !has_tensors).then_some(operations)
}

/// A matmul of that many operations, as square as possible, and the bytes that it moves.
fn of_stated(operations: u64, bytes: u64) -> Kernel {
    let cells = operations.div_ceil(2);
    let side = (cells as f64).cbrt().floor().max(1.0) as u64;
    let n = cells / side.saturating_mul(side).max(1);
    let rest = cells - side.saturating_mul(side).saturating_mul(n);
    let most = Product { count: 1, m: side, k: side, n };
    let products = [most, Product { count: 1, m: 1, k: 1, n: rest }];
    Kernel {
        products: products.into_iter().filter(|product| product.n > 0).collect(),
        dtype: Some(STATED),
        bytes_read: Bytes(bytes),
        ..Kernel::default()
    }
}

fn op_type(node: &Node, unit: &Unit) -> String {
    match node.kind {
        NodeType::Compute if stated(node).is_some() => "Compute".to_owned(),
        NodeType::Compute if is_around(&node.call.name) => "Annotation".to_owned(),
        NodeType::Compute => work::op_type(&node.call, unit),
        NodeType::Metadata => "Metadata".to_owned(),
        NodeType::Load => "Load".to_owned(),
        NodeType::Store => "Store".to_owned(),
        NodeType::Send => "Send".to_owned(),
        NodeType::Receive => "Receive".to_owned(),
        NodeType::Collective => {
            let kind = node.numbers.get("comm_type");
            let known = COLLECTIVES.iter().find(|(number, _)| Some(number) == kind);
            known.map_or("Collective", |(_, name)| name).to_owned()
        }
    }
}

fn phase(call: &Call) -> Phase {
    let is_backward = call.name.starts_with("autograd::") || call.name.ends_with("_backward");
    if is_backward { Phase::BackwardInput } else { Phase::Forward }
}

/// What a trace lacks to be planned by.
fn lacks(nodes: &[Node], waits: &[[Vec<usize>; 2]]) -> Vec<Diagnostic> {
    let mut warnings = Vec::new();
    let hint = "give the ExecutionTrace that it was converted from, with --trace and the profile of the same run";
    if nodes.iter().all(|node| node.duration == 0) {
        let what = "no node has a duration: times are those of the cost model, and composite operators stand beside what is inside them";
        warnings.push(Diagnostic::warning("no-durations", what).hint(hint));
    }
    let n_stated = nodes.iter().filter(|node| stated(node).is_some()).count();
    if n_stated > 0 {
        let what = format!(
            "{n_stated} nodes have an operation count but no sizes: each is priced as a square matmul in {STATED}"
        );
        warnings.push(Diagnostic::warning("no-sizes", what).fact("nodes", n_stated).hint(hint));
    }
    let is_chain = waits.iter().flatten().all(|list| list.len() <= 1)
        && waits.iter().filter(|[data, control]| data.is_empty() && control.is_empty()).count()
            <= 1;
    if is_chain && nodes.len() > 1 {
        let what = "each node waits for the one before it: nothing can run side by side";
        warnings.push(
            Diagnostic::warning("sequential-chain", what).fact("nodes", nodes.len()).hint(hint),
        );
    }
    warnings
}
