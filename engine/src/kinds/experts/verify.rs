//! `verify` of a placement of experts: its rules and all that it states, derived again.

use std::collections::BTreeSet;

use cost_model::experts::bound::{METHODS, bound};
use cost_model::experts::verify::{Violation, verify as rules};
use cost_model::experts::{Shape, greatest, shares};
use documents::diagnostic::DiagnosticDocument;
use documents::plan::PlanDocument;
use documents::plan::experts::ExpertLayersDocument;
use ir::card::Skew;
use ir::diagnostic::{Blame, Diagnostic};
use planner::experts::expert_placement::exact;
use planner::experts::expertflow::regroup::MOST_TOKENS;
use planner::experts::{OBJECTIVE, slots_and_groups};
use planner::run::Control;
use serde_json::json;

use super::Does;
use super::figures::Figures;
use super::on_model::{OnModel, examined};
use crate::answer::differences::difference;
use crate::answer::exit::{CommandResult, Exit};
use crate::answer::page::Page;
use crate::answer::violations;
use crate::answer::words::ranges;
use crate::answer::words::share as percent;
use crate::inputs::plan_file::BY_HAND;
use crate::inputs::routing::Routing;
use crate::kinds::slots;
use crate::kinds::slots::figures::{hit_ratio, sums};
use crate::request::VerifyRequest;
use crate::request::value::Written;

/// What of a plan of experts in slots its trace alone says; bounds of them are judged.
const OF_TRACE: [&str; 7] = [
    "visits",
    "needed",
    "missed and fetched ahead",
    "waves",
    "which experts are resident",
    "the order of prefetch",
    "seconds of steps",
];

/// What stated loads and bounds may be off by, as a part of them: they went through decimal digits.
const TOLERANCE: f64 = 1e-9;
/// The same of bounds that an integer program proves again.
const PROVED: f64 = 1e-5;

/// `verify`.
///
/// # Errors
/// Those of reading.
pub fn verify(document: &PlanDocument, asked: &VerifyRequest, page: &Page) -> CommandResult {
    let on = examined(document, &asked.on.model, &asked.on.target)?;
    let mut broken = on.mismatches.clone();
    let file = asked.routing_trace.as_deref();
    let regroup = document.experts.host.as_ref().and_then(|own| own.regrouped);
    let regroup = regroup.map_or(1, |own| own.steps.min(MOST_TOKENS as u64) as usize);
    let trace = file.map(|file| Routing::all(&on.setting, file, regroup)).transpose()?;
    let is_read = trace.is_some();
    broken.extend(judged(&on, trace));
    page.warnings(&on.warnings);
    page.warnings(&broken);
    if document.experts.host.is_some() {
        return Ok(cached_told(&on, &broken, is_read, page));
    }
    let figures = Figures::of(document, &on.setting.experts);
    page.line(&match broken.len() {
        0 => format!(
            "the plan is legal: {} experts of {} layers on {} devices, greatest load {:.4} times \
             the mean",
            on.setting.experts.n_experts,
            figures.n_layers,
            on.setting.host.len(),
            figures.load
        ),
        n => format!("the plan is illegal: {}", crate::answer::violations::count(n)),
    });
    let list =
        |found: &[Diagnostic]| -> Vec<_> { found.iter().map(DiagnosticDocument::from).collect() };
    page.document(&json!({
        "legal": violations::is_legal(&broken),
        "load": figures.load,
        "violations": list(&broken),
        "warnings": list(&on.warnings),
    }));
    Ok(violations::exit(&broken))
}

/// What is said of experts in slots.
fn cached_told(on: &OnModel<'_>, broken: &[Diagnostic], is_read: bool, page: &Page) -> Exit {
    let experts = &on.document.experts;
    let hits = hit_ratio(&sums(experts));
    let is_untold = experts.host.as_ref().is_some_and(|own| own.is_traced) && !is_read;
    let not_judged: &[&str] = if is_untold { &OF_TRACE } else { &[] };
    page.line(&match (broken.len(), is_untold) {
        (0, true) => format!(
            "the plan is legal: {} layers in slots, hits {} as stated; not judged: {}, which \
             --routing-trace is needed for",
            experts.layers.len(),
            percent(hits),
            OF_TRACE.join(", ")
        ),
        (0, false) => {
            format!(
                "the plan is legal: {} layers in slots, hits {}",
                experts.layers.len(),
                percent(hits)
            )
        }
        (n, _) => format!("the plan is illegal: {}", crate::answer::violations::count(n)),
    });
    let list =
        |found: &[Diagnostic]| -> Vec<_> { found.iter().map(DiagnosticDocument::from).collect() };
    page.document(&json!({
        "legal": violations::is_legal(broken),
        "hit_ratio": hits,
        "not_judged": not_judged,
        "violations": list(broken),
        "warnings": list(&on.warnings),
    }));
    violations::exit(broken)
}

/// All rules that a plan breaks, and what it states in vain.
#[must_use]
pub fn violations(on: &OnModel<'_>) -> Vec<Diagnostic> {
    judged(on, None)
}

