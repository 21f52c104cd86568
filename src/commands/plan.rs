//! `plan`: a model on a cluster.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cost_model::ops::problem::Problem;
use exporters::Source;
use ir::diagnostic::{Blame, Diagnostic};
use planner::placement::auto::DEFAULT_TIME;
use planner::recipe::Recipe;
use planner::run::watch::{Tell, Watch};
use planner::run::{Event, Outcome, Request, solve};

use crate::cli::{PlanArgs, VERSION};
use crate::commands::plot::{self, Unit};
use crate::commands::{export, instance, training};
use crate::interrupt;
use crate::modes::{self, Mode};
use crate::printer::Printer;
use crate::publisher::{Follow, Publisher};
use engine::artifact::{self, Existing};
use engine::executor;
use engine::exit::{CommandResult, Exit};
use engine::load::{self, Loaded};
use engine::ops::found::{self, Found};
use engine::ops::narrower;
use engine::ops::outcome::{self, Solved};
use engine::ops::trust::Trust;
use engine::rows::Rows;

pub(crate) fn run(args: &PlanArgs, printer: &Printer) -> CommandResult {
    let start = Instant::now();
    if args.progress == Follow::Lines {
        printer.one_line_each();
    }
    let watch = interrupt::watch(start, args.limits.time_limit);
    if let Some(exit) = instance::planned(args, &watch, printer)? {
        return Ok(exit);
    }
    let mode = mode(args);
    modes::check(args, mode)?;
    if mode != Mode::Ops {
        return training::plan(args, &watch, printer);
    }
    let exports = exports(&args.export, export::check_target)?;
    let existing = Existing::of(args.force);
    check_outputs(args, &exports, existing)?;
    let recipe = Recipe::parse(&args.algorithm)?;
    let opened = Instant::now();
    let Some(loaded) = read(args, &watch)? else { return Ok(interrupted(printer)) };
    for (target, _) in &exports {
        executor::check_batches(target, &loaded.problem.workload)?;
    }
    let limits = args.limits.request().within(&watch, usual_time(args, start));
    let request = Request { recipe, limits };
    let (start, read) = (Instant::now(), opened.elapsed());
    let mut publisher = Publisher::new(args.output.as_deref(), existing, args.progress, printer);
    let solved = solve(loaded.problem.clone(), &request, &mut |event| {
        publish(&mut publisher, &loaded, event);
    });
    publisher.rest();
    match solved {
        Ok(mut outcome) => {
            outcome.warnings.iter_mut().for_each(|warning| name_limit(args, warning));
            let solved = finished((args, &exports), &loaded, &outcome, (start, &mut publisher))?;
            printer.page(|page| outcome::print(&loaded, &outcome, &solved, page))?;
            Ok(Exit::DONE)
        }
        Err(_) if watch.is_cancelled() => Ok(interrupted(printer)),
        Err(mut none) => {
            name_limit(args, &mut none.diagnostic);
            none.diagnostic.hints.extend(outcome::other_way(&loaded.problem));
            let (asked, limits) = (args.request(), &request.limits);
            let narrower = narrower::hint(&asked, &loaded, limits, &none, (start, read));
            none.diagnostic.hints.extend(narrower);
            Ok(printer.page(|page| outcome::print_failure(&none, &loaded.warnings, page)))
        }
    }
}

/// The problem; `None` where someone interrupted its reading.
fn read(args: &PlanArgs, watch: &Watch) -> Result<Option<Loaded>, Diagnostic> {
    let (model, flags) = (args.model.clone(), args.problem.request());
    let (objective, executor) = (args.objective.unwrap_or_default(), args.executor);
    let read = move |_: Tell<()>| load::problem(&model, &flags, objective, executor);
    let strict = Watch { after: Duration::ZERO, ..watch.clone() };
    match strict.run(read, &mut |()| {}).done().transpose()? {
        _ if watch.is_cancelled() => Ok(None),
        Some(loaded) => Ok(Some(loaded)),
        None => Err(late()),
    }
}

