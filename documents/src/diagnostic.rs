//! Diagnostics as documents.

use ir::diagnostic::{Diagnostic, Severity, Value};
use ir::units::Bytes;
use serde::{Deserialize, Serialize};

use crate::quantity::Duration;

/// Severity of a diagnostic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum SeverityDocument {
    /// The result is valid.
    Warning,
    /// There is no result.
    Error,
}

/// A typed value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ValueDocument {
    /// Text, such as a name.
    Text(String),
    /// A count.
    Count(u64),
    /// A real number; absent where it is not finite.
    Real(Option<f64>),
    /// A size in bytes.
    Bytes(u64),
    /// A duration.
    Duration(Duration),
    /// Several names.
    List(Vec<String>),
    /// Sizes by name.
    Sizes(Vec<SizeDocument>),
}

/// A named size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SizeDocument {
    /// Name.
    pub name: String,
    /// The size in bytes.
    pub bytes: u64,
}

/// A named value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FactDocument {
    /// What it is.
    pub name: String,
    /// Its value.
    pub value: ValueDocument,
}

/// What happened, the facts, and a way out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DiagnosticDocument {
    /// Stable kebab-case code, such as `memory-exceeded`.
    pub code: String,
    /// Severity of a diagnostic.
    pub severity: SeverityDocument,
    /// The exit code that the command line ends with on this error; absent on warnings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// One sentence.
    pub message: String,
    /// Named facts, in order of interest.
    #[serde(default)]
    pub facts: Vec<FactDocument>,
    /// Fixes, verified where they name a value.
    #[serde(default)]
    pub hints: Vec<String>,
}

impl From<&Value> for ValueDocument {
    fn from(value: &Value) -> Self {
        match value {
            Value::Text(text) => Self::Text(text.clone()),
            Value::Count(count) => Self::Count(*count),
            Value::Real(real) => Self::Real(real.is_finite().then_some(*real)),
            Value::Bytes(bytes) => Self::Bytes(bytes.get()),
            Value::Nanos(nanos) => Self::Duration(Duration::from_ns(nanos.get())),
            Value::List(list) => Self::List(list.clone()),
            Value::Sizes(sizes) => {
                let size = |(name, bytes): &(String, Bytes)| SizeDocument {
                    name: name.clone(),
                    bytes: bytes.get(),
                };
                Self::Sizes(sizes.iter().map(size).collect())
            }
        }
    }
}

impl From<&Diagnostic> for DiagnosticDocument {
    fn from(diagnostic: &Diagnostic) -> Self {
        let (severity, exit_code) = match diagnostic.severity {
            Severity::Warning => (SeverityDocument::Warning, None),
            Severity::Error => (SeverityDocument::Error, Some(diagnostic.blame.exit_code())),
        };
        Self {
            code: diagnostic.code.to_owned(),
            severity,
            exit_code,
            message: diagnostic.message.clone(),
            facts: diagnostic
                .facts
                .iter()
                .map(|(name, value)| FactDocument { name: (*name).to_owned(), value: value.into() })
                .collect(),
            hints: diagnostic.hints.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ir::diagnostic::Blame;
    use ir::units::Nanos;

    #[test]
    fn a_diagnostic_survives_json_with_its_types() {
        let diagnostic = Diagnostic::error(Blame::Infeasible, "memory-exceeded", "too `big`")
            .fact("needs", Bytes(9_000_000_000))
            .fact("at", Nanos(1_500))
            .fact("ratio", f64::NAN)
            .fact("short", vec![("rank 0".to_owned(), Bytes(7))])
            .hint("use two devices");
        let document = DiagnosticDocument::from(&diagnostic);
        let text = serde_json::to_string(&document).unwrap();
        assert_eq!(serde_json::from_str::<DiagnosticDocument>(&text).unwrap(), document);
        assert_eq!(document.exit_code, Some(4));
        assert!(text.contains(r#"{"name":"needs","value":{"bytes":9000000000}}"#), "{text}");
        assert!(text.contains(r#""duration":{"ns":1500,"s":1.5e-6}"#), "{text}");
        assert!(text.contains(r#""real":null"#), "{text}");
        assert!(text.contains(r#"{"sizes":[{"name":"rank 0","bytes":7}]}"#), "{text}");
    }
}
