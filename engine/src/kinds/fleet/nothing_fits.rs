//! Why there is no fleet: memory, a promise, or too few devices; and how much suffices.

use cost_model::serving::arrivals::Length;
use cost_model::serving::replay::Distribution;
use ir::diagnostic::{Blame, Diagnostic};
use ir::units::Bytes;
use planner::run::StopReason;
use planner::serving::fleet::{Role, Verdict};
use planner::serving::serving_fleet::{Answer, FleetReplay, Link, Reason, Shortfall, Statistic};

use super::pools::Pool;
use super::setting::{Setting, stated};
use super::suffices::Suffices;
use super::words::{self, degrees, four_digits, latency, per_second};
use crate::answer::nothing_fits::exceeded;
use crate::inputs::load;
use crate::request::serving::ServingMode;

/// How much above the least that can be kept a hinted promise is.
const EASED: f64 = 1.05;

/// How far above a bound by formulas a rate is impossible, and with how much longer limits still: formulas are off by no
/// more in 99 of 100 cases (`the_replay_agrees_at_a_rate`). Near the least latency small errors of it change the rate
/// more: 15.7 % was seen.
pub(super) const FAR: f64 = 1.15;

/// Why there is none.
pub(super) fn why(
    setting: &Setting,
    answer: &Answer,
    (enough, longer_s, (stop, is_ended)): (
        &[Option<Suffices>; 2],
        Option<f64>,
        (Option<StopReason>, bool),
    ),
) -> Diagnostic {
    if stop.is_some() {
        return Diagnostic::error(Blame::NotFound, "no-fleet", "no fleet was found in time")
            .hint("raise --time-limit");
    }
    let types = &answer.types;
    // Where the model fits on some devices, another reason rules these out.
    if types.workers.is_empty()
        && answer.shortfalls.len() == setting.pools.len()
        && let Some(short) = answer.shortfalls.first()
    {
        return too_large(setting, short);
    }
    let error = unpriced(setting, answer)
        .or_else(|| promised(setting, answer))
        .or_else(|| late(setting, answer, longer_s))
        .or_else(|| not_run(setting, answer))
        .unwrap_or_else(|| too_few(setting, answer, enough, is_ended));
    match setting.slow_links() {
        Some(slow) => {
            let error = Diagnostic { blame: Blame::NotFound, ..error }.fact("links", slow.message);
            slow.hints.into_iter().fold(error, Diagnostic::hint)
        }
        // Short requests alone may be within a percentile.
        None if setting.is_percentile_of_mix() || setting.are_split || setting.is_open => {
            Diagnostic { blame: Blame::NotFound, ..error }
        }
        None => error,
    }
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
    // Workers have devices of one pool.
    let is_way = |link: &Link| link.from != link.to && link.is_way();
    let blame = match setting.links.iter().any(is_way) {
        true => Blame::NotFound,
        false => error.blame,
    };
    let error = Diagnostic { blame, ..error };
    let error = missing.iter().fold(error, |error, missing| error.fact("missing", *missing));
    match &short.smallest {
        Some((devices, shape)) => {
            let fact = format!("{devices} x {} ({})", pool.kind, degrees(shape));
            let n_here: usize = pool.hosts.iter().map(Vec::len).sum();
            let is_limited = setting.asked.most_devices.is_some_and(|n| n < u64::from(*devices));
            let limit = match is_limited && n_here >= *devices as usize {
                true => format!(": state --devices {devices}"),
                false => String::new(),
            };
            let widest = pool.hosts.iter().map(Vec::len).max().unwrap_or(0);
            let hosts = match widest < *devices as usize {
                true => ", on hosts that a `network` joins",
                false => "",
            };
            let workers = match setting.asked.mode {
                ServingMode::Disaggregated => "; prefill and decode workers take as many each",
                _ => "",
            };
            error.fact("smallest", fact).hint(format!(
                "{devices} devices of this kind fit the model and one request{hosts}{limit}{workers}"
            ))
        }
        None => {
            error.hint("give the config of a quantised checkpoint, or name devices of more memory")
        }
    }
}

