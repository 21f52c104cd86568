//! How right the cost model is: `meshwright validate`, which judges it on published measurements, and
//! the tables that it reads.

use std::path::{Path, PathBuf};

use documents::diagnostic::DiagnosticDocument;
use engine::answer::exit::{CommandResult, Exit};
use engine::answer::files::artifact::{self, Existing};
use engine::answer::page::Page;
use ir::diagnostic::Diagnostic;
use serde_json::json;

use crate::judged::intervals::{self, Residual};
use crate::page::{document, markdown, rows, tables};
use crate::parts::{Found, found};
use crate::readers::Left;

pub mod judged;
pub mod line;
mod page;
mod parts;
pub mod readers;

/// Tables that the cost model is judged on.
#[derive(Clone, Debug)]
pub struct ValidateRequest {
    /// The folder of tables.
    pub folder: PathBuf,
    /// Load tests of servers, as aiconfigurator's `silicon_sample.csv` has them.
    pub load_tests: Option<PathBuf>,
    /// Whether the worst row and a note of each line are shown.
    pub detail: bool,
    /// Whether the page of accuracy is wanted instead.
    pub markdown: bool,
    /// Where the page goes.
    pub output: Option<PathBuf>,
    /// Where the rows of the lines go, as CSV.
    pub rows: Option<PathBuf>,
    /// Whether a file there is replaced.
    pub force: bool,
}

/// Judges the cost model on published measurements.
///
/// # Errors
/// Those of reading the tables and of writing the page.
pub fn run(args: &ValidateRequest, page: &Page) -> CommandResult {
    let existing = Existing::of(args.force);
    let outputs: Vec<&Path> = args.output.iter().chain(&args.rows).map(PathBuf::as_path).collect();
    artifact::check(&outputs, &[], existing)?;
    let Found { mut lines, residuals, left: Left(left) } = found(&args.folder)?;
    if lines.is_empty() {
        return Err(left.into_iter().next().unwrap_or_else(|| nothing(&args.folder)));
    }
    lines.extend(intervals::lines(&residuals));
    if let Some(file) = &args.load_tests {
        lines.extend(parts::serving::load_tests(file)?);
    }
    // The page opens with today's hardware.
    lines.sort_by_key(|line| line.table != "runs");
    let mut files = Vec::new();
    if let Some(path) = &args.output {
        files.push((path.clone(), markdown::of(&lines).into_bytes()));
    }
    if let Some(path) = &args.rows {
        files.push((path.clone(), rows::csv(&lines)?));
    }
    artifact::write_all(&files, existing)?;
    let written: Vec<String> = files.iter().map(|(path, _)| path.display().to_string()).collect();
    for path in &written {
        page.line(&format!("wrote {path}"));
    }
    if args.markdown && args.output.is_none() {
        page.text(&markdown::of(&lines));
    } else if !args.markdown {
        tables::print(&lines, page);
        if args.detail {
            tables::details(&lines, page);
        }
    }
    page.warnings(&left);
    page.document(&json!({
        "lines": lines.iter().map(document::of).collect::<Vec<_>>(),
        "left": left.iter().map(DiagnosticDocument::from).collect::<Vec<_>>(),
        "written": written,
    }));
    Ok(Exit::DONE)
}

fn nothing(folder: &Path) -> Diagnostic {
    Diagnostic::input("no-tables", "there is no table that is judged")
        .fact("folder", folder.display().to_string())
        .hint("docs/data.md has the tables and their columns")
}

/// How far nominal constants are from each published run of a data folder.
///
/// # Errors
/// Those of reading the tables.
pub fn residuals(data: &Path) -> Result<Vec<Residual>, Diagnostic> {
    Ok(found(data)?.residuals)
}
