//! A plan of a model that serves as one forward pipeline.

use std::collections::BTreeMap;
use std::sync::Arc;

use cost_model::runs::served::bound::EVERY;
use cost_model::runs::served::{Goal, Piece};
use documents::diagnostic::DiagnosticDocument;
use documents::plan::request::RequestDocument;
use documents::report::served::{AloneDocument, ServedReportDocument};
use ir::diagnostic::{Blame, Diagnostic};
use ir::units::Bytes;
use ir::workload::{Mode, StepPhase};
use planner::recipe::Ingredient;
use planner::run::{Control, StopReason};
use planner::serving::{Found, Plan, Serves};

use crate::answer::energy;
use crate::answer::exit::CommandResult;
use crate::answer::page::Format;
use crate::answer::rows::Rows;
use crate::inputs::asked::of_energy;
use crate::kinds::frame::{check_target, files};
use crate::kinds::inference::decided::document;
use crate::kinds::inference::explain::{alone, sentence, table};
use crate::kinds::inference::setting::{Asked, Setting};
use crate::kinds::inference::{ALGORITHM, Inference, refused};
use crate::kinds::kind::Legal;
use crate::request::{AUTO, PlanRequest};
use crate::search::row::row;
use crate::search::run::{Run, interrupted};
use crate::search::watched::{batch, told, watched};

