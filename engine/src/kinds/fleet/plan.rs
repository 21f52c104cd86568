//! A plan of workers that serve a model.

use std::sync::Arc;

use cost_model::serving::arrivals::Length;
use cost_model::serving::engine::Engine;
use cost_model::serving::worker::Shape;
use documents::plan::fleet::{AlternativeDocument, FleetFigures, WorkerDocument};
use documents::plan::request::RequestDocument;
use ir::diagnostic::Diagnostic;
use ir::workload::Mode;
use planner::recipe::Ingredient;
use planner::run::{Control, StopReason};
use planner::serving::fleet::{Objective, Verdict};
use planner::serving::fleets::Fleets;
use planner::serving::serving_fleet::{Answer, Promises, Question, Refused, Statistic, Types};

use super::decided::{self, Judged};
use super::setting::{Asked, Setting, USUAL_TOKENS, USUAL_TPOT_S};
use super::{ALGORITHM, Fleet, alternatives, nothing_fits, refused, screen, words};
use crate::answer::exit::CommandResult;
use crate::kinds::frame;
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

/// Difference of rates that routers need not know.
const UNEQUAL: f64 = 0.02;
/// Gains up to which one fleet is about as good as another.
const SAME: f64 = 0.01;

/// A fleet by its replays: workers in words, devices, requests/s.
pub(super) struct Suffices {
    pub(super) workers: String,
    pub(super) n_devices: u64,
    pub(super) requests_per_s: f64,
}

/// What a search found.
struct Found {
    answer: Answer,
    judged: Option<Judged>,
    others: Vec<AlternativeDocument>,
    /// Where the devices are too few, requests/s that they serve, and the fewest of the same kinds that suffice.
    enough: [Option<Suffices>; 2],
    stop: Option<StopReason>,
}

/// Plans workers by a row of the registry.
pub(crate) fn plan(request: &PlanRequest, run: &mut Run<'_>) -> CommandResult {
    let Some((used, door)) = asked(request)? else {
        return Err(refused("no fleet is asked for", "plan with `meshwright infer`"));
    };
    let (asked, assumed) = of(request)?;
    let read = move |request: &PlanRequest| Setting::read(&request.model, &request.problem, asked);
    let search = |setting: &Setting, control: &Arc<Control>| Some(find(setting, door, control));
    let watch = run.ending(request);
    let run = &mut Run { watch: &watch, follower: run.follower, ..*run };
    let found = watched((request, used.entry.name), run, read, search)?;
    let Some((setting, found, elapsed_s)) = found else { return Ok(interrupted(run.page)) };
    let found = found.map_err(|refused| unanswered(&setting, &refused))?;
    let Some(judged) = &found.judged else {
        return Err(nothing_fits::why(&setting, &found.answer, (&found.enough, found.stop)));
    };
    let answer = &found.answer;
    let slowest = |of: &dyn Fn(usize) -> Option<f64>| {
        (0..judged.workers.len()).filter_map(of).reduce(f64::max)
    };
    let plan = decided::document(&setting, judged, (&used.to_string(), answer.found.bound));
    let fleet = plan.fleet.clone().unwrap_or_default();
    let is_proved = answer.found.verdict == Verdict::Optimal;
    let tokens = setting.asked.lengths.iter().map(|of| f64::from(of.n_output) * of.share);
    let shares: f64 = setting.asked.lengths.iter().map(|of| of.share).sum();
    let counts = answer.types.counts().into_iter();
    let figures = FleetFigures {
        ttft_seconds: slowest(&|at| fleet.workers.get(at)?.ttft_s),
        tpot_seconds: slowest(&|at| fleet.workers.get(at)?.tpot_s),
        output_tokens_per_s: judged.requests_per_s * tokens.sum::<f64>() / shares,
        is_proved,
        predicted: answer.predicted.best.as_ref().map(|best| best.value(setting.asked.objective)),
        n_enumerated: answer.types.n_enumerated,
        n_accepted: answer.types.n_accepted,
        n_types: answer.types.workers.len() as u64,
        rejected: counts.map(|(name, n)| (name.to_owned(), n)).collect(),
        alternatives: found.others.clone(),
    };
    let mut warnings: Vec<Diagnostic> = unequal(&fleet.workers).into_iter().collect();
    warnings.extend(setting.run.warnings.iter().cloned().chain(assumed));
    let stop = match (is_proved, found.stop) {
        (true, _) => StopReason::ProvedOptimal,
        (false, Some(stop)) => stop,
        (false, None) => StopReason::Finished,
    };
    let (on, made) = ((&setting, judged), (plan, figures, stop.name(), elapsed_s));
    frame::found::<Fleet, _>((request, run), on, made, warnings, |report, _| {
        screen::of(&setting, report, stop)
    })
}

