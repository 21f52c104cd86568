//! What can be asked of a plan that exists, whatever it plans.

use std::sync::Arc;

use documents::diagnostic::DiagnosticDocument;
use documents::plan::experts::HostDocument;
use documents::plan::{PlanDocument, Reference};
pub use exporters::training::folder::Files;
use exporters::{Export, Source};
use importers::launcher;
use ir::diagnostic::{Blame, Diagnostic};
use serde_json::json;

use crate::answer::exit::{Cancel, CommandResult, Exit};
use crate::answer::page::Page;
use crate::answer::rows::Rows;
use crate::inputs::plan_file;
use crate::kinds::placement::compare::Now;
use crate::kinds::placement::verdict::verdict;
use crate::kinds::placement::{self, replay};
use crate::kinds::streams::Word;
use crate::kinds::{experts, given, gradients, groups, inference, nano_batches, streams, training};
use crate::request::subject::Subject;
use crate::request::{
    CompareRequest, ExplainRequest, ExportRequest, SimulateRequest, VerifyRequest,
};
use crate::request::{executor, fields};

/// Replays a plan and reports.
///
/// # Errors
/// Those of reading, and of plans that can not be replayed.
pub fn simulate(request: &SimulateRequest, page: &Page) -> CommandResult {
    let on = &request.on;
    if let Some(instance) = importers::instance(&on.model)? {
        planned_sizes(request, "not-for-instances", "an instance with given costs")?;
        return given::explain::simulate(on, instance, page);
    }
    let document = plan_file::document(&on.plan)?;
    if document.served.is_some() {
        planned_sizes(request, "not-for-serving", "a pipeline that serves")?;
        return inference::verify::simulate(&document, on, page);
    }
    if document.has_buckets() {
        planned_sizes(request, "not-for-gradients", "a plan of gradients")?;
        let subject = Subject::Step { longest: None };
        return gradients::verify::explain(&document, (on, &subject), page);
    }
    if document.has_streams() {
        let message = "a plan of streams is replayed by `verify`, which says its step time";
        return Err(Diagnostic::usage("not-for-streams", message)
            .hint("`explain` shows what each pass takes"));
    }
    if places_experts(&document) {
        let message = "a placement of experts has no steps that could be replayed";
        return Err(Diagnostic::usage("not-for-experts", message)
            .hint("`verify` derives its loads again, `explain` shows them"));
    }
    if document.training.is_some() {
        return training::replay::simulate(&document, request, page);
    }
    planned_sizes(request, "not-for-placements", "a placement of ops")?;
    placement::simulate::simulate(&document, &on.model, &on.target, page)
}

/// Refuses other sizes where the plan's ops are those of its own.
fn planned_sizes(
    request: &SimulateRequest,
    code: &'static str,
    what: &str,
) -> Result<(), Diagnostic> {
    if request.micro_batches.is_none() {
        return Ok(());
    }
    let message = format!("{what} is not replayed with other --micro-batches: its ops are others");
    Err(Diagnostic::usage(code, message).hint("leave it out, or plan again with --micro-batch"))
}

