//! An inference pipeline, to its document and back.

use std::collections::BTreeMap;

use cost_model::runs::served::{Goal, Judged, Piece};
use documents::plan::phase::PhaseDocument;
use documents::plan::served::{ServedDocument, ServedStageDocument};
use documents::plan::serves::ServedContext;
use documents::plan::{CostDocument, PlanDocument};
use ir::diagnostic::Diagnostic;

use super::energy;
use super::setting::{Asked, Setting};

/// The plan document of a legal pipeline.
#[must_use]
pub fn document(
    setting: &Setting,
    (pieces, judged): (&[Piece], &Judged),
    (algorithm, bound, method): (&str, u64, &str),
) -> PlanDocument {
    let stages = judged.stages.iter().map(|stage| ServedStageDocument {
        ns: stage.ns,
        way_ns: stage.way_ns,
        weight_bytes: stage.weights,
        cache_bytes: stage.cache,
        peak_bytes: stage.peak,
        limit_bytes: stage.limit,
    });
    let served = ServedDocument {
        phase: setting.batch.phase.into(),
        tokens: setting.batch.tokens,
        cached: setting.batch.cached,
        in_flight: judged.in_flight,
        host_experts: setting.local.as_ref().map_or(0, |local| local.n_host_experts),
        latency_ns: judged.latency,
        period_ns: judged.period,
        tokens_per_s: setting.tokens_per_s(judged.period),
        stages: stages.collect(),
    };
    let stage = |piece: &Piece| {
        let n = piece.blocks.end.saturating_sub(piece.blocks.start);
        (setting.name(piece.device).to_owned(), piece.blocks.start, n)
    };
    let context = ServedContext {
        model: &setting.run.model,
        cluster: &setting.run.cluster,
        profile: setting.run.measured_by(),
        dtype: setting.run.numbers.dtype.name(),
        batch: setting.batch.samples,
        request: setting.run.request.clone(),
        objective: setting.run.request.least.as_deref().unwrap_or(setting.goal.name()),
        algorithm,
        stages: pieces.iter().map(stage).collect(),
    };
    let cost = CostDocument::new(judged.latency, bound.min(judged.period), method);
    let cost = match setting.goal {
        Goal::Throughput => cost.with_value(judged.period),
        Goal::Latency => cost,
    };
    PlanDocument {
        energy: energy::document(setting, pieces, judged),
        ..PlanDocument::from_served(served, context, cost)
    }
}

/// What a plan was asked for, as it states it.
///
/// # Errors
/// `bad-plan`.
pub fn asked(document: &PlanDocument, served: &ServedDocument) -> Result<Asked, Diagnostic> {
    let wrong = |member: &str, message: String| {
        Err(Diagnostic::input("bad-plan", message)
            .fact("member", member.to_owned())
            .hint("plan again, or correct the member"))
    };
    let is_least = document.request.least.as_ref() == Some(&document.objective);
    let goal = Goal::named(&document.objective).or(is_least.then(Goal::default));
    let Some(goal) = goal else {
        let shown: String = document.objective.chars().take(80).collect();
        let message = format!(
            "member `objective` of the plan is `{shown}`; inference pipelines have throughput and \
             latency"
        );
        return wrong("objective", message);
    };
    let is_decode = served.phase == PhaseDocument::Decode;
    Ok(Asked {
        phase: served.phase.into(),
        batch: document.workload.batch.unwrap_or_default(),
        tokens: (!is_decode).then_some(served.tokens),
        cached: Some(served.cached),
        goal,
        host_experts: served.host_experts,
        request: document.request.clone(),
    })
}

/// The stages of a plan; the first of what is none in words.
///
/// # Errors
/// What is no stage of one device with all samples.
pub fn pieces(setting: &Setting, document: &PlanDocument) -> Result<Vec<Piece>, String> {
    let devices = &setting.run.cluster.devices;
    let known: BTreeMap<&str, usize> =
        devices.iter().enumerate().map(|(at, device)| (device.name.as_str(), at)).collect();
    let of = |(at, stage): (usize, &documents::plan::StageDocument)| {
        let (Some(blocks), Some(mesh)) = (&stage.blocks, &stage.mesh) else {
            return Err(format!("stage {at} has no blocks or no device"));
        };
        let [name] = mesh.devices.as_slice() else {
            return Err(format!("stage {at} has {} devices, not one", mesh.devices.len()));
        };
        let plain = documents::plan::training::RecomputeDocument::None;
        if mesh.tensor != 1
            || mesh.samples != [setting.batch.samples]
            || !stage.ops.is_empty()
            || blocks.recompute != plain
            || !blocks.each.is_empty()
        {
            return Err(format!("stage {at} is not one device with all samples of a batch"));
        }
        let host =
            setting.local.as_ref().filter(|local| local.host.is_some() && local.name == *name);
        let host = host.map(|_| devices.len());
        let Some(device) = known.get(name.as_str()).copied().or(host) else {
            return Err(format!("stage {at} names `{name}`, which the cluster lacks"));
        };
        Ok(Piece { device, blocks: blocks.first..blocks.first.saturating_add(blocks.n) })
    };
    document.partition.stages.iter().enumerate().map(of).collect()
}
