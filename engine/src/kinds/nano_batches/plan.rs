//! A plan of nano-batches of a serving step.

use std::sync::Arc;

use documents::plan::nano_batches::NanoBatchesFigures;
use documents::plan::request::RequestDocument;
use documents::report::FoundDocument;
use ir::diagnostic::Diagnostic;
use ir::workload::StepPhase;
use planner::experts;
use planner::run::{Control, StopReason};

use crate::answer::exit::CommandResult;
use crate::answer::page::Page;
use crate::answer::rows::Rows;
use crate::answer::screen::{Screen, figure};
use crate::inputs::load;
use crate::kinds::frame;
use crate::kinds::nano_batches::KNOWN;
use crate::kinds::nano_batches::NanoBatches;
use crate::kinds::nano_batches::decided::{Asked, Entry, document, entries, seconds, thresholds};
use crate::kinds::nano_batches::explain::{self, table};
use crate::kinds::nano_batches::setting::{Doing, Setting};
use crate::request::PlanRequest;
use crate::search::row;
use crate::search::run::{Run, interrupted};
use crate::search::watched::{assumed, batch, only_law, proved, stop, watched};

/// Plans the layers of a model by a row of the registry.
pub(crate) fn plan(request: &PlanRequest, run: &mut Run<'_>) -> CommandResult {
    let (used, door) = row::known::<experts::NanoBatches>(request.recipe())?;
    let doing = doing(request)?;
    let recipe = {
        let kv_dtype = request.kv_dtype.map(|dtype| dtype.to_string());
        let law = only_law(request, "pieces")?;
        Asked::of((&used, door), RequestDocument { kv_dtype, ..law })?
    };
    let of = recipe.clone();
    let read = {
        let law = recipe.request.clone();
        move |request: &PlanRequest| {
            let table = request.interference.as_deref();
            let rows = table.map(|file| importers::interference::read(file, KNOWN)).transpose()?;
            let on = (request.model.as_path(), request.training.sequence_length);
            Setting::read(on, &request.problem, (doing, law), rows.unwrap_or_default())
        }
    };
    let search = move |setting: &Setting, _: &Arc<Control>| {
        Some((entries(setting, &of), thresholds(setting, &of)))
    };
    let found = watched((request, used.entry.name), run, read, search)?;
    let Some((setting, (entries, thresholds), elapsed_s)) = found else {
        return Ok(interrupted(run.page));
    };
    let mut warnings = setting.run.warnings.clone();
    warnings.extend(assumed(request, setting.run.sequence));
    warnings.extend(without_table(&setting));
    let plan = document(&setting, &entries, (&recipe, thresholds));
    let [step_s, bound_s, unsplit_s] = seconds(&entries);
    let n = entries.iter().map(|entry| entry.cut.split.samples.len() as u32).max();
    let figures = NanoBatchesFigures {
        n_layers: setting.layers.len() as u64,
        seconds: step_s,
        bound_seconds: bound_s,
        unsplit_seconds: unsplit_s,
        nano_batches: n.unwrap_or(1),
    };
    let stop = match setting.has_all_cuts() {
        true => stop(step_s, bound_s),
        false => StopReason::Finished,
    };
    let (on, made) = ((&setting, &entries), (plan, figures, stop.name(), elapsed_s));
    frame::found::<NanoBatches, _>((request, run), on, made, warnings, |report, page| {
        screen(&setting, (&entries, doing), (report, page))
    })
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

fn screen(
    setting: &Setting,
    (entries, doing): (&[Entry], Doing),
    (found, page): (&FoundDocument<NanoBatchesFigures>, &Page),
) -> Screen {
    let figures = &found.figures;
    let step = format!("{} of {} samples", doing.phase.name(), doing.batch);
    let mut screen = Screen::of_step(&found.plan, &step, &load::describe(&setting.run.cluster));
    let n = figures.nano_batches;
    let nano_batches = if n == 1 { "nano-batch" } else { "nano-batches" };
    let plan = format!(
        "{n} {nano_batches} at most in {} layers, by {}",
        figures.n_layers, found.plan.algorithm
    );
    screen.fact("plan", plan);
    let (seconds, unsplit) = (1e3 * figures.seconds, 1e3 * figures.unsplit_seconds);
    let rest = format!("in these layers; {unsplit:.3} ms without nano-batches");
    screen.fact("time", figure(format!("{seconds:.3} ms"), None, &rest));
    let ended = (found.stop_reason.as_str(), found.elapsed_s);
    let space = "the splits searched";
    screen.fact("proof", proved((figures.seconds, figures.bound_seconds), space, ended));
    screen.take(page, |page| {
        table(entries, Rows::All, page);
        explain::thresholds(&found.plan, page);
    });
    screen
}
