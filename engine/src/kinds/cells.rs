//! What kinds of plans share that state pieces on streams inside of layers: entries of layers, cells,
//! pictures, and what two plans decide otherwise.

pub mod compare;

use std::collections::BTreeSet;

use cost_model::ops::judge::replay::Span;
use cost_model::streams::moe::OPS;
use cost_model::streams::{Cell, Order, Span as Seconds};
use documents::plan::request::RequestDocument;
use documents::plan::{CellDocument, PieceDocument, PlanDocument, StreamDocument};
use exporters::Export;
use exporters::svg::streams::{Row, StreamsSource, export};
use ir::diagnostic::Diagnostic;
use ir::plan_kind::PlanKind;
use ir::units::Nanos;

use super::kind::{illegal, refused};
use crate::answer::words::ranges;
use crate::inputs::run::setting::Setting as Run;
use crate::request::PlanRequest;
use crate::request::fields::{self, Honours};
use crate::request::subject::Subject;

/// Refuses subjects that a plan of streams has none of.
///
/// # Errors
/// `not-for-streams`.
pub fn check_subject(subject: &Subject) -> Result<(), Diagnostic> {
    let Some(flag) = subject.flag() else { return Ok(()) };
    let message = format!("devices of a plan of streams do what others do: `{flag}` names nothing");
    Err(refused(PlanKind::Streams, message, "leave it out"))
}

/// Refuses a layer that a plan has none of.
///
/// # Errors
/// `unknown-layer`.
pub fn check_layer(layer: u32, n_layers: usize) -> Result<(), Diagnostic> {
    if (layer as usize) < n_layers {
        return Ok(());
    }
    let message = format!("the plan has no layer {layer}");
    Err(Diagnostic::usage("unknown-layer", message)
        .hint(format!("its layers are 0 to {}", n_layers.saturating_sub(1))))
}

/// Which bound is stated.
pub const BOUND: &str = "streams";

/// What a plan was asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Samples of a step.
    pub batch: u64,
    /// What else.
    pub request: RequestDocument,
    /// The row that makes it.
    pub algorithm: String,
}

/// A cell as a plan states it.
#[must_use]
pub fn stated(name: String, cell: &Cell, orders: &[Vec<usize>]) -> CellDocument {
    let piece = |piece: &usize| {
        let piece = &cell.pieces[*piece];
        let op = OPS.get(piece.op as usize).copied().unwrap_or_default().to_owned();
        PieceDocument { op, nano_batch: piece.nano_batch, part: piece.part }
    };
    let streams = cell.streams.iter().zip(orders).map(|(stream, order)| StreamDocument {
        resource: stream.resource.name().to_owned(),
        pieces: order.iter().map(piece).collect(),
    });
    CellDocument { cell: name, streams: streams.collect() }
}

/// A cell in the orders that a plan states; what breaks them, in words.
///
/// # Errors
/// A stream or a piece that the cell has not, or has twice.
pub fn ordered(cell: &Cell, stated: &CellDocument) -> Result<Cell, String> {
    let mut ordered = cell.clone();
    if stated.streams.len() != ordered.streams.len() {
        return Err(format!("{} streams, not {}", stated.streams.len(), ordered.streams.len()));
    }
    for (at, stream) in ordered.streams.iter_mut().enumerate() {
        let name = stream.resource.name();
        let found = stated.streams.iter().find(|stream| stream.resource == name);
        let Some(found) = found else { return Err(format!("no stream on `{name}`")) };
        let n = cell.pieces.iter().filter(|piece| piece.stream == at).count();
        if found.pieces.len() != n {
            return Err(format!("`{name}` has {} pieces, not {n}", found.pieces.len()));
        }
        let position = |piece: &PieceDocument| {
            let is_same = |candidate: &cost_model::streams::Piece| {
                OPS.get(candidate.op as usize).is_some_and(|op| *op == piece.op)
                    && (candidate.nano_batch, candidate.part) == (piece.nano_batch, piece.part)
                    && candidate.stream == at
            };
            cell.pieces
                .iter()
                .position(is_same)
                .ok_or_else(|| format!("`{name}` has no part {} of `{}`", piece.part, piece.op))
        };
        stream.order = Order::Stated(found.pieces.iter().map(position).collect::<Result<_, _>>()?);
    }
    Ok(ordered)
}

