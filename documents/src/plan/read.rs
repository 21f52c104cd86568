//! Reading and writing the text of a plan document.

use ir::diagnostic::Diagnostic;
use serde::Deserialize;

use super::{FORMAT, PlanDocument};

/// The longest document that is read, in bytes.
const MAX_DOCUMENT: usize = 1 << 30;

/// What all versions begin with.
const FORMAT_FAMILY: &str = "meshwright.plan/";

/// Only the version: read before all else, so that another version is named as such.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Head {
    format: String,
}

impl PlanDocument {
    /// Reads a document.
    ///
    /// # Errors
    /// `bad-plan` with line and column where it is not such a document, or with the member whose
    /// value no plan has; `version-mismatch` where it is one of another version, `too-large` past
    /// 1 GiB.
    pub fn parse(text: &[u8]) -> Result<Self, Diagnostic> {
        if text.len() > MAX_DOCUMENT {
            return Err(Diagnostic::input("too-large", "the plan document is past 1 GiB")
                .fact("bytes", text.len()));
        }
        let head: Head = crate::json::read(text, malformed)?;
        if head.format != FORMAT {
            return Err(wrong_format(&head.format));
        }
        let document: Self = crate::json::read(text, malformed)?;
        document.check()?;
        Ok(document)
    }

    /// Pretty JSON with a final newline. The same document gives the same bytes.
    ///
    /// # Errors
    /// `internal` if serialisation fails, which it can't for this type.
    pub fn to_json(&self) -> Result<String, Diagnostic> {
        crate::json::pretty(self)
    }
}

fn malformed(error: &serde_json::Error) -> Diagnostic {
    Diagnostic::input(
        "bad-plan",
        format!("this is no plan document: {}", crate::json::reason(error)),
    )
    .fact("line", error.line())
    .fact("column", error.column())
    .hint("give a plan as `meshwright plan` writes it")
}

pub(super) fn wrong_format(format: &str) -> Diagnostic {
    let shown: String = format.chars().take(80).collect();
    let diagnostic = if format.starts_with(FORMAT_FAMILY) {
        Diagnostic::input(
            "version-mismatch",
            format!("the plan has format `{shown}`; this version reads `{FORMAT}`"),
        )
        .hint("plan again with this version")
    } else {
        Diagnostic::input("bad-plan", format!("`{shown}` is not the format of a plan document"))
    };
    diagnostic.fact("format", shown).fact("expected", FORMAT)
}