/// A fleet's replay of a file of requests misses what is promised, however much it is sized for.
pub(super) fn missed_at_arrivals(
    setting: &Setting,
    replay: &FleetReplay,
    (answer, stop): (&Answer, Option<StopReason>),
) -> Diagnostic {
    let name = setting.asked.traffic.log.as_ref().map_or("", |log| log.name.as_str());
    let message = format!("found no fleet that meets the latency limits at the arrivals of {name}");
    let of = |values: &Distribution| {
        format!("mean {}, p90 {}", latency(values.mean()), latency(values.percentile(90.0)))
    };
    let error = Diagnostic::error(Blame::NotFound, "no-fleet", message)
        .fact("workers", words::workers(&words::found(setting, answer)))
        .fact("ttft", of(&replay.ttft));
    let error = replay.tpot.iter().fold(error, |error, tpot| error.fact("tpot", of(tpot)));
    error.hint(match stop {
        Some(_) => "raise --time-limit: larger fleets were not looked at",
        None => "allow longer latencies, name more devices, or plan for the lengths alone with --lengths",
    })
}

/// Measured kernels that price no worker: what does so is not said to be impossible.
fn unpriced(setting: &Setting, answer: &Answer) -> Option<Diagnostic> {
    let tables = setting.tables.as_ref().filter(|_| !answer.can_serve())?;
    let reasons = answer.types.rejected.iter().map(|rejected| &rejected.reason);
    let is_late = |reason: &Reason| matches!(reason, Reason::Ttft { .. } | Reason::Tpot { .. });
    if reasons.clone().any(is_late) {
        return None;
    }
    let mut reasons = reasons.filter_map(|reason| match reason {
        Reason::Unpriced(what) => Some(what),
        _ => None,
    });
    let name = &tables.reference.name;
    let message = format!("{name} prices no worker of this model: {}", reasons.next()?);
    Some(
        Diagnostic::error(Blame::NotFound, "no-plan", message)
            .fact("worker_shapes", answer.types.n_enumerated)
            .hint("leave out --profile: nominal costs price it"),
    )
}

/// The engine runs none of the workers that the model fits on.
fn not_run(setting: &Setting, answer: &Answer) -> Option<Diagnostic> {
    let mut rejected = answer.types.rejected.iter().filter(|_| answer.types.workers.is_empty());
    let (what, shape) = rejected.find_map(|rejected| match rejected.reason {
        Reason::Engine(what) => Some((what, &rejected.shape)),
        _ => None,
    })?;
    let message =
        format!("{} runs no worker that the model fits on: {what}", setting.asked.engine.name());
    let fact = format!("{} devices ({})", shape.devices(), degrees(shape));
    Some(
        Diagnostic::error(Blame::NotFound, "no-fleet", message)
            .fact("not_run", fact)
            .fact("worker_shapes", answer.types.n_enumerated)
            .hint("plan for another engine with --for, or name devices of more memory"),
    )
}

/// A request latency that no fleet keeps, and one that a fleet does.
fn late(setting: &Setting, answer: &Answer, longer_s: Option<f64>) -> Option<Diagnostic> {
    let most = setting.asked.latency_s?;
    if answer.can_serve() && longer_s.is_none() {
        return None;
    }
    let of = words::statistic(&stated(&setting.asked));
    let message =
        format!("found no fleet with a {of} request latency of at most {}", latency(most));
    let error = Diagnostic::error(Blame::NotFound, "no-fleet", message)
        .fact("promised_s", most)
        .fact("worker_shapes", answer.types.n_enumerated);
    Some(match longer_s {
        Some(seconds) => error.hint(format!(
            "raise the limit: --request-latency {}ms, which these devices meet",
            (1e3 * seconds).ceil()
        )),
        None => error.hint("state fewer --output-tokens, or name faster devices"),
    })
}

