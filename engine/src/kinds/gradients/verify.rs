//! A plan of buckets on its model and cluster again: `verify`, `explain` and `export` of it.

use cost_model::given::gradients::{Buckets, evaluate};
use cost_model::given::{Goal, gradients};
use documents::diagnostic::DiagnosticDocument;
use documents::digest;
use documents::plan::{PlanDocument, Reference};
use exporters::Export;
use ir::diagnostic::{Blame, Diagnostic};
use ir::instance::Instance;
use ir::units::Nanos;
use planner::given::runner::{Request, method, simple_bound, solve};
use planner::registry::entries;
use serde_json::json;

use super::{Setting, decided, row};
use crate::answer::differences::{self, difference};
use crate::answer::exit::{CommandResult, Exit};
use crate::answer::mismatch;
use crate::answer::page::Page;
use crate::answer::rows::Rows;
use crate::answer::violations;
use crate::inputs::plan_file::{self, BY_HAND};
use crate::kinds::given::{buckets as told, for_launchers};
use crate::request::subject::Subject;
use crate::request::{PlanOnModel, ReplayRequest};

/// A plan of buckets and what it was made for.
pub struct OnModel<'d> {
    /// Model, devices and gradients.
    pub setting: Setting,
    document: &'d PlanDocument,
    /// What it states, where that is buckets of the model's gradients.
    pub buckets: Result<(Buckets, Nanos), Diagnostic>,
    warnings: Vec<Diagnostic>,
    mismatches: Vec<Diagnostic>,
}

/// Puts a plan on a model and the cluster of the flags.
///
/// # Errors
/// Those of [`Setting::planned`]; `not-for-gradients` for flags that it has no use for;
/// `digest-mismatch` where names differ.
pub fn examined<'d>(
    document: &'d PlanDocument,
    on: &PlanOnModel,
) -> Result<OnModel<'d>, Diagnostic> {
    check_flags(&on.target)?;
    let workload = plan_file::workload(&document.workload)?;
    let replicas = u64::from(document.parallelism.data);
    let flags = &on.target.problem;
    let mut setting = Setting::planned(&on.model, flags, (workload, &document.request, replicas))?;
    let problem = &setting.loaded.problem;
    let model = Reference::new(&problem.graph.name, digest::graph(&problem.graph));
    let found = document.mismatches(&model, &problem.cluster, &setting.loaded.profile);
    let (allowed, mismatches) = mismatch::sorted(found.into_iter(), on.target.allow_mismatch)?;
    let mut warnings = std::mem::take(&mut setting.loaded.warnings);
    warnings.extend(allowed);
    let illegal = |why| Diagnostic::error(Blame::IllegalPlan, "bad-buckets", why);
    let stated = &document.communication;
    let allowed = told::allow(&mut setting.instance, &stated.lossy).map_err(illegal);
    let instance = &setting.instance;
    let buckets = allowed.and_then(|()| told::buckets(instance, stated).map_err(illegal));
    let buckets = buckets.and_then(|own| Ok((evaluate(instance, &own)?, own)));
    let buckets = buckets.map(|(value, own)| (own, value));
    Ok(OnModel { setting, document, buckets, warnings, mismatches })
}

/// Refuses flags that ask for another step: all but what it runs on stands in the plan.
fn check_flags(target: &ReplayRequest) -> Result<(), Diagnostic> {
    let mut given = crate::request::fields::flags(&target.problem.given);
    given.retain(|flag| !["--cluster", "--profile", "--scale"].contains(&flag.as_ref()));
    if given.is_empty() {
        return Ok(());
    }
    let given = given.join(", ");
    let message = format!("beside a plan of gradients, {given} has no effect");
    Err(Diagnostic::usage("not-for-gradients", message).hint(format!("leave out {given}")))
}

/// All rules that a plan breaks, and what it states in vain.
fn violations(on: &OnModel<'_>) -> Vec<Diagnostic> {
    let mut found = on.mismatches.clone();
    let (buckets, _) = match &on.buckets {
        Ok(own) => own,
        Err(why) => {
            found.push(why.clone());
            return found;
        }
    };
    let (document, instance) = (on.document, &on.setting.instance);
    let algorithm = &document.algorithm;
    if algorithm != BY_HAND && !matches!(row(algorithm), Ok(Some(_))) {
        found.push(difference("algorithm", algorithm, "a row that plans gradients"));
    }
    let stated = document.cost.as_ref().map_or("", |own| own.bound_method.as_str());
    let proved = stated == method::GROUPS;
    let own = Instance::Gradients(instance.clone());
    let best = proved.then(|| solve(&own, Goal::StepTime, None, &Request::new(entries())));
    let (bound, name) = match best {
        Some(Ok(answer)) => (answer.bound.value, method::GROUPS),
        _ => (gradients::bound(instance), simple_bound(&own, Goal::StepTime, 0).method),
    };
    match decided::document(&on.setting, buckets, (algorithm, bound, name)) {
        Ok(derived) => found.extend(differences::of_plans(document, &derived)),
        Err(why) => found.push(why),
    }
    found
}

