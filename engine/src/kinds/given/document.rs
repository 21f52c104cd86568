//! Solutions of instances as documents, there and back.

use std::collections::{BTreeMap, HashMap};

use cost_model::given::time_per_sample::Stage;
use cost_model::given::{Goal, max_load, row, split, tasks};
use documents::solution::{
    FORMAT, LayerDocument, MethodDocument, NodeDocument, QueueDocument, ShareDocument,
    SolutionDocument, SolutionReportDocument, SolutionRunDocument, StageDocument,
};
use ir::diagnostic::Diagnostic;
use ir::instance::{
    Instance, LayerProfile, LoadInstance, Split, StageInstance, TaskInstance, TimeUnit,
};
use ir::units::Nanos;
use planner::given::runner::{Answer, Solution};
use planner::run::{Attempt, Bound};

use super::averaging;
use crate::answer::escape;
use crate::kinds::buckets;
use crate::search::solved::covered;

pub use super::certificate::document as certificate;

/// The bytes of a document.
///
/// # Errors
/// `internal`.
pub fn bytes(document: &SolutionDocument) -> Result<Vec<u8>, Diagnostic> {
    Ok(escape::json(documents::json::pretty(document)?).into_bytes())
}

/// The document of a solution.
pub fn document(
    instance: &Instance,
    goal: Goal,
    value: Nanos,
    bound: Bound,
    solution: &Solution,
) -> SolutionDocument {
    let mut document = SolutionDocument {
        format: FORMAT.to_owned(),
        instance: instance.name().to_owned(),
        objective: row(goal).name.to_owned(),
        value_ns: value.get(),
        bound_ns: bound.value.get(),
        bound_method: bound.method.to_owned(),
        bound_standing: Some(bound.standing.name().to_owned()),
        bound_covers: covered(goal, bound.method).map(str::to_owned),
        proved_optimal: value <= bound.value,
        unit_ns: instance.unit().ns,
        ..SolutionDocument::default()
    };
    match (instance, solution) {
        (Instance::Load(instance), Solution::Devices(devices)) => {
            let loads = max_load::loads(instance, devices);
            let (accelerators, cpus) = loads.split_at(instance.n_accelerators);
            document.fpgas = Some(shares(instance, devices, 0, accelerators));
            document.cpus = Some(shares(instance, devices, instance.n_accelerators, cpus));
        }
        (Instance::Profile(profile), Solution::Devices(stages)) => {
            let named = profile.nodes.iter().zip(stages);
            let layer = |(node, stage): (&ir::instance::ProfileNode, &u32)| LayerDocument {
                id: node.id.clone(),
                stage: *stage,
            };
            document.layers = Some(named.map(layer).collect());
        }
        (Instance::Tasks(instance), Solution::Devices(devices)) => {
            document.queues = Some(queues(instance, devices));
        }
        (Instance::Stages(instance), Solution::Stages(stages)) => {
            document.stages = Some(stages.iter().map(|stage| staged(instance, stage)).collect());
        }
        (Instance::Gradients(instance), Solution::Buckets(found)) => {
            buckets::state(&mut document, (instance, found));
        }
        (Instance::Averaging(instance), found) => {
            document.communication = averaging::communication(instance, found);
        }
        _ => {}
    }
    document
}

/// Devices in the form of the collection's own splits.
fn shares(
    instance: &LoadInstance,
    devices: &[u32],
    first: usize,
    loads: &[Nanos],
) -> Vec<ShareDocument> {
    let unit = TimeUnit::UNSTATED;
    let share = |load: &Nanos| ShareDocument { load: Some(unit.of(*load)), nodes: Vec::new() };
    let mut shares: Vec<ShareDocument> = loads.iter().map(share).collect();
    for (node, device) in instance.nodes.iter().zip(devices) {
        let share = (*device as usize).checked_sub(first).and_then(|at| shares.get_mut(at));
        if let Some(share) = share {
            share.nodes.push(node.source_id);
        }
    }
    shares
}

/// The tasks of each device, the largest first.
fn queues(instance: &TaskInstance, devices: &[u32]) -> Vec<QueueDocument> {
    let lines = tasks::lines(instance);
    let loads = tasks::loads(instance, devices).unwrap_or_default();
    let of = |(at, (name, line)): (u32, (&String, &tasks::Line))| QueueDocument {
        device: name.clone(),
        seconds: TimeUnit::SECOND.of(Nanos(loads.get(at as usize).copied().unwrap_or_default())),
        start_up_s: line.start_up_s,
        per_size_s: line.per_size_s,
        fit: line.fit.name().to_owned(),
        runs: line.n_runs as u64,
        fit_error: line.error,
        tasks: Vec::new(),
    };
    let mut queues: Vec<QueueDocument> =
        (0..).zip(instance.devices.iter().zip(&lines)).map(of).collect();
    for task in tasks::Times::of(instance).by_size() {
        if let Some(queue) = queues.get_mut(devices[task] as usize) {
            queue.tasks.push(instance.tasks[task].name.clone());
        }
    }
    queues
}

fn staged(instance: &StageInstance, stage: &Stage) -> StageDocument {
    let node = |(node, at): &(u32, u32)| {
        let node = &instance.nodes[*node as usize];
        NodeDocument {
            id: node.source_id,
            configuration: node.configurations[*at as usize].name.clone(),
        }
    };
    StageDocument {
        data: stage.data,
        tensor: stage.tensor,
        nodes: stage.nodes.iter().map(node).collect(),
    }
}

