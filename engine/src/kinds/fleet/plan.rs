//! A plan of workers that serve a model.

use std::sync::Arc;

use cost_model::serving::engine::Engine;
use cost_model::serving::worker::Invalid;
use documents::plan::fleet::{
    AlternativeDocument, FleetDocument, FleetFigures, RejectedDocument, WorkerDocument,
};
use documents::plan::request::RequestDocument;
use ir::diagnostic::Diagnostic;
use ir::workload::Mode;
use planner::recipe::Ingredient;
use planner::run::{Control, StopReason};
use planner::serving::fleet::{Objective, Verdict};
use planner::serving::fleets::Fleets;
use planner::serving::serving_fleet::{
    Answer, FleetReplay, Promises, Question, Reason, Refused, Rejected, Statistic, Types,
};

use super::at_arrivals::AtArrivals;
use super::decided::{self, Judged, JudgedWorker, Workers};
use super::setting::{Asked, Setting, USUAL_TPOT_S};
use super::suffices::{Suffices, enough, longer_s};
use super::traffic::Traffic;
use super::{
    ALGORITHM, Fleet, alternatives, log, nothing_fits, observed, refused, screen, search, words,
};
use crate::answer::exit::CommandResult;
use crate::kinds::frame;
use crate::request::executor::Executor;
use crate::request::task::Task;
use crate::request::{AUTO, PlanRequest};
use crate::search::row::row;
use crate::search::run::{Run, interrupted};
use crate::search::watched::watched;

/// The row that a request asks for: by its name, or by `infer` or a flag of serving where neither an algorithm
/// nor a phase is named.
///
/// # Errors
/// Those of [`row`].
pub(crate) fn asked(
    request: &PlanRequest,
) -> Result<Option<(Ingredient, &'static Fleets)>, Diagnostic> {
    let serves = request.task == Some(Task::Infer) || request.serving.asks().is_some();
    let serves = serves && !request.is_for_llama_cpp();
    match request.recipe() == AUTO && request.phase.is_none() && serves {
        true => row(ALGORITHM),
        false => row(request.recipe()),
    }
}

/// Part of the time for searches; the rest is for replays of what they found.
const SEARCHED: f64 = 0.9;
/// Difference of rates that routers need not know.
const UNEQUAL: f64 = 0.02;
/// Gains up to which one fleet is about as good as another.
const SAME: f64 = 0.01;
/// Rates at which a fleet for a concurrency is looked at, and how much above it the last one is at most.
const MOST_SETTLED: usize = 9;
const SETTLED: f64 = 0.005;

/// What a search found.
struct Found {
    answer: Answer,
    judged: Option<Judged>,
    others: Vec<AlternativeDocument>,
    front: Vec<AlternativeDocument>,
    /// What the fleet does with the requests of a file, and how much more than their rate it is sized for.
    replayed: Option<(FleetReplay, f64)>,
    /// Where the devices are too few, requests/s that they serve, and the fewest of the same kinds that suffice.
    enough: [Option<Suffices>; 2],
    /// Where no worker keeps the request latency, one that a fleet keeps.
    longer_s: Option<f64>,
    stop: Option<StopReason>,
    /// Whether time ended in any search, that for what suffices included.
    is_ended: bool,
}

