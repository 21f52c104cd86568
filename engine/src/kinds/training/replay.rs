//! Plans of training runs read back: recounted, replayed, explained.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use cost_model::runs::forms::model::{Offload, shape};
use cost_model::runs::forms::rank_groups;
use cost_model::runs::judge::report::{LinkReport, Report};
use cost_model::runs::judge::{judge_plan, verify as rules};
use cost_model::runs::oracle::ranks_of;
use documents::diagnostic::DiagnosticDocument;
use documents::digest;
use documents::plan::training::TrainingDocument;
use documents::plan::{PlanDocument, Reference};
use ir::card::ZeroStage;
use ir::diagnostic::{Blame, Diagnostic, Value};
use ir::plan::Plan;
use ir::tensor::DType;
use ir::units::{Bytes, Nanos};
use ir::workload::Optimizer;
use serde_json::json;

use super::answer::margin;
use super::trust::Trust;
use super::{claims, layered, losses, tiers};
use crate::answer::energy;
use crate::answer::exit::{Cancel, CommandResult, Exit};
use crate::answer::mismatch;
use crate::answer::page::Column;
use crate::answer::page::Page;
use crate::answer::suggest;
use crate::answer::violations;
use crate::inputs::plan_file;
use crate::inputs::run::edges;
use crate::inputs::run::hardware::retain_warnings;
use crate::inputs::run::model::{self, Model};
use crate::inputs::run::setting::Setting;
use crate::inputs::scale;
use crate::kinds::training::unasked::unasked;
use crate::request::{PlanOnModel, ReplayRequest, SimulateRequest};

/// A plan on its model and cluster.
pub struct OnModel<'d> {
    /// Model, devices and software.
    pub setting: Setting,
    /// The plan as it is stated.
    pub document: &'d PlanDocument,
    /// What it states of the run.
    pub training: &'d TrainingDocument,
    /// The plan.
    pub plan: Plan,
    /// Of reading; where model, cluster or profile are others than it was made for, one each.
    pub warnings: Vec<Diagnostic>,
    /// Whether they are, and may be; or sizes are others.
    pub(super) is_mismatched: bool,
    /// Where they are and may not be, one each.
    mismatches: Vec<Diagnostic>,
}

/// Puts a plan on its model and cluster.
///
/// # Errors
/// Those of [`read_on`].
pub fn read<'d>(document: &'d PlanDocument, args: &PlanOnModel) -> Result<OnModel<'d>, Diagnostic> {
    read_on(document, &args.model, &args.target)
}

/// Puts a plan on a model and the cluster of the flags.
///
/// # Errors
/// Those of [`examined`]; `digest-mismatch`.
pub fn read_on<'d>(
    document: &'d PlanDocument,
    model: &Path,
    target: &ReplayRequest,
) -> Result<OnModel<'d>, Diagnostic> {
    let on = examined(document, model, target)?;
    on.mismatches.first().map_or(Ok(()), |other| Err(other.clone()))?;
    Ok(on)
}

/// Puts a plan on a model and a cluster of the names that it was made for, whatever their digests.
///
/// # Errors
/// Those of the readers; `digest-mismatch` where names differ.
fn examined<'d>(
    document: &'d PlanDocument,
    model: &Path,
    target: &ReplayRequest,
) -> Result<OnModel<'d>, Diagnostic> {
    let Some(training) = &document.training else {
        return Err(Diagnostic::input("bad-plan", "the plan is none of a training run"));
    };
    let planned = plan_file::workload(&document.workload)?;
    let own = &target.problem;
    unasked(own, document, training)?;
    let asked = Asked {
        sequence_length: training.sequence_length,
        global_batch: training.global_batch,
        dtype: own.model.dtype.or(planned.dtype),
        optimizer: own.optimizer.unwrap_or(planned.optimizer),
        stack: training.stack.clone(),
    };
    let mut setting = self::setting(document, model, target, &asked)?;
    if training.offloads_optimizer {
        setting.offload = Offload::Optimizer;
    }
    let (model, cluster) = (&setting.model, &setting.cluster);
    let pairs = [
        ("model", &document.model, Reference::new(&model.name, digest::card(model))),
        ("cluster", &document.cluster, Reference::new(&cluster.name, digest::cluster(cluster))),
        ("profile", &document.profile, setting.measured_by()),
    ];
    let found = pairs.into_iter().filter(|(_, own, found)| own.digest != found.digest);
    let mismatch = |(what, own, found): (&str, &Reference, Reference)| {
        mismatch::mismatch(what, own, &found, target.allow_mismatch)
    };
    let (allowed, mismatches) = mismatch::sorted(found.map(mismatch), target.allow_mismatch)?;
    let is_mismatched = !allowed.is_empty();
    let mut warnings = std::mem::take(&mut setting.warnings);
    warnings.extend(allowed);
    let plan = document.to_training(Some(cluster));
    let plan = plan.map_err(|error| mismatches.first().cloned().unwrap_or(error))?;
    if plan.partition.has_own_devices() {
        retain_warnings(&mut warnings);
    }
    Ok(OnModel { setting, document, training, plan, warnings, is_mismatched, mismatches })
}

