//! A placement of ops in other formats.

use exporters::{Export, Source};
use ir::diagnostic::Diagnostic;

use crate::{escape, suggest};

/// The file of a format; JSON is made safe to look at.
///
/// # Errors
/// Those of `exporters::export`.
pub fn exported(target: &str, source: &Source<'_>) -> Result<Export, Diagnostic> {
    let mut export = exporters::export(target, source)?;
    let row = exporters::targets().iter().find(|row| row.name == target);
    if row.is_some_and(|row| row.file_name.ends_with(".json")) {
        export.bytes = match String::from_utf8(export.bytes) {
            Ok(text) => escape::json(text).into_bytes(),
            Err(error) => error.into_bytes(),
        };
    }
    Ok(export)
}

/// Refuses a target that does not exist.
///
/// # Errors
/// `unknown-target`.
pub fn check_target(target: &str) -> Result<(), Diagnostic> {
    let known = || exporters::targets().iter().map(|row| row.name);
    if known().any(|name| name == target) {
        return Ok(());
    }
    Err(Diagnostic::usage("unknown-target", format!("there is no export target `{target}`"))
        .hint(suggest::hint(target, known())))
}
