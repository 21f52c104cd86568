//! Durations of a trace on the graph of the same model from another file: how much of them landed,
//! and on what.

use std::collections::BTreeMap;

use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::op::{Kernel, Op, Phase, Work};
use ir::tensor::DType;
use ir::units::Nanos;

use super::joined::LANDED;
use super::pairing::{Item, Landed, Pair, Types};
use super::work::is_message;
use crate::import::{Import, Recorded};

/// The parts of a step.
const PASSES: [(Phase, &str); 3] = [
    (Phase::Forward, "forward pass"),
    (Phase::BackwardInput, "backward pass"),
    (Phase::Optimizer, "update"),
];

/// What of a trace has a place in a graph.
#[derive(Default)]
struct Share {
    /// Nanoseconds of the parts of the step that the graph has.
    total: u64,
    by_op: u64,
    by_segment: u64,
    /// Nanoseconds of the parts that it has not, and their names.
    left_out: u64,
    parts: Vec<&'static str>,
    /// Products of the graph without a duration, of how many.
    lacking: usize,
    products: usize,
}

/// Lays the durations of a traced graph on another graph of the same model.
///
/// # Errors
/// `several-ranks`, `no-durations`.
pub(super) fn land(import: &mut Import, traced: Import, trains: bool) -> Result<(), Diagnostic> {
    if traced.cluster.as_ref().is_some_and(|cluster| cluster.n_devices() > 1) {
        let what = "the durations of one rank are laid on a model, and the traces are of several";
        return Err(Diagnostic::input("several-ranks", what)
            .hint("give the ExecutionTrace and the profile of one rank"));
    }
    let kernels = traced.graph.ops.iter().filter_map(kernel);
    let Some(kind) = kernels.filter_map(|kernel| kernel.measured.keys().next()).min().cloned()
    else {
        return Err(Diagnostic::input("no-durations", "the trace has no durations")
            .hint("give the profile of the same run as well: --trace run.kineto.json"));
    };
    let share = lay(&mut import.graph, &traced.graph, &kind);
    let has_all = import.graph.ops.iter().filter_map(kernel).all(|own| !own.measured.is_empty());
    // The update at least is priced by what the kind states, and it states nothing.
    if import.cluster.is_none() && has_all && !trains {
        import.cluster = traced.cluster;
    }
    let told = |warning: &Diagnostic| ["one-step", "idle-time"].contains(&warning.code);
    import.warnings.extend(traced.warnings.into_iter().filter(told));
    import.warnings.extend(left_out(&share));
    import.warnings.extend(other_type(&import.graph, &traced.graph));
    let part = |time: u64| if share.total == 0 { 0.0 } else { time as f64 / share.total as f64 };
    let landed = part(share.by_op.saturating_add(share.by_segment));
    import.warnings.extend(unlanded(&share, landed));
    for own in traced.summary.recorded {
        import.summary.recorded.push(Recorded {
            op_time: Nanos(share.total),
            landed_share: landed,
            segment_share: part(share.by_segment),
            ..own
        });
    }
    Ok(())
}

/// Lays the durations of one kind of device.
fn lay(graph: &mut Graph, traced: &Graph, kind: &str) -> Share {
    let mut share = Share::default();
    let mut found: Vec<(usize, u64)> = Vec::new();
    let has = |graph: &Graph, phase: Phase| graph.ops.iter().any(|op| pass(op.phase) == phase);
    let knows_messages = graph.ops.iter().any(|op| is_message(&op.op_type));
    for (phase, name) in PASSES {
        let mut types = Types::default();
        let mut ran = Vec::new();
        for (at, op) in traced.ops.iter().enumerate().filter(|(_, op)| pass(op.phase) == phase) {
            let Some(time) = kernel(op).and_then(|own| own.measured.get(kind)) else { continue };
            if is_message(&op.op_type) && !knows_messages {
                share.leave(time.get(), "messages");
            } else {
                ran.extend(Item::of((traced, at), &mut types, time.get()));
            }
        }
        let time = ran.iter().fold(0u64, |sum, item| sum.saturating_add(item.time));
        if !has(graph, phase) {
            share.leave(time, name);
            continue;
        }
        let own = (0..graph.ops.len()).filter(|at| pass(graph.ops[*at].phase) == phase);
        let own: Vec<Item<'_>> =
            own.filter_map(|at| Item::of((graph, at), &mut types, 0)).collect();
        let is_step = has(traced, Phase::BackwardInput) && !has(graph, Phase::BackwardInput);
        let pair = Pair::of(ran.iter().collect(), own.iter().collect());
        let landed = pair.land(is_step && phase == Phase::Forward);
        share.add(time, &landed, own.iter().filter(|item| item.flops() > 0).count());
        let times = own.iter().zip(&landed.times);
        found.extend(times.filter_map(|(item, time)| Some((item.op, (*time)?))));
    }
    for (at, time) in found {
        if let Work::Kernel(kernel) = &mut graph.ops[at].work {
            kernel.measured.insert(kind.to_owned(), Nanos(time));
        }
    }
    share
}

