//! Chains of pointwise ops as one kernel each.
//!
//! Pointwise ops with as many other kernels before them, one reading from the other, are one chain:
//! no way between two of them leads through another kernel. A chain reads each tensor from outside
//! once and writes what others read. What stays inside and only backward passes of pointwise ops
//! need is computed again from what the chain read, and has no bytes.

use std::collections::{HashMap, HashSet};

use ir::graph::Graph;
use ir::id::{OpId, TensorId};
use ir::op::{Fused, Op, Phase, Work};
use ir::tensor::Role;
use ir::units::Bytes;
use petgraph::unionfind::UnionFind;

use super::{empty, is_pointwise, kernel, readers};

/// A graph of a step while its chains are found.
struct Chains<'g> {
    graph: &'g Graph,
    roots: Vec<TensorId>,
    producers: Vec<Option<OpId>>,
    readers: Vec<Vec<OpId>>,
    /// By op, whether it may be in a chain.
    is_pointwise: Vec<bool>,
    /// Chains, by op.
    sets: UnionFind<usize>,
    /// By op, the forward op that it belongs to.
    owner: &'g [Option<OpId>],
}

/// Fuses all chains of a step; ops that share a device from then on. `owner` says of each op which
/// forward op it belongs to.
pub(in crate::ops::workload) fn fuse(graph: &mut Graph, owner: &[Option<OpId>]) -> Vec<[OpId; 2]> {
    let (inner, moved, read, together) = {
        let chains = Chains::of(graph, owner);
        let (mut inner, mut together) =
            (vec![false; graph.tensors.len()], UnionFind::new(graph.ops.len()));
        chains.mark_forward(&mut inner, &mut together);
        chains.mark_backward(&mut inner, &mut together);
        let read = chains.read_again(&inner);
        let moved = chains.moved(&read);
        let pairs = graph.op_ids().map(|op| [op, OpId::new(together.find(op.index()))]);
        (inner, moved, read, pairs.filter(|[a, b]| a != b).collect())
    };
    let roots = graph.roots();
    empty(graph, &roots, &inner);
    for (op, inputs) in read {
        graph.ops[op.index()].inputs = inputs;
    }
    for (op, fused, [bytes_read, bytes_written]) in moved {
        if let Work::Kernel(kernel) = &mut graph.ops[op.index()].work {
            (kernel.fused, kernel.bytes_read, kernel.bytes_written) =
                (fused, bytes_read, bytes_written);
        }
    }
    together
}

/// Whether an op may be in a chain: what is in a kernel of attention is not.
fn may_join(op: &Op) -> bool {
    is_pointwise(op) && kernel(op).is_some_and(|kernel| kernel.fused == Fused::Alone)
}

impl<'g> Chains<'g> {
    fn of(graph: &'g Graph, owner: &'g [Option<OpId>]) -> Self {
        let roots = graph.roots();
        let mut chains = Self {
            readers: readers(graph, &roots),
            producers: graph.producers(),
            is_pointwise: graph.ops.iter().map(may_join).collect(),
            sets: UnionFind::new(graph.ops.len()),
            graph,
            roots,
            owner,
        };
        chains.find();
        chains
    }

    /// Joins pointwise ops that read from one another and have as many other kernels before them.
    fn find(&mut self) {
        let mut depth = vec![0_u32; self.graph.ops.len()];
        for op in self.graph.op_ids() {
            let node = self.graph.op(op);
            let mut before = 0;
            for input in &node.inputs {
                let Some(maker) = self.producers[input.index()] else { continue };
                // Gradients begin behind every forward op.
                let behind = u32::from(!self.is_pointwise[maker.index()] && !self.is_view(maker));
                before = before.max(depth[maker.index()] + behind);
            }
            depth[op.index()] = before;
        }
        let mut gradient_of = HashMap::new();
        for op in self.graph.op_ids().filter(|op| self.is_pointwise[op.index()]) {
            for input in &self.graph.op(op).inputs {
                let maker = self.producers[self.roots[input.index()].index()];
                let is_alike = |maker: &OpId| {
                    self.is_pointwise[maker.index()]
                        && depth[maker.index()] == depth[op.index()]
                        && self.is_forward(*maker) == self.is_forward(op)
                };
                if let Some(maker) = maker.filter(is_alike) {
                    self.sets.union(maker.index(), op.index());
                }
            }
            // Gradients of activations and of weights read the same.
            let owner = self.owner[op.index()].filter(|_| !self.is_forward(op));
            if let Some(owner) = owner {
                let other = *gradient_of.entry((owner, depth[op.index()])).or_insert(op);
                self.sets.union(other.index(), op.index());
            }
        }
    }

