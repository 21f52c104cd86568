//! Totals of a graph.

use ir::graph::Graph;
use ir::op::{Origin, Phase, Work};
use ir::tensor::Role;

use crate::import::Summary;

impl Summary {
    /// What can be counted on the graph alone.
    #[must_use]
    pub(crate) fn of(format: &'static str, graph: &Graph) -> Self {
        let mut summary = Self { format, ..Self::default() };
        let mut guessed = 0u64;
        let mut scaled = 0u64;
        for op in &graph.ops {
            summary.n_ops += 1;
            let totals = summary.op_types.entry(op.op_type.clone()).or_default();
            totals.count += 1;
            match &op.work {
                Work::View => summary.n_views += 1,
                Work::Given(_) => {}
                Work::Kernel(kernel) => {
                    let flops = kernel.flops().get();
                    totals.flops = totals.flops.saturating_add(flops);
                    totals.bytes = totals
                        .bytes
                        .saturating_add((kernel.bytes_read + kernel.bytes_written).get());
                    let sum = match op.phase {
                        Phase::Forward => &mut summary.forward_flops,
                        _ => &mut summary.backward_flops,
                    };
                    *sum = sum.saturating_add(flops);
                    guessed += u64::from(kernel.origin == Origin::Guessed);
                    scaled += u64::from(kernel.origin == Origin::Scaled);
                }
            }
        }
        let n_actions = (summary.n_ops - summary.n_views).max(1) as f64;
        summary.guessed_share = guessed as f64 / n_actions;
        summary.scaled_share = scaled as f64 / n_actions;
        for tensor in graph.tensors.iter().filter(|t| t.role == Role::Parameter) {
            summary.n_parameters += 1;
            let elements = tensor.shape.iter().fold(1u64, |n, d| n.saturating_mul(*d));
            summary.initializer_elements = summary.initializer_elements.saturating_add(elements);
        }
        summary.parameter_bytes = graph.parameter_bytes().get();
        summary
    }
}
