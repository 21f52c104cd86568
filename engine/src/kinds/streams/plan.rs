//! A plan of pieces on streams inside the layers of a model.

use std::sync::Arc;

use documents::diagnostic::DiagnosticDocument;
use documents::report::streams::StreamsReportDocument;
use ir::diagnostic::Diagnostic;
use ir::workload::StepPhase;
use planner::experts;
use planner::run::Control;

use crate::answer::exit::CommandResult;
use crate::answer::page::Format;
use crate::answer::rows::Rows;
use crate::kinds::cells::Asked;
use crate::kinds::frame::{check_target, files};
use crate::kinds::kind::Legal;
use crate::kinds::streams::Streams;
use crate::kinds::streams::decided::{OBJECTIVE, document, unsplit_s};
use crate::kinds::streams::explain::table;
use crate::kinds::streams::setting::Setting;
use crate::request::PlanRequest;
use crate::search::row;
use crate::search::run::{Run, interrupted};
use crate::search::watched::{assumed, batch, only_law, proved, searched, stop, told, watched};

/// Plans the layers of a model by a row of the registry.
pub(crate) fn plan(request: &PlanRequest, run: &mut Run<'_>) -> CommandResult {
    let (used, door) = row::known::<experts::Streams>(request.recipe())?;
    request.exports.iter().try_for_each(|target| check_target::<Streams>(target))?;
    check_phase(request)?;
    let batch = batch(request)?;
    let law = only_law(request, "parts")?;
    let asked = Asked { batch, request: law, algorithm: used.to_string() };
    let of = asked.clone();
    let read = move |own: &PlanRequest| {
        let on = (own.model.as_path(), own.training.sequence_length);
        Setting::read(on, &own.problem, (of.batch, of.request))
    };
    let search = |own: &Setting, _: &Arc<Control>| Some(door.0(&own.model));
    let found = watched((request, used.entry.name), run, read, search)?;
    let Some((setting, planned, elapsed_s)) = found else { return Ok(interrupted(run.page)) };
    let mut warnings = setting.run.warnings.clone();
    warnings.extend(assumed(request, setting.run.sequence));
    run.page.warnings(&warnings);
    let plan = document(&setting, &planned.layers, &asked, planned.bound_s);
    let on = Legal { setting: &setting, plan: &plan, judged: &planned.layers };
    let files = files::<Streams>(on, &request.exports, &mut warnings);
    let report = StreamsReportDocument {
        n_layers: planned.layers.len() as u64,
        seconds: planned.seconds,
        bound_seconds: planned.bound_s,
        unsplit_seconds: unsplit_s(&setting),
        gradient_bytes: setting.model.gradient_bytes(),
        rest_bytes: setting.model.rest_bytes(&planned.layers),
        stop_reason: stop(planned.seconds, planned.bound_s).name().to_owned(),
        elapsed_s,
        warnings: warnings.iter().map(DiagnosticDocument::from).collect(),
        plan,
    };
    told(run, (&report.plan, files), &report, |run| print(request, &setting, &report, run))
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
    let state = proved((told.seconds, told.bound_seconds), &told.stop_reason);
    let seconds = searched(told.elapsed_s);
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
