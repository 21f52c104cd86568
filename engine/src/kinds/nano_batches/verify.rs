//! A plan of nano-batches on its model and cluster again, and `verify` of it: orders, replay, and all that
//! it states, derived again.

use std::path::Path;

use cost_model::streams::verify as rules;
use documents::plan::PlanDocument;
use documents::plan::nano_batches::{InterferenceDocument, ServingDocument};
use ir::diagnostic::Diagnostic;
use ir::workload::StepPhase;
use planner::experts::dynaflow;

use super::decided::{self, Asked, Entry};
use super::row;
use super::setting::{Doing, Setting};
use crate::answer::differences::{self, difference};
use crate::answer::exit::{CommandResult, Exit};
use crate::answer::mismatch;
use crate::answer::page::Page;
use crate::answer::rows::Rows;
use crate::answer::violations;
use crate::inputs::plan_file::BY_HAND;
use crate::kinds::streams::verify::{check_flags, illegal, of_layers, others, request, verdict};
use crate::request::{PlanOnModel, ReplayRequest};

/// A plan of nano-batches and what it was made for.
pub struct OnModel<'d> {
    /// Model, devices and prices.
    pub setting: Setting,
    /// The plan as it is stated.
    pub document: &'d PlanDocument,
    /// What it decides, or why nothing.
    pub entries: Result<Vec<Entry>, String>,
    /// How it was made.
    pub asked: Asked,
    /// Of reading; where model, cluster or profile are others than it was made for, one each.
    pub warnings: Vec<Diagnostic>,
    /// Where they are and may not be, one each.
    pub mismatches: Vec<Diagnostic>,
}

/// Puts a plan on a model and the cluster of the flags.
///
/// # Errors
/// Those of [`Setting::read`]; `not-for-streams` for flags that it has no use for; `digest-mismatch` where
/// names differ.
pub fn examined<'d>(
    document: &'d PlanDocument,
    model: &Path,
    target: &ReplayRequest,
) -> Result<OnModel<'d>, Diagnostic> {
    check_flags(target)?;
    let serving = document.experts.serving.clone().unwrap_or_default();
    let phase = document.experts.phase.map(StepPhase::from).unwrap_or_default();
    if phase == StepPhase::Training {
        return Err(illegal("bad-phase", "a plan of nano-batches is of prefill or decode".into()));
    }
    let doing = Doing {
        phase,
        batch: document.workload.batch.unwrap_or_default(),
        cached: Some(serving.cached),
    };
    let asked = asked(document, &serving)?;
    let on = (model, document.experts.sequence_length);
    let rows = check_rows(&serving)?;
    let mut setting = Setting::read(on, &target.problem, (doing, asked.request.clone()), rows)?;
    let derived = decided::document(&setting, &[], (&asked, Vec::new()));
    let found = others(document, &derived);
    let (allowed, mismatches) = mismatch::sorted(found.into_iter(), target.allow_mismatch)?;
    let mut warnings = std::mem::take(&mut setting.run.warnings);
    warnings.extend(allowed);
    let entries = decided::read(&setting, document);
    Ok(OnModel { setting, document, entries, asked, warnings, mismatches })
}

/// The rows of a table as a file of them would be read.
fn check_rows(serving: &ServingDocument) -> Result<Vec<InterferenceDocument>, Diagnostic> {
    let line = |own: &InterferenceDocument| {
        format!("{},{},{},{}\n", own.op, own.beside, own.mode, own.factor)
    };
    let lines: String = serving.interference.iter().map(line).collect();
    importers::interference::of_text(&format!("op,beside,mode,factor\n{lines}"), super::KNOWN)
        .map_err(|error| error.fact("member", "experts.serving.interference"))
}

/// How a plan was made, as it states it.
fn asked(document: &PlanDocument, serving: &ServingDocument) -> Result<Asked, Diagnostic> {
    if let Some((used, door)) = row(&document.algorithm).ok().flatten() {
        return Asked::of((&used, door), request(document));
    }
    Ok(Asked {
        algorithm: document.algorithm.clone(),
        request: request(document),
        solve: dynaflow::solve,
        min_tokens: [serving.min_tokens; 2],
        min_gain: serving.min_gain,
    })
}

