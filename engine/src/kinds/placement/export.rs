//! A placement of ops in other formats.

use exporters::{Export, Source};
use ir::diagnostic::Diagnostic;

use crate::answer::escape;

/// The file of a format; JSON is made safe to look at.
///
/// # Errors
/// Those of `exporters::export`.
pub fn exported(target: &str, source: &Source<'_>) -> Result<Export, Diagnostic> {
    let mut export = exporters::export(target, source)?;
    if exporters::row(target).is_some_and(|row| row.file_name.ends_with(".json")) {
        export.bytes = match String::from_utf8(export.bytes) {
            Ok(text) => escape::json(text).into_bytes(),
            Err(error) => error.into_bytes(),
        };
    }
    Ok(export)
}