/// Limits that no worker meets even with one request under way, or no prefill worker and decode worker together; and
/// longer ones that the nearest meet.
fn promised(setting: &Setting, answer: &Answer) -> Option<Diagnostic> {
    if answer.can_serve() {
        return None;
    }
    // Parts of a request latency are shorter than what is stated.
    let promises = &setting.asked.promises;
    let limits = [promises.ttft_s, promises.tpot_s];
    let excess = |alone_s: &[f64; 2]| {
        let of = |at: usize| limits[at].map_or(1.0, |limit| (alone_s[at] / limit).max(1.0));
        [of(0), of(1)]
    };
    let product = |alone_s: &[f64; 2]| excess(alone_s).iter().product::<f64>();
    let nearest =
        ways(setting, answer).into_iter().min_by(|a, b| product(a).total_cmp(&product(b)))?;
    let names = [("TTFT", "--ttft"), ("TPOT", "--tpot")];
    let missed = [0, 1].map(|at| limits[at].filter(|_| excess(&nearest)[at] > 1.0));
    let [stated, best, longer, flags] = [0, 1, 2, 3].map(|what| {
        let of = |at: usize| {
            let (limit, (name, flag)) = (missed[at]?, names[at]);
            // As many digits as it takes to see the difference.
            let digits = match latency(limit) == latency(nearest[at]) {
                true => |seconds: f64| format!("{:.3} ms", 1e3 * seconds),
                false => latency,
            };
            Some(match what {
                0 => format!("{name} {}", digits(limit)),
                1 => digits(nearest[at]),
                2 => name.to_owned(),
                _ => format!("{flag} {}ms", (1e3 * nearest[at] * EASED).ceil()),
            })
        };
        [of(0), of(1)].into_iter().flatten().collect::<Vec<_>>()
    });
    if stated.is_empty() {
        return None;
    }
    let [stated, best, longer] = [stated, best, longer].map(|words| words.join(" and "));
    let message = format!("no worker meets {stated}: one request at a time has {best} at best");
    // The same request has to be within its own limit too.
    let request_s = nearest[0] + mean_steps(setting) * nearest[1];
    let late = setting.asked.latency_s.filter(|most| request_s > *most);
    let late = late.map(|_| format!("--request-latency {}ms", (1e3 * request_s * EASED).ceil()));
    let flags: Vec<_> = flags.into_iter().chain(late).collect();
    let suffice = if flags.len() > 1 { "suffice" } else { "suffices" };
    let hint = format!(
        "allow a longer {longer} ({} {suffice} for one request at a time), or name faster devices",
        flags.join(" ")
    );
    let error = Diagnostic::error(Blame::Infeasible, "no-fleet", message);
    let least = ["least_ttft_s", "least_tpot_s"].into_iter().zip(nearest).zip(missed);
    let error = least
        .filter(|(_, missed)| missed.is_some())
        .fold(error, |error, ((name, seconds), _)| error.fact(name, seconds));
    Some(error.fact("worker_shapes", answer.types.n_enumerated).hint(hint))
}

/// Mean tokens after the first.
fn mean_steps(setting: &Setting) -> f64 {
    let lengths = &setting.asked.traffic.lengths;
    let total: f64 = lengths.iter().map(|length| length.share).sum();
    let of = |length: &Length| length.share / total * f64::from(length.n_output.saturating_sub(1));
    lengths.iter().map(of).sum()
}

