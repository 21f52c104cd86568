//! A plan of two groups of devices on its model and cluster again, and `verify` of it: rules, memory,
//! conservation, orders, replay, and all that it states, derived again.

use std::path::Path;
use std::sync::Arc;

use cost_model::experts::verify::verify as rules;
use cost_model::experts::{Copies, Shape, greatest, shares};
use cost_model::runs::forms::block::groups::Priced;
use cost_model::streams::groups::{Cut, Split};
use cost_model::streams::{Cell, verify as timed};
use documents::plan::PlanDocument;
use documents::plan::disaggregated::{DisaggregatedDocument, SplitDocument};
use documents::plan::experts::ExpertLayersDocument;
use ir::card::Skew;
use ir::diagnostic::Diagnostic;
use ir::workload::StepPhase;
use planner::experts::findep::{MOST_MICRO_BATCHES, MOST_PARTS, MOST_PIECES, least_s};
use planner::experts::naive;

use super::decided::{self, Decided, cells, replayed, whole};
use super::setting::{Setting, Visited};
use crate::answer::differences::{self, difference};
use crate::answer::exit::{CommandResult, Exit};
use crate::answer::mismatch::sorted;
use crate::answer::page::Page;
use crate::answer::rows::Rows;
use crate::answer::violations;
use crate::answer::words::ranges;
use crate::inputs::plan_file::BY_HAND;
use crate::inputs::run::model;
use crate::kinds::streams::decided::ordered;
use crate::kinds::streams::verify::{
    asked, check_flags, illegal, n_pieces, of_layers, others, verdict,
};
use crate::kinds::streams::{Does, row};
use crate::request::value::Written;
use crate::request::{ExpertSkew, PlanOnModel, ReplayRequest};

/// What figures may be off by, as a part of them.
const TOLERANCE: f64 = 1e-9;

/// A plan of two groups and what it was made for.
pub struct OnModel<'d> {
    /// Model, devices and prices.
    pub setting: Setting,
    /// The plan as it is stated.
    pub document: &'d PlanDocument,
    /// Of reading; where model, cluster or profile are others than it was made for, one each.
    pub warnings: Vec<Diagnostic>,
    /// Where they are and may not be, one each.
    pub mismatches: Vec<Diagnostic>,
}

/// What a legal plan decides, and what it takes.
pub struct Judged {
    /// Decisions.
    pub decided: Decided,
    /// Prices.
    pub priced: Priced,
    /// By kind of layer its cell, in the orders that are stated.
    pub cells: Vec<Cell>,
    /// Seconds of all layers by the replay.
    pub seconds: f64,
}

/// Puts a plan on a model and the cluster of the flags.
///
/// # Errors
/// Those of [`Setting::read`]; `not-for-streams` for flags that it has no use for; `digest-mismatch` where
/// names differ; `bad-plan` for a skew that is none.
pub fn examined<'d>(
    document: &'d PlanDocument,
    model: &Path,
    target: &ReplayRequest,
) -> Result<OnModel<'d>, Diagnostic> {
    check_flags(target)?;
    let own = &document.experts;
    let visited = match &document.request.expert_skew {
        Some(text) => {
            let skew = Skew::read(text).map_err(|needed| {
                let message = format!("`{text}` is no skew of experts: it {needed}");
                Diagnostic::input("bad-plan", message).fact("member", "request.expert_skew")
            })?;
            Visited::Asked(Some(ExpertSkew::Law(skew)))
        }
        None => {
            let stated = own.layers.iter().filter(|own| !own.visits.is_empty());
            Visited::Stated(stated.map(|own| (own.layers.clone(), own.visits.clone())).collect())
        }
    };
    let step = (
        own.phase.map_or(StepPhase::Prefill, StepPhase::from),
        document.workload.batch.unwrap_or_default(),
        model::cache_type(document.request.kv_dtype.as_deref())?,
    );
    let on = (model, own.sequence_length);
    let mut setting = Setting::read(on, &target.problem, &visited, step)?;
    let none = Decided { split: Split::default(), by_length: Vec::new(), copies: Vec::new() };
    let derived = decided::document(&setting, &none, &asked(document), (&[], 0.0, 0.0));
    let found = others(document, &derived);
    let (allowed, mismatches) = sorted(found.into_iter(), target.allow_mismatch)?;
    let mut warnings = std::mem::take(&mut setting.run.warnings);
    warnings.extend(allowed);
    Ok(OnModel { setting, document, warnings, mismatches })
}

