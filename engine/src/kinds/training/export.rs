//! A plan of a training run in other formats: those of launchers, folders that start it, and pictures of
//! its step.

use std::path::Path;

use cost_model::runs::forms::model::{Offload, shape};
use cost_model::runs::judge::judge_plan;
use documents::digest;
use exporters::runs::{export as launched, find, folder as started};
use exporters::svg::pipeline::PipelineSource;
use exporters::training::folder::{Files, Job, Place, Starter};
use exporters::training::{Blocks, Field, TrainingSource};
use exporters::{Export, Writer};
use ir::cluster::Cluster;
use ir::diagnostic::Diagnostic;
use ir::id::DeviceId;
use ir::plan::Plan;
use ir::plan_kind::PlanKind;
use ir::stack::Stack;
use ir::units::Nanos;

use super::replay::Planned;
use super::unlike::{self, Told};
use crate::answer::{energy, suggest};
use crate::inputs::run::edges;
use crate::inputs::run::setting::Setting;
use crate::request::ExportRequest;

/// The file of a target for a plan that is stated.
///
/// # Errors
/// Those of the targets and of the judge.
pub fn file(on: &Planned, target: &str) -> Result<Export, Diagnostic> {
    let bound = Nanos(on.document.cost.as_ref().map_or(0, |cost| cost.bound_ns));
    exported(as_planned(on, target), &on.setting, &on.plan, (&on.training.schedule, bound))
}

/// Who planned for a version is told its words.
fn as_planned<'o>(on: &'o Planned, target: &'o str) -> &'o str {
    let planned = on.setting.request.executor.as_deref();
    planned.filter(|name| name.split('@').next() == Some(target)).unwrap_or(target)
}

/// The files with which a launcher starts a plan.
///
/// # Errors
/// Those of the targets; `unknown-launcher`, `not-a-folder`.
pub fn folder(
    on: &Planned,
    (request, launcher): (&ExportRequest, &str),
) -> Result<(Files, Vec<Diagnostic>), Diagnostic> {
    let starter = starter(launcher)?;
    if is_picture(&request.target) {
        let message = format!("`{}` is one file, which starts nothing", request.target);
        return Err(Diagnostic::usage("not-a-folder", message).hint("write it with -o FILE"));
    }
    let (setting, target) = (&on.setting, as_planned(on, &request.target));
    let placed = told(target, &on.plan)?;
    let places = places(&setting.cluster, &placed);
    let stack = setting.stack_of(&placed.plan.parallelism);
    let source = &source((setting, &stack), (&placed.plan, &places), &on.training.schedule);
    let digest = &digest::bytes(&read_file(&request.on.plan)?);
    let job = Job { source, digest, hosts_differ: placed.devices.is_some(), starter };
    let (files, mut warnings) = started(target, &job)?;
    warnings.extend(energy::boards_to_limit(&setting.request, &setting.cluster));
    Ok((files, warnings))
}

/// Whether a target draws the step.
pub fn is_picture(target: &str) -> bool {
    exporters::find(PlanKind::Training, target).is_ok_and(|exporter| exporter.writer.is_picture())
}

fn read_file(path: &Path) -> Result<Vec<u8>, Diagnostic> {
    std::fs::read(path).map_err(|error| {
        let message = format!("`{}` can not be read", path.display());
        Diagnostic::input("unreadable", message).fact("reason", error.to_string())
    })
}

fn starter(name: &str) -> Result<Starter, Diagnostic> {
    let known =
        [("torchrun", Starter::Torchrun), ("slurm", Starter::Slurm), ("k8s", Starter::Kubernetes)];
    let found =
        known.iter().find(|(known_name, _)| *known_name == name).map(|(_, starter)| *starter);
    found.ok_or_else(|| {
        let message = format!("there is no launcher `{name}`");
        let names = known.iter().map(|(name, _)| *name);
        Diagnostic::usage("unknown-launcher", message).hint(suggest::hint(name, names))
    })
}

/// The file of a target for a plan with the name of its schedule and its bound.
///
/// # Errors
/// Those of the targets and of the judge.
pub fn exported(
    target: &str,
    setting: &Setting,
    plan: &Plan,
    (schedule, bound): (&str, Nanos),
) -> Result<Export, Diagnostic> {
    if let Writer::Step(drawn) = exporters::find(PlanKind::Training, target)?.writer {
        return picture(drawn, setting, plan, bound);
    }
    let placed = told(target, plan)?;
    let places = places(&setting.cluster, &placed);
    let stack = setting.stack_of(&placed.plan.parallelism);
    let source = source((setting, &stack), (&placed.plan, &places), schedule);
    let mut export = launched(target, &source)?;
    export.warnings.extend(devices_to_name(&setting.cluster, &placed));
    export.warnings.extend(energy::boards_to_limit(&setting.request, &setting.cluster));
    Ok(export)
}

