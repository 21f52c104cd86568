//! The first screen of a fleet.

use documents::plan::fleet::{
    AlternativeDocument, FleetDocument, FleetFigures, RejectedDocument, RoleDocument,
    WorkerDocument,
};
use documents::report::FoundDocument;
use ir::units::Bytes;
use planner::run::StopReason;
use planner::serving::fleet::Objective;

use super::decided;
use super::kind::exported;
use super::log::told;
use super::setting::Setting;
use super::words::{
    four_digits, groups, latency, listed, names, per_second, planned, statistic, thousands,
};
use crate::answer::page::{Column, Page};
use crate::answer::screen::Screen;
use crate::answer::words::rate;
use crate::inputs::load;

/// Columns of the workers of a row.
const LISTED: usize = 40;
/// Columns of the line of the plan, behind its label.
const PLANNED: usize = 75;

/// The first screen.
pub(super) fn of(
    setting: &Setting,
    report: &FoundDocument<FleetFigures>,
    stop: StopReason,
) -> Screen {
    let run = &setting.run;
    let fleet = report.plan.fleet.clone().unwrap_or_default();
    let figures = &report.figures;
    let devices = load::describe(&run.cluster);
    let mut screen = Screen::new(format!("{}, {}, on {devices}", run.model.name, traffic(setting)));
    let settings = format!("{}, {}", setting.asked.engine.name(), run.numbers.dtype.name());
    let columns = PLANNED.saturating_sub(settings.len());
    screen.fact("plan", format!("{}; {settings}", planned(&groups(&fleet.workers), columns)));
    if let Some(n) = n_routers(setting, Some(&fleet)).filter(|n| *n > 1) {
        let routers = format!("KV transfers stay within each of {n} hosts: one router per host");
        screen.fact("", routers);
    }
    screen.fact("serves", serves(setting, &fleet, figures));
    let promises = &fleet.promises;
    screen.fact("TTFT", slowest(&fleet, |of| of.ttft_s, promises.ttft_s));
    screen.fact("TPOT", slowest(&fleet, |of| of.tpot_s, promises.tpot_s));
    screen.fact("proof", proof(setting, report, stop));
    screen.fact("requests", requests(&fleet, setting, figures));
    screen.fact("memory", fullest(&fleet));
    let runs_on = runs_on(setting, &fleet);
    let none = || {
        let refused = exported(setting, &fleet, setting.asked.engine.name());
        let why = refused.err().map_or_else(String::new, |error| format!(": {}", error.message));
        format!("no server as it is{why}")
    };
    let is_run = !runs_on.is_empty();
    screen.fact("runs on", if is_run { runs_on.join(", ") } else { none() });
    let costs = setting.costs_from();
    screen.fact("based on", format!("{costs}; no interval: no fleet was measured"));
    instead(&mut screen, setting, (&fleet, figures));
    screen.target = is_run.then(|| setting.asked.engine.name());
    screen
}

/// A latency of the slowest worker type, and its limit: `1.12 s mean of prefill-0, the slowest, simulated; limit 2.00 s`.
fn slowest(
    fleet: &FleetDocument,
    seconds: fn(&WorkerDocument) -> Option<f64>,
    most: Option<f64>,
) -> Option<String> {
    let names = names(&fleet.workers);
    let all = fleet.workers.iter().zip(&names).filter_map(|(of, name)| Some((seconds(of)?, name)));
    let all: Vec<_> = all.collect();
    let (slowest_s, name) = all.iter().max_by(|one, other| one.0.total_cmp(&other.0))?;
    let of = if all.len() > 1 { format!(" of {name}, the slowest") } else { String::new() };
    let limit =
        most.map_or_else(|| "no limit".to_owned(), |most| format!("limit {}", latency(most)));
    Some(format!("{} {}{of}, simulated; {limit}", latency(*slowest_s), statistic(&fleet.promises)))
}

/// `50 requests/s of 4,000 tokens in, 1,000 out`.
fn traffic(setting: &Setting) -> String {
    let traffic = &setting.asked.traffic;
    let [input, output] = traffic.mean_tokens().map(|mean| thousands(mean.round() as u64));
    let mean = if traffic.lengths.len() > 1 { " in the mean" } else { "" };
    let prefix = match traffic.shared_prefix {
        0 => String::new(),
        n => format!(" (prefix {})", thousands(u64::from(n))),
    };
    let tokens = if input == "1" { "token" } else { "tokens" };
    let of = format!("{input} {tokens} in{prefix}, {output} out{mean}");
    let of = traffic.log.as_ref().map_or_else(|| of.clone(), |log| format!("{}: {of}", log.name));
    format!("{} of {of}", traffic.demand())
}