/// What of a run may be another than a plan's.
#[derive(PartialEq)]
pub struct Asked {
    /// Tokens of a sample.
    pub sequence_length: u64,
    /// Samples of a step.
    pub global_batch: u64,
    /// What it computes in.
    pub dtype: Option<DType>,
    /// The optimizer.
    pub optimizer: Optimizer,
    /// Name of the software stack.
    pub stack: String,
}

/// Model, devices and software of a plan, for a run that may be another one.
///
/// # Errors
/// Those of the readers.
pub fn setting(
    document: &PlanDocument,
    model: &Path,
    target: &ReplayRequest,
    asked: &Asked,
) -> Result<Setting, Diagnostic> {
    let request = crate::inputs::asked::merged(&target.problem, &document.request)?;
    let mut flags = target.problem.clone();
    flags.model = crate::inputs::asked::model(&flags.model, &request);
    flags.model.dtype = asked.dtype;
    flags.optimizer = Some(asked.optimizer);
    flags.lost.clone_from(&request.lost);
    flags.without.clone_from(&request.without);
    flags.board_limit = request.board_limit;
    let read = |sequence| model::read(model, sequence, &flags.model);
    let model = of_its_text(document, asked, &read)?;
    let mut setting = Setting::on(model, &flags, &asked.stack, asked.global_batch)?;
    setting.ask(request)?;
    setting.replaced = document.communication.replaced.clone().map(Arc::new);
    setting.edge_density = edges::allowed(&document.communication.lossy)?;
    Ok(setting)
}

/// Code of the warning of plans that state an extent of pictures as the tokens of a sample.
const EXTENT_FOR_TOKENS: &str = "extent-for-tokens";

/// The model of a plan. Plans of version 0.1.0 state an extent of the first input of a model that sees in place of
/// the tokens of its text, which were those of its config.
fn of_its_text(
    document: &PlanDocument,
    asked: &Asked,
    read: &dyn Fn(Option<u64>) -> Result<Model, Diagnostic>,
) -> Result<Model, Diagnostic> {
    let stated = asked.sequence_length;
    let found = read(Some(stated));
    let is_own = |own: &Model| digest::card(&own.card) == document.model.digest;
    let is_known = |own: &Model| own.graph.is_none() || is_own(own);
    let is_of_plan = document.training.as_ref().is_some_and(|own| own.sequence_length == stated);
    if !is_of_plan || found.as_ref().is_ok_and(is_known) {
        return found;
    }
    let Ok(mut own) = read(None) else { return found };
    let extent = own.graph.as_ref().and_then(|graph| graph.first_extent);
    let Some(tokens) = own.tokens.filter(|_| extent == Some(stated) && is_own(&own)) else {
        return found;
    };
    let message = format!(
        "the plan states samples of {stated} tokens, the extent of its pictures: its text has {tokens}"
    );
    own.warnings.push(
        Diagnostic::warning(EXTENT_FOR_TOKENS, message)
            .hint("plan again to have it state tokens, and rates of them"),
    );
    Ok(own)
}

