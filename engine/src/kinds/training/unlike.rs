//! Training runs on nodes of different kinds.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use cost_model::runs::forms::model::Offload;
use cost_model::runs::judge::report::{RankReport, Report};
use documents::plan::PlanDocument;
use exporters::runs::targets;
use ir::card::{SequenceParallel, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::id::DeviceId;
use ir::plan::{Parallelism, Partition, Plan, Stage, StageMesh};
use ir::units::{Bytes, Nanos};
use planner::run::{Control, Limits, StopReason};
use planner::training::order::Order;
use planner::training::unlike_nodes::{Found, Judged, Options, most_samples, solve};

use super::answer::margin;
use super::layered::stage_text;
use super::runners::Launched;
use super::screen::ON_HOSTS;
use super::{export, losses};
use crate::answer::energy;
use crate::answer::page::{Column, Page};
use crate::answer::screen::{Screen, figure};
use crate::answer::words::rate;
use crate::inputs::run::edges;
use crate::inputs::run::setting::Setting;

/// The name of the search.
pub const ALGORITHM: &str = "unlike-nodes";

/// The order of the passes.
pub(super) const SCHEDULE: &str = Order::OneFOneB.name();

/// A plan in the words of launchers, which have degrees and no devices of stages.
pub struct Told<'p> {
    /// The plan.
    pub plan: Cow<'p, Plan>,
    /// The devices of its ranks; `None` = those of the cluster in their order.
    pub devices: Option<Vec<DeviceId>>,
}

/// A plan with the devices that it names.
pub fn as_they_are(plan: &Plan) -> Told<'_> {
    let meshes = plan.partition.stages.iter().filter_map(|stage| stage.mesh.as_ref());
    let devices = meshes.flat_map(|mesh| mesh.devices.iter().copied()).collect();
    let devices = plan.partition.has_own_devices().then_some(devices);
    Told { plan: Cow::Borrowed(plan), devices }
}

/// A plan as one of equal stages: where all of them have as many replicas of as many tensor ranks, and
/// replicas equal shares of a micro-batch, these are degrees, and devices an order of ranks.
///
/// # Errors
/// `not-expressible`.
pub fn equal_stages<'p>(target: &str, plan: &'p Plan) -> Result<Told<'p>, Diagnostic> {
    if !plan.partition.has_own_devices() {
        return Ok(Told { plan: Cow::Borrowed(plan), devices: None });
    }
    let refused = |what: String| {
        let message = format!("`{target}` has no words for {what}");
        Diagnostic::input("not-expressible", message)
            .hint("read devices and samples from the plan's `partition.stages`, or draw it with svg or trace")
    };
    let stages = &plan.partition.stages;
    let mut meshes = stages.iter().filter_map(|stage| stage.mesh.as_ref());
    let Some(first) = meshes.next().filter(|mesh| !mesh.samples.is_empty()) else {
        return Err(refused("stages without devices".to_owned()));
    };
    let shape = |mesh: &StageMesh| (mesh.samples.len(), mesh.tensor);
    if let Some(other) = meshes.clone().find(|mesh| shape(mesh) != shape(first)) {
        let [a, b] = [first, other].map(|mesh| format!("{} x {}", mesh.samples.len(), mesh.tensor));
        return Err(refused(format!("stages of {a} and of {b} devices (replicas x tensor ranks)")));
    }
    let each = first.samples[0];
    let samples = || meshes.clone().chain([first]).flat_map(|mesh| &mesh.samples);
    if let Some(other) = samples().find(|share| **share != each) {
        return Err(refused(format!("replicas of {each} and {other} samples of a micro-batch")));
    }
    let run = &plan.parallelism;
    let data = u32::try_from(first.samples.len()).unwrap_or(u32::MAX);
    let parallelism = Parallelism {
        data,
        tensor: first.tensor,
        micro_batch: each,
        sequence: if first.tensor > 1 { SequenceParallel::On } else { SequenceParallel::Off },
        zero: if data > 1 { ZeroStage::Optimizer } else { ZeroStage::None },
        ..run.clone()
    };
    let bare = |stage: &Stage| Stage { mesh: None, ..stage.clone() };
    let partition = Partition { stages: stages.iter().map(bare).collect() };
    let devices = stages.iter().filter_map(|stage| stage.mesh.as_ref());
    let devices = devices.flat_map(|mesh| mesh.devices.iter().copied()).collect();
    let plan = Plan { parallelism, partition, ..plan.clone() };
    Ok(Told { plan: Cow::Owned(plan), devices: Some(devices) })
}

