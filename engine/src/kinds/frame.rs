//! What verbs do with plans of every kind: read again, judged, held against what they state, told.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use documents::diagnostic::DiagnosticDocument;
use documents::plan::{PlanDocument, Reference};
use documents::report::FoundDocument;
use exporters::Export;
use ir::diagnostic::Diagnostic;
use ir::plan_kind::PlanKind;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::kind::{Compared, Kind, Legal, Target, Told, refused};
use crate::answer::differences::{self, difference};
use crate::answer::exit::{Cancel, CommandResult, Exit};
use crate::answer::follow::{File, Files};
use crate::answer::mismatch::{mismatch, sorted};
use crate::answer::page::Page;
use crate::answer::rows::Rows;
use crate::answer::screen::Screen;
use crate::answer::violations;
use crate::inputs::plan_file::BY_HAND;
use crate::request::fields;
use crate::request::subject::Subject;
use crate::request::{CompareRequest, PlanRequest, ReplayRequest};
use crate::search::run::Run;
use crate::search::watched::told;

/// A plan on its model and cluster.
struct OnModel<'d, K: Kind> {
    setting: K::Setting,
    plan: &'d PlanDocument,
    /// Or all rules that it breaks.
    judged: Result<K::Judged, Vec<Diagnostic>>,
    /// Of reading; where model, cluster or profile are others than it was made for and may be, one each.
    warnings: Vec<Diagnostic>,
    /// Whether they are.
    is_of_others: bool,
}

/// Puts a plan on a model and the cluster of the flags.
///
/// # Errors
/// Those of [`Kind::read`]; [`PlanKind::refusal`] for flags that it has no use for; `digest-mismatch`.
fn examined<'d, K: Kind>(
    plan: &'d PlanDocument,
    target: Target<'_>,
) -> Result<OnModel<'d, K>, Diagnostic> {
    check_flags::<K>(target.flags)?;
    let may_differ = target.flags.allow_mismatch;
    let mut setting = K::read(plan, target)?;
    let others = others(plan, &K::references(&setting), may_differ);
    let (allowed, mismatches) = sorted(others.into_iter(), may_differ)?;
    // What of a plan does not hold on another model or cluster says nothing of it.
    mismatches.into_iter().next().map_or(Ok(()), Err)?;
    let mut warnings = std::mem::take(K::warnings(&mut setting));
    let is_of_others = !allowed.is_empty();
    warnings.extend(allowed);
    let judged = K::judge(&mut setting, plan);
    // Those of judging come last.
    warnings.append(K::warnings(&mut setting));
    Ok(OnModel { setting, plan, judged, warnings, is_of_others })
}

/// Refuses flags that ask for another plan: all but what it runs on stands in the plan.
fn check_flags<K: Kind>(target: &ReplayRequest) -> Result<(), Diagnostic> {
    let mut given = fields::flags(&target.problem.given);
    given.retain(|flag| !K::FLAGS.contains(&flag.as_ref()));
    if given.is_empty() {
        return Ok(());
    }
    let given = given.join(", ");
    let message = format!("beside {}, {given} has no effect", K::KIND.words());
    Err(refused(K::KIND, message, &format!("leave out {given}")))
}

/// Where model, cluster or profile are others than a plan was made for.
fn others(plan: &PlanDocument, given: &[Reference; 3], may_differ: bool) -> Vec<Diagnostic> {
    let stated = [("model", &plan.model), ("cluster", &plan.cluster), ("profile", &plan.profile)];
    let both = stated.into_iter().zip(given);
    let found = both.filter(|((_, own), now)| own.digest != now.digest);
    found.map(|((what, own), now)| mismatch(what, own, now, may_differ)).collect()
}

impl<K: Kind> OnModel<'_, K> {
    fn legal(&self) -> Option<Legal<'_, K>> {
        let judged = self.judged.as_ref().ok()?;
        Some(Legal { setting: &self.setting, plan: self.plan, judged })
    }

    /// All rules that it breaks, and what it states in vain.
    fn violations(&self, proof: Option<&Arc<AtomicBool>>) -> Vec<Diagnostic> {
        let on = match (&self.judged, self.legal()) {
            (Err(broken), _) => return broken.clone(),
            (_, Some(on)) => on,
            (_, None) => return Vec::new(),
        };
        if self.is_of_others {
            // There it takes something else.
            return self.plan.cost.as_ref().map_or_else(Vec::new, differences::within);
        }
        let algorithm = &self.plan.algorithm;
        if algorithm != BY_HAND && !matches!(K::is_row(algorithm), Ok(true)) {
            return vec![difference("algorithm", algorithm, K::ROWS)];
        }
        K::stated_wrong(on, proof)
    }
}