/// What breaks a rule, and the report where the plan runs at all.
pub fn judged_again(on: &OnModel<'_>) -> (Vec<Diagnostic>, Option<Report>) {
    // On another problem than it was made for, a plan has other figures.
    let mut broken = if on.is_mismatched { claims::alone(on) } else { claims::wrong(on) };
    if on.warnings.iter().any(|own| own.code == EXTENT_FOR_TOKENS) {
        // The warning says so.
        let length = ("field", Value::from("training.sequence_length"));
        broken.retain(|own| !own.facts.contains(&length));
    }
    let costs = match on.setting.costs(&on.plan, on.setting.limit) {
        Ok(costs) => costs,
        Err(error) => {
            if !broken.contains(&error) {
                broken.push(error);
            }
            return (broken, None);
        }
    };
    let judged = match judge_plan(&costs, &on.plan) {
        Ok(judged) => judged,
        Err(violation) => {
            broken.push(violation.diagnostic());
            return (broken, None);
        }
    };
    if let Some(grid) = &on.plan.schedule.grid {
        let found = rules::verify(&costs, grid);
        broken.extend(found.iter().map(|violation| violation.diagnostic()));
    }
    (broken, Some(judged.report))
}

/// A bound of a plan that no search proves again, until the flag is raised.
#[must_use]
pub fn unproved(on: &OnModel<'_>, cancel: &Arc<AtomicBool>) -> Option<Diagnostic> {
    claims::bound(on, cancel)
}

/// Diagnostics as documents.
#[must_use]
pub fn documents(list: &[Diagnostic]) -> Vec<DiagnosticDocument> {
    list.iter().map(DiagnosticDocument::from).collect()
}

/// How a run ends that found these rules broken.
#[must_use]
pub fn exit(broken: &[Diagnostic]) -> Exit {
    if broken.is_empty() { Exit::DONE } else { Exit(Blame::IllegalPlan.exit_code()) }
}

