//! A pipeline that serves on its model and cluster again: `verify` and `simulate` of it.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cost_model::runs::served::bound::{EVERY, SPREAD, is_below, spread};
use cost_model::runs::served::{Judged, Piece, Violation};
use documents::diagnostic::DiagnosticDocument;
use documents::plan::PlanDocument;
use ir::diagnostic::{Blame, Diagnostic};
use ir::units::Bytes;
use serde_json::json;

use super::setting::Setting;
use super::{decided, refused, row};
use crate::answer::differences::{self, difference};
use crate::answer::energy::above_cap;
use crate::answer::exit::{Cancel, CommandResult, Exit};
use crate::answer::mismatch;
use crate::answer::page::Page;
use crate::answer::rows::Rows;
use crate::answer::violations;
use crate::inputs::plan_file::{self, BY_HAND};
use crate::kinds::streams::verify::{others, verdict};
use crate::request::fields;
use crate::request::{PlanOnModel, ReplayRequest};

/// Longest look at a bound.
const LONGEST: Duration = Duration::from_secs(60);

/// A pipeline and what it was made for.
pub struct OnModel<'d> {
    /// Model, devices and prices.
    pub setting: Setting,
    /// The plan as it is stated.
    pub document: &'d PlanDocument,
    /// Its stages and what they take, where they are legal.
    pub judged: Result<(Vec<Piece>, Judged), Diagnostic>,
    /// Of reading.
    pub warnings: Vec<Diagnostic>,
    /// Where model, cluster or profile are others than it was made for, one each.
    pub mismatches: Vec<Diagnostic>,
}

/// A pipeline that is legal on its model: its stages and what they take.
pub type Legal<'d> = (OnModel<'d>, Vec<Piece>, Judged);

/// Puts a plan on a model and the cluster of the flags.
///
/// # Errors
/// Those of [`Setting::read`]; `not-for-serving` for flags that it has no use for; `digest-mismatch` where
/// names differ.
pub fn examined<'d>(
    document: &'d PlanDocument,
    (model, target): (&Path, &ReplayRequest),
) -> Result<OnModel<'d>, Diagnostic> {
    check_flags(target)?;
    let Some(served) = &document.served else {
        return Err(refused("the plan is of no pipeline that serves", "give one that is"));
    };
    let asked = decided::asked(document, served)?;
    let mut problem = target.problem.clone();
    problem.model.dtype = plan_file::workload(&document.workload)?.dtype;
    let mut setting = Setting::read(model, &problem, asked)?;
    let derived = decided::document(&setting, (&[], &Judged::default()), ("", 0, ""));
    let found = others(document, &derived);
    let (allowed, mismatches) = mismatch::sorted(found.into_iter(), target.allow_mismatch)?;
    let mut warnings = std::mem::take(&mut setting.run.warnings);
    warnings.extend(allowed);
    let judged = decided::pieces(&setting, document)
        .map_err(|why| illegal("stage-devices", why))
        .and_then(|pieces| {
            let judged = setting.costs.judge(&pieces, setting.goal);
            let judged = judged.map_err(|own| diagnosed(&setting, &own))?;
            Ok((pieces, judged))
        });
    Ok(OnModel { setting, document, judged, warnings, mismatches })
}

/// Refuses flags that ask for another batch: all but what it runs on stands in the plan.
fn check_flags(target: &ReplayRequest) -> Result<(), Diagnostic> {
    let mut given = fields::flags(&target.problem.given);
    given.retain(|flag| !["--cluster", "--profile", "--scale"].contains(&flag.as_ref()));
    if given.is_empty() {
        return Ok(());
    }
    let given = given.join(", ");
    let message = format!("beside a pipeline that serves, {given} has no effect");
    Err(refused(message, &format!("leave out {given}")))
}

fn illegal(code: &'static str, message: String) -> Diagnostic {
    Diagnostic::error(Blame::IllegalPlan, code, message)
}

/// A broken rule in words.
fn diagnosed(setting: &Setting, broken: &Violation) -> Diagnostic {
    match *broken {
        Violation::Blocks { stage } => {
            let message =
                format!("stage {stage} does not begin where the one before ends, or has no blocks");
            illegal("stages-lose-blocks", message)
        }
        Violation::Unfinished => {
            let n = setting.costs.n_blocks();
            illegal(
                "stages-lose-blocks",
                format!("the stages do not end with the last of {n} blocks"),
            )
        }
        Violation::Twice { device } => {
            illegal("stage-devices", format!("`{}` has two stages", setting.name(device)))
        }
        Violation::Unreachable { from, to } => {
            let [from, to] = [from, to].map(|own| setting.name(own));
            illegal(
                "unreachable-devices",
                format!("`{from}` does not reach `{to}`, to which it sends"),
            )
        }
        Violation::Memory { stage, bytes, limit } => {
            let (holds, may) = (Bytes(bytes), Bytes(limit));
            let message = format!("stage {stage} holds {holds}, and its device may hold {may}");
            illegal("memory-exceeded", message).fact("bytes", bytes).fact("limit", limit)
        }
    }
}

