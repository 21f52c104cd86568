//! Steps of graphs that hold their own backward pass: which forward op each backward op belongs to,
//! and which tensors are finished gradients of parameters.
//!
//! What the forward pass keeps is what the recorded backward ops read. A backward op belongs to the
//! forward op that reads the parameter whose gradient it makes or that it reads itself, else to the
//! maker of the last forward tensor that it reads, else to where its gradient comes from: autograd
//! runs a backward op where its forward op ran.

use ir::graph::{Gradient, Graph};
use ir::id::{OpId, TensorId};
use ir::op::{Phase, Work};
use ir::tensor::Role;
use ir::units::Bytes;

/// Empties the gradients of parameters, which lie in the buffer that the parameters' state counts,
/// and gives for each parameter's gradient the tensor to wait for.
pub(super) fn tokens(graph: &mut Graph, n_micro_batches: u64) -> Vec<Gradient> {
    let roots = graph.roots();
    let gradients = std::mem::take(&mut graph.gradients);
    let mut is_token = vec![false; graph.tensors.len()];
    for gradient in &gradients {
        is_token[roots[gradient.tensor.index()].index()] = true;
    }
    // What something else reads is a tensor like any other.
    for op in graph.ops.iter().filter(|op| op.work != Work::View) {
        op.inputs.iter().for_each(|input| is_token[roots[input.index()].index()] = false);
    }
    for op in &mut graph.ops {
        let Work::Kernel(kernel) = &mut op.work else { continue };
        let finished = op.outputs.iter().filter(|output| is_token[output.index()]);
        let buffers: Bytes = finished.map(|output| graph.tensors[output.index()].bytes).sum();
        // From the second micro-batch on the buffer holds a sum; all are costed alike.
        if n_micro_batches > 1 {
            kernel.bytes_read += buffers;
        }
    }
    for (index, tensor) in graph.tensors.iter_mut().enumerate() {
        if is_token[roots[index].index()] && tensor.role == Role::Activation {
            tensor.bytes = Bytes::ZERO;
        }
    }
    gradients
}

/// The forward op of each op; `None` for views and ops that belong to none.
pub(super) fn owners(graph: &Graph, gradients: &[Gradient]) -> Vec<Option<OpId>> {
    let roots = graph.roots();
    let producers = graph.producers();
    let is_forward = |op: OpId| graph.op(op).phase == Phase::Forward;
    let mut reader: Vec<Option<OpId>> = vec![None; graph.tensors.len()];
    for op in graph.op_ids().filter(|op| is_forward(*op) && graph.op(*op).work != Work::View) {
        for tensor in graph.op(op).inputs.iter().chain(&graph.op(op).parameters) {
            reader[roots[tensor.index()].index()].get_or_insert(op);
        }
    }
    let parameter = made_for(graph, gradients);
    let mut owners: Vec<Option<OpId>> = Vec::with_capacity(graph.ops.len());
    for op in graph.op_ids() {
        let node = graph.op(op);
        if is_forward(op) {
            owners.push(Some(op));
            continue;
        }
        let read: Vec<TensorId> = node
            .inputs
            .iter()
            .chain(&node.parameters)
            .map(|tensor| roots[tensor.index()])
            .collect();
        let of_weight = parameter[op.index()].and_then(|weight| reader[weight.index()]);
        let reads_weight = || {
            let is_weight = |tensor: &&TensorId| {
                let weight = graph.tensor(**tensor);
                weight.role == Role::Parameter && weight.trainable
            };
            read.iter().find(is_weight).and_then(|weight| reader[weight.index()])
        };
        let saved = || {
            let makers = read.iter().rev().filter_map(|tensor| producers[tensor.index()]);
            makers.filter(|maker| is_forward(*maker)).max()
        };
        let before = || {
            let makers = read.iter().filter_map(|tensor| producers[tensor.index()]);
            makers.filter_map(|maker| owners.get(maker.index()).copied().flatten()).next_back()
        };
        let owner = of_weight.or_else(reads_weight).or_else(saved).or_else(before);
        owners.push(owner);
    }
    owners
}

/// By op of the backward pass of weights, the parameter whose gradient it makes.
fn made_for(graph: &Graph, gradients: &[Gradient]) -> Vec<Option<TensorId>> {
    let mut of_tensor: Vec<Option<TensorId>> = vec![None; graph.tensors.len()];
    for gradient in gradients {
        of_tensor[gradient.tensor.index()] = Some(gradient.parameter);
    }
    let mut of_op = vec![None; graph.ops.len()];
    for (index, op) in graph.ops.iter().enumerate().rev() {
        if op.phase != Phase::BackwardWeight {
            continue;
        }
        let parameter = op.outputs.iter().find_map(|output| of_tensor[output.index()]);
        of_op[index] = parameter;
        for input in &op.inputs {
            of_tensor[input.index()] = of_tensor[input.index()].or(parameter);
        }
    }
    of_op
}
