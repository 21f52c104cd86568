//! `submit`: a plan from a service, or in another way where it gives none.

use std::path::{Path, PathBuf};
use std::time::Duration;

use documents::diagnostic::DiagnosticDocument;
use engine::answer::exit::{CommandResult, Exit};
use engine::answer::files::{artifact, input_file};
use engine::answer::follow::Follower;
use engine::answer::page::{Format, Page};
use engine::request::verb::Request;
use engine::request::{AUTO, ExportRequest, PlanOnModel, ReplayRequest, VerifyRequest};
use engine::verbs;
use ir::diagnostic::{Diagnostic, Severity};
use serde_json::{Map, Value, json};
use web::client::{Failure, Planned, Wanted};

use super::interrupted;
use super::plan::{self, Prepared};
use crate::client_flags::Fallback;
use crate::interrupt;
use crate::plan_flags::PlanArgs;
use crate::printer::Printer;
use crate::publisher::{Follow, Publisher};
use crate::sheet;
use crate::submit_flags::{Submission, SubmitArgs};

/// Nodes of a quick plan's searches: with them every kind of plan takes a few seconds at most.
const QUICK_NODES: u64 = 20_000;
/// Longest file of a plan that is read, in bytes.
const MOST_OF_PLAN: u64 = 1 << 30;
/// When a quick plan ends on a slow machine.
const QUICK_TIME: Duration = Duration::from_secs(5);

pub(crate) fn run(submission: &mut Submission, printer: &Printer) -> CommandResult {
    let Some(args) = submission.args() else {
        let message = "no model is given";
        return Err(Diagnostic::usage("no-model", message).hint("submit train config.json ..."));
    };
    let prepared = Prepared::of(&args.plan)?;
    if args.fallback == Fallback::Last && args.plan.output.is_none() {
        let message = "`--fallback last` keeps the plan of a file, and none is named";
        return Err(Diagnostic::usage("no-output", message).hint("name it with -o plan.json"));
    }
    match asked(args, &prepared, printer) {
        Ok(planned) => written(&planned, prepared, printer),
        Err(Failure::Answer(error)) => Err(error),
        Err(Failure::Interrupted(error)) => Ok(interrupted(&error, printer)),
        Err(Failure::NoAnswer(error)) => match args.fallback {
            Fallback::Fail => Err(error),
            Fallback::Last => last(&args.plan, &prepared, error, printer),
            Fallback::Heuristic => heuristic(&args.plan, error, printer),
        },
    }
}

fn asked(args: &SubmitArgs, prepared: &Prepared, printer: &Printer) -> Result<Planned, Failure> {
    let service = args.server.service(args.wait).map_err(Failure::Answer)?;
    let wanted =
        Wanted { request: fields(prepared), priority: args.priority, may_be_old: !args.no_cache };
    let nowhere = (None, Vec::new());
    let mut follower = Publisher::new(nowhere, prepared.existing, args.plan.progress, printer);
    service.plan(&wanted, &mut follower)
}

/// The request as fields, without what nobody asked for.
fn fields(prepared: &Prepared) -> Map<String, Value> {
    let mut fields = Request::Plan(Box::new(prepared.request.clone())).understood();
    if fields.get("algorithm").is_some_and(|algorithm| algorithm == AUTO) {
        fields.remove("algorithm");
    }
    fields
}

/// Writes all files, then says what they are.
fn written(planned: &Planned, prepared: Prepared, printer: &Printer) -> CommandResult {
    let page = prepared.page().cloned();
    let Prepared { files, existing, inputs, .. } = prepared;
    let mut publisher = Publisher::new(files, existing, Follow::None, printer);
    publisher = publisher.with_page(page.as_ref()).stating(inputs);
    let names = publisher.planned(planned.plan.clone(), Ok(planned.files.clone()))?;
    if printer.format == Format::Json {
        printer.raw(&String::from_utf8_lossy(&planned.answer));
        return Ok(Exit::DONE);
    }
    let status = &planned.status;
    let value = status.value().unwrap_or_else(|| "unknown".to_owned());
    let objective = status.objective.as_deref().unwrap_or("value").replace('-', " ");
    let gap = match status.gap {
        Some(0.0) => "which nothing beats under its prices".to_owned(),
        Some(gap) => format!("at most {:.2} % above the best possible", (gap * 1e4).ceil() / 100.0),
        None => "no bound is known".to_owned(),
    };
    let origin = if planned.is_old { "the service had it already" } else { "made now" };
    printer.line(&format!("{objective} {value}, {gap}"));
    printer.line(&format!("{}: {}, {origin}", status.id, status.state));
    names.iter().for_each(|name| printer.talk(&format!("wrote {name}")));
    Ok(Exit::DONE)
}

