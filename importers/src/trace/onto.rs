//! Durations of a trace on the graph of the same model from another file: how much of them landed,
//! and on what.

mod warnings;

use std::collections::{BTreeMap, BTreeSet};

use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::op::{Kernel, Op, Phase, Work};
use ir::tensor::DType;
use ir::units::Nanos;

use super::joined::LANDED;
use super::pairing::{Item, Landed, Pair, Took, Types};
use super::ranks::Rank;
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
    /// Nanoseconds of the parts of the step that the graph has, and of calls of no known part.
    total: u64,
    by_op: u64,
    by_segment: u64,
    /// Nanoseconds in which nothing ran that ops have beside these.
    idle: u64,
    /// Nanoseconds of calls that the trace's own graph does not have.
    foreign: u64,
    /// Traced ops of these parts.
    n_ran: usize,
    /// Nanoseconds of operators of which the graph has none like them, how many, and their names.
    other: u64,
    n_others: usize,
    names: BTreeSet<String>,
    /// Traced products without a place.
    homeless: usize,
    /// Of how many pairs the extents can be told apart, and those of which they are others.
    told: usize,
    reshaped: Vec<(usize, usize)>,
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
pub(super) fn land(import: &mut Import, ran: Rank, trains: bool) -> Result<(), Diagnostic> {
    let Rank { import: traced, idle, .. } = ran;
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
    let mut share = lay(&mut import.graph, (&traced.graph, &idle), &kind);
    share.add_foreign(&traced, &idle, &kind);
    let has_all =
        import.graph.ops.iter().filter_map(kernel).all(|kernel| !kernel.measured.is_empty());
    // The update at least is priced by what the kind states, and it states nothing.
    if import.cluster.is_none() && has_all && !trains {
        import.cluster = traced.cluster;
    }
    let is_relevant = |warning: &Diagnostic| {
        ["one-step", "idle-time", "overlapping-calls"].contains(&warning.code)
    };
    import.warnings.extend(traced.warnings.into_iter().filter(is_relevant));
    import.warnings.extend(left_out(&share));
    import.warnings.extend(other_type(&import.graph, &traced.graph));
    let part = |time: u64| if share.total == 0 { 0.0 } else { time as f64 / share.total as f64 };
    let landed = part(share.by_op.saturating_add(share.by_segment));
    import.warnings.extend(unlanded(&share, landed));
    import.warnings.extend(warnings::others(&share, part(share.other)));
    import.warnings.extend(warnings::other_extents(&share, (&traced.graph, &import.graph)));
    import.warnings.extend(warnings::mode((&traced.graph, &import.graph), trains));
    for recorded in traced.summary.recorded {
        import.summary.recorded.push(Recorded {
            op_time: Nanos(share.total),
            landed_share: landed,
            segment_share: part(share.by_segment),
            idle_time: Nanos(share.idle),
            ..recorded
        });
    }
    Ok(())
}

