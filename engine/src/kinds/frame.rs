//! What verbs do with plans of every kind: read again, judged, held against what they state, told.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use cost_model::ops::judge::verify::MAX_VIOLATIONS;
use documents::diagnostic::DiagnosticDocument;
use documents::plan::{PlanDocument, Reference};
use documents::report::FoundDocument;
use exporters::Export;
use exporters::training::folder::Files as Written;
use ir::diagnostic::Diagnostic;
use ir::plan_kind::PlanKind;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::kind::{Asked, Compared, Kind, Legal, Pair, Read, Target, Told, refused};
use crate::answer::differences::difference;
use crate::answer::exit::{Cancel, CommandResult, Exit};
use crate::answer::follow::{File, Files};
use crate::answer::mismatch::sorted;
use crate::answer::page::Page;
use crate::answer::rows::Rows;
use crate::answer::screen::Screen;
use crate::answer::violations;
use crate::inputs::plan_file::BY_HAND;
use crate::request::subject::Subject;
use crate::request::{ExportRequest, PlanRequest, ReplayRequest, fields};
use crate::search::run::Run;
use crate::search::watched::told;

/// A plan on its model and cluster.
pub struct OnModel<K: Kind> {
    /// Model, devices and prices.
    pub setting: K::Setting,
    /// The plan as it is stated.
    pub plan: Arc<PlanDocument>,
    /// Of reading; where model, cluster or profile are others than it was made for and may be, one each.
    pub warnings: Vec<Diagnostic>,
    /// Whether they are.
    is_of_others: bool,
    /// Where they are and may not be, one each.
    mismatches: Vec<Diagnostic>,
}

/// What a plan decides and takes, or all rules that it breaks.
type Judged<K> = Result<<K as Kind>::Judged, Vec<Diagnostic>>;

/// Puts a plan on a model and the cluster of the flags.
///
/// # Errors
/// Those of [`Kind::read`]; [`PlanKind::refusal`] for flags that it has no use for; `digest-mismatch`.
pub fn on_model<K: Kind>(
    plan: &Arc<PlanDocument>,
    target: Target<'_>,
) -> Result<OnModel<K>, Diagnostic> {
    let on = examined::<K>(plan, target)?;
    // What of a plan does not hold on another model or cluster says nothing of it.
    on.mismatches.first().map_or(Ok(()), |other| Err(other.clone()))?;
    Ok(on)
}

/// Puts a plan on a model and a cluster of the names that it was made for, whatever their digests.
fn examined<K: Kind>(
    plan: &Arc<PlanDocument>,
    target: Target<'_>,
) -> Result<OnModel<K>, Diagnostic> {
    check_flags::<K>(target.flags)?;
    let Read { setting, mut warnings, others } = K::read(plan, target)?;
    let (allowed, mismatches) = sorted(others, target.flags.allow_mismatch)?;
    let is_of_others = !allowed.is_empty();
    warnings.extend(allowed);
    Ok(OnModel { setting, plan: Arc::clone(plan), warnings, is_of_others, mismatches })
}

/// Refuses flags that ask for another plan: all but what it runs on stands in the plan.
fn check_flags<K: Kind>(target: &ReplayRequest) -> Result<(), Diagnostic> {
    let mut given = fields::flags(&target.problem.given);
    given.retain(|flag| !K::FLAGS.contains(&flag.as_ref()));
    if given.is_empty() || K::FLAGS.is_empty() {
        return Ok(());
    }
    let given = given.join(", ");
    let message = format!("beside {}, {given} has no effect", K::KIND.words());
    Err(refused(K::KIND, message, &format!("leave out {given}")))
}

impl<K: Kind> OnModel<K> {
    /// What the plan decides and takes; what that warns of comes last.
    ///
    /// # Errors
    /// All rules that it breaks.
    pub fn judged(&mut self) -> Judged<K> {
        let judged = K::judge(&mut self.setting, &self.plan);
        let warned = self.legal(&judged).map(K::warned);
        self.warnings.extend(warned.into_iter().flatten());
        judged
    }

    fn legal<'o>(&'o self, judged: &'o Judged<K>) -> Option<Legal<'o, K>> {
        let judged = judged.as_ref().ok()?;
        Some(Legal { setting: &self.setting, plan: &self.plan, judged })
    }