/// `verify`.
///
/// # Errors
/// Those of reading.
pub fn verify(document: &PlanDocument, request: &PlanOnModel, page: &Page) -> CommandResult {
    let mut on = examined(document, &request.model, &request.target)?;
    let judged = judged(&mut on);
    let mut broken = on.mismatches.clone();
    broken.extend(judged.as_ref().err().into_iter().flatten().cloned());
    let seconds = judged.as_ref().ok().map(|own| own.seconds);
    let sentence = judged.as_ref().map(|own| sentence(&on, own)).unwrap_or_default();
    Ok(verdict((&broken, &on.warnings), (seconds, &sentence), page))
}

fn sentence(on: &OnModel<'_>, own: &Judged) -> String {
    let Split { groups: [attention, experts], .. } = own.decided.split;
    format!(
        "the plan is legal: {} layers on {attention} + {experts} devices, prices derived again, visits \
         conserved, memory within limits, {} pieces of a layer of each kind replayed through all layers, \
         the bound held against the cost; step time {:.3} ms",
        on.setting.layers.len(),
        n_pieces(on.document),
        own.seconds * 1e3
    )
}

/// A plan that is legal and what it takes; or how the run ends, where it is not, which the page says.
///
/// # Errors
/// Those of reading.
pub fn legal<'d>(
    document: &'d PlanDocument,
    (model, target): (&Path, &ReplayRequest),
    page: &Page,
) -> Result<Result<(OnModel<'d>, Judged), Exit>, Diagnostic> {
    let rows = Rows::of(target.all);
    let mut on = examined(document, model, target)?;
    let found = judged(&mut on);
    page.warnings(&on.warnings);
    let mut broken = on.mismatches.clone();
    broken.extend(found.as_ref().err().into_iter().flatten().cloned());
    let exit = violations::instead(&broken, rows, page);
    let found = found.map_err(|_| Exit::DONE);
    Ok(exit.map_or(found, Err).map(|own| (on, own)))
}

/// What a plan decides and takes, or all rules that it breaks and what it states in vain.
///
/// # Errors
/// The rules.
pub fn judged(on: &mut OnModel<'_>) -> Result<Judged, Vec<Diagnostic>> {
    let document = on.document;
    let Some(stated) = &document.experts.disaggregated else {
        return Err(vec![illegal("bad-groups", "the plan states no groups of devices".to_owned())]);
    };
    let split = split(&on.setting, stated)?;
    let found = of_layers(document, &on.setting.layers);
    if !found.is_empty() || document.experts.layers.len() != on.setting.kinds.len() {
        let message = format!("the model has {} kinds of layers", on.setting.kinds.len());
        let found = if found.is_empty() { vec![illegal("other-layers", message)] } else { found };
        return Err(found);
    }
    let copies = copies(&mut on.setting, document, stated)?;
    let mut by_length = Vec::new();
    for own in &stated.by_length {
        let step = sizes(&own.step, split.groups);
        let Some(step) = step.filter(|_| own.tokens > 0) else {
            let message = format!("what is best of {} tokens is no step", own.tokens);
            return Err(vec![illegal("bad-parts", message)]);
        };
        by_length.push((own.tokens, step));
    }
    let priced = on.setting.priced(on.setting.run.sequence);
    let decided = Decided { split, by_length, copies };
    let broken = limits(&on.setting, &decided, stated);
    if !broken.is_empty() {
        return Err(broken);
    }
    check_lengths(&on.setting, &decided)?;
    let (cells, seconds) = of_cells(on, &priced, &split)?;
    let own = Judged { decided, priced, cells, seconds };
    let found = stated_wrong(on, &own);
    if found.is_empty() { Ok(own) } else { Err(found) }
}