/// Plans workers by a row of the registry.
pub(crate) fn plan(request: &PlanRequest, run: &mut Run<'_>) -> CommandResult {
    let Some((used, door)) = asked(request)? else {
        return Err(refused("no fleet is asked for", "plan with `meshwright infer`"));
    };
    let (asked, assumed) = of(request)?;
    let read = move |request: &PlanRequest| {
        let of = |asked| Setting::read(&request.model, &request.problem, asked);
        let setting = of(asked.clone())?;
        let merged = setting.are_split.then(|| of(Asked { is_merged: true, ..asked }));
        Ok((setting, merged.transpose()?))
    };
    let has_front = request.all;
    let search = move |of: &Settings, control: &Arc<Control>| {
        Some(better_of(of, (door, has_front), control))
    };
    let watch = run.ending(request);
    let run = &mut Run { watch: &watch, follower: run.follower, ..*run };
    let found = watched((request, used.entry.name), run, read, search)?;
    let Some(((setting, merged), (found, is_merged), elapsed_s)) = found else {
        return Ok(interrupted(run.page));
    };
    let setting = merged.filter(|_| is_merged).unwrap_or(setting);
    let refused = |error: Diagnostic| match &assumed {
        Some(assumed) => error.fact("assumed", assumed.message.trim_start_matches("assumed: ")),
        None => error,
    };
    let found = found.map_err(|why| refused(unanswered(&setting, &why)))?;
    let Some(judged) = &found.judged else {
        let enough = (&found.enough, found.longer_s, (found.stop, found.is_ended));
        return Err(refused(nothing_fits::why(&setting, &found.answer, enough)));
    };
    let promises = setting.asked.promises;
    let is_missed = |(of, _): &&(FleetReplay, f64)| !log::is_kept(&setting, &promises, of);
    if let Some((replay, _)) = found.replayed.as_ref().filter(is_missed) {
        let answer = (&found.answer, found.stop);
        return Err(nothing_fits::missed_at_arrivals(&setting, replay, answer));
    }
    let answer = &found.answer;
    let plan = decided::document(&setting, judged, (&used.to_string(), answer.found.bound));
    let fleet = plan.fleet.clone().unwrap_or_default();
    let figures = figures(&setting, (&found, judged), &fleet);
    let is_proved = figures.is_proved;
    let mut warnings: Vec<Diagnostic> = unequal(&fleet.workers).into_iter().collect();
    warnings.extend(figures.requests.as_ref().and_then(log::cut));
    warnings.extend(setting.run.warnings.iter().cloned().chain(assumed));
    let stop = match (is_proved, found.stop) {
        (true, _) => StopReason::ProvedOptimal,
        (false, Some(stop)) => stop,
        (false, None) => StopReason::Finished,
    };
    let (on, made) = ((&setting, judged), (plan, figures, stop.name(), elapsed_s));
    frame::found::<Fleet, _>((request, run), on, made, warnings, |report, page| {
        if request.all {
            screen::rejected(&report.figures.rejected_shapes, page);
            screen::front(&setting, &report.figures.front, page);
        }
        screen::of(&setting, report, stop)
    })
}

/// A setting, and where hosts are in several pools that could be one, the same with these.
type Settings = (Setting, Option<Setting>);

/// The better fleet of both settings, and whether it is of the second.
fn better_of(
    (setting, merged): &Settings,
    (door, has_front): (&Fleets, bool),
    control: &Arc<Control>,
) -> (Result<Found, Refused>, bool) {
    let of = |setting: &Setting, share| {
        let found = find(setting, door, &control.part(share));
        found.map(|found| match has_front {
            true => with_front(setting, door, found, control),
            false => found,
        })
    };
    let Some(merged) = merged else { return (of(setting, SEARCHED), false) };
    let found = of(setting, SEARCHED / 2.0);
    let other = of(merged, SEARCHED);
    let is_better = is_better((&found, &other), &setting.question());
    if is_better { (other, true) } else { (found, false) }
}

/// Whether a fleet of hosts that are taken for equal ones is better than one within equal hosts; where neither is found,
/// of which more is searched.
fn is_better(
    (found, merged): (&Result<Found, Refused>, &Result<Found, Refused>),
    question: &Question<'_>,
) -> bool {
    let (Ok(found), Ok(merged)) = (found, merged) else { return found.is_err() && merged.is_ok() };
    match (&found.judged, &merged.judged) {
        (Some(_), Some(_)) => search::is_before(question, &merged.answer, &found.answer),
        (found, _) => found.is_none(),
    }
}

