//! Biases of products by weights, which the product's kernel adds to what it writes (`addmm`).

use ir::graph::Graph;
use ir::id::{OpId, TensorId};
use ir::op::{Fused, Op, Work};
use ir::tensor::Role;
use ir::units::Bytes;

use super::{kernel, readers};

/// Fuses every bias that is added to a product, which nothing else reads.
pub(super) fn fuse(graph: &mut Graph) {
    let roots = graph.roots();
    let producers = graph.producers();
    let readers = readers(graph, &roots);
    let is_bias = |tensor: &TensorId| {
        let root = graph.tensor(roots[tensor.index()]);
        root.role == Role::Parameter && root.shape.iter().filter(|extent| **extent > 1).count() == 1
    };
    let adds_bias = |op: &OpId| {
        let node = graph.op(*op);
        let read: Vec<TensorId> = node.inputs.iter().chain(&node.parameters).copied().collect();
        let (&[a, b], true) = (read.as_slice(), is_named(node, "add")) else { return false };
        let sum = if is_bias(&b) { a } else { b };
        let root = roots[sum.index()];
        (is_bias(&a) || is_bias(&b))
            && readers[root.index()].as_slice() == [*op]
            && producers[root.index()].is_some_and(|maker| is_product(graph.op(maker)))
    };
    let found: Vec<OpId> = graph.op_ids().filter(adds_bias).collect();
    for op in found {
        if let Work::Kernel(kernel) = &mut graph.ops[op.index()].work {
            kernel.fused = Fused::Chain;
            (kernel.bytes_read, kernel.bytes_written) = (Bytes::ZERO, Bytes::ZERO);
        }
    }
}

fn is_product(op: &Op) -> bool {
    let is_free = |work: &ir::op::Kernel| !work.products.is_empty() && work.fused == Fused::Alone;
    kernel(op).is_some_and(is_free) && (is_named(op, "matmul") || is_named(op, "gemm"))
}

fn is_named(op: &Op, name: &str) -> bool {
    op.op_type.rsplit("::").next().is_some_and(|last| last.eq_ignore_ascii_case(name))
}
