//! Fleets with KV transfers within hosts: on one host of each pool, or on several equal hosts.
//!
//! Of several hosts each has its own router and serves an equal part of the rate: the fleet of one host is planned for
//! that part and repeated.

use cost_model::runs::forms::model::counts::least_flops;
use cost_model::serving::worker::Shape;
use ir::cluster::DeviceKind;
use planner::run::Control;
use planner::serving::fleet::{Objective, Verdict};
use planner::serving::fleets::FleetSearch;
use planner::serving::serving_fleet::{Answer, Link, Question, Refused, bytes_per_request};

use super::decided;
use super::pools::Pool;
use super::search::{Search, below, is_before};
use super::setting::Setting;

/// Part of a TTFT that a hand-over takes at least for equal hosts to be searched, and the TTFT where none is promised.
const SLOW: f64 = 0.05;
const USUAL_TTFT_S: f64 = 1.0;
/// Numbers of hosts that are tried beyond the fewest.
const MORE: u32 = 1;

/// The best fleet of all hosts, or of equal hosts where keys and values cross no network.
///
/// # Errors
/// Those of the search.
pub(super) fn of_hosts(
    setting: &Setting,
    question: &Question<'_>,
    (door, control): (FleetSearch, &Control),
) -> Result<Answer, Refused> {
    let price = |pool: usize, shape: &Shape| setting.price(pool, shape);
    let of = |question: &Question<'_>| door(question, &price, control);
    let near = setting.on_one_host(question);
    let (all, is_apart) = first(question, near.as_ref(), &of)?;
    let n_hosts = if is_slow(question) { n_hosts(setting, question) } else { 1 };
    let Some(near) =
        near.filter(|near| !all.can_serve() || is_able(setting, near, (&all, n_hosts)))
    else {
        return Ok(all);
    };
    // A fleet that is within hosts already has its ways there, too.
    let workers = decided::of_answer(setting, &all).unwrap_or_default();
    let is_there = decided::n_hosts_within(setting, &workers).is_some();
    let is_most = question.objective == Objective::Throughput;
    let one = match () {
        () if is_apart => None,
        () if all.can_serve() && !is_able(setting, &near, (&all, 1)) => None,
        () if !is_most && all.is_kept() && !is_there => below(&near, &all),
        () => Some(near.clone()),
    };
    let one = match is_apart {
        true => Some(all.clone()),
        false => one.map(|one| of(&one)).transpose()?,
    };
    let copied = match one.as_ref().filter(|one| one.is_kept()) {
        Some(one) if is_most => Some(times(one.clone(), most_times(question, one).min(n_hosts))),
        Some(_) => None,
        None => copied((question, &near), (&all, n_hosts), &of)?,
    };
    let mut best = all;
    let known = |of: &Answer| (of.found.bound, of.found.verdict);
    let mut bounds: Vec<_> = [Some(&best), one.as_ref()].into_iter().flatten().map(known).collect();
    let mut is_near = is_apart;
    for near in one.into_iter().chain(copied) {
        let is_better = match (near.is_kept(), best.is_kept()) {
            (true, true) if is_there && !is_near => !is_before(question, &best, &near),
            (true, true) => is_before(question, &near, &best),
            (false, false) => near.can_serve() && !best.can_serve(),
            (is_kept, _) => is_kept,
        };
        if is_better {
            (best, is_near) = (near, true);
        }
    }
    if is_near && best.is_kept() {
        // With fast hand-overs between all hosts no fleet is worse: the bound is that of all fleets.
        let relaxed = Question { devices: question.devices.clone(), ..near };
        let is_late = control.stop().is_some();
        let bound = if is_late { None } else { of(&relaxed)?.found.bound };
        bounds = vec![(bound, Verdict::Open)];
    }
    bound(question, &mut best, &bounds);
    Ok(best)
}

/// The best fleet of all hosts; where prefill and decode workers are apart and no network joins hosts, that of one host,
/// which the flag says.
fn first(
    question: &Question<'_>,
    near: Option<&Question<'_>>,
    of: Search<'_>,
) -> Result<(Answer, bool), Refused> {
    let is_apart = !question.aggregated && !question.links.iter().any(Link::is_way);
    match near.filter(|_| is_apart) {
        Some(near) => Ok((of(near)?, true)),
        None => Ok((of(question)?, false)),
    }
}

/// Whether a hand-over between hosts takes so long that fleets without may be better.
fn is_slow(question: &Question<'_>) -> bool {
    let bytes = bytes_per_request(question);
    let most_s = SLOW * question.promises.ttft_s.unwrap_or(USUAL_TTFT_S);
    question.links.iter().any(|link| link.start_up_s + bytes / link.bytes_per_s > most_s)
}

/// Gives a fleet the bound of several searches, one of which may have found it.
fn bound(question: &Question<'_>, best: &mut Answer, all: &[(Option<f64>, Verdict)]) {
    let is_none = |of: &&(Option<f64>, Verdict)| of.1 == Verdict::Infeasible;
    let is_known = all.iter().all(|of| of.0.is_some() || is_none(&of));
    let better = if question.objective == Objective::Throughput { f64::max } else { f64::min };
    let bound = all.iter().filter(|of| !is_none(of)).filter_map(|of| of.0).reduce(better);
    let value = best.found.best.as_ref().map(|best| best.value(question.objective));
    match bound.filter(|_| is_known) {
        // No search found a fleet.
        None if is_known => {}
        bound if bound.is_some() && bound == value => {
            (best.found.bound, best.found.verdict) = (bound, Verdict::Optimal);
        }
        bound => (best.found.bound, best.found.verdict) = (bound, Verdict::Open),
    }
}