/// Lays the durations of one kind of device.
fn lay(graph: &mut Graph, (traced, idle): (&Graph, &[u64]), kind: &str) -> Share {
    let mut share = Share::default();
    let mut found: Vec<(usize, Took)> = Vec::new();
    let has = |graph: &Graph, phase: Phase| graph.ops.iter().any(|op| pass(op.phase) == phase);
    let knows_messages = graph.ops.iter().any(|op| is_message(&op.op_type));
    for (phase, name) in PASSES {
        let mut types = Types::default();
        let mut ran = Vec::new();
        for (at, op) in traced.ops.iter().enumerate().filter(|(_, op)| pass(op.phase) == phase) {
            let Some(time) = time(op, idle[at], kind) else { continue };
            if is_message(&op.op_type) && !knows_messages {
                share.leave(time.own, "messages");
            } else {
                ran.extend(Item::of((traced, at), &mut types, Some(time)));
            }
        }
        let time = ran.iter().fold(0u64, |sum, item| sum.saturating_add(item.time.own));
        if !has(graph, phase) {
            share.leave(time, name);
            continue;
        }
        let ops = (0..graph.ops.len()).filter(|at| pass(graph.ops[*at].phase) == phase);
        let items: Vec<Item<'_>> =
            ops.filter_map(|at| Item::of((graph, at), &mut types, None)).collect();
        let is_step = has(traced, Phase::BackwardInput) && !has(graph, Phase::BackwardInput);
        let mut pair = Pair::of(ran.iter().collect(), items.iter().collect());
        let landed = pair.land(is_step && phase == Phase::Forward);
        share.add(time, &landed, items.iter().filter(|item| item.flops() > 0).count());
        share.n_ran += ran.len();
        let names = landed.others.iter().map(|other| traced.ops[other.op].op_type.clone());
        share.names.extend(names);
        let times = items.iter().zip(&landed.times);
        found.extend(times.filter_map(|(item, time)| Some((item.op, (*time)?))));
    }
    for (at, time) in found {
        if let Work::Kernel(kernel) = &mut graph.ops[at].work {
            let whole = time.own.saturating_add(time.idle);
            share.idle = share.idle.saturating_add(time.idle);
            kernel.measured.insert(kind.to_owned(), Nanos(whole));
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

    /// Time that the trace's profile has and its graph has not.
    fn add_foreign(&mut self, traced: &Import, idle: &[u64], kind: &str) {
        let ops = traced.graph.ops.iter().zip(idle);
        let known = ops.filter_map(|(op, idle)| Some(time(op, *idle, kind)?.own));
        let known = known.fold(0u64, u64::saturating_add);
        let ran = traced
            .summary
            .recorded
            .iter()
            .fold(0u64, |sum, recorded| sum.saturating_add(recorded.op_time.get()));
        self.foreign = ran.saturating_sub(known);
        self.total = self.total.saturating_add(self.foreign);
    }

    fn add(&mut self, time: u64, landed: &Landed, products: usize) {
        self.leave(landed.loss.own, "loss");
        self.total = self.total.saturating_add(time.saturating_sub(landed.loss.own));
        self.by_op = self.by_op.saturating_add(landed.by_op);
        self.by_segment = self.by_segment.saturating_add(landed.by_segment);
        self.lacking += landed.lacking;
        self.homeless += landed.homeless;
        self.other =
            landed.others.iter().fold(self.other, |sum, other| sum.saturating_add(other.time));
        self.n_others += landed.others.len();
        self.told += landed.told;
        self.reshaped.extend_from_slice(&landed.reshaped);
        self.products += products;
    }
}

/// How long a traced op ran, and for how long nothing did before it.
fn time(op: &Op, idle: u64, kind: &str) -> Option<Took> {
    let whole = kernel(op)?.measured.get(kind)?.get();
    Some(Took { own: whole.saturating_sub(idle), idle: idle.min(whole) })
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
    for kernel in graph.ops.iter().filter_map(kernel) {
        if let Some(dtype) = kernel.dtype {
            let sum = flops.entry(dtype).or_default();
            *sum = sum.saturating_add(kernel.flops().get());
        }
    }
    flops.into_iter().max_by_key(|(_, flops)| *flops).map(|(dtype, _)| dtype)
}

/// A warning of a run in another element type.
fn other_type(graph: &Graph, traced: &Graph) -> Option<Diagnostic> {
    let (planned, ran) = (main_type(graph)?, main_type(traced)?);
    let [own_name, ran_name] = [planned, ran].map(DType::name);
    let what = format!(
        "the run computed in {ran_name} and the model computes in {own_name}: its times are those of \
         {ran_name}"
    );
    (planned != ran).then(|| {
        Diagnostic::warning("traced-dtype", what)
            .hint(format!("give the model in the type of the run: --dtype {ran_name}"))
    })
}

/// A warning of time without a place, or of products without time.
fn unlanded(share: &Share, landed: f64) -> Option<Diagnostic> {
    let mut what = format!(
        "{:.1} % of the trace's time is on ops of the model, and {} of its {} products have none; \
         the cost model prices what has none",
        landed * 100.0,
        share.lacking,
        share.products
    );
    if share.homeless > 0 {
        what.push_str(&format!("; {} products of the run have no place", share.homeless));
    }
    let is_beyond = share.foreign > 0 && landed < LANDED;
    if is_beyond {
        let foreign = Nanos(share.foreign);
        what.push_str(&format!("; {foreign} are of calls that the ExecutionTrace does not have"));
    }
    let hint = if is_beyond {
        "record both traces in the same step of the same run"
    } else {
        "give the same model at the batch and lengths of the traced run"
    };
    (landed < LANDED || share.lacking > 0 || share.homeless > 0).then(|| {
        Diagnostic::warning("unlanded-time", what)
            .fact("landed_share", landed)
            .fact("products_without_time", share.lacking)
            .fact("products_without_place", share.homeless)
            .hint(hint)
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