/// `verify`.
///
/// # Errors
/// Those of reading.
pub fn verify(document: &PlanDocument, request: &PlanOnModel, page: &Page) -> CommandResult {
    let mut on = examined(document, request)?;
    let broken = violations(&on);
    if let Ok((own, _)) = &on.buckets {
        on.warnings.extend(told::warnings(&on.setting.instance, 0, own));
    }
    page.warnings(&on.warnings);
    page.warnings(&broken);
    let value = on.buckets.as_ref().map_or(Nanos::ZERO, |own| own.1);
    page.line(&match broken.len() {
        0 => format!(
            "the plan is legal: {} buckets of {} gradients on {} replicas, step time {:.3} ms",
            document.communication.buckets.len(),
            on.setting.instance.tensors.len(),
            on.setting.instance.replicas,
            value.seconds() * 1e3
        ),
        n => format!("the plan is illegal: {}", violations::count(n)),
    });
    let list =
        |found: &[Diagnostic]| -> Vec<_> { found.iter().map(DiagnosticDocument::from).collect() };
    page.document(&json!({
        "legal": violations::is_legal(&broken),
        "seconds": value.seconds(),
        "violations": list(&broken),
        "warnings": list(&on.warnings),
    }));
    Ok(violations::exit(&broken))
}

/// `explain` and `simulate`: when each bucket is exchanged, and the step with others.
///
/// # Errors
/// Those of reading; `not-for-gradients` for ops, transfers and devices.
pub fn explain(
    document: &PlanDocument,
    (request, subject): (&PlanOnModel, &Subject),
    page: &Page,
) -> CommandResult {
    if !matches!(subject, Subject::Step { longest: None }) {
        let message = "a plan of gradients is explained as a whole: ops and devices name nothing";
        return Err(Diagnostic::usage("not-for-gradients", message)
            .hint("leave --op, --transfer, --device and --longest out"));
    }
    let on = examined(document, request)?;
    let broken = violations(&on);
    page.warnings(&on.warnings);
    let rows = Rows::of(request.target.all);
    let (true, Ok((buckets, value))) = (broken.is_empty(), &on.buckets) else {
        violations::list(&broken, rows, page);
        page.document(&json!({ "violations": broken.len() }));
        return Ok(violations::exit(&broken));
    };
    told::explain(&on.setting.instance, (buckets, *value), (rows, page))?;
    Ok(Exit::DONE)
}

/// `export`; `None` where the plan is illegal, which the page says.
///
/// # Errors
/// Those of reading; `unknown-target`.
pub fn export(
    document: &PlanDocument,
    (request, target): (&PlanOnModel, &str),
    page: &Page,
) -> Result<Option<Export>, Diagnostic> {
    check_target(target)?;
    let on = examined(document, request)?;
    let broken = violations(&on);
    let (true, Ok((buckets, _))) = (broken.is_empty(), &on.buckets) else {
        page.warnings(&broken);
        page.document(&json!({
            "violations": broken.iter().map(DiagnosticDocument::from).collect::<Vec<_>>(),
        }));
        return Ok(None);
    };
    let bytes = for_launchers::exported(target, &on.setting.instance, buckets)?;
    Ok(Some(Export { bytes, warnings: on.warnings }))
}

/// Refuses all targets but those of gradients in buckets.
///
/// # Errors
/// `unknown-target`.
pub fn check_target(target: &str) -> Result<(), Diagnostic> {
    let known = exporters::given_costs::OF_BUCKETS;
    if target.split('@').next().is_some_and(|own| known.contains(&own)) {
        return Ok(());
    }
    let message = format!("`{target}` takes no buckets of gradients");
    Err(Diagnostic::usage("unknown-target", message)
        .hint(format!("use {}, or read `communication` of the plan", known.join(" or "))))
}
