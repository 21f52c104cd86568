//! What stacks fuse, written into the graph of a step: cores of attention ([`attention`]),
//! products side by side ([`beside`]), their biases ([`biases`]) and chains of pointwise ops ([`chains`]).
//!
//! Ops and ids stay. A tensor inside a fused kernel has no bytes; an op of a chain has only the bytes
//! that it adds to those of its chain, and ops between which such a tensor goes share a device.

mod attention;
mod beside;
mod biases;
pub(super) mod chains;
pub mod pass;

#[cfg(test)]
mod tests;

use ir::graph::Graph;
use ir::id::{OpId, TensorId};
use ir::op::{Kernel, Op, Phase, Work};
use ir::units::Bytes;

use crate::kernels::price::task::Stream;

/// Fuses attention and products of a forward graph; ops that share a device from then on.
pub(super) fn forward(graph: &mut Graph) -> Vec<Vec<OpId>> {
    let mut together = attention::fuse(graph);
    let beside = beside::fuse(graph, &together);
    together.extend(beside);
    together
}

/// Number of attention layers of a forward graph, and the memory traffic in bytes between their two matrix
/// products, each tensor written once and read once, that fused kernels would save.
#[must_use]
pub fn unfused_attention(graph: &Graph) -> (usize, Bytes) {
    let written = |graph: &Graph| {
        let ops = graph.ops.iter().filter(|op| kernel(op).is_some());
        let tensors = ops.flat_map(|op| &op.outputs);
        tensors.fold(0_u64, |sum, tensor| sum.saturating_add(graph.tensor(*tensor).bytes.0))
    };
    let mut fused = graph.clone();
    let n = attention::fuse(&mut fused).len();
    (n, Bytes(written(graph).saturating_sub(written(&fused)).saturating_mul(2)))
}

/// Ops that read a tensor by any of its names, views left out.
pub(super) fn readers(graph: &Graph, roots: &[TensorId]) -> Vec<Vec<OpId>> {
    let mut readers = vec![Vec::new(); graph.tensors.len()];
    for op in graph.op_ids().filter(|op| graph.op(*op).work != Work::View) {
        let mut read: Vec<TensorId> =
            graph.op(op).inputs.iter().map(|tensor| roots[tensor.index()]).collect();
        read.sort_unstable();
        read.dedup();
        read.iter().for_each(|root| readers[root.index()].push(op));
    }
    readers
}

/// The kernel of an op, where its work is computed.
pub(super) fn kernel(op: &Op) -> Option<&Kernel> {
    match &op.work {
        Work::Kernel(kernel) => Some(kernel),
        Work::View | Work::Given(_) => None,
    }
}

/// Whether an op takes every element by itself, by row or by another order, so that a chain of such
/// ops is one pass over memory.
pub(super) fn is_pointwise(op: &Op) -> bool {
    let is_kernel = kernel(op).is_some_and(|kernel| kernel.products.is_empty());
    let op_type = op.op_type.rsplit("::").next().unwrap_or_default();
    is_kernel
        && op.phase != Phase::Optimizer
        && !matches!(Stream::of(op_type), Stream::Embedding | Stream::Other)
}

/// Takes all bytes from tensors.
pub(super) fn empty(graph: &mut Graph, roots: &[TensorId], inner: &[bool]) {
    for (index, tensor) in graph.tensors.iter_mut().enumerate() {
        if inner[roots[index].index()] {
            tensor.bytes = Bytes::ZERO;
        }
    }
}
