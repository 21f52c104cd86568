//! A plan of pieces on streams inside the layers of a model.

use std::time::Instant;

use documents::diagnostic::DiagnosticDocument;
use documents::plan::request::RequestDocument;
use documents::report::streams::StreamsReportDocument;
use ir::diagnostic::{Blame, Diagnostic};
use ir::workload::StepPhase;
use planner::experts::Streams;
use planner::experts::fsmoe::Planned;
use planner::recipe::Ingredient;
use planner::run::StopReason;
use planner::run::watch::Tell;

use super::followed::bytes;
use super::run::{Run, interrupted, late};
use crate::exit::{CommandResult, Exit};
use crate::experts::figures::percent;
use crate::page::Format;
use crate::request::PlanRequest;
use crate::request::value::Written;
use crate::rows::Rows;
use crate::streams::decided::{Asked, OBJECTIVE, document, unsplit_s};
use crate::streams::explain::table;
use crate::streams::setting::Setting;
use crate::streams::{Word, check_target};

/// Plans the layers of a model by a row of the registry.
pub(super) fn plan(
    request: &PlanRequest,
    (used, door): (Ingredient, &'static Streams),
    run: &mut Run<'_>,
) -> CommandResult {
    request.exports.iter().try_for_each(|target| check_target(target, Word::Parts))?;
    check_phase(request)?;
    let asked = asked(request, &used)?;
    let read = {
        let (own, asked) = (request.clone(), asked.clone());
        move |_: Tell<()>| {
            let on = (own.model.as_path(), own.training.sequence_length);
            Setting::read(on, &own.problem, (asked.batch, asked.request))
        }
    };
    let setting = match run.watch.run(read, &mut |()| {}).done().transpose()? {
        _ if run.watch.is_cancelled() => return Ok(interrupted(run.page)),
        Some(setting) => setting,
        None => return Err(late()),
    };
    let start = Instant::now();
    run.follower.started(used.entry.name);
    let model = setting.model.clone();
    let found = run.watch.run(move |_: Tell<()>| door.0(&model), &mut |()| {}).done();
    run.follower.searched();
    let Some(planned) = found else {
        return match run.watch.is_cancelled() {
            true => Ok(interrupted(run.page)),
            false => {
                Err(Diagnostic::error(Blame::NotFound, "no-plan", "no plan was found in time")
                    .hint("raise --time-limit"))
            }
        };
    };
    let elapsed_s = (!request.limits.deterministic).then(|| start.elapsed().as_secs_f64());
    let mut warnings = setting.run.warnings.clone();
    warnings.extend(assumed(request, &setting));
    run.page.warnings(&warnings);
    let plan = document(&setting, &planned.layers, &asked, planned.bound_s);
    let written = run.follower.planned(bytes(&plan)?, Ok(Vec::new()))?;
    let report = StreamsReportDocument {
        n_layers: planned.layers.len() as u64,
        seconds: planned.seconds,
        bound_seconds: planned.bound_s,
        unsplit_seconds: unsplit_s(&setting),
        gradient_bytes: setting.model.gradient_bytes(),
        rest_bytes: setting.model.rest_bytes(&planned.layers),
        stop_reason: stop(&planned).name().to_owned(),
        elapsed_s,
        warnings: warnings.iter().map(DiagnosticDocument::from).collect(),
        plan,
    };
    print(request, &setting, &report, run);
    run.page.serialized(&report)?;
    written.iter().for_each(|name| run.page.talk(&format!("wrote {name}")));
    Ok(Exit::DONE)
}

/// Parts are planned for steps that have gradients.
fn check_phase(request: &PlanRequest) -> Result<(), Diagnostic> {
    match request.phase {
        Some(StepPhase::Training) => Ok(()),
        Some(_) => {
            let message = "parts of layers and slices of gradients are planned for training alone";
            Err(Diagnostic::usage("not-for-streams", message).hint("add --phase training"))
        }
        None => {
            let message =
                "what a step does is not stated, and parts are planned for training alone";
            Err(Diagnostic::usage("no-phase", message).hint("add --phase training"))
        }
    }
}

fn asked(request: &PlanRequest, used: &Ingredient) -> Result<Asked, Diagnostic> {
    let Some(batch) = request.problem.model.batch else {
        let message = "the samples of a step are not stated";
        return Err(Diagnostic::usage("no-batch", message).hint("add --batch N"));
    };
    let expert_skew = match &request.training.expert_skew {
        Some(crate::request::ExpertSkew::File(file)) => {
            let message = format!(
                "`--expert-skew {}` is a file, and parts are priced for balanced or zipf:S",
                file.display()
            );
            return Err(Diagnostic::usage("not-for-streams", message)
                .hint("state a law, or place experts with --algorithm expert-placement"));
        }
        law => law.as_ref().map(Written::text),
    };
    let request = RequestDocument { expert_skew, ..RequestDocument::default() };
    Ok(Asked { batch, request, algorithm: used.to_string() })
}

fn assumed(request: &PlanRequest, setting: &Setting) -> Option<Diagnostic> {
    request.training.sequence_length.is_none().then(|| {
        let message = format!("samples of {} tokens are assumed", setting.run.sequence);
        Diagnostic::warning("assumed-length", message)
            .hint("state the length of a sample with --sequence-length")
    })
}

fn stop(planned: &Planned) -> StopReason {
    match planned.seconds <= planned.bound_s * (1.0 + 1e-9) {
        true => StopReason::ProvedOptimal,
        false => StopReason::Finished,
    }
}

fn print(request: &PlanRequest, setting: &Setting, told: &StreamsReportDocument, run: &Run<'_>) {
    if run.page.format != Format::Text {
        return;
    }
    table(&told.plan, setting, Rows::of(request.all), run.page);
    run.page.line(&format!(
        "{:.1} of {:.1} MB of gradients follow the last layer; embedding, head and optimizer are left \
         out",
        told.rest_bytes as f64 / 1e6,
        told.gradient_bytes as f64 / 1e6
    ));
    let state = match told.stop_reason == StopReason::ProvedOptimal.name() {
        true => "proved optimal".to_owned(),
        false => {
            format!("at most {} above the best", percent(told.seconds / told.bound_seconds - 1.0))
        }
    };
    let seconds = told.elapsed_s.map_or_else(String::new, |own| format!("; {own:.3} s"));
    run.page.line(&format!(
        "{OBJECTIVE} {:.3} ms over {} layers, none is below {:.3}: {state}; {:.3} ms in one part with \
         all gradients last{seconds}; stopped: {}",
        told.seconds * 1e3,
        told.n_layers,
        told.bound_seconds * 1e3,
        told.unsplit_seconds * 1e3,
        told.stop_reason
    ));
}