/// Searches; limits that somebody stated are the only ones.
pub fn found(
    setting: &Setting,
    (limits, is_stated): (&Limits, bool),
    tell: &mut dyn FnMut(&Judged, Nanos),
) -> Found {
    let control = Arc::new(Control::new(limits));
    let mut options = Options { control, ..options(setting) };
    // Who states a limit means that one.
    if is_stated {
        options.nodes = u64::MAX;
    }
    searched(setting, &options, tell)
}

/// What no plan is below, as far as that can be shown up to a bound, and why the search ended.
pub fn shown(setting: &Setting, bound: Nanos, limits: &Limits) -> (Nanos, StopReason) {
    let control = Arc::new(Control::new(limits));
    let options = Options { control, nodes: u64::MAX, below: bound, ..options(setting) };
    let found = searched(setting, &options, &mut |_, _| {});
    (found.bound, found.stop)
}

fn options(setting: &Setting) -> Options {
    let edge_ratio = setting.edge_density.map_or(1, edges::most_ratio);
    let may_offload = may_offload(setting);
    Options { devices: most_devices(setting), edge_ratio, may_offload, ..Options::default() }
}

/// Whether hosts may keep states, for which moves and failover targets are not stated.
fn may_offload(setting: &Setting) -> bool {
    let request = &setting.request;
    !request.no_offload
        && request.spares.is_none()
        && request.lost.is_empty()
        && setting.replaced.is_none()
}

fn most_devices(setting: &Setting) -> usize {
    setting.usable().map_or(0, |n| n as usize)
}

fn searched(setting: &Setting, options: &Options, tell: &mut dyn FnMut(&Judged, Nanos)) -> Found {
    let groups = setting.groups(true);
    solve(&setting.fleet(&groups), setting.global_batch, options, tell)
}

/// What is searched, in short.
const SPACE: &str = "1F1B pipelines with stages on consecutive devices of a node or on whole nodes";

/// What a plan is the best of, or how far it may be off.
pub fn proof(setting: &Setting, best: &Judged, found: &Found) -> String {
    if found.is_optimum() {
        let spares = match setting.request.spares {
            None => String::new(),
            Some(_) => format!(", on at most {} devices", most_devices(setting)),
        };
        return format!(
            "proved fastest of {}: 1F1B; each stage on consecutive devices of a node, or on whole nodes of equal size \
             and at most two kinds; replicas in one order, samples shared by stage time, at most {} per device; \
             TP with sequence parallelism; optimizer states on {}{spares} ({} plans simulated)",
            setting.search_space(),
            most_samples(setting.global_batch, setting.cluster.devices.len()),
            if may_offload(setting) { "devices or hosts" } else { "devices" },
            found.n_judged
        );
    }
    let in_part = || match setting.edge_density {
        None => String::new(),
        Some(density) => {
            let ratio = edges::most_ratio(density);
            format!(", as if every edge sent one in {ratio} elements at no cost")
        }
    };
    let why = match found.stop {
        stop if stop.is_complete() => format!("the bound is that of all plans{}", in_part()),
        StopReason::SizeLimit => {
            "size limit reached: plans of more micro-batches, or of node kinds past the first \
                                  few hundred, are not searched"
                .to_owned()
        }
        StopReason::MemoryBudget => "memory budget reached".to_owned(),
        stop => stop.words().to_owned(),
    };
    let looked = match found.n_nodes {
        0 => String::new(),
        n => format!(" after {n} partial plans"),
    };
    let gap = 100.0 * (best.step.seconds() / found.bound.seconds() - 1.0);
    format!(
        "at most {gap:.1} % slower than the fastest of {}: {SPACE}; no plan takes less than {} ({why}{looked})",
        setting.search_space(),
        found.bound
    )
}

