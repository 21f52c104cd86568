//! A sharding of a training step.

use std::sync::Arc;
use std::time::{Duration, Instant};

use documents::plan::sharding::{ShardingFigures, TemplateFigures};
use documents::report::FoundDocument;
use ir::cluster::Device;
use ir::diagnostic::{Blame, Diagnostic};
use ir::units::{Bytes, Nanos};
use planner::run::{Control, Limits, StopReason};
use planner::sharding::templates::Template;
use planner::sharding::{Conflict, Constraint, Mesh, Refused, Shards, sizes};

use super::Sharding;
use super::decided::{document, part};
use super::explain::{axes, table};
use super::setting::Setting;
use crate::answer::exit::CommandResult;
use crate::answer::page::Page;
use crate::answer::rows::Rows;
use crate::answer::screen::{Screen, figure};
use crate::inputs::load;
use crate::inputs::run::checks::check_workload;
use crate::inputs::run::setting::Setting as Run;
use crate::kinds::frame::found;
use crate::request::{LIMIT_OF_FLAG, PlanRequest};
use crate::search::row;
use crate::search::run::{Run as Progress, interrupted};
use crate::search::watched::{proved, stop, watched};

/// The share of it that the plan gets; templates beside it get the rest.
const SHARE: f64 = 0.8;

/// Why there is no plan, with what is in conflict where none can be.
type Unplanned = (Refused, Option<Conflict>);

/// What a search takes at most where no limit is stated.
pub(super) const USUAL: Duration = Duration::from_secs(20);

/// Sizes of a mesh.
#[must_use]
pub fn mesh(mesh: &Mesh) -> String {
    let sizes: Vec<String> = mesh.axes.iter().map(|axis| axis.size.to_string()).collect();
    let names: Vec<&str> = mesh.axes.iter().map(|axis| axis.name.as_str()).collect();
    format!("{} devices ({})", sizes.join(" x "), names.join(", "))
}

/// Plans a step by a row of the registry.
pub(crate) fn plan(request: &PlanRequest, run: &mut Progress<'_>) -> CommandResult {
    check_workload(request)?;
    let (used, door) = row::known::<Shards>(request.recipe())?;
    let sizes = sizes(&used.options)?;
    let read = move |request: &PlanRequest| {
        Setting::of((Run::of(request)?, &request.model, &request.problem.model), sizes)
    };
    let shard = door.0;
    let search = move |setting: &Setting, control: &Arc<Control>| {
        let control = &usual(control);
        let found = setting.with(|question| {
            let why = |(refused, _)| match refused {
                Refused::Infeasible => (Refused::Infeasible, Some(question.conflict(control))),
                refused => (refused, None),
            };
            let part = control.part(SHARE);
            let planned = shard(question, &part).map_err(why)?;
            let templates = question.templates(&planned, control);
            Ok((planned, templates, part.noted_stop()))
        });
        Some(found)
    };
    let planned = watched((request, used.entry.name), run, read, search)?;
    let Some((setting, planned, elapsed_s)) = planned else { return Ok(interrupted(run.page)) };
    let (planned, templates, ended) = match planned {
        Ok(found) => found,
        Err(_) if run.watch.is_cancelled() => return Ok(interrupted(run.page)),
        Err(refused) => return Err(none((&setting, request), refused)),
    };
    let plan = document(&setting, &planned, &used.to_string());
    let replayed = planned.replayed;
    let collective_s = replayed.parameters_s + replayed.activations_s + replayed.beside_s;
    let n = planned.accumulation as f64;
    let figures = ShardingFigures {
        seconds: planned.seconds(),
        priced_seconds: planned.priced_s(),
        bound_seconds: planned.bound_s(),
        collective_seconds: n * collective_s,
        exposed_seconds: n * (replayed.seconds - replayed.ops_s - replayed.update_s),
        templates: templates.iter().map(|of| figures_of(of, planned.seconds())).collect(),
        is_template: planned.template(&setting.mesh).map(|of| of.to_string()),
        n_micro_batches: planned.accumulation,
        peak_memory_bytes: planned.peak.0.round() as u64,
        n_strategies: planned.sharding.n_strategies as u64,
        n_columns: planned.sharding.n_columns as u64,
    };
    let stop = match stop(planned.priced_s(), planned.bound_s()) {
        StopReason::Finished => ended.unwrap_or(StopReason::Finished),
        proved => proved,
    };
    let warnings = setting.run.warnings.clone();
    let (on, made) = ((&setting, &planned), (plan, figures, stop.name(), elapsed_s));
    found::<Sharding, _>((request, run), on, made, warnings, |report, page| {
        screen(&setting, report, page)
    })
}

