//! The search for a question: request latencies are split into TTFT and TPOT, a concurrency becomes a rate.

use planner::run::Control;
use planner::serving::fleet::{Objective, Verdict};
use planner::serving::fleets::FleetSearch;
use planner::serving::serving_fleet::{
    Answer, Promises, Question, Refused, Replayed, Statistic, Types,
};

use super::decided;
use super::hosts::of_hosts;
use super::setting::{Setting, USUAL_TPOT_S};

/// Parts of a request latency that TTFT may take.
const PARTS: [f64; 5] = [0.05, 0.1, 0.2, 0.35, 0.5];
/// How much longer the parts are together at most where no fleet is found that keeps them, and how often this is
/// halved for a plan: workers are faster than what is promised of them.
const MOST_EASED: f64 = 1.6;
const N_EASED: usize = 5;
/// Fleets that are looked at for a concurrency, and how much above it the last one may be.
const MOST_RATES: usize = 8;
/// How long a request of one token may stay where its TTFT has no limit.
const UNLIMITED_S: f64 = 60.0;
const ABOVE: f64 = 1.02;
/// How much more than a concurrency is searched for: replays of a plan were seen to count 0.3 % fewer requests under way
/// than those of its search.
const AIMED: f64 = 1.01;
/// The price of a fleet that is to be cheaper than another.
const CHEAPER: f64 = 0.999;
/// How much shorter the TPOT must be of a fleet that takes the place of one as good.
const SHORTER: f64 = 0.8;
/// Times that it is made shorter.
const MOST_SHORTER: usize = 6;

/// The best fleet for a question, as [`Setting`] asks for it.
///
/// # Errors
/// Those of the search.
pub(super) fn search(
    setting: &Setting,
    question: &Question<'_>,
    (door, control): (FleetSearch, &Control),
) -> Result<Answer, Refused> {
    let of = |question: &Question<'_>| split(setting, question, (door, control), 0);
    match setting.asked.traffic.concurrency {
        Some(n) if question.objective != Objective::Throughput => {
            at_concurrency(setting, question, AIMED * n as f64, (&of, control))
        }
        _ => of(question),
    }
}

/// The same; where no TPOT is promised, of fleets that are as good one of a short TPOT.
///
/// # Errors
/// Those of the search.
pub(super) fn best(
    setting: &Setting,
    question: &Question<'_>,
    (door, control): (FleetSearch, &Control),
) -> Result<Answer, Refused> {
    let asked = &setting.asked;
    if asked.latency_s.is_some() && asked.traffic.concurrency.is_none() {
        return split(setting, question, (door, control), N_EASED);
    }
    let answer = search(setting, question, (door, control))?;
    let of = |question: &Question<'_>| search(setting, question, (door, control));
    let answer = least(question, answer, &of);
    if question.promises.tpot_s.or(asked.latency_s).is_some() || asked.traffic.rate.is_none() {
        return Ok(answer);
    }
    Ok(shortened(question, answer, (&of, &|_| false)))
}