/// Hosts that each pool has, of which there may be any number.
fn n_hosts(setting: &Setting, question: &Question<'_>) -> u32 {
    let all = question.devices.iter().map(|of| of.pool.hosts.unwrap_or(u32::MAX));
    let n = all.min().unwrap_or(1).max(1);
    // A file of requests is replayed with one router for all hosts.
    let is_one =
        setting.asked.traffic.log.is_some() || n == u32::MAX && question.requests_per_s.is_none();
    if is_one { 1 } else { n }
}

/// The best fleet of as few hosts as serve the rate, each a part of it.
fn copied(
    (question, near): (&Question<'_>, &Question<'_>),
    (all, n_hosts): (&Answer, u32),
    of: Search<'_>,
) -> Result<Option<Answer>, Refused> {
    let Some(rate) = question.requests_per_s.filter(|_| n_hosts > 1) else { return Ok(None) };
    let most = Question { objective: Objective::Throughput, requests_per_s: None, ..near.clone() };
    let most = of(&Question { most_devices: None, most_price_per_hour: None, ..most })?;
    let served = most.found.best.as_ref().filter(|_| most.is_kept());
    let Some(served) = served.map(|best| best.figures.requests_per_s) else { return Ok(None) };
    let fewest = (rate / served).ceil().max(2.0);
    if fewest > f64::from(n_hosts) {
        return Ok(None);
    }
    let better = if all.is_kept() { below(question, all) } else { Some(question.clone()) };
    let Some(better) = better else { return Ok(None) };
    for n in (fewest as u32..=n_hosts).take(1 + MORE as usize) {
        let part = Question {
            requests_per_s: Some(rate / f64::from(n)),
            most_devices: better.most_devices.map(|most| most / u64::from(n)),
            most_price_per_hour: better.most_price_per_hour.map(|most| most / f64::from(n)),
            ..near.clone()
        };
        if part.most_devices == Some(0) {
            break;
        }
        let found = of(&part)?;
        if found.is_kept() {
            return Ok(Some(times(found, n)));
        }
    }
    Ok(None)
}

/// How often a fleet is within the limits of devices and price.
fn most_times(question: &Question<'_>, one: &Answer) -> u32 {
    let Some(figures) = one.found.best.as_ref().map(|best| &best.figures) else { return 1 };
    let devices = question.most_devices.map(|most| most as f64 / figures.n_devices.max(1) as f64);
    let price = question.most_price_per_hour.zip(figures.price_per_hour);
    let price = price.map(|(most, each)| most / each.max(f64::MIN_POSITIVE));
    devices.into_iter().chain(price).fold(f64::from(u32::MAX), f64::min).max(1.0) as u32
}

/// A fleet as often as there are hosts.
fn times(mut one: Answer, n: u32) -> Answer {
    if let Some(plan) = &mut one.found.best {
        plan.counts.iter_mut().for_each(|(_, count)| *count = count.saturating_mul(n));
        plan.hosts.iter_mut().for_each(|group| group.times = group.times.saturating_mul(n));
        let figures = &mut plan.figures;
        figures.requests_per_s *= f64::from(n);
        figures.handed_over_per_s.iter_mut().for_each(|rate| *rate *= f64::from(n));
        figures.n_devices = figures.n_devices.saturating_mul(u64::from(n));
        figures.price_per_hour = figures.price_per_hour.map(|price| price * f64::from(n));
    }
    if n > 1 {
        (one.found.bound, one.found.verdict) = (None, Verdict::Open);
    }
    one
}

/// Whether `n_hosts` of each pool, at the peak rates of their devices, serve the rate or more than the best fleet.
fn is_able(setting: &Setting, near: &Question<'_>, (all, n_hosts): (&Answer, u32)) -> bool {
    let best = all.found.best.as_ref().filter(|_| all.is_kept());
    let Some(rate) = near.requests_per_s.or(best.map(|best| best.figures.requests_per_s)) else {
        return true;
    };
    let model = near.model;
    let Some(group) = model.groups.first().filter(|_| !model.is_of_parts()) else { return true };
    let card = &group.card;
    // Forward passes are a third of those of training steps; prompts need no logits but one.
    let of_sample = least_flops(model, 1) / 3.0 / card.sequence.max(1) as f64;
    let of_head = 2.0 * card.hidden as f64 * card.vocabulary as f64;
    let per_token = of_sample - f64::from(model.n_predictions) * of_head;
    let [n_input, n_output] = setting.asked.traffic.mean_tokens();
    let n_tokens = n_input - f64::from(near.shared_prefix) + n_output - 1.0;
    let peak = |pool: &Pool| {
        let devices = pool.hosts.first().into_iter().flatten();
        let kinds = devices.map(|id| setting.run.cluster.kind_of(*id));
        let of = |kind: &DeviceKind| {
            let own = kind.peak.get(&near.dtype).filter(|_| model.weights().is_none());
            let all = kind.peak.values().map(|rate| rate.get());
            own.map_or_else(|| all.fold(0.0, f64::max), |rate| rate.get())
        };
        kinds.map(of).sum::<f64>()
    };
    let of_hosts = setting.pools.iter().map(peak).sum::<f64>() * f64::from(n_hosts);
    of_hosts >= rate * n_tokens * per_token
}
