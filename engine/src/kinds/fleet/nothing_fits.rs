//! Why there is no fleet: memory, a promise, or too few devices; and how much suffices.

use ir::diagnostic::{Blame, Diagnostic};
use ir::units::Bytes;
use planner::run::StopReason;
use planner::serving::fleet::{Role, Verdict};
use planner::serving::serving_fleet::{Answer, Reason, Shortfall};

use super::plan::Suffices;
use super::setting::Setting;
use super::words::{degrees, latency};
use crate::answer::nothing_fits::exceeded;
use crate::inputs::load;

/// How much above the least that can be kept a hinted promise is.
const EASED: f64 = 1.05;

/// Why there is none.
pub(super) fn why(
    setting: &Setting,
    answer: &Answer,
    (enough, stop): (&[Option<Suffices>; 2], Option<StopReason>),
) -> Diagnostic {
    if stop.is_some() {
        return Diagnostic::error(Blame::NotFound, "no-plan", "no fleet was found in time")
            .hint("raise --time-limit");
    }
    let types = &answer.types;
    if types.workers.is_empty()
        && let Some(short) = answer.shortfalls.first()
    {
        return too_large(setting, short);
    }
    promised(setting, answer).unwrap_or_else(|| too_few(setting, answer, enough))
}

/// The model fits on no worker that the devices allow.
fn too_large(setting: &Setting, short: &Shortfall) -> Diagnostic {
    let pool = &setting.pools[short.pool];
    let n = short.shape.devices();
    let on = format!("{n} x {} ({})", pool.kind, degrees(&short.shape));
    let (message, missing) = match short.reason {
        Reason::Memory { missing } => {
            (format!("nothing fits: weights and buffers on {on}"), Some(Bytes(missing)))
        }
        Reason::Cache { room, needed } => {
            let message = format!(
                "nothing fits: the KV cache on {on} has room for {room} of {needed} tokens"
            );
            (message, None)
        }
        _ => (format!("nothing fits on {on}"), None),
    };
    let message = match missing {
        Some(missing) => format!("{message} need {missing} more per device"),
        None => message,
    };
    let error = exceeded(true, message);
    let error = missing.iter().fold(error, |error, missing| error.fact("missing", *missing));
    match &short.smallest {
        Some((devices, shape)) => {
            let fact = format!("{devices} x {} ({})", pool.kind, degrees(shape));
            error.fact("smallest", fact).hint(format!(
                "{devices} devices of this kind hold the model and one request: name a cluster of them"
            ))
        }
        None => error.hint("give a quantised checkpoint, or name devices of more memory"),
    }
}

/// A latency that no worker keeps even with one request under way.
fn promised(setting: &Setting, answer: &Answer) -> Option<Diagnostic> {
    let has = |is_in: &dyn Fn(Role) -> bool| {
        answer.types.workers.iter().any(|worker| is_in(worker.figures.role))
    };
    let can_answer = has(&|role| role == Role::Aggregated)
        || (has(&|role| role == Role::Prefill) && has(&|role| role == Role::Decode));
    if can_answer {
        return None;
    }
    let least = |of: &dyn Fn(&Reason) -> Option<f64>| {
        let reasons = answer.types.rejected.iter().map(|rejected| &rejected.reason);
        reasons.filter_map(of).reduce(f64::min)
    };
    let ttft = least(&|reason| match reason {
        Reason::Ttft { seconds } => Some(*seconds),
        _ => None,
    });
    let tpot = least(&|reason| match reason {
        Reason::Tpot { seconds } => Some(*seconds),
        _ => None,
    });
    let promises = &setting.asked.promises;
    let (name, flag, least, asked) = match (tpot, ttft) {
        (Some(least), _) => ("TPOT", "--tpot", least, promises.tpot_s?),
        (None, Some(least)) => ("TTFT", "--ttft", least, promises.ttft_s?),
        (None, None) => return None,
    };
    let message = format!(
        "no worker keeps {name} {}: the least with one request is {}",
        latency(asked),
        latency(least)
    );
    let eased = format!("{}ms", (1e3 * least * EASED).ceil());
    Some(
        Diagnostic::error(Blame::Infeasible, "no-fleet", message)
            .fact("least_s", least)
            .fact("promised_s", asked)
            .fact("worker_shapes", answer.types.n_enumerated)
            .hint(format!("allow a longer {name}, such as {flag} {eased}, or name faster devices")),
    )
}

/// The devices serve less than the rate.
fn too_few(
    setting: &Setting,
    answer: &Answer,
    [most, enough]: &[Option<Suffices>; 2],
) -> Diagnostic {
    let asked = setting.asked.rate.unwrap_or(0.0);
    let is_proved = answer.found.verdict == Verdict::Infeasible;
    let blame = if is_proved { Blame::Infeasible } else { Blame::NotFound };
    let devices = load::describe(&setting.run.cluster);
    let settings = format!("{}, {}", setting.asked.engine.name(), setting.run.numbers.dtype.name());
    let served = most.as_ref().map_or(0.0, |most| most.requests_per_s);
    let within = match setting.asked.promises.ttft_s.or(setting.asked.promises.tpot_s) {
        Some(_) => " within the promised latencies",
        None => "",
    };
    let message = format!(
        "too few devices: {devices} serve at most {served:.3} of {asked} requests/s{within} ({settings})"
    );
    let error = Diagnostic::error(blame, "no-fleet", message)
        .fact("worker_shapes", answer.types.n_enumerated)
        .fact("based_on", format!("{}, no interval", setting.costs_from()));
    let error = most.iter().fold(error, |error, most| error.fact("best", most.workers.clone()));
    let Some(enough) = enough else {
        return error.hint("state a lower --rate, or allow longer latencies");
    };
    let per_host = setting.pools.iter().map(|pool| pool.hosts[0].len()).max().unwrap_or(1);
    error.fact("devices_needed", enough.n_devices).hint(format!(
        "{} devices of these kinds, on hosts of {per_host}, serve them ({}): name a cluster of as many, \
         or a lower --rate",
        enough.n_devices, enough.workers
    ))
}