/// The figures of a fleet.
fn figures(
    setting: &Setting,
    (found, judged): (&Found, &Judged),
    fleet: &FleetDocument,
) -> FleetFigures {
    let answer = &found.answer;
    let requests = found.replayed.as_ref().zip(setting.asked.traffic.log.as_ref());
    let requests = requests.map(|((of, _), log)| log::figures(of, (log.n, log.requests.len())));
    let slowest = |of: &dyn Fn(usize) -> Option<f64>| {
        (0..judged.workers.len()).filter_map(of).reduce(f64::max)
    };
    let [_, n_output] = setting.asked.traffic.mean_tokens();
    let counts = answer.types.counts().into_iter();
    FleetFigures {
        ttft_seconds: slowest(&|at| fleet.workers.get(at)?.ttft_s),
        tpot_seconds: slowest(&|at| fleet.workers.get(at)?.tpot_s),
        latency_seconds: Some(decided::latency_s(&judged.workers)),
        n_under_way: decided::n_under_way(&judged.workers),
        output_tokens_per_s: judged.requests_per_s * n_output,
        is_proved: answer.found.verdict == Verdict::Optimal,
        predicted: answer.predicted.best.as_ref().map(|best| best.value(setting.asked.objective)),
        n_enumerated: answer.types.n_enumerated,
        n_accepted: answer.types.n_accepted,
        n_types: answer.types.workers.len() as u64,
        rejected: counts.map(|(name, n)| (name.to_owned(), n)).collect(),
        rejected_shapes: rejected(setting, &answer.types),
        alternatives: found.others.clone(),
        front: found.front.clone(),
        worker_latencies: observed::latencies(judged),
        requests,
    }
}

/// Shapes that the model can have, but for its quantisation, and that are no worker types.
fn rejected(setting: &Setting, types: &Types) -> Vec<RejectedDocument> {
    let can_be = |of: &&Rejected| match &of.reason {
        Reason::Invalid(invalid) => matches!(invalid, Invalid::ScaleBlock { .. }),
        _ => true,
    };
    let of = |of: &Rejected| RejectedDocument {
        role: words::role(of.role),
        kind: setting.pools[of.pool].kind.clone(),
        degrees: words::degrees(&of.shape),
        reason: of.reason.name().to_owned(),
        why: decided::why(&of.reason),
    };
    types.rejected.iter().filter(can_be).map(of).collect()
}

/// That workers of a role serve unlike rates, which routers have to be told.
fn unequal(workers: &[WorkerDocument]) -> Option<Diagnostic> {
    let is_other = |one: &WorkerDocument, other: &WorkerDocument| {
        one.role == other.role && (one.requests_per_s / other.requests_per_s - 1.0).abs() > UNEQUAL
    };
    let found = workers.iter().any(|one| workers.iter().any(|other| is_other(one, other)));
    found.then(|| {
        let message =
            "workers of one role differ in requests/s: round-robin routing overloads the slower ones";
        Diagnostic::warning("unequal-shares", message)
            .hint("weight replicas by `requests_per_s` of `fleet.workers` in the plan file")
    })
}

/// Searches, judges what was found, and plans what people would have started instead; where replays let one of
/// those do better, it is the plan, and nothing is proved of it.
fn find(setting: &Setting, door: &Fleets, control: &Control) -> Result<Found, Refused> {
    let best = |question: &Question<'_>| search::best(setting, question, (door.0, control));
    let AtArrivals { mut answer, mut replayed } =
        AtArrivals::of(setting, &setting.question(), control, &best)?;
    let settle = |judged: Judged| settled(setting, judged, control);
    let mut judged = decided::judge_answer(setting, &answer).map(settle);
    let stop = control.stop();
    let is_short = judged.is_none() && !answer.types.workers.is_empty() && stop.is_none();
    let is_late = judged.is_none() && setting.asked.latency_s.is_some() && stop.is_none();
    let longer_s = if is_late { longer_s(setting, door, control) } else { None };
    let is_short = is_short && longer_s.is_none();
    let most = if is_short { at_most(setting, door, control) } else { None };
    if let Some((other, fastest)) = &most {
        judged = at_rate(setting, fastest);
        if judged.is_some() {
            answer = other.clone();
            (answer.found.verdict, answer.found.bound) = (Verdict::Open, None);
        }
    }
    let is_short = is_short && judged.is_none();
    if is_short && !is_too_much(setting, door, control) {
        answer.found.verdict = Verdict::Open;
    }
    let has_slow_links = setting.slow_links().is_some();
    if has_slow_links || setting.is_open {
        (answer.found.verdict, answer.found.bound) = (Verdict::Open, None);
    }
    let mut enough = if is_short { enough(setting, most, (door, control)) } else { [None, None] };
    // More hosts of such links are no hint.
    enough[1] = enough[1].take().filter(|_| !has_slow_links);
    let mut others = Vec::new();
    let promises = setting.asked.promises;
    let is_missed = |of: &(FleetReplay, f64)| !log::is_kept(setting, &promises, &of.0);
    if let Some(first) = judged.as_ref().filter(|_| !replayed.as_ref().is_some_and(is_missed)) {
        let plan = decided::document(setting, first, ("", None));
        let workers = plan.fleet.map(|fleet| fleet.workers).unwrap_or_default();
        let (rows, answers) = alternatives::plan(setting, &workers, (door.0, control));
        others = rows;
        for AtArrivals { answer: other, replayed: of } in answers {
            let Some(gain) = gain(setting.asked.objective, &other, &answer) else { continue };
            (answer.found.verdict, answer.found.bound) = (Verdict::Open, None);
            // About as good: the first has the fewest types, and no pipeline that it could do without.
            if gain <= SAME || control.stop().is_some() {
                continue;
            }
            if let Some(better) = decided::judge_answer(setting, &other).map(settle) {
                let name = "first search".to_owned();
                others.push(alternatives::document(setting, name, (&answer, true)));
                (judged, replayed) = (Some(better), of);
                let types = std::mem::replace(&mut answer, other).types;
                (answer.found.verdict, answer.found.bound) = (Verdict::Open, None);
                answer.types = Types { workers: answer.types.workers, ..types };
            }
        }
    }
    let (front, is_ended) = (Vec::new(), control.stop().is_some());
    Ok(Found { answer, judged, others, front, replayed, enough, longer_s, stop, is_ended })
}