/// A plan in the words of a target: with its devices where it has words for them.
fn told<'p>(target: &str, plan: &'p Plan) -> Result<Told<'p>, Diagnostic> {
    if edges::are_lossy(plan) {
        let message = format!("`{target}` cannot express compressed edges");
        return Err(Diagnostic::input("not-expressible", message).hint(
            "plan without --allow-lossy, or read `communication.edges` of the plan in a stage of your own",
        ));
    }
    match find(target)?.0.expresses.contains(&Field::Devices) {
        true => Ok(unlike::as_they_are(plan)),
        false => unlike::equal_stages(target, plan),
    }
}

/// Where each rank of a plan runs.
fn places<'c>(cluster: &'c Cluster, placed: &Told<'_>) -> Vec<Place<'c>> {
    let slots = cluster.slots();
    let place = |id: DeviceId| {
        let device = cluster.devices.get(id.index())?;
        let node = device.node.and_then(|node| cluster.nodes.get(node.index()));
        let host = node.map_or("localhost", |node| node.name.as_str());
        let slot = slots.get(id.index()).copied().unwrap_or_default();
        Some(Place { host, device: &device.name, slot, kind: &cluster.kind_of(id).name })
    };
    match &placed.devices {
        Some(devices) => devices.iter().copied().filter_map(place).collect(),
        None => {
            let n = shape::n_devices(&placed.plan.parallelism) as usize;
            cluster.device_ids().take(n).filter_map(place).collect()
        }
    }
}

/// Warns of what no file of a launcher says: which devices of which hosts are meant, where these are
/// not the first ones of each in their order.
fn devices_to_name(cluster: &Cluster, placed: &Told<'_>) -> Option<Diagnostic> {
    let places = places(cluster, placed);
    let runs: Vec<&[Place<'_>]> = places.chunk_by(|a, b| a.host == b.host).collect();
    let is_apart = |run: &&[Place<'_>]| run.iter().zip(0..).any(|(place, at)| place.slot != at);
    let name = |run: &[Place<'_>]| {
        let slots: Vec<String> = run.iter().map(|place| place.slot.to_string()).collect();
        let host = run.first().map_or("localhost", |place| place.host);
        format!("{host}: CUDA_VISIBLE_DEVICES={}", slots.join(","))
    };
    let (code, message, hint) = match &placed.devices {
        Some(_) => (
            "device-order",
            "ranks follow each other on the devices that the plan names",
            "start the ranks of these hosts in this order, with the variable set and \
             CUDA_DEVICE_ORDER=PCI_BUS_ID",
        ),
        None => (
            "left-out",
            "launchers take the first devices of a host, and the plan leaves some of them out",
            "set the variable on each of these hosts, with CUDA_DEVICE_ORDER=PCI_BUS_ID",
        ),
    };
    let is_meant = |run: &&[Place<'_>]| placed.devices.is_some() || is_apart(run);
    // One text: where they matter, all of them do.
    let meant: Vec<String> = runs.into_iter().filter(is_meant).map(name).collect();
    let warning = Diagnostic::warning(code, message);
    (!meant.is_empty()).then(|| warning.fact("hosts", meant.join("; ")).hint(hint))
}

fn source<'a>(
    (setting, stack): (&'a Setting, &'a Stack),
    (plan, places): (&'a Plan, &'a [Place<'a>]),
    schedule: &'a str,
) -> TrainingSource<'a> {
    TrainingSource {
        version: "",
        plan,
        schedule,
        sequence_length: setting.sequence,
        dtype: setting.numbers.dtype,
        stack,
        offloads: setting.offload == Offload::Optimizer,
        starts: setting.graph.as_ref().map_or(&[], |graph| graph.starts.as_slice()),
        blocks: match setting.model.is_of_parts() {
            true => Blocks::Parts,
            false => Blocks::Layers,
        },
        model: &setting.model,
        hyperparameters: setting.hyperparameters.as_ref(),
        optimizer: setting.numbers.optimizer,
        places,
    }
}

fn picture(
    drawn: fn(&PipelineSource<'_>) -> Export,
    setting: &Setting,
    plan: &Plan,
    bound: Nanos,
) -> Result<Export, Diagnostic> {
    let costs = setting.costs(plan, setting.limit)?;
    let judged = judge_plan(&costs, plan).map_err(|violation| violation.diagnostic())?;
    let Some(grid) = &plan.schedule.grid else {
        return Err(Diagnostic::input("bad-plan", "the plan has no schedule"));
    };
    let (model, cluster) = (setting.model.name.as_str(), setting.cluster.name.as_str());
    let source = PipelineSource { judged: &judged, grid, model, cluster, bound };
    Ok(drawn(&source))
}
