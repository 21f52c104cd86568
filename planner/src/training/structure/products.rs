//! What the factors of a product are: activations, weights, or weights that were picked out.

use ir::graph::Graph;
use ir::id::{OpId, TensorId};
use ir::op::{Op, Product, Work};
use ir::tensor::{DType, Role};

use super::line::Line;

/// What the tensors of a graph depend on.
#[derive(Debug)]
pub(super) struct Factors<'g> {
    graph: &'g Graph,
    /// By tensor, the parameter that it is, or that it was moved from; `None` for anything else.
    weight: Vec<Option<TensorId>>,
}

impl<'g> Factors<'g> {
    /// Follows parameters through ops that read nothing else.
    #[must_use]
    pub(super) fn of(graph: &'g Graph) -> Self {
        let line = Line::of(graph);
        Self::on(&line)
    }

    /// As [`Factors::of`], of a line.
    #[must_use]
    pub(super) fn on(line: &Line<'g>) -> Self {
        let graph = line.graph;
        let mut weight: Vec<Option<TensorId>> = (0..graph.tensors.len())
            .map(TensorId::new)
            .map(|tensor| (graph.tensor(tensor).role == Role::Parameter).then_some(tensor))
            .collect();
        for op in &line.ops {
            let node = graph.op(*op);
            let mut read = node.parameters.iter().chain(&node.inputs);
            if !read.all(|tensor| weight[tensor.index()].is_some()) {
                continue;
            }
            let largest = largest(graph, &weight, node);
            node.outputs.iter().for_each(|output| weight[output.index()] = largest);
        }
        Self { graph, weight }
    }

    /// The parameter that a tensor is or was made from alone.
    #[must_use]
    pub(super) fn weight(&self, tensor: TensorId) -> Option<TensorId> {
        self.weight[tensor.index()]
    }

    /// What an op reads and is no weight, of floating type.
    pub(super) fn activations(&self, op: OpId) -> impl Iterator<Item = TensorId> + '_ {
        let inputs = self.graph.op(op).inputs.iter().copied();
        inputs.filter(|tensor| {
            self.weight(*tensor).is_none() && is_float(self.graph.tensor(*tensor).dtype)
        })
    }

    /// The matrix that an op multiplies activations by, if it does: its largest weight.
    #[must_use]
    pub(super) fn matrix(&self, op: OpId) -> Option<TensorId> {
        let node = self.graph.op(op);
        let found = largest(self.graph, &self.weight, node)?;
        let is_matrix = self.graph.tensor(found).shape.iter().filter(|n| **n > 1).count() >= 2;
        (is_matrix && self.activations(op).count() <= 1).then_some(found)
    }

    /// Whether the products of an op are activations by a weight. An op that multiplies a tensor by
    /// itself, as where queries and keys are one tensor, reads one activation and no weight.
    #[must_use]
    pub(super) fn is_by_weight(&self, op: OpId) -> bool {
        let is_matrix = |tensor: &TensorId| {
            self.graph.tensor(*tensor).shape.iter().filter(|n| **n > 1).count() >= 2
        };
        self.matrix(op).is_some() || self.graph.op(op).parameters.iter().any(is_matrix)
    }

    /// Whether an op works on weights alone, however many samples there are.
    #[must_use]
    pub(super) fn is_of_weights(&self, op: OpId) -> bool {
        let node = self.graph.op(op);
        let outputs = &node.outputs;
        !outputs.is_empty() && outputs.iter().all(|output| self.weight(*output).is_some())
    }

    /// The products of an op; none of an op without any.
    #[must_use]
    pub(super) fn products(&self, op: OpId) -> &'g [Product] {
        match &self.graph.op(op).work {
            Work::Kernel(kernel) => &kernel.products,
            Work::View | Work::Given(_) => &[],
        }
    }
}

/// Of the weights that an op reads the one with most bytes.
fn largest(graph: &Graph, weight: &[Option<TensorId>], op: &Op) -> Option<TensorId> {
    let read = op.parameters.iter().chain(&op.inputs);
    let weights = read.filter_map(|tensor| weight[tensor.index()]);
    weights.max_by_key(|tensor| (graph.tensor(*tensor).bytes, std::cmp::Reverse(tensor.0)))
}

/// Whether a type can hold an activation.
pub(super) fn is_float(dtype: DType) -> bool {
    dtype.is_wide_float() || matches!(dtype, DType::F8 | DType::F4)
}
