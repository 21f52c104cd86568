//! `open`: a plan file as it is shown. What it states; on its model also what the judge says of it, its
//! report and its view.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use documents::diagnostic::DiagnosticDocument;
use documents::plan::PlanDocument;
use documents::report::StepDocument;
use documents::report::training::TrainingRunDocument;
use ir::diagnostic::{Blame, Diagnostic, Severity};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::answer::exit::{CommandResult, Exit};
use crate::answer::files::input_file;
use crate::answer::page::Page;
use crate::answer::violations;
use crate::inputs::plan_file;
use crate::kinds::fleet::{Fleet, observed};
use crate::kinds::frame::{self, documents};
use crate::kinds::placement::Placement;
use crate::kinds::placement::replay;
use crate::kinds::placement::report;
use crate::kinds::training::Training;
use crate::kinds::training::figures;
use crate::request::fields;
use crate::request::{OpenRequest, PlanOnModel, ReplayRequest};
use crate::views;

/// How long the proof of a stated bound is looked for; `verify` takes longer.
const PROVING: Duration = Duration::from_secs(5);

/// What is said of a plan file.
#[derive(Debug, Serialize)]
pub struct Answer {
    /// The file as it stands: no number is read back from text.
    plan: Box<RawValue>,
    /// On its model, of ops.
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<StepDocument>,
    /// On its model, of a training run.
    #[serde(skip_serializing_if = "Option::is_none")]
    best: Option<TrainingRunDocument>,
    /// What its throughput counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<String>,
    /// On its model, the figures of a fleet.
    #[serde(flatten)]
    fleet: Option<Value>,
    warnings: Vec<DiagnosticDocument>,
}

impl Answer {
    fn of(plan: &Path, warnings: &[Diagnostic]) -> Result<Self, Diagnostic> {
        let (report, best, unit, fleet) = Default::default();
        Ok(Self { plan: text(plan)?, report, best, unit, fleet, warnings: documents(warnings) })
    }
}

/// A plan on its model.
pub struct Opened {
    /// What is said of it.
    pub answer: Answer,
    /// Its view file.
    pub view: Vec<u8>,
    /// Rules that it breaks, and what it states wrongly; none where it is legal.
    pub broken: Vec<Diagnostic>,
}

/// Opens a plan file; `keep` takes its view, where its model was given.
///
/// # Errors
/// Those of reading, and of plans that can not be replayed; `needs-model`, `no-view`.
pub fn open(request: &OpenRequest, keep: &mut dyn FnMut(Vec<u8>), page: &Page) -> CommandResult {
    let Some(model) = &request.model else { return alone(request, page) };
    let on = PlanOnModel {
        plan: request.plan.clone(),
        model: model.clone(),
        target: ReplayRequest { problem: request.problem.clone(), ..ReplayRequest::default() },
    };
    let opened = of(&on, true)?;
    if !opened.broken.is_empty() {
        page.document(&json!({ "violations": documents(&opened.broken) }));
        return Ok(Exit(Blame::IllegalPlan.exit_code()));
    }
    page.serialized(&opened.answer)?;
    keep(opened.view);
    Ok(Exit::DONE)
}

/// A plan of which only the file is known.
fn alone(request: &OpenRequest, page: &Page) -> CommandResult {
    let given = fields::flags(&request.problem.given).join(", ");
    if !given.is_empty() {
        let message = format!("without a model, {given} has no effect: the plan is as it states");
        return Err(Diagnostic::usage("needs-model", message)
            .hint(format!("add the model, or leave out {given}")));
    }
    let document = plan_file::document(&request.plan)?;
    views::refuse_others(&document)?;
    page.serialized(&Answer::of(&request.plan, &[])?)?;
    Ok(Exit::DONE)
}

/// The text of a plan file that was read before.
fn text(plan: &Path) -> Result<Box<RawValue>, Diagnostic> {
    let changed = |reason: String| {
        let message = format!("`{}` changed while it was read", plan.display());
        Diagnostic::input("file-changed", message).fact("reason", reason).hint("open it again")
    };
    let bytes = input_file::read(plan, plan_file::LONGEST_FILE).map_err(changed)?;
    serde_json::from_slice(&bytes).map_err(|error| changed(error.to_string()))
}

