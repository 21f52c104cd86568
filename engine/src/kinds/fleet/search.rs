//! The search for a question: request latencies are split into TTFT and TPOT, a concurrency becomes a rate.

use cost_model::serving::worker::Shape;
use planner::run::Control;
use planner::serving::fleet::{Objective, Verdict};
use planner::serving::fleets::FleetSearch;
use planner::serving::serving_fleet::{Answer, Promises, Question, Refused, Types};

use super::setting::{Setting, USUAL_TPOT_S};

/// Parts of a request latency that TTFT may take.
const PARTS: [f64; 5] = [0.05, 0.1, 0.2, 0.35, 0.5];
/// Fleets that are looked at for a concurrency, and how much above it the last one may be.
const MOST_RATES: usize = 8;
const ABOVE: f64 = 1.02;
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
    let of = |question: &Question<'_>| split(setting, question, (door, control));
    match setting.asked.traffic.concurrency {
        Some(n) if question.objective != Objective::Throughput => {
            at_concurrency(setting, question, n as f64, &of)
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
    let mut answer = search(setting, question, (door, control))?;
    let asked = &setting.asked;
    if question.promises.tpot_s.or(asked.latency_s).is_some() || asked.traffic.rate.is_none() {
        return Ok(answer);
    }
    for _ in 0..MOST_SHORTER {
        let Some(tpot_s) = slowest(&answer, 1).filter(|_| answer.is_kept()) else { break };
        let tpot_s = Some(SHORTER * tpot_s);
        let shorter =
            Question { promises: Promises { tpot_s, ..question.promises }, ..question.clone() };
        let Ok(other) = search(setting, &shorter, (door, control)) else { break };
        let value = |of: &Answer| Some(of.found.best.as_ref()?.value(question.objective));
        if !other.is_kept() || value(&other) != value(&answer) {
            break;
        }
        // What was searched, and the bound, are those without a promise.
        let (bound, verdict) = (answer.found.bound, answer.found.verdict);
        let first = std::mem::replace(&mut answer, other);
        answer.types = Types { workers: answer.types.workers, ..first.types };
        answer.predicted = first.predicted;
        (answer.found.bound, answer.found.verdict) = (bound, verdict);
    }
    Ok(answer)
}

/// The slowest TTFT (0) or TPOT (1) of an answer's replays.
pub(super) fn slowest(answer: &Answer, at: usize) -> Option<f64> {
    let all = answer.replays.iter().filter_map(|of| of.replayed.as_ref().ok());
    all.map(|of| of.seconds[at]).reduce(f64::max).filter(|seconds| *seconds > 0.0)
}

/// The best of all ways to split a request latency.
fn split(
    setting: &Setting,
    question: &Question<'_>,
    (door, control): (FleetSearch, &Control),
) -> Result<Answer, Refused> {
    let price = |pool: usize, shape: &Shape| setting.price(pool, shape);
    let mut best: Option<Answer> = None;
    let mut bound: Option<f64> = None;
    let better = |one: f64, other: f64| match question.objective {
        Objective::Throughput => one > other,
        _ => one < other,
    };
    let all = promises(setting, &question.promises);
    for promises in &all {
        let question = Question { promises: *promises, ..question.clone() };
        let answer = door(&question, &price, control)?;
        let value = |of: &Answer| {
            of.found
                .best
                .as_ref()
                .filter(|_| of.is_kept())
                .map(|best| best.value(question.objective))
        };
        if let Some(own) = answer.found.bound {
            bound = Some(bound.filter(|bound| !better(own, *bound)).unwrap_or(own));
        }
        let is_first = best.as_ref().is_none_or(|best| match (value(&answer), value(best)) {
            (Some(one), Some(other)) => better(one, other),
            (one, other) => one.is_some() && other.is_none(),
        });
        if is_first {
            best = Some(answer);
        }
    }
    let mut answer = best.ok_or(Refused::NoWorkers)?;
    if all.len() > 1 {
        let value = answer.found.best.as_ref().map(|best| best.value(question.objective));
        let is_beaten = bound.zip(value).is_some_and(|(bound, value)| better(bound, value));
        if is_beaten && answer.found.verdict == Verdict::Optimal {
            answer.found.verdict = Verdict::Open;
        }
        answer.found.bound = bound;
    }
    Ok(answer)
}

/// TTFT and TPOT that keep a request latency where both are kept.
fn promises(setting: &Setting, stated: &Promises) -> Vec<Promises> {
    let Some(latency_s) = setting.asked.latency_s else { return vec![*stated] };
    let [_, n_output] = setting.asked.traffic.mean_tokens();
    let least = |one: Option<f64>, other: f64| Some(one.map_or(other, |one| one.min(other)));
    if n_output <= 1.0 {
        return vec![Promises { ttft_s: least(stated.ttft_s, latency_s), ..*stated }];
    }
    let of = |part: f64| Promises {
        ttft_s: least(stated.ttft_s, part * latency_s),
        tpot_s: least(stated.tpot_s, (1.0 - part) * latency_s / (n_output - 1.0)),
        ..*stated
    };
    PARTS.map(of).to_vec()
}

/// The fleet for the least rate found at which so many requests are under way (Little's law, by replays).
fn at_concurrency(
    setting: &Setting,
    question: &Question<'_>,
    n: f64,
    of: &dyn Fn(&Question<'_>) -> Result<Answer, Refused>,
) -> Result<Answer, Refused> {
    let asked = &setting.asked;
    let [_, n_output] = asked.traffic.mean_tokens();
    let Promises { ttft_s, tpot_s, .. } = question.promises;
    let promised_s = ttft_s.unwrap_or(0.0) + (n_output - 1.0) * tpot_s.unwrap_or(USUAL_TPOT_S);
    let stay_s = asked.latency_s.map_or(promised_s, |most| most.min(promised_s));
    let mut rate = n / stay_s.max(1e-3);
    let mut best: Option<(f64, Answer)> = None;
    for _ in 0..MOST_RATES {
        let answer = of(&Question { requests_per_s: Some(rate), ..question.clone() })?;
        let held = answer.n_under_way();
        if !answer.is_kept() || held <= 0.0 {
            return Ok(best.map_or(answer, |(_, best)| best));
        }
        if held >= n && best.as_ref().is_none_or(|(least, _)| rate < *least) {
            best = Some((rate, answer.clone()));
        }
        if held >= n && held <= ABOVE * n {
            break;
        }
        // In the middle of what is allowed.
        rate *= (1.0 + ABOVE) / 2.0 * n / held;
    }
    match best {
        Some((_, best)) => Ok(best),
        None => of(&Question { requests_per_s: Some(rate * ABOVE), ..question.clone() }),
    }
}
