//! What a plan of a training run states, derived again from its degrees, its stages and the name of
//! its schedule, on its model and cluster.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use cost_model::runs::forms::model::{Offload, expert_overlap, shape};
use cost_model::runs::held::holdings;
use cost_model::runs::measured::LayerPricing;
use documents::plan::PlanDocument;
use ir::card::{Recompute, SequenceParallel, ZeroStage};
use ir::diagnostic::{Blame, Diagnostic};
use ir::grid::Grid;
use ir::plan::{Mesh, Parallelism, Plan};
use ir::schedule::Schedule;
use ir::units::Nanos;
use planner::run::{Control, Limits, StopReason};
use planner::training::order::Order;
use planner::training::search_3d::space::{Capabilities, Space};
use planner::training::{per_layer, search_3d};

use super::replay::Planned;
use super::{ALGORITHM, document, layered, unlike};
use crate::answer::differences::{difference, of_plans, within as within_itself};
use crate::answer::energy::above_cap;
use crate::answer::violations::unchecked;
use crate::inputs::run::capabilities;
use crate::inputs::run::edges;
use crate::inputs::run::pins;
use crate::inputs::run::setting::{MOST_PASSES, MOST_SAMPLES, Setting};

/// How long it may try to prove a stated bound again.
const LONGEST: Duration = Duration::from_secs(60);

/// The name of a grid that no generator made.
pub(super) const CUSTOM: &str = "custom";

/// Every statement of a plan but its bound that is wrong: shapes that the model or the cluster can't
/// run, pins that it does not keep, figures, and the grid that its schedule's name stands for.
pub(super) fn wrong(on: &Planned) -> Vec<Diagnostic> {
    let document = &on.document;
    let mut found = shapes(on);
    match derived(document, on, &mut found) {
        Ok(derived) => found.extend(of_plans(document, &derived)),
        Err(error) => found.push(error),
    }
    found.extend(request(on));
    found.extend(edges::broken(&on.setting, &on.plan));
    let energy = document.energy.as_ref();
    found.extend(energy.and_then(|energy| above_cap(energy, &document.request)));
    found
}

/// What is wrong with a plan whatever it was made for: shapes, a schedule that does not exist or is
/// not the grid that is stated, figures that contradict each other.
pub(super) fn alone(on: &Planned) -> Vec<Diagnostic> {
    let mut found = shapes(on);
    let schedule = on.training.schedule.as_str();
    if schedule != CUSTOM {
        match generated(schedule, &canonical(&on.plan.parallelism, &on.setting), &on.plan) {
            Ok(grid) if on.plan.schedule.grid.as_ref() == Some(&grid) => {}
            Ok(_) => found.push(difference("schedule.grid", "another one", schedule)),
            Err(error) => found.push(error),
        }
    }
    found.extend(on.document.cost.iter().flat_map(within_itself));
    found
}

/// Puts the plan on so many micro-batches of a replica: the same degrees, stages and schedule.
///
/// # Errors
/// `not-replayed` for a schedule that has no name, `global-batch` for more samples than are planned,
/// and those of the schedule.
pub(super) fn resize(on: &mut Planned, n_micro_batches: u64) -> Result<(), Diagnostic> {
    let mut degrees = on.plan.parallelism.clone();
    degrees.n_micro_batches = n_micro_batches;
    let schedule = on.training.schedule.as_str();
    if schedule == CUSTOM {
        let message = "the plan's schedule was made for its own micro-batches and is no other's";
        return Err(Diagnostic::usage("not-replayed", message).hint("plan again with that batch"));
    }
    let each = degrees.micro_batch.saturating_mul(u64::from(degrees.data));
    let samples = each.saturating_mul(n_micro_batches);
    if samples > MOST_SAMPLES {
        let message = format!("{samples} samples of one step, at most {MOST_SAMPLES}");
        return Err(Diagnostic::usage("global-batch", message).hint("give fewer micro-batches"));
    }
    let stages = u64::from(degrees.pipeline) * u64::from(degrees.virtual_stages);
    let n_passes = stages.saturating_mul(n_micro_batches).saturating_mul(2);
    if n_passes > MOST_PASSES {
        let message =
            format!("a schedule of {n_passes} passes, at most {MOST_PASSES} are replayed");
        return Err(Diagnostic::usage("too-many-passes", message).hint("give fewer micro-batches"));
    }
    let grid = generated(schedule, &canonical(&degrees, &on.setting), &on.plan)?;
    on.is_mismatched |= degrees != on.plan.parallelism;
    on.plan.parallelism = degrees;
    on.plan.schedule.grid = Some(grid);
    on.setting.global_batch = samples;
    Ok(())
}