/// TTFT and TPOT of one request at a time where workers miss a limit: of each aggregated one, and of prefill and decode
/// workers that the devices have room for together.
fn ways(setting: &Setting, answer: &Answer) -> Vec<[f64; 2]> {
    let late = |role: Role| {
        let rejected = answer.types.rejected.iter().filter(move |rejected| rejected.role == role);
        rejected.filter_map(|rejected| match rejected.reason {
            Reason::Ttft { alone_s } | Reason::Tpot { alone_s } => {
                Some((rejected.shape.devices(), alone_s))
            }
            _ => None,
        })
    };
    // A worker misses nothing.
    let able = |role: Role| {
        let workers = answer.types.workers.iter().filter(move |of| of.figures.role == role);
        let able = workers.map(|of| (u64::from(of.figures.n_devices), [0.0; 2]));
        able.chain(late(role)).collect::<Vec<_>>()
    };
    let n_devices = setting.asked.most_devices.unwrap_or(setting.n_devices() as u64);
    let mut ways: Vec<_> = late(Role::Aggregated).map(|(_, alone_s)| alone_s).collect();
    let [prefill, decode] = [Role::Prefill, Role::Decode].map(able);
    for (n_prefill, [ttft_s, _]) in prefill {
        let fit = decode.iter().filter(|(n_decode, _)| n_prefill + n_decode <= n_devices);
        ways.extend(fit.map(|(_, [_, tpot_s])| [ttft_s, *tpot_s]));
    }
    ways
}

/// The devices serve less than the rate.
fn too_few(
    setting: &Setting,
    answer: &Answer,
    [most, enough]: &[Option<Suffices>; 2],
    is_ended: bool,
) -> Diagnostic {
    let traffic = &setting.asked.traffic;
    let is_proved = is_impossible(setting, answer, most.as_ref());
    let blame = if is_proved { Blame::Infeasible } else { Blame::NotFound };
    let n_devices = setting.n_devices() as u64;
    let devices = of_devices(setting);
    let settings = format!(
        "{}, {}, workers of up to {} devices",
        setting.asked.engine.name(),
        setting.run.numbers.dtype.name(),
        setting.most_of_worker
    );
    let is_bound = is_proved && setting.on_one_host(&setting.question()).is_none();
    let served = most.as_ref().map_or(0.0, |most| match most.bound_per_s {
        Some(bound) if is_bound => bound,
        _ => most.requests_per_s,
    });
    let within = within(setting);
    let shown = if is_bound { four_digits(served, f64::ceil) } else { per_second(served) };
    let asked = match (traffic.rate, traffic.concurrency) {
        (None, Some(n)) => format!("{shown} requests/s, and keeping {n} in flight takes more"),
        (rate, _) => format!("{shown} of {} requests/s", per_second(rate.unwrap_or(0.0))),
    };
    let message = match served > 0.0 {
        // Unequal hosts, with a router each, may serve more together.
        true if !is_bound => {
            format!("the best fleet found on {devices} serves {asked}{within} ({settings})")
        }
        true => format!(
            "too few devices: by formulas {devices} serve at most {asked}{within} ({settings})"
        ),
        false => {
            format!("no fleet found on {devices} for {}{within} ({settings})", traffic.demand())
        }
    };
    let error = Diagnostic::error(blame, "no-fleet", message)
        .fact("worker_shapes", answer.types.n_enumerated)
        .fact("based_on", format!("{}, no interval", setting.costs_from()));
    let error = most.iter().fold(error, |error, most| error.fact("best", most.workers.clone()));
    let Some(enough) = enough else {
        return without_enough(setting, error, (served, is_ended));
    };
    let error =
        error.fact("devices_needed", enough.n_devices).hint(sufficient(setting, enough, n_devices));
    // Of other arrivals a little less is sure.
    let found = most.as_ref().map_or(0.0, |most| 0.98 * most.requests_per_s);
    let rate = four_digits(found, f64::floor);
    match traffic.rate.filter(|_| found > 0.0) {
        Some(_) => error.hint(format!("--rate {rate} fits on these devices")),
        None => error,
    }
}

/// Whether the devices serve less than the rate whatever the fleet.
fn is_impossible(setting: &Setting, answer: &Answer, most: Option<&Suffices>) -> bool {
    let traffic = &setting.asked.traffic;
    // How long the slowest requests wait is an estimate until a fleet is replayed, arrivals of a file are no Poisson
    // process, and of a concurrency some rates are tried.
    let is_estimated = matches!(setting.asked.promises.statistic, Statistic::Percentile(_))
        || traffic.log.is_some()
        || traffic.concurrency.is_some();
    let bound_per_s = most.and_then(|most| most.bound_per_s);
    let is_far = traffic.rate.zip(bound_per_s).is_none_or(|(rate, bound)| rate > FAR * bound);
    answer.found.verdict == Verdict::Infeasible && !is_estimated && is_far
}

