//! `compare` of a fleet with the servers that a script starts now, at the same requests by the same replays.

use std::sync::Arc;

use cost_model::serving::engine::Engine;
use cost_model::serving::fault::Fault;
use cost_model::serving::worker::Shape;
use documents::plan::PlanDocument;
use documents::plan::fleet::FleetDocument;
use importers::launcher::{self, Launcher};
use ir::diagnostic::Diagnostic;
use ir::launch::{LaunchSettings, ServerRole, ServerStart};
use planner::serving::fleet::Role;
use planner::serving::serving_fleet::{self, Stated};

use super::decided::{self, Judged, JudgedWorker, Workers};
use super::free::Free;
use super::setting::Setting;
use super::words::per_second;
use super::{Fleet, compare};
use crate::answer::differences::not_planned;
use crate::answer::exit::CommandResult;
use crate::answer::page::Page;
use crate::kinds::frame;
use crate::kinds::kind::Target;
use crate::request::CompareRequest;

/// Bytes of a device from which engines take more by default (vLLM `EngineArgs.get_batch_defaults`, 70 GiB, A100 left out;
/// SGLang `--chunked-prefill-size`, 60 GiB), requests and tokens of an iteration then, and below (vLLM).
const LARGE: [u64; 2] = [70 << 30, 60 << 30];
const DEFAULTS: [[u64; 2]; 2] = [[1_024, 8_192], [256, 2_048]];
/// Tokens of SGLang's chunks on smaller devices of at least 35 GiB, and below.
const SMALLER: (u64, [u64; 2]) = (35 << 30, [4_096, 2_048]);

/// Compares what a script starts with a plan.
///
/// # Errors
/// Those of reading; `not-comparable`, `not-placed`, `memory-exceeded`, `worker-shape`.
pub(crate) fn compare(
    launcher: Launcher,
    text: &str,
    plan: &Arc<PlanDocument>,
    (request, page): (&CompareRequest, &Page),
) -> CommandResult {
    let refused = |message: String, hint: &str| {
        Diagnostic::usage("not-comparable", message).hint(hint.to_owned())
    };
    let fleet = super::kind::stated(plan)?;
    if fleet.engine != launcher.name() {
        let message =
            format!("the script starts {}, the plan is for {}", launcher.name(), fleet.engine);
        return Err(refused(message, &format!("plan with --for {}", launcher.name())));
    }
    let model = request.model.as_deref();
    let model = model.ok_or_else(|| {
        refused("a launch script needs the model".to_owned(), "add --model config.json")
    })?;
    let read = frame::on_model::<Fleet>(plan, Target::of(model, &request.target))?;
    let setting = read.setting;
    let starts = launcher::servers(launcher, text)?;
    let (workers, spread) = placed(&setting, &starts, fleet.requests_per_s)?;
    let now = judged(&setting, workers)?;
    let of_now = decided::document(&setting, &now, ("", None));
    let of_now = super::kind::stated(&of_now)?;
    let mut warnings = read.warnings;
    warnings.extend(spread);
    warnings.extend(unpriced(&starts));
    let names = starts.iter().flat_map(|start| start.settings.not_planned.iter().cloned());
    let of_all = LaunchSettings { not_planned: names.collect(), ..LaunchSettings::default() };
    warnings.extend(not_planned(&of_all));
    warnings.extend(growing(&now));
    page.warnings(&warnings);
    let compared = compare::compare(of_now, fleet, page);
    let line =
        if compared.is_equal { "the same workers".to_owned() } else { sentence(of_now, fleet) };
    page.line(&line);
    Ok(frame::compared((compared.is_equal, &warnings), compared.document, page))
}

fn sentence(now: &FleetDocument, plan: &FleetDocument) -> String {
    let more = i128::from(plan.n_devices) - i128::from(now.n_devices);
    let devices = match more {
        0 => "as many devices as".to_owned(),
        1.. => format!("{more} more devices than"),
        ..0 => format!("{} fewer devices than", -more),
    };
    let [rate, served] = [plan.requests_per_s, now.requests_per_s].map(per_second);
    match rate == served {
        true => {
            format!("at {rate} requests/s the plan (B) takes {devices} the running servers (A)")
        }
        false => format!(
            "the running servers (A) complete {served} of {rate} requests/s; the plan (B) takes {devices} they do"
        ),
    }
}

