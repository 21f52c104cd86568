//! `plan` of a training run on nodes of different kinds.

use std::time::{Duration, Instant};

use cost_model::runs::forms::hosts;
use documents::plan::PlanDocument;
use documents::report::training::{TrainingReportDocument, TrainingRunDocument};
use ir::diagnostic::Diagnostic;
use ir::plan::Plan;
use ir::plan_kind::PlanKind;
use ir::units::{Bytes, Nanos};
use planner::run::{Limits, StopReason};
use planner::training::unlike_nodes::{Found, Judged};

use super::followed::{self, Followed, follow, none};
use crate::answer::energy;
use crate::answer::exit::{CommandResult, Exit};
use crate::answer::nothing_fits::exceeded;
use crate::answer::page::{Format, Page};
use crate::inputs::load;
use crate::inputs::run::edges;
use crate::inputs::run::hardware;
use crate::inputs::run::setting::Setting;
use crate::kinds::training::plan as equal;
use crate::kinds::training::runners::Launched;
use crate::kinds::training::searched::Better;
use crate::kinds::training::unlike::{self, ALGORITHM, SCHEDULE};
use crate::kinds::training::{self, document, export, losses, replaced, usual};
use crate::request::{AUTO, PlanRequest};
use crate::search::run::bytes;
use crate::search::run::{Run, interrupted};
use crate::search::within::Within;

/// What a request for a training run asks of this search.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Nothing.
    Nothing,
    /// A plan.
    Plan,
    /// A plan, if it is better than one of equal stages.
    Better,
}

/// What a request for a training run asks of this search.
pub(crate) fn asked(request: &PlanRequest) -> Asked {
    let recipe = request.recipe();
    if recipe == ALGORITHM {
        return Asked::Plan;
    }
    if ![AUTO, training::ALGORITHM].contains(&recipe) || request.is_on_layers() {
        return Asked::Nothing;
    }
    let path = request.problem.cluster.as_deref();
    let problem = &request.problem;
    let read = path.and_then(|path| load::machines(path, (&problem.lost, &problem.without)).ok());
    let Some(load::Machines { cluster, .. }) = read else { return Asked::Nothing };
    let devices = request.training.devices.as_ref().map(|range| u64::from(*range.end()));
    let all = devices.unwrap_or(cluster.devices.len() as u64);
    // What equal stages can't be laid on: several kinds, hosts of several sizes.
    let is_unlike = cluster.kind_names().len() > 1
        || hosts::check(&cluster, all).is_err_and(|error| error.code == "unlike-hosts");
    let is_honoured = || Setting::of(request).is_ok_and(|setting| check(request, &setting).is_ok());
    match (recipe == AUTO, is_unlike) {
        (false, false) => Asked::Nothing,
        // Ops of a graph can be placed instead.
        (true, true) if !importers::is_config(&request.model) && !is_honoured() => Asked::Nothing,
        // What is left of hosts that were equal: as many of them as are equal yet, too.
        (_, true) if request.training.replace.is_some() && cluster.kind_names().len() <= 1 => {
            if is_honoured() {
                Asked::Better
            } else {
                Asked::Nothing
            }
        }
        (_, true) => Asked::Plan,
        // Equal stages take the least memory and the slowest way for all.
        (true, false) => {
            let may_be = hosts::unlike_memory(&cluster).is_some()
                || hosts::is_far_apart(&cluster)
                || request.training.spares.is_some()
                || !request.training.lost.is_empty()
                || !request.allow_lossy.is_empty();
            if may_be && is_honoured() { Asked::Better } else { Asked::Nothing }
        }
    }
}

