//! A plan of streams on its model and cluster again, and `verify` of it: rules, orders, replay, and all
//! that it states, derived again.

use std::collections::BTreeSet;
use std::path::Path;

use cost_model::streams::moe_step::{Parts, Violation};
use cost_model::streams::replay::replay;
use cost_model::streams::{Slowdowns, verify as rules};
use documents::diagnostic::DiagnosticDocument;
use documents::plan::PlanDocument;
use documents::plan::request::RequestDocument;
use ir::diagnostic::{Blame, Diagnostic};
use serde_json::json;

use super::Does;
use super::decided::{self, Asked, Pass};
use super::setting::Setting;
use crate::answer::differences::{self, difference};
use crate::answer::exit::{CommandResult, Exit};
use crate::answer::mismatch;
use crate::answer::page::Page;
use crate::answer::rows::Rows;
use crate::answer::violations;
use crate::answer::words::ranges;
use crate::inputs::plan_file::BY_HAND;
use crate::request::{PlanOnModel, ReplayRequest};

/// What times may be off by, as a part of them: they went through whole nanoseconds.
const TOLERANCE: f64 = 1e-9;

/// A plan of streams and what it was made for.
pub struct OnModel<'d> {
    /// Model, devices and prices.
    pub setting: Setting,
    /// The plan as it is stated.
    pub document: &'d PlanDocument,
    /// What it decides, layer by layer.
    pub parts: Vec<Parts>,
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
    let asked = asked(document);
    let sequence = document.experts.sequence_length;
    let problem = &target.problem;
    let mut setting =
        Setting::read((model, sequence), problem, (asked.batch, asked.request.clone()))?;
    let derived = decided::document(&setting, &[], &asked, 0.0);
    let found = others(document, &derived);
    let (allowed, mismatches) = mismatch::sorted(found.into_iter(), target.allow_mismatch)?;
    let mut warnings = std::mem::take(&mut setting.run.warnings);
    warnings.extend(allowed);
    let parts = decided::parts(document, setting.model.layers.len());
    Ok(OnModel { setting, document, parts, warnings, mismatches })
}

/// Where model, cluster or profile are others than a plan was made for.
pub(crate) fn others(document: &PlanDocument, derived: &PlanDocument) -> Vec<Diagnostic> {
    let pairs = [
        ("model", &document.model, &derived.model),
        ("cluster", &document.cluster, &derived.cluster),
        ("profile", &document.profile, &derived.profile),
    ];
    let found = pairs.into_iter().filter(|(_, own, now)| own.digest != now.digest);
    found.map(|(what, own, now)| mismatch::mismatch(what, own, now, false)).collect()
}

/// What of a request a plan of a step may state.
pub(crate) fn request(document: &PlanDocument) -> RequestDocument {
    let RequestDocument { expert_skew, kv_dtype, .. } = document.request.clone();
    RequestDocument { expert_skew, kv_dtype, ..RequestDocument::default() }
}

/// What a plan was asked for, as it states it.
pub(crate) fn asked(document: &PlanDocument) -> Asked {
    Asked {
        batch: document.workload.batch.unwrap_or_default(),
        request: request(document),
        algorithm: document.algorithm.clone(),
    }
}

/// Refuses flags that ask for another step: all but what it runs on stands in the plan.
pub(crate) fn check_flags(target: &ReplayRequest) -> Result<(), Diagnostic> {
    let mut given = crate::request::fields::flags(&target.problem.given);
    given.retain(|flag| *flag != "--cluster" && *flag != "--profile");
    if given.is_empty() {
        return Ok(());
    }
    let given = given.join(", ");
    let message = format!("beside a plan of streams, {given} has no effect");
    Err(Diagnostic::usage("not-for-streams", message).hint(format!("leave out {given}")))
}

/// `verify`.
///
/// # Errors
/// Those of reading.
pub fn verify(document: &PlanDocument, request: &PlanOnModel, page: &Page) -> CommandResult {
    let on = examined(document, &request.model, &request.target)?;
    let seconds = on.setting.model.seconds(&on.parts);
    let sentence = format!(
        "the plan is legal: {} layers on {} hosts, {} pieces replayed, step time {:.3} ms",
        on.parts.len(),
        on.setting.hosts,
        n_pieces(document),
        seconds * 1e3
    );
    Ok(verdict((&violations(&on), &on.warnings), (Some(seconds), &sentence), page))
}

