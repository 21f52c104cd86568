//! Instances of other planners, whose costs are all given: every verb on them and their solutions.

mod bound;
mod certificate;
mod compare;
mod document;
mod explain;
mod figures;
mod flags;
mod search;
mod text;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;

use cost_model::given::{Goal, row};
use documents::solution::SolutionDocument;
use ir::diagnostic::{Blame, Diagnostic};
use ir::instance::Instance;
use ir::units::Nanos;
use planner::given::runner::{Answer, Request, goals};
use planner::run::watch::{Tell, Watch};
use planner::run::{Attempt, TracePoint};
use serde_json::{Value, json};

use crate::cli::PlanArgs;
use crate::commands::plan;
use crate::commands::plot::{self, Unit};
use crate::modes::{self, Mode};
use crate::printer::Printer;
use crate::publisher::Publisher;
use engine::artifact::{self, Existing};
use engine::exit::{CommandResult, Exit};
use engine::page::Format;
use engine::request::ObjectiveName;

use self::search::Question;

pub(crate) use compare::compare;
pub(crate) use explain::{explain, export, simulate};
pub(crate) use flags::of_problem as given;
pub(crate) use verify::run as verify;

/// Devices of a straight pipeline, which its file does not state: as in its authors' experiments.
const STRAIGHT_DEVICES: usize = 4;

/// Plans the model file if it is an instance; `None` for any other file. All within the time limit,
/// reading included.
///
/// # Errors
/// Those of reading and planning.
pub(crate) fn planned(
    args: &PlanArgs,
    watch: &Watch,
    printer: &Printer,
) -> Result<Option<Exit>, Diagnostic> {
    let path = args.model.clone();
    let read = move |_: Tell<()>| importers::instance(&path);
    match watch.run(read, &mut |()| {}).done().transpose()? {
        Some(Some(instance)) => {
            let instance = with_accelerators(instance, args.accelerators);
            plan(args, Arc::new(instance), watch, printer).map(Some)
        }
        Some(None) => Ok(None),
        None if watch.is_cancelled() => Ok(Some(plan::interrupted(printer))),
        None => Err(Diagnostic::error(Blame::NotFound, "no-plan", "no plan was found")
            .fact("reason", "the time limit ended while the model file was read")
            .hint("raise --time-limit")),
    }
}

fn plan(
    args: &PlanArgs,
    instance: Arc<Instance>,
    watch: &Watch,
    printer: &Printer,
) -> CommandResult {
    let existing = Existing::of(args.force);
    let outputs: Vec<_> = args.output.iter().chain(&args.plot).map(PathBuf::as_path).collect();
    artifact::check(&outputs, &[&args.model], existing)?;
    modes::check(args, Mode::Instance)?;
    let goal = goal(args.objective, &instance)?;
    let mut publisher = Publisher::new(args.output.as_deref(), existing, args.progress, printer);
    let question = Question {
        instance: Arc::clone(&instance),
        goal,
        algorithm: args.algorithm.clone(),
        request: Request {
            limits: args.limits.request().within(watch, None),
            n_devices: args.accelerators.unwrap_or(STRAIGHT_DEVICES),
        },
    };
    let answer = search::solve(question, watch, &mut publisher)?;
    let Some((value, solution)) = &answer.best else {
        if watch.is_cancelled() && !answer.is_proved {
            return Ok(plan::interrupted(printer));
        }
        return Err(search::none(&answer));
    };
    let mut document = document::document(&instance, goal, *value, answer.bound, solution);
    document.proved_optimal = answer.is_proved;
    document.accelerators = match *instance {
        Instance::Profile(_) => Some(args.accelerators.unwrap_or(STRAIGHT_DEVICES)),
        Instance::Load(_) | Instance::Stages(_) => args.accelerators,
    };
    document.certificate = answer.certificate.as_ref().map(certificate::document);
    let mut files = Vec::new();
    if let Some(path) = &args.plot {
        let unit = Unit::Given(instance.unit().ns);
        let picture = plot::svg(instance.name(), row(goal).name, unit, &answer.trace);
        files.push((path.clone(), picture));
    }
    let bytes = document::bytes(&document)?;
    publisher.last(bytes.clone(), &files).map_err(|error| {
        let near = args.output.as_ref().or(args.plot.as_ref());
        publisher.kept(near, &bytes, error)
    })?;
    text::print(&instance, solution, printer);
    printer.line(&text::sentence(&instance, goal, *value, &answer));
    for path in args.output.iter().chain(&args.plot) {
        printer.talk(&format!("wrote {}", path.display()));
    }
    // As large as the instance: built only where it is printed.
    if printer.format == Format::Json {
        printer.document(&report(&document, &answer)?);
    }
    Ok(Exit::DONE)
}

/// The solution with how it was found.
fn report(document: &SolutionDocument, answer: &Answer) -> Result<Value, Diagnostic> {
    let internal = |error: serde_json::Error| {
        Diagnostic::error(Blame::Internal, "internal", "a document has no JSON form")
            .fact("reason", error.to_string())
    };
    let mut report = serde_json::to_value(document).map_err(internal)?;
    if let Some(fields) = report.as_object_mut() {
        // Only a checker has a use for it; it stands in the file.
        fields.remove("certificate");
    }
    report["algorithm"] = json!(answer.algorithm);
    report["stop_reason"] = json!(answer.stop.name());
    report["gap"] = json!(answer.gap().filter(|gap| gap.is_finite()));
    let attempt = |attempt: &Attempt<Nanos>| {
        let value = attempt.result.as_ref().ok();
        json!({ "algorithm": attempt.algorithm, "value_ns": value.map(|value| value.get()) })
    };
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

/// The instance with another number of accelerators, where one is given.
fn with_accelerators(mut instance: Instance, count: Option<usize>) -> Instance {
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
        Some(ObjectiveName::Given(goal)) => goal,
        Some(ObjectiveName::StepTime) => {
            let message = "an instance of another planner has no step time";
            let names: Vec<&str> = goals(instance).iter().map(|goal| row(*goal).name).collect();
            return Err(Diagnostic::usage("no-objective", message)
                .hint(format!("use one of {}", names.join(", "))));
        }
    })
}
