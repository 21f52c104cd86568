//! What a step of training fuses, in words.

use cost_model::kernels::stack;
use cost_model::ops::workload::fusion::unfused_attention;
use ir::graph::Graph;
use ir::op::{Fused, Phase, Work};

/// How much unfused attention costs an inference step, as text: the costs are those of the file's operators.
pub(super) fn unfused(graph: &Graph) -> String {
    match unfused_attention(graph) {
        (0, _) => String::new(),
        (n, bytes) => format!(
            ", {n} attention layers unfused (fused kernels would save {bytes} of memory traffic)"
        ),
    }
}

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
