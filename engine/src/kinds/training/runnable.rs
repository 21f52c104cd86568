//! Which launchers run a plan, and what `--for` would give for the others.

use std::time::{Duration, Instant};

use exporters::runs::targets;
use ir::diagnostic::Diagnostic;
use ir::units::Nanos;
use planner::run::Limits;
use planner::training::search_3d::Options;
use planner::training::search_3d::judge::Judged;
use planner::training::search_3d::simplest::Choice;

use super::runners::{Elsewhere, Runners};
use super::{export, plan, recommended, replaced};
use crate::inputs::run::setting::Setting;
use crate::request::PlanRequest;
use crate::request::executor::Executor;

/// Least time of a search for one launcher's plan.
const SLICE: Duration = Duration::from_millis(500);
/// Nodes of such a search where nothing may depend on the clock.
const SLICE_NODES: u64 = 20_000;
/// Passes of a plan beyond which asking the launchers takes long.
const LONG: u64 = 100_000;

/// Who runs a plan as it is, priced as their own stack is; of others, what `--for` would recommend, each searched
/// for no longer than the plan itself was, within the limits. Without a request, of the plan as it is alone.
pub fn runners(
    request: Option<&PlanRequest>,
    (setting, best): (&Setting, &Judged),
    (limits, elapsed): (&Limits, Option<Duration>),
) -> Option<Runners> {
    let degrees = &best.configuration.degrees;
    let n_passes = degrees.n_micro_batches.saturating_mul(u64::from(degrees.pipeline));
    if n_passes > LONG && limits.time.is_some() {
        return None;
    }
    let own_plan = best.plan().ok();
    let schedule = best.configuration.order.name();
    let runs = |name: &str, executor: Executor| {
        let stack = setting.stack.name.as_str();
        let is_own = Executor::of_stack(stack) == Some(executor) || executor.stack() == Some(stack);
        let plan = own_plan.as_ref().filter(|_| is_own);
        plan.is_some_and(|plan| export::exported(name, setting, plan, (schedule, Nanos(0))).is_ok())
    };
    let is_default = request
        .is_some_and(|request| request.training.stack.is_none() && request.executor.is_none());
    let stack = setting.stack.name.clone();
    let mut runners = Runners { stack, is_default, ..Runners::default() };
    let end = limits.time.and_then(|time| Instant::now().checked_add(time));
    let longest = elapsed.map(|elapsed| elapsed.max(SLICE));
    for name in targets().filter(|row| row.launches.is_some()).map(|row| row.name) {
        let Some(executor) = Executor::named(name) else { continue };
        if runs(name, executor) {
            runners.runs.push(name);
            continue;
        }
        let Some(request) = request else { continue };
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let time = left.into_iter().chain(longest).min();
        let slice = limits.deterministic.then_some(SLICE_NODES);
        let nodes = slice.into_iter().chain(limits.nodes).min();
        let limits = Limits { time, nodes, ..limits.clone() };
        // An error: it runs no such model, or no plan that fits.
        if let Ok(step) = recommended_for((request, setting), executor, &limits) {
            runners.others.push(Elsewhere { name, step });
        }
    }
    runners.others.sort_by_key(|other| (other.step.is_none(), other.step, other.name));
    Some(runners)
}

/// The step of the plan that `--for` recommends; `None` where the search did not end.
///
/// # Errors
/// Those of `--for`.
fn recommended_for(
    (request, setting): (&PlanRequest, &Setting),
    executor: Executor,
    limits: &Limits,
) -> Result<Option<Nanos>, Diagnostic> {
    let request = PlanRequest { executor: Some(executor), ..request.clone() };
    let setting = replaced::again(&request, setting)?;
    let space = setting.space()?;
    let is_simplest = recommended::applies(&request)?;
    let found = plan::found((&setting, is_simplest), &space, &Options::within(limits))?;
    if !found.settled.found.stop.is_complete() || found.choice == Choice::Unknown {
        return Ok(None);
    }
    found.best().map(|best| Some(best.step)).ok_or_else(super::told::unconfirmed)
}
