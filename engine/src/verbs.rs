//! What can be asked of a plan that exists, whatever it plans.

use std::sync::Arc;

use documents::diagnostic::DiagnosticDocument;
use documents::plan::PlanDocument;
pub use exporters::training::folder::Files;
use importers::launcher;
use ir::diagnostic::Diagnostic;
use ir::plan_kind::PlanKind;
use serde_json::json;

use crate::answer::exit::{Cancel, CommandResult, Exit};
use crate::answer::page::Page;
use crate::inputs::plan_file;
use crate::kinds::fleet;
use crate::kinds::frame;
use crate::kinds::given;
use crate::kinds::kind::{Kind, Pair, Target, one_file, pathless, refused};
use crate::kinds::placement::{self, compare::Now};
use crate::kinds::training;
use crate::plan::with_kind;
use crate::request::fields;
use crate::request::subject::Subject;
use crate::request::{
    CompareRequest, ExplainRequest, ExportRequest, SimulateRequest, VerifyRequest,
};

/// Replays a plan and reports.
///
/// # Errors
/// Those of reading, and of plans that can not be replayed.
pub fn simulate(request: &SimulateRequest, page: &Page) -> CommandResult {
    let on = &request.on;
    if let Some(instance) = importers::instance(&on.model)? {
        planned_sizes(request, PlanKind::Given)?;
        no_requests(request, PlanKind::Given)?;
        return given::explain::simulate(on, instance, page);
    }
    let document = plan_file::document(&on.plan)?;
    planned_sizes(request, document.kind())?;
    no_requests(request, document.kind())?;
    let target = Target { requests: request.requests.as_deref(), ..on.into() };
    with_kind!(
        document.kind(),
        K => frame::simulate::<K>(&document, target, request.micro_batches, page)
    )
}

/// Refuses `--requests` for plans that serve none.
fn no_requests(request: &SimulateRequest, kind: PlanKind) -> Result<(), Diagnostic> {
    if request.requests.is_none() || kind == PlanKind::Fleet {
        return Ok(());
    }
    let message = format!("{} serves no requests that could be replayed", kind.words());
    Err(refused(kind, message, "leave --requests out, or give a plan of serving workers"))
}

/// Refuses `--micro-batches` for plans that fix their own.
fn planned_sizes(request: &SimulateRequest, kind: PlanKind) -> Result<(), Diagnostic> {
    if request.micro_batches.is_none() || kind == PlanKind::Training {
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
pub fn verify(request: &VerifyRequest, around: (Cancel<'_>, &Page)) -> CommandResult {
    let on = &request.on;
    if let Some(instance) = importers::instance(&on.model)? {
        traced(None, request)?;
        return given::verify::run(on, instance, around);
    }
    let document = plan_file::document(&on.plan)?;
    traced(Some(&document), request)?;
    let target = Target { routing_trace: request.routing_trace.as_deref(), ..on.into() };
    with_kind!(document.kind(), K => frame::verify::<K>(&document, target, around))
}

/// Refuses a trace beside a plan that was made from none.
fn traced(plan: Option<&PlanDocument>, request: &VerifyRequest) -> Result<(), Diagnostic> {
    let host = plan.and_then(|plan| plan.experts.host.as_ref());
    if host.is_some_and(|host| host.is_traced) || request.routing_trace.is_none() {
        return Ok(());
    }
    let message = "`--routing-trace` is for offloaded experts that were planned from a trace";
    Err(Diagnostic::usage("not-for-traces", message).hint("leave out --routing-trace"))
}

/// Where the step time goes, and why an op, a transfer or a device is as it is.
///
/// # Errors
/// Those of reading, and of subjects that the plan does not have.
pub fn explain(request: &ExplainRequest, page: &Page) -> CommandResult {
    let on = &request.on;
    let subject = Subject::of(request);
    if request.longest.is_some() && !matches!(subject, Subject::Step { .. }) {
        return Err(pathless("an op, a transfer or a device has no critical path"));
    }
    if let Some(instance) = importers::instance(&on.model)? {
        no_layer(request, PlanKind::Given)?;
        of_training(request, PlanKind::Given)?;
        if request.longest.is_some() {
            return Err(pathless("an instance with given costs has no critical path"));
        }
        return given::explain::explain(on, &subject, instance, page);
    }
    let document = plan_file::document(&on.plan)?;
    of_training(request, document.kind())?;
    no_layer(request, document.kind())?;
    with_kind!(
        document.kind(),
        K => frame::explain::<K>(&document, on.into(), (&subject, request.layer), page)
    )
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

/// Refuses what is asked of training runs alone.
fn of_training(request: &ExplainRequest, kind: PlanKind) -> Result<(), Diagnostic> {
    if kind == PlanKind::Training {
        return Ok(());
    }
    let refused = |message: &str, hint: &str| {
        Err(Diagnostic::usage("not-for-placements", message).hint(hint))
    };
    match (&request.break_even, &request.why_not[..]) {
        (None, []) => Ok(()),
        (Some(_), _) => refused(
            "`--break-even` weighs boundaries of a training run, and this plan is of none",
            "leave it out; `explain --transfer` says what a transfer takes",
        ),
        (None, _) if kind == PlanKind::Placement => refused(
            "`--why-not` pins settings of a training run, and this plan places operators",
            "leave it out; `explain --op NAME` says what the step takes with an op on another device",
        ),
        (None, _) => refused(
            "`--why-not` pins settings of a training run, and this plan is of none",
            "leave it out; plan again with the setting, then `meshwright compare` says what differs",
        ),
    }
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
        Some((launcher, text)) if launcher.serves() && b.kind() == PlanKind::Fleet => {
            return fleet::started::compare(launcher, &text, &b, (request, page));
        }
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
    let others = [frame::other_plans(&a, &b), idle].concat();
    let pair = Pair { a: &a, b: &b, now: now.as_deref(), others: &others, request };
    with_kind!(b.kind(), K => K::compare(pair, page))
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
pub fn export(request: &ExportRequest, keep: Keep<'_>, page: &Page) -> CommandResult {
    let on = &request.on;
    if let Some(instance) = importers::instance(&on.model)? {
        exporters::find(PlanKind::Given, &request.target)?;
        if request.launcher.is_some() {
            return Err(one_file(&request.target));
        }
        let bytes = given::explain::export(on, &request.target, instance)?;
        return kept(request, (vec![(request.target.clone(), bytes)], Vec::new()), keep, page);
    }
    let document = plan_file::document(&on.plan)?;
    let files = with_kind!(document.kind(), K => frame::export::<K>(&document, request, page)?);
    files.map_or_else(Ok, |files| kept(request, files, keep, page))
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
