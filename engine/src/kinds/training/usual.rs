//! Plans that people ask for first: tensor ranks over a whole host, expert ranks, no recompute, another ZeRO
//! stage; of heterogeneous devices the equal ones alone.

use std::time::{Duration, Instant};

use ir::card::ZeroStage;
use ir::plan::Parallelism;
use ir::units::Bytes;
use planner::run::Limits;
use planner::training::search_3d::judge::Judged;
use planner::training::search_3d::{Counts, Options};

use super::answer::Usual;
use super::runners::Launched;
use super::screen::recomputes;
use super::{nothing_fits, plan, recommended, replaced};
use crate::inputs::run::pins;
use crate::inputs::run::setting::Setting;
use crate::request::PlanRequest;

/// Most of them that are looked for.
const MOST: usize = 3;
/// Least nodes that each search gets.
const LEAST_NODES: u64 = 2_000;
/// Least time: nodes end it before, unless the machine is busy.
const LEAST_TIME: Duration = Duration::from_secs(10);

/// Most nodes for devices of one kind.
const NODES_OF_KIND: u64 = 20_000;

/// Settings that a plan does not have, by their pins and in words.
fn unlike(setting: &Setting, best: &Judged) -> Vec<(String, String)> {
    let degrees = &best.configuration.degrees;
    let host = setting.system.per_host.min(setting.cluster.devices.len() as u64);
    let all = u64::from(degrees.data) * u64::from(degrees.context);
    let experts = setting.model.has_experts();
    let pin = |field: &str, word: &str, n: u64| (format!("{field}={n}"), format!("{word} {n}"));
    [
        (experts && u64::from(degrees.expert) != host, pin("expert", "EP", host)),
        (!experts && u64::from(degrees.tensor) != host, pin("tensor", "TP", host)),
        (recomputes(best), ("recompute=none".to_owned(), "no recompute".to_owned())),
        (all > 1 && degrees.zero == ZeroStage::Parameters, pin("zero", "ZeRO", 1)),
        (all > 1 && degrees.zero < ZeroStage::Parameters, pin("zero", "ZeRO", 3)),
    ]
    .into_iter()
    .filter(|(is_unlike, (pin, _))| *is_unlike && host > 1 && !is_pinned(setting, pin))
    .map(|(_, question)| question)
    .collect()
}

/// Whether who asked has fixed the field of a pin.
fn is_pinned(setting: &Setting, pin: &str) -> bool {
    let field = |pin: &str| pin.split_once('=').map(|(field, _)| field.to_owned());
    setting.request.pin.iter().any(|other| field(other) == field(pin))
}

/// Whether a plan has a setting.
fn has(degrees: &Parallelism, pin: &str) -> bool {
    let is = |field: &str, n: u64| pin == format!("{field}={n}");
    is("expert", degrees.expert.into())
        || is("tensor", degrees.tensor.into())
        || is("zero", degrees.zero as u64)
}

/// What is left of the time of some limits, from now on.
fn remaining(limits: &Limits) -> impl Fn() -> Option<Duration> {
    let end = limits.time.and_then(|time| Instant::now().checked_add(time));
    move || Some(end?.saturating_duration_since(Instant::now()))
}

/// Looks for the fastest plans with settings that neither the plan nor another one that is shown has: each with
/// at most a tenth of the nodes of the plan's own search.
pub(super) fn plans<'a>(
    setting: &Setting,
    best: &Judged,
    shown: impl Iterator<Item = &'a Judged> + Clone,
    (limits, counts, elapsed): (&Limits, &Counts, Option<Duration>),
) -> Vec<Usual> {
    let is_shown = |pin: &str| shown.clone().any(|plan| has(&plan.configuration.degrees, pin));
    let questions = unlike(setting, best).into_iter().filter(|(pin, _)| !is_shown(pin));
    let nodes = (counts.n_leaves / 10).max(LEAST_NODES);
    let longest = elapsed.map(|elapsed| elapsed.max(LEAST_TIME));
    let left = remaining(limits);
    let answers = questions.take(MOST).filter_map(|(pin, words)| {
        let mut setting = setting.clone();
        setting.request.pin = pins::with(vec![pin], setting.request.pin);
        let space = setting.space().ok()?;
        let time = left().into_iter().chain(longest).min();
        let options = Options::within(&Limits { time, nodes: Some(nodes), ..limits.clone() });
        let found = plan::found((&setting, false), &space, &options).ok()?.settled.found;
        let found = match found.plans.first() {
            Some(plan) => Ok(plan.clone()),
            None if found.is_proved_empty() => {
                let (least, _) =
                    nothing_fits::misfit(&setting, &space, (&found, true, &options)).ok()?;
                Err(Bytes(least.bytes()))
            }
            None => return None,
        };
        Some(Usual { setting: words, found })
    });
    answers.collect()
}

/// `4 x h100_sxm5_80gb alone 412.0 ms`: plans on the devices of each kind alone, of a few kinds, and the fastest
/// of them that a launcher runs.
pub(super) fn of_each_kind(
    request: &PlanRequest,
    setting: &Setting,
    limits: &Limits,
) -> (String, Option<Launched>) {
    let cluster = &setting.cluster;
    let kinds = cluster.kind_names();
    let left = remaining(limits);
    // What is shown must not depend on the clock where that was asked for.
    let longest = (!limits.deterministic).then_some(LEAST_TIME);
    let alone = kinds.iter().filter(|_| kinds.len() > 1).take(MOST).filter_map(|kind| {
        let is_of = |device: &ir::id::DeviceId| cluster.kind_of(*device).name == **kind;
        let n = cluster.device_ids().filter(is_of).count();
        let others = kinds.iter().filter(|other| *other != kind);
        let flags: String = others.clone().map(|other| format!(" --lost {other}")).collect();
        let mut request = request.clone();
        request.problem.without.extend(others.map(|other| (*other).to_owned()));
        let is_simplest = recommended::applies(&request).ok()?;
        let setting = replaced::again(&request, setting).ok()?;
        let time = left().into_iter().chain(longest).min();
        let limits = Limits { time, nodes: Some(NODES_OF_KIND), ..limits.clone() };
        let found =
            plan::found((&setting, is_simplest), &setting.space().ok()?, &Options::within(&limits))
                .ok()?;
        let step = found.best()?.step;
        Some((format!("{n} x {kind} alone {step}"), Launched::of(&found, flags)))
    });
    let (texts, launched): (Vec<_>, Vec<_>) = alone.unzip();
    let fastest = launched.into_iter().flatten().min_by_key(|launched| launched.step);
    (texts.join(", "), fastest)
}
