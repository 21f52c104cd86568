//! A plan of attention and experts on devices of their own.

use std::sync::Arc;

use cost_model::streams::groups::Prices;
use documents::plan::disaggregated::GroupsFigures;
use documents::plan::request::RequestDocument;
use documents::report::FoundDocument;
use ir::diagnostic::{Blame, Diagnostic};
use ir::workload::StepPhase;
use planner::experts::findep::{Planned, least_s};
use planner::experts::{self, naive, ping_pong};
use planner::run::{Control, StopReason};

use crate::answer::exit::CommandResult;
use crate::answer::page::Page;
use crate::answer::rows::Rows;
use crate::answer::screen::{Screen, figure};
use crate::inputs::experts::impossible;
use crate::inputs::load;
use crate::kinds::cells::Asked;
use crate::kinds::frame;
use crate::kinds::groups::decided::{Decided, cells, document, replayed, whole};
use crate::kinds::groups::explain::{by_length, sentences, table};
use crate::kinds::groups::setting::{Setting, Visited};
use crate::kinds::groups::{Groups, Judged};
use crate::request::PlanRequest;
use crate::search::row;
use crate::search::run::{Run, interrupted};
use crate::search::watched::{assumed, batch, law, proved, stop, watched};

/// Shares a step out over two groups of devices by a row of the registry.
pub(crate) fn plan(request: &PlanRequest, run: &mut Run<'_>) -> CommandResult {
    let (used, door) = row::known::<experts::Groups>(request.recipe())?;
    let phase = phase(request)?;
    let batch = batch(request)?;
    let kv_dtype = request.kv_dtype;
    let words =
        RequestDocument { kv_dtype: kv_dtype.map(|dtype| dtype.to_string()), ..law(request) };
    let recipe = Asked { batch, request: words, algorithm: used.to_string() };
    let read = move |request: &PlanRequest| {
        let on = (request.model.as_path(), request.training.sequence_length);
        let visited = Visited::Asked(request.training.expert_skew.clone());
        Setting::read(on, &request.problem, &visited, (phase, batch, kv_dtype))
    };
    let search = |setting: &Setting, control: &Arc<Control>| Some(searched(setting, door, control));
    let found = watched((request, used.entry.name), run, read, search)?;
    let Some((setting, found, elapsed_s)) = found else { return Ok(interrupted(run.page)) };
    let found = found.ok_or_else(|| nothing_fits(&setting))?;
    let mut warnings = setting.run.warnings.clone();
    warnings.extend(assumed(request, setting.run.sequence));
    let visits = setting.kinds.iter().zip(&setting.visits).enumerate();
    let visits = visits.filter(|(_, (_, visits))| !visits.is_empty()).map(|(kind, (_, visits))| {
        let layers = (0..).zip(&setting.layers).filter(|(_, other)| **other == kind);
        (layers.map(|(layer, _)| layer).collect(), visits.clone())
    });
    warnings.extend(impossible(&visits.collect(), &setting.experts.experts));
    let judged = judged(&setting, found.decided.clone());
    let seconds = (judged.seconds, found.bound_s);
    let plan = document(&setting, &found.decided, &recipe, (&judged.cells, seconds.0, seconds.1));
    let sample_s = judged.seconds / found.decided.split.of_step().max(1) as f64;
    let stop = found.stop.unwrap_or(stop(sample_s, found.bound_s)).name();
    let made = (plan, figures(&setting, &found, judged.seconds), stop, elapsed_s);
    let on = (&setting, &judged);
    frame::found::<Groups, _>((request, run), on, made, warnings, |report, page| {
        screen((&setting, request.all), (report, phase), page)
    })
}

/// Steps that have no gradients.
fn phase(request: &PlanRequest) -> Result<StepPhase, Diagnostic> {
    match request.phase {
        Some(StepPhase::Training) => {
            let message = "attention and experts are put on devices of their own for serving alone";
            Err(Diagnostic::usage("not-for-streams", message)
                .hint("add --phase prefill or --phase decode, or plan with --algorithm fsmoe"))
        }
        Some(phase) => Ok(phase),
        None => {
            let message = "what a step does is not stated";
            Err(Diagnostic::usage("no-phase", message)
                .hint("add --phase prefill or --phase decode"))
        }
    }
}

/// What is found for samples as they are asked for, and by the baselines, with the bound.
struct Found {
    decided: Decided,
    bound_s: f64,
    baselines: [Option<Planned>; 2],
    stop: Option<StopReason>,
}

