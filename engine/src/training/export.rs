//! A plan of a training run in other formats: those of launchers, folders that start it, and pictures of
//! its step.

use std::collections::BTreeMap;
use std::path::Path;

use cost_model::runs::forms::model::{Offload, shape};
use cost_model::runs::judge::judge_plan;
use documents::digest;
use documents::plan::PlanDocument;
use exporters::Export;
use exporters::svg::pipeline::PipelineSource;
use exporters::training::folder::{Files, Job, Starter};
use exporters::training::{Blocks, TrainingSource, export as launched, find, folder, targets};
use ir::cluster::Device;
use ir::diagnostic::Diagnostic;
use ir::id::NodeId;
use ir::plan::Plan;
use ir::units::Nanos;
use serde_json::json;

use super::replay::{documents, judged_again, read};
use super::unlike;
use crate::page::Page;
use crate::request::ExportRequest;
use crate::training::setting::Setting;
use crate::{energy, executor, suggest};

/// Pictures of the step.
pub const PICTURES: [&str; 2] = ["svg", "trace"];

/// The files of a target, with all warnings; `None` where the plan is illegal, which the page says.
///
/// # Errors
/// Those of reading, of the targets and of the judge; `unknown-launcher`.
pub fn export(
    document: &PlanDocument,
    request: &ExportRequest,
    page: &Page,
) -> Result<Option<(Files, Vec<Diagnostic>)>, Diagnostic> {
    let starter = request.launcher.as_deref().map(starter).transpose()?;
    if starter.is_some() && is_picture(&request.target) {
        let message = format!("`{}` is one file, which starts nothing", request.target);
        return Err(Diagnostic::usage("not-a-folder", message).hint("write it with -o FILE"));
    }
    let on = read(document, &request.on)?;
    let (broken, _) = judged_again(&on);
    if !broken.is_empty() {
        page.warnings(&broken);
        page.document(&json!({ "violations": documents(&broken) }));
        return Ok(None);
    }
    // Who planned for a version is told its words.
    let planned = on.setting.request.executor.as_deref();
    let is_same = |own: &&str| own.split('@').next() == Some(request.target.as_str());
    let target = planned.filter(is_same).unwrap_or(&request.target);
    let setting = &on.setting;
    let bound = Nanos(document.cost.as_ref().map_or(0, |cost| cost.bound_ns));
    let schedule = on.training.schedule.as_str();
    unlike::check_target(target, &on.plan)?;
    let (files, warnings) = match starter {
        None => {
            let export = exported(target, setting, &on.plan, (schedule, bound))?;
            (vec![(request.target.clone(), export.bytes)], export.warnings)
        }
        Some(starter) => {
            let n = shape::n_devices(&on.plan.parallelism) as usize;
            let devices = setting.cluster.devices.iter().take(n);
            let host = |own: &Device| {
                let node = own.node.and_then(|node| setting.cluster.nodes.get(node.index()));
                node.map_or("localhost", |node| node.name.as_str())
            };
            let places: Vec<_> = devices.map(|own| (host(own), own.name.as_str())).collect();
            let source = &source(setting, &on.plan, schedule);
            let digest = &digest::bytes(&read_file(&request.on.plan)?);
            let (files, mut warnings) =
                folder(target, &Job { source, digest, places: &places, starter })?;
            warnings.extend(to_do_before(setting, &on.plan));
            (files, warnings)
        }
    };
    Ok(Some((files, on.warnings.into_iter().chain(warnings).collect())))
}

fn is_picture(target: &str) -> bool {
    target.split('@').next().is_some_and(|name| PICTURES.contains(&name))
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
    let found = known.iter().find(|(own, _)| *own == name).map(|(_, starter)| *starter);
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
    if PICTURES.contains(&target) {
        return picture(target, setting, plan, bound);
    }
    unlike::check_target(target, plan)?;
    let mut export = launched(target, &source(setting, plan, schedule))?;
    export.warnings.extend(to_do_before(setting, plan));
    Ok(export)
}

/// Warns of what no launcher does: which accelerators of a host are meant where some are left out, and
/// limits of boards.
fn to_do_before(setting: &Setting, plan: &Plan) -> Vec<Diagnostic> {
    let cluster = &setting.cluster;
    let n = shape::n_devices(&plan.parallelism) as usize;
    let mut hosts: BTreeMap<_, Vec<u32>> = BTreeMap::new();
    for (device, slot) in cluster.devices.iter().zip(cluster.slots()).take(n) {
        hosts.entry(device.node).or_default().push(slot);
    }
    let is_apart = |slots: &[u32]| slots.iter().zip(0..).any(|(own, at)| *own != at);
    let name = |node: Option<NodeId>| {
        let node = node.and_then(|own| cluster.nodes.get(own.index()));
        node.map_or("localhost", |own| own.name.as_str())
    };
    let apart = hosts.iter().filter(|(_, slots)| is_apart(slots)).map(|(node, slots)| {
        let slots: Vec<String> = slots.iter().map(u32::to_string).collect();
        format!("{}: CUDA_VISIBLE_DEVICES={}", name(*node), slots.join(","))
    });
    let apart: Vec<String> = apart.collect();
    let left_out = (!apart.is_empty()).then(|| {
        let message =
            "launchers take the first devices of a host, and the plan leaves some of them out";
        Diagnostic::warning("left-out", message)
            .fact("hosts", apart)
            .hint("set the variable on each of these hosts, with CUDA_DEVICE_ORDER=PCI_BUS_ID")
    });
    left_out.into_iter().chain(energy::boards_to_limit(&setting.request, cluster)).collect()
}

fn source<'a>(setting: &'a Setting, plan: &'a Plan, schedule: &'a str) -> TrainingSource<'a> {
    TrainingSource {
        version: "",
        plan,
        schedule,
        sequence_length: setting.sequence,
        dtype: setting.numbers.dtype,
        stack: &setting.stack,
        offloads: setting.offload == Offload::Optimizer,
        starts: setting.graph.as_ref().map_or(&[], |graph| graph.starts.as_slice()),
        blocks: match setting.model.is_of_parts() {
            true => Blocks::Parts,
            false => Blocks::Layers,
        },
        model: &setting.model,
        hyperparameters: setting.hyperparameters.as_ref(),
        optimizer: setting.numbers.optimizer,
    }
}

fn picture(
    target: &str,
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
    Ok(match target {
        "svg" => exporters::svg::pipeline::export(&source),
        _ => exporters::trace::pipeline::export(&source),
    })
}

/// Refuses a target that writes no training runs.
///
/// # Errors
/// `not-for-training`, `unknown-target`.
pub fn check_target(target: &str) -> Result<(), Diagnostic> {
    executor::check_training(target)?;
    if is_picture(target) {
        return exporters::row(target).map(|_| ());
    }
    let name = target.split('@').next().unwrap_or_default();
    let known = || targets().iter().map(|row| row.name).chain(PICTURES);
    if known().any(|own| own == name) {
        return find(target).map(|_| ());
    }
    let message = format!("there is no export target `{name}` for plans of training runs");
    Err(Diagnostic::usage("unknown-target", message).hint(suggest::hint(name, known())))
}
