//! Forward and backward pass of a graph side by side: what each forward op brings about.

use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::id::{OpId, TensorId};
use ir::op::Phase;
use ir::tensor::Role;

use super::parameters::{is_trained, untie};
use super::{check_trainable, dropout, training};

/// A forward graph with its backward ops.
#[derive(Clone, Debug)]
pub struct Passes {
    /// Forward ops under the ids of the graph they were made from, then backward ops, which have no
    /// names. Vectors that
    /// an exporter merged are apart again, constants of the formula are not trained.
    pub graph: Graph,
    /// By op, the forward op that it belongs to; `None` for a loss over several outputs.
    pub owner: Vec<Option<OpId>>,
    /// Forward ops.
    pub n_forward: usize,
    /// By tensor, the tensor whose memory it names.
    pub roots: Vec<TensorId>,
    /// Tensors that the forward pass knows.
    n_forward_tensors: usize,
}

impl Passes {
    /// Makes the backward pass of a forward graph.
    ///
    /// # Errors
    /// As [`super::apply`] for training.
    pub fn of(graph: Graph) -> Result<(Self, Vec<Diagnostic>), Diagnostic> {
        Self::made(graph, false)
    }

    /// The same as a stack runs it that fuses attention and chains of pointwise ops.
    ///
    /// # Errors
    /// As [`Passes::of`].
    pub fn fused(graph: Graph) -> Result<Self, Diagnostic> {
        Ok(Self::made(graph, true)?.0)
    }

    fn made(graph: Graph, is_fused: bool) -> Result<(Self, Vec<Diagnostic>), Diagnostic> {
        check_trainable(&graph)?;
        let n_forward = graph.ops.len();
        let (mut graph, warnings) = untie(graph);
        dropout::activate(&mut graph);
        let n_forward_tensors = graph.tensors.len();
        let (graph, owner) = training::owned(graph, is_fused)?;
        let roots = graph.roots();
        Ok((Self { graph, owner, n_forward, roots, n_forward_tensors }, warnings))
    }

    /// Whether training updates a parameter.
    #[must_use]
    pub fn is_trained(&self, tensor: TensorId) -> bool {
        is_trained(self.graph.tensor(tensor))
    }

    /// Elements of a parameter.
    #[must_use]
    pub fn elements(&self, tensor: TensorId) -> u64 {
        super::states::elements(self.graph.tensor(tensor))
    }

    /// Backward ops, without the optimizer.
    pub fn backward(&self) -> impl Iterator<Item = OpId> + '_ {
        let is_backward = |op: &OpId| {
            matches!(self.graph.op(*op).phase, Phase::BackwardInput | Phase::BackwardWeight)
        };
        (self.n_forward..self.graph.ops.len()).map(OpId::new).filter(is_backward)
    }

    /// What a backward op reads that the forward pass computed: it must be kept until then.
    pub fn saved(&self, backward: OpId) -> impl Iterator<Item = TensorId> + '_ {
        let inputs = self.graph.op(backward).inputs.iter();
        let forward = inputs.filter(|tensor| tensor.index() < self.n_forward_tensors);
        let roots = forward.map(|tensor| self.roots[tensor.index()]);
        roots.filter(|root| self.graph.tensor(*root).role == Role::Activation)
    }
}
