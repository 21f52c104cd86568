//! A plan of nano-batches of a serving step.

use std::sync::Arc;

use documents::diagnostic::DiagnosticDocument;
use documents::plan::request::RequestDocument;
use documents::report::nano_batches::NanoBatchesReportDocument;
use ir::diagnostic::Diagnostic;
use ir::workload::StepPhase;
use planner::experts;
use planner::run::{Control, StopReason};

use crate::answer::exit::CommandResult;
use crate::answer::page::Format;
use crate::answer::rows::Rows;
use crate::kinds::frame::{check_target, files};
use crate::kinds::kind::Legal;
use crate::kinds::nano_batches::KNOWN;
use crate::kinds::nano_batches::NanoBatches;
use crate::kinds::nano_batches::decided::{
    Asked, Entry, OBJECTIVE, document, entries, seconds, thresholds,
};
use crate::kinds::nano_batches::explain::{self, table};
use crate::kinds::nano_batches::setting::{Doing, Setting};
use crate::request::PlanRequest;
use crate::search::row;
use crate::search::run::{Run, interrupted};
use crate::search::watched::{assumed, batch, only_law, proved, searched, stop, told, watched};

/// Plans the layers of a model by a row of the registry.
pub(crate) fn plan(request: &PlanRequest, run: &mut Run<'_>) -> CommandResult {
    let (used, door) = row::known::<experts::NanoBatches>(request.recipe())?;
    request.exports.iter().try_for_each(|target| check_target::<NanoBatches>(target))?;
    let doing = doing(request)?;
    let asked = {
        let kv_dtype = request.kv_dtype.map(|own| own.to_string());
        let law = only_law(request, "pieces")?;
        Asked::of((&used, door), RequestDocument { kv_dtype, ..law })?
    };
    let of = asked.clone();
    let read = {
        let law = asked.request.clone();
        move |own: &PlanRequest| {
            let table = own.interference.as_deref();
            let rows = table.map(|file| importers::interference::read(file, KNOWN)).transpose()?;
            let on = (own.model.as_path(), own.training.sequence_length);
            Setting::read(on, &own.problem, (doing, law), rows.unwrap_or_default())
        }
    };
    let search =
        move |own: &Setting, _: &Arc<Control>| Some((entries(own, &of), thresholds(own, &of)));
    let found = watched((request, used.entry.name), run, read, search)?;
    let Some((setting, (entries, thresholds), elapsed_s)) = found else {
        return Ok(interrupted(run.page));
    };
    let mut warnings = setting.run.warnings.clone();
    warnings.extend(assumed(request, setting.run.sequence));
    warnings.extend(without_table(&setting));
    let plan = document(&setting, &entries, (&asked, thresholds));
    let on = Legal { setting: &setting, plan: &plan, judged: &entries };
    let files = files::<NanoBatches>(on, &request.exports, &mut warnings);
    run.page.warnings(&warnings);
    let [step_s, bound_s, unsplit_s] = seconds(&entries);
    let n = entries.iter().map(|own| own.cut.split.samples.len() as u32).max();
    let report = NanoBatchesReportDocument {
        n_layers: setting.layers.len() as u64,
        seconds: step_s,
        bound_seconds: bound_s,
        unsplit_seconds: unsplit_s,
        nano_batches: n.unwrap_or(1),
        stop_reason: match setting.has_all_cuts() {
            true => stop(step_s, bound_s).name().to_owned(),
            false => StopReason::Finished.name().to_owned(),
        },
        elapsed_s,
        warnings: warnings.iter().map(DiagnosticDocument::from).collect(),
        plan,
    };
    told(run, (&report.plan, files), &report, |run| print(request, &entries, &report, run))
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
    Ok(Doing { phase, batch: batch(request)?, cached: request.cached_tokens })
}

/// What is taken where nothing is known of ops beside each other.
fn without_table(setting: &Setting) -> Option<Diagnostic> {
    setting.rows.is_empty().then(|| {
        let message =
            "no table says what ops do to each other: they take turns, and nothing is cut";
        Diagnostic::warning("no-interference", message)
            .hint("state what was measured with --interference F.csv")
    })
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
    let state = proved((told.seconds, told.bound_seconds), &told.stop_reason);
    let seconds = searched(told.elapsed_s);
    run.page.line(&format!(
        "{OBJECTIVE} {:.3} ms over {} layers, no cut that was looked at is below {:.3}: {state}; {:.3} ms where nothing is \
         cut{seconds}; stopped: {}",
        told.seconds * 1e3,
        told.n_layers,
        told.bound_seconds * 1e3,
        told.unsplit_seconds * 1e3,
        told.stop_reason
    ));
}
