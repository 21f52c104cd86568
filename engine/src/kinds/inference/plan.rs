//! A plan of a model that serves as one forward pipeline.

use std::sync::Arc;

use cost_model::runs::served::bound::EVERY;
use cost_model::runs::served::{Goal, Piece, StageFigures};
use documents::plan::request::RequestDocument;
use documents::plan::served::{AloneDocument, InferenceFigures};
use exporters::serving::{LLAMA_CPP, SERVERS};
use ir::diagnostic::{Blame, Diagnostic};
use ir::units::Bytes;
use ir::workload::{Mode, StepPhase};
use planner::recipe::Ingredient;
use planner::run::{Control, StopReason};
use planner::serving::{Found, Plan, Serves};

use crate::answer::energy;
use crate::answer::exit::CommandResult;
use crate::answer::nothing_fits::exceeded;
use crate::answer::page::Page;
use crate::answer::rows::Rows;
use crate::answer::screen::{Screen, figure};
use crate::answer::words::rate;
use crate::inputs::asked::of_energy;
use crate::inputs::load;
use crate::kinds::frame;
use crate::kinds::inference::decided::document;
use crate::kinds::inference::explain::{alone, sentence, table};
use crate::kinds::inference::export::exported;
use crate::kinds::inference::local;
use crate::kinds::inference::setting::{Asked, Setting};
use crate::kinds::inference::{ALGORITHM, Inference, refused};
use crate::request::executor::Executor;
use crate::request::{AUTO, PlanRequest};
use crate::search::row::row;
use crate::search::run::{Run, interrupted};
use crate::search::watched::{batch, watched};

/// The row that a request asks for: by its name, or by a phase that serves where none is named.
///
/// # Errors
/// Those of [`row`].
pub(crate) fn asked(
    request: &PlanRequest,
) -> Result<Option<(Ingredient, &'static Serves)>, Diagnostic> {
    let is_local = request.phase.is_none() && request.is_for_llama_cpp();
    let serves = is_local || matches!(request.phase, Some(StepPhase::Prefill | StepPhase::Decode));
    let trains = [
        ("--global-batch", request.training.global_batch.is_some()),
        ("--tokens-per-step", request.training.tokens_per_step.is_some()),
    ];
    if let (true, AUTO, Some((flag, _)), Some(phase)) =
        (serves, request.recipe(), trains.into_iter().find(|flag| flag.1), request.phase)
    {
        let message =
            format!("`{flag}` plans a training run, and `--phase {}` serves", phase.name());
        return Err(refused(
            message,
            "leave one of them out: a batch that is served is stated with --batch",
        ));
    }
    match request.recipe() == AUTO && serves {
        true => row(ALGORITHM),
        false => row(request.recipe()),
    }
}

/// Plans a pipeline by a row of the registry.
pub(crate) fn plan(request: &PlanRequest, run: &mut Run<'_>) -> CommandResult {
    let Some((used, door)) = asked(request)? else {
        return Err(refused("no pipeline is asked for", "add --phase decode or --phase prefill"));
    };
    let job = of(request)?;
    let read = move |request: &PlanRequest| Setting::read(&request.model, &request.problem, job);
    let search =
        |setting: &Setting, control: &Arc<Control>| Some(local::search(setting, door, control));
    let watch = run.ending(request);
    let run = &mut Run { watch: &watch, follower: run.follower, ..*run };
    let found = watched((request, used.entry.name), run, read, search)?;
    let Some((mut setting, (n_host_experts, found), elapsed_s)) = found else {
        return Ok(interrupted(run.page));
    };
    setting.with_host_experts(n_host_experts);
    let Some(best) = &found.best else { return Err(nothing_fits(&setting, found.stop)) };
    let warnings = setting.run.warnings.clone();
    let judged = (best.pieces.clone(), best.judged.clone());
    let made = (used.to_string(), found.bound, found.bound_method);
    let plan = document(&setting, (&judged.0, &judged.1), (&made.0, made.1, made.2));
    let figures = InferenceFigures {
        period_seconds: best.judged.period as f64 / 1e9,
        latency_seconds: best.judged.latency as f64 / 1e9,
        bound_seconds: found.bound.min(best.judged.period) as f64 / 1e9,
        tokens_per_s: setting.tokens_per_s(best.judged.period),
        alone: setting.alone().map(|(device, ns)| AloneDocument {
            device: setting.name(device).to_owned(),
            latency_seconds: ns as f64 / 1e9,
            tokens_per_s: setting.tokens_per_s(ns),
        }),
        prompt_tokens_per_s: setting.prompt_tokens_per_s(&best.pieces),
        longest_context: setting.longest_context(&best.pieces, &best.judged),
        energy_front: Vec::new(),
    };
    let (on, made) = ((&setting, &judged), (plan, figures, found.stop.name(), elapsed_s));
    frame::found::<Inference, _>((request, run), on, made, warnings, |report, page| {
        let mut screen = screen(&setting, best, &found, page);
        screen.fact("energy", report.plan.energy.as_ref().map(energy::fact));
        screen
    })
}

