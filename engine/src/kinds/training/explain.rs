//! Where the step of a training run goes: its ranks, what lies on them, and what they send.

use cost_model::runs::forms::model::shape;
use cost_model::runs::forms::rank_groups;
use cost_model::runs::judge::report::{LinkReport, RankReport, Report};
use ir::card::ZeroStage;
use ir::diagnostic::Diagnostic;
use ir::units::{Bytes, Nanos};
use serde_json::{Value, json};

use super::answer::{margin, ranks};
use super::replay::Planned;
use super::trust::Trust;
use super::{Training, break_even, claims, layered, losses, tiers, why_not};
use crate::answer::energy;
use crate::answer::page::{Column, Page};
use crate::answer::suggest;
use crate::inputs::run::edges;
use crate::inputs::scale;
use crate::kinds::kind::{Asked, Legal};
use crate::request::subject::Subject;

/// Where the step goes, and what lies on each rank, or on that of a device, at its peak; or at which rates
/// boundaries take as long as stages.
///
/// # Errors
/// Those of pricing; `unknown-device`.
pub fn explain(on: Legal<'_, Training>, question: &Asked<'_>) -> Result<Value, Diagnostic> {
    let (report, page) = (&on.judged.report, question.page);
    let (on, device) = match question.subject {
        Subject::BreakEven(share) => return break_even::explain(on.setting, share, page),
        Subject::WhyNot(pins) => return why_not::explain(on.setting, (report, pins), page),
        Subject::Device(name) => (on.setting, Some(name.as_str())),
        _ => (on.setting, None),
    };
    let only = device.map(|device| rank_of(on, device)).transpose()?;
    let is_asked = |rank: usize| only.is_none_or(|only| only == rank);
    page.warnings(&edges::warnings(&on.setting, &on.plan));
    print_ranks(on, (report, &on.setting.waits(&on.plan)?), page);
    let is_rank = |device: &str| device.starts_with("rank ");
    if let (Some(device), Some(rank)) = (device.filter(|device| !is_rank(device)), only) {
        page.line(&format!("`{device}` is one of the devices of rank {rank}"));
    }
    let mut documents = Vec::new();
    for (index, rank) in report.ranks.iter().enumerate().filter(|(index, _)| is_asked(*index)) {
        let alive: Vec<String> = rank.alive.iter().map(ToString::to_string).collect();
        page.line(&format!(
            "rank {index}: peak memory at {}: {}",
            Nanos(rank.peak.at),
            alive.join("; ")
        ));
        documents.push(json!({ "rank": index, "at_ns": rank.peak.at, "alive": alive }));
    }
    if device.is_none() {
        edges::print(&on.document, page);
        losses::print(&on.document, page);
        energy::print(&on.document, page);
    }
    let sends = told_sends(report.links.iter().filter(|link| is_asked(link.from as usize)), page);
    let overlap = expert_overlap(on, page);
    let of_gradients = gradient_overlap(on, page);
    let peak = report.ranks.iter().map(|rank| Bytes(rank.peak.bytes)).max().unwrap_or(Bytes(0));
    let trust = Trust::of(&on.setting, &on.plan, (report.step_time, peak));
    match &trust {
        Some(trust) => trust.lines().iter().for_each(|line| page.line(line)),
        None => page.line(&format!("step time {}", report.step_time)),
    }
    Ok(json!({
        "step_time_ns": report.step_time.0,
        "trust": trust.as_ref().map(Trust::document),
        "ranks": documents,
        "links": sends,
        "expert_overlap": overlap,
        "gradient_overlap": of_gradients,
        "communication": &on.document.communication,
        "energy": &on.document.energy,
        "tiers": (!on.plan.partition.has_own_devices())
            .then(|| tiers::document(&on.setting, &on.plan.parallelism)),
    }))
}

/// Prints what each rank does in a step.
///
/// # Errors
/// Those of pricing.
pub fn replayed(on: &Planned, report: &Report, page: &Page) -> Result<Value, Diagnostic> {
    let waits = on.setting.waits(&on.plan)?;
    print_ranks(on, (report, &waits), page);
    page.line(&format!("step time {}", report.step_time));
    let ranks = report.ranks.iter().zip(&waits).map(|(rank, waits)| {
        json!({
            "compute_ns": rank.compute_ns,
            "waits_in_passes_s": waits,
            "communication_ns": rank.communication_ns,
            "idle_ns": rank.idle_ns,
            "peak_bytes": rank.peak.bytes,
            "persistent_bytes": rank.persistent_bytes,
            "limit_bytes": rank.limit,
        })
    });
    let samples = on.setting.global_batch;
    Ok(json!({
        "step_time_ns": report.step_time.0,
        "n_micro_batches": on.plan.parallelism.n_micro_batches,
        "global_batch": samples,
        "samples_per_s": samples as f64 / report.step_time.seconds(),
        "cluster": scale::document(&on.setting.cluster),
        "ranks": ranks.collect::<Vec<_>>(),
    }))
}

