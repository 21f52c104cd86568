//! What a plan of streams decides, to its document and back.

use cost_model::streams::moe::{OPS, cell};
use cost_model::streams::moe_step::Parts;
use cost_model::streams::replay::replay;
use cost_model::streams::{Cell, Order, Slowdowns};
use documents::plan::experts::{ExpertLayersDocument, ExpertsContext, ExpertsDocument};
use documents::plan::request::RequestDocument;
use documents::plan::{CellDocument, CostDocument, PieceDocument, PlanDocument, StreamDocument};
use ir::workload::StepPhase;
use planner::experts::fsmoe;

use super::setting::Setting;

/// What is minimised.
pub const OBJECTIVE: &str = "step-time";
/// Which bound is stated.
pub const BOUND: &str = "streams";

/// A pass of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// From the input to the output.
    Forward,
    /// Back.
    Backward,
}

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

/// Layers that are planned alike, in the order of their first ones.
#[must_use]
pub fn alike(setting: &Setting, parts: &[Parts]) -> Vec<(Vec<u32>, Parts)> {
    let mut entries: Vec<(usize, Vec<u32>, Parts)> = Vec::new();
    for ((layer, kind), own) in (0..).zip(&setting.model.layers).zip(parts) {
        match entries.iter_mut().find(|(other, _, parts)| other == kind && parts == own) {
            Some((_, layers, _)) => layers.push(layer),
            None => entries.push((*kind, vec![layer], *own)),
        }
    }
    entries.into_iter().map(|(_, layers, own)| (layers, own)).collect()
}

/// The pieces of a pass of a layer and seconds of the gradients beside them; `None` where it has no
/// experts, or is not cut.
#[must_use]
pub fn of_pass(setting: &Setting, layer: u32, parts: &Parts, pass: Pass) -> Option<Cell> {
    let kind = setting.model.layers.get(layer as usize)?;
    let own = setting.model.kinds.get(*kind)?;
    let (times, n, bytes) = match pass {
        Pass::Forward => (&own.forward, parts.forward, 0),
        Pass::Backward => (&own.backward, parts.backward, parts.gradient_bytes),
    };
    let times = times.get((n as usize).checked_sub(1)?)?;
    Some(cell(times, n, setting.model.reduce.seconds(bytes)))
}

/// Name of the cell of an entry's pass.
#[must_use]
pub fn name(entry: usize, pass: Pass) -> String {
    let letter = match pass {
        Pass::Forward => 'F',
        Pass::Backward => 'B',
    };
    format!("{entry}{letter}")
}