/// What the whole fleet does with the requests of a file, or how many are under way, or how long one takes.
fn requests(fleet: &FleetDocument, setting: &Setting, figures: &FleetFigures) -> Option<String> {
    let asked = &setting.asked;
    if let (Some(of), Some(log)) = (&figures.requests, &asked.traffic.log) {
        let tpot = of.tpot_s.as_ref().map_or_else(String::new, |of| format!(", TPOT {}", told(of)));
        return Some(format!(
            "{} of {} simulated on the whole fleet: TTFT {}{tpot}",
            thousands(of.n_replayed),
            log.name,
            told(&of.ttft_s)
        ));
    }
    let seconds = figures.latency_seconds.map(latency)?;
    let of = match fleet.promises.percentile {
        None => "on average".to_owned(),
        Some(_) => format!("at {}", statistic(&fleet.promises)),
    };
    if let Some(n) = fleet.concurrency {
        let held = figures.n_under_way;
        return Some(format!(
            "{held:.1} in flight on average ({n} requested), {seconds} each {of}"
        ));
    }
    let most = asked.latency_s.map(latency)?;
    Some(format!("{seconds} each {of}; limit {most}"))
}

fn serves(setting: &Setting, fleet: &FleetDocument, figures: &FleetFigures) -> String {
    let n = format!("{} of {} devices", fleet.n_devices, setting.n_devices());
    let price = fleet.price_per_hour.map_or_else(String::new, |price| format!(", {price:.2}/hour"));
    let tokens = rate(figures.output_tokens_per_s);
    format!(
        "{} requests/s, {tokens} output tokens/s on {n}{price}",
        per_second(fleet.requests_per_s)
    )
}

/// The engine, and what deploys it, as far as they take the fleet as it is.
pub(super) fn runs_on(setting: &Setting, fleet: &FleetDocument) -> Vec<&'static str> {
    let takes = |target: &&str| exported(setting, fleet, target).is_ok();
    [setting.asked.engine.name(), "dynamo", "llm-d"].into_iter().filter(takes).collect()
}

/// Why no fleet is better.
fn proof(setting: &Setting, report: &FoundDocument<FleetFigures>, stop: StopReason) -> String {
    let figures = &report.figures;
    let best = match setting.asked.objective {
        Objective::FewestDevices => "fewest devices",
        Objective::LowestPrice => "lowest price",
        Objective::Throughput => "most requests/s",
    };
    let plural = if figures.n_types == 1 { "" } else { "s" };
    let transfers = transfers(setting, report.plan.fleet.as_deref());
    let space = format!(
        "{} worker type{plural} (from {} shape{}){transfers}",
        thousands(figures.n_types),
        thousands(figures.n_enumerated),
        if figures.n_enumerated == 1 { "" } else { "s" }
    );
    let bound = report.plan.fleet.as_ref().and_then(|fleet| fleet.bound);
    match (figures.is_proved, bound) {
        (true, _) => format!("{best} by formulas, over mixes of {space}"),
        (false, Some(bound)) => {
            // Without the limit other worker types were searched.
            let of = match setting.asked.latency_s {
                Some(_) => " without the request latency limit".to_owned(),
                None => format!(", over mixes of {space}"),
            };
            let most = allowed(setting.asked.objective, bound);
            let stop = match stop {
                StopReason::Finished => String::new(),
                stop => format!("; {}", stop.words()),
            };
            format!("not proved: formulas allow {most}{of}{stop}")
        }
        (false, None) if figures.requests.is_some() => {
            let served = report.plan.fleet.as_ref().map_or(0.0, |of| of.requests_per_s);
            let at = "at which the simulated file meets the limits";
            format!("not proved: sized for {} requests/s, {at}", per_second(served))
        }
        (false, None) if setting.slow_links().is_some() => {
            "not proved: links of several rates are priced at the slowest".to_owned()
        }
        (false, None) if setting.is_open => {
            "not proved: hosts differ, and workers across them are priced at the slowest".to_owned()
        }
        (false, None) if setting.is_percentile_of_mix() => {
            "not proved: for a percentile of mixed lengths, workers are filtered by mean lengths"
                .to_owned()
        }
        (false, None) if setting.asked.traffic.concurrency.is_some() => {
            format!("not proved: {best} over the request rates tried, each with {space}")
        }
        (false, None) if stop != StopReason::Finished => format!("not proved: {}", stop.words()),
        (false, None) => {
            "not proved: found by a further search, of which no bound is known".to_owned()
        }
    }
}

/// Fleets of hosts that differ, each with its hand-overs within it, are in no search, but below the bound of those within
/// hosts.
fn transfers(setting: &Setting, fleet: Option<&FleetDocument>) -> &'static str {
    match setting.on_one_host(&setting.question()) {
        Some(_) if n_routers(setting, fleet).is_none() => {
            ", KV transfers all between hosts or all within one"
        }
        _ => "",
    }
}

/// The best that formulas allow, by a bound that is rounded to what it still says.
fn allowed(objective: Objective, bound: f64) -> String {
    let least = || four_digits(bound, f64::floor);
    match objective {
        Objective::FewestDevices => {
            format!("as few as {} device{}", least(), if bound == 1.0 { "" } else { "s" })
        }
        Objective::LowestPrice => format!("as little as {} per hour", least()),
        Objective::Throughput => format!("up to {} requests/s", four_digits(bound, f64::ceil)),
    }
}