    fn is_view(&self, op: OpId) -> bool {
        self.graph.op(op).work == Work::View
    }

    fn is_forward(&self, op: OpId) -> bool {
        self.graph.op(op).phase == Phase::Forward
    }

    fn alike(&self, a: OpId, b: OpId) -> bool {
        self.is_pointwise[b.index()] && self.sets.find(a.index()) == self.sets.find(b.index())
    }

    fn is_returned(&self, tensor: TensorId) -> bool {
        self.graph.outputs.iter().any(|output| self.roots[output.index()] == tensor)
    }

    /// Forward tensors that stay in their chains, and the ops that must share a device for that.
    fn mark_forward(&self, inner: &mut [bool], together: &mut UnionFind<usize>) {
        for maker in self.graph.op_ids().filter(|op| self.is_pointwise[op.index()]) {
            if !self.is_forward(maker) {
                continue;
            }
            for output in &self.graph.op(maker).outputs {
                let readers = &self.readers[output.index()];
                let stays = |reader: &OpId| match self.is_forward(*reader) {
                    true => self.alike(maker, *reader),
                    false => self.is_pointwise[reader.index()],
                };
                if readers.is_empty() || self.is_returned(*output) || !readers.iter().all(stays) {
                    continue;
                }
                inner[output.index()] = true;
                for reader in readers {
                    if let Some(owner) = self.owner[reader.index()] {
                        together.union(maker.index(), owner.index());
                    }
                }
            }
        }
    }

    /// Gradients that stay in their chains on one device.
    fn mark_backward(&self, inner: &mut [bool], together: &mut UnionFind<usize>) {
        for maker in self.graph.op_ids().filter(|op| self.is_pointwise[op.index()]) {
            if self.is_forward(maker) {
                continue;
            }
            let Some(owner) = self.owner[maker.index()] else { continue };
            let here = |reader: &OpId| {
                let other = self.owner[reader.index()];
                other.is_some_and(|other| {
                    together.find(other.index()) == together.find(owner.index())
                })
            };
            for output in &self.graph.op(maker).outputs {
                let readers = &self.readers[output.index()];
                let stays = |reader: &OpId| self.alike(maker, *reader) && here(reader);
                if !readers.is_empty() && !self.is_returned(*output) && readers.iter().all(stays) {
                    inner[output.index()] = true;
                }
            }
        }
    }

