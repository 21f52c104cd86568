//! The best fleet of the worker types of a file, with rates of load tests for example, proved.

use std::path::Path;
use std::time::Instant;

use ir::diagnostic::{Blame, Diagnostic};
use ir::plan_kind::PlanKind;
use planner::placement::auto::DEFAULT_TIME;
use planner::run::{Control, Limits};
use planner::serving::fleet::{
    self, Found, Objective, Pool, Question, Role, Verdict, WorkerType, speed_of_light,
};
use serde::{Deserialize, Serialize};

use super::words::{latency, per_second};
use crate::answer::exit::{CommandResult, Exit};
use crate::answer::files::input_file;
use crate::answer::page::{Column, Format};
use crate::answer::screen::Screen;
use crate::request::PlanRequest;
use crate::request::fields::{self, Honours};
use crate::search::run::Run;

/// Longest file, in bytes.
const LONGEST: u64 = 1 << 20;
/// What a file of worker types states as its `kind`.
const KIND: &str = "workers";
const FORMAT: &str = "meshwright.workers/1";

/// What these answers honour of a request, beside what all do.
const HONOURS: Honours = Honours::new("worker types", PlanKind::Given, "");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "kind")]
    _kind: String,
    pools: Vec<PoolDocument>,
    workers: Vec<WorkerDocument>,
    objective: Option<String>,
    requests_per_s: Option<f64>,
    ttft_s: Option<f64>,
    tpot_s: Option<f64>,
    max_devices: Option<u64>,
    max_price_per_hour: Option<f64>,
    bytes_per_request: Option<f64>,
    #[serde(default)]
    links: Vec<LinkDocument>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PoolDocument {
    name: String,
    hosts: Option<u32>,
    devices_per_host: u32,
    price_per_hour: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WorkerDocument {
    name: Option<String>,
    role: RoleName,
    pool: String,
    devices: u32,
    requests_per_s: f64,
    ttft_s: Option<f64>,
    tpot_s: Option<f64>,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RoleName {
    Prefill,
    Decode,
    Aggregated,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkDocument {
    from: String,
    to: String,
    bytes_per_s: f64,
}

/// The answer.
#[derive(Serialize)]
struct Answer {
    format: &'static str,
    objective: &'static str,
    workers: Vec<Chosen>,
    n_devices: u64,
    price_per_hour: Option<f64>,
    requests_per_s: f64,
    ttft_s: Option<f64>,
    tpot_s: Option<f64>,
    bound: Option<f64>,
    /// Devices that the best rates per device need, whole numbers left aside.
    speed_of_light_devices: Option<f64>,
    is_proved: bool,
}

#[derive(Serialize)]
struct Chosen {
    name: String,
    count: u32,
    devices: u32,
}

/// The text of a file of worker types; `None` for any other file.
pub(crate) fn text(path: &Path) -> Option<Vec<u8>> {
    #[derive(Deserialize)]
    struct Head {
        kind: String,
    }
    let is_json = path.extension().is_some_and(|of| of.eq_ignore_ascii_case("json"));
    let text = is_json.then(|| input_file::read(path, LONGEST).ok()).flatten()?;
    let head: Head = serde_json::from_slice(&text).ok()?;
    (head.kind == KIND).then_some(text)
}

/// The best fleet of the worker types of a file.
///
/// # Errors
/// `invalid-workers` for members that are wrong, `no-fleet`, flags that have no effect.
pub(crate) fn plan(request: &PlanRequest, text: &[u8], run: &mut Run<'_>) -> CommandResult {
    fields::check(&request.problem.given, &HONOURS)?;
    let file = request.model.display().to_string();
    let invalid = |message: String| {
        Diagnostic::input("invalid-workers", message)
            .fact("file", file.clone())
            .hint("docs/formats.md lists the members of worker types")
    };
    let document: Document =
        serde_json::from_slice(text).map_err(|error| invalid(error.to_string()))?;
    let names: Vec<String> = document.workers.iter().enumerate().map(named).collect();
    let question = question(&document).map_err(&invalid)?;
    let limits = Limits {
        time: Some(request.limits.time_limit.unwrap_or(DEFAULT_TIME)),
        cancel: run.watch.cancel.clone(),
        ..Limits::default()
    };
    let began = Instant::now();
    let found = fleet::solve(&question, &Control::new(&limits))
        .map_err(|refused| invalid(refused.to_string()))?;
    let Some(answer) = answer(&question, &names, &found) else {
        return Err(none(&question, &found, &limits));
    };
    let written = documents::json::pretty(&answer)?.into_bytes();
    let written = run.follower.planned(written, Ok(Vec::new()))?;
    let mut screen = Screen::new(format!("{}: {} worker types", file, question.types.len()));
    facts(&mut screen, &answer, began.elapsed().as_secs_f64());
    let row = |of: &Chosen| vec![of.name.clone(), of.count.to_string(), of.devices.to_string()];
    let rows = answer.workers.iter().map(row).collect();
    screen.take(run.page, |page| page.table(&Column::row("@worker | #count | #devices"), rows));
    (screen.written, screen.is_whole) = (written, request.all);
    run.page.screen(screen);
    if run.page.format == Format::Json {
        run.page.serialized(&answer)?;
    }
    Ok(Exit::DONE)
}

fn named((at, of): (usize, &WorkerDocument)) -> String {
    let role = match of.role {
        RoleName::Prefill => "prefill",
        RoleName::Decode => "decode",
        RoleName::Aggregated => "aggregated",
    };
    let name = || format!("{role}, {} x {} (row {at})", of.devices, of.pool);
    of.name.clone().unwrap_or_else(name)
}

/// Refuses a limit that is none, and one of a time that a worker does not state.
fn limited(
    member: &str,
    document: &Document,
    limit: Option<f64>,
    (without, stated): (RoleName, fn(&WorkerDocument) -> Option<f64>),
) -> Result<(), String> {
    let Some(limit) = limit else { return Ok(()) };
    if limit <= 0.0 {
        return Err(format!("`{member}`: a limit has to be above 0, not {limit}"));
    }
    let mut limited = document.workers.iter().enumerate().filter(|(_, of)| of.role != without);
    match limited.find(|(_, of)| stated(of).is_none()) {
        Some((at, _)) => Err(format!("`workers[{at}]`: `{member}` is limited, and it states none")),
        None => Ok(()),
    }
}

/// The question that a file asks.
///
/// # Errors
/// Names of pools and objectives that there are none of, and limits of times that workers do not state, in words.
fn question(document: &Document) -> Result<Question, String> {
    let pool = |name: &str| {
        let found = document.pools.iter().position(|pool| pool.name == name);
        found.ok_or_else(|| format!("`pool`: there is no pool `{name}`"))
    };
    let of = |worker: &WorkerDocument| {
        Ok::<_, String>(WorkerType {
            role: match worker.role {
                RoleName::Prefill => Role::Prefill,
                RoleName::Decode => Role::Decode,
                RoleName::Aggregated => Role::Aggregated,
            },
            pool: pool(&worker.pool)?,
            n_devices: worker.devices,
            requests_per_s: worker.requests_per_s,
            efficiency: 1.0,
            ttft_s: worker.ttft_s.unwrap_or(0.0),
            tpot_s: worker.tpot_s.unwrap_or(0.0),
        })
    };
    limited("ttft_s", document, document.ttft_s, (RoleName::Decode, |of| of.ttft_s))?;
    limited("tpot_s", document, document.tpot_s, (RoleName::Prefill, |of| of.tpot_s))?;
    let types: Vec<WorkerType> = document.workers.iter().map(of).collect::<Result<_, _>>()?;
    let objective = match (&document.objective, document.requests_per_s) {
        (Some(name), _) => {
            Objective::named(name).ok_or_else(|| format!("`objective`: there is no `{name}`"))?
        }
        (None, None) => Objective::Throughput,
        (None, Some(_)) => Objective::FewestDevices,
    };
    let of = |pool: &PoolDocument| Pool {
        hosts: pool.hosts,
        devices_per_host: pool.devices_per_host,
        price_per_hour: pool.price_per_hour,
    };
    let mut question = Question {
        pools: document.pools.iter().map(of).collect(),
        types,
        objective,
        requests_per_s: document.requests_per_s,
        ttft_s: document.ttft_s,
        tpot_s: document.tpot_s,
        most_price_per_hour: document.max_price_per_hour,
        most_devices: document.max_devices,
        hand_overs: Vec::new(),
        bytes_per_request: document.bytes_per_request.unwrap_or(0.0),
    };
    if document.bytes_per_request.is_some() == document.links.is_empty() {
        return Err("`links` and `bytes_per_request` belong together".to_owned());
    }
    let of = |link: &LinkDocument| {
        let (from, to) = (pool(&link.from)?, pool(&link.to)?);
        Ok::<_, String>(question.between(from, to, Some(link.bytes_per_s)))
    };
    question.hand_overs = document.links.iter().map(of).collect::<Result<_, _>>()?;
    Ok(question)
}

fn answer(question: &Question, names: &[String], found: &Found) -> Option<Answer> {
    let plan = found.best.as_ref()?;
    let of = |(at, count): &(usize, u32)| Chosen {
        name: names[*at].clone(),
        count: *count,
        devices: question.types[*at].n_devices,
    };
    let figures = &plan.figures;
    Some(Answer {
        format: FORMAT,
        objective: question.objective.name(),
        workers: plan.counts.iter().map(of).collect(),
        n_devices: figures.n_devices,
        price_per_hour: figures.price_per_hour,
        requests_per_s: figures.requests_per_s,
        ttft_s: figures.ttft_s,
        tpot_s: figures.tpot_s,
        bound: found.bound,
        speed_of_light_devices: question
            .requests_per_s
            .and_then(|rate| speed_of_light(question, rate)),
        is_proved: found.verdict == Verdict::Optimal,
    })
}

fn facts(screen: &mut Screen, answer: &Answer, seconds: f64) {
    let price = answer.price_per_hour.map_or_else(String::new, |of| format!(", {of:.2} per hour"));
    screen.fact("plan", format!("{} devices{price}", answer.n_devices));
    screen.fact("serves", format!("{} requests/s", per_second(answer.requests_per_s)));
    screen.fact("TTFT", answer.ttft_s.filter(|of| *of > 0.0).map(latency));
    screen.fact("TPOT", answer.tpot_s.filter(|of| *of > 0.0).map(latency));
    let bound = answer
        .bound
        .map_or_else(|| "none".to_owned(), |bound| format!("{}", (bound * 1e4).round() / 1e4));
    let proof = match answer.is_proved {
        true => "proved by an integer program",
        false => "not proved",
    };
    let objective = answer.objective;
    let proof = format!("{objective}, bound {bound}: {proof}, found in {seconds:.2} s");
    screen.fact("proof", format!("{proof}; replicas serve in proportion"));
}

/// Why there is no fleet.
fn none(question: &Question, found: &Found, limits: &Limits) -> Diagnostic {
    if found.verdict != Verdict::Infeasible {
        return Diagnostic::error(Blame::NotFound, "no-plan", "no fleet was found in time")
            .hint("raise --time-limit");
    }
    let message = "no fleet of these worker types serves the rate within the limits";
    let error = Diagnostic::error(Blame::Infeasible, "no-fleet", message);
    let fewest = fleet::fewest(question, &Control::new(limits)).ok().and_then(|of| of.bound);
    match fewest {
        Some(fewest) => error.fact("devices_needed", fewest).hint("state more devices or hosts"),
        None => error.hint("state fewer requests, or longer latencies"),
    }
}
