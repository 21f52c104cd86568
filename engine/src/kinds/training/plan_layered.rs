//! `plan` of a training run on measured layers (`--profile` names a folder).

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use cost_model::runs::forms::model::Offload;
use cost_model::runs::measured::LayerPricing;
use ir::diagnostic::Diagnostic;
use ir::units::Nanos;
use planner::run::{Control, Limits, StopReason};
use planner::training::doors::Layers;
use planner::training::order::Order;
use planner::training::per_layer::{Counts, Found, Judged, Options, Search, solve_observed};
use planner::training::search_3d::space::Space;

use super::followed::{self, follow, none};
use crate::answer::exit::{CommandResult, Exit};
use crate::answer::page::Format;
use crate::inputs::run::setting::Setting;
use crate::kinds::training::document;
use crate::kinds::training::layered::found::Answer;
use crate::kinds::training::layered::{ALGORITHM, nothing_fits, pricing};
use crate::kinds::training::plan::row;
use crate::kinds::training::searched::Better;
use crate::request::PlanRequest;
use crate::search::run::bytes;
use crate::search::run::{Run, interrupted};

/// Searches with optimizer states on the devices and, where that is allowed, on the hosts; the bound
/// holds for both.
fn searched(
    setting: &Setting,
    space: &Space,
    (options, search): (&Options, Search),
    tell: &dyn Fn(Better<Judged>),
) -> Result<(Found, Offload), Diagnostic> {
    let on = |offload| Ok::<_, Diagnostic>(LayerPricing { offload, ..pricing(setting)? });
    let mut floor = Nanos(u64::MAX);
    if space.pins.may_offload {
        // A search that ends before its first plan says what no plan is below.
        let none = Limits { nodes: Some(0), ..Limits::default() };
        let none = Options { control: Arc::new(Control::new(&none)), ..options.clone() };
        floor = search(&on(Offload::Optimizer)?, space, &none, &mut |_, _| {})?.bound;
    }
    let known = Cell::new(Nanos(u64::MAX));
    let run = |offload, floor: Nanos| {
        let mut observe = |plan: &Judged, bound: Nanos| {
            if plan.step < known.get() {
                known.set(plan.step);
                let bound = bound.min(floor);
                tell(Better { plan: plan.clone(), step: plan.step, bound, offload });
            }
        };
        search(&on(offload)?, space, options, &mut observe).map(|found| (found, offload))
    };
    let on_devices = run(Offload::Nothing, floor)?;
    let settled = match space.pins.may_offload {
        false => on_devices,
        true => {
            let bound = on_devices.0.bound;
            better(on_devices, run(Offload::Optimizer, bound)?)
        }
    };
    let found = &settled.0;
    let is_measured = found.counts.n_unmeasured < found.counts.n_shapes;
    match &found.lacking {
        Some(lacking) if found.best.is_none() && found.stop.is_complete() && !is_measured => {
            Err(lacking.clone())
        }
        _ => Ok(settled),
    }
}

/// The better of two searches, the first where they are equal, with what holds for both.
fn better(first: (Found, Offload), second: (Found, Offload)) -> (Found, Offload) {
    let step = |found: &Found| found.best.as_ref().map_or(Nanos(u64::MAX), |best| best.step);
    let bound = first.0.bound.min(second.0.bound);
    let stop = if first.0.stop.is_complete() { second.0.stop } else { first.0.stop };
    let (found, offload) = if step(&second.0) < step(&first.0) { second } else { first };
    (Found { bound, stop, ..found }, offload)
}

/// What is known of a search that told of a plan and did not end.
fn cut_short(better: &Better<Judged>, stop: StopReason) -> Found {
    Found {
        best: Some(better.plan.clone()),
        bound: better.bound,
        stop,
        counts: Counts::default(),
        others: Vec::new(),
        lacking: None,
    }
}

pub(crate) fn plan(
    request: &PlanRequest,
    (mut setting, space): (Setting, Space),
    run: &mut Run<'_>,
) -> CommandResult {
    let start = Instant::now();
    let limits = request.limits.within(run.watch, None);
    let options = Options { control: Arc::new(Control::new(&limits)), ..Options::default() };
    let solve = row(request.recipe(), &setting)?
        .door::<Layers>()
        .map_or(solve_observed as Search, |door| door.0);
    let (owned, among, limits) = (setting.clone(), space.clone(), options.clone());
    let work =
        move |tell: &dyn Fn(Better<Judged>)| searched(&owned, &among, (&options, solve), tell);
    let document_of = |better: &Better<Judged>| {
        let setting = setting.keeping(better.offload);
        let made_by = (ALGORITHM, better.bound.min(better.step));
        document::of(&setting, &better.plan.plan()?, Order::OneFOneB.name(), made_by)
    };
    let mut followed = follow((ALGORITHM, request), run, work, &document_of);
    let cut_short = |better: &Better<Judged>, stop| Ok((cut_short(better, stop), better.offload));
    let Some(settled) = followed.settled(run.watch, cut_short)? else {
        return Ok(interrupted(run.page));
    };
    let (found, offload) = settled?;
    setting.offload = offload;
    let Some(best) = &found.best else {
        return none((found.stop, found.counts.n_judged), run.page, || {
            let counts = &found.counts;
            let is_proved = counts.n_unmeasured + counts.n_too_large == 0;
            let page = request.all.then_some(run.page);
            nothing_fits::answer(&setting, &space, (&limits, is_proved), page)
        });
    };
    let elapsed = (!request.limits.deterministic).then(|| start.elapsed());
    followed.ended((best.step, found.bound));
    let plan = best.plan()?;
    let made = (&plan, (Order::OneFOneB.name(), found.bound));
    let files = followed::files(request, &mut setting, made, &followed.trace);
    let answer = Answer::new(&setting, best, &found, elapsed)?;
    let document = document::of(&setting, &plan, Order::OneFOneB.name(), (ALGORITHM, found.bound))?;
    let written = run.follower.planned(bytes(&document)?, files)?;
    let is_whole = request.all;
    match run.page.format {
        Format::Text => {
            run.page.screen(answer.screen(written, request));
            if is_whole {
                run.page.text("\n");
                answer.print(run.page);
            }
        }
        Format::Json => run.page.serialized(&answer.document(document))?,
    }
    Ok(Exit::DONE)
}