/// As [`violations`], with the trace that experts in slots were planned from.
fn judged(on: &OnModel<'_>, trace: Option<Vec<Routing>>) -> Vec<Diagnostic> {
    let mut found = of_step(on);
    found.extend(of_layers(on));
    if on.document.experts.host.is_some() {
        if found.is_empty() {
            let each = on.document.experts.layers.iter();
            let by_law = each
                .zip(0..)
                .filter_map(|(own, at)| by_law(on, own, &format!("experts.layers[{at}].visits")));
            found.extend(by_law.collect::<Vec<_>>());
            found.extend(slots::verify::violations(on, trace));
        }
        return found;
    }
    for at in 0..on.document.experts.layers.len() {
        found.extend(of_entry(on, at));
    }
    found
}

/// What is stated of the recipe: its row, and what its options say.
fn of_recipe(on: &OnModel<'_>) -> Vec<Diagnostic> {
    let (plan, own) = (on.document, &on.document.experts);
    let mut found = Vec::new();
    let mut check = |field: &str, stated: String, derived: String| {
        if stated != derived {
            found.push(difference(field, &stated, &derived));
        }
    };
    let row = super::row(&plan.algorithm);
    let is_own = match &row {
        Ok(Some((_, Does::Places(_)))) => own.host.is_none(),
        Ok(Some((_, Does::Caches(_)))) => own.host.is_some(),
        _ => plan.algorithm == BY_HAND,
    };
    if !is_own {
        let derived = "a row that decides what the plan does".to_owned();
        check("algorithm", plan.algorithm.clone(), derived);
    }
    if let (None, Ok(Some((recipe, _)))) = (&own.host, &row)
        && let Ok((slots, groups)) = slots_and_groups(&recipe.options)
    {
        check("experts.groups", own.groups.unwrap_or(1).to_string(), groups.to_string());
        let least = on.setting.experts.n_experts.div_ceil(on.setting.host.len().max(1) as u64);
        let asked = slots.map_or(least, |own| own as u64).to_string();
        for (at, entry) in own.layers.iter().enumerate() {
            check(&format!("experts.layers[{at}].slots"), entry.slots.to_string(), asked.clone());
        }
    }
    found
}

/// What is stated of the step.
fn of_step(on: &OnModel<'_>) -> Vec<Diagnostic> {
    let (plan, own) = (on.document, &on.document.experts);
    let mut found = of_recipe(on);
    let mut check = |field: &str, stated: String, derived: String| {
        if stated != derived {
            found.push(difference(field, &stated, &derived));
        }
    };
    if own.host.is_none() {
        check("objective", plan.objective.clone(), OBJECTIVE.to_owned());
    }
    check(
        "parallelism.n_micro_batches",
        plan.parallelism.n_micro_batches.to_string(),
        "1".to_owned(),
    );
    let n_devices = on.setting.host.len();
    check("parallelism.expert", plan.parallelism.expert.to_string(), n_devices.to_string());
    let degrees = &plan.parallelism;
    for (name, degree) in [
        ("data", degrees.data),
        ("tensor", degrees.tensor),
        ("pipeline", degrees.pipeline),
        ("context", degrees.context),
    ] {
        check(&format!("parallelism.{name}"), degree.to_string(), "1".to_owned());
    }
    if let (Some(phase), Some(batch)) = (own.phase, plan.workload.batch) {
        let mode = ir::workload::StepPhase::from(phase).mode();
        let stated = crate::inputs::plan_file::workload(&plan.workload);
        let stated = stated.map_or_else(|_| "none".to_owned(), |own| own.mode.name().to_owned());
        check("workload.mode", stated, mode.name().to_owned());
        let derived = on.setting.tokens(phase.into(), batch);
        let derived = derived.map_or_else(|_| "too many".to_owned(), |own| own.to_string());
        if own.host.as_ref().is_some_and(|own| own.is_traced) {
            return found;
        }
        check("experts.tokens", own.tokens.unwrap_or_default().to_string(), derived);
    }
    found
}

/// Whether every layer of experts is placed, once.
fn of_layers(on: &OnModel<'_>) -> Vec<Diagnostic> {
    let mut placed = BTreeSet::new();
    let mut found = Vec::new();
    for layer in on.document.experts.layers.iter().flat_map(|own| &own.layers) {
        if !placed.insert(*layer) {
            found.push(illegal("layer-twice", format!("layer {layer} is placed twice")));
        }
        if !on.setting.layers.contains(layer) {
            let message = format!("layer {layer} of the plan has no experts in the model");
            found.push(illegal("no-such-layer", message));
        }
    }
    let missing: Vec<u32> =
        on.setting.layers.iter().filter(|own| !placed.contains(own)).copied().collect();
    if !missing.is_empty() {
        let message = format!("the layers {} are not placed", ranges(&missing));
        found.push(illegal("layers-missing", message));
    }
    found
}

