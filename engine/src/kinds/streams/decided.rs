//! What a plan of streams decides, to its document and back.

use cost_model::streams::moe::cell;
use cost_model::streams::moe_step::Parts;
use cost_model::streams::replay::replay;
use cost_model::streams::{Cell, Slowdowns};
use documents::plan::experts::{ExpertLayersDocument, ExpertsContext, ExpertsDocument};
use documents::plan::{CostDocument, PlanDocument};
use ir::workload::StepPhase;
use planner::experts::fsmoe;

use super::setting::Setting;
use crate::kinds::cells::{Asked, BOUND, stated};

/// What is minimised.
pub const OBJECTIVE: &str = "step-time";

/// A pass of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// From the input to the output.
    Forward,
    /// Back.
    Backward,
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
