//! What a step fuses, in words.

use cost_model::kernels::price::kind::KindCosts;
use cost_model::kernels::price::step::StepCosts;
use cost_model::ops::workload::fusion::{
    pass::{is_recorded, priced},
    unfused_attention,
};
use ir::graph::Graph;
use ir::op::{Fused, Phase, Work};
use ir::workload::Mode;

use crate::inputs::load::Loaded;

/// Which kernels the ops of a forward pass are priced as.
pub(super) fn of_pass(loaded: &Loaded) -> String {
    let graph = &loaded.problem.graph;
    match (unfused_attention(graph), is_as_written(loaded)) {
        ((0, _), true) => "costs per operator".to_owned(),
        ((n, bytes), true) => format!(
            "costs per operator, {n} attention layers unfused (fused kernels would save {bytes} of memory \
             traffic)"
        ),
        (_, false) if graph.is_compiled => {
            sentence(&priced(graph, Mode::Inference), Mode::Inference)
        }
        ((n, _), false) => format!(
            "priced as {} runs ops: {n} cores of attention in one kernel each, biases in the kernels of their \
             products",
            StepCosts::stack_of(Mode::Inference, graph).name
        ),
    }
}

/// Whether the price of a forward pass is op by op: on kinds with kernels measured by a profile, and where ops
/// have times of their own.
pub(super) fn is_as_written(loaded: &Loaded) -> bool {
    let (problem, profile) = (&loaded.problem, &loaded.profile);
    let cluster = &problem.cluster;
    is_recorded(&problem.graph)
        || cluster.kinds.iter().any(|kind| KindCosts::is_measured(cluster, kind, profile))
}

/// Which kernels the ops of a step are priced as.
pub(super) fn sentence(graph: &Graph, mode: Mode) -> String {
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
        StepCosts::stack_of(mode, graph).name
    )
}
