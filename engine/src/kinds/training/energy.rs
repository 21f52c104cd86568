//! What the devices of a training run do in a step, for what they draw.

use cost_model::runs::forms::model::counts::{least_flops, stage_flops};
use cost_model::runs::forms::model::shape;
use cost_model::runs::judge::report::Report;
use documents::plan::energy::EnergyDocument;
use ir::diagnostic::Diagnostic;
use ir::id::DeviceId;
use ir::plan::Plan;

use super::answer::ranks;
use crate::answer::energy::{self, Share, Whole, is_asked};
use crate::inputs::run::setting::Setting;

/// Energy and price of a plan that was judged; nothing where nobody asked.
///
/// # Errors
/// Those of pricing.
pub(super) fn document(
    setting: &Setting,
    plan: &Plan,
    report: &Report,
) -> Result<Option<EnergyDocument>, Diagnostic> {
    if !is_asked(&setting.request, &setting.cluster) {
        return Ok(None);
    }
    let shares = match plan.partition.has_own_devices() {
        true => of_replicas(setting, plan, report)?,
        false => of_ranks(setting, plan, report)?,
    };
    let whole = Whole {
        cluster: &setting.cluster,
        request: &setting.request,
        dtype: setting.numbers.dtype,
        step: report.step_time,
        tokens: [setting.global_batch as f64 * setting.sequence as f64, 0.0],
        least: [least_flops(&setting.model, setting.global_batch), 0.0],
    };
    Ok(energy::document(&whole, &shares))
}

/// Operations of a stage in a step, over all its devices.
fn flops(setting: &Setting, plan: &Plan, at: usize) -> f64 {
    plan.partition.stages.get(at).map_or(0.0, |stage| {
        let is_last = at + 1 == plan.partition.stages.len();
        stage_flops(&setting.model, (&stage.blocks, stage.recompute, is_last), setting.global_batch)
    })
}

/// Ranks of equal devices.
fn of_ranks(setting: &Setting, plan: &Plan, report: &Report) -> Result<Vec<Share>, Diagnostic> {
    let waits = setting.waits(plan)?;
    let ranks = ranks(plan);
    let n_devices = shape::n_devices(&plan.parallelism) / report.ranks.len().max(1) as u64;
    let of = |(rank, report): (usize, &cost_model::runs::judge::report::RankReport)| {
        let stages = ranks.iter().enumerate().filter(|(_, of)| **of as usize == rank);
        let flops: f64 = stages.map(|(at, _)| flops(setting, plan, at)).sum();
        let waits = waits.get(rank).copied().unwrap_or_default();
        Share {
            stage: Some(rank),
            device: DeviceId::new(0),
            n_devices,
            seconds: [
                report.compute_ns as f64 * 1e-9 - waits,
                report.communication_ns as f64 * 1e-9 + waits,
            ],
            flops: flops / n_devices as f64,
        }
    };
    Ok(report.ranks.iter().enumerate().map(of).collect())
}

/// Replicas of stages with devices of their own: of those that are done first only what they compute
/// themselves counts.
fn of_replicas(setting: &Setting, plan: &Plan, report: &Report) -> Result<Vec<Share>, Diagnostic> {
    let groups = setting.groups(false);
    let fleet = setting.fleet(&groups);
    let costs = setting.costs(plan, None)?;
    let mut shares: Vec<Share> = Vec::new();
    for (at, passes) in fleet.passes(plan)?.iter().enumerate() {
        let Some(mesh) = plan.partition.stages.get(at).and_then(|stage| stage.mesh.as_ref()) else {
            continue;
        };
        let optimizer = costs.ranks.get(at).map_or(0.0, |rank| rank.optimizer.seconds());
        let exposed = report.ranks.get(at).map_or(0.0, |rank| rank.communication_ns as f64 * 1e-9);
        let all: u64 = mesh.samples.iter().sum();
        let replicas = mesh.devices.chunks(mesh.tensor.max(1) as usize).zip(&mesh.samples);
        for ((devices, samples), [computing, waits]) in replicas.zip(passes) {
            let Some(device) = devices.first().copied() else { continue };
            let share = *samples as f64 / all.max(1) as f64 / devices.len() as f64;
            let added = Share {
                stage: Some(at),
                device,
                n_devices: devices.len() as u64,
                seconds: [computing + optimizer, waits + exposed],
                flops: flops(setting, plan, at) * share,
            };
            let kind =
                |share: &Share| setting.cluster.devices.get(share.device.index()).map(|d| d.kind);
            let like = |other: &&mut Share| {
                (other.stage, kind(other), other.flops.to_bits(), other.seconds.map(f64::to_bits))
                    == (
                        added.stage,
                        kind(&added),
                        added.flops.to_bits(),
                        added.seconds.map(f64::to_bits),
                    )
            };
            match shares.iter_mut().find(like) {
                Some(other) => other.n_devices += added.n_devices,
                None => shares.push(added),
            }
        }
    }
    Ok(shares)
}
