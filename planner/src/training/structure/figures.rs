//! What the segments of a chain amount to, for one pass of the graph as it was imported.

use std::collections::BTreeMap;

use cost_model::ops::workload::passes::Passes;
use cost_model::ops::workload::states::rows_and_columns;
use ir::graph::Graph;
use ir::id::TensorId;
use ir::op::{Kernel, Work};
use ir::tensor::Role;
use ir::units::{Bytes, Flops};

use super::Structure;

/// A weight that ops of several segments read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tied {
    /// The parameter.
    pub tensor: TensorId,
    /// Its elements.
    pub n_elements: u64,
    /// Segments that read it, in increasing order; it is counted in the first.
    pub segments: Vec<usize>,
}

/// Figures of one segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Operations of the forward pass.
    pub flops: Flops,
    /// Elements of parameters that no earlier segment reads: trained ones where the graph can be
    /// trained, else all.
    pub n_parameters: u64,
    /// Of these, rows and columns of matrices, and elements of vectors.
    pub n_lines: u64,
    /// Elements of parameters that an earlier segment has already.
    pub n_tied: u64,
    /// Bytes of the tensors of earlier segments that cross into it or over it.
    pub before: Bytes,
    /// Bytes of all tensors that cross the boundary behind it; of what skips it too.
    pub behind: Bytes,
    /// Bytes of earlier segments' tensors that its own ops read.
    pub input: Bytes,
    /// Bytes that the backward pass of its ops reads of what the forward pass made; `None` where
    /// the graph cannot be trained.
    pub stash: Option<Bytes>,
}

/// Figures of all segments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// By segment.
    pub segments: Vec<Figures>,
    /// Weights that several segments read.
    pub tied: Vec<Tied>,
}

impl Sums {
    /// Elements of all parameters, each once.
    #[must_use]
    pub fn n_parameters(&self) -> u64 {
        self.segments.iter().map(|segment| segment.n_parameters).fold(0, u64::saturating_add)
    }
}

/// Sums a chain up. With `passes` of the same graph, parameters are those that training updates.
#[must_use]
pub fn of(graph: &Graph, structure: &Structure, passes: Option<&Passes>) -> Sums {
    let mut sums =
        Sums { segments: vec![Figures::default(); structure.segments.len()], tied: Vec::new() };
    for (op, segment) in graph.ops.iter().zip(&structure.segment_of) {
        if let Work::Kernel(kernel) = &op.work {
            sums.segments[*segment].flops += Kernel::flops(kernel);
        }
    }
    count_parameters(graph, structure, passes, &mut sums);
    boundaries(graph, structure, &mut sums);
    if let Some(passes) = passes {
        stash(structure, passes, &mut sums);
    }
    sums
}

fn count_parameters(
    graph: &Graph,
    structure: &Structure,
    passes: Option<&Passes>,
    sums: &mut Sums,
) {
    let graph = passes.map_or(graph, |passes| &passes.graph);
    let roots = graph.roots();
    let mut readers: Vec<(TensorId, usize)> = Vec::new();
    for (op, segment) in graph.ops.iter().zip(&structure.segment_of) {
        for tensor in op.parameters.iter().chain(&op.inputs) {
            let root = roots[tensor.index()];
            let counts = match passes {
                Some(passes) => passes.is_trained(root),
                None => graph.tensor(root).role == Role::Parameter,
            };
            // A view of a parameter is no reader: whoever reads the view is.
            if counts && op.work != Work::View {
                readers.push((root, *segment));
            }
        }
    }
    readers.sort_unstable();
    readers.dedup();
    for readers in readers.chunk_by(|a, b| a.0 == b.0) {
        let tensor = readers[0].0;
        let shape = &graph.tensor(tensor).shape;
        let n_elements = shape.iter().fold(1_u64, |n, extent| n.saturating_mul(*extent));
        for (at, (_, segment)) in readers.iter().enumerate() {
            let figures = &mut sums.segments[*segment];
            let count = if at == 0 { &mut figures.n_parameters } else { &mut figures.n_tied };
            *count = count.saturating_add(n_elements);
            if at == 0 {
                figures.n_lines =
                    figures.n_lines.saturating_add(rows_and_columns(shape, n_elements));
            }
        }
        if readers.len() > 1 {
            let segments = readers.iter().map(|(_, segment)| *segment).collect();
            sums.tied.push(Tied { tensor, n_elements, segments });
        }
    }
}