/// The first screen of a plan.
pub(super) fn screen(
    (setting, best): (&Setting, &Judged),
    (found, instead, launched): (&Found, String, Option<Launched>),
    (plan, report): (&PlanDocument, &Report),
) -> Screen {
    let degrees = &best.plan.parallelism;
    let mut screen = Screen::new(setting.title());
    let stages = if degrees.pipeline == 1 { "stage" } else { "stages" };
    screen.fact(
        "plan",
        format!(
            "{} {stages} on heterogeneous devices, micro-batch {} x {}; {}",
            degrees.pipeline,
            degrees.micro_batch,
            degrees.n_micro_batches,
            setting.software()
        ),
    );
    screen.fact("", (best.offload == Offload::Optimizer).then(|| ON_HOSTS.to_owned()));
    let tokens = rate(setting.tokens_per_s(best.step));
    screen.fact("step", figure(best.step, None, &format!("{tokens} {}/s", setting.unit())));
    let peak = report.ranks.iter().map(|rank| rank.peak.bytes).max().unwrap_or(0);
    let left = |rank: &RankReport| rank.limit.map(|limit| limit.saturating_sub(rank.peak.bytes));
    let fullest = report.ranks.iter().enumerate();
    let fullest = fullest.filter_map(|(at, rank)| Some((left(rank)?, at))).min();
    let fullest = fullest
        .map(|(left, at)| format!("largest peak; stage {at} has least free: {}", Bytes(left)));
    screen.fact("memory", figure(Bytes(peak), None, &fullest.unwrap_or_default()));
    screen.fact("proof", proof(setting, best, found));
    let takes =
        |name: &&str| export::exported(name, setting, &best.plan, (SCHEDULE, Nanos(0))).is_ok();
    let launchers: Vec<&str> =
        targets().filter(|row| row.launches.is_some()).map(|row| row.name).filter(takes).collect();
    let other = launched.as_ref().map_or_else(String::new, |other| format!("; {}", other.words()));
    let is_run = !launchers.is_empty();
    let runs_on = if is_run { launchers.join(", ") } else { format!("no launcher{other}") };
    screen.fact("runs on", runs_on);
    let costs = setting.costs_from();
    screen.fact("based on", format!("{costs}; no interval: no heterogeneous run was measured"));
    let faster = launched.filter(|other| is_run && other.step < best.step);
    let faster = faster.map(|other| format!("; faster: {}", other.flags.trim()));
    screen.fact("instead", instead + &faster.unwrap_or_default());
    screen.fact("energy", plan.energy.as_ref().map(energy::fact));
    screen.fact("devices", losses::fact(plan));
    screen.warnings = setting.warnings.clone();
    let (columns, rows) = stages_table(setting, &best.plan, report);
    screen.table(&columns, rows);
    screen
}

/// Prints which stage has what.
pub fn print_stages(setting: &Setting, plan: &Plan, report: &Report, page: &Page) {
    let (columns, rows) = stages_table(setting, plan, report);
    page.table(&columns, rows);
}

/// By stage, its layers, devices and memory.
fn stages_table(
    setting: &Setting,
    plan: &Plan,
    report: &Report,
) -> (Vec<Column>, Vec<Vec<String>>) {
    let row = |(index, stage): (usize, &ir::plan::Stage)| {
        let mesh = stage.mesh.as_ref();
        let devices = mesh.map_or(&[][..], |mesh| &mesh.devices);
        let kind = |device: &ir::id::DeviceId| setting.cluster.kind_of(*device).name.as_str();
        let kinds: BTreeSet<&str> = devices.iter().map(kind).collect();
        let samples = mesh.map_or(&[][..], |mesh| &mesh.samples);
        let shares: Vec<String> = samples
            .chunk_by(|a, b| a == b)
            .map(|run| match run.len() {
                1 => run[0].to_string(),
                _ => format!("{} each", run[0]),
            })
            .collect();
        let rank = report.ranks.get(index);
        vec![
            index.to_string(),
            stage_text(stage),
            setting.cluster.in_words(devices),
            kinds.into_iter().collect::<Vec<_>>().join(", "),
            mesh.map_or(1, |mesh| mesh.tensor).to_string(),
            shares.join(", "),
            rank.map_or_else(String::new, |rank| Bytes(rank.peak.bytes).to_string()),
            rank.map_or_else(String::new, margin),
        ]
    };
    let columns = Column::row("#stage | layers | devices | kind | #TP | samples | #peak | #left");
    (columns, plan.partition.stages.iter().enumerate().map(row).collect())
}
