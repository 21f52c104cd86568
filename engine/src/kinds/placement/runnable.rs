//! Who runs a placement. An inference graph on one host is planned for a launcher of modules where nothing
//! else is asked for.

use std::path::Path;

use cost_model::ops::annotate::costed;
use cost_model::ops::objective;
use cost_model::ops::problem::Constraints;
use ir::units::Nanos;
use ir::workload::Mode;
use planner::run::Outcome;

use crate::inputs::load::{self, Loaded};
use crate::request::executor::Executor;
use crate::request::{AUTO, PlanRequest};

/// Runs modules of PyTorch on the devices of one host.
const LAUNCHER: &str = "accelerate";

/// Files that say what a plan for the launcher is.
const FILES: [&str; 5] = [LAUNCHER, "max-memory", "trace", "dot", "svg"];

/// The request for a plan that the launcher runs, where no launcher, algorithm, objective or other launcher's
/// file is asked for.
pub(super) fn by_default(request: &PlanRequest) -> Option<PlanRequest> {
    let is_free = request.executor.is_none()
        && request.objective.is_none()
        && request.recipe() == AUTO
        && request.problem.workload != Some(Mode::Training)
        && request.exports.iter().all(|target| FILES.contains(&target.as_str()));
    // What is read from a pipe can't be read again for any other plan.
    if !is_free || request.model == Path::new("-") {
        return None;
    }
    let cluster = request.problem.cluster.as_deref()?;
    let (cluster, _) = load::cluster(cluster).ok()?;
    let node = cluster.devices.first()?.node;
    let is_one_host = cluster.devices.iter().all(|device| device.node == node);
    let executor = is_one_host.then(|| Executor::named(LAUNCHER)).flatten()?;
    Some(PlanRequest { executor: Some(executor), ..request.clone() })
}

/// The launcher that a plan is for, or why none runs it; where the rule chose it, what other placements take.
pub(super) fn fact(loaded: &Loaded, outcome: &Outcome, is_default: bool) -> Option<String> {
    let problem = &loaded.problem;
    let launcher =
        loaded.request.executor.as_deref().filter(|name| *name != Executor::ANY.target());
    let Some(launcher) = launcher else {
        let nearest = match problem.workload.mode {
            Mode::Inference if problem.graph.ops.iter().any(|op| op.module.is_some()) => {
                format!("; --for {LAUNCHER} places modules on one host")
            }
            _ => String::new(),
        };
        return Some(format!("no launcher runs single operators{nearest}"));
    };
    if !is_default {
        return Some(launcher.to_owned());
    }
    let bound = any_placement(loaded)?;
    Some(match bound >= outcome.value {
        true => format!("{launcher}; no operator placement is faster"),
        false => format!("{launcher}; operator placements (--for any) take at least {bound}"),
    })
}

/// What no operator placement is below, whoever runs it.
fn any_placement(loaded: &Loaded) -> Option<Nanos> {
    let problem = &loaded.problem;
    let (graph, cluster) = (problem.graph.clone(), problem.cluster.clone());
    let (workload, free) = (problem.workload.clone(), Constraints::default());
    let on = costed(graph, cluster, &loaded.profile, workload, problem.objective, free).ok()?;
    Some((objective::row(problem.objective).bound)(&on.problem).value)
}
