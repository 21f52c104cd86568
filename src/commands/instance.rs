//! `plan` on instances of other planners, whose costs are all given.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use cost_model::instance::max_load;
use cost_model::instance::{Goal, row};
use ir::diagnostic::{Blame, Diagnostic};
use ir::instance::{Instance, LoadInstance};
use ir::units::Nanos;
use planner::instance::{Answer, Request, Solution, goals, solve};
use serde_json::{Value, json};

use crate::artifact::{self, Existing};
use crate::cli::{ObjectiveName, PlanArgs};
use crate::commands::{CommandResult, Exit};
use crate::escape;
use crate::interrupt;
use crate::printer::Printer;
use crate::table::Column;

/// Devices of a straight pipeline, which its file does not state: as in its authors' experiments.
const STRAIGHT_DEVICES: usize = 4;

pub(crate) fn plan(args: &PlanArgs, instance: &Instance, printer: &Printer) -> CommandResult {
    let existing = Existing::of(args.force);
    let outputs: Vec<_> = args.output.iter().map(std::path::PathBuf::as_path).collect();
    artifact::check(&outputs, &[&args.model], existing)?;
    only_its_flags(args)?;
    let goal = goal(args.objective, instance)?;
    let request = Request {
        time: args.limits.time_limit,
        nodes: args.limits.node_budget,
        gap: args.limits.gap.unwrap_or(0.0),
        seed: args.limits.seed,
        threads: args.limits.threads.map_or(0, NonZeroUsize::get),
        deterministic: args.limits.deterministic,
        n_devices: STRAIGHT_DEVICES,
        cancel: interrupt::flag(),
    };
    let answer = solve(instance, goal, Some(&args.algorithm), &request)?;
    let Some((value, solution)) = &answer.best else { return Err(none(&answer)) };
    let document = document(instance, goal, &answer, solution);
    if let Some(path) = &args.output {
        let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
        text.push('\n');
        artifact::write_all(&[(path.clone(), escape::json(text).into_bytes())], existing)?;
    }
    print(instance, solution, printer);
    let state = match answer.gap() {
        _ if answer.is_proved => "proved optimal".to_owned(),
        Some(gap) => {
            format!("at most {:.2} % above the best ({})", gap * 100.0, answer.bound_method)
        }
        None => String::new(),
    };
    let seconds = answer.elapsed.as_secs_f64();
    printer.line(&format!(
        "{} {:.9}, no plan is below {:.9}: {state}; {seconds:.3} s",
        row(goal).name,
        value.seconds(),
        answer.bound.seconds()
    ));
    if let Some(path) = &args.output {
        printer.talk(&format!("wrote {}", path.display()));
    }
    printer.document(&document);
    Ok(Exit::DONE)
}

/// Refuses flags that say something about models, which no instance can honour.
fn only_its_flags(args: &PlanArgs) -> Result<(), Diagnostic> {
    let problem = &args.problem;
    let model = &problem.model;
    // What the environment says is meant for models and not for this file.
    let is_given = |flag: &Option<PathBuf>, variable: &str| {
        flag.as_ref().is_some_and(|path| std::env::var_os(variable).is_none_or(|v| *path != *v))
    };
    let flags = [
        ("--dim", !model.dims.is_empty()),
        ("--batch", model.batch.is_some()),
        ("--micro-batch", model.micro_batch.is_some()),
        ("--batch-axis", !model.batch_axis.is_empty()),
        ("--dtype", model.dtype.is_some()),
        ("--cluster", is_given(&problem.cluster, "MESHWRIGHT_CLUSTER")),
        ("--profile", is_given(&problem.profile, "MESHWRIGHT_PROFILE")),
        ("--workload", problem.workload.is_some()),
        ("--optimizer", problem.optimizer.is_some()),
        ("--pin", !problem.pin.is_empty()),
        ("--forbid", !problem.forbid.is_empty()),
        ("--colocate", !problem.colocate.is_empty()),
        ("--constraints", problem.constraints.is_some()),
        ("--for", args.executor.is_some()),
        ("--export", !args.export.is_empty()),
    ];
    let given: Vec<&str> =
        flags.iter().filter(|(_, given)| *given).map(|(flag, _)| *flag).collect();
    if given.is_empty() {
        return Ok(());
    }
    let given = given.join(", ");
    let message = format!("an instance of another planner has no use for {given}");
    Err(Diagnostic::usage("not-for-instances", message)
        .fact("reason", "its costs, devices and memory are all given, and no executor runs it")
        .hint(format!("leave out {given}")))
}

