//! `verify` of offloaded experts: rules and figures, derived from the document, its model and cluster. What
//! steps need and miss is derived again where they were drawn or their trace is given; without it, what can
//! be said is checked.

use cost_model::experts::cache::{Policy, Start};
use documents::plan::PlanDocument;
use documents::plan::experts::{
    CacheDocument, ExpertLayersDocument, ExpertsDocument, HostDocument,
};
use ir::diagnostic::Diagnostic;
use planner::experts::expertflow::{Choices, OBJECTIVE, Problem, homes, least, solve};
use planner::recipe::Ingredient;
use planner::registry::entries;
use planner::run::Control;

use super::cached::{Cached, best};
use super::figures::sums;
use crate::answer::differences::difference;
use crate::answer::words::ranges;
use crate::inputs::experts::{Setting, Visits};
use crate::inputs::routing::Routing;
use crate::kinds::expert_layers::Placed;
use crate::kinds::kind::illegal;

/// What stated seconds may be off by, as a part of them: they went through decimal digits.
const TOLERANCE: f64 = 1e-9;

/// All rules that a plan breaks, and what it states in vain; those of layers and of what was asked for
/// are looked at elsewhere.
#[must_use]
pub fn violations(
    (setting, plan): (&Setting, &PlanDocument),
    placed: &Placed,
    trace: Option<Vec<Routing>>,
) -> Vec<Diagnostic> {
    let experts = &plan.experts;
    let Some(host) = &experts.host else { return Vec::new() };
    let mut found = Vec::new();
    if plan.objective != OBJECTIVE {
        found.push(difference("objective", &plan.objective, OBJECTIVE));
    }
    let choices = match Ingredient::parse(&plan.algorithm, entries())
        .and_then(|used| Choices::of(&used.options))
    {
        Ok(choices) => choices,
        Err(error) => {
            let message = format!("algorithm: {}", error.message);
            return vec![illegal("bad-algorithm", message)];
        }
    };
    for at in 0..experts.layers.len() {
        found.extend(of_layer((setting, plan), placed, at, (host, &choices)));
    }
    found.extend(regrouped(experts, host, &choices).map(|why| illegal("regrouped", why)));
    if !found.is_empty() {
        return found;
    }
    let is_known = trace.is_some() || !host.is_traced;
    match again((setting, plan), host, &choices, trace) {
        Err(error) => vec![illegal("not-as-planned", error.message)],
        Ok(derived) => differences(experts, &derived, is_known),
    }
}

/// Rules of a layer.
fn of_layer(
    (setting, plan): (&Setting, &PlanDocument),
    placed: &Placed,
    at: usize,
    (host, choices): (&HostDocument, &Choices),
) -> Vec<Diagnostic> {
    let (Some(entry), Some(copies)) = (plan.experts.layers.get(at), placed.copies.get(at)) else {
        return Vec::new();
    };
    let n_devices = setting.host.len();
    let n_experts = setting.experts.n_experts as usize;
    let homes = homes(n_experts, n_devices);
    let layers = ranges(&entry.layers);
    let wrong = |code, why: String| illegal(code, format!("layers {layers}: {why}"));
    let is_sound =
        cost_model::experts::shares(&entry.visits).is_some_and(|shares| shares.len() == n_experts);
    if !is_sound {
        return vec![wrong("bad-visits", format!("not the routed tokens of {n_experts} experts"))];
    }
    let is_at_home = copies.len() == n_experts
        && copies.iter().zip(&homes).all(|(devices, home)| devices == &[*home]);
    if !is_at_home {
        let why = "experts are not on their devices, as many neighbours on each".to_owned();
        return vec![wrong("other-devices", why)];
    }
    let mut found = Vec::new();
    let local = n_experts.div_ceil(n_devices);
    let fewest = least(n_experts, n_devices, setting.experts.per_token as usize);
    if !(fewest..=local).contains(&(entry.slots as usize)) {
        let why = format!("{} slots, and {fewest} to {local} can be used", entry.slots);
        found.push(wrong("slots", why));
    }
    found.extend(held(entry, &homes, choices).into_iter().map(|why| wrong("resident", why)));
    found.extend(order(entry, choices).into_iter().map(|why| wrong("prefetch", why)));
    found.extend(counts(entry, n_experts, host, choices).map(|why| wrong("cache", why)));
    found
}