/// Refuses what no such plan honours.
fn check(request: &PlanRequest, setting: &Setting) -> Result<(), Diagnostic> {
    let stated = &setting.request;
    let given = [
        ("--micro-batch", request.problem.model.micro_batch.is_some()),
        ("--pin", !stated.pin.is_empty()),
        ("--devices", stated.devices.is_some()),
        ("--for", stated.executor.is_some()),
        ("--expert-skew", stated.expert_skew.is_some()),
    ];
    if let Some((flag, _)) = given.into_iter().find(|(_, is_given)| *is_given) {
        let message = format!("`{flag}` is not honoured where stages have devices of their own");
        return Err(Diagnostic::usage("not-for-unlike-nodes", message).hint(
            "leave it out, or plan on equal nodes: --lost leaves out a device, host or kind",
        ));
    }
    for target in &request.exports {
        exporters::find(PlanKind::Training, target)?;
        if !export::is_picture(target) {
            let message = format!(
                "`{target}` can express only some plans on heterogeneous nodes, known once there is a plan"
            );
            return Err(Diagnostic::usage("not-expressible", message).hint(
                "write the plan with -o and `export` it, or draw it with --export svg or trace",
            ));
        }
    }
    let model = &setting.model;
    let mut parts = model.groups.iter().filter_map(|group| group.part.as_ref());
    if model.has_experts() || parts.any(|part| !part.tied.is_empty()) {
        let message = "models of experts, and graphs whose parts share weights, are not planned on nodes \
                       that differ";
        return Err(Diagnostic::usage("not-for-unlike-nodes", message)
            .hint("name a cluster of equal nodes"));
    }
    Ok(())
}

/// Why edges of what a request asks for can send no part.
///
/// # Errors
/// Always one.
pub(crate) fn no_edges(request: &PlanRequest) -> CommandResult {
    check(request, &Setting::of(request)?)?;
    let message =
        "`--allow-lossy` is for edges of pipelines whose stages have devices of their own";
    Err(Diagnostic::usage("not-for-training", message)
        .hint(format!("leave it out, or add --algorithm {ALGORITHM}")))
}

pub(crate) fn plan(request: &PlanRequest, run: &mut Run<'_>) -> CommandResult {
    let Some(mut setting) = run.read(request, replaced::setting)? else {
        return Ok(interrupted(run.page));
    };
    check(request, &setting)?;
    if request.training.fastest {
        let message = "`--fastest` is not honoured where stages have devices of their own";
        return Err(Diagnostic::usage("not-for-unlike-nodes", message)
            .hint("leave it out: the fastest plan that is found is given"));
    }
    hardware::retain_warnings(&mut setting.warnings);
    if request.recipe() == training::ALGORITHM {
        let message =
            "search-3d lays equal stages on equal nodes; as these differ, unlike-nodes searched";
        setting.warnings.push(Diagnostic::warning("another-search", message));
    }
    let watch = run.ending(request);
    let run = &mut Run { watch: &watch, follower: run.follower, ..*run };
    match Searched::of(request, setting, run)? {
        Some(searched) => searched.answer(request, None, run),
        None => Ok(interrupted(run.page)),
    }
}

/// The better of equal stages and of those with devices of their own.
pub(crate) fn better(request: &PlanRequest, run: &mut Run<'_>) -> CommandResult {
    let Some(read) = equal::read(request, run)? else { return Ok(interrupted(run.page)) };
    let watch = run.ending(request);
    let run = &mut Run { watch: &watch, follower: run.follower, ..*run };
    let mut setting = read.0.clone();
    let Some(equal) = equal::search(request, read, None, run)? else {
        return Ok(interrupted(run.page));
    };
    hardware::retain_warnings(&mut setting.warnings);
    let below = equal.best();
    let follower = &mut Within { inner: run.follower, most: None, below };
    let inner = &mut Run { follower, ..*run };
    // Where there is none in time, the other one is the answer.
    let found = Searched::of(request, setting, inner).ok().flatten();
    let best = |searched: &Searched| searched.found.best.as_ref().map(|best| best.step);
    match found.filter(|searched| {
        best(searched).is_some_and(|step| below.is_none_or(|below| step < below))
    }) {
        Some(searched) => searched.answer(request, equal.launched(), run),
        None => equal.answer(request, None, run),
    }
}

/// A search that has ended.
struct Searched {
    setting: Setting,
    found: Found,
    followed: Followed<Found, Judged>,
    elapsed: Duration,
}

