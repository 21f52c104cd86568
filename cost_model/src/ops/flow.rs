//! Who reads and writes what, with views dissolved (`docs/conventions.md`, M3).

use ir::graph::Graph;
use ir::id::{OpId, TensorId};
use ir::tensor::Role;

use crate::numeric::csr::Csr;

/// Reads and writes of actions on root tensors.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    /// By op: produced root tensors that it reads.
    pub(crate) inputs: Csr<TensorId>,
    /// By op: root tensors fed by the caller that it reads.
    pub(crate) graph_inputs: Csr<TensorId>,
    /// By op: parameters that it reads.
    pub(crate) parameters: Csr<TensorId>,
    /// By op: tensors that it writes.
    pub(crate) outputs: Csr<TensorId>,
    /// By root tensor: actions that read it.
    pub(crate) consumers: Csr<OpId>,
    /// By root tensor: the action that writes it.
    pub(crate) producer: Vec<Option<OpId>>,
    /// By root tensor: whether it lives to the end.
    pub(crate) is_output: Vec<bool>,
    /// By tensor: the tensor whose memory it names.
    pub(crate) roots: Vec<TensorId>,
}

impl Flow {
    pub(crate) fn of(graph: &Graph, actions: &[OpId]) -> Self {
        let (n_ops, n_tensors) = (graph.ops.len(), graph.tensors.len());
        let roots = graph.roots();
        let mut inputs = Vec::new();
        let mut graph_inputs = Vec::new();
        let mut parameters = Vec::new();
        let mut outputs = Vec::new();
        let mut consumers = Vec::new();
        let mut producer = vec![None; n_tensors];
        let mut last_reader = vec![None; n_tensors];
        for &op in actions {
            let node = graph.op(op);
            for tensor in node.inputs.iter().chain(&node.parameters) {
                let root = roots[tensor.index()];
                if last_reader[root.index()].replace(op) == Some(op) {
                    continue;
                }
                let list = match graph.tensor(root).role {
                    Role::Activation => &mut inputs,
                    Role::Input => &mut graph_inputs,
                    Role::Parameter => &mut parameters,
                };
                list.push((op.index(), root));
                consumers.push((root.index(), op));
            }
            for &output in &node.outputs {
                producer[output.index()] = Some(op);
                outputs.push((op.index(), output));
            }
        }
        let mut is_output = vec![false; n_tensors];
        for output in &graph.outputs {
            is_output[roots[output.index()].index()] = true;
        }
        Self {
            inputs: Csr::from_pairs(n_ops, &inputs),
            graph_inputs: Csr::from_pairs(n_ops, &graph_inputs),
            parameters: Csr::from_pairs(n_ops, &parameters),
            outputs: Csr::from_pairs(n_ops, &outputs),
            consumers: Csr::from_pairs(n_tensors, &consumers),
            producer,
            is_output,
            roots,
        }
    }
}