/// `plan`.
///
/// # Errors
/// Those of [`Kind::check`], [`check_target`] and [`Kind::plan`].
pub fn plan<K: Kind>(request: &PlanRequest, run: &mut Run<'_>) -> CommandResult {
    K::check(request)?;
    request.exports.iter().try_for_each(|target| check_target::<K>(target))?;
    K::plan(request, run)
}

/// `verify`.
///
/// # Errors
/// Those of reading.
pub fn verify<K: Kind>(
    plan: &PlanDocument,
    target: Target<'_>,
    (cancel, page): (Cancel<'_>, &Page),
) -> CommandResult {
    let on = examined::<K>(plan, target)?;
    let stop = cancel();
    let broken = on.violations(Some(&stop));
    let told = on.legal().map(K::told);
    let none = || Told { sentence: String::new(), figures: vec![(K::FIGURE, Value::Null)] };
    let told = told.unwrap_or_else(none);
    Ok(verdict((&broken, &on.warnings), told, (Rows::of(target.flags.all), &stop, page)))
}

/// Says whether a plan is legal; how the run ends.
pub fn verdict(
    (broken, warnings): (&[Diagnostic], &[Diagnostic]),
    told: Told,
    (rows, stop, page): (Rows, &AtomicBool, &Page),
) -> Exit {
    page.warnings(warnings);
    if let Some(exit) = violations::interrupted(broken, stop, page) {
        return exit;
    }
    violations::list(broken, rows, page);
    page.line(&match violations::is_legal(broken) {
        Some(true) => told.sentence,
        Some(false) => format!("the plan is illegal: {}", violations::count(broken.len())),
        None => "no rule is broken, but the bound was not proved again".to_owned(),
    });
    let document = json!({
        "legal": violations::is_legal(broken), "violations": documents(broken),
        "warnings": documents(warnings),
    });
    page.document(&with(told.figures, document));
    violations::exit(broken)
}

/// Diagnostics as documents.
pub fn documents(found: &[Diagnostic]) -> Vec<DiagnosticDocument> {
    found.iter().map(DiagnosticDocument::from).collect()
}

/// A document with more members.
fn with(members: Vec<(&'static str, Value)>, document: Value) -> Value {
    let mut all: Map<String, Value> =
        members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    if let Value::Object(own) = document {
        all.extend(own);
    }
    Value::Object(all)
}

/// Does something with a legal plan; else the page says what is broken, and how the run ends.
fn with_legal<K: Kind, T>(
    plan: &PlanDocument,
    target: Target<'_>,
    page: &Page,
    then: impl FnOnce(Legal<'_, K>, Vec<Diagnostic>) -> Result<T, Diagnostic>,
) -> Result<Result<T, Exit>, Diagnostic> {
    let mut on = examined::<K>(plan, target)?;
    let warnings = std::mem::take(&mut on.warnings);
    let broken = match (&on.judged, K::HOLDS_CLAIMS) {
        (Ok(_), false) => Vec::new(),
        _ => on.violations(None),
    };
    if !broken.is_empty() {
        page.warnings(&warnings);
    }
    if let Some(exit) = violations::instead(&broken, Rows::of(target.flags.all), page) {
        return Ok(Err(exit));
    }
    match on.legal() {
        Some(legal) => then(legal, warnings).map(Ok),
        None => Ok(Err(Exit::DONE)),
    }
}

/// `explain`.
///
/// # Errors
/// Those of reading, and of subjects that the plan does not have.
pub fn explain<K: Kind>(
    plan: &PlanDocument,
    target: Target<'_>,
    (subject, layer): (&Subject, Option<u32>),
    page: &Page,
) -> CommandResult {
    K::check_subject(subject)?;
    let rows = Rows::of(target.flags.all);
    let ended = with_legal::<K, _>(plan, target, page, |on, warnings| {
        page.warnings(&warnings);
        let document = K::explain(on, (subject, layer), (rows, page))?;
        page.document(&with(vec![("warnings", json!(documents(&warnings)))], document));
        Ok(Exit::DONE)
    })?;
    Ok(ended.unwrap_or_else(|exit| exit))
}

/// `simulate`.
///
/// # Errors
/// Those of reading; [`PlanKind::refusal`] where plans have no steps.
pub fn simulate<K: Kind>(plan: &PlanDocument, target: Target<'_>, page: &Page) -> CommandResult {
    if !K::HAS_STEPS {
        let message = format!("{} has no steps that could be replayed", K::KIND.words());
        let hint = "`verify` derives its loads again, `explain` shows them";
        return Err(refused(K::KIND, message, hint));
    }
    explain::<K>(plan, target, (&Subject::Step { longest: None }, None), page)
}

/// Refuses a target that takes nothing of what is decided.
///
/// # Errors
/// Those of [`exporters::find`].
pub fn check_target<K: Kind>(target: &str) -> Result<(), Diagnostic> {
    let with_more = |error: Diagnostic| match K::ELSEWHERE {
        "" => error,
        more => error.hint(more),
    };
    exporters::find(K::KIND, target).map(drop).map_err(with_more)
}

/// `export`; or how the run ends where the plan is illegal, which the page says.
///
/// # Errors
/// Those of reading and of the target.
pub fn export<K: Kind>(
    plan: &PlanDocument,
    target: Target<'_>,
    format: &str,
    page: &Page,
) -> Result<Result<Export, Exit>, Diagnostic> {
    check_target::<K>(format)?;
    with_legal::<K, _>(plan, target, page, |on, warnings| {
        let mut export = K::export(on, format)?;
        export.warnings.splice(0..0, warnings);
        Ok(export)
    })
}

/// A plan that was found, by what is said of it, why the search ended and its seconds where they may be told.
pub type Found<F> = (PlanDocument, F, &'static str, Option<f64>);

/// Answers with a plan that was found and the files that are asked for; what they can't say becomes warnings.
///
/// # Errors
/// Those of writing.
pub fn found<K: Kind, F: Serialize>(
    (request, run): (&PlanRequest, &mut Run<'_>),
    (setting, judged): (&K::Setting, &K::Judged),
    (plan, figures, stop_reason, elapsed_s): Found<F>,
    mut warnings: Vec<Diagnostic>,
    screen: impl FnOnce(&FoundDocument<F>, &Page) -> Screen,
) -> CommandResult {
    let on = Legal { setting, plan: &plan, judged };
    let files = files::<K>(on, &request.exports, &mut warnings);
    let (stop_reason, told_of) = (stop_reason.to_owned(), documents(&warnings));
    let report = FoundDocument { plan, figures, stop_reason, elapsed_s, warnings: told_of };
    told(run, files, &report, |run, written| {
        let mut screen = Screen { warnings, written, ..screen(&report, run.page) };
        screen.is_whole = request.all;
        screen.next(|plan| format!("meshwright explain {plan}"), "where each second goes");
        run.page.screen(screen);
    })
}

/// The files of a plan.
fn files<K: Kind>(on: Legal<'_, K>, formats: &[String], warnings: &mut Vec<Diagnostic>) -> Files {
    let file = |format: &String| {
        let export = K::export(on, format)?;
        warnings.extend(export.warnings);
        Ok(File { target: format.clone(), bytes: export.bytes })
    };
    formats.iter().map(file).collect()
}

/// `compare`; where a model is given each is judged on it first.
///
/// # Errors
/// Those of reading.
pub fn compare<K: Kind>(
    (a, b): (&PlanDocument, &PlanDocument),
    others: &[Diagnostic],
    request: &CompareRequest,
    page: &Page,
) -> CommandResult {
    page.warnings(others);
    page.warnings(K::unlike(a, b).as_slice());
    if let Some(model) = &request.model {
        let target = Target { model, flags: &request.target, routing_trace: None };
        let mut told: Vec<Diagnostic> = Vec::new();
        for plan in [a, b] {
            let judged = with_legal::<K, _>(plan, target, page, |_, warnings| Ok(warnings))?;
            match judged {
                Ok(warnings) => {
                    let new = |own: &Diagnostic| !told.contains(own);
                    let new: Vec<Diagnostic> = warnings.into_iter().filter(new).collect();
                    told.extend(new);
                }
                Err(exit) => return Ok(exit),
            }
        }
        page.warnings(&told);
    }
    let Compared { is_equal, document } = K::compare(a, b, (Rows::of(request.target.all), page));
    page.document(&with(vec![("equal", json!(is_equal))], document));
    Ok(if is_equal { Exit::DONE } else { Exit::DIFFERS })
}

/// That two plans are of different kinds.
#[must_use]
pub fn unlike_kinds(a: PlanKind, b: PlanKind) -> Diagnostic {
    let message = format!("one plan is of {}, the other of {}", a.words(), b.words());
    Diagnostic::usage("not-comparable", message).hint("compare plans of one kind")
}

/// Plans for different things can be compared, but their difference may come from there.
#[must_use]
pub fn other_plans(a: &PlanDocument, b: &PlanDocument) -> Vec<Diagnostic> {
    let pairs = [
        ("other-model", "model", &a.model, &b.model),
        ("other-cluster", "cluster", &a.cluster, &b.cluster),
    ];
    let other = |(code, what, a, b): (&'static str, &str, &Reference, &Reference)| {
        let message = match a.name == b.name {
            true => format!("the plans are for different versions of {what} `{}`", a.name),
            false => format!("the plans are for {what} `{}` and {what} `{}`", a.name, b.name),
        };
        (a.digest != b.digest).then(|| Diagnostic::warning(code, message))
    };
    pairs.into_iter().filter_map(other).collect()
}
