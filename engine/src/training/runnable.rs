//! Which launchers run a plan, and what the nearest plans of the others cost at the same prices.

use std::time::Duration;

use exporters::training::targets;
use ir::units::Nanos;
use planner::run::Limits;
use planner::training::search_3d::judge::Judged;
use planner::training::search_3d::{Cuts, Options, solve};

use super::runners::Runners;
use super::{capabilities, export};
use crate::executor::Executor;
use crate::training::setting::Setting;

/// What the search for one launcher's plan may take: it only says how far that one is off.
const SLICE: Duration = Duration::from_millis(200);
const SLICE_NODES: u64 = 2_000;

/// Who runs the first of some plans.
pub fn runners(setting: &Setting, plans: &[&Judged], limits: &Limits) -> Option<Runners> {
    let best = *plans.first()?;
    let (mut runs, mut others) = (Vec::new(), Vec::new());
    for row in targets().iter().filter(|row| row.launches.is_some()) {
        if is_told(setting, row.name, best) {
            runs.push(row.name);
        } else if let Some(step) = nearest(setting, row.name, plans, limits) {
            others.push((step, row.name));
        }
    }
    others.sort_unstable();
    Some(Runners { runs, others, stack: setting.stack.name.clone() })
}

/// Whether a launcher has words for a plan.
fn is_told(setting: &Setting, target: &str, plan: &Judged) -> bool {
    let schedule = plan.configuration.order.name();
    plan.plan()
        .and_then(|own| export::exported(target, setting, &own, (schedule, Nanos(0))))
        .is_ok()
}

/// The step of the best plan that a launcher runs, as far as a short search finds any; `None` where it
/// runs no such model.
fn nearest(
    setting: &Setting,
    target: &'static str,
    plans: &[&Judged],
    limits: &Limits,
) -> Option<Nanos> {
    let known = plans.iter().filter(|plan| is_told(setting, target, plan));
    let known = known.min_by_key(|plan| plan.step);
    let executor = Executor::named(target)?;
    if !capabilities::says(target, setting.numbers.dtype) {
        return None;
    }
    let space = setting.space_for(executor)?;
    let time = (!limits.deterministic).then_some(SLICE);
    let limits = Limits { time, nodes: Some(SLICE_NODES), ..limits.clone() };
    let known_plan = known.map(|known| Box::new((*known).clone()));
    let options =
        Options { n_plans: 1, cuts: Cuts::OfPlans, known: known_plan, ..Options::within(&limits) };
    let found = solve(&setting.pricing(), &space, &options).plans;
    let found = found.iter().filter(|plan| is_told(setting, target, plan)).map(|plan| plan.step);
    found.chain(known.map(|known| known.step)).min()
}
