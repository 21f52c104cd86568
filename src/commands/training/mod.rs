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
mod no_configuration;
mod nothing_fits;
mod numbers;
mod pins;
mod replay;
mod searched;
mod setting;
mod words;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Instant;

use ir::diagnostic::Diagnostic;
use ir::plan::Plan;
use ir::units::Nanos;
use planner::parallelism::search_3d::{Options, Stop};
use planner::registry::entry;

use crate::artifact::{self, Existing};
use crate::cli::{ObjectiveName, PlanArgs, Workload};
use crate::commands::{CommandResult, Exit, plan};
use crate::printer::{Format, Printer};
use crate::progress::Progress;
use crate::publisher::Follow;
use crate::{escape, interrupt, modes};
use answer::Answer;
use searched::Wider;
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
        let asks = modes::asks_for_training(args);
        let asks = asks.map_or_else(String::new, |flag| format!(", which `{flag}` asks for"));
        let message = format!("`{}` does not plan training runs{asks}", args.algorithm);
        return Err(Diagnostic::usage("not-for-training", message)
            .hint(format!("leave --algorithm out, or name {ALGORITHM}")));
    }
    let refused = |flag: &str, hint: &str| {
        let message = format!("`{flag}` has no effect on a training run");
        Err(Diagnostic::usage("not-for-training", message).hint(hint))
    };
    if args.problem.workload == Some(Workload::Inference) {
        let message = "`--workload inference` contradicts the flags of a training run";
        return Err(Diagnostic::usage("not-for-training", message)
            .hint("leave one out; a placement of ops is planned without --global-batch"));
    }
    match args.objective {
        None | Some(ObjectiveName::StepTime) => {}
        Some(_) => return refused("--objective", "leave it out: its step time is minimised"),
    }
    match args.progress {
        Follow::Lines => refused("--progress lines", "leave it out"),
        _ => Ok(()),
    }
}

/// Plans a training run.
pub(crate) fn plan(args: &PlanArgs, printer: &Printer) -> CommandResult {
    check(args)?;
    let existing = Existing::of(args.force);
    let exports = plan::exports(&args.export, export::check_target)?;
    let outputs = args.output.iter().chain(exports.iter().map(|(_, file)| file));
    let outputs: Vec<_> = outputs.map(std::path::PathBuf::as_path).collect();
    artifact::check(&outputs, &args.problem.inputs(&args.model), existing)?;
    let cancel = interrupt::flag();
    let mut setting = Setting::of(args)?;
    check_costs(args, &setting)?;
    let space = setting.space()?;
    if cancel.load(Ordering::SeqCst) {
        return Ok(plan::interrupted(printer));
    }
    if setting.layers.is_some() {
        return layered::plan(args, (setting, &space), &exports, cancel, printer);
    }
    let start = Instant::now();
    let usual = Options::default();
    let options = Options {
        deadline: interrupt::deadline(args.limits.time_limit),
        cancel: Some(cancel),
        n_threads: args.limits.threads.map_or(usual.n_threads, NonZeroUsize::get),
        ..usual
    };
    let progress = match args.progress {
        Follow::None => Progress::silent(),
        _ => Progress::new(printer),
    };
    progress.started(ALGORITHM);
    let mut searched = searched::search(&mut setting, space.clone(), &options);
    if searched.found.plans.is_empty() {
        return match searched.found.stop {
            Stop::Proved => {
                nothing_fits::answer(&setting, &space, (&searched.found, &options), printer)
            }
            Stop::Deadline => Err(nothing_fits::too_early(&searched.found)),
            Stop::Cancelled => Ok(plan::interrupted(printer)),
        };
    }
    let pricing = setting.pricing();
    let front = front::of(&pricing, &searched.space, &searched.found, &options);
    front::promote(&mut searched.found, &front);
    let wider = Wider::of(&setting, &space, &searched, &options);
    drop(progress);
    let elapsed = (!args.limits.deterministic).then(|| start.elapsed());
    let answer = Answer::new(&setting, &searched.found, (front, wider), (elapsed, &options))?;
    printer.warnings(&answer.warnings());
    let plan = document::plan(&setting, answer.best, answer.bound)?;
    let text = escape::json(plan.to_json()?);
    let written = (&answer.best.plan()?, (answer.best.leaf.order.name(), answer.bound));
    let files = files(args, &setting, &text, written, &exports)?;
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

/// The plan document and the files of all targets, as far as they are asked for.
///
/// # Errors
/// Those of [`export::exported`].
fn files(
    args: &PlanArgs,
    setting: &Setting,
    document: &str,
    (plan, made): (&Plan, (&str, Nanos)),
    exports: &[(&str, PathBuf)],
) -> Result<Vec<(PathBuf, Vec<u8>)>, Diagnostic> {
    let own = args.output.iter().map(|path| Ok((path.clone(), document.as_bytes().to_vec())));
    let others = exports.iter().map(|(target, path)| {
        Ok((path.clone(), export::exported(target, setting, plan, made)?.bytes))
    });
    own.chain(others).collect()
}