/// Tells why there is no answer, whoever reads stdout.
fn warned(error: &Diagnostic, printer: &Printer) {
    let warning = Diagnostic { severity: Severity::Warning, hints: Vec::new(), ..error.clone() };
    printer.last_words(&warning);
}

/// A quick plan, made here; it depends on no clock, but on a very slow machine.
fn heuristic(args: &PlanArgs, error: Diagnostic, printer: &Printer) -> CommandResult {
    warned(&error, printer);
    let mut args = args.clone();
    let limits = &mut args.limits;
    limits.node_budget = Some(limits.node_budget.unwrap_or(QUICK_NODES).min(QUICK_NODES));
    if !limits.deterministic {
        limits.time_limit = Some(limits.time_limit.unwrap_or(QUICK_TIME).min(QUICK_TIME));
    }
    printer.talk("the service gave no answer: a quick plan is made here");
    plan::run(&args, printer)
}

/// The plan that was written last, if it is a legal one of this model on this cluster; the other
/// files are made of it anew.
fn last(
    args: &PlanArgs,
    prepared: &Prepared,
    error: Diagnostic,
    printer: &Printer,
) -> CommandResult {
    warned(&error, printer);
    let path = args.output.clone().unwrap_or_default();
    let name = path.display().to_string();
    let unfit = |why: Diagnostic| {
        let message = format!("the service gave no answer, and `{name}` is no plan to go on with");
        let unfit = Diagnostic { message, code: "no-last-plan", ..error.clone() };
        unfit.fact("plan", why.message).hint("with --fallback heuristic, a quick plan is made here")
    };
    check_asked(args, &path).map_err(unfit)?;
    let target = ReplayRequest {
        problem: prepared.request.problem.clone(),
        allow_mismatch: false,
        all: false,
    };
    let on = PlanOnModel { plan: path.clone(), model: args.model.clone(), target };
    let page = Page::new(Format::Json, false);
    let request = VerifyRequest { on: on.clone(), routing_trace: None };
    let verdict = verbs::verify(&request, (&interrupt::flag, &page)).map_err(unfit)?;
    if verdict != Exit::DONE {
        return Err(unfit(Diagnostic::usage("illegal-plan", "it breaks a rule")));
    }
    let mut made = Vec::new();
    for (target, file) in prepared.request.exports.iter().zip(&prepared.files.1) {
        made.push((file.clone(), exported(&on, target)?));
    }
    if let Some((plan_request, file)) = prepared.page().zip(prepared.files.1.last()) {
        let plan = input_file::read(&path, MOST_OF_PLAN).unwrap_or_default();
        made.push((file.clone(), sheet::of(&plan, plan_request)?));
    }
    artifact::write_all(&made, prepared.existing)?;
    let files: Vec<&Path> = made.iter().map(|(file, _): &(PathBuf, _)| file.as_path()).collect();
    printer.line(&format!("{name}: the last plan, verified again, as the service gave no answer"));
    files.iter().for_each(|file| printer.talk(&format!("wrote {}", file.display())));
    printer.document(&json!({
        "fallback": "last",
        "plan": path,
        "files": files,
        "reason": DiagnosticDocument::from(&error),
    }));
    Ok(Exit::DONE)
}

/// Refuses a plan of something else than is asked now, which replaying it would not tell.
fn check_asked(args: &PlanArgs, path: &Path) -> Result<(), Diagnostic> {
    let wrong = |why: String| Diagnostic::usage("no-last-plan", why);
    let bytes = input_file::read(path, MOST_OF_PLAN).map_err(wrong)?;
    let plan: Value = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    let stated = |name: &str| plan["training"][name].as_u64();
    let flags = [
        ("--global-batch", args.training.global_batch, stated("global_batch")),
        ("--sequence-length", args.training.sequence_length, stated("sequence_length")),
    ];
    let other = flags.iter().find(|(_, given, stated)| given.is_some() && given != stated);
    let is_other = args.objective.is_some_and(|objective| plan["objective"] != objective.name());
    match other.map(|(flag, ..)| *flag).or(is_other.then_some("--objective")) {
        Some(flag) => Err(wrong(format!("it was made for another {flag}"))),
        None => Ok(()),
    }
}

/// The bytes of a plan in another format.
fn exported(on: &PlanOnModel, target: &str) -> Result<Vec<u8>, Diagnostic> {
    let request = ExportRequest { on: on.clone(), target: target.to_owned(), launcher: None };
    let page = Page::new(Format::Json, false);
    let mut bytes = Vec::new();
    let mut keep = |mut files: verbs::Files| {
        bytes = files.pop().map(|(_, bytes)| bytes).unwrap_or_default();
        Ok(target.to_owned())
    };
    verbs::export(&request, &mut keep, &page)?;
    Ok(bytes)
}
