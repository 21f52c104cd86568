//! Durations of a trace on the graph of the same model from another file.
//!
//! Ops are matched by what they do and how much of it, and in their order: the `n`-th product of a
//! size in the graph is the `n`-th of that size in the same pass of the trace. Where both name
//! modules, those have to end alike.

use std::collections::{BTreeMap, HashMap, VecDeque};

use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::op::{Kernel, Op, Phase, Work};
use ir::units::Nanos;

use super::joined::LANDED;
use crate::import::{Import, Recorded};

/// What an op does, and how much.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Likeness {
    phase: Phase,
    what: String,
    size: u64,
}

/// Lays the durations of a traced graph on another graph of the same model.
pub(super) fn land(import: &mut Import, traced: &Import) {
    let mut waiting: HashMap<Likeness, VecDeque<&Op>> = HashMap::new();
    let phases: Vec<Phase> = import.graph.ops.iter().map(|op| pass(op.phase)).collect();
    let (mut total, mut landed) = (0u64, 0u64);
    for op in &traced.graph.ops {
        let Work::Kernel(kernel) = &op.work else { continue };
        if phases.contains(&pass(op.phase)) {
            total = total.saturating_add(time(kernel));
            waiting.entry(likeness(&traced.graph, op, kernel)).or_default().push_back(op);
        }
    }
    let mut found: Vec<(usize, BTreeMap<String, Nanos>)> = Vec::new();
    for (at, op) in import.graph.ops.iter().enumerate() {
        let Work::Kernel(kernel) = &op.work else { continue };
        let Some(queue) = waiting.get_mut(&likeness(&import.graph, op, kernel)) else { continue };
        let place = queue.iter().position(|other| is_same_module(op, other));
        if let Some(Work::Kernel(other)) =
            place.and_then(|place| queue.remove(place)).map(|other| &other.work)
        {
            landed = landed.saturating_add(time(other));
            found.push((at, other.measured.clone()));
        }
    }
    let n_kernels = import.graph.ops.iter().filter(|op| matches!(op.work, Work::Kernel(_))).count();
    let n_found = found.len();
    for (at, measured) in found {
        if let Work::Kernel(kernel) = &mut import.graph.ops[at].work {
            kernel.measured = measured;
        }
    }
    let share = if total == 0 { 0.0 } else { landed as f64 / total as f64 };
    for own in &traced.summary.recorded {
        import.summary.recorded.push(Recorded { landed_share: share, ..own.clone() });
    }
    if share < LANDED || n_found < n_kernels {
        let what = format!(
            "{n_found} of {n_kernels} ops have their durations from the trace, {:.1} % of its time; \
             the cost model prices the others",
            share * 100.0
        );
        import.warnings.push(
            Diagnostic::warning("unlanded-time", what)
                .fact("landed_share", share)
                .fact("ops", n_found)
                .hint("give the model at the batch and lengths of the traced run"),
        );
    }
}

/// Passes as a forward graph knows them.
fn pass(phase: Phase) -> Phase {
    match phase {
        Phase::BackwardInput | Phase::BackwardWeight => Phase::BackwardInput,
        other => other,
    }
}

fn time(kernel: &Kernel) -> u64 {
    kernel.measured.values().map(|time| time.get()).max().unwrap_or(0)
}

/// Products are alike by their operations, whatever writes them; other ops by the name in the graph
/// and the elements of their first result.
fn likeness(graph: &Graph, op: &Op, kernel: &Kernel) -> Likeness {
    let phase = pass(op.phase);
    if kernel.products.is_empty() {
        let result = op.outputs.first().map(|output| &graph.tensor(*output).shape);
        let size = result.map_or(0, |shape| shape.iter().fold(1, |n: u64, e| n.saturating_mul(*e)));
        let what = op.op_type.rsplit("::").next().unwrap_or_default().to_owned();
        return Likeness { phase, what, size };
    }
    Likeness { phase, what: "product".to_owned(), size: kernel.flops().get() }
}

/// Whether a path names classes, as a profile with `with_modules` does: `GPT2Block_1.Linear_3`.
fn is_of_classes(path: &str) -> bool {
    let last = path.rsplit('.').next().and_then(|last| last.rsplit_once('_'));
    last.is_some_and(|(class, n)| {
        class.starts_with(|c: char| c.is_ascii_uppercase()) && n.bytes().all(|b| b.is_ascii_digit())
    })
}

/// Whether the modules of two ops may be the same: one path ends with the other, or one is unknown.
fn is_same_module(a: &Op, b: &Op) -> bool {
    match (&a.module, &b.module) {
        (Some(a), Some(b)) => {
            let ends = |long: &str, short: &str| {
                long.strip_suffix(short).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            };
            is_of_classes(b) || ends(a, b) || ends(b, a)
        }
        _ => true,
    }
}