pub(super) type Search<'s> = &'s dyn Fn(&Question<'_>) -> Result<Answer, Refused>;

/// Of fleets of as few devices the cheapest; of as low a price, that of fewest devices.
fn least(question: &Question<'_>, mut answer: Answer, of: Search<'_>) -> Answer {
    let prices = || question.devices.iter().map(|devices| devices.pool.price_per_hour);
    let is_one = prices().all(|price| Some(price) == prices().next());
    let Some(figures) = answer.found.best.as_ref().map(|best| &best.figures) else { return answer };
    let Some(price) = figures.price_per_hour.filter(|_| !is_one && answer.is_kept()) else {
        return answer;
    };
    let (objective, n_devices, price) = match question.objective {
        Objective::FewestDevices => (Objective::LowestPrice, figures.n_devices, CHEAPER * price),
        Objective::LowestPrice if figures.n_devices > 1 => {
            (Objective::FewestDevices, figures.n_devices - 1, price)
        }
        _ => return answer,
    };
    let tied = Question {
        objective,
        most_devices: Some(n_devices),
        most_price_per_hour: Some(price),
        ..question.clone()
    };
    if let Some(other) = of(&tied).ok().filter(Answer::is_kept) {
        take(&mut answer, other);
    }
    answer
}

/// The fleet of another search; what was searched, and the bound, stay those of the first.
fn take(answer: &mut Answer, other: Answer) {
    let first = std::mem::replace(answer, other);
    let workers = std::mem::take(&mut answer.types.workers);
    answer.types = Types { workers, ..first.types };
    answer.predicted = first.predicted;
    (answer.found.bound, answer.found.verdict) = (first.found.bound, first.found.verdict);
}

/// Of fleets as good as one, one with a TPOT short enough, or the shortest TPOT found.
fn shortened(
    question: &Question<'_>,
    mut answer: Answer,
    (of, is_enough): (Search<'_>, &dyn Fn(&Answer) -> bool),
) -> Answer {
    for _ in 0..MOST_SHORTER {
        if is_enough(&answer) {
            break;
        }
        let Some(tpot_s) = slowest(&answer, 1).filter(|_| answer.is_kept()) else { break };
        let tpot_s = Some(SHORTER * tpot_s);
        let shorter =
            Question { promises: Promises { tpot_s, ..question.promises }, ..question.clone() };
        let Ok(other) = of(&shorter) else { break };
        if !other.is_kept() || is_before(question, &answer, &other) {
            break;
        }
        take(&mut answer, other);
    }
    answer
}

/// Request latency by an answer's replays, seconds.
pub(super) fn latency_s(answer: &Answer) -> f64 {
    let stay = |of: &Replayed| {
        let seconds = of.replayed.as_ref().ok()?.stay_s;
        Some((answer.types.workers[of.of].figures.role, seconds))
    };
    decided::slowest_s(answer.replays.iter().filter_map(stay))
}

/// The slowest TTFT (0) or TPOT (1) of an answer's replays.
pub(super) fn slowest(answer: &Answer, at: usize) -> Option<f64> {
    let all = answer.replays.iter().filter_map(|of| of.replayed.as_ref().ok());
    all.map(|of| of.seconds[at]).reduce(f64::max).filter(|seconds| *seconds > 0.0)
}

/// The best of all ways to split a request latency, and where there is none, of longer parts that are halved
/// `n_eased` times. The bound is that of the same question without it.
fn split(
    setting: &Setting,
    question: &Question<'_>,
    (door, control): (FleetSearch, &Control),
    n_eased: usize,
) -> Result<Answer, Refused> {
    let of = |question: &Question<'_>| of_hosts(setting, question, (door, control));
    let whole = of(question)?;
    let Some(most_s) = setting.asked.latency_s else { return Ok(whole) };
    let is_fast = |of: &Answer| of.is_kept() && latency_s(of) <= most_s;
    let whole = match question.promises.tpot_s {
        None => shortened(question, whole, (&of, &is_fast)),
        Some(_) => whole,
    };
    if is_fast(&whole) {
        return Ok(whole);
    }
    let (mut best, mut first): (Option<Answer>, Option<Answer>) = (None, None);
    let mut look = |promises: Promises| -> Result<Judged, Refused> {
        let question = Question { promises, ..question.clone() };
        let answer = of(&question)?;
        let (is_kept, is_fast) = (answer.is_kept(), is_fast(&answer));
        if !is_fast {
            first.get_or_insert(answer);
        } else if best.as_ref().is_none_or(|best| is_before(&question, &answer, best)) {
            best = Some(answer);
        }
        Ok(Judged { is_kept, is_fast })
    };
    let mut is_found = false;
    for part in PARTS {
        is_found |= look(promises(setting, &question.promises, part, most_s))?.is_fast;
    }
    for part in PARTS.into_iter().filter(|_| !is_found) {
        // Longer parts allow slower fleets, down to those that are too slow together.
        let (mut low, mut high) = (1.0, MOST_EASED);
        for _ in 0..n_eased {
            let eased = f64::midpoint(low, high);
            let found = look(promises(setting, &question.promises, part, eased * most_s))?;
            match found.is_kept && !found.is_fast {
                true => high = eased,
                false => low = eased,
            }
        }
    }
    let Some(mut best) = best else {
        let mut none = first.unwrap_or(whole);
        none.replays.clear();
        return Ok(none);
    };
    let bound = whole.found.bound.filter(|_| whole.is_kept());
    let value = best.found.best.as_ref().map(|best| best.value(question.objective));
    if bound.is_none() || bound != value {
        best.found.verdict = Verdict::Open;
    }
    best.found.bound = bound;
    Ok(best)
}

/// Whether one answer is better than another in the objective; of equal ones, in devices and price.
pub(super) fn is_before(question: &Question<'_>, one: &Answer, other: &Answer) -> bool {
    let value = |of: &Answer| {
        let best = of.found.best.as_ref()?;
        let price_per_hour = best.figures.price_per_hour.unwrap_or(0.0);
        Some((best.value(question.objective), best.figures.n_devices, price_per_hour))
    };
    match (value(one), value(other)) {
        (Some(one), Some(other)) if question.objective == Objective::Throughput => one.0 > other.0,
        (Some(one), Some(other)) => one < other,
        (one, other) => one.is_some() && other.is_none(),
    }
}

/// Whether a fleet keeps its promises, and the request latency.
struct Judged {
    is_kept: bool,
    is_fast: bool,
}

/// TTFT and TPOT that together are a request latency; TTFT takes `part` of it.
fn promises(setting: &Setting, stated: &Promises, part: f64, latency_s: f64) -> Promises {
    let n_output = match stated.statistic {
        Statistic::Mean => setting.asked.traffic.mean_tokens()[1],
        Statistic::Percentile(percent) => setting.asked.traffic.output_percentile(percent),
    };
    let least = |one: Option<f64>, other: f64| Some(one.map_or(other, |one| one.min(other)));
    if n_output <= 1.0 {
        return Promises { ttft_s: least(stated.ttft_s, latency_s), ..*stated };
    }
    Promises {
        ttft_s: least(stated.ttft_s, part * latency_s),
        tpot_s: least(stated.tpot_s, (1.0 - part) * latency_s / (n_output - 1.0)),
        ..*stated
    }
}

/// The best fleet found for a number of requests in flight (Little's law, by replays): of some request rates,
/// then of these again for fewer devices or a lower price, until none is found. No bound: rates are sampled.
fn at_concurrency(
    setting: &Setting,
    question: &Question<'_>,
    n: f64,
    (of, control): (Search<'_>, &Control),
) -> Result<Answer, Refused> {
    let mut best = at_rates(setting, question, n, (of, control))?;
    while let Some(better) = below(question, &best).filter(|_| best.is_kept()) {
        let other = at_rates(setting, &better, n, (of, control))?;
        if !other.is_kept() || other.n_under_way() < n || !is_before(question, &other, &best) {
            break;
        }
        best = other;
    }
    Ok(best)
}

/// The same question for fleets that are better than one in the objective.
pub(super) fn below<'q>(question: &Question<'q>, than: &Answer) -> Option<Question<'q>> {
    let figures = &than.found.best.as_ref()?.figures;
    let mut below = question.clone();
    match question.objective {
        Objective::FewestDevices => {
            let fewer = figures.n_devices.checked_sub(1).filter(|n| *n > 0)?;
            below.most_devices = Some(fewer);
        }
        Objective::LowestPrice => {
            below.most_price_per_hour = Some(CHEAPER * figures.price_per_hour?);
        }
        Objective::Throughput => return None,
    }
    Some(below)
}

/// The best of some rates: the lowest rate of equals.
fn at_rates(
    setting: &Setting,
    question: &Question<'_>,
    n: f64,
    (of, control): (Search<'_>, &Control),
) -> Result<Answer, Refused> {
    let asked = &setting.asked;
    let [_, n_output] = asked.traffic.mean_tokens();
    let Promises { ttft_s, tpot_s, .. } = question.promises;
    let promised_s = ttft_s.unwrap_or(0.0) + (n_output - 1.0) * tpot_s.unwrap_or(USUAL_TPOT_S);
    // Without any limit the first rate is a low one, and how many are under way at it says the next.
    let limit_s = Some(promised_s).filter(|seconds| *seconds > 0.0).unwrap_or(UNLIMITED_S);
    let stay_s = asked.latency_s.map_or(limit_s, |most| most.min(limit_s));
    let mut rate = n / stay_s.max(1e-3);
    // Rates at which fewer, and as many, are under way.
    let (mut low, mut high): (Option<f64>, Option<f64>) = (None, None);
    let mut best: Option<(f64, Answer)> = None;
    for _ in 0..MOST_RATES {
        let mut answer = of(&Question { requests_per_s: Some(rate), ..question.clone() })?;
        (answer.found.bound, answer.found.verdict) = (None, Verdict::Open);
        let held = answer.n_under_way();
        if !answer.is_kept() || held <= 0.0 {
            if low.is_none() || control.stop().is_some() {
                return Ok(best.map_or(answer, |(_, best)| best));
            }
            high = Some(rate);
        } else if held >= n {
            let is_better = best.as_ref().is_none_or(|(at, best)| {
                is_before(question, &answer, best)
                    || (rate < *at && !is_before(question, best, &answer))
            });
            if is_better {
                best = Some((rate, answer));
            }
            high = Some(high.map_or(rate, |high| high.min(rate)));
            if held <= ABOVE * n {
                break;
            }
        } else {
            low = Some(low.map_or(rate, |low| low.max(rate)));
        }
        rate = match (low, high) {
            (Some(low), Some(high)) => (low * high).sqrt(),
            // In the middle of what is allowed.
            _ => rate * (1.0 + ABOVE) / 2.0 * n / held,
        };
    }
    match best {
        Some((_, best)) => Ok(best),
        None => of(&Question { requests_per_s: Some(rate * ABOVE), ..question.clone() }),
    }
}