/// Degrees that the model or the cluster can't have.
fn shapes(on: &Planned) -> Vec<Diagnostic> {
    let degrees = &on.plan.parallelism;
    let broken = shape::broken(&on.setting.model, degrees, on.setting.global_batch);
    let illegal = |rule| Diagnostic { blame: Blame::IllegalPlan, ..rule };
    let mut found: Vec<Diagnostic> = broken.into_iter().map(illegal).collect();
    if let Some(why) = degrees.expert_overlap.then(|| no_overlap(&on.setting, &on.plan)).flatten() {
        let message = format!("exchanges of experts can't run beside other work: {why}");
        let error = Diagnostic::error(Blame::IllegalPlan, "expert-overlap", message);
        found.push(error.hint("plan with `--pin expert-overlap=off`"));
    }
    let (n, has) = (shape::n_devices(degrees), on.setting.cluster.devices.len() as u64);
    if n > has {
        let message = format!("the plan uses {n} devices, the cluster has {has}");
        found.push(
            Diagnostic::error(Blame::IllegalPlan, "too-few-devices", message)
                .fact("stated", n)
                .fact("derived", has),
        );
    }
    found
}

/// Why exchanges of experts can't run beside the work of another micro-batch.
pub(super) fn no_overlap(setting: &Setting, plan: &Plan) -> Option<&'static str> {
    let degrees = &plan.parallelism;
    let obstacle = expert_overlap::obstacle(
        &setting.stack,
        (setting.numbers.dtype, setting.model.n_predictions),
        degrees,
    );
    let looped = "a pipeline whose ranks hold one chunk runs no two passes together";
    let recomputed = "blocks are recomputed";
    obstacle
        .or_else(|| (!expert_overlap::runs_together(degrees)).then_some(looped))
        .or_else(|| (!expert_overlap::keeps_blocks(&plan.partition.stages)).then_some(recomputed))
}

/// The document that the same degrees, stages and schedule make. A schedule that does not exist is
/// found to be wrong, and the rest is derived from the grid that is stated.
fn derived(
    document: &PlanDocument,
    on: &Planned,
    found: &mut Vec<Diagnostic>,
) -> Result<PlanDocument, Diagnostic> {
    let schedule = on.training.schedule.as_str();
    let parallelism = canonical(&on.plan.parallelism, &on.setting);
    let made = match schedule {
        CUSTOM => None,
        name => match generated(name, &parallelism, &on.plan) {
            Ok(grid) => Some(grid),
            Err(error) => {
                found.push(error);
                None
            }
        },
    };
    let grid = made.or_else(|| on.plan.schedule.grid.clone());
    let mut plan =
        Plan { parallelism, schedule: Schedule { grid, ..Schedule::default() }, ..on.plan.clone() };
    // What is said of each block is all there is.
    let is_alone = per_layer::shapes::shares_nothing(&plan.parallelism);
    for stage in plan.partition.stages.iter_mut().filter(|stage| !stage.each.is_empty()) {
        stage.recompute = Recompute::None;
        for block in stage.each.iter_mut().filter(|_| is_alone) {
            block.zero = ZeroStage::None;
        }
    }
    let algorithm = match on.setting.layers {
        _ if plan.partition.has_own_devices() => unlike::ALGORITHM,
        Some(_) => layered::ALGORITHM,
        None => ALGORITHM,
    };
    let bound = document.cost.as_ref().map_or(0, |cost| cost.bound_ns);
    document::of(&on.setting, &plan, schedule, (algorithm, Nanos(bound)))
}

