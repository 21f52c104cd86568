//! `plan`: a model on a cluster.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

use cost_model::bound::Bound;
use cost_model::judge::Timeline;
use cost_model::problem::Objective;
use documents::plan::{Context, CostDocument, PlanDocument};
use exporters::Source;
use ir::diagnostic::{Blame, Diagnostic};
use ir::plan::Plan;
use ir::units::Nanos;
use planner::recipe::Recipe;
use planner::run::{Budget, Event, Outcome, Request, solve};

use crate::artifact::{self, Existing};
use crate::cli::PlanArgs;
use crate::commands::outcome::{self, Solved};
use crate::commands::plot::{self, Unit};
use crate::commands::trust::Trust;
use crate::commands::{CommandResult, Exit, export, instance, narrower, training};
use crate::escape;
use crate::interrupt;
use crate::load::{self, Loaded};
use crate::modes::{self, Mode};
use crate::printer::Printer;
use crate::publisher::{Follow, Incumbent, Publisher};
use crate::watch::Watch;

pub(crate) fn run(args: &PlanArgs, printer: &Printer) -> CommandResult {
    let start = Instant::now();
    if args.progress == Follow::Lines {
        printer.one_line_each();
    }
    let watch = Watch::new(start, args.limits.time_limit, interrupt::flag());
    if let Some(exit) = instance::planned(args, &watch, printer)? {
        return Ok(exit);
    }
    let mode = mode(args);
    modes::check(args, mode)?;
    if mode != Mode::Ops {
        return training::plan(args, printer);
    }
    let exports = exports(&args.export, export::check_target)?;
    let existing = Existing::of(args.force);
    check_outputs(args, &exports, existing)?;
    let recipe = Recipe::parse(&args.algorithm)?;
    let cancel = interrupt::flag();
    let opened = Instant::now();
    let loaded = load::problem(
        &args.model,
        &args.problem,
        args.objective.unwrap_or_default(),
        args.executor,
    )?;
    if cancel.load(Ordering::SeqCst) {
        return Ok(interrupted(printer));
    }
    let request = Request {
        recipe,
        budget: Budget { time: args.limits.time_limit, nodes: args.limits.node_budget },
        gap: args.limits.gap.unwrap_or(0.0),
        seed: args.limits.seed,
        threads: args.limits.threads.map_or(0, NonZeroUsize::get),
        deterministic: args.limits.deterministic,
        cancel,
    };
    let (start, read) = (Instant::now(), opened.elapsed());
    let mut publisher = Publisher::new(args.output.as_deref(), existing, args.progress, printer);
    let solved = solve(loaded.problem.clone(), &request, &mut |event| {
        publish(&mut publisher, &loaded, event);
    });
    publisher.rest();
    let mut outcome = match solved {
        Ok(outcome) => outcome,
        Err(_) if request.cancel.load(Ordering::SeqCst) => return Ok(interrupted(printer)),
        Err(mut none) => {
            name_limit(args, &mut none.diagnostic);
            let narrower = narrower::hint(args, &loaded, &request, &none, (start, read));
            none.diagnostic.hints.extend(narrower);
            return Ok(outcome::print_failure(&none, printer));
        }
    };
    outcome.warnings.iter_mut().for_each(|warning| name_limit(args, warning));
    let elapsed = start.elapsed();
    let trust = Trust::of(&loaded.problem, &outcome.plan, &outcome.timeline);
    let found = Found {
        algorithm: &outcome.algorithm,
        plan: &outcome.plan,
        timeline: &outcome.timeline,
        value: outcome.value,
        bound: outcome.bound,
    };
    let plan = document(&loaded, &found, &trust);
    let (mut files, warnings) = files(&exports, &loaded, &outcome)?;
    if let Some(path) = &args.plot {
        let name = &loaded.problem.graph.name;
        let objective = cost_model::objective::row(loaded.problem.objective).name.replace('-', " ");
        files.push((path.clone(), plot::svg(name, &objective, Unit::Time, &outcome.trace)));
    }
    artifact::write_all(&files, existing)?;
    publisher.last(bytes(&plan)?)?;
    let files = args.output.iter().chain(files.iter().map(|(path, _)| path));
    let written = files.map(|path| path.display().to_string()).collect();
    let solved = Solved { plan, trust, elapsed, warnings, written };
    outcome::print(args, &loaded, &outcome, &solved, printer)?;
    Ok(Exit::DONE)
}

/// What the flags ask for of a model.
fn mode(args: &PlanArgs) -> Mode {
    let is_folder = || args.problem.profile.as_deref().is_some_and(importers::layers::is_folder);
    match args.training.are_asked() || training::plans_training(&args.algorithm) {
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
    let mut inputs = vec![args.model.as_path()];
    inputs.extend(args.problem.cluster.as_deref());
    inputs.extend(args.problem.constraints.as_deref());
    artifact::check(&outputs, &inputs, existing)
}

/// A verified plan.
struct Found<'a> {
    algorithm: &'a str,
    plan: &'a Plan,
    timeline: &'a Timeline,
    /// Under the objective.
    value: Nanos,
    bound: Bound,
}

/// Takes an event of the run to whoever follows it.
fn publish(publisher: &mut Publisher, loaded: &Loaded, event: &Event) {
    match event {
        Event::Started { algorithm } => publisher.started(algorithm),
        Event::Incumbent { algorithm, value, bound, plan, timeline, elapsed } => {
            let incumbent = Incumbent {
                algorithm,
                objective: cost_model::objective::row(loaded.problem.objective).name,
                value: *value,
                shown: &|value: Nanos| value.to_string(),
                bound: bound.value,
                elapsed: *elapsed,
            };
            let found = Found { algorithm, plan, timeline, value: *value, bound: *bound };
            publisher.publish(&incumbent, || {
                let trust = Trust::of(&loaded.problem, plan, timeline);
                bytes(&document(loaded, &found, &trust))
            });
        }
        _ => {}
    }
}

fn bytes(plan: &PlanDocument) -> Result<Vec<u8>, Diagnostic> {
    Ok(escape::json(plan.to_json()?).into_bytes())
}

fn document(loaded: &Loaded, found: &Found, trust: &Trust) -> PlanDocument {
    let context = Context {
        graph: &loaded.problem.graph,
        cluster: &loaded.problem.cluster,
        profile: &loaded.profile,
        workload: &loaded.problem.workload,
        request: &loaded.request,
        objective: cost_model::objective::row(loaded.problem.objective).name,
        algorithm: found.algorithm,
    };
    let (step_time, bound) = (found.timeline.step_time, found.bound);
    let mut cost = CostDocument::new(step_time.get(), bound.value.get(), bound.method)
        .with_trust(trust.interval_document(), trust.origin_documents());
    if loaded.problem.objective != Objective::StepTime {
        cost = cost.with_value(found.value.get());
    }
    PlanDocument::from_ir(found.plan, &context, Some(cost))
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

pub(super) fn interrupted(printer: &Printer) -> Exit {
    let message = "interrupted before there was a plan";
    let diagnostic = Diagnostic::error(Blame::NotFound, "interrupted", message)
        .hint("a later Ctrl-C keeps the best plan so far");
    printer.failure(&diagnostic, interrupt::EXIT_CODE);
    Exit(interrupt::EXIT_CODE)
}
