//! `plan`: a model on a cluster.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

use cost_model::judge::Timeline;
use documents::plan::{Context, CostDocument, PlanDocument};
use exporters::Source;
use ir::diagnostic::{Blame, Diagnostic};
use planner::recipe::Recipe;
use planner::run::{Budget, Outcome, Request, solve};

use crate::artifact::{self, Existing};
use crate::cli::PlanArgs;
use crate::commands::outcome::{self, Solved};
use crate::commands::trust::Trust;
use crate::commands::{CommandResult, Exit, export, instance, training};
use crate::escape;
use crate::interrupt;
use crate::load::{self, Loaded};
use crate::printer::Printer;
use crate::progress::Progress;

pub(crate) fn run(args: &PlanArgs, printer: &Printer) -> CommandResult {
    if args.training.are_asked() || args.algorithm == training::ALGORITHM {
        return training::plan(args, printer);
    }
    if let Some(instance) = importers::instance(&args.model)? {
        return instance::plan(args, &instance, printer);
    }
    let exports = exports(&args.export)?;
    let existing = Existing::of(args.force);
    check_outputs(args, &exports, existing)?;
    let recipe = Recipe::parse(&args.algorithm)?;
    let cancel = interrupt::flag();
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
        budget: Budget { time: args.time_limit, nodes: args.node_budget },
        seed: args.seed,
        deterministic: args.deterministic,
        cancel,
    };
    let start = Instant::now();
    let progress = Progress::new(printer);
    let solved = solve(loaded.problem.clone(), &request, &mut |event| progress.observe(event));
    drop(progress);
    let mut outcome = match solved {
        Ok(outcome) => outcome,
        Err(_) if request.cancel.load(Ordering::SeqCst) => return Ok(interrupted(printer)),
        Err(mut none) => {
            name_limit(args, &mut none.diagnostic);
            return Ok(outcome::print_failure(&none, printer));
        }
    };
    outcome.warnings.iter_mut().for_each(|warning| name_limit(args, warning));
    let elapsed = start.elapsed();
    let plan = document(&loaded, &outcome);
    let (files, warnings) = files(args, &exports, &loaded, &outcome, &plan)?;
    artifact::write_all(&files, existing)?;
    let written = files.iter().map(|(path, _)| path.display().to_string()).collect();
    let solved = Solved { plan, elapsed, warnings, written };
    outcome::print(args, &loaded, &outcome, &solved, printer)?;
    Ok(Exit::DONE)
}

/// `TARGET=FILE` pairs.
fn exports(flags: &[String]) -> Result<Vec<(&str, PathBuf)>, Diagnostic> {
    let pair = |flag: &'_ String| {
        let Some((target, file)) = flag.split_once('=').filter(|(_, file)| !file.is_empty()) else {
            let message = format!("`--export {flag}` does not have the form TARGET=FILE");
            return Err(
                Diagnostic::usage("bad-export", message).hint("write --export trace=trace.json")
            );
        };
        export::check_target(target)?;
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
        .map(PathBuf::as_path)
        .collect();
    let mut inputs = vec![args.model.as_path()];
    inputs.extend(args.problem.cluster.as_deref());
    inputs.extend(args.problem.constraints.as_deref());
    artifact::check(&outputs, &inputs, existing)
}

fn document(loaded: &Loaded, outcome: &Outcome) -> PlanDocument {
    let context = Context {
        graph: &loaded.problem.graph,
        cluster: &loaded.problem.cluster,
        profile: &loaded.profile,
        workload: &loaded.problem.workload,
        objective: cost_model::objective::row(loaded.problem.objective).name,
        algorithm: &outcome.algorithm,
    };
    let Timeline { step_time, .. } = outcome.timeline;
    let bound = &outcome.bound;
    let trust = Trust::of(&loaded.problem, &outcome.plan, &outcome.timeline);
    let cost = CostDocument::new(step_time.get(), bound.value.get(), bound.method)
        .with_trust(trust.interval_document(), trust.origin_documents());
    PlanDocument::from_ir(&outcome.plan, &context, Some(cost))
}

/// Names and contents of all files, and what the formats can't say.
type Files = (Vec<(PathBuf, Vec<u8>)>, Vec<Diagnostic>);

fn files(
    args: &PlanArgs,
    exports: &[(&str, PathBuf)],
    loaded: &Loaded,
    outcome: &Outcome,
    plan: &PlanDocument,
) -> Result<Files, Diagnostic> {
    let mut files = Vec::new();
    let mut warnings = Vec::new();
    if let Some(path) = &args.output {
        files.push((path.clone(), escape::json(plan.to_json()?).into_bytes()));
    }
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
    let limit = match (args.node_budget, args.time_limit) {
        (Some(_), None) => "the node budget",
        (Some(_), Some(_)) => "the node budget or the time limit",
        (None, _) => return,
    };
    for hint in &mut diagnostic.hints {
        *hint = hint.replace("the time limit", limit);
    }
}

fn interrupted(printer: &Printer) -> Exit {
    let message = "interrupted before there was a plan";
    let diagnostic = Diagnostic::error(Blame::NotFound, "interrupted", message)
        .hint("a later Ctrl-C keeps the best plan so far");
    printer.failure(&diagnostic, interrupt::EXIT_CODE);
    Exit(interrupt::EXIT_CODE)
}
