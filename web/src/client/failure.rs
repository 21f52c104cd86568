//! Why a service gave no plan.

use documents::diagnostic::{FactDocument, ValueDocument};
use ir::diagnostic::{Blame, Diagnostic, Value as Fact};
use ir::units::{Bytes, Nanos};
use serde_json::Value;

/// Why there is no plan.
#[derive(Clone, Debug)]
pub enum Failure {
    /// The service was not reached, refused, or took too long: a plan may exist.
    NoAnswer(Diagnostic),
    /// What the planner says of the request, or what is wrong with it here.
    Answer(Diagnostic),
    /// Somebody pressed Ctrl-C.
    Interrupted(Diagnostic),
}

impl Failure {
    /// What is said, whoever said it.
    #[must_use]
    pub fn diagnostic(self) -> Diagnostic {
        match self {
            Self::NoAnswer(diagnostic)
            | Self::Answer(diagnostic)
            | Self::Interrupted(diagnostic) => diagnostic,
        }
    }
}

/// Members of problem details that are no facts.
const ENVELOPE: [&str; 6] = ["type", "status", "title", "code", "hints", "facts"];

/// What a status of 400 and above says.
pub(super) fn refused(server: &str, status: u16, body: &[u8]) -> Failure {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let Some(code) = problem["code"].as_str() else {
        let message = format!("what answers at `{server}` is no planning service");
        return Failure::NoAnswer(
            Diagnostic::error(Blame::NotFound, "no-service", message)
                .fact("status", u64::from(status))
                .hint("check --server: its address, and the path of a proxy before it"),
        );
    };
    let blame = match status {
        _ if code == "illegal-plan" => Blame::IllegalPlan,
        401 | 403 => Blame::Usage,
        400 | 422 => Blame::Input,
        _ => Blame::NotFound,
    };
    let mut error = Diagnostic::error(blame, lasting(code), text(&problem["title"]));
    error.facts = facts(&problem["facts"]);
    for (name, value) in problem.as_object().into_iter().flatten() {
        if !ENVELOPE.contains(&name.as_str()) {
            error = error.fact(lasting(name), plain(value));
        }
    }
    error.hints = texts(&problem["hints"]);
    match status {
        401 => {
            let hint = "give a token with --token-file, or in MESHWRIGHT_TOKEN";
            Failure::NoAnswer(error.hint(hint))
        }
        400 | 422 => Failure::Answer(error),
        _ => Failure::NoAnswer(error),
    }
}

/// What a status says of a plan that failed.
pub(super) fn told(error: &Value, exit_code: Option<u8>) -> Diagnostic {
    let blame = match exit_code {
        Some(1) => Blame::Internal,
        Some(2) => Blame::Usage,
        Some(3) => Blame::Input,
        Some(4) => Blame::Infeasible,
        Some(6) => Blame::IllegalPlan,
        _ => Blame::NotFound,
    };
    let code = error["code"].as_str().unwrap_or("no-plan");
    let mut diagnostic = Diagnostic::error(blame, lasting(code), text(&error["message"]));
    diagnostic.facts = facts(&error["facts"]);
    if let Some(said) = error["said"].as_str().filter(|said| !said.trim().is_empty()) {
        diagnostic = diagnostic.fact("said", said.trim());
    }
    diagnostic.hints = texts(&error["hints"]);
    diagnostic
}

/// Names of diagnostics last as long as the program, and a run says one or two.
fn lasting(name: &str) -> &'static str {
    Box::leak(name.to_owned().into_boxed_str())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}

fn plain(value: &Value) -> Fact {
    match value {
        Value::String(text) => Fact::Text(text.clone()),
        Value::Number(n) if n.is_u64() => Fact::Count(n.as_u64().unwrap_or_default()),
        other => Fact::Text(other.to_string()),
    }
}

fn facts(value: &Value) -> Vec<(&'static str, Fact)> {
    let read = |fact: &Value| serde_json::from_value::<FactDocument>(fact.clone()).ok();
    let facts = value.as_array().into_iter().flatten().filter_map(read);
    let typed = |value: ValueDocument| match value {
        ValueDocument::Text(text) => Fact::Text(text),
        ValueDocument::Count(count) => Fact::Count(count),
        ValueDocument::Real(real) => Fact::Real(real.unwrap_or(f64::NAN)),
        ValueDocument::Bytes(bytes) => Fact::Bytes(Bytes(bytes)),
        ValueDocument::Duration(duration) => Fact::Nanos(Nanos(duration.ns)),
        ValueDocument::List(list) => Fact::List(list),
        ValueDocument::Sizes(sizes) => {
            Fact::Sizes(sizes.into_iter().map(|size| (size.name, Bytes(size.bytes))).collect())
        }
    };
    facts.map(|fact| (lasting(&fact.name), typed(fact.value))).collect()
}

#[cfg(test)]
mod tests {
    use documents::diagnostic::DiagnosticDocument;

    use super::*;

    #[test]
    fn a_diagnostic_that_travels_is_the_same() {
        let sent = Diagnostic::error(Blame::Infeasible, "memory-exceeded", "too `big`")
            .fact("needs", Bytes(9_000_000_000))
            .fact("at", Nanos(1_500))
            .hint("use two devices");
        let document = serde_json::to_value(DiagnosticDocument::from(&sent)).unwrap();
        assert_eq!(told(&document, Some(4)), sent);
    }

    #[test]
    fn what_is_no_service_is_told_apart() {
        let said = refused("http://a", 502, b"<html>Bad Gateway</html>").diagnostic();
        assert_eq!((said.code, said.blame), ("no-service", Blame::NotFound));
        let body =
            br#"{"title":"no","code":"too-long","hints":["h"],"limit_bytes":7,"status":413}"#;
        let said = refused("http://a", 413, body);
        assert!(matches!(said, Failure::NoAnswer(_)));
        let said = said.diagnostic();
        assert_eq!((said.code, said.hints.len()), ("too-long", 1));
        assert_eq!(said.facts, [("limit_bytes", Fact::Count(7))]);
    }
}
