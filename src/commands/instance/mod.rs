//! Instances of other planners, whose costs are all given: every verb on them and their solutions.

mod search;

use std::path::PathBuf;
use std::sync::Arc;

use cost_model::given::row;
use ir::diagnostic::{Blame, Diagnostic};
use ir::instance::Instance;
use planner::given::runner::Request;
use planner::run::watch::{Tell, Watch};

use crate::cli::PlanArgs;
use crate::commands::plan;
use crate::commands::plot::{self, Unit};
use crate::modes::{self, Mode};
use crate::printer::Printer;
use crate::publisher::Publisher;
use engine::artifact::{self, Existing};
use engine::exit::{CommandResult, Exit};
use engine::given::{STRAIGHT_DEVICES, document, goal, text, with_accelerators};
use engine::page::Format;

use self::search::Question;

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
    let mut plan = document::document(&instance, goal, *value, answer.bound, solution);
    plan.proved_optimal = answer.is_proved;
    plan.accelerators = match *instance {
        Instance::Profile(_) => Some(args.accelerators.unwrap_or(STRAIGHT_DEVICES)),
        Instance::Load(_) | Instance::Stages(_) => args.accelerators,
    };
    plan.certificate = answer.certificate.as_ref().map(document::certificate);
    let mut files = Vec::new();
    if let Some(path) = &args.plot {
        let unit = Unit::Given(instance.unit().ns);
        let picture = plot::svg(instance.name(), row(goal).name, unit, &answer.trace);
        files.push((path.clone(), picture));
    }
    let bytes = document::bytes(&plan)?;
    publisher.last(bytes.clone(), &files).map_err(|error| {
        let near = args.output.as_ref().or(args.plot.as_ref());
        publisher.kept(near, &bytes, error)
    })?;
    printer.page(|page| text::print(&instance, solution, page));
    printer.line(&text::sentence(&instance, goal, *value, &answer));
    for path in args.output.iter().chain(&args.plot) {
        printer.talk(&format!("wrote {}", path.display()));
    }
    // As large as the instance: built only where it is printed.
    if printer.format == Format::Json {
        printer.document(&document::report(&plan, &answer)?);
    }
    Ok(Exit::DONE)
}