impl Share {
    fn leave(&mut self, time: u64, part: &'static str) {
        self.left_out = self.left_out.saturating_add(time);
        if time > 0 && !self.parts.contains(&part) {
            self.parts.push(part);
        }
    }

    fn add(&mut self, time: u64, landed: &Landed, products: usize) {
        self.leave(landed.loss, "loss");
        self.total = self.total.saturating_add(time - landed.loss);
        self.by_op = self.by_op.saturating_add(landed.by_op);
        self.by_segment = self.by_segment.saturating_add(landed.by_segment);
        self.lacking += landed.lacking;
        self.products += products;
    }
}

/// A warning of parts of the traced step that the graph does not have.
fn left_out(share: &Share) -> Option<Diagnostic> {
    let of = share.left_out as f64 / share.left_out.saturating_add(share.total).max(1) as f64;
    let what = format!(
        "the model's file has no {} as the trace does: {:.1} % of the trace's time is left out",
        share.parts.join(", "),
        of * 100.0
    );
    let warning = Diagnostic::warning("parts-left-out", what).fact("left_out_share", of);
    (share.left_out > 0).then(|| {
        warning.hint("for times of the whole step give the trace as the model, or a joint graph")
    })
}

/// The type in which most of the operations of products are done.
fn main_type(graph: &Graph) -> Option<DType> {
    let mut flops: BTreeMap<DType, u64> = BTreeMap::new();
    for own in graph.ops.iter().filter_map(kernel) {
        if let Some(dtype) = own.dtype {
            let sum = flops.entry(dtype).or_default();
            *sum = sum.saturating_add(own.flops().get());
        }
    }
    flops.into_iter().max_by_key(|(_, flops)| *flops).map(|(dtype, _)| dtype)
}

/// A warning of a run in another element type.
fn other_type(graph: &Graph, traced: &Graph) -> Option<Diagnostic> {
    let (own, ran) = (main_type(graph)?, main_type(traced)?);
    let [own_name, ran_name] = [own, ran].map(DType::name);
    let what = format!(
        "the run computed in {ran_name} and the model computes in {own_name}: its times are those of \
         {ran_name}"
    );
    (own != ran).then(|| {
        Diagnostic::warning("traced-dtype", what)
            .hint(format!("give the model in the type of the run: --dtype {ran_name}"))
    })
}

/// A warning of time without a place, or of products without time.
fn unlanded(share: &Share, landed: f64) -> Option<Diagnostic> {
    let what = format!(
        "{:.1} % of the trace's time is on ops of the model, and {} of its {} products have none; \
         the cost model prices what has none",
        landed * 100.0,
        share.lacking,
        share.products
    );
    (landed < LANDED || share.lacking > 0).then(|| {
        Diagnostic::warning("unlanded-time", what)
            .fact("landed_share", landed)
            .fact("products_without_time", share.lacking)
            .hint("give the same model at the batch and lengths of the traced run")
    })
}

/// Passes as a forward graph knows them.
fn pass(phase: Phase) -> Phase {
    match phase {
        Phase::BackwardInput | Phase::BackwardWeight => Phase::BackwardInput,
        other => other,
    }
}

fn kernel(op: &Op) -> Option<&Kernel> {
    match &op.work {
        Work::Kernel(kernel) => Some(kernel),
        Work::View | Work::Given(_) => None,
    }
}