/// A plan file on its model. What it states is held against what follows where `is_checked`; a bound
/// that was neither proved again nor refuted is a warning of the answer.
///
/// # Errors
/// As [`open`].
pub fn of(on: &PlanOnModel, is_checked: bool) -> Result<Opened, Diagnostic> {
    views::refuse_instance(&on.model)?;
    let document = plan_file::document(&on.plan)?;
    views::refuse_others(&document)?;
    let mut opened = match (&document.training, &document.fleet) {
        (Some(_), _) => of_run(&document, on, is_checked),
        (None, Some(_)) => of_fleet(&document, on, is_checked),
        (None, None) => of_ops(&document, on, is_checked),
    }?;
    let noted = violations::noted(&mut opened.broken);
    opened.answer.warnings.extend(documents(&noted));
    if violations::is_legal(&opened.broken).is_none() {
        let unproved = std::mem::take(&mut opened.broken).into_iter();
        let unproved: Vec<Diagnostic> = unproved
            .map(|diagnostic| Diagnostic { severity: Severity::Warning, ..diagnostic })
            .collect();
        opened.answer.warnings.extend(documents(&unproved));
    }
    Ok(opened)
}

/// A flag that is raised after a while.
fn for_a_while() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&flag);
    let raise = move || {
        thread::sleep(PROVING);
        raised.store(true, Ordering::SeqCst);
    };
    // Without a thread to wait, nothing is proved.
    if thread::Builder::new().spawn(raise).is_err() {
        flag.store(true, Ordering::SeqCst);
    }
    flag
}

fn of_ops(
    document: &Arc<PlanDocument>,
    on: &PlanOnModel,
    is_checked: bool,
) -> Result<Opened, Diagnostic> {
    let mut framed = frame::on_model::<Placement>(document, on.into())?;
    let judged = framed.judged();
    let broken = framed.violations(&judged, is_checked.then(for_a_while).as_ref());
    let replayed = replay::on(framed.setting)?;
    let problem = &replayed.on.loaded.problem;
    let made = views::of_ops(&replayed, framed.warnings)?;
    let report = Some(report::document(problem, &replayed.report, replayed.trust()));
    let answer = Answer { report, ..Answer::of(&on.plan, &made.warnings)? };
    Ok(Opened { answer, view: made.bytes, broken })
}

fn of_run(
    document: &Arc<PlanDocument>,
    on: &PlanOnModel,
    is_checked: bool,
) -> Result<Opened, Diagnostic> {
    let mut framed = frame::on_model::<Training>(document, on.into())?;
    let judged = framed.judged();
    let broken = framed.violations(&judged, is_checked.then(for_a_while).as_ref());
    let planned = &framed.setting;
    let made = views::of_run(planned, framed.warnings)?;
    let best = judged.ok().map(|judged| figures::of(planned, &judged.report)).transpose()?;
    let unit = Some(planned.setting.unit().to_owned());
    let answer = Answer { best, unit, ..Answer::of(&on.plan, &made.warnings)? };
    Ok(Opened { answer, view: made.bytes, broken })
}

fn of_fleet(
    document: &Arc<PlanDocument>,
    on: &PlanOnModel,
    is_checked: bool,
) -> Result<Opened, Diagnostic> {
    let mut framed = frame::on_model::<Fleet>(document, on.into())?;
    let judged = framed.judged();
    let broken = framed.violations(&judged, is_checked.then(for_a_while).as_ref());
    let Ok(judged) = judged else {
        return Ok(Opened { answer: Answer::of(&on.plan, &[])?, view: Vec::new(), broken });
    };
    let made = views::of_fleet(&framed.setting, &judged, framed.warnings)?;
    let fleet = Some(observed::figures(&framed.setting, &judged));
    let answer = Answer { fleet, ..Answer::of(&on.plan, &made.warnings)? };
    Ok(Opened { answer, view: made.bytes, broken })
}
