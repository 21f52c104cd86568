//! A plan of nano-batches of a serving step.

use std::time::Instant;

use documents::diagnostic::DiagnosticDocument;
use documents::plan::PlanDocument;
use documents::plan::request::RequestDocument;
use documents::report::nano_batches::NanoBatchesReportDocument;
use ir::diagnostic::{Blame, Diagnostic};
use ir::workload::StepPhase;
use planner::experts::NanoBatches;
use planner::recipe::Ingredient;
use planner::run::StopReason;
use planner::run::watch::Tell;

use super::followed::bytes;
use super::run::{Run, interrupted, late};
use crate::exit::{CommandResult, Exit};
use crate::experts::figures::percent;
use crate::follow::{File, Files};
use crate::nano_batches::KNOWN;
use crate::nano_batches::decided::{
    Asked, Entry, OBJECTIVE, document, entries, seconds, thresholds,
};
use crate::nano_batches::explain::{self, table};
use crate::nano_batches::export::{check_target, exported};
use crate::nano_batches::setting::{Doing, Setting};
use crate::page::Format;
use crate::request::PlanRequest;
use crate::request::value::Written;
use crate::rows::Rows;

/// Plans the layers of a model by a row of the registry.
pub(super) fn plan(
    request: &PlanRequest,
    (used, door): (Ingredient, &'static NanoBatches),
    run: &mut Run<'_>,
) -> CommandResult {
    request.exports.iter().try_for_each(|target| check_target(target))?;
    let doing = doing(request)?;
    let asked = Asked::of((&used, door), asked(request)?)?;
    let read = {
        let (own, asked) = (request.clone(), asked.request.clone());
        move |_: Tell<()>| {
            let table = own.interference.as_deref();
            let rows = table.map(|file| importers::interference::read(file, KNOWN)).transpose()?;
            let on = (own.model.as_path(), own.training.sequence_length);
            Setting::read(on, &own.problem, (doing, asked), rows.unwrap_or_default())
        }
    };
    let setting = match run.watch.run(read, &mut |()| {}).done().transpose()? {
        _ if run.watch.is_cancelled() => return Ok(interrupted(run.page)),
        Some(setting) => setting,
        None => return Err(late()),
    };
    let start = Instant::now();
    run.follower.started(used.entry.name);
    let own = (setting.clone(), asked.clone());
    let work = move |_: Tell<()>| (entries(&own.0, &own.1), thresholds(&own.0, &own.1));
    let found = run.watch.run(work, &mut |()| {}).done();
    run.follower.searched();
    let (entries, thresholds) = match found {
        Some(found) => found,
        None if run.watch.is_cancelled() => return Ok(interrupted(run.page)),
        None => return Err(none_in_time()),
    };
    let elapsed_s = (!request.limits.deterministic).then(|| start.elapsed().as_secs_f64());
    let mut warnings = setting.run.warnings.clone();
    warnings.extend(assumed(request, &setting));
    let plan = document(&setting, &entries, (&asked, thresholds));
    let files = files(request, (&setting, &plan), &mut warnings);
    run.page.warnings(&warnings);
    let written = run.follower.planned(bytes(&plan)?, files)?;
    let [step_s, bound_s, unsplit_s] = seconds(&entries);
    let n = entries.iter().map(|own| own.cut.split.samples.len() as u32).max();
    let report = NanoBatchesReportDocument {
        n_layers: setting.layers.len() as u64,
        seconds: step_s,
        bound_seconds: bound_s,
        unsplit_seconds: unsplit_s,
        nano_batches: n.unwrap_or(1),
        stop_reason: stop(step_s, bound_s).name().to_owned(),
        elapsed_s,
        warnings: warnings.iter().map(DiagnosticDocument::from).collect(),
        plan,
    };
    print(request, &entries, &report, run);
    run.page.serialized(&report)?;
    written.iter().for_each(|name| run.page.talk(&format!("wrote {name}")));
    Ok(Exit::DONE)
}

fn none_in_time() -> Diagnostic {
    Diagnostic::error(Blame::NotFound, "no-plan", "no plan was found in time")
        .hint("raise --time-limit")
}

/// The files of all targets.
fn files(
    request: &PlanRequest,
    on: (&Setting, &PlanDocument),
    warnings: &mut Vec<Diagnostic>,
) -> Files {
    let mut files = Vec::new();
    for target in &request.exports {
        let own = exported(target, on)?;
        warnings.extend(own.warnings);
        files.push(File { target: target.clone(), bytes: own.bytes });
    }
    Ok(files)
}

/// What a step does: prefill or decode, of so many samples.
fn doing(request: &PlanRequest) -> Result<Doing, Diagnostic> {
    let phase = match request.phase {
        Some(phase @ (StepPhase::Prefill | StepPhase::Decode)) => phase,
        Some(StepPhase::Training) => {
            let message =
                "nano-batches are planned for serving steps, and `--phase training` is none";
            return Err(Diagnostic::usage("not-for-streams", message)
                .hint("add --phase prefill or decode, or plan with --algorithm fsmoe"));
        }
        None => {
            let message = "what a step does is not stated";
            return Err(Diagnostic::usage("no-phase", message)
                .hint("add --phase prefill, or --phase decode"));
        }
    };
    let Some(batch) = request.problem.model.batch else {
        let message = "the samples of a step are not stated";
        return Err(Diagnostic::usage("no-batch", message).hint("add --batch N"));
    };
    Ok(Doing { phase, batch, cached: request.cached_tokens })
}

fn asked(request: &PlanRequest) -> Result<RequestDocument, Diagnostic> {
    let expert_skew = match &request.training.expert_skew {
        Some(crate::request::ExpertSkew::File(file)) => {
            let message = format!(
                "`--expert-skew {}` is a file, and pieces are priced for balanced or zipf:S",
                file.display()
            );
            return Err(Diagnostic::usage("not-for-streams", message)
                .hint("state a law, or place experts with --algorithm expert-placement"));
        }
        law => law.as_ref().map(Written::text),
    };
    Ok(RequestDocument { expert_skew, ..RequestDocument::default() })
}

/// What nobody stated, and is taken.
fn assumed(request: &PlanRequest, setting: &Setting) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    if request.training.sequence_length.is_none() {
        let message = format!("samples of {} tokens are assumed", setting.run.sequence);
        found.push(
            Diagnostic::warning("assumed-length", message)
                .hint("state the length of a sample with --sequence-length"),
        );
    }
    if setting.rows.is_empty() {
        let message =
            "no table says what ops do to each other: they take turns, and nothing is cut";
        found.push(
            Diagnostic::warning("no-interference", message)
                .hint("state what was measured with --interference F.csv"),
        );
    }
    found
}

fn stop(seconds: f64, bound_s: f64) -> StopReason {
    match seconds <= bound_s * (1.0 + 1e-9) {
        true => StopReason::ProvedOptimal,
        false => StopReason::Finished,
    }
}

fn print(
    request: &PlanRequest,
    entries: &[Entry],
    told: &NanoBatchesReportDocument,
    run: &Run<'_>,
) {
    if run.page.format != Format::Text {
        return;
    }
    table(entries, Rows::of(request.all), run.page);
    explain::thresholds(&told.plan, run.page);
    let state = match told.stop_reason == StopReason::ProvedOptimal.name() {
        true => "proved optimal".to_owned(),
        false => {
            format!("at most {} above the best", percent(told.seconds / told.bound_seconds - 1.0))
        }
    };
    let seconds = told.elapsed_s.map_or_else(String::new, |own| format!("; {own:.3} s"));
    run.page.line(&format!(
        "{OBJECTIVE} {:.3} ms over {} layers, none is below {:.3}: {state}; {:.3} ms where nothing is \
         cut{seconds}; stopped: {}",
        told.seconds * 1e3,
        told.n_layers,
        told.bound_seconds * 1e3,
        told.unsplit_seconds * 1e3,
        told.stop_reason
    ));
}
