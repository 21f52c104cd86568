//! Whether the bound of a solution holds: derived again, from its certificate or by a new search.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cost_model::given::Goal;
use documents::solution::SolutionDocument;
use ir::diagnostic::Diagnostic;
use ir::instance::Instance;
use ir::units::Nanos;
use planner::given::max_load::check::{Flaw, check_until};
use planner::given::runner::{Request, method, simple_bound, solve_observed};
use planner::registry::entries;
use planner::run::watch::Watch;
use planner::run::{Event, Limits, Standing};

use crate::answer::differences::difference;
use crate::answer::violations::unchecked;

use super::certificate;

/// Time of a new search, and of the check of a certificate.
const LONGEST: Duration = Duration::from_secs(60);

/// What is known of a stated bound.
pub(super) enum Verdict {
    /// No legal solution is below it.
    Holds,
    /// What it has to be instead.
    Wrong(Vec<Diagnostic>),
    /// It was not proved again, and nothing contradicts it.
    Unchecked(Diagnostic),
}

/// Looks at the stated bound.
///
/// # Errors
/// Those of the search.
pub(super) fn check(
    instance: &Instance,
    goal: Goal,
    n_devices: usize,
    document: &SolutionDocument,
    cancel: &Arc<AtomicBool>,
) -> Result<Verdict, Diagnostic> {
    let simple = simple_bound(instance, goal, n_devices);
    let stated = Nanos(document.bound_ns);
    if document.bound_method == simple.method {
        let mut wrong = Vec::new();
        if stated != simple.value {
            wrong.push(of_ns("bound_ns", stated, simple.value));
        }
        let standing = document.bound_standing.as_deref().unwrap_or(simple.standing.name());
        if standing != simple.standing.name() {
            wrong.push(difference("bound_standing", standing, simple.standing.name()));
        }
        if document.certificate.is_some() {
            wrong.push(difference("certificate", "one", "none"));
        }
        return Ok(if wrong.is_empty() { Verdict::Holds } else { Verdict::Wrong(wrong) });
    }
    let known = method::ALL.into_iter().filter(|known| proves(known, goal));
    let known: Vec<&str> = known.chain([simple.method]).collect();
    if !known.contains(&document.bound_method.as_str()) {
        let wrong = difference("bound_method", &document.bound_method, &known.join(" or "));
        return Ok(Verdict::Wrong(vec![wrong]));
    }
    let names = Standing::ALL.map(Standing::name);
    if let Some(stated) = document.bound_standing.as_deref().filter(|name| !names.contains(name)) {
        let wrong = difference("bound_standing", stated, &names.join(" or "));
        return Ok(Verdict::Wrong(vec![wrong]));
    }
    if document.certificate.is_some()
        && let Some(verdict) = certified(instance, goal, document, cancel)
    {
        return Ok(verdict);
    }
    searched(instance, goal, n_devices, document, (LONGEST, cancel))
}

/// Prices of device subsets bound the greatest load of any split, and nothing else.
fn proves(method: &str, goal: Goal) -> bool {
    method != method::COLUMNS || goal == Goal::MaxLoad
}

fn of_ns(field: &str, stated: Nanos, derived: Nanos) -> Diagnostic {
    difference(field, &stated.get().to_string(), &derived.get().to_string())
}

/// What the certificate says; `None` where it can't be checked.
fn certified(
    instance: &Instance,
    goal: Goal,
    document: &SolutionDocument,
    cancel: &AtomicBool,
) -> Option<Verdict> {
    let wrong = |field: &str, stated: &str, derived: &str| {
        Some(Verdict::Wrong(vec![difference(field, stated, derived)]))
    };
    let (Some(given), Instance::Load(instance), Goal::MaxLoad) =
        (&document.certificate, instance, goal)
    else {
        return wrong("certificate", "one", "none: it proves nothing of this objective");
    };
    if document.bound_method != method::COLUMNS {
        return wrong("bound_method", &document.bound_method, method::COLUMNS);
    }
    if document.bound_ns != given.limit_ns.saturating_add(1) {
        let derived = Nanos(given.limit_ns.saturating_add(1));
        return Some(Verdict::Wrong(vec![of_ns("bound_ns", Nanos(document.bound_ns), derived)]));
    }
    let end = Instant::now() + LONGEST;
    let stop = || Instant::now() >= end || cancel.load(Ordering::Relaxed);
    let standing = document.bound_standing.as_deref().unwrap_or(Standing::Checked.name());
    match check_until(instance, &certificate::certificate(given), &stop) {
        // One that there was no time for may be checked now.
        Ok(()) if standing != Standing::Derived.name() => Some(Verdict::Holds),
        Ok(()) => wrong("bound_standing", standing, Standing::Checked.name()),
        Err(Flaw::TooLarge | Flaw::Stopped) => None,
        Err(flaw) => wrong("certificate", "a proof of the bound", &format!("none: {flaw:?}")),
    }
}