fn print_ranks(on: &Planned, (report, waits): (&Report, &[f64]), page: &Page) {
    let ranks = ranks(&on.plan);
    let blocks = |rank: usize| {
        let stages = on.plan.partition.stages.iter().zip(&ranks);
        let stages = stages.filter(|(_, of)| **of as usize == rank);
        let texts: Vec<String> = stages.map(|(stage, _)| layered::stage_text(stage)).collect();
        texts.join(", ")
    };
    let share_of = |ns: f64| format!("{:.1} %", 100.0 * ns / report.step_time.0.max(1) as f64);
    let share = |ns: u64| share_of(ns as f64);
    let row = |(index, rank): (usize, &RankReport)| {
        vec![
            index.to_string(),
            blocks(index),
            share(rank.compute_ns),
            share_of(1e9 * waits.get(index).copied().unwrap_or_default()),
            share(rank.communication_ns),
            share(rank.idle_ns),
            Bytes(rank.peak.bytes).to_string(),
            margin(rank),
        ]
    };
    let columns = Column::row(
        "#rank | layers | #busy | #in collectives | #waits for links | #idle | #peak | #free",
    );
    page.table(&columns, report.ranks.iter().enumerate().map(row).collect());
}

/// The pipeline rank of a device that the plan uses, or the one that views call `rank 0` and so on.
fn rank_of(on: &Planned, device: &str) -> Result<usize, Diagnostic> {
    let degrees = &on.plan.parallelism;
    let devices = &on.setting.cluster.devices;
    let used: Vec<(&str, usize)> = match on.plan.partition.has_own_devices() {
        true => {
            let stages = on.plan.partition.stages.iter().enumerate();
            let meshes = stages.filter_map(|(at, stage)| Some((at, stage.mesh.as_ref()?)));
            let placed =
                meshes.flat_map(|(at, mesh)| mesh.devices.iter().map(move |device| (device, at)));
            placed.map(|(device, at)| (devices[device.index()].name.as_str(), at)).collect()
        }
        false => {
            let n = usize::try_from(shape::n_devices(degrees)).unwrap_or(usize::MAX);
            let rank = |at: u64| rank_groups::rank_of(degrees, at) as usize;
            (0..)
                .zip(devices.iter().take(n))
                .map(|(at, device)| (device.name.as_str(), rank(at)))
                .collect()
        }
    };
    if let Some((_, rank)) = used.iter().find(|(name, _)| *name == device) {
        return Ok(*rank);
    }
    let rank = device.strip_prefix("rank ").and_then(|number| number.parse::<u32>().ok());
    rank.filter(|rank| *rank < degrees.pipeline).map(|rank| rank as usize).ok_or_else(|| {
        Diagnostic::usage("unknown-device", format!("the plan uses no device `{device}`"))
            .hint(suggest::hint(device, used.iter().map(|(name, _)| *name)))
    })
}

/// Says whether exchanges of experts run beside other work as the plan says, and the step were it
/// otherwise, whatever the memory; `None` where nothing is exchanged or there is no other way.
fn expert_overlap(on: &Planned, page: &Page) -> Option<Value> {
    let mut plan = on.plan.clone();
    let is_beside = plan.parallelism.expert_overlap;
    plan.parallelism.expert_overlap = !is_beside;
    if !on.setting.model.has_experts() || claims::no_overlap(&on.setting, &plan).is_some() {
        return None;
    }
    let otherwise = on.setting.report(&plan, None).ok()?.step_time;
    page.line(&match is_beside {
        true => format!(
            "exchanges of experts run beside the work of another micro-batch; before and behind \
             experts the step would take {otherwise}"
        ),
        false => format!(
            "exchanges of experts run before and behind them; beside the work of another \
             micro-batch the step would take {otherwise}, whatever the memory"
        ),
    });
    Some(json!({ "beside": is_beside, "otherwise_step_time_ns": otherwise.0 }))
}

/// Says that buckets of gradients are not what the exchange of replicas is priced by; `None` where there is
/// none to hide.
fn gradient_overlap(on: &Planned, page: &Page) -> Option<Value> {
    let degrees = &on.plan.parallelism;
    let stages = on.plan.partition.stages.iter().filter_map(|stage| stage.mesh.as_ref());
    let n = u64::from(degrees.data) * u64::from(degrees.context);
    let has_replicas = n > 1 || stages.into_iter().any(|mesh| mesh.samples.len() > 1);
    let share = on.setting.stack.overlap_data;
    // Of sharded parameters block by block.
    if !has_replicas || share == 0.0 || degrees.zero >= ZeroStage::Gradients {
        return None;
    }
    page.line(&format!(
        "of the gradients' exchange at most {:.0} % runs beside the backward pass, a constant of {}: \
         buckets are not looked at (`--algorithm gradient-buckets` does, for replicas of a whole model)",
        100.0 * share,
        on.setting.stack.name
    ));
    Some(json!({ "most_share_beside": share, "is_constant": true }))
}

/// What each rank sends, as lines and as a document.
fn told_sends<'r>(links: impl Iterator<Item = &'r LinkReport>, page: &Page) -> Vec<Value> {
    let document = |link: &LinkReport| {
        page.line(&format!(
            "rank {} sends {} to rank {} in {} transfers, {} in all",
            link.from,
            Bytes(link.bytes),
            link.to,
            link.n_transfers,
            Nanos(link.busy_ns)
        ));
        json!({ "from": link.from, "to": link.to, "bytes": link.bytes, "busy_ns": link.busy_ns })
    };
    links.map(document).collect()
}