/// Rules and figures of an entry.
fn of_entry(on: &OnModel<'_>, at: usize) -> Vec<Diagnostic> {
    let (Some(own), Some(copies)) = (on.document.experts.layers.get(at), on.copies.get(at)) else {
        return Vec::new();
    };
    let field = |name: &str| format!("experts.layers[{at}].{name}");
    let n_experts = on.setting.experts.n_experts as usize;
    let groups = on.document.experts.groups.unwrap_or(1) as usize;
    let shape = match on.setting.shape(Some(own.slots as usize), groups) {
        Ok(shape) => shape,
        Err(error) => {
            return vec![illegal("bad-slots", format!("{}: {}", field("slots"), error.message))];
        }
    };
    let Some(shares) = shares(&own.visits).filter(|own| own.len() == n_experts) else {
        let message = format!("{} are no visits of {n_experts} experts", field("visits"));
        return vec![illegal("bad-visits", message)];
    };
    let broken = rules(copies, n_experts, &shape);
    let mut found: Vec<Diagnostic> = broken.iter().map(|one| diagnosed(on, own, one)).collect();
    found.extend(by_law(on, own, &field("visits")));
    if !found.is_empty() {
        return found;
    }
    let load = greatest(&shares, copies, shape.host.len());
    if (load - own.greatest_load).abs() > TOLERANCE * load {
        let stated = own.greatest_load.to_string();
        found.push(difference(&field("greatest_load"), &stated, &load.to_string()));
    }
    if let Some(most) = most_proved(own, &shares, &shape) {
        let derived = format!("at most {most}");
        found.push(difference(&field("bound"), &own.bound.to_string(), &derived));
    }
    found
}

/// What can be proved where an entry states a higher bound.
fn most_proved(own: &ExpertLayersDocument, shares: &[f64], shape: &Shape) -> Option<f64> {
    if !own.bound.is_finite()
        || own.bound < 0.0
        || own.bound > own.greatest_load * (1.0 + TOLERANCE)
    {
        return Some(own.greatest_load);
    }
    let simple = bound(shares, shape).load;
    if ![METHODS, &[exact::METHOD]].concat().contains(&own.bound_method.as_str()) {
        return Some(simple);
    }
    if own.bound <= simple * (1.0 + TOLERANCE) {
        return None;
    }
    if own.bound_method != exact::METHOD {
        return Some(simple);
    }
    let again =
        exact::solve(shares, shape, (own.greatest_load, exact::MOST_NODES), &Control::default());
    let proved = again.map_or(0.0, |own| own.bound).max(simple);
    (own.bound > proved * (1.0 + PROVED)).then_some(proved)
}

/// Whether visits are those of the law that was asked for.
fn by_law(on: &OnModel<'_>, own: &ExpertLayersDocument, field: &str) -> Option<Diagnostic> {
    let text = on.document.request.expert_skew.as_ref()?;
    let Ok(skew) = Skew::read(text) else {
        return Some(difference("request.expert_skew", text, "balanced or zipf:S"));
    };
    let mut each = on.setting.law(skew).into_iter().zip(&own.visits).enumerate();
    let wrong = each.find(|(_, (law, own))| (law - **own).abs() > TOLERANCE * law.abs());
    wrong.map(|(expert, (law, own))| {
        difference(&format!("{field}[{expert}]"), &own.to_string(), &law.to_string())
    })
}

fn illegal(code: &'static str, message: String) -> Diagnostic {
    Diagnostic::error(Blame::IllegalPlan, code, message)
}

/// A broken rule in words.
fn diagnosed(on: &OnModel<'_>, own: &ExpertLayersDocument, broken: &Violation) -> Diagnostic {
    let layers = ranges(&own.layers);
    let host = |number: &usize| {
        let at = on.setting.host.iter().position(|own| own == number);
        let node = at.and_then(|at| on.setting.cluster.devices.get(at)?.node);
        let node = node.and_then(|node| on.setting.cluster.nodes.get(node.index()));
        node.map_or_else(|| format!("host {number}"), |node| format!("`{}`", node.name))
    };
    let (code, message) = match broken {
        Violation::OtherExperts { placed, experts } => {
            ("other-experts", format!("{placed} experts are placed, and the layer has {experts}"))
        }
        Violation::Nowhere { expert } => {
            ("expert-nowhere", format!("expert {expert} is on no device"))
        }
        Violation::NoDevice { expert, device } => {
            let name = on.device(*device);
            ("unknown-device", format!("expert {expert} is on `{name}`, which the cluster has not"))
        }
        Violation::Slots { device, held } => {
            let name = on.device(*device);
            ("slots", format!("`{name}` holds {held} experts in {} slots", own.slots))
        }
        Violation::TwoHosts { group, hosts: [one, two] } => {
            ("group-apart", format!("group {group} is on {} and on {}", host(one), host(two)))
        }
        Violation::GroupsOfHost { host: own, held } => {
            ("groups-uneven", format!("{} has {held} groups, not its part of them", host(own)))
        }
    };
    illegal(code, format!("layers {layers}: {message}")).fact("layers", layers)
}
