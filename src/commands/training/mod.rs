//! Training runs on a model card, from a config or from a graph: `plan` over all degrees, and plans
//! of such runs read back.

mod answer;
mod claims;
mod compare;
mod document;
mod export;
mod followed;
mod front;
mod layered;
mod no_configuration;
mod nothing_fits;
mod replay;
mod searched;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use cost_model::runs::forms::model::Offload;
use ir::diagnostic::Diagnostic;
use ir::units::Nanos;
use planner::registry::entry;
use planner::run::watch::{Tell, Watch};
use planner::training::search_3d::judge::Judged;
use planner::training::search_3d::space::Space;
use planner::training::search_3d::{Counts, Options, Stop};

use crate::cli::PlanArgs;
use crate::commands::plan;
use crate::printer::Printer;
use crate::publisher::Publisher;
use crate::{interrupt, modes};
use answer::Answer;
use engine::artifact::{self, Existing};
use engine::escape;
use engine::exit::{CommandResult, Exit};
use engine::page::Format;
use engine::request::{ObjectiveName, PlanRequest};
use engine::training::setting::Setting;
use ir::workload::Mode;
use searched::{Searched, Told, Wider};

pub(crate) use compare::{compare, compare_plans};
#[cfg(test)]
pub(crate) use engine::training::pins::FIELDS as PINS;
pub(crate) use export::export;
pub(crate) use replay::{explain, simulate, verify};

/// The name of the search on the command line.
pub(crate) const ALGORITHM: &str = "search-3d";

/// Whether a row of the registry plans training runs.
pub(crate) fn plans_training(name: &str) -> bool {
    entry(name).is_some_and(planner::registry::Entry::plans_training)
}

/// Refuses an algorithm that is not the one for the costs that were given.
fn check_costs(args: &PlanRequest, setting: &Setting) -> Result<(), Diagnostic> {
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
    if args.problem.workload == Some(Mode::Inference) {
        let message = "`--workload inference` contradicts the flags of a training run";
        return Err(Diagnostic::usage("not-for-training", message)
            .hint("leave one out; a placement of ops is planned without --global-batch"));
    }
    match args.objective {
        None | Some(ObjectiveName::StepTime) => Ok(()),
        Some(_) => {
            let message = "`--objective` has no effect on a training run";
            Err(Diagnostic::usage("not-for-training", message)
                .hint("leave it out: its step time is minimised"))
        }
    }
}

/// What a search ends with.
struct Ended {
    searched: Searched,
    front: Vec<Judged>,
    wider: Option<Wider>,
    offload: Offload,
}

/// Searches, then looks around what was found.
fn ended(mut setting: Setting, space: &Space, options: &Options, tell: &dyn Fn(Told)) -> Ended {
    let mut searched = searched::search(&mut setting, space.clone(), options, tell);
    let (mut front, mut wider) = (Vec::new(), None);
    if !searched.found.plans.is_empty() {
        front = front::of(&setting.pricing(), &searched.space, &searched.found, options);
        front::promote(&mut searched.found, &front);
        wider = Wider::of(&setting, space, &searched, options);
    }
    Ended { searched, front, wider, offload: setting.offload }
}

/// Plans a training run.
pub(crate) fn plan(args: &PlanArgs, watch: &Watch, printer: &Printer) -> CommandResult {
    check(args)?;
    let existing = Existing::of(args.force);
    let exports = plan::exports(&args.export, export::check_target)?;
    let outputs = args.output.iter().chain(exports.iter().map(|(_, file)| file)).chain(&args.plot);
    let outputs: Vec<_> = outputs.map(std::path::PathBuf::as_path).collect();
    artifact::check(&outputs, &args.problem.request().inputs(&args.model), existing)?;
    let own = args.request();
    let read = move |_: Tell<()>| {
        let setting = Setting::of(&own)?;
        check_costs(&own, &setting)?;
        Ok((setting.space()?, setting))
    };
    let read: Option<Result<_, Diagnostic>> = watch.run(read, &mut |()| {}).done();
    let (space, mut setting) = match read.transpose()? {
        _ if watch.is_cancelled() => return Ok(plan::interrupted(printer)),
        Some(read) => read,
        None => return Err(plan::late()),
    };
    let mut publisher = Publisher::new(args.output.as_deref(), existing, args.progress, printer);
    if setting.layers.is_some() {
        return layered::plan(args, (setting, space), &exports, (watch, &mut publisher), printer);
    }
    let start = Instant::now();
    let usual = Options::default();
    let options = Options {
        deadline: interrupt::deadline(args.limits.time_limit),
        cancel: Some(Arc::clone(&watch.cancel)),
        n_threads: args.limits.threads.map_or(usual.n_threads, NonZeroUsize::get),
        ..usual
    };
    let (own, free, given) = (setting.clone(), space.clone(), options.clone());
    let work = move |tell: &dyn Fn(Told)| ended(own, &free, &given, tell);
    let document_of = |told: &Told| {
        let own = setting.keeping(told.offload);
        let document = document::plan(&own, &told.plan.0, told.bound.min(told.step))?;
        Ok(escape::json(document.to_json()?).into_bytes())
    };
    let mut followed =
        followed::follow((ALGORITHM, args), watch, &mut publisher, work, &document_of);
    let Ended { searched, front, wider, offload } =
        match (followed.done.take(), followed.last.take()) {
            (Some(ended), _) => ended,
            (None, Some(told)) => {
                let offload = told.offload;
                let searched = Searched::cut_short(&told, &space, followed::stopped(watch));
                let wider = searched.launcher.map(Wider::OutOfTime);
                Ended { searched, front: Vec::new(), wider, offload }
            }
            (None, None) if watch.is_cancelled() => return Ok(plan::interrupted(printer)),
            (None, None) => return Err(nothing_fits::too_early(&Counts::default())),
        };
    setting.offload = offload;
    let Some(best) = searched.found.plans.first() else {
        return match searched.found.stop {
            Stop::Proved => {
                nothing_fits::answer(&setting, &space, (&searched.found, &options), printer)
            }
            Stop::Deadline => Err(nothing_fits::too_early(&searched.found.counts)),
            Stop::Cancelled => Ok(plan::interrupted(printer)),
        };
    };
    let elapsed = (!args.limits.deterministic).then(|| start.elapsed());
    let bound = Nanos((searched.found.bound_s * 1e9).round() as u64);
    followed.ended((best.step, bound));
    let made = (&best.plan()?, (best.leaf.order.name(), bound));
    let around = (exports.as_slice(), followed.trace.as_slice());
    let others = followed::others(args, &setting, made, around);
    let unsaid = others.as_ref().map_or(&[][..], |(_, warnings)| warnings.as_slice());
    setting.warnings.extend_from_slice(unsaid);
    let answer = Answer::new(&setting, &searched.found, (front, wider), (elapsed, &options))?;
    printer.warnings(&answer.warnings());
    let plan = document::plan(&setting, answer.best, answer.bound)?;
    let text = escape::json(plan.to_json()?);
    let written = followed::write((args, &exports), &mut publisher, text, others)?;
    match printer.format {
        Format::Text => answer.print(printer),
        Format::Json => printer.document(&document::report(&answer, &plan)?),
    }
    for path in &written {
        printer.talk(&format!("wrote {}", path.display()));
    }
    Ok(Exit::DONE)
}
