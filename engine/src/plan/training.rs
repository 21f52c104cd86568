//! A plan of a training run, on a model card, from a config or from a graph.

use std::time::Instant;

use ir::diagnostic::Diagnostic;
use ir::units::Nanos;
use ir::workload::Mode;
use planner::registry::{Entry, entries, entry};
use planner::run::StopReason;
use planner::run::watch::Tell;
use planner::training::doors::{Card, Layers};
use planner::training::search::{self, Asked, Planned};
use planner::training::search_3d::space::Space;
use planner::training::search_3d::{Options, Search, solve_observed};

use super::{Run, followed, interrupted, late, layered};
use crate::exit::{CommandResult, Exit};
use crate::fields;
use crate::follow::Watch;
use crate::page::Format;
use crate::request::{AUTO, ObjectiveName, PlanRequest};
use crate::training::answer::Answer;
use crate::training::searched::{self, Better, Told};
use crate::training::setting::Setting;
use crate::training::{ALGORITHM, document, export, nothing_fits};

/// Whether a row of the registry plans training runs.
pub(super) fn plans_training(name: &str) -> bool {
    entry(name).is_some_and(Entry::plans_training)
}

/// The row that plans on the costs that were given: the one that was asked for, or the first.
///
/// # Errors
/// `not-for-training` where the one that was asked for does not.
pub(super) fn row(asked: &str, setting: &Setting) -> Result<&'static Entry, Diagnostic> {
    let is_layers = setting.layers.is_some();
    let plans = |entry: &&Entry| match is_layers {
        true => entry.door::<Layers>().is_some(),
        false => entry.door::<Card>().is_some(),
    };
    let mut rows = entries().iter().filter(plans);
    let own: Vec<&str> = rows.clone().map(|entry| entry.name).collect();
    rows.find(|entry| [entry.name, AUTO].contains(&asked)).ok_or_else(|| {
        let costs = if is_layers { "folders of measured layers" } else { "costs of the model" };
        let message = format!("`{asked}` does not plan on {costs}");
        Diagnostic::usage("not-for-training", message)
            .hint(format!("leave it out, or name {}", own.join(" or ")))
    })
}

/// Refuses flags that a search over degrees has no use for.
fn check(request: &PlanRequest) -> Result<(), Diagnostic> {
    if !plans_training(request.recipe()) && request.recipe() != AUTO {
        let asks = fields::asks_for_training(&request.problem.given);
        let asks = asks.map_or_else(String::new, |flag| format!(", which `{flag}` asks for"));
        let message = format!("`{}` does not plan training runs{asks}", request.recipe());
        return Err(Diagnostic::usage("not-for-training", message)
            .hint(format!("leave --algorithm out, or name {ALGORITHM}")));
    }
    if request.problem.workload == Some(Mode::Inference) {
        let message = "`--workload inference` contradicts the flags of a training run";
        return Err(Diagnostic::usage("not-for-training", message)
            .hint("leave one out; a placement of ops is planned without --global-batch"));
    }
    match request.objective {
        None => Ok(()),
        Some(name) if name == ObjectiveName::default() => Ok(()),
        Some(_) => {
            let message = "`--objective` has no effect on a training run";
            Err(Diagnostic::usage("not-for-training", message)
                .hint("leave it out: its step time is minimised"))
        }
    }
}

pub(super) fn plan(request: &PlanRequest, run: &mut Run<'_>) -> CommandResult {
    check(request)?;
    request.exports.iter().try_for_each(|target| export::check_target(target))?;
    let Some(read) = read(request, run.watch)? else { return Ok(interrupted(run.page)) };
    let planned = if read.0.layers.is_some() { layered::plan } else { on_card };
    planned(request, read, run)
}

/// What is asked, and what is searched for it; `None` where someone interrupted the reading.
fn read(request: &PlanRequest, watch: &Watch) -> Result<Option<(Setting, Space)>, Diagnostic> {
    let own = request.clone();
    let read = move |_: Tell<()>| {
        let setting = Setting::of(&own)?;
        row(own.recipe(), &setting)?;
        let space = setting.space()?;
        Ok::<_, Diagnostic>((setting, space))
    };
    match watch.run(read, &mut |()| {}).done().transpose()? {
        _ if watch.is_cancelled() => Ok(None),
        Some(read) => Ok(Some(read)),
        None => Err(late()),
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
    request: &PlanRequest,
    (mut setting, space): (Setting, Space),
    run: &mut Run<'_>,
) -> CommandResult {
    let start = Instant::now();
    let options = Options::within(&request.limits.within(run.watch, None));
    let (own, free, given) = (setting.clone(), space.clone(), options.clone());
    let solve = row(request.recipe(), &setting)?
        .door::<Card>()
        .map_or(solve_observed as Search, |door| door.0);
    let work = move |tell: &dyn Fn(Told)| searched(&own, &free, (solve, &given), tell);
    let document_of = |told: &Told| {
        let own = setting.keeping(told.offload);
        document::plan(&own, &told.plan.0, told.bound.min(told.step))
    };
    let mut followed = followed::follow((ALGORITHM, request), run, work, &document_of);
    let Planned { settled: searched, front, wider } =
        match (followed.done.take(), followed.last.take()) {
            (Some(planned), _) => planned,
            (None, Some(told)) => searched::cut_short(&told, &space, followed::stopped(run.watch)),
            (None, None) if run.watch.is_cancelled() => return Ok(interrupted(run.page)),
            (None, None) => return Err(nothing_fits::too_early(StopReason::Deadline, 0)),
        };
    setting.offload = searched.offload;
    let Some(best) = searched.found.plans.first() else {
        let found = &searched.found;
        return followed::none((found.stop, found.counts.n_judged), run.page, || {
            nothing_fits::answer(&setting, &space, (found, &options), run.page)
        });
    };
    let elapsed = (!request.limits.deterministic).then(|| start.elapsed());
    let bound = Nanos((searched.found.bound_s * 1e9).round() as u64);
    followed.ended((best.step, bound));
    let made = (&best.plan()?, (best.leaf.order.name(), bound));
    let files = followed::files(request, &mut setting, made, &followed.trace);
    let answer = Answer::new(&setting, &searched.found, (front, wider), (elapsed, &options))?;
    run.page.warnings(&answer.warnings());
    let plan = document::plan(&setting, answer.best, answer.bound)?;
    let written = run.follower.planned(followed::bytes(&plan)?, files)?;
    match run.page.format {
        Format::Text => answer.print(run.page),
        Format::Json => run.page.serialized(&document::report(&answer, plan))?,
    }
    written.iter().for_each(|name| run.page.talk(&format!("wrote {name}")));
    Ok(Exit::DONE)
}