/// A cell as a plan states it.
#[must_use]
pub fn stated(name: String, cell: &Cell, orders: &[Vec<usize>]) -> CellDocument {
    let piece = |piece: &usize| {
        let own = &cell.pieces[*piece];
        let op = OPS.get(own.op as usize).copied().unwrap_or_default().to_owned();
        PieceDocument { op, nano_batch: own.nano_batch, part: own.part }
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
    let mut own = cell.clone();
    if stated.streams.len() != own.streams.len() {
        return Err(format!("{} streams, not {}", stated.streams.len(), own.streams.len()));
    }
    for (at, stream) in own.streams.iter_mut().enumerate() {
        let name = stream.resource.name();
        let found = stated.streams.iter().find(|own| own.resource == name);
        let Some(found) = found else { return Err(format!("no stream on `{name}`")) };
        let n = cell.pieces.iter().filter(|own| own.stream == at).count();
        if found.pieces.len() != n {
            return Err(format!("`{name}` has {} pieces, not {n}", found.pieces.len()));
        }
        let position = |piece: &PieceDocument| {
            let is_same = |own: &cost_model::streams::Piece| {
                OPS.get(own.op as usize).is_some_and(|op| *op == piece.op)
                    && (own.nano_batch, own.part) == (piece.nano_batch, piece.part)
                    && own.stream == at
            };
            cell.pieces
                .iter()
                .position(is_same)
                .ok_or_else(|| format!("`{name}` has no part {} of `{}`", piece.part, piece.op))
        };
        stream.order = Order::Stated(found.pieces.iter().map(position).collect::<Result<_, _>>()?);
    }
    Ok(own)
}

/// The plan document: cells in the orders of the replay, or as they are stated.
#[must_use]
pub fn document(setting: &Setting, parts: &[Parts], asked: &Asked, bound_s: f64) -> PlanDocument {
    let entries = alike(setting, parts);
    let mut cells = Vec::new();
    for (at, (layers, own)) in entries.iter().enumerate() {
        for pass in [Pass::Forward, Pass::Backward] {
            let first = layers.first().copied().unwrap_or_default();
            let Some(cell) = of_pass(setting, first, own, pass) else { continue };
            let times = replay(&cell, &Slowdowns::default());
            let orders = times.map(|own| own.orders).unwrap_or_default();
            cells.push(stated(name(at, pass), &cell, &orders));
        }
    }
    let layers = entries.into_iter().map(|(layers, own)| ExpertLayersDocument {
        layers,
        r_fwd: Some(own.forward),
        r_bwd: Some(own.backward),
        gradient_bytes: Some(own.gradient_bytes),
        others_gradient_bytes: Some(own.others_gradient_bytes),
        ..ExpertLayersDocument::default()
    });
    let tokens = StepPhase::Training.tokens(asked.batch, setting.run.sequence);
    let experts = ExpertsDocument {
        sequence_length: Some(setting.run.sequence),
        tokens: Some(tokens),
        layers: layers.collect(),
        ..ExpertsDocument::default()
    };
    let context = ExpertsContext {
        model: &setting.run.model,
        cluster: &setting.run.cluster,
        phase: StepPhase::Training,
        batch: asked.batch,
        request: &asked.request,
        objective: OBJECTIVE,
        algorithm: &asked.algorithm,
    };
    let ns = |seconds: f64| (seconds * 1e9).round() as u64;
    let step_ns = ns(setting.model.seconds(parts));
    let cost = CostDocument::new(step_ns, ns(bound_s).min(step_ns), BOUND);
    let hosts = (setting.hosts, setting.per_host);
    PlanDocument::from_streams(experts, cells, hosts, (&setting.run.profile, cost), &context)
}

/// What a plan decides, layer by layer; layers that it lacks are not cut.
#[must_use]
pub fn parts(plan: &PlanDocument, n_layers: usize) -> Vec<Parts> {
    let mut all = vec![Parts::default(); n_layers];
    for own in &plan.experts.layers {
        for layer in &own.layers {
            if let Some(parts) = all.get_mut(*layer as usize) {
                *parts = of_entry(own);
            }
        }
    }
    all
}

/// What an entry decides.
#[must_use]
pub fn of_entry(own: &ExpertLayersDocument) -> Parts {
    Parts {
        forward: own.r_fwd.unwrap_or_default(),
        backward: own.r_bwd.unwrap_or_default(),
        gradient_bytes: own.gradient_bytes.unwrap_or_default(),
        others_gradient_bytes: own.others_gradient_bytes.unwrap_or_default(),
    }
}

/// The same model where every layer goes through in one part and gradients follow the last one.
#[must_use]
pub fn unsplit_s(setting: &Setting) -> f64 {
    let of = |kind: &usize| {
        let n = u32::from(!setting.model.kinds[*kind].forward.is_empty());
        Parts { forward: n, backward: n, ..Parts::default() }
    };
    setting.model.seconds(&setting.model.layers.iter().map(of).collect::<Vec<_>>())
}

/// What of a document [`document`] would derive from the same decisions, with the bound of a search.
#[must_use]
pub fn derived(setting: &Setting, plan: &PlanDocument, asked: &Asked) -> PlanDocument {
    let bound_s = fsmoe::solve(&setting.model).bound_s;
    let mut own = document(setting, &parts(plan, setting.model.layers.len()), asked, bound_s);
    // Orders are judged for themselves.
    own.schedule.cells.clone_from(&plan.schedule.cells);
    own.experts.layers.clone_from(&plan.experts.layers);
    own
}