/// First and last segment of each activation, by the tensor whose memory it is.
fn boundaries(graph: &Graph, structure: &Structure, sums: &mut Sums) {
    let roots = graph.roots();
    let mut lives: Vec<Option<(usize, usize)>> = vec![None; graph.tensors.len()];
    let in_order = structure.segments.iter().enumerate();
    for (segment, op) in
        in_order.flat_map(|(at, segment)| segment.ops.iter().map(move |op| (at, op)))
    {
        let node = graph.op(*op);
        for output in node.outputs.iter().filter(|t| roots[t.index()] == **t) {
            lives[output.index()] = Some((segment, segment));
        }
        for input in &node.inputs {
            let root = roots[input.index()];
            if let Some((_, last)) = &mut lives[root.index()]
                && *last < segment
            {
                *last = segment;
                sums.segments[segment].input += graph.tensor(root).bytes;
            }
        }
    }
    let mut change = vec![0i128; structure.segments.len() + 1];
    for (index, life) in lives.iter().enumerate() {
        let Some((made, last)) = *life else { continue };
        let bytes = graph.tensors[index].bytes;
        change[made] += i128::from(bytes.get());
        change[last] -= i128::from(bytes.get());
    }
    let mut crossing = 0i128;
    for (figures, change) in sums.segments.iter_mut().zip(change) {
        figures.before = Bytes(u64::try_from(crossing).unwrap_or(u64::MAX));
        crossing += change;
        figures.behind = Bytes(u64::try_from(crossing).unwrap_or(u64::MAX));
    }
}

/// A tensor that backward ops of several segments read lies in each: they may be on other devices.
fn stash(structure: &Structure, passes: &Passes, sums: &mut Sums) {
    for (figures, tensors) in sums.segments.iter_mut().zip(read_back(structure, passes)) {
        figures.stash = Some(tensors.iter().map(|tensor| passes.graph.tensor(*tensor).bytes).sum());
    }
}

/// By segment, what backward ops read of the forward pass, in the order of ids.
fn read_back(structure: &Structure, passes: &Passes) -> Vec<Vec<TensorId>> {
    let last = structure.segments.len().saturating_sub(1);
    let mut by_segment: Vec<Vec<TensorId>> = vec![Vec::new(); structure.segments.len()];
    for op in passes.backward() {
        let owner = passes.owner.get(op.index()).copied().flatten();
        let segment = owner.map_or(last, |owner| structure.segment_of[owner.index()]);
        if let Some(tensors) = by_segment.get_mut(segment) {
            tensors.extend(passes.saved(op));
        }
    }
    for tensors in &mut by_segment {
        tensors.sort_unstable();
        tensors.dedup();
    }
    by_segment
}

/// By segment, bytes that no earlier one keeps from the forward to the backward pass, and what it
/// needs beside them, by the nearest earlier segment that keeps it.
#[must_use]
pub fn kept(structure: &Structure, passes: &Passes) -> Vec<(Bytes, BTreeMap<u32, Bytes>)> {
    let mut keeper: BTreeMap<TensorId, u32> = BTreeMap::new();
    let mut all = Vec::new();
    for (segment, read) in (0_u32..).zip(read_back(structure, passes)) {
        let (mut stash, mut before) = (Bytes::ZERO, BTreeMap::new());
        for tensor in read {
            let bytes = passes.graph.tensor(tensor).bytes;
            match keeper.insert(tensor, segment) {
                None => stash += bytes,
                Some(earlier) => *before.entry(earlier).or_insert(Bytes::ZERO) += bytes,
            }
        }
        all.push((stash, before));
    }
    all
}