/// The same limits, with a time where none is stated: searches are seldom as long.
fn usual(control: &Control) -> Control {
    let limits = control.limits();
    let usual = (!limits.deterministic).then_some(USUAL);
    let left = control.deadline().map(|end| end.saturating_duration_since(Instant::now()));
    Control::new(&Limits { time: left.or(usual), ..limits.clone() })
}

/// A template beside a plan that takes `planned_s`.
pub(super) fn figures_of((template, seconds): &(Template, f64), planned_s: f64) -> TemplateFigures {
    let (template, seconds) = (template.to_string(), *seconds);
    TemplateFigures { template, seconds, slower: seconds / planned_s - 1.0 }
}

/// Why there is no plan.
fn none(
    (setting, request): (&Setting, &PlanRequest),
    (refused, conflict): Unplanned,
) -> Diagnostic {
    match (refused, conflict) {
        (Refused::Infeasible, Some(conflict)) => conflicting((setting, request), &conflict),
        (Refused::NotSolved | Refused::Infeasible, _) => {
            let counts = request.limits.deterministic || request.limits.node_budget.is_some();
            let (limit, hint) = match counts {
                true => ("within the node budget", "raise --node-budget"),
                false => ("in time", "raise --time-limit"),
            };
            let message = format!("no plan was found {limit}");
            Diagnostic::error(Blame::NotFound, "no-plan", message).hint(hint)
        }
        (other, _) => Diagnostic::usage("no-rules", other.to_string())
            .hint("leave --algorithm out: degrees are searched for every model"),
    }
}

/// Constraints that no sharding meets together, and what helps: each was planned.
fn conflicting((setting, request): (&Setting, &PlanRequest), conflict: &Conflict) -> Diagnostic {
    let run = &setting.run;
    let pins = &run.request.pin;
    let gigabytes = |bytes: f64| {
        let (figure, unit) = memory(bytes);
        format!("{figure} {unit}")
    };
    let limit = run.limit.map_or(f64::INFINITY, |limit| limit.as_f64());
    let word = |member: &Constraint| match member {
        Constraint::Memory => format!("{} per device", gigabytes(limit)),
        Constraint::Pin(at) => format!("`--pin {}`", pins[*at]),
    };
    let words: Vec<String> = conflict.members.iter().map(word).collect();
    let has_memory = conflict.members.contains(&Constraint::Memory);
    let message = match &words[..] {
        [] => "no sharding splits these tensors evenly on this mesh".to_owned(),
        [alone] if has_memory => {
            let recompute = if setting.ops.is_none() { ", with and without recompute" } else { "" };
            format!("no sharding fits in {alone} (power-of-two micro-batch counts{recompute})")
        }
        [alone] => format!("no sharding on this mesh meets {alone}"),
        [first @ .., last] => {
            let is_least = match conflict.is_minimal {
                true => "; without any one of them, the others can be met",
                false => "",
            };
            format!("no sharding meets {} and {last} together{is_least}", first.join(", "))
        }
    };
    let code = if has_memory { "memory" } else { "pins" };
    let mut error = Diagnostic::error(Blame::Infeasible, code, message).fact("conflict", words);
    let device = run.cluster.devices.iter().filter_map(Device::memory_limit).min();
    let is_stated = request.training.max_memory_per_device.is_some();
    if has_memory && is_stated && device.is_none_or(|device| run.less(device).as_f64() > limit) {
        error = error.fact(LIMIT_OF_FLAG, "--max-memory-per-device");
    }
    for fix in &conflict.fixes {
        let pins: Vec<String> = fix.iter().map(|at| format!("--pin {}", pins[*at])).collect();
        error = error.hint(format!("leave out {}", pins.join(" and ")));
    }
    let Some(enough) = conflict.enough_bytes else { return error };
    let enough = rounded_up(enough);
    let is_there = device.is_none_or(|device| run.less(device).as_f64() >= enough);
    let (figure, unit) = memory(enough);
    let flag = if is_stated { " and a higher --max-memory-per-device" } else { "" };
    let fits = gigabytes(enough);
    error.hint(match is_stated && is_there {
        true => format!("--max-memory-per-device {figure}{unit} is enough"),
        false if conflict.members.len() == 1 => {
            format!("{fits} per device fits: use more devices, or devices with more memory{flag}")
        }
        false => {
            format!("{fits} per device fits with these pins: use devices with more memory{flag}")
        }
    })
}