/// What is asked of a pipeline.
///
/// # Errors
/// `no-phase`, `no-batch`, `no-objective`, `not-for-serving`.
fn of(request: &PlanRequest) -> Result<Asked, Diagnostic> {
    let phase = match request.phase {
        Some(phase @ (StepPhase::Prefill | StepPhase::Decode)) => phase,
        Some(StepPhase::Training) => {
            let message = "`--phase training` serves nothing";
            return Err(refused(message, "make it decode or prefill"));
        }
        None if request.is_for_llama_cpp() => StepPhase::Decode,
        None => {
            let message = "what a batch does is not stated";
            return Err(Diagnostic::usage("no-phase", message)
                .hint("add --phase decode or --phase prefill"));
        }
    };
    if request.problem.workload == Some(Mode::Training) {
        let message = format!("`--workload training` contradicts `--phase {}`", phase.name());
        return Err(refused(message, "leave one of them out"));
    }
    let executor = executor(request)?;
    let goal = match request.objective {
        _ if executor.is_some() => alone_goal(request)?,
        None => Goal::default(),
        Some(name) if name.is_of_energy() => Goal::default(),
        Some(name) => Goal::named(name.name()).ok_or_else(|| {
            let message = format!("`{}` is no objective of an inference pipeline", name.name());
            Diagnostic::usage("no-objective", message)
                .hint("use --objective throughput, latency, energy-per-token or cost-per-token")
        })?,
    };
    Ok(Asked {
        phase,
        // Who serves on own cards serves one sequence, unless more are stated.
        batch: match request.problem.model.batch {
            None if executor.is_some() => 1,
            _ => batch(request)?,
        },
        tokens: request.training.sequence_length,
        cached: request.cached_tokens,
        goal,
        host_experts: 0,
        request: RequestDocument {
            max_memory_bytes: request.training.max_memory_per_device.map(|bytes| bytes.0),
            kept_free: request.training.memory_margin.or(request.problem.margin),
            kv_dtype: request.kv_dtype.map(|dtype| dtype.to_string()),
            executor,
            quantization: request.quantization.clone(),
            ..of_energy(request, RequestDocument::default())
        },
    })
}

/// The server that a pipeline is planned for, where it is llama.cpp.
///
/// # Errors
/// `not-for-serving` for others, which run other plans.
fn executor(request: &PlanRequest) -> Result<Option<String>, Diagnostic> {
    let is_implied = request.quantization.is_some() || importers::gguf::is_file(&request.model);
    match request.executor {
        Some(executor) if executor.target() == LLAMA_CPP => Ok(Some(LLAMA_CPP.to_owned())),
        Some(executor) if executor != Executor::ANY => {
            let message = format!("`--for {}` plans no pipeline of --phase", executor.text());
            Err(refused(message, "leave --phase out, which plans a fleet, or name llama.cpp"))
        }
        _ => Ok(is_implied.then(|| LLAMA_CPP.to_owned())),
    }
}

/// What llama.cpp is asked for: one batch goes through after the other.
fn alone_goal(request: &PlanRequest) -> Result<Goal, Diagnostic> {
    match request.objective {
        None => Ok(Goal::Latency),
        Some(name) if Goal::named(name.name()) == Some(Goal::Latency) => Ok(Goal::Latency),
        Some(name) => {
            let message = format!("`{}` is no objective under llama.cpp", name.name());
            Err(Diagnostic::usage("no-objective", message)
                .hint("leave it out: one batch goes through after the other"))
        }
    }
}