    /// All rules that it breaks, and what it states in vain.
    pub fn violations(
        &self,
        judged: &Judged<K>,
        proof: Option<&Arc<AtomicBool>>,
    ) -> Vec<Diagnostic> {
        let on = match judged {
            Ok(judged) => Legal { setting: &self.setting, plan: &self.plan, judged },
            Err(broken) => return broken.clone(),
        };
        if self.is_of_others {
            return K::stated_on_others(on);
        }
        let algorithm = &self.plan.algorithm;
        if algorithm != BY_HAND && !matches!((K::IS_ROW)(algorithm), Ok(true)) {
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
    (K::PLAN)(request, run)
}

/// `verify`.
///
/// # Errors
/// Those of reading.
pub fn verify<K: Kind>(
    plan: &Arc<PlanDocument>,
    target: Target<'_>,
    (cancel, page): (Cancel<'_>, &Page),
) -> CommandResult {
    let mut on = examined::<K>(plan, target)?;
    let mut broken = std::mem::take(&mut on.mismatches);
    if let Some(mismatch) = broken.first() {
        let anywhere = K::broken_anywhere(&mut on);
        if anywhere.is_empty() {
            return Err(mismatch.clone());
        }
        broken.extend(anywhere);
    }
    let judged = on.judged();
    let stop = cancel();
    if broken.is_empty() {
        broken = on.violations(&judged, Some(&stop));
    }
    let noted = violations::noted(&mut broken);
    let warnings = [on.warnings.as_slice(), &noted].concat();
    let none = || Told { sentence: String::new(), figures: vec![(K::FIGURE, Value::Null)] };
    let statement = on.legal(&judged).map_or_else(none, K::told);
    let said = (statement, K::words(&on.setting));
    Ok(verdict((&broken, &warnings), said, (Rows::of(target.flags.all), &stop, page)))
}

/// Says whether a plan is legal; how the run ends.
pub fn verdict(
    (broken, warnings): (&[Diagnostic], &[Diagnostic]),
    (statement, [illegal, unproved]): (Told, [String; 2]),
    (rows, stop, page): (Rows, &AtomicBool, &Page),
) -> Exit {
    page.warnings(warnings);
    if let Some(exit) = violations::interrupted(broken, stop, page) {
        return exit;
    }
    violations::list(broken, rows, page);
    page.line(&match violations::is_legal(broken) {
        Some(true) => statement.sentence,
        Some(false) => format!("{illegal}: {}", violations::count(broken.len())),
        None => unproved,
    });
    let document = json!({
        "legal": violations::is_legal(broken), "violations": documents(broken),
        "truncated": broken.len() >= MAX_VIOLATIONS, "warnings": documents(warnings),
    });
    page.document(&with(statement.figures, document));
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
    if let Value::Object(object) = document {
        all.extend(object);
    }
    Value::Object(all)
}

/// Does something with a legal plan, or with one that is illegal and can be judged where that `may_be`, its
/// warnings and what it breaks; else the page says what is broken, and how the run ends.
///
/// # Errors
/// Those of reading.
pub fn with_legal<K: Kind, T>(
    plan: &Arc<PlanDocument>,
    target: Target<'_>,
    (may_be, page): (bool, &Page),
    then: impl FnOnce(Legal<'_, K>, Vec<Diagnostic>, &[Diagnostic]) -> Result<T, Diagnostic>,
) -> Result<Result<T, Exit>, Diagnostic> {
    let mut on = on_model::<K>(plan, target)?;
    let judged = on.judged();
    let warnings = std::mem::take(&mut on.warnings);
    let broken = match (&judged, K::HOLDS_CLAIMS) {
        (Ok(_), false) => Vec::new(),
        _ => on.violations(&judged, None),
    };
    match on.legal(&judged) {
        Some(legal) if may_be || broken.is_empty() => then(legal, warnings, &broken).map(Ok),
        _ => {
            let around = (Rows::of(target.flags.all), page);
            Ok(Err(K::instead(&on.setting, (&broken, &warnings), around)))
        }
    }
}

/// Tells of warnings; where plans that are illegal are explained, what they break stands alone.
pub fn warn<K: Kind>(warnings: &[Diagnostic], page: &Page) {
    if !K::EXPLAINS_ILLEGAL {
        page.warnings(warnings);
    }
}

/// `explain`.
///
/// # Errors
/// Those of reading, and of subjects that the plan does not have.
pub fn explain<K: Kind>(
    plan: &Arc<PlanDocument>,
    target: Target<'_>,
    (subject, layer): (&Subject, Option<u32>),
    page: &Page,
) -> CommandResult {
    (K::CHECK_SUBJECT)(subject)?;
    let rows = Rows::of(target.flags.all);
    let may_be = (K::EXPLAINS_ILLEGAL, page);
    let ended = with_legal::<K, _>(plan, target, may_be, |on, warnings, broken| {
        warn::<K>(&warnings, page);
        violations::list(broken, rows, page);
        let document = (K::EXPLAIN)(on, &Asked { subject, layer, rows, page })?;
        let mut beside = vec![("warnings", json!(documents(&warnings)))];
        if K::EXPLAINS_ILLEGAL {
            beside.push(("violations", json!(documents(broken))));
        }
        page.document(&with(beside, document));
        Ok(violations::exit(broken))
    })?;
    Ok(ended.unwrap_or_else(|exit| exit))
}

/// `simulate`.
///
/// # Errors
/// Those of [`Kind::simulate`]; [`PlanKind::refusal`] where plans have no steps.
pub fn simulate<K: Kind>(
    plan: &Arc<PlanDocument>,
    target: Target<'_>,
    micro_batches: Option<u64>,
    page: &Page,
) -> CommandResult {
    if !K::HAS_STEPS {
        let message = format!("{} has no steps that could be replayed", K::KIND.words());
        let hint = "`verify` derives its loads again, `explain` shows them";
        return Err(refused(K::KIND, message, hint));
    }
    K::simulate(plan, target, micro_batches, page)
}

/// How a replay ends that found these rules broken, with its document.
pub fn replayed(
    (broken, warnings): (&[Diagnostic], &[Diagnostic]),
    document: Value,
    page: &Page,
) -> Exit {
    let found = [("violations", documents(broken)), ("warnings", documents(warnings))];
    let found = found.map(|(name, list)| (name, json!(list))).to_vec();
    page.document(&with(found, document));
    violations::exit(broken)
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
    plan: &Arc<PlanDocument>,
    request: &ExportRequest,
    page: &Page,
) -> Result<Result<(Written, Vec<Diagnostic>), Exit>, Diagnostic> {
    check_target::<K>(&request.target)?;
    with_legal::<K, _>(plan, (&request.on).into(), (false, page), |on, mut warnings, _| {
        let (files, more) = match &request.launcher {
            Some(launcher) => K::folder(on, (request, launcher))?,
            None => {
                let export = K::export(on, &request.target)?;
                (vec![(request.target.clone(), export.bytes)], export.warnings)
            }
        };
        warnings.extend(more);
        Ok((files, warnings))
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
    let export = |target: &str| K::export(on, target);
    let files = exported(&request.exports, &export, &mut warnings);
    let named = request.executor.map(|executor| executor.text());
    let named = named.filter(|target| export(target).is_ok());
    let (stop_reason, told_of) = (stop_reason.to_owned(), documents(&warnings));
    let report = FoundDocument { plan, figures, stop_reason, elapsed_s, warnings: told_of };
    told(run, files, &report, |run, written| {
        let mut screen = Screen { warnings, written, ..screen(&report, run.page) };
        (screen.is_whole, screen.on) = (request.all, request.on());
        let target = named.or(screen.target.map(str::to_owned));
        let is_new = |target: &&String| !request.exports.contains(target);
        target.iter().filter(is_new).for_each(|target| screen.export(target));
        screen.next(|plan| format!("meshwright explain {plan}"), K::EXPLAINED);
        run.page.screen(screen);
    })
}

/// The files of a plan, or of what is no document yet; what they can't say becomes warnings.
///
/// # Errors
/// Those of the targets.
pub fn exported(
    formats: &[String],
    export: impl Fn(&str) -> Result<Export, Diagnostic>,
    warnings: &mut Vec<Diagnostic>,
) -> Files {
    let file = |format: &String| {
        let export = export(format)?;
        warnings.extend(export.warnings);
        Ok(File { target: format.clone(), bytes: export.bytes })
    };
    formats.iter().map(file).collect()
}

/// Of two plans that decide the same.
pub const SAME: &str = "the plans decide the same";

/// `compare`; where a model is given each is judged on it first. What the settings of the two are not alike
/// in comes before what they decide otherwise.
///
/// # Errors
/// Those of reading.
pub fn compare<K: Kind>(
    pair: Pair<'_>,
    unlike: Option<Diagnostic>,
    decided: impl FnOnce(Rows) -> Compared,
    page: &Page,
) -> CommandResult {
    let request = pair.request;
    page.warnings(pair.others);
    page.warnings(unlike.as_slice());
    if let Some(model) = &request.model {
        let target = Target::of(model, &request.target);
        let mut collected: Vec<Diagnostic> = Vec::new();
        for plan in [pair.a, pair.b] {
            match with_legal::<K, _>(plan, target, (false, page), |_, warnings, _| Ok(warnings))? {
                Ok(warnings) => add_new(&mut collected, warnings),
                Err(exit) => return Ok(exit),
            }
        }
        page.warnings(&collected);
    }
    let Compared { is_equal, differs, document } = decided(Rows::of(request.target.all));
    page.line(if is_equal { SAME } else { &differs });
    page.document(&with(vec![("equal", json!(is_equal))], document));
    Ok(ended(is_equal))
}

/// How a comparison ends, with its document.
pub fn compared((is_equal, warnings): (bool, &[Diagnostic]), document: Value, page: &Page) -> Exit {
    let members = vec![("equal", json!(is_equal)), ("warnings", json!(documents(warnings)))];
    page.document(&with(members, document));
    ended(is_equal)
}

const fn ended(is_equal: bool) -> Exit {
    if is_equal { Exit::DONE } else { Exit::DIFFERS }
}

/// Adds warnings that were not told yet.
pub fn add_new(known: &mut Vec<Diagnostic>, warnings: Vec<Diagnostic>) {
    let new = |warning: &Diagnostic| !known.contains(warning);
    let new: Vec<Diagnostic> = warnings.into_iter().filter(new).collect();
    known.extend(new);
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
