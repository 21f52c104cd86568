//! Which launchers run a plan, and what the nearest plans of the others cost at the same prices.

use std::collections::BTreeMap;
use std::time::Duration;

use exporters::runs::targets;
use ir::units::Nanos;
use planner::run::Limits;
use planner::training::search_3d::judge::Judged;
use planner::training::search_3d::{Cuts, Options, solve};

use super::export;
use super::runners::Runners;
use crate::inputs::run::capabilities;
use crate::inputs::run::setting::Setting;
use crate::request::executor::Executor;

/// What the search for one launcher's plan may take: it only says how far that one is off.
const SLICE: Duration = Duration::from_millis(200);
const SLICE_NODES: u64 = 2_000;
/// Passes of a plan beyond which asking the launchers takes long.
const LONG: u64 = 100_000;

/// Who runs the first of some plans; others as far as there is time to look for theirs.
pub fn runners(setting: &Setting, plans: &[&Judged], limits: &Limits) -> Option<Runners> {
    let (best, others) = plans.split_first()?;
    let options = Options::within(limits);
    let degrees = &best.configuration.degrees;
    let n_passes = degrees.n_micro_batches.saturating_mul(u64::from(degrees.pipeline));
    if n_passes > LONG && options.stop().is_some() {
        return None;
    }
    let named = targets().filter(|row| row.launches.is_some()).map(|row| row.name);
    let (runs, left) = told(setting, best, named.collect());
    // A plan has a row for each micro-batch, so that one at a time is made.
    let mut known: BTreeMap<&'static str, &Judged> = BTreeMap::new();
    for plan in others.iter().take_while(|_| options.stop().is_none()) {
        for name in told(setting, plan, left.clone()).0 {
            let own = known.entry(name).or_insert(plan);
            *own = if plan.step < own.step { plan } else { own };
        }
    }
    let nearest = |name| {
        let step = nearest(setting, name, known.get(name).copied(), limits)?;
        Some((step, name))
    };
    let searched = left.into_iter().take_while(|_| options.stop().is_none());
    let mut others: Vec<(Nanos, &'static str)> = searched.filter_map(nearest).collect();
    others.sort_unstable();
    Some(Runners { runs, others, stack: setting.stack.name.clone() })
}

/// Launchers that have words for a plan, and those that have none.
fn told(
    setting: &Setting,
    plan: &Judged,
    names: Vec<&'static str>,
) -> (Vec<&'static str>, Vec<&'static str>) {
    let schedule = plan.configuration.order.name();
    let Ok(own) = plan.plan() else { return (Vec::new(), names) };
    let is_told = |name: &&str| export::exported(name, setting, &own, (schedule, Nanos(0))).is_ok();
    names.into_iter().partition(is_told)
}

/// The step of the best plan that a launcher runs, as far as a short search finds any; `None` where it
/// runs no such model.
fn nearest(
    setting: &Setting,
    target: &'static str,
    known: Option<&Judged>,
    limits: &Limits,
) -> Option<Nanos> {
    let executor = Executor::named(target)?;
    if !capabilities::says(target, setting.numbers.dtype) {
        return None;
    }
    let space = setting.space_for(executor)?;
    let slice = limits.time.map_or(SLICE, |left| left.min(SLICE));
    let time = (!limits.deterministic).then_some(slice);
    let limits = Limits { time, nodes: Some(SLICE_NODES), ..limits.clone() };
    let known_plan = known.map(|known| Box::new(known.clone()));
    let options =
        Options { n_plans: 1, cuts: Cuts::OfPlans, known: known_plan, ..Options::within(&limits) };
    let found = solve(&setting.pricing(), &space, &options).plans;
    let is_told = |plan: &&Judged| told(setting, plan, vec![target]).1.is_empty();
    let found = found.iter().filter(is_told).map(|plan| plan.step);
    found.chain(known.map(|known| known.step)).min()
}