/// What is wrong with what lies in slots.
fn held(entry: &ExpertLayersDocument, homes: &[usize], choices: &Choices) -> Option<String> {
    let resident = &entry.resident;
    if let Some(expert) = resident.iter().find(|expert| **expert as usize >= homes.len()) {
        return Some(format!("expert {expert} is resident, and the layer has {}", homes.len()));
    }
    if !resident.is_sorted_by(|a, b| a < b) {
        return Some("resident experts are named twice or not in order".to_owned());
    }
    if choices.start == Start::Empty && !resident.is_empty() {
        return Some("experts are resident, and slots are empty at first".to_owned());
    }
    let of = |device| resident.iter().filter(|expert| homes[**expert as usize] == device).count();
    let full = (0..)
        .take_while(|device| homes.contains(device))
        .find(|device| of(*device) > entry.slots as usize);
    full.map(|device| format!("{} experts are resident in {} slots", of(device), entry.slots))
}

/// What is wrong with the order of fetching ahead.
fn order(entry: &ExpertLayersDocument, choices: &Choices) -> Option<String> {
    let prefetches = choices.policy == Policy::NextUse { prefetches: true };
    if !prefetches {
        let why = "experts are fetched ahead by a policy that knows of none".to_owned();
        return (!entry.prefetch.is_empty()).then_some(why);
    }
    let mut named = vec![false; entry.visits.len()];
    for expert in entry.resident.iter().chain(&entry.prefetch) {
        match named.get_mut(*expert as usize) {
            Some(is_named) if !*is_named => *is_named = true,
            _ => return Some(format!("expert {expert} is fetched ahead, and resident or none")),
        }
    }
    None
}

/// What is wrong with counts, whatever the steps were.
fn counts(
    entry: &ExpertLayersDocument,
    n_experts: usize,
    host: &HostDocument,
    choices: &Choices,
) -> Option<String> {
    let cache = entry.cache.unwrap_or_default();
    let CacheDocument { needed, missed, ahead, waves } = cache;
    let most = host.steps.saturating_mul(n_experts as u64);
    let prefetches = choices.policy == Policy::NextUse { prefetches: true };
    // An expert that was never held was fetched at least once.
    let visited = entry.visits.iter().filter(|visits| **visits > 0.0).count();
    let new = visited.saturating_sub(entry.resident.len()) as u64;
    if needed > most || needed < host.steps {
        return Some(format!("{} steps need {needed} experts of {n_experts}", host.steps));
    }
    if missed > needed {
        return Some(format!("{missed} of {needed} experts are missed"));
    }
    if !prefetches && ahead > 0 {
        return Some(format!("{ahead} experts are fetched ahead by a policy that knows of none"));
    }
    if host.is_traced && missed.saturating_add(ahead) < new {
        return Some(format!(
            "{new} experts come from the host, and {} were fetched",
            missed + ahead
        ));
    }
    (waves < host.steps).then(|| format!("{waves} waves of {} steps", host.steps))
}

/// What is wrong with tokens that change places, whatever the trace was.
fn regrouped(experts: &ExpertsDocument, host: &HostDocument, choices: &Choices) -> Option<String> {
    let requested = (host.is_traced && choices.regroup > 1).then_some(choices.regroup as u64);
    let stated = host.regrouped.map(|regrouped| regrouped.steps);
    if requested != stated {
        let of = |steps: Option<u64>| steps.unwrap_or(1);
        return Some(format!(
            "tokens of {} steps change places, and {} were asked for",
            of(stated),
            of(requested)
        ));
    }
    let (regrouped, sum) = (host.regrouped?, sums(experts));
    let is_sound = regrouped.needed_at_least <= sum.needed.min(regrouped.needed_in_order)
        && match regrouped.is_done {
            true => sum.missed <= regrouped.missed_in_order,
            false => {
                (sum.needed, sum.missed) == (regrouped.needed_in_order, regrouped.missed_in_order)
            }
        };
    (!is_sound).then(|| {
        format!(
            "{} experts are needed and {} missed, in order {} and {}, at least {}",
            sum.needed,
            sum.missed,
            regrouped.needed_in_order,
            regrouped.missed_in_order,
            regrouped.needed_at_least
        )
    })
}