/// A picture of rows.
pub(crate) fn of_rows(
    (plan, run): (&PlanDocument, &Run),
    ops: &[&str],
    (summary, rows): (&str, Vec<Row>),
) -> Export {
    let step = Nanos(plan.cost.as_ref().map_or(0, |cost| cost.step_time_ns));
    let summary = format!("step time {step} \u{b7} {summary}");
    let (model, cluster) = (run.model.name.as_str(), run.cluster.name.as_str());
    export(&StreamsSource { model, cluster, told: summary, ops, rows })
}

pub(crate) fn nanos(seconds: f64) -> Nanos {
    Nanos((seconds * 1e9).round() as u64)
}

/// From a begin on.
pub(crate) fn span(seconds: &Seconds, begin_s: f64) -> Span {
    Span {
        start: nanos(begin_s + seconds.start_s).get(),
        end: nanos(begin_s + seconds.end_s).get(),
    }
}

/// What times may be off by, as a part of them: they went through whole nanoseconds.
pub(crate) const TOLERANCE: f64 = 1e-9;

/// What of a request a plan of a step may state.
pub(crate) fn request(document: &PlanDocument) -> RequestDocument {
    let RequestDocument { expert_skew, kv_dtype, .. } = document.request.clone();
    RequestDocument { expert_skew, kv_dtype, ..RequestDocument::default() }
}

/// What a plan was asked for, as it states it.
pub(crate) fn asked(document: &PlanDocument) -> Asked {
    Asked {
        batch: document.workload.batch.unwrap_or_default(),
        request: request(document),
        algorithm: document.algorithm.clone(),
    }
}

pub(crate) fn n_pieces(document: &PlanDocument) -> usize {
    let streams = document.schedule.cells.iter().flat_map(|cell| &cell.streams);
    streams.map(|stream| stream.pieces.len()).sum()
}

/// Whether every layer is there, once, beside others of its kind.
pub(crate) fn of_layers(document: &PlanDocument, layers: &[usize]) -> Vec<Diagnostic> {
    let mut there = BTreeSet::new();
    let mut found = Vec::new();
    for entry in &document.experts.layers {
        let kind = |layer: &u32| layers.get(*layer as usize);
        for layer in &entry.layers {
            if !there.insert(*layer) {
                found.push(illegal("layer-twice", format!("layer {layer} is planned twice")));
            }
            match kind(layer) {
                None => {
                    let message = format!("layer {layer} of the plan is none of the model");
                    found.push(illegal("no-such-layer", message));
                }
                same if same != entry.layers.first().and_then(kind) => {
                    let message = format!("layer {layer} is planned beside layers of another kind");
                    found.push(illegal("other-layers", message));
                }
                Some(_) => {}
            }
        }
    }
    let missing: Vec<u32> =
        (0..layers.len() as u32).filter(|layer| !there.contains(layer)).collect();
    if !missing.is_empty() {
        let message = format!("the layers {} are not planned", ranges(&missing));
        found.push(illegal("layers-missing", message));
    }
    found
}

/// What plans of streams honour of a request.
pub const HONOURS: Honours = Honours {
    hint: |field| match field.name {
        "dtype" => "leave it out: layers are priced in 16 bits",
        "workload" => "leave it out: --phase says what a step does",
        "global_batch" | "tokens_per_step" => {
            "state the samples of a step with --batch, and their tokens with --sequence-length"
        }
        "gap" | "node_budget" => fields::ENDS,
        "devices" | "accelerators" => "leave it out: all devices of --cluster are planned on",
        _ => "leave it out",
    },
    ..Honours::new(
        "streams",
        PlanKind::Streams,
        "cluster profile batch sequence_length expert_skew phase cached_tokens kv_dtype \
     interference export",
    )
};

/// Refuses what plans of streams do not honour, and what says something of nano-batches alone; groups have a
/// cache.
///
/// # Errors
/// `not-for-streams`.
pub fn check(request: &PlanRequest, honours: &Honours, has_cache: bool) -> Result<(), Diagnostic> {
    fields::check(&request.problem.given, honours)?;
    let given = [
        ("--kv-dtype", request.kv_dtype.is_some() && !has_cache),
        ("--cached", request.cached_tokens.is_some()),
        ("--interference", request.interference.is_some()),
    ];
    match given.into_iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((flag, _)) => {
            let message = format!("`{flag}` has no effect on this plan of streams");
            Err(Diagnostic::usage("not-for-streams", message)
                .hint("leave it out, or plan a serving step with --algorithm dynaflow"))
        }
    }
}
