//! `plan` on instances of other planners, whose costs are all given.

mod solution;
mod verify;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use cost_model::instance::max_load;
use cost_model::instance::{Goal, row};
use documents::solution::SolutionDocument;
use ir::diagnostic::{Blame, Diagnostic};
use ir::instance::Instance;
use ir::units::Nanos;
use planner::instance::{Answer, Bound, Event, Request, Solution, goals, solve_observed};
use planner::run::TracePoint;
use serde_json::{Value, json};

use crate::artifact::{self, Existing};
use crate::cli::{ObjectiveName, PlanArgs, ProblemFlags};
use crate::commands::plot::{self, Unit};
use crate::commands::{CommandResult, Exit, plan};
use crate::escape;
use crate::interrupt;
use crate::printer::Printer;
use crate::publisher::{Incumbent, Publisher};
use crate::table::Column;

pub(crate) use verify::run as verify;

/// Devices of a straight pipeline, which its file does not state: as in its authors' experiments.
const STRAIGHT_DEVICES: usize = 4;

pub(crate) fn plan(args: &PlanArgs, instance: &Instance, printer: &Printer) -> CommandResult {
    let existing = Existing::of(args.force);
    let outputs: Vec<_> = args.output.iter().chain(&args.plot).map(PathBuf::as_path).collect();
    artifact::check(&outputs, &[&args.model], existing)?;
    let others = [("--for", args.executor.is_some()), ("--export", !args.export.is_empty())];
    only_flags(&args.problem, &others)?;
    let goal = goal(args.objective, instance)?;
    let request = request(args);
    let mut publisher = Publisher::new(args.output.as_deref(), existing, args.progress, printer);
    let answer = solve_observed(instance, goal, &args.algorithm, &request, &mut |event| {
        publish(&mut publisher, instance, goal, event);
    })?;
    publisher.rest();
    let Some((value, solution)) = &answer.best else {
        if request.cancel.load(Ordering::SeqCst) && !answer.is_proved {
            return Ok(plan::interrupted(printer));
        }
        return Err(none(&answer));
    };
    let bound = Bound { value: answer.bound, method: answer.bound_method };
    let mut document = solution::document(instance, goal, *value, bound, solution);
    document.proved_optimal = answer.is_proved;
    if let Some(path) = &args.plot {
        let picture = plot::svg(instance.name(), row(goal).name, Unit::Given, &answer.trace);
        artifact::write_all(&[(path.clone(), picture)], existing)?;
    }
    publisher.last(bytes(&document)?)?;
    print(instance, solution, printer);
    printer.line(&sentence(goal, *value, &answer));
    for path in args.output.iter().chain(&args.plot) {
        printer.talk(&format!("wrote {}", path.display()));
    }
    printer.document(&report(&document, &answer)?);
    Ok(Exit::DONE)
}

fn request(args: &PlanArgs) -> Request {
    Request {
        time: args.limits.time_limit,
        nodes: args.limits.node_budget,
        gap: args.limits.gap.unwrap_or(0.0),
        seed: args.limits.seed,
        threads: args.limits.threads.map_or(0, NonZeroUsize::get),
        deterministic: args.limits.deterministic,
        n_devices: args.accelerators.unwrap_or(STRAIGHT_DEVICES),
        cancel: interrupt::flag(),
    }
}

/// Takes an event of the run to whoever follows it.
fn publish(publisher: &mut Publisher, instance: &Instance, goal: Goal, event: &Event) {
    match *event {
        Event::Started { algorithm } => publisher.started(algorithm),
        Event::Incumbent { algorithm, solution, value, bound, elapsed } => {
            let incumbent = Incumbent {
                algorithm,
                objective: row(goal).name,
                value,
                shown: |value| format!("{:.9}", value.seconds()),
                bound: bound.value,
                elapsed,
            };
            publisher.publish(&incumbent, || {
                bytes(&solution::document(instance, goal, value, bound, solution))
            });
        }
    }
}

fn bytes(document: &SolutionDocument) -> Result<Vec<u8>, Diagnostic> {
    Ok(escape::json(documents::json::pretty(document)?).into_bytes())
}

fn sentence(goal: Goal, value: Nanos, answer: &Answer) -> String {
    let state = match answer.gap() {
        _ if answer.is_proved => "proved optimal".to_owned(),
        Some(gap) => {
            format!("at most {:.2} % above the best ({})", gap * 100.0, answer.bound_method)
        }
        None => String::new(),
    };
    format!(
        "{} {:.9}, no plan is below {:.9}: {state}; {:.3} s; stopped: {}",
        row(goal).name,
        value.seconds(),
        answer.bound.seconds(),
        answer.elapsed.as_secs_f64(),
        answer.stop.name()
    )
}

/// The solution with how it was found.
fn report(document: &SolutionDocument, answer: &Answer) -> Result<Value, Diagnostic> {
    let internal = |error: serde_json::Error| {
        Diagnostic::error(Blame::Internal, "internal", "a document has no JSON form")
            .fact("reason", error.to_string())
    };
    let mut report = serde_json::to_value(document).map_err(internal)?;
    report["algorithm"] = json!(answer.algorithm);
    report["stop_reason"] = json!(answer.stop.name());
    report["gap"] = json!(answer.gap().filter(|gap| gap.is_finite()));
    let attempt = |attempt: &planner::instance::Attempt| json!({ "algorithm": attempt.algorithm, "value_ns": attempt.value.map(Nanos::get) });
    report["attempts"] = answer.attempts.iter().map(attempt).collect();
    let point = |point: &TracePoint| {
        json!({
            "elapsed_s": point.elapsed.as_secs_f64(),
            "value_ns": point.value.map(Nanos::get),
            "bound_ns": point.bound.map(Nanos::get),
        })
    };
    report["run"] = json!({
        "planning_time_s": answer.elapsed.as_secs_f64(),
        "attempts_s": answer.attempts.iter().map(|a| a.elapsed.as_secs_f64()).collect::<Vec<_>>(),
        "trace": answer.trace.iter().map(point).collect::<Vec<_>>(),
    });
    Ok(report)
}

/// Refuses flags that say something about models, which no instance can honour.
fn only_flags(problem: &ProblemFlags, others: &[(&str, bool)]) -> Result<(), Diagnostic> {
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
    ];
    let flags = flags.iter().chain(others);
    let given: Vec<&str> = flags.filter(|(_, given)| *given).map(|(flag, _)| *flag).collect();
    if given.is_empty() {
        return Ok(());
    }
    let given = given.join(", ");
    let message = format!("an instance of another planner has no use for {given}");
    Err(Diagnostic::usage("not-for-instances", message)
        .fact("reason", "its costs, devices and memory are all given, and no executor runs it")
        .hint(format!("leave out {given}")))
}

/// The instance with another number of accelerators, where one is given.
pub(super) fn with_accelerators(mut instance: Instance, count: Option<usize>) -> Instance {
    match (&mut instance, count) {
        (Instance::Load(load), Some(count)) => load.n_accelerators = count,
        (Instance::Stages(stages), Some(count)) => stages.n_devices = count,
        (Instance::Profile(_), _) | (_, None) => {}
    }
    instance
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