    /// Bytes that each op of a chain adds to it: read, written.
    fn moved(&self, read_again: &HashMap<OpId, Vec<TensorId>>) -> Vec<(OpId, Fused, [Bytes; 2])> {
        // What a chain has not read yet of a tensor.
        let mut left: HashMap<(usize, TensorId), Bytes> = HashMap::new();
        let mut started = vec![false; self.graph.ops.len()];
        let mut moved = Vec::new();
        for op in self.graph.op_ids().filter(|op| self.is_pointwise[op.index()]) {
            let node = self.graph.op(op);
            let Some(kernel) = kernel(node) else { continue };
            let chain = self.sets.find(op.index());
            let mut read = Bytes::ZERO;
            let inputs = read_again.get(&op).unwrap_or(&node.inputs);
            // The weights of a gradient of weights are what it writes.
            let is_sum = node.phase == Phase::BackwardWeight;
            let parameters = node.parameters.iter().filter(|_| !is_sum);
            for tensor in inputs.iter().chain(parameters) {
                let root = self.roots[tensor.index()];
                let bytes = self.graph.tensor(*tensor).bytes;
                let maker = self.producers[root.index()];
                if maker.is_some_and(|maker| self.alike(op, maker) || self.is_added(maker)) {
                    continue;
                }
                let whole = self.graph.tensor(root).bytes;
                let left = left.entry((chain, root)).or_insert(whole);
                let share = bytes.min(*left).min(kernel.bytes_read);
                *left = Bytes(left.get() - share.get());
                read += share;
            }
            // Sums of gradients are read too.
            let sums = match node.phase {
                Phase::BackwardWeight => {
                    let all: Bytes = node.inputs.iter().map(|t| self.graph.tensor(*t).bytes).sum();
                    Bytes(kernel.bytes_read.get().saturating_sub(all.get()))
                }
                _ => Bytes::ZERO,
            };
            let written = match node.phase {
                Phase::BackwardWeight => kernel.bytes_written,
                _ => node
                    .outputs
                    .iter()
                    .filter(|t| self.leaves(op, **t))
                    .map(|t| self.graph.tensor(*t).bytes)
                    .sum(),
            };
            let bytes = [read.min(kernel.bytes_read) + sums, written.min(kernel.bytes_written)];
            let moves = bytes != [Bytes::ZERO; 2];
            let fused = if moves && !started[chain] { Fused::Alone } else { Fused::Chain };
            started[chain] |= moves;
            moved.push((op, fused, bytes));
        }
        moved
    }

    /// Whether what a gradient of products side by side makes is a term of the first one's.
    fn is_added(&self, maker: OpId) -> bool {
        let node = self.graph.op(maker);
        let fused = kernel(node).map(|kernel| kernel.fused);
        node.phase == Phase::BackwardInput
            && matches!(fused, Some(Fused::Beside { is_first: false, .. }))
    }

    /// Whether anything outside of a chain reads what one of its ops made; backward passes of
    /// pointwise ops read what goes out anyway, or compute it again.
    fn leaves(&self, op: OpId, tensor: TensorId) -> bool {
        let recomputes = |reader: &OpId| {
            self.is_forward(op) && !self.is_forward(*reader) && self.is_pointwise[reader.index()]
        };
        let readers = &self.readers[tensor.index()];
        readers.is_empty()
            || self.is_returned(tensor)
            || readers.iter().any(|reader| !self.alike(op, *reader) && !recomputes(reader))
    }

    /// Backward ops with what they read instead of forward tensors that have no bytes.
    fn read_again(&self, inner: &[bool]) -> HashMap<OpId, Vec<TensorId>> {
        let is_inner = |tensor: &TensorId| {
            let root = self.roots[tensor.index()];
            inner[root.index()]
                && self.producers[root.index()].is_some_and(|maker| self.is_forward(maker))
        };
        let backward = self.graph.op_ids().filter(|op| !self.is_forward(*op) && !self.is_view(*op));
        let reads = backward.filter(|op| self.graph.op(*op).inputs.iter().any(is_inner));
        reads
            .map(|op| {
                let mut inputs: Vec<TensorId> = Vec::new();
                for tensor in &self.graph.op(op).inputs {
                    match is_inner(tensor) {
                        true => self.sources(*tensor, inner, &mut inputs),
                        false => inputs.push(*tensor),
                    }
                }
                let mut seen = HashSet::new();
                inputs.retain(|tensor| seen.insert(*tensor));
                (op, inputs)
            })
            .collect()
    }

    /// Tensors with bytes from which one without is computed.
    fn sources(&self, tensor: TensorId, inner: &[bool], found: &mut Vec<TensorId>) {
        let mut open = vec![self.roots[tensor.index()]];
        let mut seen = HashSet::new();
        while let Some(root) = open.pop() {
            if !seen.insert(root) || self.graph.tensor(root).role == Role::Parameter {
                continue;
            }
            match self.producers[root.index()].filter(|_| inner[root.index()]) {
                Some(maker) => {
                    let inputs = self.graph.op(maker).inputs.iter();
                    open.extend(inputs.map(|input| self.roots[input.index()]));
                }
                None => found.push(root),
            }
        }
    }
}