/// What can be derived again: all where steps were drawn, else what does not depend on them.
fn again(
    (setting, plan): (&Setting, &PlanDocument),
    host: &HostDocument,
    choices: &Choices,
    trace: Option<Vec<Routing>>,
) -> Result<ExpertsDocument, Diagnostic> {
    let hold = |problem: &Problem| solve(problem, choices, &Control::default());
    if let Some(trace) = trace {
        let (all, _) = Cached::of_trace(setting, choices, trace, host.seed)?;
        return Ok(best(setting, &all, choices, &hold).unwrap_or_default());
    }
    let experts = &plan.experts;
    let visits: Visits =
        experts.layers.iter().map(|entry| (entry.layers.clone(), entry.visits.clone())).collect();
    let tokens = experts.tokens.unwrap_or_default();
    let one = Choices { steps: 1, ..*choices };
    let drawn = if host.is_traced { &one } else { choices };
    let steps = Cached::drawn(setting, &visits, tokens, (drawn, host.seed));
    let (cached, _) = Cached::new(setting, choices, steps, host.seed)?;
    let holdings = hold(&cached.problem).unwrap_or_default();
    let derived = cached.document(setting, &holdings);
    if !host.is_traced {
        return Ok(derived);
    }
    // Of a trace, slots are what is stated; what they weigh, and the link, is derived.
    let slots: u64 = experts.layers.iter().map(|entry| u64::from(entry.slots)).sum();
    if slots > cached.problem.slots as u64 {
        let message = format!("{slots} slots of a device, and {} are there", cached.problem.slots);
        return Err(Diagnostic::usage("slots", message));
    }
    let memory_bytes = cached.memory_of(setting, slots as usize);
    let derived = derived.host.unwrap_or_default();
    let host = HostDocument { memory_bytes, ..derived };
    Ok(ExpertsDocument { host: Some(host), ..experts.clone() })
}

/// Where what is stated is not what was derived.
fn differences(
    stated: &ExpertsDocument,
    derived: &ExpertsDocument,
    is_known: bool,
) -> Vec<Diagnostic> {
    let (Some(a), Some(b)) = (&stated.host, &derived.host) else { return Vec::new() };
    let mut found = Vec::new();
    let mut check = |field: &str, stated: String, derived: String| {
        if stated != derived {
            found.push(difference(field, &stated, &derived));
        }
    };
    check("experts.host.link", a.link.clone(), b.link.clone());
    check("experts.host.expert_bytes", a.expert_bytes.to_string(), b.expert_bytes.to_string());
    check("experts.host.memory_bytes", a.memory_bytes.to_string(), b.memory_bytes.to_string());
    if is_known {
        check("experts.tokens", format!("{:?}", stated.tokens), format!("{:?}", derived.tokens));
        check("experts.host.steps", a.steps.to_string(), b.steps.to_string());
        check("experts.host.regrouped", format!("{:?}", a.regrouped), format!("{:?}", b.regrouped));
        for (at, (one, two)) in stated.layers.iter().zip(&derived.layers).enumerate() {
            let field = |name: &str| format!("experts.layers[{at}].{name}");
            check(&field("visits"), format!("{:?}", one.visits), format!("{:?}", two.visits));
            check(&field("slots"), one.slots.to_string(), two.slots.to_string());
            let list = |experts: &[u32]| format!("{experts:?}");
            check(&field("resident"), list(&one.resident), list(&two.resident));
            check(&field("prefetch"), list(&one.prefetch), list(&two.prefetch));
            check(&field("cache"), format!("{:?}", one.cache), format!("{:?}", two.cache));
        }
    }
    let mut close = |field: &str, stated: f64, derived: f64| {
        let is_close = (stated - derived).abs() <= TOLERANCE * derived.abs();
        if !is_close {
            found.push(difference(field, &stated.to_string(), &derived.to_string()));
        }
    };
    close("experts.host.bytes_per_s", a.bytes_per_s, b.bytes_per_s);
    close("experts.host.start_up_s", a.start_up_s, b.start_up_s);
    match is_known {
        true => {
            close("experts.host.compute_s", a.compute_s, b.compute_s);
            close("experts.host.exposed_s", a.exposed_s, b.exposed_s);
        }
        false => found.extend(of_trace(stated, a)),
    }
    found
}

/// Seconds that no steps can have: more than the links carry experts for, or none to compute.
fn of_trace(experts: &ExpertsDocument, host: &HostDocument) -> Option<Diagnostic> {
    let sum = sums(experts);
    let each = host.start_up_s + host.expert_bytes as f64 / host.bytes_per_s;
    let most = sum.missed.saturating_add(sum.ahead) as f64 * each;
    let is_sound = |seconds: f64| seconds.is_finite() && seconds >= 0.0;
    if !is_sound(host.compute_s) || host.compute_s == 0.0 {
        return Some(difference("experts.host.compute_s", &host.compute_s.to_string(), "above 0"));
    }
    let is_legal = is_sound(host.exposed_s) && host.exposed_s <= most * (1.0 + TOLERANCE);
    let wrong = || {
        difference("experts.host.exposed_s", &host.exposed_s.to_string(), &format!("0 to {most}"))
    };
    (!is_legal).then(wrong)
}