impl Searched {
    /// Searches; `None` where someone interrupted it before there was a plan.
    ///
    /// # Errors
    /// `no-plan` where the time ended before there was one.
    fn of(
        request: &PlanRequest,
        setting: Setting,
        run: &mut Run<'_>,
    ) -> Result<Option<Self>, Diagnostic> {
        let start = Instant::now();
        let limits = request.limits.within(run.watch, None);
        let stated = &request.limits;
        let is_stated = stated.time_limit.is_some() || stated.node_budget.is_some();
        let (owned, given) = (setting.clone(), limits.clone());
        let work = move |tell: &dyn Fn(Better<Judged>)| {
            unlike::found(&owned, (&given, is_stated), &mut |plan, bound| {
                let (step, offload) = (plan.step, plan.offload);
                tell(Better { plan: plan.clone(), step, bound, offload });
            })
        };
        let on_the_way = setting.on_the_way();
        let document_of = |better: &Better<Judged>| {
            let made = (ALGORITHM, better.bound.min(better.step));
            document::of(&on_the_way.keeping(better.offload), &better.plan.plan, SCHEDULE, made)
        };
        let mut followed = follow((ALGORITHM, request), run, work, &document_of);
        let cut_short = |better: &Better<Judged>, stop| {
            let best = Some(better.plan.clone());
            Found { best, bound: better.bound, stop, n_nodes: 0, n_judged: 0 }
        };
        let Some(found) = followed.settled(run.watch, cut_short)? else { return Ok(None) };
        let mut searched = Self { setting, found, followed, elapsed: start.elapsed() };
        searched.stand_in();
        Ok(Some(searched))
    }

    /// Takes the running plan with others in the places of lost devices, where no plan that was found is
    /// as fast.
    fn stand_in(&mut self) {
        let setting = &self.setting;
        let judged = |plan: &Plan| {
            let run = &plan.parallelism;
            let batch = run.n_micro_batches.saturating_mul(run.micro_batch);
            let step = setting.report(plan, setting.limit).ok()?.step_time;
            let offload = setting.offload;
            (batch == setting.global_batch).then(|| Judged { plan: plan.clone(), step, offload })
        };
        let running = setting.stand_in.as_deref().map(|plan| edges::kept(plan, setting));
        let Some(stand_in) = running.as_ref().and_then(judged) else { return };
        if self.found.best.as_ref().is_some_and(|best| best.step <= stand_in.step) {
            return;
        }
        let message = "the running plan goes on with other devices in the places of those that are lost: no \
                       plan of the space that was searched is as fast";
        self.setting.warnings.push(Diagnostic::warning("stand-in", message));
        self.found.bound = self.found.bound.min(stand_in.step);
        self.found.best = Some(stand_in);
    }

    /// The answer; `equal` is the plan of equal stages that a launcher runs, where there is one.
    fn answer(
        self,
        request: &PlanRequest,
        equal: Option<Launched>,
        run: &mut Run<'_>,
    ) -> CommandResult {
        let Self { mut setting, found, mut followed, elapsed } = self;
        let Some(mut best) = found.best.clone() else {
            return none((found.stop, found.n_judged), run.page, || Err(nothing_fits(&setting)));
        };
        setting.offload = best.offload;
        if let Some(plan) = losses::arranged(&setting, &best.plan, best.step) {
            best.plan = plan;
        }
        followed.ended((best.step, found.bound));
        let elapsed = (!request.limits.deterministic).then_some(elapsed.as_secs_f64());
        let made = (&best.plan, (SCHEDULE, found.bound));
        let files = followed::files(request, &mut setting, made, &followed.trace);
        let plan = document::of(&setting, &best.plan, SCHEDULE, (ALGORITHM, found.bound))?;
        let written = run.follower.planned(bytes(&plan)?, files)?;
        setting.warnings.extend(edges::warnings(&setting, &best.plan));
        let limits = request.limits.within(run.watch, None);
        answer(
            (&setting, &best),
            &found,
            (plan, elapsed),
            (written, request, equal),
            (run.page, &limits),
        )?;
        Ok(Exit::DONE)
    }
}

