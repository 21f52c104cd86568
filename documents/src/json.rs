//! JSON text of documents.

use ir::diagnostic::{Blame, Diagnostic};
use serde::Serialize;

/// Indented JSON with a final newline.
///
/// # Errors
/// `internal` where a value has no JSON form; no document holds one.
pub fn pretty(document: &impl Serialize) -> Result<String, Diagnostic> {
    serde_json::to_string_pretty(document).map(|text| text + "\n").map_err(|error| {
        Diagnostic::error(
            Blame::Internal,
            "internal",
            format!("a document has no JSON form: {error}"),
        )
    })
}