/// The same with its Pareto front, where others were planned.
fn with_front(setting: &Setting, door: &Fleets, found: Found, control: &Control) -> Found {
    let Some(judged) = &found.judged else { return found };
    let plan = decided::document(setting, judged, ("", None)).fleet.unwrap_or_default();
    let front = alternatives::front(setting, &plan, &found.others, (door.0, control));
    Found { front, ..found }
}

/// The workers at the rate at which hardly more requests are under way than are asked for (false position).
fn settled(setting: &Setting, judged: Judged, control: &Control) -> Judged {
    let Some(n) = setting.asked.traffic.concurrency.map(|n| n as f64) else { return judged };
    let left = |of: &Judged| decided::n_under_way(&of.workers) - n;
    // A rate below is no plan, but has a figure.
    let mut free = setting.clone();
    (free.asked.traffic.concurrency, free.asked.traffic.rate) = (None, Some(f64::MIN_POSITIVE));
    let at = |part: f64| decided::judge(&free, slower(&judged, part)).ok();
    let (mut low, mut high) = ((0.0, -n), (1.0, left(&judged)));
    let (mut best, mut side) = (None, 0);
    for _ in 0..MOST_SETTLED {
        let is_near = (0.0..=SETTLED * n).contains(&high.1);
        if is_near || control.stop().is_some() {
            break;
        }
        let aimed = SETTLED / 2.0 * n;
        let part = low.0 + (high.0 - low.0) * (aimed - low.1) / (high.1 - low.1);
        let Some(of) = at(part) else { break };
        let own = (part, left(&of));
        if own.1 >= 0.0 {
            // An end that stays counts half (Illinois).
            low.1 = if side > 0 { low.1 / 2.0 } else { low.1 };
            (high, best, side) = (own, Some(of), 1);
        } else {
            high.1 = if side < 0 { aimed + (high.1 - aimed) / 2.0 } else { high.1 };
            (low, side) = (own, -1);
        }
    }
    best.unwrap_or(judged)
}

/// Relative gain of one answer over another in the objective; `None` = no gain, or a replay misses a target.
fn gain(objective: Objective, one: &Answer, other: &Answer) -> Option<f64> {
    let value = |answer: &Answer| Some(answer.found.best.as_ref()?.value(objective));
    let (one, other) = (value(one).filter(|_| one.is_kept())?, value(other)?);
    let gain = match objective {
        Objective::Throughput => one / other - 1.0,
        _ => other / one - 1.0,
    };
    (gain > 0.0).then_some(gain)
}

/// Whether there is no fleet even within limits so much longer that no error of the formulas explains it, and if all KV
/// caches crossed links of a host: separate fleets of a host each have these, and are in no search.
fn is_too_much(setting: &Setting, door: &Fleets, control: &Control) -> bool {
    let question = setting.question();
    let mut all = match setting.on_one_host(&question) {
        Some(near) => Question { devices: question.devices, ..near },
        None => question,
    };
    let promises = &mut all.promises;
    for limit in [&mut promises.ttft_s, &mut promises.tpot_s].into_iter().flatten() {
        *limit *= nothing_fits::FAR;
    }
    let answer = search::search(setting, &all, (door.0, control));
    answer.is_ok_and(|answer| answer.found.verdict == Verdict::Infeasible)
}

