//! Whether a trace holds several passes of one model.

use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::op::{Op, Phase, Work};

use super::calls::Scope;
use super::forest::Forest;

/// A warning of an ExecutionTrace that holds several steps, which its graph runs as one: steps that the
/// profiler marked, or ops that repeat each other without reading what earlier ones wrote but by an
/// update of the parameters.
pub(super) fn several(forest: &Forest, graph: &Graph) -> Option<Diagnostic> {
    let notes = |mark: &'static str| {
        let all = forest.calls.iter().enumerate();
        all.filter(move |(_, call)| call.scope != Scope::Backward && call.name.starts_with(mark))
    };
    // The last mark is often of what comes after the last step.
    let n_marked = notes("ProfilerStep#").filter(|(at, _)| forest.works(*at)).count();
    let n_updates = notes("Optimizer.step").count();
    let n_equal = equal(graph, n_updates);
    let n = if n_marked > 1 { n_marked } else { n_equal };
    let what = format!("the trace holds {n} steps, which are planned as one that does all of them");
    (n > 1).then(|| {
        Diagnostic::warning("one-step", what)
            .fact("steps", n)
            .hint("record one step: torch.profiler.schedule(active=1)")
    })
}

/// What has to be equal of two ops: type, part of the step, bytes and results.
fn word(op: &Op) -> (&str, Phase, u64, usize) {
    let bytes = match &op.work {
        Work::Kernel(kernel) => kernel.bytes_written.get(),
        Work::View | Work::Given(_) => 0,
    };
    (op.op_type.as_str(), op.phase, bytes, op.outputs.len())
}

/// How many equal steps the ops of a graph are: stretches of the same types and sizes that read nothing
/// of each other, or that an optimizer updates between.
fn equal(graph: &Graph, n_updates: usize) -> usize {
    let n = graph.ops.len();
    let period = period(graph);
    if period == 0 || !n.is_multiple_of(period) {
        return 1;
    }
    let is_step = |length: usize| {
        let steps = n / length;
        length > 1 && (n_updates > 0 && n_updates.is_multiple_of(steps) || are_apart(graph, length))
    };
    let mut lengths = (period..n).step_by(period).filter(|length| n.is_multiple_of(*length));
    lengths.find(|length| is_step(*length)).map_or(1, |length| n / length)
}

/// The length of the shortest stretch that the ops of a graph repeat, the last time perhaps in part.
fn period(graph: &Graph) -> usize {
    let words: Vec<_> = graph.ops.iter().map(word).collect();
    // Knuth, Morris and Pratt: by position, the longest start that also ends there.
    let mut borders = vec![0; words.len()];
    for at in 1..words.len() {
        let mut border: usize = borders[at - 1];
        while border > 0 && words[border] != words[at] {
            border = borders[border - 1];
        }
        borders[at] = border + usize::from(words[border] == words[at]);
    }
    words.len() - borders.last().copied().unwrap_or(0)
}

/// Whether no op reads what one of an earlier stretch of `length` ops wrote.
fn are_apart(graph: &Graph, length: usize) -> bool {
    let mut writers = vec![None; graph.tensors.len()];
    for (at, op) in graph.ops.iter().enumerate() {
        op.outputs.iter().for_each(|output| writers[output.index()] = Some(at));
    }
    let is_own = |at: usize, op: &Op| {
        let mut read = op.inputs.iter().filter_map(|input| writers[input.index()]);
        read.all(|writer| writer / length == at / length)
    };
    graph.ops.iter().enumerate().all(|(at, op)| is_own(at, op))
}
