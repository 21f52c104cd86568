//! A plan of attention and experts on devices of their own.

use std::sync::Arc;

use cost_model::streams::groups::Prices;
use documents::diagnostic::DiagnosticDocument;
use documents::plan::PlanDocument;
use documents::plan::request::RequestDocument;
use documents::report::streams::DisaggregatedReportDocument;
use ir::diagnostic::{Blame, Diagnostic};
use ir::workload::StepPhase;
use planner::experts::findep::{Planned, least_s};
use planner::experts::{self, naive, ping_pong};
use planner::run::{Control, StopReason};

use crate::answer::exit::CommandResult;
use crate::answer::page::Format;
use crate::answer::rows::Rows;
use crate::answer::words::share as percent;
use crate::inputs::experts::impossible;
use crate::kinds::cells::Asked;
use crate::kinds::frame::{check_target, files};
use crate::kinds::groups::decided::{Decided, cells, document, replayed, whole};
use crate::kinds::groups::explain::{by_length, sentences, table};
use crate::kinds::groups::setting::{Setting, Visited};
use crate::kinds::groups::{Groups, Judged};
use crate::kinds::kind::Legal;
use crate::request::PlanRequest;
use crate::search::row;
use crate::search::run::{Run, interrupted};
use crate::search::watched::{assumed, batch, law, searched as took, stop, told, watched};

/// Shares a step out over two groups of devices by a row of the registry.
pub(crate) fn plan(request: &PlanRequest, run: &mut Run<'_>) -> CommandResult {
    let (used, door) = row::known::<experts::Groups>(request.recipe())?;
    request.exports.iter().try_for_each(|target| check_target::<Groups>(target))?;
    let phase = phase(request)?;
    let batch = batch(request)?;
    let kv_dtype = request.kv_dtype;
    let words = RequestDocument { kv_dtype: kv_dtype.map(|own| own.to_string()), ..law(request) };
    let asked = Asked { batch, request: words, algorithm: used.to_string() };
    let read = move |own: &PlanRequest| {
        let on = (own.model.as_path(), own.training.sequence_length);
        let visited = Visited::Asked(own.training.expert_skew.clone());
        Setting::read(on, &own.problem, &visited, (phase, batch, kv_dtype))
    };
    let search = |own: &Setting, control: &Arc<Control>| Some(searched(own, door, control));
    let found = watched((request, used.entry.name), run, read, search)?;
    let Some((setting, found, elapsed_s)) = found else { return Ok(interrupted(run.page)) };
    let found = found.ok_or_else(|| nothing_fits(&setting))?;
    let mut warnings = setting.run.warnings.clone();
    warnings.extend(assumed(request, setting.run.sequence));
    let visits = setting.kinds.iter().zip(&setting.visits).enumerate();
    let visits = visits.filter(|(_, (_, own))| !own.is_empty()).map(|(kind, (_, own))| {
        let layers = (0..).zip(&setting.layers).filter(|(_, own)| **own == kind);
        (layers.map(|(layer, _)| layer).collect(), own.clone())
    });
    warnings.extend(impossible(&visits.collect(), &setting.experts.experts));
    run.page.warnings(&warnings);
    let judged = judged(&setting, found.decided.clone());
    let seconds = (judged.seconds, found.bound_s);
    let plan = document(&setting, &found.decided, &asked, (&judged.cells, seconds.0, seconds.1));
    let on = Legal { setting: &setting, plan: &plan, judged: &judged };
    let files = files::<Groups>(on, &request.exports, &mut warnings);
    let report = report(plan, &setting, (&found, judged.seconds), (elapsed_s, &warnings));
    told(run, (&report.plan, files), &report, |run| print(request, &report, run))
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
    let holds = |own: &u32| priced.most_samples([*own, n_devices - own]) > 0;
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
    let limit = priced.limit().map_or_else(|| "unknown".to_owned(), |own| own.to_string());
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
    let seconds = times.map_or(f64::INFINITY, |own| own.seconds());
    Judged { decided, cells, seconds }
}

/// What `--json` prints.
fn report(
    plan: PlanDocument,
    setting: &Setting,
    (found, seconds): (&Found, f64),
    (elapsed_s, warnings): (Option<f64>, &[Diagnostic]),
) -> DisaggregatedReportDocument {
    let Found { decided, bound_s, baselines, .. } = found;
    let sample_s = seconds / decided.split.of_step().max(1) as f64;
    let [ping_pong, naive] = baselines.map(|own| own.map(|own| 1.0 / own.sample_s()));
    DisaggregatedReportDocument {
        plan,
        n_layers: setting.layers.len() as u64,
        step_seconds: seconds,
        samples_per_s: 1.0 / sample_s,
        bound_samples_per_s: 1.0 / bound_s.min(sample_s),
        ping_pong_samples_per_s: ping_pong,
        naive_samples_per_s: naive,
        stop_reason: found.stop.unwrap_or(stop(sample_s, *bound_s)).name().to_owned(),
        elapsed_s,
        warnings: warnings.iter().map(DiagnosticDocument::from).collect(),
    }
}

fn print(request: &PlanRequest, told: &DisaggregatedReportDocument, run: &Run<'_>) {
    if run.page.format != Format::Text {
        return;
    }
    let rows = Rows::of(request.all);
    table(&told.plan, rows, run.page);
    if let Some(groups) = &told.plan.experts.disaggregated {
        sentences(groups).iter().for_each(|line| run.page.line(line));
        run.page.line("on the same devices, by tokens of a sample:");
        by_length(groups, rows, run.page);
    }
    let state = match told.stop_reason == StopReason::ProvedOptimal.name() {
        true => "proved optimal".to_owned(),
        false => {
            let gap = told.bound_samples_per_s / told.samples_per_s - 1.0;
            format!("the best is at most {} above", percent(gap))
        }
    };
    let of = |own: Option<f64>| own.map_or_else(|| "no plan".to_owned(), |own| format!("{own:.3}"));
    let seconds = took(told.elapsed_s);
    run.page.line(&format!(
        "{:.3} samples/s in steps of {:.3} ms over {} layers, no size that was looked at has more than {:.3}: {state}; ping-pong \
         has {}, naive {}; embedding and head are left out{seconds}; stopped: {}",
        told.samples_per_s,
        told.step_seconds * 1e3,
        told.n_layers,
        told.bound_samples_per_s,
        of(told.ping_pong_samples_per_s),
        of(told.naive_samples_per_s),
        told.stop_reason
    ));
}