/// Workers at a part of their rates.
fn slower(judged: &Judged, part: f64) -> Vec<Workers> {
    let of = |(of, _): &(Workers, JudgedWorker)| {
        let mut of = of.clone();
        of.stated.requests_per_s *= part;
        of
    };
    judged.workers.iter().map(of).collect()
}

/// The fleet that serves most.
fn at_most(setting: &Setting, door: &Fleets, control: &Control) -> Option<(Answer, Judged)> {
    if !setting.asked.traffic.has_demand() {
        return None;
    }
    let mut most = setting.clone();
    most.asked.objective = Objective::Throughput;
    let traffic = &mut most.asked.traffic;
    (traffic.rate, traffic.concurrency, traffic.log) = (None, None, None);
    let answer = search::best(&most, &most.question(), (door.0, control)).ok()?;
    let judged = decided::judge_answer(&most, &answer)?;
    // Less than the most where time ended.
    control.stop().is_none().then_some((answer, judged))
}

/// The fleet that serves most at the rate of the requests, where it serves that.
fn at_rate(setting: &Setting, fastest: &Judged) -> Option<Judged> {
    let traffic = &setting.asked.traffic;
    let part = traffic.rate.filter(|_| traffic.log.is_none())? / fastest.requests_per_s;
    let workers = (part <= 1.0).then(|| slower(fastest, part))?;
    decided::judge(setting, workers).ok()
}

fn unanswered(setting: &Setting, why: &Refused) -> Diagnostic {
    let message = format!("no fleet of {}: {why}", setting.run.model.name);
    refused(message, "name fewer devices, or other lengths and latency limits")
}

/// What is asked of a fleet, and what is assumed.
///
/// # Errors
/// `no-objective`, `not-for-fleets`.
fn of(request: &PlanRequest) -> Result<(Asked, Option<Diagnostic>), Diagnostic> {
    let serving = &request.serving;
    if request.problem.workload == Some(Mode::Training) {
        let message = "`--workload training` serves nothing";
        return Err(refused(message, "leave it out, or use `meshwright train`"));
    }
    let (mut traffic, unstated) = Traffic::of(serving)?;
    traffic.seed = request.limits.seed;
    let times = [
        ("--ttft", serving.ttft),
        ("--tpot", serving.tpot),
        ("--request-latency", serving.request_latency),
    ];
    if let Some((flag, _)) =
        times.into_iter().find(|(_, time)| time.is_some_and(|time| time.is_zero()))
    {
        return Err(Diagnostic::usage("promise", format!("`{flag}` needs a time above 0"))
            .hint(format!("state one, such as {flag} 50ms, or leave it out")));
    }
    let has_steps = traffic.mean_tokens()[1] > 1.0;
    if serving.tpot.is_some() && !has_steps {
        let message = "`--tpot` limits the time between tokens, and requests have one token out";
        return Err(Diagnostic::usage("promise", message).hint("leave it out, or state --ttft"));
    }
    let (promises, noted) = promises(request, has_steps)?;
    let (lengths, mut missing) = unstated.unzip();
    if noted.is_some() {
        missing.get_or_insert_default().push("--tpot");
    }
    let any = (request.executor == Some(Executor::ANY)).then(|| "engine vllm".to_owned());
    if any.is_some() {
        missing.get_or_insert_default().push("--for");
    }
    let assumed = [any, lengths, noted].into_iter().flatten().collect::<Vec<_>>();
    let warning = missing.map(|missing: Vec<&str>| {
        Diagnostic::warning("assumed-traffic", format!("assumed: {}", assumed.join("; ")))
            .hint(format!("state {}", missing.join(", ")))
    });
    let (objective, counts_price) = objective(request)?;
    let asked = Asked {
        engine: engine(request)?,
        mode: serving.mode.unwrap_or_default(),
        traffic,
        promises,
        latency_s: serving.request_latency.map(|time| time.as_secs_f64()),
        objective,
        counts_price,
        most_devices: most_devices(request)?,
        is_merged: false,
        request: RequestDocument {
            max_memory_bytes: request.training.max_memory_per_device.map(|bytes| bytes.0),
            kept_free: request.training.memory_margin,
            kv_dtype: request.kv_dtype.map(|dtype| dtype.to_string()),
            ..RequestDocument::default()
        },
    };
    Ok((asked, warning))
}