/// The lengths beside which a plan is stated, each once and in order, with its own step.
fn check_lengths(
    setting: &Setting,
    Decided { split, by_length, .. }: &Decided,
) -> Result<(), Vec<Diagnostic>> {
    let is_planned = |tokens: &u64| {
        naive::solve(&setting.problem(*tokens, (Some(split.groups), &Arc::default()))).is_some()
    };
    let wanted: Vec<u64> = setting.lengths().into_iter().filter(is_planned).collect();
    if !by_length.iter().map(|own| &own.0).eq(&wanted) {
        let message = format!("`by_length` is of {wanted:?} tokens, in this order");
        return Err(vec![illegal("bad-lengths", message)]);
    }
    let own = by_length.iter().find(|own| own.0 == setting.run.sequence);
    match own.is_none_or(|own| own.1 == *split) {
        true => Ok(()),
        false => {
            let message = "`by_length` has another step of the plan's own length".to_owned();
            Err(vec![illegal("bad-lengths", message)])
        }
    }
}

/// Groups and sizes.
fn split(setting: &Setting, stated: &DisaggregatedDocument) -> Result<Split, Vec<Diagnostic>> {
    let one = |code, message: String| Err(vec![illegal(code, message)]);
    let devices = setting.run.cluster.devices.iter().map(|own| &own.name);
    let named = stated.attention.iter().chain(&stated.experts);
    if stated.attention.is_empty() || stated.experts.is_empty() || !named.eq(devices) {
        let message =
            "groups are the first devices of the cluster, which hold attention, and all others";
        return one("bad-groups", message.to_owned());
    }
    let groups = [&stated.attention, &stated.experts].map(|own| own.len() as u32);
    match sizes(&stated.step, groups) {
        Some(split) => Ok(split),
        None => one(
            "bad-parts",
            format!(
                "{} samples, {} micro-batches, {} parts, `{}`: from 1 to {MOST_MICRO_BATCHES} and \
                 {MOST_PARTS}, {MOST_PIECES} together, `asas` or `aass`",
                stated.step.samples,
                stated.step.micro_batches,
                stated.step.parts,
                stated.step.order
            ),
        ),
    }
}

fn sizes(own: &SplitDocument, groups: [u32; 2]) -> Option<Split> {
    let Split { samples, cut: Cut { micro_batches, parts, .. }, .. } = decided::split(own, groups)?;
    let is_sound = samples > 0
        && (1..=MOST_MICRO_BATCHES).contains(&micro_batches)
        && (1..=MOST_PARTS).contains(&parts)
        && micro_batches * parts <= MOST_PIECES;
    decided::split(own, groups).filter(|_| is_sound)
}

/// Copies of the experts of each kind of layers, by whose greatest load it is priced.
fn copies(
    setting: &mut Setting,
    document: &PlanDocument,
    stated: &DisaggregatedDocument,
) -> Result<Vec<Copies>, Vec<Diagnostic>> {
    let n_devices = stated.experts.len();
    let n_experts = setting.experts.experts.n_experts as usize;
    let slots = n_experts.div_ceil(n_devices);
    let shape = Shape { host: vec![0; n_devices], slots, groups: 1 };
    let number = |name: &String| stated.experts.iter().position(|own| own == name);
    let place = |own: &ExpertLayersDocument| -> Copies {
        let each = |names: &Vec<String>| {
            names.iter().map(|name| number(name).unwrap_or(n_devices)).collect()
        };
        own.devices_of_expert.iter().map(each).collect()
    };
    let mut all = Vec::new();
    for (own, kind) in document.experts.layers.iter().zip(&mut setting.kinds) {
        let first = own.layers.first().copied().unwrap_or_default();
        let copies = place(own);
        if !setting.experts.layers.contains(&first) {
            all.push(copies);
            continue;
        }
        let told = |what: String| {
            let message = format!("layers {}: {what}", ranges(&own.layers));
            vec![illegal("bad-experts", message)]
        };
        let visits = shares(&own.visits).filter(|own| own.len() == n_experts);
        let visits = visits.ok_or_else(|| told(format!("no visits of {n_experts} experts")))?;
        if let Some(first) = rules(&copies, n_experts, &shape).first() {
            return Err(told(format!("{first:?}")));
        }
        if let Some(load) = kind.loads.get_mut(n_devices - 1) {
            *load = greatest(&visits, &copies, n_devices);
        }
        all.push(copies);
    }
    Ok(all)
}

