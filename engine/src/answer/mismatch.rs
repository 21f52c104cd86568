//! What a plan was made for, where that is not what is given.

use documents::plan::Reference;
use ir::diagnostic::{Diagnostic, Severity};

/// What a plan was made for and what is given, which are not the same; `may_differ` where that is
/// allowed.
pub fn mismatch(
    what: &str,
    planned: &Reference,
    given: &Reference,
    may_differ: bool,
) -> Diagnostic {
    let named = |own: &Reference| own.name.clone();
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

/// Digests that differ: as warnings where they may, and else as errors.
///
/// # Errors
/// The first one of what has another name as well: the wrong file was given, and what of the plan
/// does not hold there says nothing of the plan.
pub fn sorted(
    found: impl Iterator<Item = Diagnostic>,
    may_differ: bool,
) -> Result<(Vec<Diagnostic>, Vec<Diagnostic>), Diagnostic> {
    if may_differ {
        let warning = |own| Diagnostic { severity: Severity::Warning, ..own };
        return Ok((found.map(warning).collect(), Vec::new()));
    }
    let found: Vec<Diagnostic> = found.collect();
    let name = |own: &Diagnostic, fact: &str| {
        own.facts.iter().find(|(name, _)| *name == fact).map(|(_, value)| value.clone())
    };
    match found.iter().find(|own| name(own, "planned_for") != name(own, "name")) {
        Some(other) => Err(other.clone()),
        None => Ok((Vec::new(), found)),
    }
}
