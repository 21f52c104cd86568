//! Whether the bound of a solution holds: derived again, from its certificate or by a new search.

use std::time::{Duration, Instant};

use cost_model::instance::Goal;
use documents::solution::SolutionDocument;
use ir::diagnostic::Diagnostic;
use ir::instance::Instance;
use ir::units::Nanos;
use planner::instance::{Request, Standing, method, simple_bound, solve};
use planner::placement::max_load::check::{Flaw, check_until};

use crate::commands::differences::difference;
use crate::interrupt;

use super::certificate;

/// Time of a new search, and of the check of a certificate.
const LONGEST: Duration = Duration::from_secs(60);

/// What is known of a stated bound.
pub(super) enum Verdict {
    /// No legal solution is below it.
    Holds,
    /// What it has to be instead.
    Wrong(Vec<Diagnostic>),
    /// It could not be derived again.
    Open(Diagnostic),
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
    if !method::ALL.contains(&document.bound_method.as_str()) {
        let known = format!("{} or {}", simple.method, method::ALL.join(", "));
        let wrong = difference("bound_method", &document.bound_method, &known);
        return Ok(Verdict::Wrong(vec![wrong]));
    }
    match &document.certificate {
        Some(_) => Ok(certified(instance, goal, document)),
        None => searched(instance, goal, n_devices, document),
    }
}

fn of_ns(field: &str, stated: Nanos, derived: Nanos) -> Diagnostic {
    difference(field, &stated.get().to_string(), &derived.get().to_string())
}

/// What the certificate says.
fn certified(instance: &Instance, goal: Goal, document: &SolutionDocument) -> Verdict {
    let wrong = |field: &str, stated: &str, derived: &str| {
        Verdict::Wrong(vec![difference(field, stated, derived)])
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
        return Verdict::Wrong(vec![of_ns("bound_ns", Nanos(document.bound_ns), derived)]);
    }
    let cancel = interrupt::flag();
    let end = Instant::now() + LONGEST;
    let stop = || Instant::now() >= end || cancel.load(std::sync::atomic::Ordering::Relaxed);
    let standing = document.bound_standing.as_deref().unwrap_or_default();
    let is_claimed = standing == Standing::Checked.name();
    let known = Standing::ALL.iter().find(|known| known.name() == standing);
    match check_until(instance, &certificate::certificate(given), &stop) {
        // One that there was no time for may be checked now.
        Ok(()) if known.is_some_and(|known| *known != Standing::Derived) => Verdict::Holds,
        Ok(()) => wrong("bound_standing", standing, Standing::Checked.name()),
        Err(flaw @ (Flaw::TooLarge | Flaw::Stopped)) if !is_claimed => {
            let message = "the bound rests on a certificate that was not checked again";
            let why = if flaw == Flaw::TooLarge { "it is too large" } else { "it takes too long" };
            Verdict::Open(Diagnostic::warning("unchecked-bound", message).fact("reason", why))
        }
        Err(Flaw::TooLarge) => wrong("bound_standing", standing, Standing::TooLarge.name()),
        Err(Flaw::Stopped) => wrong("bound_standing", standing, Standing::NoTime.name()),
        Err(flaw) => wrong("certificate", "a proof of the bound", &format!("none: {flaw:?}")),
    }
}

/// What a new search says.
fn searched(
    instance: &Instance,
    goal: Goal,
    n_devices: usize,
    document: &SolutionDocument,
) -> Result<Verdict, Diagnostic> {
    let request =
        Request { time: Some(LONGEST), n_devices, cancel: interrupt::flag(), ..Request::default() };
    let answer = solve(instance, goal, None, &request)?;
    let stated = Nanos(document.bound_ns);
    let best = answer.best.as_ref().map(|(value, _)| *value);
    Ok(match best {
        Some(best) if stated > best => Verdict::Wrong(vec![of_ns("bound_ns", stated, best)]),
        _ if stated <= answer.bound.value && answer.bound.standing.caveat().is_none() => {
            Verdict::Holds
        }
        _ => Verdict::Open(
            Diagnostic::warning("unchecked-bound", "the bound could not be derived again")
                .fact("field", "bound_ns")
                .fact("stated", stated.get())
                .fact("derived", answer.bound.value.get())
                .fact("method", document.bound_method.clone()),
        ),
    })
}
