//! What can be asked of a plan that exists, whatever it plans.

use std::sync::Arc;

use documents::diagnostic::DiagnosticDocument;
use documents::plan::PlanDocument;
pub use exporters::training::folder::Files;
use exporters::{Export, Source};
use importers::launcher;
use ir::diagnostic::{Blame, Diagnostic};
use ir::plan_kind::PlanKind;
use serde_json::json;

use crate::answer::exit::{Cancel, CommandResult, Exit};
use crate::answer::page::Page;
use crate::answer::rows::Rows;
use crate::inputs::plan_file;
use crate::kinds::frame;
use crate::kinds::kind::{Target, refused};
use crate::kinds::placement::compare::Now;
use crate::kinds::placement::verdict::verdict;
use crate::kinds::placement::{self, replay};
use crate::kinds::{given, training};
use crate::plan::with_kind;
use crate::request::subject::Subject;
use crate::request::{
    CompareRequest, ExplainRequest, ExportRequest, PlanOnModel, SimulateRequest, VerifyRequest,
};
use crate::request::{executor, fields};

impl<'a> From<&'a PlanOnModel> for Target<'a> {
    fn from(on: &'a PlanOnModel) -> Self {
        Self { model: &on.model, flags: &on.target, routing_trace: None }
    }
}

/// Replays a plan and reports.
///
/// # Errors
/// Those of reading, and of plans that can not be replayed.
pub fn simulate(request: &SimulateRequest, page: &Page) -> CommandResult {
    let on = &request.on;
    if let Some(instance) = importers::instance(&on.model)? {
        planned_sizes(request, PlanKind::Given)?;
        return given::explain::simulate(on, instance, page);
    }
    let document = plan_file::document(&on.plan)?;
    let kind = document.kind();
    if kind != PlanKind::Training {
        planned_sizes(request, kind)?;
    }
    with_kind!(
        kind,
        K => frame::simulate::<K>(&document, on.into(), page),
        training::replay::simulate(&document, request, page),
        placement::simulate::simulate(&document, &on.model, &on.target, page)
    )
}

/// Refuses `--micro-batches` for plans that fix their own.
fn planned_sizes(request: &SimulateRequest, kind: PlanKind) -> Result<(), Diagnostic> {
    if request.micro_batches.is_none() {
        return Ok(());
    }
    let what = kind.words();
    let message = format!("{what} is not replayed with other --micro-batches: its ops are others");
    Err(refused(kind, message, "leave it out, or plan again with --micro-batch"))
}

