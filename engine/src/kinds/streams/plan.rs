//! A plan of pieces on streams inside the layers of a model.

use std::sync::Arc;

use documents::plan::cells::StreamsFigures;
use documents::report::FoundDocument;
use ir::diagnostic::Diagnostic;
use ir::workload::StepPhase;
use planner::experts;
use planner::run::Control;

use crate::answer::exit::CommandResult;
use crate::answer::page::Page;
use crate::answer::rows::Rows;
use crate::answer::screen::{Screen, figure};
use crate::inputs::load;
use crate::kinds::cells::Asked;
use crate::kinds::frame::found;
use crate::kinds::streams::Streams;
use crate::kinds::streams::decided::{document, unsplit_s};
use crate::kinds::streams::explain::table;
use crate::kinds::streams::setting::Setting;
use crate::request::PlanRequest;
use crate::search::row;
use crate::search::run::{Run, interrupted};
use crate::search::watched::{assumed, batch, only_law, proved, stop, watched};

/// Plans the layers of a model by a row of the registry.
pub(crate) fn plan(request: &PlanRequest, run: &mut Run<'_>) -> CommandResult {
    let (used, door) = row::known::<experts::Streams>(request.recipe())?;
    check_phase(request)?;
    let batch = batch(request)?;
    let law = only_law(request, "parts")?;
    let recipe = Asked { batch, request: law, algorithm: used.to_string() };
    let of = recipe.clone();
    let read = move |request: &PlanRequest| {
        let on = (request.model.as_path(), request.training.sequence_length);
        Setting::read(on, &request.problem, (of.batch, of.request))
    };
    let search = |setting: &Setting, _: &Arc<Control>| Some(door.0(&setting.model));
    let planned = watched((request, used.entry.name), run, read, search)?;
    let Some((setting, planned, elapsed_s)) = planned else { return Ok(interrupted(run.page)) };
    let mut warnings = setting.run.warnings.clone();
    warnings.extend(assumed(request, setting.run.sequence));
    let plan = document(&setting, &planned.layers, &recipe, planned.bound_s);
    let figures = StreamsFigures {
        n_layers: planned.layers.len() as u64,
        seconds: planned.seconds,
        bound_seconds: planned.bound_s,
        unsplit_seconds: unsplit_s(&setting),
        gradient_bytes: setting.model.gradient_bytes(),
        rest_bytes: setting.model.rest_bytes(&planned.layers),
    };
    let stop = stop(planned.seconds, planned.bound_s).name();
    let (on, made) = ((&setting, &planned.layers), (plan, figures, stop, elapsed_s));
    found::<Streams, _>((request, run), on, made, warnings, |report, page| {
        screen(&setting, (report, recipe.batch), page)
    })
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

fn screen(
    setting: &Setting,
    (found, batch): (&FoundDocument<StreamsFigures>, u64),
    page: &Page,
) -> Screen {
    let figures = &found.figures;
    let step = format!("training step of {batch} x {} tokens", setting.run.sequence);
    let mut screen = Screen::of_step(&found.plan, &step, &load::describe(&setting.run.cluster));
    let mb = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    screen.fact(
        "plan",
        format!(
            "all-to-all and experts of {} layers in overlapped chunks, by {}; {} of {} of gradients are \
             reduced after the last layer",
            figures.n_layers,
            found.plan.algorithm,
            mb(figures.rest_bytes),
            mb(figures.gradient_bytes)
        ),
    );
    let (seconds, unsplit) = (1e3 * figures.seconds, 1e3 * figures.unsplit_seconds);
    let rest = format!("in these layers; {unsplit:.3} ms in one chunk with all gradients last");
    screen.fact("time", figure(format!("{seconds:.3} ms"), None, &rest));
    let space = "chunk counts and gradient slices per layer";
    let ended = (found.stop_reason.as_str(), found.elapsed_s);
    screen.fact("proof", proved((figures.seconds, figures.bound_seconds), space, ended));
    screen.fact("scope", "embedding, head and optimizer are not included".to_owned());
    screen.take(page, |page| {
        table(&found.plan, setting, Rows::All, page);
    });
    screen
}
