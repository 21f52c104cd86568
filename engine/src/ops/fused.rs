//! What a step of training fuses, in words.

use cost_model::kernels::stack;
use ir::graph::Graph;
use ir::op::{Fused, Phase, Work};

/// Which kernels the ops of a step are priced as.
pub(super) fn sentence(graph: &Graph) -> String {
    let count = |is: &dyn Fn(Phase, Fused) -> bool| {
        let kernels = graph.ops.iter().filter_map(|op| match &op.work {
            Work::Kernel(kernel) => Some((op.phase, kernel.fused)),
            Work::View | Work::Given(_) => None,
        });
        kernels.filter(|(phase, fused)| is(*phase, *fused)).count()
    };
    // A core has two products.
    let cores = count(&|phase, fused| phase == Phase::Forward && fused == Fused::Attention) / 2;
    let beside =
        count(&|phase, fused| phase == Phase::Forward && matches!(fused, Fused::Beside { .. }));
    let chained = count(&|_, fused| fused == Fused::Chain);
    format!(
        "priced as {} runs ops: {cores} cores of attention in one kernel each, {beside} products \
         beside others, {chained} pointwise ops within the kernels of others",
        stack::of_training().name
    )
}
