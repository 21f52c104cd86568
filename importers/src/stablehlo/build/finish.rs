//! The end: ops that count, totals and warnings.

use std::collections::HashSet;

use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::id::TensorId;
use ir::op::Op;
use ir::tensor::Role;

use super::{Builder, Notes, batch};
use crate::import::{Import, ImportOptions, Summary, listed};
use crate::stablehlo::sharding::{self, Degrees};

/// Ops that something reads, in order.
pub(super) fn live(ops: Vec<Op>, mut read: HashSet<TensorId>) -> Vec<Op> {
    let mut live: Vec<Op> = Vec::new();
    for op in ops.into_iter().rev() {
        let is_read =
            op.outputs.is_empty() || op.outputs.iter().any(|tensor| read.contains(tensor));
        if is_read {
            read.extend(op.inputs.iter().chain(&op.parameters));
            live.push(op);
        }
    }
    live.reverse();
    live
}

/// Drops tensors that nothing names; of parameters, only these.
fn compact(graph: &mut Graph, parameters: &HashSet<TensorId>) {
    let mut is_named = vec![false; graph.tensors.len()];
    let of_ops = graph.ops.iter().flat_map(|op| [&op.inputs, &op.parameters, &op.outputs]);
    let lists = of_ops.chain([&graph.inputs, &graph.outputs]);
    lists.flatten().for_each(|tensor| is_named[tensor.index()] = true);
    for (index, tensor) in graph.tensors.iter().enumerate() {
        let is_argument = tensor.role == Role::Parameter;
        is_named[index] |= is_argument && !parameters.contains(&TensorId::new(index));
    }
    let mut next = 0;
    let ids: Vec<TensorId> = is_named
        .iter()
        .map(|is_named| {
            next += usize::from(*is_named);
            TensorId::new(next.saturating_sub(1))
        })
        .collect();
    let mut named = is_named.iter();
    graph.tensors.retain(|_| named.next() == Some(&true));
    let of_ops =
        graph.ops.iter_mut().flat_map(|op| [&mut op.inputs, &mut op.parameters, &mut op.outputs]);
    for tensor in of_ops.chain([&mut graph.inputs, &mut graph.outputs]).flatten() {
        *tensor = ids[tensor.index()];
    }
}

impl Builder<'_, '_> {
    /// The import; `None` where a parameter that was taken apart is read as a whole too.
    ///
    /// # Errors
    /// `invalid-batch`.
    pub(super) fn finish(mut self, options: &ImportOptions) -> Result<Option<Import>, Diagnostic> {
        let ends = self.graph.outputs.iter().copied().collect();
        self.graph.ops = live(std::mem::take(&mut self.graph.ops), ends);
        let stacks: HashSet<TensorId> = self.layers.keys().map(|(stack, _)| *stack).collect();
        let reads = self.graph.ops.iter().flat_map(|op| &op.parameters);
        if reads.chain(&self.graph.outputs).any(|tensor| stacks.contains(tensor)) {
            return Ok(None);
        }
        let constants: HashSet<TensorId> =
            self.constants.iter().filter_map(|constant| constant.placed).chain(stacks).collect();
        compact(&mut self.graph, &constants);
        let scaled = batch::scale(&mut self.graph, options)?;
        let degrees = sharding::degrees(self.program, &self.shardings);
        let mut warnings = warnings(&self.notes);
        warnings.extend(scaled.map(|[from, to]| {
            let what = format!(
                "the program is made for a batch of {from}: work and sizes are taken as {to}/{from} \
                 of that there"
            );
            Diagnostic::warning("batch-scaled", what)
                .hint("lower it for the batch that is to be planned")
        }));
        warnings.extend(options.dims.keys().map(|name| {
            Diagnostic::warning("unused-dimension", format!("no dimension is named `{name}`"))
        }));
        warnings.extend(said(&degrees));
        let shardings =
            self.shardings.iter().map(|(name, sharding)| (name.clone(), sharding.text.clone()));
        let summary = Summary {
            pins: degrees.pins,
            shardings: shardings.collect(),
            ..Summary::of("stablehlo", &self.graph)
        };
        Ok(Some(Import { graph: self.graph, cluster: None, summary, warnings }))
    }
}

/// What becomes of shardings.
fn said(degrees: &Degrees) -> Vec<Diagnostic> {
    let mut said = Vec::new();
    if !degrees.pins.is_empty() {
        let message = format!(
            "shardings are kept as {}: by searches over degrees of parallelism; a plan of single \
             ops puts each op on one device",
            degrees.pins.join(", ")
        );
        let hint = "state other degrees with --pin FIELD=VALUE";
        said.push(Diagnostic::warning("pinned-by-shardings", message).hint(hint));
    }
    if !degrees.other.is_empty() {
        let first: Vec<String> = degrees.other.iter().take(5).map(|n| format!("`{n}`")).collect();
        let message = format!("no plan keeps to these shardings: {}", first.join(", "));
        said.push(
            Diagnostic::warning("unkept-shardings", message).fact("count", degrees.other.len()),
        );
    }
    said
}

/// What each code says, in the order in which they are listed.
const SAID: [(&str, &str); 9] = [
    ("unknown-op", "operations without a rule count only their bytes"),
    ("unknown-shape", "ops on tensors of unknown size count only known bytes"),
    (
        "data-dependent-size",
        "sizes that depend on data are taken as the most that the program allows in",
    ),
    ("guessed-trip-count", "loops without a constant count run their body once"),
    ("guessed-body", "branches hold operations that are guessed"),
    ("one-device", "regions that each device runs on its part count the work of one device"),
    (
        "collectives",
        "messages between devices are kept as they are, with their groups, whatever the plan",
    ),
    (
        "guessed-parameters",
        "arguments are taken as parameters because they do not share their first extent with a result",
    ),
    ("no-parameters", "no argument is known to be a parameter; all are taken as fed by the caller"),
];

fn warnings(notes: &Notes) -> Vec<Diagnostic> {
    let said = SAID.iter().filter_map(|(code, what)| {
        let warning = listed(code, what, notes.get(code)?.iter().cloned())?;
        let hint = "print names with as_text(debug_info=True), the weights in a tree `params`";
        Some(if code.ends_with("-parameters") { warning.hint(hint) } else { warning })
    });
    said.collect()
}