/// Settings that no price counts.
fn unpriced(starts: &[ServerStart]) -> Option<Diagnostic> {
    let mut names: Vec<&str> =
        starts.iter().flat_map(|start| start.unpriced.iter().map(String::as_str)).collect();
    names.sort_unstable();
    names.dedup();
    (!names.is_empty()).then(|| {
        let message = format!("the running servers are modelled without {}", names.join(", "));
        Diagnostic::warning("unpriced-settings", message).hint(
            "weights and KV cache are those of the plan, memory is the engine's default share",
        )
    })
}

/// Requests/s that a worker completes, where they are fewer than come.
fn completed((of, judged): &(Workers, JudgedWorker)) -> Option<f64> {
    match judged.replayed {
        Err(Fault::Saturated { rate, capacity }) => {
            Some(of.stated.requests_per_s * (capacity / rate).min(1.0))
        }
        _ => None,
    }
}

/// That workers complete fewer requests than come.
fn growing(now: &Judged) -> Option<Diagnostic> {
    let of = |worker: &(Workers, JudgedWorker)| {
        Some((worker.0.stated.requests_per_s, completed(worker)?))
    };
    let saturated = now.workers.iter().find_map(of);
    saturated.map(|(rate, most)| {
        let [rate, most] = [rate, most].map(per_second);
        let message = format!(
            "the queue of the running servers grows: {rate} requests/s arrive at a worker that completes {most}"
        );
        Diagnostic::warning("growing-queue", message)
            .hint("TTFT and TPOT have no steady values there")
    })
}

/// What workers hold and do, whether they keep what the plan promises or not.
fn judged(setting: &Setting, all: Vec<Workers>) -> Result<Judged, Diagnostic> {
    let question = decided::question_on(setting, &all);
    let price = |pool: usize, shape: &Shape| setting.price(pool, shape);
    let mut workers: Vec<(Workers, JudgedWorker)> = Vec::new();
    for (at, each) in all.into_iter().enumerate() {
        let judged = serving_fleet::judge((&question, &price), &each.stated)
            .map_err(|reason| decided::no_worker(at, &reason))?;
        if let Err(fault) = &judged.replayed
            && !matches!(fault, Fault::Saturated { .. })
        {
            let message = format!("worker {at} of the running servers: {fault}");
            return Err(Diagnostic::input("worker-shape", message));
        }
        workers.push((each, judged));
    }
    let (n_devices, price_per_hour) = decided::cost(setting, &workers);
    let mut kept = workers.clone();
    for worker in &mut kept {
        worker.0.stated.requests_per_s =
            completed(worker).unwrap_or(worker.0.stated.requests_per_s);
    }
    let requests_per_s = decided::served(&kept);
    Ok(Judged { workers, requests_per_s, n_devices, price_per_hour })
}

/// Workers of starts on the devices that they name, then on those that are left in the order of the cluster; they
/// share out the requests evenly. The warning says where equal names are taken to be of several hosts.
fn placed(
    setting: &Setting,
    starts: &[ServerStart],
    requests_per_s: f64,
) -> Result<(Vec<Workers>, Option<Diagnostic>), Diagnostic> {
    let mut free = Free::new(setting);
    let mut found: Vec<Workers> = Vec::new();
    let names = |start: &&ServerStart| start.settings.devices.is_some();
    let (named, other): (Vec<&ServerStart>, Vec<&ServerStart>) = starts.iter().partition(names);
    for start in named.into_iter().chain(other) {
        let (shape, n) = shape(setting, start)?;
        for (pool, devices) in free.take(start, (&shape, n), starts.len())? {
            let stated = stated(setting, start, (pool, &shape));
            match found.iter_mut().find(|of| of.stated == stated) {
                Some(same) => same.replicas.push(devices),
                None => found.push(Workers { stated, replicas: vec![devices] }),
            }
        }
    }
    let count = |role: Role| -> usize {
        let of = found.iter().filter(|of| of.stated.role == role);
        of.map(|of| of.replicas.len()).sum()
    };
    let [whole, prefill, decode] = [Role::Aggregated, Role::Prefill, Role::Decode].map(count);
    if (prefill > 0) != (decode > 0) || whole > 0 && prefill > 0 {
        let message = "the script starts workers of roles that do not serve all requests together";
        return Err(Diagnostic::usage("not-comparable", message)
            .hint("give the starts of prefill and decode workers, or of workers that do both"));
    }
    for of in &mut found {
        let n = match of.stated.role {
            Role::Aggregated => whole,
            Role::Prefill => prefill,
            Role::Decode => decode,
        };
        of.stated.requests_per_s = requests_per_s / n.max(1) as f64;
    }
    Ok((found, free.spread()))
}

