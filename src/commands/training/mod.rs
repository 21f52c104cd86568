//! Training runs on a model card, from a config or from a graph: `plan` over all degrees, and plans
//! of such runs read back.

mod answer;
mod claims;
mod compare;
mod document;
mod export;
mod front;
mod layered;
mod measured;
mod model;
mod nothing_fits;
mod numbers;
mod pins;
mod replay;
mod setting;
mod words;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use cost_model::transformer::model::Offload;
use ir::diagnostic::Diagnostic;
use planner::parallelism::search_3d::{Options, Stop, solve};
use planner::registry::entry;

use crate::artifact::{self, Existing};
use crate::cli::PlanArgs;
use crate::commands::{CommandResult, Exit};
use crate::printer::{Format, Printer};
use crate::publisher::Follow;
use crate::{escape, interrupt};
use answer::Answer;
use setting::Setting;

pub(crate) use answer::degrees;
pub(crate) use compare::{compare, compare_plans};
pub(crate) use export::export;
pub(crate) use layered::bench as bench_layered;
pub(crate) use replay::{explain, simulate, verify};

/// The name of the search on the command line.
pub(crate) const ALGORITHM: &str = "search-3d";

/// Whether a row of the registry plans training runs.
pub(crate) fn plans_training(name: &str) -> bool {
    entry(name).is_some_and(|entry| entry.training.is_some())
}

/// Refuses an algorithm that is not the one for the costs that were given.
fn check_costs(args: &PlanArgs, setting: &Setting) -> Result<(), Diagnostic> {
    let (own, costs) = match setting.layers {
        Some(_) => (layered::ALGORITHM, "folders of measured layers"),
        None => (ALGORITHM, "costs of the model"),
    };
    if [own, "auto"].contains(&args.algorithm.as_str()) {
        return Ok(());
    }
    let message = format!("`{}` does not plan on {costs}", args.algorithm);
    Err(Diagnostic::usage("not-for-training", message).hint(format!("leave it out, or name {own}")))
}

/// Refuses flags that a search over degrees has no use for.
fn check(args: &PlanArgs) -> Result<(), Diagnostic> {
    if !plans_training(&args.algorithm) && args.algorithm != "auto" {
        let message = format!("`{}` does not plan training runs", args.algorithm);
        return Err(Diagnostic::usage("not-for-training", message)
            .hint(format!("leave --algorithm out, or name {ALGORITHM}")));
    }
    let unused = [
        ("--export", !args.export.is_empty()),
        ("--node-budget", args.limits.node_budget.is_some()),
        ("--gap", args.limits.gap.is_some()),
        ("--progress lines", args.progress == Follow::Lines),
        ("--plot", args.plot.is_some()),
        ("--accelerators", args.accelerators.is_some()),
        ("--forbid", !args.problem.forbid.is_empty()),
        ("--colocate", !args.problem.colocate.is_empty()),
    ];
    match unused.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((flag, _)) => {
            let message = format!("{flag} has no effect on a training run");
            Err(Diagnostic::usage("not-for-training", message).hint("leave it out"))
        }
    }
}

/// Plans a training run.
pub(crate) fn plan(args: &PlanArgs, printer: &Printer) -> CommandResult {
    check(args)?;
    let existing = Existing::of(args.force);
    let outputs: Vec<_> = args.output.iter().map(std::path::PathBuf::as_path).collect();
    let mut inputs = vec![args.model.as_path()];
    inputs.extend(args.problem.cluster.as_deref());
    artifact::check(&outputs, &inputs, existing)?;
    let mut setting = Setting::of(args)?;
    check_costs(args, &setting)?;
    let space = setting.space()?;
    if setting.layers.is_some() {
        return layered::plan(args, setting, &space, printer);
    }
    let start = Instant::now();
    let usual = Options::default();
    let options = Options {
        deadline: args.limits.time_limit.map(|limit| start + limit),
        cancel: Some(Arc::clone(&interrupt::flag())),
        n_threads: args.limits.threads.map_or(usual.n_threads, NonZeroUsize::get),
        ..usual
    };
    let mut found = solve(&setting.pricing(), &space, &options);
    let is_short = found.plans.is_empty() && found.stop == Stop::Proved;
    if is_short && !args.training.no_offload {
        // Optimizer states on hosts are slower, so they are moved there only where they must.
        setting.offload = Offload::Optimizer;
        let moved = solve(&setting.pricing(), &space, &options);
        if moved.plans.is_empty() {
            setting.offload = Offload::Nothing;
        } else {
            found = moved;
        }
    }
    let pricing = setting.pricing();
    if found.plans.is_empty() {
        return match found.stop {
            Stop::Proved => nothing_fits::answer(&setting, &space, printer),
            Stop::Deadline | Stop::Cancelled => Err(nothing_fits::too_early(&found)),
        };
    }
    let elapsed = start.elapsed();
    let front = front::of(&pricing, &space, &found, &options);
    front::promote(&mut found, &front);
    let answer = Answer::new(&setting, &found, front, elapsed)?;
    printer.warnings(&setting.warnings);
    let plan = document::plan(&setting, answer.best, answer.bound)?;
    let text = escape::json(plan.to_json()?);
    let files: Vec<_> =
        args.output.iter().map(|path| (path.clone(), text.clone().into_bytes())).collect();
    artifact::write_all(&files, existing)?;
    match printer.format {
        Format::Text => answer.print(printer),
        Format::Json => printer.document(&document::report(&answer, &plan)?),
    }
    for (path, _) in &files {
        printer.talk(&format!("wrote {}", path.display()));
    }
    Ok(Exit::DONE)
}