/// Checks a plan (or the solution of an instance) against every rule, and all that it states.
///
/// # Errors
/// Those of reading.
pub fn verify(asked: &VerifyRequest, around: (Cancel<'_>, &Page)) -> CommandResult {
    let on = &asked.on;
    if let Some(instance) = importers::instance(&on.model)? {
        traced(None, asked)?;
        return given::verify::run(on, instance, around);
    }
    let document = plan_file::document(&on.plan)?;
    traced(Some(&document), asked)?;
    let target = Target { routing_trace: asked.routing_trace.as_deref(), ..on.into() };
    with_kind!(
        document.kind(),
        K => frame::verify::<K>(&document, target, around),
        training::replay::verify(&document, on, around),
        placement::verify::verify(&document, &on.model, &on.target, around)
    )
}

/// Refuses a trace beside a plan that was made from none.
fn traced(plan: Option<&PlanDocument>, asked: &VerifyRequest) -> Result<(), Diagnostic> {
    let host = plan.and_then(|own| own.experts.host.as_ref());
    if host.is_some_and(|own| own.is_traced) || asked.routing_trace.is_none() {
        return Ok(());
    }
    let message = "`--routing-trace` is of experts in slots that were planned from a trace";
    Err(Diagnostic::usage("not-for-traces", message).hint("leave out --routing-trace"))
}

/// Where the step time goes, and why an op, a transfer or a device is as it is.
///
/// # Errors
/// Those of reading, and of subjects that the plan does not have.
pub fn explain(request: &ExplainRequest, (cancel, page): (Cancel<'_>, &Page)) -> CommandResult {
    let on = &request.on;
    let subject = Subject::of(request);
    if request.longest.is_some() && !matches!(subject, Subject::Step { .. }) {
        return Err(pathless("an op, a transfer or a device has no critical path"));
    }
    if let Some(instance) = importers::instance(&on.model)? {
        no_layer(request, PlanKind::Given)?;
        no_boundaries(request, PlanKind::Given)?;
        if request.longest.is_some() {
            return Err(pathless("an instance with given costs has no critical path"));
        }
        return given::explain::explain(on, &subject, instance, page);
    }
    let document = plan_file::document(&on.plan)?;
    no_boundaries(request, document.kind())?;
    no_layer(request, document.kind())?;
    with_kind!(
        document.kind(),
        K => frame::explain::<K>(&document, on.into(), (&subject, request.layer), page),
        explain_run(&document, request, page),
        placement::explain::of_plan(&document, (on, &subject), (cancel, page))
    )
}

fn explain_run(document: &PlanDocument, request: &ExplainRequest, page: &Page) -> CommandResult {
    if request.longest.is_some() {
        return Err(pathless("a training run has no critical path of ops"));
    }
    if request.op.is_some() || request.transfer.is_some() {
        let message = "a training run has stages of blocks: `--op` and `--transfer` name none";
        return Err(Diagnostic::usage("not-for-training", message)
            .hint("leave them out, or name a device with --device"));
    }
    if let Some(share) = &request.break_even {
        return training::break_even::explain(document, (&request.on, share), page);
    }
    training::replay::explain(document, &request.on, request.device.as_deref(), page)
}

/// Refuses a layer of a plan whose layers have no streams.
fn no_layer(request: &ExplainRequest, kind: PlanKind) -> Result<(), Diagnostic> {
    let has_layers = matches!(kind, PlanKind::Streams | PlanKind::Groups | PlanKind::NanoBatches);
    if request.layer.is_none() || has_layers {
        return Ok(());
    }
    let message = "`--layer` names the streams of a layer, and this plan states none";
    Err(Diagnostic::usage("no-streams", message)
        .hint("leave it out, or plan with --algorithm fsmoe, findep or dynaflow"))
}

/// Refuses to weigh boundaries of a plan that has no stages of a training run.
fn no_boundaries(request: &ExplainRequest, kind: PlanKind) -> Result<(), Diagnostic> {
    if request.break_even.is_none() || kind == PlanKind::Training {
        return Ok(());
    }
    let message = "`--break-even` weighs boundaries of a training run, and this plan is of none";
    Err(Diagnostic::usage("not-for-placements", message)
        .hint("leave it out; `explain --transfer` says what a transfer takes"))
}

fn pathless(why: &str) -> Diagnostic {
    Diagnostic::usage("no-critical-path", format!("{why}, of which `--longest` lists parts"))
        .hint("leave it out")
}

/// Two plans, and where their difference comes from.
///
/// # Errors
/// Those of reading; `not-comparable`, `needs-model`.
pub fn compare(request: &CompareRequest, page: &Page) -> CommandResult {
    if let Some(model) = &request.model
        && let Some(instance) = importers::instance(model)?
    {
        return given::compare::compare(request, instance, page);
    }
    check_compared(request)?;
    if let Some(measured) = training::compare::measured::read(&request.b) {
        let plan = plan_file::document(&request.a)?;
        return training::compare::measured::compare(&plan, &measured?, request, page);
    }
    let settings = plan_file::settings(&request.a);
    let b = plan_file::document(&request.b)?;
    of_experts_alone(&b, settings.is_some() || plan_file::map(&request.a).is_some())?;
    let now = match settings {
        Some((launcher, text)) if launcher.serves() => {
            Some(Now::Server(launcher, Box::new(launcher::read(launcher, &text)?)))
        }
        Some((launcher, text)) => {
            return training::compare::compare(launcher, &text, &b, request, page);
        }
        None => plan_file::map(&request.a).transpose()?.map(Now::Map),
    };
    let idle = now.as_ref().map(Now::warnings).unwrap_or_default();
    let (a, now) = match now.map(|now| placement::compare::mapped(&now, &b, request)).transpose()? {
        None => (plan_file::document(&request.a)?, None),
        Some((a, broken)) => (Arc::new(a), Some(broken)),
    };
    if a.kind() != b.kind() {
        return Err(frame::unlike_kinds(a.kind(), b.kind()));
    }
    let mut others = frame::other_plans(&a, &b);
    with_kind!(
        b.kind(),
        K => frame::compare::<K>((&a, &b), &others, request, page),
        training::compare::compare_plans((&a, &b), others, request, page),
        {
            others.extend(idle);
            placement::compare::placements((&a, &b), now.as_deref(), others, (request, page))
        }
    )
}

/// Refuses settings beside a placement of experts.
fn of_experts_alone(plan: &PlanDocument, is_beside_settings: bool) -> Result<(), Diagnostic> {
    let is_of_experts = !plan.experts.layers.is_empty();
    if !is_of_experts || !is_beside_settings {
        return Ok(());
    }
    let message = "settings of a server or a launcher state no placement of experts";
    Err(Diagnostic::usage("not-comparable", message)
        .hint("compare two plans of `meshwright plan --algorithm expert-placement`"))
}

/// Refuses what only a plan that is judged again could honour.
fn check_compared(request: &CompareRequest) -> Result<(), Diagnostic> {
    let mut given = fields::flags(&request.target.problem.given);
    given.extend(request.target.allow_mismatch.then_some("--allow-mismatch".into()));
    if request.model.is_some() || given.is_empty() {
        return Ok(());
    }
    let given = given.join(", ");
    let message = format!("without --model, {given} has no effect: plans are taken as they state");
    Err(Diagnostic::usage("needs-model", message)
        .hint(format!("add --model, or leave out {given}")))
}

/// Takes files by name, one unless who starts the plan was stated; where they are kept.
pub type Keep<'k> = &'k mut dyn FnMut(Files) -> Result<String, Diagnostic>;

/// A plan in another format, kept by `keep`.
///
/// # Errors
/// Those of reading, of the format and of keeping; `unknown-target`.
pub fn export(
    request: &ExportRequest,
    keep: Keep<'_>,
    (cancel, page): (Cancel<'_>, &Page),
) -> CommandResult {
    let on = &request.on;
    let one = |export: Export| (vec![(request.target.clone(), export.bytes)], export.warnings);
    if let Some(instance) = importers::instance(&on.model)? {
        exporters::find(PlanKind::Given, &request.target)?;
        started_by_none(request)?;
        let bytes = given::explain::export(on, &request.target, instance)?;
        return kept(request, one(Export { bytes, warnings: Vec::new() }), keep, page);
    }
    let document = plan_file::document(&on.plan)?;
    if document.kind() != PlanKind::Training {
        started_by_none(request)?;
    }
    let files = with_kind!(
        document.kind(),
        K => frame::export::<K>(&document, on.into(), &request.target, page)?.map(one),
        {
            exporters::find(PlanKind::Training, &request.target)?;
            let illegal = Exit(Blame::IllegalPlan.exit_code());
            training::export::export(&document, request, page)?.ok_or(illegal)
        },
        placed(request, &document, (cancel, page))?.map(one)
    );
    files.map_or_else(Ok, |files| kept(request, files, keep, page))
}

/// Refuses a folder of what is no training run.
fn started_by_none(request: &ExportRequest) -> Result<(), Diagnostic> {
    if request.launcher.is_none() {
        return Ok(());
    }
    let message =
        format!("`{}` of this plan is one file: only training runs have folders", request.target);
    Err(Diagnostic::usage("not-a-folder", message).hint("write it with -o FILE"))
}

/// A placement of ops in another format, or how the run ends where it is illegal.
fn placed(
    request: &ExportRequest,
    document: &Arc<PlanDocument>,
    (cancel, page): (Cancel<'_>, &Page),
) -> Result<Result<Export, Exit>, Diagnostic> {
    exporters::find(PlanKind::Placement, &request.target)?;
    let target = &request.on.target;
    let problem = replay::on_problem(document, &request.on.model, target)?;
    executor::check_workload(&request.target, &problem.loaded.problem.workload)?;
    let broken = replay::broken_rules(&problem);
    if !broken.is_empty() {
        return Ok(Err(verdict(&problem, broken, Rows::of(target.all), (&cancel(), page))));
    }
    let replayed = replay::on(problem)?;
    let source = Source {
        problem: &replayed.on.loaded.problem,
        plan: &replayed.on.plan,
        timeline: &replayed.timeline,
        report: &replayed.report,
    };
    let mut export = placement::export::exported(&request.target, &source)?;
    export.warnings.splice(0..0, replayed.on.warnings.iter().cloned());
    Ok(Ok(export))
}

/// Keeps the file, and says so with all warnings.
fn kept(
    request: &ExportRequest,
    (files, warnings): (Files, Vec<Diagnostic>),
    keep: Keep<'_>,
    page: &Page,
) -> CommandResult {
    let length: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
    let file = keep(files)?;
    page.warnings(&warnings);
    page.talk(&format!("wrote {file}"));
    page.document(&json!({
        "target": request.target,
        "file": file,
        "bytes": length,
        "warnings": warnings.iter().map(DiagnosticDocument::from).collect::<Vec<_>>(),
    }));
    Ok(Exit::DONE)
}