/// The solution of a document.
///
/// # Errors
/// `other-instance` where it speaks of nodes or layers that are not there, and those of
/// [`split::devices`].
pub fn solution(instance: &Instance, document: &SolutionDocument) -> Result<Solution, Diagnostic> {
    match (instance, document) {
        (Instance::Load(instance), SolutionDocument { fpgas: Some(fpgas), cpus, .. }) => {
            let nodes = |shares: &[ShareDocument]| -> Vec<Vec<u64>> {
                shares.iter().map(|share| share.nodes.clone()).collect()
            };
            let split = Split {
                accelerators: nodes(fpgas),
                cpus: nodes(cpus.as_deref().unwrap_or_default()),
            };
            split::devices(instance, &split).map(Solution::Devices)
        }
        (Instance::Profile(profile), SolutionDocument { layers: Some(layers), .. }) => {
            layered(profile, layers).map(Solution::Devices)
        }
        (Instance::Tasks(instance), SolutionDocument { queues: Some(queues), .. }) => {
            queued(instance, queues).map(Solution::Devices)
        }
        (Instance::Stages(instance), SolutionDocument { stages: Some(stages), .. }) => {
            let at = instance.nodes.iter().map(|node| node.source_id).zip(0..).collect();
            let stages = stages.iter().map(|stage| unstaged(instance, &at, stage));
            stages.collect::<Result<_, _>>().map(Solution::Stages)
        }
        (Instance::Gradients(instance), SolutionDocument { communication: Some(stated), .. }) => {
            buckets::buckets(instance, stated).map(Solution::Buckets).map_err(|why| other(&why))
        }
        (Instance::Averaging(instance), SolutionDocument { communication: Some(stated), .. }) => {
            averaging::solution(instance, stated).map_err(|why| other(&why))
        }
        _ => Err(other(
            "the document has no devices, layers, stages, buckets, queues or rounds of such an instance",
        )),
    }
}

pub(super) fn other(why: &str) -> Diagnostic {
    let message = "the solution is not one of this instance";
    Diagnostic::input("other-instance", message)
        .fact("reason", why)
        .hint("give the instance that it was made for")
}

fn layered(profile: &LayerProfile, layers: &[LayerDocument]) -> Result<Vec<u32>, Diagnostic> {
    let stage_of: BTreeMap<&str, u32> =
        layers.iter().map(|layer| (layer.id.as_str(), layer.stage)).collect();
    if layers.len() != profile.nodes.len() {
        return Err(other("it has another number of layers"));
    }
    let stage = |node: &ir::instance::ProfileNode| stage_of.get(node.id.as_str()).copied();
    let stages = profile.nodes.iter().map(stage).collect::<Option<_>>();
    stages.ok_or_else(|| other("a layer has no stage"))
}

fn queued(instance: &TaskInstance, queues: &[QueueDocument]) -> Result<Vec<u32>, Diagnostic> {
    let at: HashMap<&str, u32> = instance.devices.iter().map(String::as_str).zip(0..).collect();
    let mut device_of = HashMap::with_capacity(instance.tasks.len());
    for queue in queues {
        let device =
            at.get(queue.device.as_str()).ok_or_else(|| other("it names another device"))?;
        for task in &queue.tasks {
            if device_of.insert(task.as_str(), *device).is_some() {
                return Err(other("a task is in two places"));
            }
        }
    }
    if device_of.len() != instance.tasks.len() {
        return Err(other("it has another number of tasks"));
    }
    let device = |task: &ir::instance::Task| device_of.get(task.name.as_str()).copied();
    let devices = instance.tasks.iter().map(device).collect::<Option<_>>();
    devices.ok_or_else(|| other("a task is on no device"))
}

fn unstaged(
    instance: &StageInstance,
    at: &HashMap<u64, usize>,
    stage: &StageDocument,
) -> Result<Stage, Diagnostic> {
    let node = |document: &NodeDocument| {
        let at = *at.get(&document.id)?;
        let is_meant = |configuration: &ir::instance::Configuration| {
            configuration.name == document.configuration && configuration.degree == stage.tensor
        };
        let choice = instance.nodes[at].configurations.iter().position(is_meant)?;
        Some((u32::try_from(at).ok()?, u32::try_from(choice).ok()?))
    };
    let nodes = stage.nodes.iter().map(node).collect::<Option<_>>();
    let nodes = nodes.ok_or_else(|| other("a stage names a node or configuration in vain"))?;
    Ok(Stage { nodes, data: stage.data, tensor: stage.tensor })
}

/// The solution with how it was found.
pub fn report(document: &SolutionDocument, answer: &Answer) -> SolutionReportDocument {
    let attempt = |attempt: &Attempt<Nanos>| MethodDocument {
        algorithm: attempt.algorithm.clone(),
        value_ns: attempt.result.as_ref().ok().map(|value| value.get()),
    };
    SolutionReportDocument {
        // Only a checker has a use for the certificate.
        solution: SolutionDocument { certificate: None, ..document.clone() },
        algorithm: answer.algorithm.clone(),
        stop_reason: answer.stop.name().to_owned(),
        gap: answer.gap().filter(|gap| gap.is_finite()),
        attempts: answer.attempts.iter().map(attempt).collect(),
        run: SolutionRunDocument {
            planning_time_s: answer.elapsed.as_secs_f64(),
            attempts_s: answer.attempts.iter().map(|a| a.elapsed.as_secs_f64()).collect(),
            trace: crate::search::run::trace(&answer.trace),
        },
    }
}