/// Runs the row, and its baselines; `None` where memory or samples allow no groups.
fn searched(setting: &Setting, door: &experts::Groups, control: &Arc<Control>) -> Option<Found> {
    let problem = setting.problem(setting.run.sequence, (None, control));
    let split = door.0(&problem)?.split;
    let of_length = |tokens: u64| {
        // Of near ties, a search of these groups alone may find another one.
        if tokens == setting.run.sequence {
            return Some((tokens, split));
        }
        let found = door.0(&setting.problem(tokens, (Some(split.groups), control)))?;
        Some((tokens, found.split))
    };
    let by_length = setting.lengths().into_iter().filter_map(of_length).collect();
    Some(Found {
        decided: Decided::new(setting, split, by_length),
        bound_s: least_s(&problem),
        baselines: [ping_pong::solve(&problem), naive::solve(&problem)],
        stop: control.noted_stop(),
    })
}

/// Why there are no groups: too few samples for as many devices as must hold attention, or memory.
fn nothing_fits(setting: &Setting) -> Diagnostic {
    let priced = setting.priced(setting.run.sequence);
    let n_devices = u32::try_from(setting.run.cluster.devices.len()).unwrap_or(u32::MAX);
    let holds =
        |n_attention: &u32| priced.most_samples([*n_attention, n_devices - n_attention]) > 0;
    if let Some(least) = (1..n_devices).find(holds) {
        let message = format!(
            "a step of {} samples: of {n_devices} devices at least {least} hold attention, each of which \
             takes a sample",
            setting.batch
        );
        return Diagnostic::error(Blame::NotFound, "nothing-fits", message)
            .fact("experts", setting.experts.experts.n_experts)
            .hint(format!("state --batch {least} or more, or give a cluster of fewer devices"));
    }
    let [attention, experts] = priced.bytes(1, n_devices.saturating_sub(1));
    let message = format!(
        "no {n_devices} devices hold attention and experts apart: with attention and one sample a device \
         holds {attention} bytes, with a share of the experts, one of {} devices, {experts}",
        n_devices.saturating_sub(1)
    );
    let limit = priced.limit().map_or_else(|| "unknown".to_owned(), |limit| limit.to_string());
    Diagnostic::error(Blame::NotFound, "nothing-fits", message)
        .fact("device_bytes", limit)
        .fact("tokens", setting.run.sequence)
        .hint("give more devices, or devices with more memory, or shorter samples")
}

/// What decisions take.
fn judged(setting: &Setting, decided: Decided) -> Judged {
    let priced = setting.priced(setting.run.sequence);
    let cells = cells(setting, &priced, &decided.split);
    let times = replayed(&whole(setting, &cells));
    let seconds = times.map_or(f64::INFINITY, |times| times.seconds());
    Judged { decided, cells, seconds }
}

/// What is said of it.
fn figures(setting: &Setting, found: &Found, seconds: f64) -> GroupsFigures {
    let Found { decided, bound_s, baselines, .. } = found;
    let sample_s = seconds / decided.split.of_step().max(1) as f64;
    let [ping_pong, naive] =
        baselines.map(|baseline| baseline.map(|baseline| 1.0 / baseline.sample_s()));
    GroupsFigures {
        n_layers: setting.layers.len() as u64,
        step_seconds: seconds,
        samples_per_s: 1.0 / sample_s,
        bound_samples_per_s: 1.0 / bound_s.min(sample_s),
        ping_pong_samples_per_s: ping_pong,
        naive_samples_per_s: naive,
    }
}

fn screen(
    (setting, is_whole): (&Setting, bool),
    (found, phase): (&FoundDocument<GroupsFigures>, StepPhase),
    page: &Page,
) -> Screen {
    let figures = &found.figures;
    let step = format!("{} of {} x {} tokens", phase.name(), setting.batch, setting.run.sequence);
    let mut screen = Screen::of_step(&found.plan, &step, &load::describe(&setting.run.cluster));
    if let Some(groups) = &found.plan.experts.disaggregated {
        let labels = ["memory", "plan"].into_iter().zip(sentences(groups));
        labels.rev().for_each(|(label, line)| screen.fact(label, line));
    }
    let of =
        |rate: Option<f64>| rate.map_or_else(|| "no plan".to_owned(), |rate| format!("{rate:.3}"));
    let rest = format!(
        "in steps of {:.3} ms over {} layers; ping-pong {}, naive {}",
        figures.step_seconds * 1e3,
        figures.n_layers,
        of(figures.ping_pong_samples_per_s),
        of(figures.naive_samples_per_s)
    );
    screen.fact("rate", figure(format!("{:.3} samples/s", figures.samples_per_s), None, &rest));
    let ended = (found.stop_reason.as_str(), found.elapsed_s);
    let seconds = (1.0 / figures.samples_per_s, 1.0 / figures.bound_samples_per_s);
    screen.fact(
        "proof",
        proved(seconds, "the searched group sizes, micro-batches and chunks", ended),
    );
    screen.fact("scope", "embedding and head are not included".to_owned());
    screen.take(page, |page| {
        table(&found.plan, Rows::All, page);
    });
    if let Some(groups) = found.plan.experts.disaggregated.as_ref().filter(|_| is_whole) {
        by_length(groups, Rows::All, page);
    }
    screen
}
