//! What a step of the workload does, made from the graph of one forward pass: backward and
//! optimizer ops for training, one copy of the graph per micro-batch.
//!
//! Inference with one micro-batch leaves the graph as it is. The element type and the size of a
//! micro-batch were applied when the model was imported.

mod backward;
mod dropout;
pub mod fusion;
pub mod gradient;
mod groups;
mod joint;
mod names;
mod parameters;
pub mod passes;
pub mod states;
mod training;
mod unroll;

use std::borrow::Cow;

use ir::diagnostic::{Blame, Diagnostic};
use ir::graph::Graph;
use ir::op::{Phase, Work};
use ir::tensor::Tensor;
use ir::units::Bytes;
use ir::workload::{Mode, Optimizer, Workload};

/// Bytes of the gradient of a parameter, as replicas exchange it: in the type that it is summed up in.
#[must_use]
pub fn gradient_bytes(parameter: &Tensor) -> Bytes {
    states::states(parameter, Optimizer::default()).gradient
}

/// Most ops of a step, views included.
pub const MAX_OPS: u64 = 2_000_000;

/// The graph of one step.
///
/// # Errors
/// `training-needs-work` for graphs whose durations are given, `training-twice` for graphs that
/// hold a backward pass already, without saying what the gradients of parameters are, `nothing-to-train` where no parameter reaches an output,
/// `too-many-ops` past [`MAX_OPS`], `graph-order` for a graph whose ops are not in topological
/// order.
pub fn apply(graph: Graph, workload: &Workload) -> Result<(Graph, Vec<Diagnostic>), Diagnostic> {
    step(graph, workload, true)
}

/// As [`apply`], as a stack that fuses runs a training step, or op by op.
fn step(
    graph: Graph,
    workload: &Workload,
    is_fused: bool,
) -> Result<(Graph, Vec<Diagnostic>), Diagnostic> {
    let n_micro_batches = workload.n_micro_batches().max(1);
    let mut warnings = Vec::new();
    let graph = match workload.mode {
        Mode::Inference => match graph.forward_part() {
            Cow::Owned(forward) if !graph.gradients.is_empty() => {
                warnings.push(
                    Diagnostic::warning(
                        "backward-left-out",
                        "the graph's backward pass is left out: inference runs the forward pass alone",
                    )
                    .hint("plan the whole step with `--workload training`"),
                );
                forward
            }
            _ => graph,
        },
        Mode::Training => {
            check_trainable(&graph)?;
            within_budget(&graph, n_micro_batches.saturating_mul(2))?;
            // A recorded backward pass says itself what is trained, and for whom.
            let (graph, untied) = match graph.gradients.is_empty() {
                true => {
                    let (mut graph, untied) = parameters::untie(graph);
                    dropout::activate(&mut graph);
                    (graph, untied)
                }
                false => (graph, Vec::new()),
            };
            warnings.extend(untied);
            training::synthesise(graph, (workload.optimizer, n_micro_batches), is_fused)?
        }
    };
    if let (Some(batch), Some(micro)) = (workload.batch, workload.micro_batch)
        && micro > 0
        && batch % micro != 0
    {
        warnings.push(
            Diagnostic::warning(
                "ragged-micro-batch",
                format!("the batch of {batch} is no multiple of the micro-batch of {micro}; the last one is costed as a full one"),
            )
            .fact("batch", batch)
            .fact("micro_batch", micro),
        );
    }
    if n_micro_batches == 1 {
        return Ok((graph, warnings));
    }
    within_budget(&graph, n_micro_batches)?;
    Ok((unroll::unroll(&graph, n_micro_batches), warnings))
}

fn within_budget(graph: &Graph, n_micro_batches: u64) -> Result<(), Diagnostic> {
    let n_ops = (graph.ops.len() as u64).saturating_mul(n_micro_batches);
    if n_ops <= MAX_OPS {
        return Ok(());
    }
    Err(Diagnostic::usage(
        "too-many-ops",
        format!("a step of {n_micro_batches} copies of {} ops is too large", graph.ops.len()),
    )
    .fact("ops", n_ops)
    .fact("most", MAX_OPS)
    .hint("plan for fewer, larger micro-batches"))
}

fn check_trainable(graph: &Graph) -> Result<(), Diagnostic> {
    if let Some(op) = graph.ops.iter().find(|op| matches!(op.work, Work::Given(_))) {
        return Err(Diagnostic::error(
            Blame::Input,
            "training-needs-work",
            format!("the graph gives durations, as for op `{}`, so no backward pass can be derived from it", op.name),
        )
        .hint("plan it as it is, as inference"));
    }
    let has_backward = |op: &&ir::op::Op| op.phase != Phase::Forward;
    if let Some(op) = graph.ops.iter().find(has_backward).filter(|_| graph.gradients.is_empty()) {
        return Err(Diagnostic::error(
            Blame::Input,
            "training-twice",
            format!("the graph holds a backward pass already, such as op `{}`", op.name),
        )
        .hint("plan it as it is, as inference"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
