//! A placement of ops in other formats.

use exporters::{Export, Source};
use ir::diagnostic::Diagnostic;

use crate::answer::{escape, suggest};
use crate::request::executor;

/// The file of a format; JSON is made safe to look at.
///
/// # Errors
/// Those of `exporters::export`.
pub fn exported(target: &str, source: &Source<'_>) -> Result<Export, Diagnostic> {
    let mut export = exporters::export(target, source)?;
    if exporters::row(target)?.file_name.ends_with(".json") {
        export.bytes = match String::from_utf8(export.bytes) {
            Ok(text) => escape::json(text).into_bytes(),
            Err(error) => error.into_bytes(),
        };
    }
    Ok(export)
}

/// Refuses a target that writes no placements.
///
/// # Errors
/// `not-for-placements`, `unknown-target`.
pub fn check_target(target: &str) -> Result<(), Diagnostic> {
    executor::check_placements(target)?;
    let known = || exporters::targets().iter().map(|row| row.name);
    let name = target.split('@').next().unwrap_or_default();
    if known().any(|own| own == name) {
        return exporters::row(target).map(|_| ());
    }
    Err(Diagnostic::usage("unknown-target", format!("there is no export target `{name}`"))
        .hint(suggest::hint(name, known())))
}