/// Samples, memory and visits.
fn limits(setting: &Setting, decided: &Decided, stated: &DisaggregatedDocument) -> Vec<Diagnostic> {
    let split = &decided.split;
    let mut found = Vec::new();
    for (tokens, own) in [(setting.run.sequence, *split)].iter().chain(decided.by_length.iter()) {
        if own.of_step() > setting.batch {
            let message = format!("a step of {} samples, at most {}", own.of_step(), setting.batch);
            found.push(illegal("too-many-samples", message));
        }
        let priced = setting.priced(*tokens);
        let bytes = priced.bytes(decided::held(own), own.groups[1]);
        let over = bytes.iter().find(|own| priced.limit().is_some_and(|limit| **own > limit));
        if let (Some(bytes), Some(limit)) = (over, priced.limit()) {
            let message = format!(
                "samples of {tokens} tokens: a device holds {bytes} bytes, at most {limit}"
            );
            found.push(illegal("memory", message));
        }
    }
    let experts = &setting.experts.experts;
    let priced = setting.priced(setting.run.sequence);
    let visits = split.tokens(&priced) as f64 * experts.per_token as f64;
    let parts = f64::from(split.cut.parts) * experts.n_experts as f64;
    if (stated.tokens_per_expert * parts - visits).abs() > TOLERANCE * visits {
        let message = format!(
            "{} tokens of an expert in a part are {} visits of a micro-batch, which has {visits}",
            stated.tokens_per_expert,
            stated.tokens_per_expert * parts
        );
        found.push(illegal("not-conserved", message));
    }
    found
}

/// Cells in the orders that are stated, and seconds of all layers in them.
fn of_cells(
    on: &OnModel<'_>,
    priced: &Priced,
    split: &Split,
) -> Result<(Vec<Cell>, f64), Vec<Diagnostic>> {
    let usual = cells(&on.setting, priced, split);
    let stated = &on.document.schedule.cells;
    let wrong = |at: usize, why: String| vec![illegal("bad-cell", format!("cell `{at}F`: {why}"))];
    if stated.len() != usual.len() {
        return Err(wrong(stated.len().min(usual.len()), "it is of no entry, or not there".into()));
    }
    let mut found = Vec::new();
    for (at, (cell, own)) in usual.iter().zip(stated).enumerate() {
        if own.cell != format!("{at}F") {
            return Err(wrong(at, "it is not there, or out of order".to_owned()));
        }
        let own = ordered(cell, own).map_err(|why| wrong(at, why))?;
        if own.streams != cell.streams {
            let order = split.cut.turns.name();
            return Err(wrong(at, format!("its pieces are not in the order `{order}`")));
        }
        found.push(own);
    }
    let all = whole(&on.setting, &found);
    if let Some(first) = timed::cell(&all).first() {
        return Err(wrong(0, format!("{first:?}")));
    }
    let (Some(times), Some(best)) = (replayed(&all), replayed(&whole(&on.setting, &usual))) else {
        return Err(wrong(0, "pieces wait for each other".to_owned()));
    };
    if let Some(first) = timed::verify(&all, &times, &Default::default()).first() {
        return Err(wrong(0, format!("{first:?}")));
    }
    if times.seconds() > best.seconds() * (1.0 + TOLERANCE) {
        let (own, best) = (times.seconds() * 1e3, best.seconds() * 1e3);
        return Err(wrong(0, format!("orders take {own:.6} ms, not {best:.6}")));
    }
    Ok((found, times.seconds()))
}

/// What else is stated, derived again.
fn stated_wrong(on: &OnModel<'_>, own: &Judged) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let algorithm = &on.document.algorithm;
    if algorithm != BY_HAND && !matches!(row(algorithm), Ok(Some((_, Does::Shares(_))))) {
        found.push(difference("algorithm", algorithm, "a row that shares steps out over groups"));
    }
    let bound_s = least_s(&on.setting.problem(on.setting.run.sequence, (None, &Arc::default())));
    let figures = (&own.cells[..], own.seconds, bound_s);
    let derived = decided::document(&on.setting, &own.decided, &asked(on.document), figures);
    found.extend(differences::of_plans(on.document, &derived));
    found
}