/// `verify`.
///
/// # Errors
/// Those of reading.
pub fn verify(document: &PlanDocument, request: &PlanOnModel, page: &Page) -> CommandResult {
    let on = examined(document, &request.model, &request.target)?;
    let entries = on.entries.as_deref().unwrap_or_default();
    let [seconds, ..] = decided::seconds(entries);
    let sentence = format!(
        "the plan is legal: {} layers on {} replicas of attention, {} layers of each kind replayed, step \
         time {:.3} ms",
        on.setting.layers.len(),
        on.setting.parallelism.data,
        cost_model::streams::period::REPLAYED,
        seconds * 1e3
    );
    Ok(verdict((&violations(&on), &on.warnings), (Some(seconds), &sentence), page))
}

/// A plan that is legal; or how the run ends, where it is not, which the page says.
///
/// # Errors
/// Those of reading.
pub fn legal<'d>(
    document: &'d PlanDocument,
    (model, target): (&Path, &ReplayRequest),
    page: &Page,
) -> Result<Result<OnModel<'d>, Exit>, Diagnostic> {
    let rows = Rows::of(target.all);
    let on = examined(document, model, target)?;
    page.warnings(&on.warnings);
    Ok(violations::instead(&self::violations(&on), rows, page).map_or(Ok(on), Err))
}

/// All rules that a plan breaks, and what it states in vain.
#[must_use]
pub fn violations(on: &OnModel<'_>) -> Vec<Diagnostic> {
    let mut found = on.mismatches.clone();
    found.extend(of_layers(on.document, &on.setting.layers));
    let entries = match &on.entries {
        Ok(entries) => entries,
        Err(why) => {
            found.push(illegal("bad-cell", why.clone()));
            return found;
        }
    };
    found.extend(entries.iter().flat_map(of_entry));
    let algorithm = &on.document.algorithm;
    if algorithm != BY_HAND && !matches!(row(algorithm), Ok(Some(_))) {
        found.push(difference("algorithm", algorithm, "a row that plans nano-batches"));
    }
    if found.len() == on.mismatches.len() {
        let thresholds = decided::thresholds(&on.setting, &on.asked);
        let derived = decided::document(&on.setting, entries, (&on.asked, thresholds));
        found.extend(differences::of_plans(on.document, &derived));
        found.extend(unstated(on.document, &derived));
    }
    found
}

/// Pairs of pieces of which a plan does not say how they share the device: none of a list is not stated.
fn unstated(stated: &PlanDocument, derived: &PlanDocument) -> Vec<Diagnostic> {
    let n = |plan: &PlanDocument| -> Vec<usize> {
        let layers = plan.experts.layers.iter().map(|own| own.nano_batches.as_ref());
        layers.map(|own| own.map_or(0, |own| own.beside.len())).collect()
    };
    let both = n(stated).into_iter().zip(n(derived)).enumerate();
    let lacking = both.filter(|(_, (own, other))| own < other);
    let told = |(at, (own, other)): (usize, (usize, usize))| {
        let field = format!("experts.layers[{at}].nano_batches.beside");
        difference(&field, &format!("{own} pairs"), &format!("{other} pairs"))
    };
    lacking.map(told).collect()
}

/// Rules of the timetable of the steady state, looked at without the replay that makes it.
fn of_entry(entry: &Entry) -> Vec<Diagnostic> {
    let split = &entry.cut.split;
    let n_layers = cost_model::streams::period::REPLAYED;
    let cell = split.period.layers(&entry.orders, n_layers);
    let Ok(times) = cost_model::streams::replay::replay(&cell, &split.slowdowns) else {
        return vec![illegal("bad-cell", "pieces wait for each other".to_owned())];
    };
    let broken = rules::verify(&cell, &times, &split.slowdowns);
    let told = |own: &rules::Violation| illegal("bad-cell", format!("{own:?}"));
    broken.first().map(told).into_iter().collect()
}