/// What a new search says.
fn searched(
    instance: &Instance,
    goal: Goal,
    n_devices: usize,
    document: &SolutionDocument,
    (longest, cancel): (Duration, &Arc<AtomicBool>),
) -> Result<Verdict, Diagnostic> {
    let stated = Nanos(document.bound_ns);
    // What proves as much as is stated is enough.
    let is_enough = Arc::new(AtomicBool::new(false));
    let watch = Watch::new(Instant::now(), Some(longest), Arc::clone(&is_enough));
    let (time, cancel) = (Some(longest), Arc::clone(cancel));
    let limits = Limits { time, cancel, ..Limits::default() };
    let request = Request { rows: entries(), limits, n_devices };
    let question = (Arc::new(instance.clone()), goal);
    let mut observe = |event: &Event<Instance>| {
        if matches!(event, Event::Bound { bound, .. } if bound.value >= stated) {
            is_enough.store(true, Ordering::SeqCst);
        }
    };
    let answer = solve_observed(question, "auto", (&request, &watch), &mut observe)?;
    let best = answer.best.as_ref().map(|(value, _)| *value);
    if let Some(best) = best.filter(|best| stated > *best) {
        return Ok(Verdict::Wrong(vec![of_ns("bound_ns", stated, best)]));
    }
    let proved = answer.bound;
    if stated <= proved.value {
        return Ok(standing(document, proved.standing));
    }
    let search = format!("{:.1} s: {}", answer.elapsed.as_secs_f64(), answer.stop.words());
    let (stated, proved) = (stated.get(), proved.value.get());
    Ok(Verdict::Unchecked(unchecked("bound_ns", stated, proved, search)))
}

/// Whether a search may have left the bound on the ground that is stated: with a certificate that it
/// had no time to check or none that is small enough, or on that which the new search left it on.
fn standing(document: &SolutionDocument, derived: Standing) -> Verdict {
    let stated = document.bound_standing.as_deref().unwrap_or(derived.name());
    let mut may_be = vec![derived];
    if document.bound_method == method::COLUMNS {
        may_be.extend([Standing::NoTime, Standing::TooLarge]);
    } else {
        may_be.push(Standing::Derived);
    }
    match may_be.iter().any(|standing| standing.name() == stated) {
        true => Verdict::Holds,
        false => Verdict::Wrong(vec![difference("bound_standing", stated, derived.name())]),
    }
}

#[cfg(test)]
mod tests {
    use ir::instance::{LayerProfile, ProfileNode};
    use ir::units::Bytes;
    use planner::given::runner::Solution;

    use super::*;
    use crate::answer::violations::is_legal;
    use crate::kinds::given::document;

    /// Three layers of 3, 2 and 3 ns on two devices: 5 ns at the least, where half the work is 4.
    fn instance() -> Instance {
        let node = |(id, time): (&str, u64)| ProfileNode {
            id: id.to_owned(),
            description: String::new(),
            forward: Nanos(time),
            backward: Nanos::ZERO,
            activations: Bytes(1),
            parameters: Bytes(1),
        };
        let nodes = [("a", 3), ("b", 2), ("c", 3)].into_iter().map(node).collect();
        Instance::Profile(LayerProfile { name: String::new(), nodes, edges: vec![(0, 1), (1, 2)] })
    }

    fn verdict(stated: u64, longest: Duration) -> Verdict {
        let (instance, goal) = (instance(), Goal::SlowestStage);
        let bound = planner::run::Bound {
            value: Nanos(stated),
            method: method::IDEALS,
            standing: Standing::Derived,
        };
        let solution = Solution::Devices(vec![0, 1, 1]);
        let document = document::document(&instance, goal, Nanos(5), bound, &solution);
        searched(&instance, goal, 2, &document, (longest, &Arc::default())).unwrap()
    }

    #[test]
    fn a_claim_is_proved_refuted_or_told_as_unchecked() {
        let long = Duration::from_secs(20);
        assert!(matches!(verdict(5, long), Verdict::Holds));
        assert!(matches!(verdict(6, long), Verdict::Wrong(_)));
        let Verdict::Unchecked(claim) = verdict(5, Duration::ZERO) else {
            panic!("no search takes no time")
        };
        assert_eq!((claim.code, is_legal(std::slice::from_ref(&claim))), ("unchecked-proof", None));
        assert_eq!(claim.blame.exit_code(), 5);
    }
}
