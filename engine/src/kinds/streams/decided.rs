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
    for ((layer, kind), of_layer) in (0..).zip(&setting.model.layers).zip(parts) {
        match entries.iter_mut().find(|(other, _, parts)| other == kind && parts == of_layer) {
            Some((_, layers, _)) => layers.push(layer),
            None => entries.push((*kind, vec![layer], *of_layer)),
        }
    }
    entries.into_iter().map(|(_, layers, parts)| (layers, parts)).collect()
}

/// The pieces of a pass of a layer and seconds of the gradients beside them; `None` where it has no
/// experts, or is not cut.
#[must_use]
pub fn of_pass(setting: &Setting, layer: u32, parts: &Parts, pass: Pass) -> Option<Cell> {
    let kind = setting.model.layers.get(layer as usize)?;
    let kind = setting.model.kinds.get(*kind)?;
    let (times, n, bytes) = match pass {
        Pass::Forward => (&kind.forward, parts.forward, 0),
        Pass::Backward => (&kind.backward, parts.backward, parts.gradient_bytes),
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
pub fn document(setting: &Setting, parts: &[Parts], recipe: &Asked, bound_s: f64) -> PlanDocument {
    let entries = alike(setting, parts);
    let mut cells = Vec::new();
    for (at, (layers, parts)) in entries.iter().enumerate() {
        for pass in [Pass::Forward, Pass::Backward] {
            let first = layers.first().copied().unwrap_or_default();
            let Some(cell) = of_pass(setting, first, parts, pass) else { continue };
            let times = replay(&cell, &Slowdowns::default());
            let orders = times.map(|times| times.orders).unwrap_or_default();
            cells.push(stated(name(at, pass), &cell, &orders));
        }
    }
    let layers = entries.into_iter().map(|(layers, parts)| ExpertLayersDocument {
        layers,
        r_fwd: Some(parts.forward),
        r_bwd: Some(parts.backward),
        gradient_bytes: Some(parts.gradient_bytes),
        others_gradient_bytes: Some(parts.others_gradient_bytes),
        ..ExpertLayersDocument::default()
    });
    let tokens = StepPhase::Training.tokens(recipe.batch, setting.run.sequence);
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
        batch: recipe.batch,
        request: &recipe.request,
        objective: OBJECTIVE,
        algorithm: &recipe.algorithm,
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
    for entry in &plan.experts.layers {
        for layer in &entry.layers {
            if let Some(parts) = all.get_mut(*layer as usize) {
                *parts = of_entry(entry);
            }
        }
    }
    all
}

/// What an entry decides.
#[must_use]
pub fn of_entry(entry: &ExpertLayersDocument) -> Parts {
    Parts {
        forward: entry.r_fwd.unwrap_or_default(),
        backward: entry.r_bwd.unwrap_or_default(),
        gradient_bytes: entry.gradient_bytes.unwrap_or_default(),
        others_gradient_bytes: entry.others_gradient_bytes.unwrap_or_default(),
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
pub fn derived(setting: &Setting, plan: &PlanDocument, recipe: &Asked) -> PlanDocument {
    let bound_s = fsmoe::solve(&setting.model).bound_s;
    let mut derived = document(setting, &parts(plan, setting.model.layers.len()), recipe, bound_s);
    // Orders are judged for themselves.
    derived.schedule.cells.clone_from(&plan.schedule.cells);
    derived.experts.layers.clone_from(&plan.experts.layers);
    derived
}