/// `verify`.
pub fn verify(
    document: &PlanDocument,
    args: &PlanOnModel,
    (cancel, page): (Cancel<'_>, &Page),
) -> CommandResult {
    let mut on = examined(document, &args.model, &args.target)?;
    let mismatches = std::mem::take(&mut on.mismatches);
    if let Some(mismatch) = mismatches.first() {
        // Is it wrong whatever it was made for? What fits no more may have fitted.
        let costs = on.setting.costs(&on.plan, None);
        let is_broken = costs.is_err_and(|error| error.blame == Blame::IllegalPlan);
        if !is_broken && claims::alone(&on).is_empty() {
            return Err(mismatch.clone());
        }
    }
    let (mut broken, report) = judged_again(&on);
    // A bound is worth a search only where the rest is true.
    if broken.is_empty() && !on.is_mismatched {
        broken.extend(claims::bound(&on, &cancel()));
    }
    broken.splice(0..0, mismatches);
    page.warnings(&on.warnings);
    if let Some(exit) = violations::interrupted(&broken, &cancel(), page) {
        return Ok(exit);
    }
    page.warnings(&broken);
    let is_legal = crate::answer::violations::is_legal(&broken);
    page.line(&match (is_legal, &report) {
        (Some(true), Some(report)) => format!(
            "the plan is legal: {} blocks on {} ranks, every pass once, step time {}",
            on.setting.model.n_blocks(),
            report.ranks.len(),
            report.step_time
        ),
        (None, _) => "no rule is broken, but the bound was not proved again".to_owned(),
        _ => format!("the plan is illegal: {}", crate::answer::violations::count(broken.len())),
    });
    page.document(&json!({
        "legal": is_legal,
        "violations": documents(&broken),
        "warnings": documents(&on.warnings),
        "step_time_ns": report.map(|report| report.step_time.0),
    }));
    Ok(violations::exit(&broken))
}

/// `simulate`.
pub fn simulate(document: &PlanDocument, args: &SimulateRequest, page: &Page) -> CommandResult {
    let mut on = read(document, &args.on)?;
    if let Some(n) = args.micro_batches {
        claims::resize(&mut on, n)?;
    }
    let (broken, report) = judged_again(&on);
    page.warnings(&on.warnings);
    page.warnings(&broken);
    let Some(report) = report else {
        page.document(&json!({ "violations": documents(&broken) }));
        return Ok(exit(&broken));
    };
    let waits = on.setting.waits(&on.plan)?;
    print_ranks(&on, (&report, &waits), page);
    page.line(&format!("step time {}", report.step_time));
    let ranks: Vec<_> = report
        .ranks
        .iter()
        .zip(&waits)
        .map(|(rank, waits)| {
            json!({
                "compute_ns": rank.compute_ns,
                "waits_in_passes_s": waits,
                "communication_ns": rank.communication_ns,
                "idle_ns": rank.idle_ns,
                "peak_bytes": rank.peak.bytes,
                "persistent_bytes": rank.persistent_bytes,
                "limit_bytes": rank.limit,
            })
        })
        .collect();
    let samples = on.setting.global_batch;
    page.document(&json!({
        "step_time_ns": report.step_time.0,
        "n_micro_batches": on.plan.parallelism.n_micro_batches,
        "global_batch": samples,
        "samples_per_s": samples as f64 / report.step_time.seconds(),
        "cluster": scale::document(&on.setting.cluster),
        "ranks": ranks,
        "violations": documents(&broken),
        "warnings": documents(&on.warnings),
    }));
    Ok(exit(&broken))
}

fn print_ranks(on: &OnModel<'_>, (report, waits): (&Report, &[f64]), page: &Page) {
    let n_stages = on.plan.partition.stages.len();
    let grid = on.plan.schedule.grid.as_ref();
    let ranks = grid.and_then(|grid| ranks_of(grid, n_stages)).unwrap_or_default();
    let blocks = |rank: usize| {
        let own = on.plan.partition.stages.iter().zip(&ranks);
        let own = own.filter(|(_, of)| **of as usize == rank);
        let told: Vec<String> = own.map(|(stage, _)| layered::stage_text(stage)).collect();
        told.join(", ")
    };
    let share_of = |ns: f64| format!("{:.1} %", 100.0 * ns / report.step_time.0.max(1) as f64);
    let share = |ns: u64| share_of(ns as f64);
    let row = |(index, rank): (usize, &cost_model::runs::judge::report::RankReport)| {
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
    let columns = [
        Column::Number("rank"),
        Column::Text("blocks"),
        Column::Number("passes, updates"),
        Column::Number("of it collectives"),
        Column::Number("waits for links"),
        Column::Number("idles"),
        Column::Number("peak"),
        Column::Number("margin"),
    ];
    page.table(&columns, report.ranks.iter().enumerate().map(row).collect());
}

/// The pipeline rank of a device that the plan uses, or the one that views call `rank 0` and so on.
fn rank_of(on: &OnModel<'_>, device: &str) -> Result<usize, Diagnostic> {
    let degrees = &on.plan.parallelism;
    let devices = &on.setting.cluster.devices;
    let used: Vec<(&str, usize)> = match on.plan.partition.has_own_devices() {
        true => {
            let stages = on.plan.partition.stages.iter().enumerate();
            let own = stages.filter_map(|(at, stage)| Some((at, stage.mesh.as_ref()?)));
            let own = own.flat_map(|(at, mesh)| mesh.devices.iter().map(move |own| (own, at)));
            own.map(|(own, at)| (devices[own.index()].name.as_str(), at)).collect()
        }
        false => {
            let n = usize::try_from(shape::n_devices(degrees)).unwrap_or(usize::MAX);
            let rank = |at: u64| rank_groups::rank_of(degrees, at) as usize;
            (0..)
                .zip(devices.iter().take(n))
                .map(|(at, own)| (own.name.as_str(), rank(at)))
                .collect()
        }
    };
    if let Some((_, rank)) = used.iter().find(|(name, _)| *name == device) {
        return Ok(*rank);
    }
    let rank = device.strip_prefix("rank ").and_then(|own| own.parse::<u32>().ok());
    rank.filter(|rank| *rank < degrees.pipeline).map(|rank| rank as usize).ok_or_else(|| {
        Diagnostic::usage("unknown-device", format!("the plan uses no device `{device}`"))
            .hint(suggest::hint(device, used.iter().map(|(name, _)| *name)))
    })
}

/// Says whether exchanges of experts run beside other work as the plan says, and the step were it
/// otherwise, whatever the memory; `None` where nothing is exchanged or there is no other way.
fn expert_overlap(on: &OnModel<'_>, page: &Page) -> Option<serde_json::Value> {
    let mut plan = on.plan.clone();
    let is_beside = plan.parallelism.expert_overlap;
    plan.parallelism.expert_overlap = !is_beside;
    if !on.setting.model.has_experts() || claims::no_overlap(&on.setting, &plan).is_some() {
        return None;
    }
    let costs = on.setting.costs(&plan, None).ok()?;
    let otherwise = judge_plan(&costs, &plan).ok()?.report.step_time;
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
fn gradient_overlap(on: &OnModel<'_>, page: &Page) -> Option<serde_json::Value> {
    let degrees = &on.plan.parallelism;
    let stages = on.plan.partition.stages.iter().filter_map(|own| own.mesh.as_ref());
    let n = u64::from(degrees.data) * u64::from(degrees.context);
    let has_replicas = n > 1 || stages.into_iter().any(|own| own.samples.len() > 1);
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
fn told_sends<'r>(
    links: impl Iterator<Item = &'r LinkReport>,
    page: &Page,
) -> Vec<serde_json::Value> {
    let told = |link: &LinkReport| {
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
    links.map(told).collect()
}

/// `explain`: where the step goes, and what lies on each rank, or on that of a device, at its peak.
pub fn explain(
    document: &PlanDocument,
    args: &PlanOnModel,
    device: Option<&str>,
    page: &Page,
) -> CommandResult {
    let on = read(document, args)?;
    let only = device.map(|device| rank_of(&on, device)).transpose()?;
    let is_asked = |rank: usize| only.is_none_or(|only| only == rank);
    let (broken, report) = judged_again(&on);
    page.warnings(&broken);
    page.warnings(&edges::warnings(&on.setting, &on.plan));
    let Some(report) = report else { return Ok(exit(&broken)) };
    print_ranks(&on, (&report, &on.setting.waits(&on.plan)?), page);
    let is_rank = |device: &str| device.starts_with("rank ");
    if let (Some(device), Some(rank)) = (device.filter(|own| !is_rank(own)), only) {
        page.line(&format!("`{device}` is one of the devices of rank {rank}"));
    }
    let mut told = Vec::new();
    for (index, rank) in report.ranks.iter().enumerate().filter(|(index, _)| is_asked(*index)) {
        let alive: Vec<String> = rank.alive.iter().map(ToString::to_string).collect();
        page.line(&format!(
            "rank {index} holds most at {}: {}",
            Nanos(rank.peak.at),
            alive.join("; ")
        ));
        told.push(json!({ "rank": index, "at_ns": rank.peak.at, "alive": alive }));
    }
    if device.is_none() {
        edges::print(document, page);
        losses::print(document, page);
        energy::print(document, page);
    }
    let sends = told_sends(report.links.iter().filter(|link| is_asked(link.from as usize)), page);
    let overlap = expert_overlap(&on, page);
    let of_gradients = gradient_overlap(&on, page);
    let peak = report.ranks.iter().map(|rank| Bytes(rank.peak.bytes)).max().unwrap_or(Bytes(0));
    let trust = Trust::of(&on.setting, &on.plan, (report.step_time, peak));
    match &trust {
        Some(trust) => trust.lines().iter().for_each(|line| page.line(line)),
        None => page.line(&format!("step time {}", report.step_time)),
    }
    page.document(&json!({
        "step_time_ns": report.step_time.0,
        "trust": trust.as_ref().map(Trust::document),
        "ranks": told,
        "links": sends,
        "expert_overlap": overlap,
        "gradient_overlap": of_gradients,
        "communication": &document.communication,
        "energy": &document.energy,
        "tiers": (!on.plan.partition.has_own_devices())
            .then(|| tiers::document(&on.setting, &on.plan.parallelism)),
        "violations": documents(&broken),
    }));
    Ok(exit(&broken))
}