/// That workers of a role serve unlike rates, which routers have to be told.
fn unequal(workers: &[WorkerDocument]) -> Option<Diagnostic> {
    let is_other = |one: &WorkerDocument, other: &WorkerDocument| {
        one.role == other.role && (one.requests_per_s / other.requests_per_s - 1.0).abs() > UNEQUAL
    };
    let found = workers.iter().any(|one| workers.iter().any(|other| is_other(one, other)));
    found.then(|| {
        let message =
            "workers of one role serve different rates: equal shares overload the smaller";
        Diagnostic::warning("unequal-shares", message)
            .hint(
                "route by `requests_per_s` of the plan's workers, or start a row of `instead` that has one \
                 worker type for each role",
            )
    })
}

/// Searches, judges what was found, and plans what people would have started instead; where replays let one of
/// those do better, it is the plan, and nothing is proved of it.
fn find(setting: &Setting, door: &Fleets, control: &Control) -> Result<Found, Refused> {
    let price = |pool: usize, shape: &Shape| setting.price(pool, shape);
    let mut answer = door.0(&setting.question(), &price, control)?;
    let stop = control.stop();
    let mut judged = judged(setting, &answer);
    let is_short = judged.is_none() && !answer.types.workers.is_empty() && stop.is_none();
    let enough = if is_short { enough(setting, door, control) } else { [None, None] };
    let mut others = Vec::new();
    if let Some(first) = &judged {
        let plan = decided::document(setting, first, ("", None));
        let workers = plan.fleet.map(|fleet| fleet.workers).unwrap_or_default();
        let (rows, answers) = alternatives::plan(setting, &workers, (door.0, control));
        others = rows;
        for other in answers {
            let Some(gain) = gain(setting.asked.objective, &other, &answer) else { continue };
            (answer.found.verdict, answer.found.bound) = (Verdict::Open, None);
            // About as good: the first has the fewest types, and no pipeline that it could do without.
            if gain <= SAME {
                continue;
            }
            if let Some(better) = self::judged(setting, &other) {
                others.push(alternatives::document(setting, "found first".to_owned(), &answer));
                judged = Some(better);
                let types = std::mem::replace(&mut answer, other).types;
                (answer.found.verdict, answer.found.bound) = (Verdict::Open, None);
                answer.types = Types { workers: answer.types.workers, ..types };
            }
        }
    }
    Ok(Found { answer, judged, others, enough, stop })
}

/// Workers of an answer, where all replays are within the latency targets.
fn judged(setting: &Setting, answer: &Answer) -> Option<Judged> {
    let workers = decided::of_answer(setting, answer).filter(|_| answer.is_kept())?;
    decided::judge(setting, workers).ok()
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

/// What the devices serve at most, and the fewest devices of their kinds, on as many hosts, that serve the
/// rate; both by replays.
fn enough(setting: &Setting, door: &Fleets, control: &Control) -> [Option<Suffices>; 2] {
    let price = |pool: usize, shape: &Shape| setting.price(pool, shape);
    let best = |question: &Question<'_>| {
        let answer = door.0(question, &price, control).ok().filter(Answer::is_kept)?;
        let figures = &answer.found.best.as_ref()?.figures;
        Some(Suffices {
            workers: words::workers(&words::found(setting, &answer)),
            n_devices: figures.n_devices,
            requests_per_s: figures.requests_per_s,
        })
    };
    let question = setting.question();
    if question.requests_per_s.is_none() {
        return [None, None];
    }
    let (objective, requests_per_s) = (Objective::Throughput, None);
    let most = best(&Question { objective, requests_per_s, ..question.clone() });
    let (objective, most_devices) = (Objective::FewestDevices, None);
    let mut free = Question { objective, most_devices, ..question };
    free.devices.iter_mut().for_each(|devices| devices.pool.hosts = None);
    [most, best(&free)]
}

