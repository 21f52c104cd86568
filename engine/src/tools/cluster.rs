//! The start of a cluster file.

use std::path::PathBuf;

use importers::cluster::draft;
use ir::diagnostic::Diagnostic;
use serde_json::json;

use crate::answer::exit::{CommandResult, Exit};
use crate::answer::page::Page;

/// Writes the start of a cluster file from what machines print; names what is left blank.
pub fn run(from: &[PathBuf], page: &Page) -> CommandResult {
    let draft = draft(from)?;
    let named = |(key, what): &(String, String)| {
        let message = format!("`{key}` is left blank: the files do not say it");
        Diagnostic::warning("blank-key", message).hint(format!("write {what}"))
    };
    let warnings: Vec<Diagnostic> = draft.blank.iter().map(named).collect();
    page.warnings(&warnings);
    page.text(&draft.text);
    let blank = draft.blank.iter().map(|(key, what)| json!({ "key": key, "meaning": what }));
    page.document(&json!({ "cluster": draft.text, "blank": blank.collect::<Vec<_>>() }));
    Ok(Exit::DONE)
}
