//! What a forward pass fuses.

use std::borrow::Cow;

use ir::graph::Graph;
use ir::id::OpId;
use ir::op::Work;
use ir::workload::Mode;

use super::{attention, biases, chains};

/// A graph with the kernels that its ops are priced as. In a forward pass a core of attention is one kernel,
/// and a product adds its bias; a compiled program fuses pointwise ops instead. Times that are given or recorded
/// are of the ops as the file has them. A training step is fused when it is made.
#[must_use]
pub fn priced(graph: &Graph, mode: Mode) -> Cow<'_, Graph> {
    let fused = (mode == Mode::Inference).then(|| of_inference(graph)).flatten();
    fused.map_or(Cow::Borrowed(graph), Cow::Owned)
}

fn of_inference(graph: &Graph) -> Option<Graph> {
    if is_recorded(graph) {
        return None;
    }
    let mut graph = graph.clone();
    if graph.is_compiled {
        let owner: Vec<Option<OpId>> = graph.op_ids().map(Some).collect();
        chains::fuse(&mut graph, &owner);
    } else {
        attention::fuse(&mut graph);
        biases::fuse(&mut graph);
    }
    Some(graph)
}

/// Whether times of some ops are given or recorded.
#[must_use]
pub fn is_recorded(graph: &Graph) -> bool {
    graph.ops.iter().any(|op| match &op.work {
        Work::Given(_) => true,
        Work::Kernel(kernel) => !kernel.measured.is_empty(),
        Work::View => false,
    })
}
