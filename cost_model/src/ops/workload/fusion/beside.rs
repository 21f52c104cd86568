//! Products by weights side by side: those that read one tensor and whose results meet in the same
//! next kernel (queries, keys and values; both halves of a gate) run as one product by all of their
//! columns, as Megatron-Core and others hold their weights.

use std::collections::BTreeMap;

use ir::graph::Graph;
use ir::id::{OpId, TensorId};
use ir::op::{Fused, Op, Product, Work};
use ir::tensor::Role;

use super::{is_pointwise, kernel, readers};

/// What products side by side have in common: the tensor, its rows and columns, the next kernel.
type Key = (TensorId, u64, u64, OpId);

/// Puts products of a forward graph side by side; ops that share a device from then on. `cores` are
/// the ops of each core of attention.
pub(super) fn fuse(graph: &mut Graph, cores: &[Vec<OpId>]) -> Vec<Vec<OpId>> {
    let roots = graph.roots();
    let readers = readers(graph, &roots);
    let mut core_of: BTreeMap<OpId, OpId> = BTreeMap::new();
    for core in cores {
        core_of.extend(core.iter().map(|op| (*op, core[0])));
    }
    let mut found: BTreeMap<Key, Vec<(OpId, u64)>> = BTreeMap::new();
    for op in graph.op_ids() {
        let node = graph.op(op);
        let Some((product, read)) = by_weight(graph, &roots, node) else { continue };
        let Some(next) = next_kernel(graph, &readers, &core_of, op) else { continue };
        let key = (read, product.m, product.k, next);
        found.entry(key).or_default().push((op, product.n));
    }
    found.retain(|_, group| group.len() > 1);
    for group in found.values() {
        let columns = group.iter().map(|(_, n)| *n).fold(0, u64::saturating_add);
        for (at, (op, _)) in group.iter().enumerate() {
            if let Work::Kernel(kernel) = &mut graph.ops[op.index()].work {
                kernel.fused = Fused::Beside { columns, is_first: at == 0 };
            }
        }
    }
    found.into_values().map(|group| group.into_iter().map(|(op, _)| op).collect()).collect()
}

/// The one product of an op that multiplies one tensor by a matrix of weights, and that tensor.
fn by_weight(graph: &Graph, roots: &[TensorId], op: &Op) -> Option<(Product, TensorId)> {
    if !matches!(op.op_type.as_str(), "MatMul" | "Gemm") {
        return None;
    }
    let is_weight = |tensor: &TensorId| {
        let root = graph.tensor(roots[tensor.index()]);
        root.role == Role::Parameter && root.shape.len() > 1
    };
    let is_activation = |t: &&TensorId| graph.tensor(roots[t.index()]).role != Role::Parameter;
    let mut read = op.inputs.iter().filter(is_activation);
    let has_weight = op.parameters.iter().chain(&op.inputs).any(is_weight);
    match (kernel(op)?.products.as_slice(), read.next(), read.next()) {
        ([one], Some(read), None) if one.count == 1 && has_weight => {
            Some((*one, roots[read.index()]))
        }
        _ => None,
    }
}

/// The one kernel that reads what an op made, through pointwise ops and views.
fn next_kernel(
    graph: &Graph,
    readers: &[Vec<OpId>],
    core_of: &BTreeMap<OpId, OpId>,
    op: OpId,
) -> Option<OpId> {
    let mut next = None;
    let (mut open, mut seen) = (vec![op], std::collections::BTreeSet::new());
    while let Some(current) = open.pop() {
        for reader in graph.op(current).outputs.iter().flat_map(|t| &readers[t.index()]) {
            let kernel = core_of.get(reader).copied();
            let kernel = kernel.or((!is_pointwise(graph.op(*reader))).then_some(*reader));
            match (kernel, next) {
                (Some(kernel), None) => next = Some(kernel),
                (Some(kernel), Some(other)) if kernel != other => return None,
                (Some(_), Some(_)) => {}
                (None, _) => open.extend(seen.insert(*reader).then_some(*reader)),
            }
        }
    }
    next
}