/// All rules that a plan breaks, and what it states in vain.
#[must_use]
pub fn violations(on: &OnModel<'_>, cancel: Cancel<'_>) -> Vec<Diagnostic> {
    let mut found = on.mismatches.clone();
    let algorithm = &on.document.algorithm;
    if algorithm != BY_HAND && !matches!(row(algorithm), Ok(Some(_))) {
        found.push(difference("algorithm", algorithm, "a row that plans pipelines that serve"));
    }
    let (pieces, judged) = match &on.judged {
        Ok(own) => own,
        Err(why) => {
            found.push(why.clone());
            return found;
        }
    };
    let (bound, method, unchecked) = bound(on, judged.period, cancel);
    let own = (algorithm.as_str(), bound, method.as_str());
    let derived = decided::document(&on.setting, (pieces, judged), own);
    found.extend(differences::of_plans(on.document, &derived));
    found.extend(unchecked);
    let energy = on.document.energy.as_ref();
    found.extend(energy.and_then(|own| above_cap(own, &on.document.request)));
    found
}

/// The bound derived again, by the method that the plan names, and what could not be.
fn bound(on: &OnModel<'_>, period: u64, cancel: Cancel<'_>) -> (u64, String, Option<Diagnostic>) {
    let Setting { costs, goal, .. } = &on.setting;
    let cost = on.document.cost.as_ref();
    let method = cost.map_or("", |own| own.bound_method.as_str());
    let formula = spread(costs, *goal);
    let stated = cost.map_or(0, |own| own.bound_ns);
    if method != EVERY || stated > period {
        return (formula, SPREAD.to_owned(), None);
    }
    let end = Instant::now() + LONGEST;
    let stopped = cancel();
    let is_over = || Instant::now() >= end || stopped.load(Ordering::Relaxed);
    let none = is_below(costs, *goal, stated, &is_over);
    // The least period of all, not any number below it.
    let least = is_below(costs, *goal, stated.saturating_add(1), &is_over);
    match (none, least) {
        (Some(false), Some(true)) => (stated, EVERY.to_owned(), None),
        (Some(true), _) => (formula, EVERY.to_owned(), None),
        (_, Some(false)) => (formula, SPREAD.to_owned(), None),
        _ => {
            let search = "all pipelines, class by class of devices, for a minute".to_owned();
            let told = violations::unchecked("cost.bound_ns", stated, formula, search);
            (stated, EVERY.to_owned(), Some(told))
        }
    }
}

/// `verify`.
///
/// # Errors
/// Those of reading.
pub fn verify(
    document: &PlanDocument,
    request: &PlanOnModel,
    (cancel, page): (Cancel<'_>, &Page),
) -> CommandResult {
    let on = examined(document, (&request.model, &request.target))?;
    let broken = violations(&on, cancel);
    let period = on.judged.as_ref().map_or(0, |own| own.1.period);
    let stages = match document.partition.stages.len() {
        1 => "1 stage".to_owned(),
        n => format!("{n} stages"),
    };
    let sentence = format!(
        "the plan is legal: {} blocks in {stages}, {:.1} tokens/s",
        on.setting.costs.n_blocks(),
        on.setting.tokens_per_s(period)
    );
    Ok(verdict((&broken, &on.warnings), (Some(period as f64 / 1e9), &sentence), page))
}

/// A plan that is legal, whatever it states of itself; or how the run ends, which the page says.
///
/// # Errors
/// Those of reading.
pub fn legal<'d>(
    document: &'d PlanDocument,
    (model, target): (&Path, &ReplayRequest),
    page: &Page,
) -> Result<Result<Legal<'d>, Exit>, Diagnostic> {
    let on = examined(document, (model, target))?;
    page.warnings(&on.warnings);
    let mut broken = on.mismatches.clone();
    broken.extend(on.judged.as_ref().err().cloned());
    if let Some(exit) = violations::instead(&broken, Rows::of(target.all), page) {
        return Ok(Err(exit));
    }
    let (pieces, judged) = on.judged.clone()?;
    Ok(Ok((on, pieces, judged)))
}

/// `simulate`: what the stages take, whatever the plan states of them.
///
/// # Errors
/// Those of reading.
pub fn simulate(document: &PlanDocument, request: &PlanOnModel, page: &Page) -> CommandResult {
    let on = (request.model.as_path(), &request.target);
    let (on, pieces, judged) = match legal(document, on, page)? {
        Ok(own) => own,
        Err(exit) => return Ok(exit),
    };
    let rows = Rows::of(request.target.all);
    super::explain::table(&on.setting, (&pieces, &judged), (rows, page));
    page.line(&super::explain::sentence(&on.setting, &judged));
    page.document(&json!({
        "period_seconds": judged.period as f64 / 1e9,
        "latency_seconds": judged.latency as f64 / 1e9,
        "tokens_per_s": on.setting.tokens_per_s(judged.period),
        "in_flight": judged.in_flight,
        "stages": super::explain::told(&on.setting, (&pieces, &judged)),
        "warnings": on.warnings.iter().map(DiagnosticDocument::from).collect::<Vec<_>>(),
    }));
    Ok(Exit::DONE)
}