/// Why there is no pipeline.
fn nothing_fits(setting: &Setting, stop: StopReason) -> Diagnostic {
    let costs = &setting.costs;
    let whole = 0..costs.n_blocks();
    let need = costs.stage_bytes(&whole, [true, true], 1);
    let all = costs.limits.iter().try_fold(0_u64, |sum, limit| Some(sum.saturating_add((*limit)?)));
    if !stop.is_complete() {
        let (message, hint) = match stop {
            StopReason::SizeLimit => (
                "no pipeline was found: there are too many device classes to try every order",
                "name fewer devices, or those that reach each other",
            ),
            _ => ("no pipeline was found in time", "raise --time-limit"),
        };
        return Diagnostic::error(Blame::NotFound, "no-plan", message).hint(hint);
    }
    let n = costs.n_devices();
    let are_apart =
        (0..n * n).any(|pair| pair / n != pair % n && costs.way(pair / n, pair % n).is_none());
    let apart = if are_apart { " connected in both directions" } else { "" };
    let message = format!("no pipeline of devices{apart} fits the model for {}", setting.words());
    // Host memory is planned with on one host alone.
    let has_more = setting.local.as_ref().is_some_and(|local| local.host.is_none())
        && setting.run.cluster.nodes.iter().any(|node| node.host_memory.is_some());
    let error = exceeded(!has_more, message).fact("needed", Bytes(need).to_string());
    if has_more {
        let hint = "host memory is used where all devices are of one host: name the devices of one";
        return error.hint(hint);
    }
    let error = match all {
        Some(all) => error.fact("usable", Bytes(all).to_string()),
        None => error,
    };
    let held = &costs.held;
    let blocks = held.weights.last().copied().unwrap_or(0);
    let weights = blocks.saturating_add(held.embedding).saturating_add(held.head);
    match all.filter(|all| *all < weights) {
        Some(all) => error.fact("weights", Bytes(weights).to_string()).hint(format!(
            "the weights alone need {} more: add devices, or quantise{}",
            Bytes(weights - all),
            if setting.local.is_some() { ", such as with --quantization Q4_K_M" } else { "" }
        )),
        None => error
            .hint("state fewer samples with --batch or tokens with --cached, or name more devices"),
    }
}

fn screen(setting: &Setting, best: &Plan, found: &Found, page: &Page) -> Screen {
    let run = &setting.run;
    let devices = load::describe(&run.cluster);
    let mut screen = Screen::new(format!("{}, {}, on {devices}", run.model.name, setting.words()));
    let n_stages = best.pieces.len();
    let stages = if n_stages == 1 { "stage" } else { "stages" };
    let plan = format!("pipeline of {n_stages} {stages}; {}", unused(setting, &best.pieces));
    screen.fact("plan", setting.places(&best.pieces).unwrap_or(plan));
    screen.fact("experts", setting.experts());
    screen.fact("rate", sentence(setting, &best.judged));
    screen.fact("prompt", setting.prompt_tokens_per_s(&best.pieces).map(prompt));
    screen.fact("context", context(setting, best));
    let left = |stage: &StageFigures| stage.limit.map(|limit| limit.saturating_sub(stage.peak));
    let stages = best.judged.stages.iter().enumerate();
    let fullest = stages.filter_map(|(at, stage)| Some((left(stage)?, at))).min();
    let peak = best.judged.stages.iter().map(|stage| stage.peak).max().unwrap_or(0);
    let fact = |(left, at)| {
        let least = format!("largest peak; stage {at} has least free: {}", Bytes(left));
        figure(Bytes(peak), None, &least)
    };
    screen.fact("memory", fullest.map(fact));
    screen.fact("proof", proof(setting, best, found));
    screen.fact("layers", layers(setting, &best.pieces));
    let servers = servers(setting, best);
    screen.target = servers.first().copied();
    screen.fact(
        "runs on",
        if servers.is_empty() { "no server".to_owned() } else { servers.join(", ") },
    );
    let costs = run.costs_from();
    let based = match setting.local {
        Some(_) => local::BASED_ON.to_owned(),
        None => format!("{costs}; no interval: no pipeline was measured"),
    };
    screen.fact("based on", based);
    screen.fact("instead", alone(setting));
    screen.take(page, |page| table(setting, (&best.pieces, &best.judged), (Rows::All, page)));
    screen
}