/// Bytes to three digits, in gigabytes or below one of these in megabytes.
fn memory(bytes: f64) -> (String, &'static str) {
    match bytes < 1e9 {
        true => (format!("{:.1}", bytes / 1e6), "MB"),
        false => (format!("{:.2}", bytes / 1e9), "GB"),
    }
}

/// The least bytes of the digits that are shown which are no fewer.
fn rounded_up(bytes: f64) -> f64 {
    let digit = if bytes < 1e9 { 1e5 } else { 1e7 };
    (bytes / digit).ceil() * digit
}

fn screen(setting: &Setting, found: &FoundDocument<ShardingFigures>, page: &Page) -> Screen {
    let figures = &found.figures;
    let run = &setting.run;
    let step = match run.has_tokens {
        true => format!("training step of {} x {} tokens", run.global_batch, run.sequence),
        false => format!("training step of {} samples", run.global_batch),
    };
    let mut screen = Screen::of_step(&found.plan, &step, &load::describe(&run.cluster));
    let stated = found.plan.sharding.clone().unwrap_or_default();
    let again = if stated.recompute { ", full recompute" } else { "" };
    let of = found.plan.workload.micro_batch.unwrap_or_default();
    let batches = match figures.n_micro_batches {
        1 => "1 micro-batch".to_owned(),
        n => format!("{n} micro-batches of {of}"),
    };
    screen.fact("plan", format!("sharded over {}; {batches}{again}", mesh(&setting.mesh)));
    for line in axes(setting, &stated) {
        screen.fact("", line);
    }
    let time = |seconds: f64| Nanos((seconds * 1e9).round() as u64).to_string();
    let collectives = [figures.collective_seconds, figures.exposed_seconds].map(time);
    let rest = format!("replayed; collectives {}, {} exposed", collectives[0], collectives[1]);
    screen.fact("step", figure(time(figures.seconds), None, &rest));
    let others = match &figures.is_template {
        Some(template) => Some(format!("this is {template}")),
        None => baselines(&figures.templates),
    };
    screen.fact("baselines", others);
    let memory = Bytes(figures.peak_memory_bytes);
    screen.fact("memory", format!("peak {memory} per device, at `{}`", stated.peak_memory_at));
    let space = format!("shardings into {batches}, by cost without overlap");
    let ended = (found.stop_reason.as_str(), found.elapsed_s);
    screen.fact("proof", proved((figures.priced_seconds, figures.bound_seconds), &space, ended));
    let share = stated.exposed_share;
    let of_activations = match stated.exposed_share_of_activations {
        1.0 => String::new(),
        share => format!(", of activations {share:.2}"),
    };
    let cost = time(figures.priced_seconds);
    let weight = "collectives of parameters and gradients weighted";
    screen.fact(
        "",
        format!(
            "cost {cost}: ops and collectives in sequence, {weight} {share:.2}{of_activations}"
        ),
    );
    let scope = "equal layers are sharded alike; multi-axis collectives run one axis at a time; no \
                 pipeline parallelism";
    screen.fact("scope", scope.to_owned());
    screen.take(page, |page| {
        table(&stated, Rows::All, page);
    });
    screen
}

/// The fastest baselines, by what they take more than the plan.
fn baselines(all: &[TemplateFigures]) -> Option<String> {
    let beside = |of: &TemplateFigures| {
        let word = if of.slower < 0.0 { "faster" } else { "slower" };
        format!("{} {:.1} % {word}", of.template, 100.0 * of.slower.abs())
    };
    let words: Vec<String> = all.iter().take(3).map(beside).collect();
    (!words.is_empty()).then(|| words.join("; "))
}

/// A placement in a word, such as `S(0),R`: by axis.
pub(super) fn word(of: &[String]) -> String {
    of.join(",")
}

/// What each axis does to a tensor.
pub(super) fn of_parts(of: &[planner::sharding::Part]) -> String {
    word(&of.iter().copied().map(part).collect::<Vec<_>>())
}