fn unanswered(setting: &Setting, why: &Refused) -> Diagnostic {
    let message = format!("no fleet of {}: {why}", setting.run.model.name);
    refused(message, "name fewer devices, or other lengths and promises")
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
    let tokens = |stated: Option<u64>, usual: u32| {
        stated.map_or(usual, |n| u32::try_from(n).unwrap_or(u32::MAX))
    };
    let length = Length {
        n_input: tokens(serving.input_tokens, USUAL_TOKENS[0]),
        n_output: tokens(serving.output_tokens, USUAL_TOKENS[1]),
        share: 1.0,
    };
    if let Some((flag, _)) = [("--ttft", serving.ttft), ("--tpot", serving.tpot)]
        .into_iter()
        .find(|(_, time)| time.is_some_and(|time| time.is_zero()))
    {
        return Err(Diagnostic::usage("promise", format!("`{flag}` needs a time above 0"))
            .hint(format!("state one, such as {flag} 50ms, or leave it out")));
    }
    let (promises, noted) = promises(request);
    let stated = [
        ("--input-tokens", serving.input_tokens.is_some()),
        ("--output-tokens", serving.output_tokens.is_some()),
        ("--tpot", noted.is_none()),
    ];
    let missing: Vec<&str> =
        stated.iter().filter(|(_, is_stated)| !is_stated).map(|(flag, _)| *flag).collect();
    let lengths = (serving.input_tokens.is_none() || serving.output_tokens.is_none())
        .then(|| format!("requests of {} tokens in, {} out", length.n_input, length.n_output));
    let assumed = [lengths, noted].into_iter().flatten().collect::<Vec<_>>();
    let warning = (!assumed.is_empty()).then(|| {
        Diagnostic::warning("assumed-traffic", format!("assumed: {}", assumed.join("; ")))
            .hint(format!("state {}", missing.join(", ")))
    });
    let asked = Asked {
        engine: engine(request)?,
        mode: serving.mode.unwrap_or_default(),
        lengths: vec![length],
        rate: serving.rate.map(|rate| rate.0),
        promises,
        objective: objective(request)?,
        most_devices: most_devices(request)?,
        request: RequestDocument {
            max_memory_bytes: request.training.max_memory_per_device.map(|bytes| bytes.0),
            kept_free: request.training.memory_margin,
            kv_dtype: request.kv_dtype.map(|dtype| dtype.to_string()),
            ..RequestDocument::default()
        },
    };
    Ok((asked, warning))
}

/// Latencies; a TPOT is assumed where neither a rate nor a latency limits the batch.
fn promises(request: &PlanRequest) -> (Promises, Option<String>) {
    let serving = &request.serving;
    let [ttft_s, tpot_s] =
        [serving.ttft, serving.tpot].map(|time| time.map(|time| time.as_secs_f64()));
    let percentile = serving.percentile.map(|percent| percent.0);
    let statistic = percentile.map_or(Statistic::Mean, Statistic::Percentile);
    let is_open = ttft_s.or(tpot_s).is_none() && serving.rate.is_none();
    let usual = is_open.then_some(USUAL_TPOT_S);
    let noted = usual.map(|seconds| format!("TPOT {:.0} ms", 1e3 * seconds));
    (Promises { ttft_s, tpot_s: tpot_s.or(usual), statistic }, noted)
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

fn objective(request: &PlanRequest) -> Result<Objective, Diagnostic> {
    let has_rate = request.serving.rate.is_some();
    let usual = if has_rate { Objective::FewestDevices } else { Objective::Throughput };
    let Some(name) = request.objective else { return Ok(usual) };
    let wrong = |message: String, hint: &str| {
        Err(Diagnostic::usage("no-objective", message).hint(hint.to_owned()))
    };
    match Objective::named(name.name()) {
        None => wrong(
            format!("`{}` is no objective of serving workers", name.name()),
            "use --objective throughput, fewest-devices or lowest-price",
        ),
        Some(Objective::Throughput) if has_rate => wrong(
            "`--objective throughput` finds the most requests/s, and --rate states them".to_owned(),
            "leave one of them out",
        ),
        Some(objective) if objective != Objective::Throughput && !has_rate => wrong(
            format!("`--objective {}` needs a rate of requests", name.name()),
            "add --rate, such as --rate 50",
        ),
        Some(objective) => Ok(objective),
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