/// Degrees without settings that say nothing: what replicas share out where there is one, which axis
/// lies inside where there is one, how tensor ranks split a sequence where there is one.
fn canonical(degrees: &Parallelism, setting: &Setting) -> Parallelism {
    let mut degrees = degrees.clone();
    if degrees.data == 1 || degrees.pipeline == 1 {
        degrees.mesh = Mesh::TpCpDpPp;
    }
    if degrees.tensor == 1 {
        degrees.sequence = SequenceParallel::Off;
    } else if let Some(layers) = &setting.layers
        && degrees.sequence != SequenceParallel::Ulysses
    {
        degrees.sequence = layers.split;
    }
    let is_alone = match setting.layers {
        Some(_) => per_layer::shapes::shares_nothing(&degrees),
        None => degrees.data == 1 && degrees.context == 1,
    };
    if is_alone {
        degrees.zero = ZeroStage::None;
    }
    degrees
}

/// The grid that a schedule's name stands for.
fn generated(name: &str, degrees: &Parallelism, plan: &Plan) -> Result<Grid, Diagnostic> {
    let unknown = || {
        let known = Order::ALL.map(Order::name).join(", ");
        difference("training.schedule", name, &format!("none of {known} or {CUSTOM}"))
    };
    let order = Order::ALL.into_iter().find(|order| order.name() == name).ok_or_else(unknown)?;
    if degrees.pipeline <= 1 && order != Order::OneFOneB {
        return Err(difference("training.schedule", name, Order::OneFOneB.name()));
    }
    let m = u32::try_from(degrees.n_micro_batches).unwrap_or(u32::MAX);
    order.grid(degrees, m, |stage| {
        let again = |policy: Recompute| policy != Recompute::None;
        plan.partition.stages.get(stage.index()).is_some_and(|stage| {
            again(stage.recompute) || stage.each.iter().any(|policy| again(policy.recompute))
        })
    })
}

/// What was asked for and the plan does not keep.
fn request(on: &Planned) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let request = &on.setting.request;
    if request.no_offload && on.training.offloads_optimizer {
        found.push(difference("request.no_offload", "true", "states on hosts"));
    }
    let n = shape::n_devices(&on.plan.parallelism);
    if let Some([least, most]) = request.devices
        && !(u64::from(least)..=u64::from(most)).contains(&n)
    {
        let stated = format!("{least} to {most}");
        found.push(difference("request.devices", &stated, &n.to_string()));
    }
    let used = holdings(&on.plan).map_or(0, |holdings| holdings.len());
    match on.setting.usable() {
        Ok(most) if used > most as usize && request.spares.is_some() => {
            let text = format!("{used} devices are used");
            found.push(difference("request.spares", &format!("{most} to use"), &text));
        }
        Ok(_) => {}
        Err(error) => found.push(error),
    }
    match on.setting.space() {
        // Who asks for pins or a launcher gets no such plan.
        _ if on.plan.partition.has_own_devices() => {
            let fields = [
                ("request.pin", !request.pin.is_empty()),
                ("request.devices", request.devices.is_some()),
                ("request.executor", request.executor.is_some()),
            ];
            let named = fields.into_iter().filter(|(_, is)| *is);
            found.extend(named.map(|(field, _)| difference(field, "stated", "not kept")));
        }
        Ok(space) => {
            let broken = pins::broken(&space.pins, &on.plan, &on.training.schedule);
            let named = |(pin, value): (String, String)| difference("request.pin", &pin, &value);
            found.extend(broken.into_iter().map(named));
            let runs = |capabilities: Capabilities| runs(capabilities, on);
            if let Some(capabilities) =
                space.pins.capabilities.filter(|capabilities| !runs(*capabilities))
            {
                found.push(difference(
                    "request.executor",
                    capabilities.target,
                    "it can't run this plan",
                ));
            }
            let (executor, dtype) = (request.executor.as_deref(), on.setting.numbers.dtype);
            if let Some(executor) = executor.filter(|executor| !capabilities::says(executor, dtype))
            {
                let text = format!("it has no words for {dtype}");
                found.push(difference("request.executor", executor, &text));
            }
        }
        Err(error) => found.push(error),
    }
    found
}