/// The row that a request asks for: by its name, or by a phase that serves where none is named.
///
/// # Errors
/// Those of [`row`].
pub(crate) fn asked(
    request: &PlanRequest,
) -> Result<Option<(Ingredient, &'static Serves)>, Diagnostic> {
    let serves = matches!(request.phase, Some(StepPhase::Prefill | StepPhase::Decode));
    let trains = [
        ("--global-batch", request.training.global_batch.is_some()),
        ("--tokens-per-step", request.training.tokens_per_step.is_some()),
    ];
    if let (true, AUTO, Some((flag, _)), Some(phase)) =
        (serves, request.recipe(), trains.into_iter().find(|own| own.1), request.phase)
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
    request.exports.iter().try_for_each(|target| check_target::<Inference>(target))?;
    let asked = of(request)?;
    let read = move |own: &PlanRequest| Setting::read(&own.model, &own.problem, asked);
    let search =
        |own: &Setting, control: &Arc<Control>| Some(door.0(&own.costs, own.goal, control));
    let watch = run.ending(request);
    let run = &mut Run { watch: &watch, follower: run.follower, ..*run };
    let found = watched((request, used.entry.name), run, read, search)?;
    let Some((setting, found, elapsed_s)) = found else { return Ok(interrupted(run.page)) };
    let Some(best) = &found.best else { return Err(nothing_fits(&setting, found.stop)) };
    let mut warnings = setting.run.warnings.clone();
    let judged = (best.pieces.clone(), best.judged.clone());
    let made = (used.to_string(), found.bound, found.bound_method);
    let plan = document(&setting, (&judged.0, &judged.1), (&made.0, made.1, made.2));
    let on = Legal { setting: &setting, plan: &plan, judged: &judged };
    let files = files::<Inference>(on, &request.exports, &mut warnings);
    run.page.warnings(&warnings);
    let report = ServedReportDocument {
        plan,
        period_seconds: best.judged.period as f64 / 1e9,
        latency_seconds: best.judged.latency as f64 / 1e9,
        bound_seconds: found.bound.min(best.judged.period) as f64 / 1e9,
        tokens_per_s: setting.tokens_per_s(best.judged.period),
        alone: setting.alone().map(|(device, ns)| AloneDocument {
            device: setting.name(device).to_owned(),
            latency_seconds: ns as f64 / 1e9,
            tokens_per_s: setting.tokens_per_s(ns),
        }),
        stop_reason: found.stop.name().to_owned(),
        elapsed_s,
        energy_front: Vec::new(),
        warnings: warnings.iter().map(DiagnosticDocument::from).collect(),
    };
    told(run, (&report.plan, files), &report, |run| {
        print(&setting, best, &found, (Rows::of(request.all), run));
        energy::told(&report.plan, run.page);
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
    let goal = match request.objective {
        None => Goal::default(),
        Some(name) if name.is_of_energy() => Goal::default(),
        Some(name) => Goal::named(name.name()).ok_or_else(|| {
            let message = format!("a pipeline that serves is planned for no `{}`", name.name());
            Diagnostic::usage("no-objective", message)
                .hint("use --objective throughput, latency, energy-per-token or cost-per-token")
        })?,
    };
    Ok(Asked {
        phase,
        batch: batch(request)?,
        tokens: request.training.sequence_length,
        cached: request.cached_tokens,
        goal,
        request: RequestDocument {
            max_memory_bytes: request.training.max_memory_per_device.map(|own| own.0),
            kept_free: request.training.memory_margin.or(request.problem.margin),
            kv_dtype: request.kv_dtype.map(|own| own.to_string()),
            ..of_energy(request, RequestDocument::default())
        },
    })
}

/// Why there is no pipeline.
fn nothing_fits(setting: &Setting, stop: StopReason) -> Diagnostic {
    let costs = &setting.costs;
    let whole = 0..costs.n_blocks();
    let need = costs.stage_bytes(&whole, [true, true], 1);
    let all = costs.limits.iter().try_fold(0_u64, |sum, own| Some(sum.saturating_add((*own)?)));
    if !stop.is_complete() {
        let (message, hint) = match stop {
            StopReason::SizeLimit => (
                "no pipeline was found: there are too many classes of devices to look at every order",
                "name fewer devices, or those that reach each other",
            ),
            _ => ("no pipeline was found in time", "raise --time-limit"),
        };
        return Diagnostic::error(Blame::NotFound, "no-plan", message).hint(hint);
    }
    let n = costs.n_devices();
    let are_apart =
        (0..n * n).any(|own| own / n != own % n && costs.way(own / n, own % n).is_none());
    let apart = if are_apart { " that reach each other, there and back," } else { "" };
    let message = format!("no pipeline of devices{apart} holds the model for {}", setting.words());
    let error = Diagnostic::error(Blame::Infeasible, "memory-exceeded", message)
        .fact("needed_on_one", Bytes(need).to_string());
    let error = match all {
        Some(all) => error.fact("usable_of_all", Bytes(all).to_string()),
        None => error,
    };
    error.hint("state fewer samples with --batch or tokens with --cached, or name more devices")
}

fn print(setting: &Setting, best: &Plan, found: &Found, (rows, run): (Rows, &Run<'_>)) {
    if run.page.format != Format::Text {
        return;
    }
    let stages = match best.pieces.len() {
        1 => "1 stage".to_owned(),
        n => format!("{n} stages"),
    };
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for device in setting.run.cluster.device_ids() {
        *kinds.entry(&setting.run.cluster.kind_of(device).name).or_default() += 1;
    }
    let kinds: Vec<String> = kinds.iter().map(|(kind, n)| format!("{n} x {kind}")).collect();
    run.page.line(&format!(
        "{} on {}, {}: {stages}",
        setting.run.model.name,
        kinds.join(", "),
        setting.words()
    ));
    table(setting, (&best.pieces, &best.judged), (rows, run.page));
    run.page.line(&format!("{}; {}", sentence(setting, &best.judged), proof(setting, best, found)));
    run.page.line(&unused(setting, &best.pieces));
    run.page.line(&alone(setting));
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
        return format!(
            "{wanted} of: pipelines with one device a stage, any of the devices, in any order, any \
             neighbouring blocks{in_flight}"
        );
    }
    let gap = 100.0 * (period as f64 / (bound.max(1)) as f64 - 1.0);
    let why = match (found.stop, found.bound_method) {
        (_, EVERY) => "channels that several stages share are left aside in it".to_owned(),
        (StopReason::SizeLimit, _) => {
            "size-limit: too many classes of devices to look at every order".to_owned()
        }
        (stop, _) => format!("{}; --time-limit and --node-budget look at more", stop.name()),
    };
    format!(
        "not proved the best: no period is below {:.3} ms, gap {gap:.1} %; {why}",
        bound as f64 / 1e6
    )
}

/// Which devices have no stage.
fn unused(setting: &Setting, pieces: &[Piece]) -> String {
    let is_used = |at: usize| pieces.iter().any(|own| own.device == at);
    let devices = setting.run.cluster.device_ids().enumerate();
    let idle: Vec<_> = devices.filter(|(at, _)| !is_used(*at)).map(|own| own.1).collect();
    match idle.is_empty() {
        true => "every device has a stage".to_owned(),
        false => format!("without a stage: {}", setting.run.cluster.in_words(&idle)),
    }
}