/// The plan document, and all files written.
fn finished(
    (args, exports): (&PlanArgs, &[(&str, PathBuf)]),
    loaded: &Loaded,
    outcome: &Outcome,
    (start, publisher): (Instant, &mut Publisher<'_>),
) -> Result<Solved, Diagnostic> {
    let elapsed = start.elapsed();
    let trust = Trust::of(&loaded.problem, &outcome.plan, &outcome.timeline);
    let found = Found {
        algorithm: &outcome.algorithm,
        plan: &outcome.plan,
        timeline: &outcome.timeline,
        value: outcome.value,
        bound: outcome.bound.into(),
    };
    let plan = found::document(loaded, &found, &trust);
    let bytes = found::bytes(&plan)?;
    let ended = ended(args, exports, loaded, outcome).and_then(|(files, warnings)| {
        publisher.last(bytes.clone(), &files)?;
        Ok((files, warnings))
    });
    let (files, warnings) = ended.map_err(|error| {
        // What was found is not lost with the file that it was for.
        let near = args.output.as_ref().or(exports.first().map(|(_, path)| path));
        publisher.kept(near.or(args.plot.as_ref()), &bytes, error)
    })?;
    let files = args.output.iter().chain(files.iter().map(|(path, _)| path));
    let written = files.map(|path| path.display().to_string()).collect();
    Ok(Solved {
        plan,
        trust,
        elapsed,
        warnings,
        named: args.problem.model.dtype,
        rows: Rows::of(args.all),
        version: VERSION,
        written,
    })
}

/// The time of a run that was given no limit, counted from its first byte; what reads a model for
/// long has some left all the same.
fn usual_time(args: &PlanArgs, start: Instant) -> Option<Duration> {
    const LEAST: Duration = Duration::from_secs(5);
    let limits = &args.limits;
    let is_given = limits.time_limit.is_some() || limits.node_budget.is_some();
    let is_free = args.algorithm != "auto" || is_given || limits.deterministic;
    (!is_free).then(|| DEFAULT_TIME.saturating_sub(start.elapsed()).max(LEAST))
}

/// What the flags ask for of a model.
fn mode(args: &PlanArgs) -> Mode {
    let is_folder = || args.problem.profile.as_deref().is_some_and(importers::layers::is_folder);
    match args.training.request().asks().is_some() || training::plans_training(&args.algorithm) {
        true if is_folder() => Mode::Layers,
        true => Mode::Degrees,
        false => Mode::Ops,
    }
}

/// `TARGET=FILE` pairs.
pub(super) fn exports(
    flags: &[String],
    check: fn(&str) -> Result<(), Diagnostic>,
) -> Result<Vec<(&str, PathBuf)>, Diagnostic> {
    let pair = |flag: &'_ String| {
        let Some((target, file)) = flag.split_once('=').filter(|(_, file)| !file.is_empty()) else {
            let message = format!("`--export {flag}` does not have the form TARGET=FILE");
            return Err(
                Diagnostic::usage("bad-export", message).hint("write --export trace=trace.json")
            );
        };
        check(target)?;
        Ok((target.len(), PathBuf::from(file)))
    };
    flags.iter().map(|flag| pair(flag).map(|(length, file)| (&flag[..length], file))).collect()
}

fn check_outputs(
    args: &PlanArgs,
    exports: &[(&str, PathBuf)],
    existing: Existing,
) -> Result<(), Diagnostic> {
    let outputs: Vec<&Path> = args
        .output
        .iter()
        .chain(exports.iter().map(|(_, file)| file))
        .chain(&args.plot)
        .map(PathBuf::as_path)
        .collect();
    artifact::check(&outputs, &args.problem.request().inputs(&args.model), existing)
}

/// Takes an event of the run to whoever follows it.
fn publish(publisher: &mut Publisher, loaded: &Loaded, event: &Event<Problem>) {
    let objective = cost_model::ops::objective::row(loaded.problem.objective).name;
    publisher.hear(
        event,
        (objective, &|value| value.to_string()),
        |algorithm, value, bound, own| {
            let (plan, timeline) = (&own.plan, &own.timeline);
            let trust = Trust::of(&loaded.problem, plan, timeline);
            let found = Found { algorithm, plan, timeline, value, bound: bound.into() };
            found::bytes(&found::document(loaded, &found, &trust))
        },
    );
}

/// All files of a run but the plan, the picture of the search last.
fn ended(
    args: &PlanArgs,
    exports: &[(&str, PathBuf)],
    loaded: &Loaded,
    outcome: &Outcome,
) -> Result<Files, Diagnostic> {
    let (mut files, warnings) = files(exports, loaded, outcome)?;
    if let Some(path) = &args.plot {
        let name = &loaded.problem.graph.name;
        let objective =
            cost_model::ops::objective::row(loaded.problem.objective).name.replace('-', " ");
        files.push((path.clone(), plot::svg(name, &objective, Unit::Time, &outcome.trace)));
    }
    Ok((files, warnings))
}

/// Names and contents of all files, and what the formats can't say.
type Files = (Vec<(PathBuf, Vec<u8>)>, Vec<Diagnostic>);

fn files(
    exports: &[(&str, PathBuf)],
    loaded: &Loaded,
    outcome: &Outcome,
) -> Result<Files, Diagnostic> {
    let mut files = Vec::new();
    let mut warnings = Vec::new();
    let source = Source {
        problem: &loaded.problem,
        plan: &outcome.plan,
        timeline: &outcome.timeline,
        report: &outcome.report,
    };
    for (target, path) in exports {
        let export = export::exported(target, &source)?;
        files.push((path.clone(), export.bytes));
        warnings.extend(export.warnings);
    }
    Ok((files, warnings))
}

/// Hints that name the limit which was set.
fn name_limit(args: &PlanArgs, diagnostic: &mut Diagnostic) {
    let limit = match (args.limits.node_budget, args.limits.time_limit) {
        (Some(_), None) => "the node budget",
        (Some(_), Some(_)) => "the node budget or the time limit",
        (None, _) => return,
    };
    for hint in &mut diagnostic.hints {
        *hint = hint.replace("the time limit", limit);
    }
}

pub(super) fn late() -> Diagnostic {
    let message = "the time limit passed while the model was read";
    Diagnostic::error(Blame::NotFound, "deadline", message).hint("raise --time-limit")
}

pub(super) fn interrupted(printer: &Printer) -> Exit {
    let message = "interrupted before there was a plan";
    let diagnostic = Diagnostic::error(Blame::NotFound, "interrupted", message)
        .hint("a later Ctrl-C keeps the best plan so far");
    printer.failure(&diagnostic, interrupt::EXIT_CODE);
    Exit(interrupt::EXIT_CODE)
}