/// Checks a plan (or the solution of an instance) against every rule, and all that it states.
///
/// # Errors
/// Those of reading.
pub fn verify(asked: &VerifyRequest, around: (Cancel<'_>, &Page)) -> CommandResult {
    let request = &asked.on;
    if let Some(instance) = importers::instance(&request.model)? {
        traced(None, asked)?;
        return given::verify::run(request, instance, around);
    }
    let document = plan_file::document(&request.plan)?;
    traced(document.experts.host.as_ref(), asked)?;
    if document.served.is_some() {
        return inference::verify::verify(&document, request, around);
    }
    if document.has_buckets() {
        return gradients::verify::verify(&document, request, around.1);
    }
    if document.has_streams() {
        return match Word::of(&document) {
            Word::Parts => streams::verify::verify(&document, request, around.1),
            Word::Groups => groups::verify::verify(&document, request, around.1),
            Word::NanoBatches => nano_batches::verify::verify(&document, request, around.1),
        };
    }
    if places_experts(&document) {
        return experts::verify::verify(&document, asked, around.1);
    }
    match document.training {
        Some(_) => training::replay::verify(&document, request, around),
        None => placement::verify::verify(&document, &request.model, &request.target, around),
    }
}

/// Where the step time goes, and why an op, a transfer or a device is as it is.
///
/// # Errors
/// Those of reading, and of subjects that the plan does not have.
pub fn explain(request: &ExplainRequest, (cancel, page): (Cancel<'_>, &Page)) -> CommandResult {
    let on = &request.on;
    let subject = match (&request.op, &request.transfer, &request.device) {
        (Some(name), _, _) => Subject::Op(name.clone()),
        (None, Some(name), _) => Subject::Transfer(name.clone()),
        (None, None, Some(name)) => Subject::Device(name.clone()),
        (None, None, None) => Subject::Step { longest: request.longest },
    };
    let has_path = matches!(subject, Subject::Step { .. });
    if request.longest.is_some() && !has_path {
        return Err(pathless("an op, a transfer or a device has no critical path"));
    }
    if let Some(instance) = importers::instance(&on.model)? {
        no_layer(request)?;
        no_boundaries(request)?;
        if request.longest.is_some() {
            return Err(pathless("an instance with given costs has no critical path"));
        }
        return given::explain::explain(on, &subject, instance, page);
    }
    let rows = Rows::of(on.target.all);
    let document = plan_file::document(&on.plan)?;
    if document.training.is_none() {
        no_boundaries(request)?;
    }
    if document.has_streams() {
        let asked = (on, &subject, request.layer);
        return match Word::of(&document) {
            Word::Parts => streams::explain::explain(&document, asked, page),
            Word::Groups => groups::explain::explain(&document, asked, page),
            Word::NanoBatches => nano_batches::explain::explain(&document, asked, page),
        };
    }
    no_layer(request)?;
    if document.served.is_some() {
        return inference::explain::explain(&document, (on, &subject), page);
    }
    if document.has_buckets() {
        return gradients::verify::explain(&document, (on, &subject), page);
    }
    if places_experts(&document) {
        return experts::explain::explain(&document, (on, &subject), page);
    }
    if document.training.is_some() {
        return explain_run(&document, request, page);
    }
    let problem = replay::on_problem(&document, &on.model, &on.target)?;
    let broken = replay::broken_rules(&problem);
    if !broken.is_empty() {
        return Ok(verdict(&problem, broken, rows, (&cancel(), page)));
    }
    let replayed = replay::on(problem)?;
    placement::explain::explain(&replayed, &subject, document.cost.as_ref(), rows, page)?;
    Ok(Exit::DONE)
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
fn no_layer(request: &ExplainRequest) -> Result<(), Diagnostic> {
    if request.layer.is_none() {
        return Ok(());
    }
    let message = "`--layer` names the streams of a layer, and this plan states none";
    Err(Diagnostic::usage("no-streams", message)
        .hint("leave it out, or plan with --algorithm fsmoe, findep or dynaflow"))
}

/// Refuses to weigh boundaries of a plan that has no stages of a training run.
fn no_boundaries(request: &ExplainRequest) -> Result<(), Diagnostic> {
    if request.break_even.is_none() {
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
    let others = [
        ("other-model", "model", &a.model, &b.model),
        ("other-cluster", "cluster", &a.cluster, &b.cluster),
    ];
    let others = others.into_iter().filter_map(|(code, what, a, b)| other(code, what, a, b));
    if [&a, &b].into_iter().any(|own| own.served.is_some() || own.has_buckets()) {
        return compare_alone((&a, &b), others.collect(), request, page);
    }
    if a.has_streams() || b.has_streams() {
        let judge = |plan: &PlanDocument| illegal_streams(plan, request, page);
        let around = (Rows::of(request.target.all), page);
        return streams::compare::compare((&a, &b), &others.collect::<Vec<_>>(), &judge, around);
    }
    match (&a.training, &b.training) {
        _ if places_experts(&a) || places_experts(&b) => {
            experts::compare::compare((&a, &b), &others.collect::<Vec<_>>(), request, page)
        }
        (None, None) => {
            let told = others.chain(idle).collect();
            placement::compare::placements((&a, &b), now.as_deref(), told, (request, page))
        }
        (Some(one), Some(two)) => {
            // Another length of a sample is told as such.
            let is_length = one.sequence_length != two.sequence_length;
            let is_length = is_length && a.model.name == b.model.name;
            let told = others.filter(|own| own.code != "other-model" || !is_length).collect();
            training::compare::compare_plans((&a, &b), told, request, page)
        }
        _ => Err(unlike()),
    }
}

/// Two plans of which one is of a pipeline that serves, or of gradients.
fn compare_alone(
    (a, b): (&PlanDocument, &PlanDocument),
    others: Vec<Diagnostic>,
    request: &CompareRequest,
    page: &Page,
) -> CommandResult {
    match a.served.is_some() || b.served.is_some() {
        true => inference::compare::compare((a, b), &others, request, page),
        false => gradients::compare::compare((a, b), others, request, page),
    }
}

fn unlike() -> Diagnostic {
    let message = "one plan is of a training run, the other places operators";
    Diagnostic::usage("not-comparable", message)
        .hint("plan both with --global-batch, or both without")
}

fn places_experts(plan: &PlanDocument) -> bool {
    !plan.experts.layers.is_empty()
}

/// Refuses a trace beside a plan that was made from none.
fn traced(host: Option<&HostDocument>, asked: &VerifyRequest) -> Result<(), Diagnostic> {
    if host.is_some_and(|own| own.is_traced) || asked.routing_trace.is_none() {
        return Ok(());
    }
    let message = "`--routing-trace` is of experts in slots that were planned from a trace";
    Err(Diagnostic::usage("not-for-traces", message).hint("leave out --routing-trace"))
}

/// Refuses settings beside a placement of experts.
fn of_experts_alone(plan: &PlanDocument, is_beside_settings: bool) -> Result<(), Diagnostic> {
    if !places_experts(plan) || !is_beside_settings {
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

/// Plans for different things can be compared, but their difference may come from there.
fn other(code: &'static str, what: &str, a: &Reference, b: &Reference) -> Option<Diagnostic> {
    let message = if a.name == b.name {
        format!("the plans are for different versions of {what} `{}`", a.name)
    } else {
        format!("the plans are for {what} `{}` and {what} `{}`", a.name, b.name)
    };
    (a.digest != b.digest).then(|| Diagnostic::warning(code, message))
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
        executor::check_instances(&request.target)?;
        started_by_none(request)?;
        let bytes = given::explain::export(on, &request.target, instance)?;
        return kept(request, one(Export { bytes, warnings: Vec::new() }), keep, page);
    }
    let document = plan_file::document(&on.plan)?;
    if document.served.is_some() {
        started_by_none(request)?;
        return match inference::export::export(&document, request, page)? {
            Ok(export) => kept(request, one(export), keep, page),
            Err(exit) => Ok(exit),
        };
    }
    if document.has_buckets() {
        started_by_none(request)?;
        return match gradients::verify::export(&document, (on, &request.target), page)? {
            Some(export) => kept(request, one(export), keep, page),
            None => Ok(Exit(Blame::IllegalPlan.exit_code())),
        };
    }
    if document.has_streams() {
        started_by_none(request)?;
        return match of_streams(request, &document, page)? {
            Ok(export) => kept(request, one(export), keep, page),
            Err(exit) => Ok(exit),
        };
    }
    if places_experts(&document) {
        started_by_none(request)?;
        return match of_experts(request, &document, page)? {
            Some(export) => kept(request, one(export), keep, page),
            None => Ok(Exit(Blame::IllegalPlan.exit_code())),
        };
    }
    if document.training.is_some() {
        training::export::check_target(&request.target)?;
        return match training::export::export(&document, request, page)? {
            Some(files) => kept(request, files, keep, page),
            None => Ok(Exit(Blame::IllegalPlan.exit_code())),
        };
    }
    started_by_none(request)?;
    match placed(request, &document, (cancel, page))? {
        Ok(export) => kept(request, one(export), keep, page),
        Err(exit) => Ok(exit),
    }
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

/// A plan of streams in another format; or how the run ends, where it is illegal, which the page says.
fn of_streams(
    request: &ExportRequest,
    document: &PlanDocument,
    page: &Page,
) -> Result<Result<Export, Exit>, Diagnostic> {
    let (target, on) = (request.target.as_str(), (request.on.model.as_path(), &request.on.target));
    let word = Word::of(document);
    match word {
        Word::NanoBatches => nano_batches::export::check_target(target)?,
        Word::Parts | Word::Groups => streams::check_target(target, word)?,
    }
    Ok(match word {
        Word::Parts => streams::verify::legal(document, on, page)?
            .map(|on| streams::picture::drawn(document, &on.setting)),
        Word::Groups => groups::verify::legal(document, on, page)?
            .map(|(on, own)| groups::picture::drawn(document, &on.setting, &own.cells)),
        Word::NanoBatches => match nano_batches::verify::legal(document, on, page)? {
            Ok(on) => {
                let entries = on.entries.unwrap_or_default();
                Ok(nano_batches::export::exported(target, (&on.setting, document, &entries))?)
            }
            Err(exit) => Err(exit),
        },
    })
}

/// How the comparison of a plan of streams ends where the model that is given says that it is illegal.
fn illegal_streams(
    plan: &PlanDocument,
    request: &CompareRequest,
    page: &Page,
) -> Result<Option<Exit>, Diagnostic> {
    let Some(model) = &request.model else { return Ok(None) };
    let on = (model.as_path(), &request.target);
    Ok(match Word::of(plan) {
        Word::Parts => streams::verify::legal(plan, on, page)?.err(),
        Word::Groups => groups::verify::legal(plan, on, page)?.err(),
        Word::NanoBatches => nano_batches::verify::legal(plan, on, page)?.err(),
    })
}

/// A placement of experts in another format; `None` where it is illegal, which the page says.
fn of_experts(
    request: &ExportRequest,
    document: &PlanDocument,
    page: &Page,
) -> Result<Option<Export>, Diagnostic> {
    experts::export::check_target(&request.target, document.experts.host.is_some())?;
    let on = experts::on_model::read(document, &request.on.model, &request.on.target)?;
    let broken = experts::verify::violations(&on);
    if !broken.is_empty() {
        page.warnings(&broken);
        page.document(&json!({
            "violations": broken.iter().map(DiagnosticDocument::from).collect::<Vec<_>>(),
        }));
        return Ok(None);
    }
    let mut export = experts::export::exported(&request.target, &on)?;
    export.warnings.splice(0..0, on.warnings);
    Ok(Some(export))
}

/// A placement of ops in another format, or how the run ends where it is illegal.
fn placed(
    request: &ExportRequest,
    document: &Arc<PlanDocument>,
    (cancel, page): (Cancel<'_>, &Page),
) -> Result<Result<Export, Exit>, Diagnostic> {
    placement::export::check_target(&request.target)?;
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