/// Latencies; a TPOT is assumed where neither a rate nor a latency of tokens limits the batch, if there are any.
fn promises(
    request: &PlanRequest,
    has_steps: bool,
) -> Result<(Promises, Option<String>), Diagnostic> {
    let serving = &request.serving;
    let [ttft_s, tpot_s] =
        [serving.ttft, serving.tpot].map(|time| time.map(|time| time.as_secs_f64()));
    let percentile = serving.percentile.map(|percent| percent.0);
    let statistic = percentile.map_or(Statistic::Mean, Statistic::Percentile);
    let is_open = has_steps
        && tpot_s.is_none()
        && serving.rate.is_none()
        && serving.requests.is_none()
        && serving.request_latency.is_none();
    let usual = is_open.then_some(USUAL_TPOT_S);
    let noted = usual.map(|seconds| format!("TPOT {:.0} ms", 1e3 * seconds));
    let promises = Promises { ttft_s, tpot_s: tpot_s.or(usual), statistic };
    let limits = [promises.ttft_s, promises.tpot_s];
    let has_limit = limits.iter().any(Option::is_some) || serving.request_latency.is_some();
    if percentile.is_some() && !has_limit {
        let message = "`--percentile` is of latencies that have limits, and none is stated";
        return Err(Diagnostic::usage("promise", message)
            .hint("state --ttft, --tpot or --request-latency, or leave it out"));
    }
    Ok((promises, noted))
}

fn engine(request: &PlanRequest) -> Result<Engine, Diagnostic> {
    let Some(executor) = request.executor else { return Ok(Engine::default()) };
    let text = executor.text();
    let name = text.split('@').next().unwrap_or_default();
    match Engine::named(name) {
        Some(engine) => Ok(engine),
        None if name == "any" => Ok(Engine::default()),
        None => {
            let names = Engine::ALL.map(Engine::name).join(", ");
            let message = format!("`--for {text}` runs no fleet of serving workers");
            Err(refused(message, &format!("use {names}, or a step with --phase decode")))
        }
    }
}

/// What counts; and whether the price does where all devices have one.
fn objective(request: &PlanRequest) -> Result<(Objective, bool), Diagnostic> {
    let serving = &request.serving;
    let stated = [
        ("--rate", serving.rate.is_some()),
        ("--concurrency", serving.concurrency.is_some()),
        ("--requests", serving.requests.is_some()),
    ];
    let rate = stated.iter().find(|(_, is_stated)| *is_stated).map(|(flag, _)| *flag);
    let has_rate = rate.is_some();
    let usual = if has_rate { Objective::FewestDevices } else { Objective::Throughput };
    let Some(name) = request.objective else { return Ok((usual, has_rate)) };
    let wrong = |message: String, hint: &str| {
        Err(Diagnostic::usage("no-objective", message).hint(hint.to_owned()))
    };
    match Objective::named(name.name()) {
        None => wrong(
            format!("`{}` is no objective of serving workers", name.name()),
            "use --objective throughput, fewest-devices or lowest-price",
        ),
        Some(Objective::Throughput) if has_rate => wrong(
            format!(
                "`--objective throughput` finds the most requests/s, and {} states them",
                rate.unwrap_or("--rate")
            ),
            "leave one of them out",
        ),
        Some(objective) if objective != Objective::Throughput && !has_rate => wrong(
            format!("`--objective {}` needs a rate of requests", name.name()),
            "add --rate, such as --rate 50",
        ),
        Some(objective) => Ok((objective, false)),
    }
}

/// Devices at most.
fn most_devices(request: &PlanRequest) -> Result<Option<u64>, Diagnostic> {
    let Some(range) = &request.training.devices else { return Ok(None) };
    match range.start() == range.end() || *range.start() <= 1 {
        true => Ok(Some(u64::from(*range.end()))),
        false => {
            let message = format!("`--devices {}..{}` names a minimum", range.start(), range.end());
            Err(refused(message, &format!("state the maximum: --devices {}", range.end())))
        }
    }
}
