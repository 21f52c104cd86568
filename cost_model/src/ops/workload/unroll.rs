//! One copy of the graph per micro-batch.
//!
//! Copies share the parameters, and so all copies of an op share a device. Optimizer ops are not
//! copied: each waits for the tokens of all copies. Weight gradients of several micro-batches add
//! up in the same buffer.

use ir::graph::Graph;
use ir::id::{OpId, TensorId};
use ir::op::{Op, Phase, Work};
use ir::tensor::Role;

use super::groups::Groups;
use super::names::Names;

/// A graph under construction.
struct Copies<'a> {
    graph: &'a Graph,
    result: Graph,
    /// By tensor of the graph, its id in each copy; a parameter has the same in all.
    ids: Vec<Vec<TensorId>>,
    /// By op of the result: the op that it is a copy of.
    owner: Vec<Option<OpId>>,
    op_names: Names,
    tensor_names: Names,
}

/// `n` copies. Ids: the copies of the first micro-batch in the order of the graph, those of the
/// second, ..., then the optimizer ops.
pub(super) fn unroll(graph: &Graph, n: u64) -> Graph {
    let mut copies = Copies {
        graph,
        result: Graph { name: graph.name.clone(), ..Graph::default() },
        ids: vec![Vec::new(); graph.tensors.len()],
        owner: Vec::new(),
        op_names: Names::default(),
        tensor_names: Names::default(),
    };
    for number in 0..n {
        copies.copy_tensors(number);
        copies.copy_ops(number);
    }
    copies.add_updates();
    let mut groups = Groups::of(graph);
    for op in graph.op_ids().filter(|op| graph.op(*op).work != Work::View) {
        groups.join(op, op);
    }
    groups.write(&mut copies.result, &copies.owner);
    copies.result
}

impl Copies<'_> {
    fn copy_tensors(&mut self, number: u64) {
        for (tensor, ids) in self.graph.tensors.iter().zip(&mut self.ids) {
            let is_parameter = tensor.role == Role::Parameter;
            if let (true, Some(first)) = (is_parameter, ids.first()) {
                ids.push(*first);
                continue;
            }
            let mut copy = tensor.clone();
            if !is_parameter {
                copy.name.push_str(&format!("@mb{number}"));
            }
            copy.name = self.tensor_names.fresh(copy.name);
            ids.push(TensorId::new(self.result.tensors.len()));
            self.result.tensors.push(copy);
        }
    }

    /// Ids of the latest copy of tensors.
    fn latest(&self, tensors: &[TensorId]) -> Vec<TensorId> {
        tensors.iter().filter_map(|tensor| self.ids[tensor.index()].last().copied()).collect()
    }

    fn copy_ops(&mut self, number: u64) {
        for id in self.graph.op_ids() {
            let op = self.graph.op(id);
            if op.phase == Phase::Optimizer {
                continue;
            }
            let copy = Op {
                name: self.op_names.fresh(format!("{}@mb{number}", op.name)),
                inputs: self.latest(&op.inputs),
                parameters: self.latest(&op.parameters),
                outputs: self.latest(&op.outputs),
                ..op.clone()
            };
            self.result.ops.push(copy);
            self.owner.push(Some(id));
        }
        let (inputs, outputs) = (self.latest(&self.graph.inputs), self.latest(&self.graph.outputs));
        self.result.inputs.extend(inputs);
        // A parameter that the graph returns is returned once.
        let is_first = number == 0;
        let graph = &self.result;
        let is_new = |t: &TensorId| is_first || graph.tensor(*t).role != Role::Parameter;
        let outputs: Vec<TensorId> = outputs.into_iter().filter(is_new).collect();
        self.result.outputs.extend(outputs);
    }

    fn add_updates(&mut self) {
        for id in self.graph.op_ids() {
            let op = self.graph.op(id);
            if op.phase != Phase::Optimizer {
                continue;
            }
            let all = op.inputs.iter().flat_map(|tensor| self.ids[tensor.index()].iter().copied());
            let update = Op {
                name: self.op_names.fresh(op.name.clone()),
                inputs: all.collect(),
                parameters: self.latest(&op.parameters),
                outputs: Vec::new(),
                ..op.clone()
            };
            self.result.ops.push(update);
            self.owner.push(Some(id));
        }
    }
}
