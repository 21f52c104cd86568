//! Faults in the form of YAML files, with their place.

use ir::diagnostic::Diagnostic;
use ir::nearest;
use serde_yaml::Error;

/// The fault of a text that is no `what`, of which `code` says so; `specific` knows more of some.
pub(crate) fn fault(
    error: &Error,
    (code, what): (&'static str, &str),
    specific: impl FnOnce(&Error) -> Option<Diagnostic>,
) -> Diagnostic {
    let diagnostic = specific(error).unwrap_or_else(|| match error {
        Error::SerdeUnknownField { field, expected, .. } => unknown("key", field, expected),
        Error::SerdeMissingField { field, .. } => {
            Diagnostic::input("missing-key", format!("the key `{field}` is missing"))
        }
        Error::NullIntoString { .. } => Diagnostic::input(
            code,
            format!("not a {what}: a value is blank where a text is needed"),
        )
        .hint("complete the key of this line"),
        other => {
            let text = other.to_string();
            let line = text.lines().next().unwrap_or_default().trim_end_matches('.');
            Diagnostic::input(code, format!("not a {what}: {line}"))
        }
    });
    match error.location() {
        Some(at) => diagnostic.fact("line", at.line()).fact("column", at.column()),
        None => diagnostic,
    }
}

/// A key or value that is none of the known ones.
pub(crate) fn unknown(what: &str, found: &str, known: &[&'static str]) -> Diagnostic {
    let code = if what == "key" { "unknown-key" } else { "unknown-value" };
    let diagnostic = Diagnostic::input(code, format!("unknown {what} `{found}`"))
        .fact("known", known.iter().map(ToString::to_string).collect::<Vec<_>>());
    nearest::hint(diagnostic, found, known.iter().copied())
}