/// Judges the plan again and tells of it.
fn answer(
    (setting, best): (&Setting, &Judged),
    found: &Found,
    (plan, elapsed): (PlanDocument, Option<f64>),
    (written, request, equal): (Vec<String>, &PlanRequest, Option<Launched>),
    (page, limits): (&Page, &Limits),
) -> Result<(), Diagnostic> {
    let report = setting.confirmed(&best.plan, best.step)?;
    if page.format == Format::Text {
        // Spares, lost devices and limits of boards are of one set of devices.
        let is_free = request.training.spares.is_none()
            && request.training.replace.is_none()
            && !energy::is_decided_by(&setting.request);
        let of_kinds = is_free.then(|| usual::of_each_kind(request, setting, limits));
        let (instead, of_kind) = of_kinds.unwrap_or_default();
        // Edges that send a part are those of stages with devices of their own.
        let launched = of_kind.or(equal).filter(|_| request.allow_lossy.is_empty());
        let found = (found, instead, launched);
        let mut screen = unlike::screen((setting, best), found, (&plan, &report));
        (screen.written, screen.is_whole, screen.on) = (written, request.all, request.on());
        screen.next(|plan| format!("meshwright explain {plan}"), "where each second goes");
        page.screen(screen);
    }
    if page.format == Format::Text && request.all {
        page.text("\n");
        edges::print(&plan, page);
        losses::print(&plan, page);
        energy::told(&plan, page);
    }
    let peak = report.ranks.iter().map(|rank| rank.peak.bytes).max().unwrap_or(0);
    page.serialized(&told((setting, best), found, (plan, peak), elapsed))
}

/// Why no plan was found: impossible where the weights alone are more than all devices hold.
fn nothing_fits(setting: &Setting) -> Diagnostic {
    let (least, room) = (setting.least_resident(), setting.room_of_all());
    if let Some(room) = room.filter(|room| least > *room) {
        let what =
            if setting.request.no_offload { "weights and optimizer states" } else { "weights" };
        let message =
            format!("no plan fits: {what} alone take {least}; all devices together have {room}");
        let lacks = Bytes(least.get() - room.get());
        return exceeded(true, message)
            .fact("need", least)
            .fact("have", room)
            .hint(format!("add devices or memory: at least {lacks} in all"));
    }
    let hint = match setting.request.max_memory_bytes {
        Some(_) => "raise --max-memory-per-device, or shorten samples with --sequence-length",
        None => "shorten samples with --sequence-length, lower --memory-margin, or add devices",
    };
    let message = "no plan was found that fits: pipelines with separate devices for each stage do not; \
                   other plans were not searched";
    exceeded(false, message).hint(hint)
}

/// What `plan --json` prints.
fn told(
    (setting, best): (&Setting, &Judged),
    found: &Found,
    (plan, peak_bytes): (PlanDocument, u64),
    elapsed_s: Option<f64>,
) -> TrainingReportDocument {
    let meshes = best.plan.partition.stages.iter().filter_map(|stage| stage.mesh.as_ref());
    let n_devices = meshes.map(|mesh| mesh.devices.len() as u64).sum();
    let degrees = &best.plan.parallelism;
    let proved = if found.is_optimum() { StopReason::ProvedOptimal } else { found.stop };
    let counts = [("nodes", found.n_nodes), ("judged", found.n_judged)];
    let words = format!(
        "{} stages with devices of their own, {} x {} samples",
        degrees.pipeline, degrees.n_micro_batches, degrees.micro_batch
    );
    let figures = setting.figures(words, n_devices, (best.step, peak_bytes));
    let best_document = TrainingRunDocument { model_flops_utilisation: None, ..figures };
    let bound = (Nanos(found.bound.0.min(best.step.0)), proved);
    let stopped_early = !found.is_optimum();
    TrainingReportDocument {
        is_optimum: !stopped_early,
        stopped_early,
        stop_reason: proved.name().to_owned(),
        ..document::searched(setting, (plan, best_document), bound, (&counts, elapsed_s))
    }
}
