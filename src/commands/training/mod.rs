//! Training runs on a model card, from a config or from a graph: `plan` over all degrees, and plans
//! of such runs read back.

mod followed;
mod layered;

use std::path::PathBuf;
use std::time::Instant;

use ir::diagnostic::Diagnostic;
use ir::units::Nanos;
use planner::registry::{Entry, entries, entry};
use planner::run::StopReason;
use planner::run::watch::{Tell, Watch};
use planner::training::search::{self, Asked, Planned};
use planner::training::search_3d::space::Space;
use planner::training::search_3d::{Options, Search, solve_observed};

use crate::cli::PlanArgs;
use crate::commands::plan;
use crate::modes;
use crate::printer::Printer;
use crate::publisher::Publisher;
use engine::artifact::{self, Existing};
use engine::escape;
use engine::exit::{CommandResult, Exit};
use engine::page::Format;
use engine::request::ObjectiveName;
use engine::training::answer::Answer;
use engine::training::searched::{self, Better, Told};
use engine::training::setting::Setting;
use engine::training::{ALGORITHM, document, export, nothing_fits};
use ir::workload::Mode;

#[cfg(test)]
pub(crate) use engine::training::pins::FIELDS as PINS;

/// Whether a row of the registry plans training runs.
pub(crate) fn plans_training(name: &str) -> bool {
    entry(name).is_some_and(planner::registry::Entry::plans_training)
}

/// The row that plans on the costs that were given: the one that was asked for, or the first.
///
/// # Errors
/// `not-for-training` where the one that was asked for does not.
fn row(asked: &str, setting: &Setting) -> Result<&'static Entry, Diagnostic> {
    let is_layers = setting.layers.is_some();
    let plans = |entry: &&Entry| match is_layers {
        true => entry.on_layers().is_some(),
        false => entry.on_card().is_some(),
    };
    let mut rows = entries().iter().filter(plans);
    let own: Vec<&str> = rows.clone().map(|entry| entry.name).collect();
    rows.find(|entry| [entry.name, "auto"].contains(&asked)).ok_or_else(|| {
        let costs = if is_layers { "folders of measured layers" } else { "costs of the model" };
        let message = format!("`{asked}` does not plan on {costs}");
        Diagnostic::usage("not-for-training", message)
            .hint(format!("leave it out, or name {}", own.join(" or ")))
    })
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

/// Plans a training run.
pub(crate) fn plan(args: &PlanArgs, watch: &Watch, printer: &Printer) -> CommandResult {
    check(args)?;
    let existing = Existing::of(args.force);
    let exports = plan::exports(&args.export, export::check_target)?;
    let outputs = args.output.iter().chain(exports.iter().map(|(_, file)| file)).chain(&args.plot);
    let outputs: Vec<_> = outputs.map(std::path::PathBuf::as_path).collect();
    artifact::check(&outputs, &args.problem.request().inputs(&args.model), existing)?;
    let Some(read) = read(args, watch)? else { return Ok(plan::interrupted(printer)) };
    let mut publisher = Publisher::new(args.output.as_deref(), existing, args.progress, printer);
    let planned = if read.0.layers.is_some() { layered::plan } else { on_card };
    planned(args, read, &exports, (watch, &mut publisher), printer)
}

/// What is asked, and what is searched for it; `None` where someone interrupted the reading.
fn read(args: &PlanArgs, watch: &Watch) -> Result<Option<(Setting, Space)>, Diagnostic> {
    let own = args.request();
    let read = move |_: Tell<()>| {
        let setting = Setting::of(&own)?;
        row(&own.algorithm, &setting)?;
        let space = setting.space()?;
        Ok::<_, Diagnostic>((setting, space))
    };
    match watch.run(read, &mut |()| {}).done().transpose()? {
        _ if watch.is_cancelled() => Ok(None),
        Some(read) => Ok(Some(read)),
        None => Err(plan::late()),
    }
}

/// Searches, and tells of better plans as they come.
fn searched(
    setting: &Setting,
    free: &Space,
    how: (Search, &Options),
    tell: &dyn Fn(Told),
) -> Planned {
    let (launcher, may_offload) = (setting.launcher(), !setting.request.no_offload);
    let asked = Asked { free, launcher, may_offload };
    search::plan(&setting.pricing(), &asked, how, &|plan, bound_s, launcher, offload| {
        let bound = Nanos((bound_s * 1e9).round() as u64);
        tell(Better { plan: (plan.clone(), launcher), step: plan.step, bound, offload });
    })
}

/// Plans a training run by the cost model.
fn on_card(
    args: &PlanArgs,
    (mut setting, space): (Setting, Space),
    exports: &[(&str, PathBuf)],
    (watch, publisher): (&Watch, &mut Publisher<'_>),
    printer: &Printer,
) -> CommandResult {
    let start = Instant::now();
    let options = Options::within(&args.limits.request().within(watch, None));
    let (own, free, given) = (setting.clone(), space.clone(), options.clone());
    let solve = row(&args.algorithm, &setting)?.on_card().unwrap_or(solve_observed);
    let work = move |tell: &dyn Fn(Told)| searched(&own, &free, (solve, &given), tell);
    let document_of = |told: &Told| {
        let own = setting.keeping(told.offload);
        let document = document::plan(&own, &told.plan.0, told.bound.min(told.step))?;
        Ok(escape::json(document.to_json()?).into_bytes())
    };
    let mut followed = followed::follow((ALGORITHM, args), watch, publisher, work, &document_of);
    let Planned { settled: searched, front, wider } =
        match (followed.done.take(), followed.last.take()) {
            (Some(planned), _) => planned,
            (None, Some(told)) => searched::cut_short(&told, &space, followed::stopped(watch)),
            (None, None) if watch.is_cancelled() => return Ok(plan::interrupted(printer)),
            (None, None) => return Err(nothing_fits::too_early(StopReason::Deadline, 0)),
        };
    setting.offload = searched.offload;
    let Some(best) = searched.found.plans.first() else {
        let found = &searched.found;
        return followed::none((found.stop, found.counts.n_judged), printer, || {
            printer.page(|page| nothing_fits::answer(&setting, &space, (found, &options), page))
        });
    };
    let elapsed = (!args.limits.deterministic).then(|| start.elapsed());
    let bound = Nanos((searched.found.bound_s * 1e9).round() as u64);
    followed.ended((best.step, bound));
    let made = (&best.plan()?, (best.leaf.order.name(), bound));
    let around = (exports, followed.trace.as_slice());
    let others = followed::others(args, &setting, made, around);
    let unsaid = others.as_ref().map_or(&[][..], |(_, warnings)| warnings.as_slice());
    setting.warnings.extend_from_slice(unsaid);
    let answer = Answer::new(&setting, &searched.found, (front, wider), (elapsed, &options))?;
    printer.warnings(&answer.warnings());
    let plan = document::plan(&setting, answer.best, answer.bound)?;
    let text = escape::json(plan.to_json()?);
    let written = followed::write((args, exports), publisher, text, others)?;
    match printer.format {
        Format::Text => printer.page(|page| answer.print(page)),
        Format::Json => printer.document(&document::report(&answer, &plan)?),
    }
    for path in &written {
        printer.talk(&format!("wrote {}", path.display()));
    }
    Ok(Exit::DONE)
}
