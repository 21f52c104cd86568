//! What a plan was made for, where that is not what is given.

use documents::plan::{PlanDocument, Reference};
use ir::diagnostic::{Diagnostic, Severity};

/// What a plan was made for and what is given, which are not the same; `may_differ` where that is
/// allowed.
pub fn mismatch(
    what: &str,
    planned: &Reference,
    given: &Reference,
    may_differ: bool,
) -> Diagnostic {
    let named = |reference: &Reference| reference.name.clone();
    let is_profile = what == "profile";
    let message = match is_profile {
        true if planned.name.is_empty() => {
            format!("the plan was made without a profile, and `{}` is given", given.name)
        }
        true if given.name.is_empty() => {
            format!("the plan was made with the profile `{}`, and none is given", planned.name)
        }
        _ => format!("the plan was made for another {what} than this one"),
    };
    let hint = match is_profile {
        _ if may_differ => format!("its figures are those of another {what}: plan again"),
        true if planned.name.is_empty() => {
            "leave out --profile, or add --allow-mismatch to price the plan with it".to_owned()
        }
        true if given.name.is_empty() => format!(
            "add --profile with the file of `{}`, or --allow-mismatch to price the plan without",
            planned.name
        ),
        _ => format!("give the {what} that it was made for, or add --allow-mismatch"),
    };
    Diagnostic::input("digest-mismatch", message)
        .fact("what", what.to_owned())
        .fact("field", format!("{what}.digest"))
        .fact("stated", planned.digest.clone())
        .fact("derived", given.digest.clone())
        .fact("planned_for", named(planned))
        .fact("name", named(given))
        .hint(hint)
}

/// Where model, cluster or profile are others than a plan was made for, a `mismatch` each.
#[must_use]
pub fn others(
    plan: &PlanDocument,
    given: &[Reference; 3],
    mismatch: impl Fn(&'static str, &Reference, &Reference) -> Diagnostic,
) -> Vec<Diagnostic> {
    let stated = [("model", &plan.model), ("cluster", &plan.cluster), ("profile", &plan.profile)];
    let both = stated.into_iter().zip(given);
    let found = both.filter(|((_, planned), now)| planned.digest != now.digest);
    found.map(|((what, planned), now)| mismatch(what, planned, now)).collect()
}

/// What keeps a plan from being put on what is given: that this is something else, where it may not be.
#[must_use]
pub fn before(error: Diagnostic, others: &[Diagnostic], may_differ: bool) -> Diagnostic {
    match sorted(others.to_vec(), may_differ) {
        Err(other) => other,
        Ok((_, mismatches)) => mismatches.into_iter().next().unwrap_or(error),
    }
}

/// Digests that differ: as warnings where they may, and else as errors.
///
/// # Errors
/// The first one of what has another name as well: the wrong file was given, and what of the plan
/// does not hold there says nothing of the plan.
pub fn sorted(
    found: Vec<Diagnostic>,
    may_differ: bool,
) -> Result<(Vec<Diagnostic>, Vec<Diagnostic>), Diagnostic> {
    if may_differ {
        let warning = |error| Diagnostic { severity: Severity::Warning, ..error };
        return Ok((found.into_iter().map(warning).collect(), Vec::new()));
    }
    let name = |error: &Diagnostic, fact: &str| {
        error.facts.iter().find(|(name, _)| *name == fact).map(|(_, value)| value.clone())
    };
    match found.iter().find(|error| name(error, "planned_for") != name(error, "name")) {
        Some(other) => Err(other.clone()),
        None => Ok((Vec::new(), found)),
    }
}