fn prompt(tokens_per_s: f64) -> String {
    format!("{} tokens/s, 512 at once", rate(tokens_per_s))
}

/// The context that is planned, and the longest that fits.
fn context(setting: &Setting, best: &Plan) -> Option<String> {
    let longest = setting.longest_context(&best.pieces, &best.judged)?;
    let each = match setting.batch.samples {
        0 | 1 => format!("up to {longest} fit (-c)"),
        n => format!("up to {longest} per sequence fit (-c {})", longest.saturating_mul(n)),
    };
    Some(format!("{} tokens planned; {each}", setting.context()))
}

/// Layers by device where the stages are more than the screen has room for.
fn layers(setting: &Setting, pieces: &[Piece]) -> Option<String> {
    const TABLED: usize = 4;
    const LISTED: usize = 16;
    let text = |piece: &Piece| {
        let last = piece.blocks.end.saturating_sub(1);
        let name = setting.called(piece.device);
        match piece.blocks.start == last {
            true => format!("{name} {last}"),
            false => format!("{name} {}-{last}", piece.blocks.start),
        }
    };
    let is_listed = (TABLED + 1..=LISTED).contains(&pieces.len());
    let all: Vec<String> = pieces.iter().map(text).collect();
    is_listed.then(|| all.join(", "))
}

/// Servers that take the pipeline as it is.
fn servers(setting: &Setting, best: &Plan) -> Vec<&'static str> {
    let takes =
        |target: &&str| exported(target, (setting, &best.pieces, best.judged.in_flight)).is_ok();
    SERVERS.into_iter().filter(takes).collect()
}

/// What a plan is the best of, or how far it may be off.
fn proof(setting: &Setting, best: &Plan, found: &Found) -> String {
    let (period, bound) = (best.judged.period, found.bound.min(best.judged.period));
    if period <= bound {
        let (wanted, in_flight) = match setting.goal {
            Goal::Throughput => {
                ("the most tokens/s", ", up to as many batches in flight as stages")
            }
            Goal::Latency => ("the least latency", ""),
        };
        let request = &setting.run.request;
        let margin =
            if request.kept_free == Some(0.0) { "" } else { " that leave the memory margin" };
        let on = match (request.board_limit, request.without.as_slice()) {
            (Some(_), _) => ", on the devices in use at their board limits",
            (None, [_, ..]) => ", on the devices in use",
            (None, []) => "",
        };
        if setting.local.is_some() {
            return local::proof(setting, margin);
        }
        return format!(
            "{wanted} of all pipelines{margin}, with one device per stage, in any device order, with any \
             layer split{in_flight}{on}"
        );
    }
    let gap = 100.0 * (period as f64 / (bound.max(1)) as f64 - 1.0);
    let why = match (found.stop, found.bound_method) {
        (_, EVERY) => "the bound ignores links that several stages share".to_owned(),
        (StopReason::SizeLimit, _) => {
            "size limit reached: too many device classes to try every order".to_owned()
        }
        (stop, _) => stop.words().to_owned(),
    };
    format!(
        "not proved the best: no period is below {:.3} ms, gap {gap:.1} %; {why}",
        bound as f64 / 1e6
    )
}

/// Which devices have no stage.
fn unused(setting: &Setting, pieces: &[Piece]) -> String {
    let is_used = |at: usize| pieces.iter().any(|piece| piece.device == at);
    let devices = setting.run.cluster.device_ids().enumerate();
    let idle: Vec<_> = devices.filter(|(at, _)| !is_used(*at)).map(|device| device.1).collect();
    match idle.is_empty() {
        true if !setting.run.request.without.is_empty() => {
            "every device in use has a stage".to_owned()
        }
        true => "every device has a stage".to_owned(),
        false => format!("without a stage: {}", setting.run.cluster.in_words(&idle)),
    }
}
