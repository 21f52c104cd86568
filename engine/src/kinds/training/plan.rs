//! A plan of a training run, on a model card, from a config or from a graph.

use std::time::{Duration, Instant};

use cost_model::runs::forms::model::Pricing;
use ir::diagnostic::Diagnostic;
use ir::units::Nanos;
use planner::registry::{Entry, entries, entry};
use planner::training::doors::{Card, Layers};
use planner::training::search::{self, Asked, Planned, Settled};
use planner::training::search_3d::judge::Judged;
use planner::training::search_3d::space::{Capabilities, Pins, RecomputeRule, Space};
use planner::training::search_3d::{Options, Search, solve_observed};

use super::followed::{self, Followed};
use crate::answer::beside::Beside;
use crate::answer::energy;
use crate::answer::exit::{CommandResult, Exit};
use crate::answer::page::Format;
use crate::inputs::run::checks::check_workload;
use crate::inputs::run::setting::Setting;
use crate::kinds::training::answer::Answer;
use crate::kinds::training::plan_layered;
use crate::kinds::training::recommended::{self, Known};
use crate::kinds::training::runners::Launched;
use crate::kinds::training::searched::{self, Better, Told};
use crate::kinds::training::{
    ALGORITHM, document, losses, nothing_fits, replaced, runnable, usual,
};
use crate::request::executor::Executor;
use crate::request::fields;
use crate::request::{AUTO, ObjectiveName, PlanRequest};
use crate::search::run::bytes;
use crate::search::run::{Run, interrupted};

/// Whether a row of the registry plans training runs.
pub(crate) fn plans_training(name: &str) -> bool {
    entry(name).is_some_and(Entry::plans_training)
}

/// The row that plans on the costs that were given: the one that was asked for, or the first.
///
/// # Errors
/// `not-for-training` where the one that was asked for does not.
pub(crate) fn row(name: &str, setting: &Setting) -> Result<&'static Entry, Diagnostic> {
    let is_layers = setting.layers.is_some();
    let plans = |entry: &&Entry| match is_layers {
        true => entry.door::<Layers>().is_some(),
        false => entry.door::<Card>().is_some(),
    };
    let mut rows = entries().iter().filter(plans);
    let names: Vec<&str> = rows.clone().map(|entry| entry.name).collect();
    rows.find(|entry| [entry.name, AUTO].contains(&name)).ok_or_else(|| {
        let costs = if is_layers { "folders of measured layers" } else { "costs of the model" };
        let message = format!("`{name}` does not plan on {costs}");
        Diagnostic::usage("not-for-training", message)
            .hint(format!("leave it out, or name {}", names.join(" or ")))
    })
}

/// Refuses flags that a search over degrees has no use for.
pub(crate) fn check(request: &PlanRequest) -> Result<(), Diagnostic> {
    if !plans_training(request.recipe()) && request.recipe() != AUTO {
        let asks = fields::asks_for_training(&request.problem.given);
        let asks = asks.map_or_else(String::new, |flag| format!(", which `{flag}` asks for"));
        let message = format!("`{}` does not plan training runs{asks}", request.recipe());
        return Err(Diagnostic::usage("not-for-training", message)
            .hint(format!("leave --algorithm out, or name {ALGORITHM}")));
    }
    check_workload(request)?;
    recommended::applies(request)?;
    match request.objective {
        None => Ok(()),
        Some(name) if name == ObjectiveName::default() || name.is_of_energy() => Ok(()),
        Some(_) => {
            let message = "`--objective` has no effect on a training run";
            Err(Diagnostic::usage("not-for-training", message)
                .hint("leave it out, or make it energy-per-token or cost-per-token"))
        }
    }
}

pub(crate) fn plan(request: &PlanRequest, run: &mut Run<'_>) -> CommandResult {
    let Some(read) = read(request, run)? else { return Ok(interrupted(run.page)) };
    let watch = run.ending(request);
    let run = &mut Run { watch: &watch, follower: run.follower, ..*run };
    if read.0.layers.is_some() {
        return plan_layered::plan(request, read, run);
    }
    let Some(searched) = search(request, read, None, run)? else {
        return Ok(interrupted(run.page));
    };
    searched.answer(request, None, run)
}