/// The shape of a start, and how many workers it is.
fn shape(setting: &Setting, start: &ServerStart) -> Result<(Shape, u32), Diagnostic> {
    let settings = &start.settings;
    let model = &setting.run.model;
    let [tensor, data] = [settings.tensor, settings.data].map(|degree| degree.unwrap_or(1).max(1));
    let n_stages = settings.pipeline.unwrap_or(1).max(1);
    let layers = model.n_blocks();
    let spread = |at: u32| layers / n_stages + u32::from(at < layers % n_stages);
    let stages = settings.blocks.clone().unwrap_or_else(|| (0..n_stages).map(spread).collect());
    let is_vllm = setting.asked.engine == Engine::Vllm;
    // vLLM's data-parallel ranks of a model without experts are workers of their own, as SGLang's are that do not
    // share attention out; those that do divide the tensor ranks.
    let (tensor, data, n) = match (is_vllm, start.shares_attention) {
        (true, _) if model.has_experts() => (tensor, data, 1),
        (false, true) => (tensor / data, data, 1),
        _ => (tensor, 1, data),
    };
    let all = tensor.saturating_mul(data);
    let expert = settings.expert.unwrap_or(1).max(1);
    let expert = if model.has_experts() { expert.min(all.max(1)) } else { 1 };
    let shape = Shape {
        tensor,
        data,
        context: 1,
        expert_tensor: if model.has_experts() { all / expert } else { 1 },
        expert,
        stages,
    };
    let is_sound = tensor > 0 && (!model.has_experts() || all.is_multiple_of(expert));
    match is_sound.then(|| shape.check(model)) {
        Some(Ok(())) => Ok((shape, n)),
        Some(Err(invalid)) => {
            Err(Diagnostic::input("worker-shape", format!("a start of the script: {invalid}")))
        }
        None => {
            let message = "a start of the script has degrees that do not divide each other";
            Err(Diagnostic::input("worker-shape", message))
        }
    }
}

/// Settings of a start on a pool, without its rate.
fn stated(setting: &Setting, start: &ServerStart, (pool, shape): (usize, &Shape)) -> Stated {
    let is_vllm = setting.asked.engine == Engine::Vllm;
    let capacity = setting.pools[pool].memory;
    // vLLM goes by the name of the device too.
    let is_a100 = is_vllm && setting.pools[pool].kind.contains("a100");
    let defaults = DEFAULTS[usize::from(is_a100 || capacity < LARGE[usize::from(!is_vllm)])];
    let tokens = match is_vllm || capacity >= LARGE[1] {
        true => defaults[1],
        false => SMALLER.1[usize::from(capacity < SMALLER.0)],
    };
    let most = [if is_vllm { defaults[0] } else { DEFAULTS[0][0] }, tokens];
    // SGLang's are those of all attention ranks.
    let ranks = if is_vllm { 1 } else { u64::from(shape.data) };
    let of = |stated: Option<u64>, most: u64| stated.map_or(most, |n| (n / ranks).max(1));
    let role = match start.role {
        None => Role::Aggregated,
        Some(ServerRole::Prefill) => Role::Prefill,
        Some(ServerRole::Decode) => Role::Decode,
    };
    let link = setting.links.iter().position(|link| link.from == pool);
    Stated {
        pool,
        role,
        shape: shape.clone(),
        max_num_seqs: of(start.max_num_seqs, most[0]),
        max_num_batched_tokens: of(start.max_num_batched_tokens, most[1]),
        link: link.filter(|_| role == Role::Prefill),
        requests_per_s: 0.0,
    }
}