/// Whether a launcher runs a plan as it is.
fn runs(capabilities: Capabilities, on: &Planned) -> bool {
    let capabilities = capabilities.keeping(on.setting.offload);
    capabilities.is_some_and(|capabilities| {
        capabilities.runs(&on.setting.model, &on.plan.parallelism, &on.training.schedule)
    })
}

/// A bound that the search can't confirm.
pub(super) fn bound(on: &Planned, cancel: &Arc<AtomicBool>) -> Option<Diagnostic> {
    let stated = Nanos(on.document.cost.as_ref()?.bound_ns);
    let start = Instant::now();
    let (found, stop) = match bound_of(&on.setting, (on, stated), (start + LONGEST, cancel)) {
        Ok(found) => found,
        Err(error) => return Some(error),
    };
    // Bounds are rounded to the nanosecond.
    if stated.0 <= found.0.saturating_add(1) {
        return None;
    }
    if !stop.is_complete() {
        let search = format!("{:.1} s, then it had to stop", start.elapsed().as_secs_f64());
        return Some(unchecked("cost.bound_ns", stated.0, found.0, search));
    }
    // The search was made to its end, and proves what it proves.
    let wrong = difference("cost.bound_ns", &stated.0.to_string(), &found.0.to_string());
    Some(wrong.hint("no search over the same space proves this bound"))
}

fn bound_of(
    setting: &Setting,
    (on, stated): (&Planned, Nanos),
    (end, cancel): (Instant, &Arc<AtomicBool>),
) -> Result<(Nanos, StopReason), Diagnostic> {
    if on.plan.partition.has_own_devices() {
        let time = Some(end.saturating_duration_since(Instant::now()));
        let limits = Limits { time, cancel: Arc::clone(cancel), ..Limits::default() };
        return Ok(unlike::shown(setting, stated, &limits));
    }
    let mut space: Space = setting.space()?;
    // A plan that the launcher of its stack runs was looked for among those.
    if let Some(capabilities) = setting.launcher().filter(|capabilities| runs(*capabilities, on)) {
        space = space.within(capabilities);
    }
    let time = Some(end.saturating_duration_since(Instant::now()));
    let limits = Limits { time, cancel: Arc::clone(cancel), ..Limits::default() };
    if let Some(pricing) = setting.layer_pricing() {
        let control = Arc::new(Control::new(&limits));
        let options = per_layer::Options { control, ..Default::default() };
        let on = |offload| per_layer::solve(&LayerPricing { offload, ..pricing }, &space, &options);
        let found = on(Offload::Nothing)?;
        if !space.pins.may_offload {
            return Ok((found.bound, found.stop));
        }
        let other = on(Offload::Optimizer)?;
        let stop = if found.stop.is_complete() { other.stop } else { found.stop };
        return Ok((found.bound.min(other.bound), stop));
    }
    // The bound holds whatever the cuts, so they need not be improved.
    let cuts = search_3d::Cuts::Ruled;
    let options = search_3d::Options { cuts, ..search_3d::Options::within(&limits) };
    let found = search_3d::solve(&setting.pricing(), &space, &options);
    Ok((Nanos((found.bound_s * 1e9).round() as u64), found.stop))
}