/// What is asked, and what is searched for it; `None` where someone interrupted the reading.
pub(crate) fn read(
    request: &PlanRequest,
    run: &Run<'_>,
) -> Result<Option<(Setting, Space)>, Diagnostic> {
    run.read(request, |request| {
        let setting = replaced::setting(request)?;
        row(request.recipe(), &setting)?;
        let space = setting.space()?;
        Ok((setting, space))
    })
}

/// Searches, and tells of better plans as they come.
fn searched(
    (setting, is_simplest): (&Setting, bool),
    free: &Space,
    how: (Search, &Options),
    tell: &dyn Fn(Told),
) -> Planned {
    let by_count = setting.request.devices.is_some() || setting.request.spares.is_some();
    Known::of(setting).with(|evidence| {
        let evidence = is_simplest.then_some(evidence);
        let question = Asked { free, launcher: setting.launcher(), by_count, evidence };
        search::plan(&setting.pricing(), &question, how, &|plan, bound_s, launcher| {
            let bound = Nanos((bound_s * 1e9).round() as u64);
            let offload = plan.configuration.offload;
            tell(Better { plan: (plan.clone(), launcher), step: plan.step, bound, offload });
        })
    })
}

/// The same to its end, for nobody who follows it.
///
/// # Errors
/// Those of [`row`].
pub(super) fn found(
    (setting, is_simplest): (&Setting, bool),
    space: &Space,
    options: &Options,
) -> Result<Planned, Diagnostic> {
    let door = row(AUTO, setting)?.door::<Card>();
    let solve = door.map_or(solve_observed as Search, |door| door.0);
    Ok(searched((setting, is_simplest), space, (solve, options), &|_| {}))
}

/// A search by the cost model that has ended.
pub(crate) struct Searched {
    setting: Setting,
    space: Space,
    options: Options,
    planned: Planned,
    followed: Followed<Planned, (Judged, Option<Capabilities>)>,
    elapsed: Duration,
}

/// Searches by the cost model; what is told of on the way states no bound above `most`. `None` where
/// someone interrupted it before there was a plan.
///
/// # Errors
/// `no-plan` where the time ended before there was one.
pub(crate) fn search(
    request: &PlanRequest,
    (mut setting, space): (Setting, Space),
    most: Option<Nanos>,
    run: &mut Run<'_>,
) -> Result<Option<Searched>, Diagnostic> {
    let start = Instant::now();
    let options = Options::within(&request.limits.within(run.watch, None));
    let is_simplest = recommended::applies(request)?;
    let (owned, free, given) = (setting.clone(), space.clone(), options.clone());
    let solve = row(request.recipe(), &setting)?
        .door::<Card>()
        .map_or(solve_observed as Search, |door| door.0);
    let work = move |tell: &dyn Fn(Told)| {
        let most = most.unwrap_or(Nanos(u64::MAX));
        let tell = |better: Told| tell(Told { bound: better.bound.min(most), ..better });
        searched((&owned, is_simplest), &free, (solve, &given), &tell)
    };
    let document_of = |better: &Told| {
        let setting = setting.keeping(better.offload).on_the_way();
        document::plan(&setting, &better.plan.0, better.bound.min(better.step))
    };
    let mut followed = followed::follow((ALGORITHM, request), run, work, &document_of);
    let cut_short = |better: &Told, stop| searched::cut_short(better, &space, stop);
    let Some(planned) = followed.settled(run.watch, cut_short)? else { return Ok(None) };
    setting.offload = planned.offload();
    let elapsed = start.elapsed();
    Ok(Some(Searched { setting, space, options, planned, followed, elapsed }))
}

impl Searched {
    /// Step time of the fastest plan, where there is one.
    pub(crate) fn best(&self) -> Option<Nanos> {
        self.planned.settled.found.plans.first().map(|best| best.step)
    }

    /// The plan that a launcher runs.
    pub(super) fn launched(&self) -> Option<Launched> {
        Launched::of(&self.planned, String::new())
    }