fn goal(name: Option<ObjectiveName>, instance: &Instance) -> Result<Goal, Diagnostic> {
    Ok(match name {
        None => goals(instance)[0],
        Some(ObjectiveName::MaxLoad) => Goal::MaxLoad,
        Some(ObjectiveName::ContiguousMaxLoad) => Goal::ContiguousMaxLoad,
        Some(ObjectiveName::Latency) => Goal::Latency,
        Some(ObjectiveName::TimePerSample) => Goal::TimePerSample,
        Some(ObjectiveName::SlowestStage) => Goal::SlowestStage,
        Some(ObjectiveName::StepTime) => {
            let message = "an instance of another planner has no step time";
            let names: Vec<&str> = goals(instance).iter().map(|goal| row(*goal).name).collect();
            return Err(Diagnostic::usage("no-objective", message)
                .hint(format!("use one of {}", names.join(", "))));
        }
    })
}

fn none(answer: &Answer) -> Diagnostic {
    if answer.is_proved {
        let message = "no plan fits into the memory of the devices";
        return Diagnostic::error(Blame::Infeasible, "infeasible", message)
            .fact("proof", "all plans were searched")
            .hint("give the devices more memory, or add devices");
    }
    Diagnostic::error(Blame::NotFound, "no-plan", "no plan was found")
        .hint("raise the time limit, or give the devices more memory")
}

fn document(instance: &Instance, goal: Goal, answer: &Answer, solution: &Solution) -> Value {
    let value = answer.best.as_ref().map_or(0, |(value, _)| value.get());
    let mut document = json!({
        "instance": instance.name(),
        "objective": row(goal).name,
        "value_ns": value,
        "bound_ns": answer.bound.get(),
        "bound_method": answer.bound_method,
        "proved_optimal": answer.is_proved,
        "unit_ns": 1_000_000_000,
    });
    match (instance, solution) {
        (Instance::Load(instance), Solution::Devices(devices)) => {
            let loads = max_load::loads(instance, devices);
            let (accelerators, cpus) = loads.split_at(instance.n_accelerators);
            document["fpgas"] = split(instance, devices, 0, accelerators);
            document["cpus"] = split(instance, devices, instance.n_accelerators, cpus);
        }
        (Instance::Profile(profile), Solution::Devices(stages)) => {
            let named = profile.nodes.iter().zip(stages);
            let named = named.map(|(node, stage)| json!({ "id": node.id, "stage": stage }));
            document["layers"] = named.collect();
        }
        (Instance::Stages(instance), Solution::Stages(stages)) => {
            let stage = |stage: &cost_model::instance::time_per_sample::Stage| {
                let nodes = stage.nodes.iter().map(|(node, at)| {
                    let node = &instance.nodes[*node as usize];
                    json!({ "id": node.source_id, "configuration": node.configurations[*at as usize].name })
                });
                json!({ "data": stage.data, "tensor": stage.tensor, "nodes": nodes.collect::<Vec<_>>() })
            };
            document["stages"] = stages.iter().map(stage).collect();
        }
        _ => {}
    }
    document
}

/// Devices in the form of the collection's own splits.
fn split(instance: &LoadInstance, devices: &[u32], first: usize, loads: &[Nanos]) -> Value {
    let device = |(at, load): (usize, &Nanos)| {
        let placed = instance.nodes.iter().zip(devices);
        let own = placed.filter(|(_, device)| **device as usize == first + at);
        json!({ "load": load.seconds(), "nodes": own.map(|(n, _)| n.source_id).collect::<Vec<_>>() })
    };
    loads.iter().enumerate().map(device).collect()
}

fn print(instance: &Instance, solution: &Solution, printer: &Printer) {
    let columns =
        [Column::Name("device"), Column::Number("nodes"), Column::Number("load or degrees")];
    let rows = match (instance, solution) {
        (Instance::Load(instance), Solution::Devices(devices)) => {
            let loads = max_load::loads(instance, devices).into_iter().enumerate();
            let row = |(at, load): (usize, Nanos)| {
                let name = match at.checked_sub(instance.n_accelerators) {
                    None => format!("accelerator {at}"),
                    Some(core) => format!("core {core}"),
                };
                let n_nodes = devices.iter().filter(|device| **device as usize == at).count();
                vec![name, n_nodes.to_string(), format!("{:.6}", load.seconds())]
            };
            loads.map(row).collect()
        }
        (_, Solution::Devices(stages)) => {
            let last = stages.iter().max().map_or(0, |last| *last + 1);
            let count = |stage| stages.iter().filter(|other| **other == stage).count();
            let row = |stage: u32| {
                vec![format!("stage {stage}"), count(stage).to_string(), String::new()]
            };
            (0..last).map(row).collect()
        }
        (_, Solution::Stages(stages)) => {
            let row = |(at, stage): (usize, &cost_model::instance::time_per_sample::Stage)| {
                let degrees = format!("{} x {}", stage.data, stage.tensor);
                vec![format!("stage {at}"), stage.nodes.len().to_string(), degrees]
            };
            stages.iter().enumerate().map(row).collect()
        }
    };
    printer.table(&columns, rows);
}