/// ` within TTFT 1.00 s, TPOT 40.0 ms`; nothing without limits.
fn within(setting: &Setting) -> String {
    let promises = &setting.asked.promises;
    let limits = [("TTFT", promises.ttft_s), ("TPOT", promises.tpot_s)];
    let limits =
        limits.into_iter().filter_map(|(of, most)| Some(format!("{of} {}", latency(most?))));
    let limits = limits.collect::<Vec<_>>().join(", ");
    if limits.is_empty() { limits } else { format!(" within {limits}") }
}

/// What helps where no number of devices that was tried is enough.
fn without_enough(
    setting: &Setting,
    error: Diagnostic,
    (served, is_ended): (f64, bool),
) -> Diagnostic {
    let traffic = &setting.asked.traffic;
    let [less, less_or_more] = match (traffic.rate, traffic.concurrency) {
        (None, None) => ["allow longer latencies", "allow longer latencies, or name more devices"],
        (None, Some(_)) => [
            "state a lower --concurrency, or allow longer latencies",
            "state a lower --concurrency, allow longer latencies, or name more devices",
        ],
        (Some(_), _) => [
            "state a lower --rate, or allow longer latencies",
            "state a lower --rate, allow longer latencies, or name more devices",
        ],
    };
    if is_ended {
        let hint = "how many devices serve them was not found in time: raise --time-limit";
        return error.hint(hint).hint(less);
    }
    let error = match setting.pools.iter().any(Pool::is_apart) {
        true => error.hint("join the devices: state `scaleup` or `host` of nodes, and a `network`"),
        false => error,
    };
    error.hint(match served > 0.0 {
        true => less,
        false => less_or_more,
    })
}

/// The devices that a fleet may use.
fn of_devices(setting: &Setting) -> String {
    let all = load::describe(&setting.run.cluster);
    let n_devices = setting.n_devices() as u64;
    match setting.asked.most_devices.filter(|most| *most < n_devices) {
        Some(most) => format!("{most} of {all}"),
        None => all,
    }
}

/// A cluster, or a limit of devices, that serves the rate.
fn sufficient(setting: &Setting, enough: &Suffices, n_devices: u64) -> String {
    let Suffices { n_devices: n, workers, .. } = enough;
    let is_limited = setting.asked.most_devices.is_some();
    if is_limited && *n <= n_devices {
        return format!("use --devices {n} ({workers})");
    }
    let without = if is_limited { ", and leave out --devices" } else { "" };
    // Hand-overs between hosts are priced as those of the only one.
    let n_hosts: usize = setting.pools.iter().map(|pool| pool.hosts.len()).sum();
    let joined = match enough.hands_over && n_hosts == 1 {
        true => ", if a network joins them that is as fast as the host's links",
        false => "",
    };
    let count = |(pool, n): (&Pool, &u64)| {
        let n_hosts = n.div_ceil(pool.hosts[0].len().max(1) as u64);
        match &setting.pools[..] {
            [_] => Some(format!("`count: {n_hosts}` of these hosts")),
            _ if n_hosts <= pool.hosts.len() as u64 => None,
            _ => Some(format!("`count: {n_hosts}` of {} hosts", pool.kind)),
        }
    };
    let hosts: Vec<_> = setting.pools.iter().zip(&enough.devices).filter_map(count).collect();
    let hosts = format!("state {} in the cluster file", hosts.join(" and "));
    let of = if *n == 1 { "device of these kinds serves" } else { "devices of these kinds serve" };
    format!("{n} {of} them ({workers}){joined}: {hosts}{without}")
}
