//! The operator graph.

use std::borrow::Cow;

use crate::id::{OpId, TensorId};
use crate::op::{Op, Phase, Work};
use crate::tensor::{Role, Tensor};
use crate::units::{Bytes, Flops};

/// A directed acyclic graph of ops over single-assignment tensors.
///
/// [`OpId`] and [`TensorId`] are positions in `ops` and `tensors`. Importers promise: names are
/// unique, each activation has exactly one producer, the graph is acyclic, and ops stand in a
/// topological order unless the source gave ids of its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// Name of the model.
    pub name: String,
    /// Ops by id.
    pub ops: Vec<Op>,
    /// Tensors by id.
    pub tensors: Vec<Tensor>,
    /// Tensors that the caller feeds.
    pub inputs: Vec<TensorId>,
    /// Tensors that the caller reads at the end.
    pub outputs: Vec<TensorId>,
    /// Number of colocation groups; `Op::group` is below it.
    pub n_groups: usize,
    /// Whether whoever wrote the file may have made one constant of several of equal values, so that a
    /// shared vector need not be a tied one.
    pub merges_equal_values: bool,
    /// Whether its program is compiled as a whole before it runs, as JAX does it.
    pub is_compiled: bool,
    /// Gradients that the graph itself makes, where it holds a backward pass.
    pub gradients: Vec<Gradient>,
    /// Source ids of ops where the file numbered them itself (instance files), else empty.
    pub source_op_ids: Vec<u64>,
    /// Source ids of tensors where the file numbered them itself, else empty.
    pub source_tensor_ids: Vec<u64>,
}

/// The gradient of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gradient {
    /// The parameter.
    pub parameter: TensorId,
    /// Its gradient, of the same shape.
    pub tensor: TensorId,
}

impl Graph {
    /// The op with this id.
    ///
    /// # Panics
    /// If the id belongs to another graph.
    #[must_use]
    pub fn op(&self, id: OpId) -> &Op {
        &self.ops[id.index()]
    }

    /// The tensor with this id.
    ///
    /// # Panics
    /// If the id belongs to another graph.
    #[must_use]
    pub fn tensor(&self, id: TensorId) -> &Tensor {
        &self.tensors[id.index()]
    }

    /// Ids of all ops, views included, in increasing order.
    pub fn op_ids(&self) -> impl Iterator<Item = OpId> + use<> {
        (0..self.ops.len()).map(OpId::new)
    }

    /// The producer of each tensor.
    #[must_use]
    pub fn producers(&self) -> Vec<Option<OpId>> {
        let mut producers = vec![None; self.tensors.len()];
        for (index, op) in self.ops.iter().enumerate() {
            for output in &op.outputs {
                producers[output.index()] = Some(OpId::new(index));
            }
        }
        producers
    }

    /// For each tensor the tensor whose memory it names: itself, or what a chain of views renames.
    #[must_use]
    pub fn roots(&self) -> Vec<TensorId> {
        const UNKNOWN: TensorId = TensorId(u32::MAX);
        let mut parent = vec![None; self.tensors.len()];
        for op in &self.ops {
            if op.work == Work::View
                && let Some(source) = op.inputs.first().or_else(|| op.parameters.first())
            {
                for output in &op.outputs {
                    parent[output.index()] = Some(*source);
                }
            }
        }
        let mut roots = vec![UNKNOWN; self.tensors.len()];
        let mut chain = Vec::new();
        for index in 0..self.tensors.len() {
            let mut at = TensorId::new(index);
            // A chain longer than the graph would be a cycle, which importers refuse.
            while roots[at.index()] == UNKNOWN && chain.len() <= self.tensors.len() {
                chain.push(at);
                match parent[at.index()] {
                    Some(next) => at = next,
                    None => break,
                }
            }
            let root = if roots[at.index()] == UNKNOWN { at } else { roots[at.index()] };
            for seen in chain.drain(..) {
                roots[seen.index()] = root;
            }
        }
        roots
    }

    /// The forward pass alone; the graph itself where it holds nothing else.
    #[must_use]
    pub fn forward_part(&self) -> Cow<'_, Self> {
        if self.ops.iter().all(|op| op.phase == Phase::Forward) {
            return Cow::Borrowed(self);
        }
        let mut part = Self { gradients: Vec::new(), ..self.clone() };
        part.ops.retain(|op| op.phase == Phase::Forward);
        let mut is_known = vec![false; self.tensors.len()];
        let touched =
            |op: &Op| [&op.inputs, &op.parameters, &op.outputs].map(Clone::clone).concat();
        let named = part.ops.iter().flat_map(touched);
        named.chain(part.inputs.iter().copied()).for_each(|id| is_known[id.index()] = true);
        part.outputs.retain(|id| is_known[id.index()]);
        let mut ids = vec![TensorId::new(0); self.tensors.len()];
        let known = ids.iter_mut().zip(&is_known).filter(|(_, is_known)| **is_known);
        known.enumerate().for_each(|(at, (id, _))| *id = TensorId::new(at));
        let mut known = is_known.iter();
        part.tensors.retain(|_| known.next() == Some(&true));
        let lists = part
            .ops
            .iter_mut()
            .flat_map(|op| [&mut op.inputs, &mut op.parameters, &mut op.outputs]);
        for list in lists.chain([&mut part.inputs, &mut part.outputs]) {
            list.iter_mut().for_each(|id| *id = ids[id.index()]);
        }
        Cow::Owned(part)
    }

    /// Bytes of all parameters, each once.
    #[must_use]
    pub fn parameter_bytes(&self) -> Bytes {
        self.tensors.iter().filter(|t| t.role == Role::Parameter).map(|t| t.bytes).sum()
    }

    /// Floating-point operations of all ops whose work is computed.
    #[must_use]
    pub fn flops(&self) -> Flops {
        self.ops
            .iter()
            .map(|op| match &op.work {
                Work::Kernel(kernel) => kernel.flops(),
                Work::View | Work::Given(_) => Flops::ZERO,
            })
            .sum()
    }
}
