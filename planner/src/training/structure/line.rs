//! Ops in a line that depends on the structure alone, and what makes two of them look the same.

use std::hash::{DefaultHasher, Hash, Hasher};

use cost_model::numeric::csr::Csr;
use ir::graph::Graph;
use ir::id::{OpId, TensorId};
use ir::op::{Op, Work};
use ir::tensor::Role;
use rustc_hash::FxHashMap;

use crate::transform::repeat::cut::{Span, across};

/// A graph with its line.
#[derive(Debug)]
pub struct Line<'g> {
    /// The graph.
    pub graph: &'g Graph,
    /// Ops, each after those that it reads from.
    pub ops: Vec<OpId>,
    /// By op, its position in `ops`.
    pub position: Vec<usize>,
    /// By op, a hash of its kind, its work and its shapes. `DefaultHasher::new` has fixed keys.
    pub own: Vec<u64>,
    /// By tensor, its maker.
    pub makers: Vec<Option<OpId>>,
    /// By tensor, its readers.
    pub readers: Csr<OpId>,
    /// By tensor, the tensor whose memory it names.
    pub roots: Vec<TensorId>,
}

impl<'g> Line<'g> {
    /// Puts a graph into a line: depth first from the results back to the sources, results in the
    /// order in which the caller reads them, what nobody reads by its structure. Once more from the
    /// tensors that are alive longest on, so that what many layers share stands before all of them
    /// and not inside the first.
    #[must_use]
    pub fn of(graph: &'g Graph) -> Self {
        let makers = graph.producers();
        let reads = |op: OpId| graph.op(op).inputs.iter().map(move |input| (input.index(), op));
        let reads: Vec<(usize, OpId)> = graph.op_ids().flat_map(reads).collect();
        let readers = Csr::from_pairs(graph.tensors.len(), &reads);
        let hashes: Vec<u64> = graph.ops.iter().map(|op| own(graph, op)).collect();
        let any: Vec<OpId> = graph.op_ids().collect();
        let ancestry = ancestry(graph, &makers, &hashes, &depth_first(graph, &makers, &any));
        let mut sinks: Vec<OpId> = graph
            .op_ids()
            .filter(|op| graph.op(*op).outputs.iter().all(|t| readers.of(t.index()).is_empty()))
            .collect();
        sinks.sort_by_key(|op| ancestry[op.index()]);
        let results = graph.outputs.iter().filter_map(|tensor| makers[tensor.index()]);
        let from: Vec<OpId> = results.chain(sinks).collect();
        let ops = depth_first(graph, &makers, &from);
        let roots = graph.roots();
        let mut line =
            Self { graph, ops, position: Vec::new(), own: hashes, makers, readers, roots };
        let long = line.longest_lives();
        line.ops = depth_first(graph, &line.makers, &[long, from].concat());
        line.position = vec![0; graph.ops.len()];
        for (at, op) in line.ops.iter().enumerate() {
            line.position[op.index()] = at;
        }
        line
    }

    /// Makers of tensors, those first whose last reader is furthest away.
    fn longest_lives(&self) -> Vec<OpId> {
        let mut lives = self.lives(&self.ops);
        lives.sort_by_key(|(_, made, last)| (std::cmp::Reverse(last - made), *made));
        lives.iter().map(|(_, made, _)| self.ops[*made]).collect()
    }

    /// The op that makes an input.
    #[must_use]
    pub fn maker(&self, tensor: TensorId) -> Option<OpId> {
        self.makers[tensor.index()]
    }

    /// By position in some order of the ops: bytes that pass from before it to it or behind it.
    /// What aliases a tensor is that tensor; parameters and what the caller feeds pass nothing.
    #[must_use]
    pub fn across(&self, order: &[OpId]) -> Vec<u64> {
        let spans = self.lives(order).into_iter().map(|(tensor, made, last)| {
            let bytes = self.graph.tensor(tensor).bytes.get();
            Span { made, last, bytes }
        });
        across(order.len(), spans)
    }

    /// Tensors that ops of an order make, other names left out, with the positions of their makers
    /// and of their last readers; in time that does not depend on the rest of the graph.
    fn lives(&self, order: &[OpId]) -> Vec<(TensorId, usize, usize)> {
        let mut lives: Vec<(TensorId, usize, usize)> = Vec::with_capacity(order.len());
        let mut life_of: FxHashMap<TensorId, usize> = FxHashMap::default();
        for (at, op) in order.iter().enumerate() {
            let node = self.graph.op(*op);
            for input in &node.inputs {
                if let Some(life) = life_of.get(&self.roots[input.index()]) {
                    lives[*life].2 = at;
                }
            }
            for output in node.outputs.iter().filter(|t| self.roots[t.index()] == **t) {
                life_of.insert(*output, lives.len());
                lives.push((*output, at, at));
            }
        }
        lives
    }
}

/// A hash of what an op does, whatever stands around it and however it is called.
fn own(graph: &Graph, op: &Op) -> u64 {
    let mut hasher = DefaultHasher::new();
    op.op_type.hash(&mut hasher);
    op.phase.hash(&mut hasher);
    match &op.work {
        Work::View => 0u8.hash(&mut hasher),
        Work::Kernel(kernel) => {
            1u8.hash(&mut hasher);
            kernel.products.hash(&mut hasher);
            kernel.dtype.hash(&mut hasher);
        }
        Work::Given(given) => {
            2u8.hash(&mut hasher);
            given.time.hash(&mut hasher);
            given.temporary.hash(&mut hasher);
        }
    }
    for tensors in [&op.inputs, &op.parameters, &op.outputs] {
        tensors.len().hash(&mut hasher);
        for tensor in tensors {
            let tensor = graph.tensor(*tensor);
            tensor.shape.hash(&mut hasher);
            tensor.dtype.hash(&mut hasher);
            tensor.bytes.hash(&mut hasher);
            (tensor.role == Role::Parameter).hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// By op, a hash of everything that it is computed from.
fn ancestry(graph: &Graph, makers: &[Option<OpId>], hashes: &[u64], order: &[OpId]) -> Vec<u64> {
    let mut all = vec![0; graph.ops.len()];
    for op in order {
        let mut hasher = DefaultHasher::new();
        hashes[op.index()].hash(&mut hasher);
        for input in &graph.op(*op).inputs {
            makers[input.index()].map_or(0, |maker| all[maker.index()]).hash(&mut hasher);
        }
        all[op.index()] = hasher.finish();
    }
    all
}

/// Ops from which some can be reached, each after those that it reads from.
fn depth_first(graph: &Graph, makers: &[Option<OpId>], from: &[OpId]) -> Vec<OpId> {
    let mut line = Vec::with_capacity(graph.ops.len());
    let mut seen = vec![false; graph.ops.len()];
    // An op, and how many of its inputs were followed.
    let mut path: Vec<(OpId, usize)> = Vec::new();
    for &result in from {
        if std::mem::replace(&mut seen[result.index()], true) {
            continue;
        }
        path.push((result, 0));
        while let Some((op, followed)) = path.last_mut() {
            let Some(tensor) = graph.op(*op).inputs.get(*followed) else {
                line.push(*op);
                path.pop();
                continue;
            };
            *followed += 1;
            if let Some(maker) = makers[tensor.index()]
                && !std::mem::replace(&mut seen[maker.index()], true)
            {
                path.push((maker, 0));
            }
        }
    }
    line
}