/// Says whether a plan is legal, and with a sentence how; how the run ends.
pub(crate) fn verdict(
    (broken, warnings): (&[Diagnostic], &[Diagnostic]),
    (seconds, sentence): (Option<f64>, &str),
    page: &Page,
) -> Exit {
    page.warnings(warnings);
    page.warnings(broken);
    match broken.len() {
        0 => page.line(sentence),
        n => page.line(&format!("the plan is illegal: {}", violations::count(n))),
    }
    let list =
        |found: &[Diagnostic]| -> Vec<_> { found.iter().map(DiagnosticDocument::from).collect() };
    page.document(&json!({
        "legal": violations::is_legal(broken),
        "seconds": seconds,
        "violations": list(broken),
        "warnings": list(warnings),
    }));
    violations::exit(broken)
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

pub(crate) fn n_pieces(document: &PlanDocument) -> usize {
    let streams = document.schedule.cells.iter().flat_map(|own| &own.streams);
    streams.map(|own| own.pieces.len()).sum()
}

/// All rules that a plan breaks, and what it states in vain.
#[must_use]
pub fn violations(on: &OnModel<'_>) -> Vec<Diagnostic> {
    let mut found = on.mismatches.clone();
    found.extend(of_layers(on.document, &on.setting.model.layers));
    let broken = on.setting.model.verify(&on.parts);
    found.extend(broken.iter().map(diagnosed));
    if found.len() == on.mismatches.len() {
        found.extend(of_cells(on));
    }
    let algorithm = &on.document.algorithm;
    if algorithm != BY_HAND && !matches!(super::row(algorithm), Ok(Some((_, Does::Cuts(_))))) {
        found.push(difference("algorithm", algorithm, "a row that plans streams"));
    }
    if found.len() == on.mismatches.len() {
        let derived = decided::derived(&on.setting, on.document, &asked(on.document));
        found.extend(differences::of_plans(on.document, &derived));
    }
    found
}

/// Whether every layer is there, once, beside others of its kind.
pub(crate) fn of_layers(document: &PlanDocument, layers: &[usize]) -> Vec<Diagnostic> {
    let mut there = BTreeSet::new();
    let mut found = Vec::new();
    for own in &document.experts.layers {
        let kind = |layer: &u32| layers.get(*layer as usize);
        for layer in &own.layers {
            if !there.insert(*layer) {
                found.push(illegal("layer-twice", format!("layer {layer} is planned twice")));
            }
            match kind(layer) {
                None => {
                    let message = format!("layer {layer} of the plan is none of the model");
                    found.push(illegal("no-such-layer", message));
                }
                same if same != own.layers.first().and_then(kind) => {
                    let message = format!("layer {layer} is planned beside layers of another kind");
                    found.push(illegal("other-layers", message));
                }
                Some(_) => {}
            }
        }
    }
    let missing: Vec<u32> =
        (0..layers.len() as u32).filter(|layer| !there.contains(layer)).collect();
    if !missing.is_empty() {
        let message = format!("the layers {} are not planned", ranges(&missing));
        found.push(illegal("layers-missing", message));
    }
    found
}

/// Whether the cells are those of all passes, in legal orders that take no longer than what is decided.
fn of_cells(on: &OnModel<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut cells = on.document.schedule.cells.iter();
    for (at, entry) in on.document.experts.layers.iter().enumerate() {
        let first = entry.layers.first().copied().unwrap_or_default();
        for pass in [Pass::Forward, Pass::Backward] {
            let own = decided::of_entry(entry);
            let Some(cell) = decided::of_pass(&on.setting, first, &own, pass) else { continue };
            let name = decided::name(at, pass);
            let wrong = |why: String| illegal("bad-cell", format!("cell `{name}`: {why}"));
            let Some(stated) = cells.next().filter(|own| own.cell == name) else {
                found.push(wrong("it is not there, or out of order".to_owned()));
                return found;
            };
            let ordered = match decided::ordered(&cell, stated) {
                Ok(ordered) => ordered,
                Err(why) => {
                    found.push(wrong(why));
                    continue;
                }
            };
            let broken = rules::cell(&ordered);
            if let Some(first) = broken.first() {
                found.push(wrong(format!("{first:?}")));
                continue;
            }
            let none = Slowdowns::default();
            let (Ok(times), Ok(usual)) = (replay(&ordered, &none), replay(&cell, &none)) else {
                found.push(wrong("its pieces wait for each other".to_owned()));
                continue;
            };
            let broken = rules::verify(&ordered, &times, &none);
            found.extend(broken.first().map(|first| wrong(format!("{first:?}"))));
            if times.seconds() > usual.seconds() * (1.0 + TOLERANCE) {
                let (own, usual) = (times.seconds() * 1e3, usual.seconds() * 1e3);
                found.push(wrong(format!("its orders take {own:.6} ms, not {usual:.6}")));
            }
        }
    }
    if let Some(more) = cells.next() {
        found.push(illegal("bad-cell", format!("cell `{}` is of no entry", more.cell)));
    }
    found
}

pub(crate) fn illegal(code: &'static str, message: String) -> Diagnostic {
    Diagnostic::error(Blame::IllegalPlan, code, message)
}

/// A broken rule in words.
fn diagnosed(broken: &Violation) -> Diagnostic {
    let (code, message) = match broken {
        Violation::OtherLayers { stated, layers } => {
            ("layers-missing", format!("{stated} layers are planned, and the model has {layers}"))
        }
        Violation::BadParts { layer, parts } => {
            ("bad-parts", format!("layer {layer} can't be cut into {parts} parts"))
        }
        Violation::TooEarly { layer, sent, existing } => (
            "gradients-too-early",
            format!("by layer {layer} {sent} bytes of gradients are sent, and {existing} exist"),
        ),
    };
    illegal(code, message)
}