    /// What no plan is below.
    pub(crate) fn bound(&self) -> Nanos {
        Nanos((self.planned.settled.found.bound_s * 1e9).round() as u64)
    }

    /// What a step takes on one device with memory for all of it, nothing recomputed.
    pub(crate) fn on_one_device(&self, micro_batch: u64) -> Option<Nanos> {
        let pricing = Pricing { limit: None, ..self.setting.pricing() };
        let pins = Pins {
            micro_batch: Some(micro_batch),
            recompute: RecomputeRule::None,
            ..Pins::default()
        };
        let space = Space { devices: vec![1], pins, ..self.space.clone() };
        let found = solve_observed(&pricing, &space, &self.options, &mut |_, _| {});
        found.plans.first().map(|plan| plan.step)
    }

    /// Samples of one step.
    pub(crate) fn global_batch(&self) -> u64 {
        self.setting.global_batch
    }

    /// The answer, with what is known of operator placements.
    ///
    /// # Errors
    /// Those of the judge and of keeping; `memory-exceeded` and the like where nothing fits.
    pub(crate) fn answer(
        self,
        request: &PlanRequest,
        beside: Option<Beside>,
        run: &mut Run<'_>,
    ) -> CommandResult {
        let bound = self.bound();
        let Self { mut setting, space, options, planned, mut followed, elapsed } = self;
        let Planned { settled: Settled { found, space: searched, .. }, front, wider, choice } =
            planned;
        let Some(fastest) = found.plans.first() else {
            let is_searched = beside.as_ref().is_none_or(|beside| beside.unsearched.is_none());
            let is_proved = found.is_proved_empty() && is_searched;
            return followed::none((found.stop, found.counts.n_judged), run.page, || {
                match run.watch.is_cancelled() {
                    true => Ok(interrupted(run.page)),
                    false => {
                        let found = (&found, is_proved, &options);
                        let page = request.all.then_some(run.page);
                        nothing_fits::answer(&setting, &space, found, page)
                    }
                }
            });
        };
        let elapsed = (!request.limits.deterministic).then_some(elapsed);
        followed.ended((fastest.step, bound));
        let best = choice.simpler().map_or(fastest, |recommended| &recommended.plan);
        let made = (&best.plan()?, (best.configuration.order.name(), bound));
        let files = followed::files(request, &mut setting, made, &followed.trace);
        let beside_best = (front, wider);
        let mut answer =
            Answer::new(&setting, (&found, &choice, searched), beside_best, (elapsed, &options))?;
        answer.beside = beside;
        ask_further(&mut answer, (request, run));
        let plan = document::plan(&setting, answer.best, answer.joint_bound())?;
        let bytes = if run.follower.takes_plan() { bytes(&plan)? } else { Vec::new() };
        let written = run.follower.planned(bytes, files)?;
        match run.page.format {
            Format::Text => {
                let is_whole = request.all;
                run.page.screen(answer.screen(&plan, (written, request)));
                if is_whole {
                    run.page.text("\n");
                    answer.print(run.page);
                    losses::print(&plan, run.page);
                    energy::told(&plan, run.page);
                }
            }
            Format::Json => run.page.serialized(&document::report(&answer, plan))?,
        }
        Ok(Exit::DONE)
    }
}

/// Who runs the plan, and the plans that people ask for first: within the limits. A candidate of a search over
/// sets of devices is not compared with others.
fn ask_further(answer: &mut Answer<'_>, (request, run): (&PlanRequest, &Run<'_>)) {
    let within = || request.limits.within(run.watch, None);
    let (setting, best, elapsed) = (answer.setting, answer.best, answer.elapsed);
    if request.executor.is_none_or(|executor| executor == Executor::ANY) {
        let request = (!run.is_tried).then_some(request);
        answer.runs_on = runnable::runners(request, (setting, best), (&within(), elapsed));
    }
    // Beside a search that was stopped they would only show what it missed.
    if run.page.format == Format::Text && !run.is_tried && answer.stop.is_complete() {
        let shown = answer.others.iter().chain(&answer.front);
        answer.usual = usual::plans(setting, best, shown, (&within(), &answer.counts, elapsed));
    }
}
