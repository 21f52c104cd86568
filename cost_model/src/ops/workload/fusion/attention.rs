//! Attention as one kernel: two products of activations with a softmax between them, which never
//! writes the scores (Dao et al. 2022).
//!
//! Copies that only turn or repeat an operand, or turn the result, go with it: the kernel reads and
//! writes in any order, and takes each key for all queries of its group.

use ir::graph::Graph;
use ir::id::{OpId, TensorId};
use ir::op::{Fused, Op, Product, Work};
use ir::tensor::Role;

use super::{empty, is_pointwise, kernel, readers};

/// A core: products of queries by keys and of weights by values, and what lies between them.
struct Core {
    scores: OpId,
    context: OpId,
    between: Vec<OpId>,
}

/// A graph and who writes and reads its tensors.
struct View<'g> {
    graph: &'g Graph,
    roots: Vec<TensorId>,
    producers: Vec<Option<OpId>>,
    readers: Vec<Vec<OpId>>,
}

/// Fuses all cores of a forward graph; ops that share a device from then on.
pub(super) fn fuse(graph: &mut Graph) -> Vec<Vec<OpId>> {
    let cores = {
        let view = View::of(graph);
        let softmaxes = view.graph.op_ids().filter(|op| is_softmax(view.graph.op(*op)));
        softmaxes.filter_map(|op| view.core(op)).collect::<Vec<Core>>()
    };
    let roots = graph.roots();
    let mut inner = vec![false; graph.tensors.len()];
    for core in &cores {
        for op in core.between.iter().chain([&core.scores]) {
            graph.op(*op).outputs.iter().for_each(|t| inner[roots[t.index()].index()] = true);
        }
    }
    empty(graph, &roots, &inner);
    for core in &cores {
        for op in [core.scores, core.context] {
            fused(graph, op, Fused::Attention);
        }
        core.between.iter().for_each(|op| fused(graph, *op, Fused::Chain));
    }
    dissolve_copies(graph, &cores);
    let members = |core: Core| {
        let ends = [core.scores, core.context];
        core.between.into_iter().chain(ends).collect()
    };
    cores.into_iter().map(members).collect()
}

fn is_softmax(op: &Op) -> bool {
    op.op_type.rsplit("::").next() == Some("Softmax")
}

/// Takes from an op what it moved for itself.
fn fused(graph: &mut Graph, op: OpId, by: Fused) {
    if let Work::Kernel(kernel) = &mut graph.ops[op.index()].work {
        kernel.fused = by;
        kernel.bytes_read = ir::units::Bytes::ZERO;
        kernel.bytes_written = ir::units::Bytes::ZERO;
    }
}

impl<'g> View<'g> {
    fn of(graph: &'g Graph) -> Self {
        let roots = graph.roots();
        let readers = readers(graph, &roots);
        Self { graph, producers: graph.producers(), readers, roots }
    }

    /// The op that makes a tensor, views left out.
    fn maker(&self, tensor: TensorId) -> Option<OpId> {
        self.producers[self.roots[tensor.index()].index()]
    }

    fn readers_of(&self, op: OpId) -> impl Iterator<Item = OpId> + '_ {
        let outputs = self.graph.op(op).outputs.iter();
        outputs.flat_map(|output| self.readers[output.index()].iter().copied())
    }

    fn size(&self, tensor: TensorId) -> u64 {
        let shape = &self.graph.tensor(self.roots[tensor.index()]).shape;
        shape.iter().fold(1, |n, extent| n.saturating_mul(*extent))
    }

    /// The core around a softmax, if it is one: every score goes from one product to the other and
    /// nowhere else.
    fn core(&self, softmax: OpId) -> Option<Core> {
        let scores_size = self.size(*self.graph.op(softmax).outputs.first()?);
        let mut between = vec![softmax];
        let (mut scores, mut context) = (Vec::new(), Vec::new());
        let mut next = 0;
        while let Some(op) = between.get(next).copied() {
            next += 1;
            let node = self.graph.op(op);
            let made = node.inputs.iter().filter(|t| self.size(**t) == scores_size);
            let before: Vec<OpId> = made.filter_map(|t| self.maker(*t)).collect();
            for (ops, ends) in
                [(before, &mut scores), (self.readers_of(op).collect(), &mut context)]
            {
                for other in ops {
                    if self.product(other).is_some() {
                        ends.push(other);
                    } else if is_pointwise(self.graph.op(other)) && !between.contains(&other) {
                        between.push(other);
                    }
                }
            }
        }
        context.retain(|op| !scores.contains(op));
        scores.dedup();
        context.dedup();
        let (&[scores], &[context]) = (scores.as_slice(), context.as_slice()) else { return None };
        let (a, b) = (self.product(scores)?, self.product(context)?);
        let fits = a.count == b.count && a.m == b.m && a.n == b.k;
        let inside = |op: OpId| op == context || between.contains(&op);
        let is_closed = between.iter().chain([&scores]).all(|op| {
            let outputs = &self.graph.op(*op).outputs;
            let returned = |t: &TensorId| {
                let roots = self.graph.outputs.iter().map(|output| self.roots[output.index()]);
                roots.into_iter().any(|root| root == *t)
            };
            !outputs.iter().any(returned) && self.readers_of(*op).all(inside)
        });
        (fits && is_closed).then_some(Core { scores, context, between })
    }

    /// The one product of activations of an op.
    fn product(&self, op: OpId) -> Option<Product> {
        let node = self.graph.op(op);
        let is_weight = |tensor: &TensorId| {
            let root = self.graph.tensor(self.roots[tensor.index()]);
            root.role == Role::Parameter && root.shape.len() > 1
        };
        let has_weight = node.parameters.iter().chain(&node.inputs).any(is_weight);
        match kernel(node)?.products.as_slice() {
            [one] if !has_weight => Some(*one),
            _ => None,
        }
    }
}

/// Makes views of copies that only cores read, and of the one that reads a core's result; what takes
/// queries, keys and values apart moves nothing, as a core reads parts of a tensor as well.
fn dissolve_copies(graph: &mut Graph, cores: &[Core]) {
    let mut is_core = vec![false; graph.ops.len()];
    for core in cores {
        is_core[core.scores.index()] = true;
        is_core[core.context.index()] = true;
    }
    let (mut dissolved, mut taken_apart) = (Vec::new(), Vec::new());
    {
        let view = View::of(graph);
        // From the last op on, so that copies of copies are seen.
        for op in view.graph.op_ids().collect::<Vec<_>>().into_iter().rev() {
            let node = view.graph.op(op);
            let is_copy = matches!(node.op_type.as_str(), "Transpose" | "Expand");
            let is_split = node.op_type == "Split";
            if !(is_copy || is_split) || node.inputs.len() != 1 || kernel(node).is_none() {
                continue;
            }
            let goes_in = |reader: OpId| is_core[reader.index()] || dissolved.contains(&reader);
            let mut reading = view.readers_of(op).peekable();
            let feeds = reading.peek().is_some() && reading.all(goes_in);
            if is_split {
                taken_apart.extend(feeds.then_some(op));
                continue;
            }
            let comes_out = node.op_type == "Transpose"
                && view
                    .maker(node.inputs[0])
                    .is_some_and(|maker| is_core[maker.index()] && view.readers_of(maker).eq([op]));
            if feeds || comes_out {
                dissolved.push(op);
            }
        }
    }
    taken_apart.iter().for_each(|op| fused(graph, *op, Fused::Chain));
    for op in dissolved {
        let node = &mut graph.ops[op.index()];
        node.work = Work::View;
        node.group = None;
    }
}