/// Hosts that each need a router of their own, as keys and values are handed over within each; none where they cross a
/// network, or are handed over to nobody.
fn n_routers(setting: &Setting, fleet: Option<&FleetDocument>) -> Option<usize> {
    let workers = decided::of_document(setting, fleet?).ok()?;
    setting.on_one_host(&setting.question())?;
    decided::n_hosts_within(setting, &workers)
}

/// Memory of the workers with the fewest tokens of keys and values, prefill aside.
fn fullest(fleet: &FleetDocument) -> Option<String> {
    let named = names(&fleet.workers);
    let caching = named.iter().zip(&fleet.workers);
    let caching = caching.filter(|(_, worker)| worker.role != RoleDocument::Prefill);
    let (name, worker) = caching.min_by_key(|(_, worker)| worker.kv_tokens)?;
    let memory = &worker.memory;
    let ranks = if worker.data > 1 { " per DP rank" } else { "" };
    let usable = memory.capacity.saturating_sub(memory.reserve);
    let others = usable.saturating_sub(memory.weights + memory.cache);
    Some(format!(
        "{name}: weights {}, KV cache {} ({} tokens{ranks}), other {}: all of {} usable per device",
        Bytes(memory.weights),
        Bytes(memory.cache),
        thousands(worker.kv_tokens),
        Bytes(others),
        Bytes(usable)
    ))
}

/// What the objective counts of another fleet: devices, price of an hour, or requests/s.
fn value(setting: &Setting, other: &AlternativeDocument) -> Option<String> {
    let price = other.price_per_hour.filter(|_| setting.asked.objective == Objective::LowestPrice);
    match (setting.asked.traffic.has_demand(), price) {
        (true, Some(price)) => Some(format!("{price:.2}")),
        (true, None) => other.n_devices.map(|n| n.to_string()),
        (false, _) => other.requests_per_s.map(per_second),
    }
}

/// The Pareto front.
pub(super) fn front(setting: &Setting, all: &[AlternativeDocument], page: &Page) {
    if all.len() < 2 {
        return;
    }
    let time = |seconds: Option<f64>| seconds.map_or_else(|| "-".to_owned(), latency);
    let row = |of: &AlternativeDocument| {
        let value = value(setting, of).unwrap_or_default();
        let workers = of.workers.clone().unwrap_or_default();
        vec![of.name.clone(), time(of.tpot_seconds), value, time(of.ttft_seconds), workers]
    };
    let columns = match setting.asked.objective {
        Objective::FewestDevices => "@Pareto front | #TPOT | #devices | #TTFT | ~workers",
        Objective::LowestPrice => "@Pareto front | #TPOT | #per hour | #TTFT | ~workers",
        Objective::Throughput => "@Pareto front | #TPOT | #requests/s | #TTFT | ~workers",
    };
    page.table(&Column::row(columns), all.iter().map(row).collect());
    page.text("\n");
}

/// Other fleets.
fn instead(
    screen: &mut Screen,
    setting: &Setting,
    (fleet, figures): (&FleetDocument, &FleetFigures),
) {
    let has_rate = setting.asked.traffic.has_demand();
    let is_priced = setting.asked.objective == Objective::LowestPrice;
    let time = |seconds: Option<f64>| seconds.map_or_else(|| "-".to_owned(), latency);
    let row = |other: &AlternativeDocument| {
        let value = value(setting, other).unwrap_or_else(|| "-".to_owned());
        let text = other.why.clone().or_else(|| other.workers.clone()).unwrap_or_default();
        vec![other.name.clone(), value, time(other.ttft_seconds), time(other.tpot_seconds), text]
    };
    let planned = listed(&groups(&fleet.workers), LISTED);
    let is_other = |other: &&AlternativeDocument| {
        let value = if has_rate { None } else { Some(fleet.requests_per_s) };
        other.workers.as_ref() != Some(&planned) || other.requests_per_s < value
    };
    let rows = figures.alternatives.iter().filter(is_other).map(row).collect();
    let columns = match has_rate {
        true if is_priced => Column::row("@instead | #per hour | #TTFT | #TPOT | ~workers"),
        true => Column::row("@instead | #devices | #TTFT | #TPOT | ~workers"),
        false => Column::row("@instead | #requests/s | #TTFT | #TPOT | ~workers"),
    };
    screen.table(&columns, rows);
}

/// Worker shapes that are none, with why.
pub(super) fn rejected(all: &[RejectedDocument], page: &Page) {
    let is_other = |of: &RejectedDocument| of.kind != all[0].kind;
    let has_kinds = all.iter().any(is_other);
    let row = |of: &RejectedDocument| {
        let kind = has_kinds.then(|| of.kind.clone());
        let [name, degrees, why] = [of.role.name().to_owned(), of.degrees.clone(), of.why.clone()];
        [Some(name), kind, Some(degrees), Some(why)].into_iter().flatten().collect()
    };
    let columns = match has_kinds {
        true => Column::row("@rejected | devices | degrees | why"),
        false => Column::row("@rejected | degrees | why"),
    };
    page.table(&columns, all.iter().map(row).collect());
    page.text("\n");
}
