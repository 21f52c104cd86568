//! `calibrate`: fits a profile to measurements.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cost_model::calibrate::{Calibration, Context, Part, calibrate};
use documents::diagnostic::DiagnosticDocument;
use documents::profile::ProfileDocument;
use importers::measurements::{devices, set};
use ir::diagnostic::{Blame, Diagnostic};
use ir::measured::{GpuFacts, Measurements};
use ir::profile::Profile;
use serde_json::{Value, json};

use crate::answer::exit::{CommandResult, Exit};
use crate::answer::files::artifact::{self, Existing};
use crate::answer::page::Column;
use crate::answer::page::Page;
use crate::request::CalibrateRequest;

pub mod steps;

/// Parts that are listed without `--all`.
const LISTED: usize = 20;
/// Refused lines that are listed without `--all`.
const REFUSED: usize = 5;
/// Longest source that a profile states.
const SOURCE: usize = 200;

/// Fits a profile to measurements and writes it.
///
/// # Errors
/// Those of reading, fitting and writing; `unlikely-rows` where no profile can be that.
pub fn run(args: &CalibrateRequest, page: &Page) -> CommandResult {
    let existing = Existing::of(args.force);
    let files: Vec<&Path> = args.files.iter().map(PathBuf::as_path).collect();
    let others = [&args.steps, &args.cluster, &args.base];
    let others = others.into_iter().filter_map(|file| file.as_deref());
    let inputs: Vec<&Path> = files.iter().copied().chain(others).collect();
    artifact::check(&[args.output.as_path()], &inputs, existing)?;
    let base = args.base.as_deref().map(importers::profile::read).transpose()?;
    let base = base.unwrap_or_else(|| named(args.kind.as_deref()));
    let (found, n_rows) = kernels(args, &files, base)?;
    let corrected = args.steps.as_deref().map(|path| steps::correct(args, path, &found.profile));
    let corrected = corrected.transpose()?;
    let profile = corrected.as_ref().map_or(&found.profile, |corrected| &corrected.found.profile);
    let document = ProfileDocument::from_ir(profile);
    let text = documents::json::pretty(&document)?;
    // What could not be read back would be lost with the measurements.
    let back = importers::profile::parse(&text, "").map_err(|error| unbelieved(&error, &inputs))?;
    if documents::digest::profile(&back) != documents::digest::profile(profile) {
        let message = "the profile does not read back as it was written";
        return Err(Diagnostic::error(Blame::Internal, "internal", message));
    }
    artifact::write_all(&[(args.output.clone(), text.into_bytes())], existing)?;
    let path = args.output.display().to_string();
    let mut warnings = found.warnings.clone();
    if !files.is_empty() {
        print(&found, args, page);
        page.line(&sentence(&found, n_rows, &path));
    }
    if let Some(corrected) = &corrected {
        if !files.is_empty() {
            page.line("");
        }
        steps::print(corrected, page);
        page.line(&steps::sentence(corrected, &path));
        warnings.extend(corrected.warnings());
    }
    page.warnings(&warnings);
    page.document(&json!({
        "parts": found.parts.iter().map(part).collect::<Vec<_>>(),
        "rows": n_rows,
        "steps": corrected.as_ref().map(steps::document),
        "profile": document,
        "warnings": warnings.iter().map(DiagnosticDocument::from).collect::<Vec<_>>(),
        "run": { "written": [path] },
    }));
    Ok(Exit::DONE)
}

/// That what the rows say is out of the range of hardware.
fn unbelieved(error: &Diagnostic, inputs: &[&Path]) -> Diagnostic {
    let message = format!("the rows give what no hardware has: {}", error.message);
    let facts = error.facts.iter().filter(|(name, _)| *name != "file").cloned();
    let mut diagnostic = Diagnostic::input("unlikely-rows", message).fact("files", source(inputs));
    diagnostic.facts.extend(facts);
    diagnostic.hint(
        "check the units of the columns: a name ends with its own, such as time_us or time_ms",
    )
}

/// What the files of kernels, transfers and collectives say; without files, the base.
fn kernels(
    args: &CalibrateRequest,
    files: &[&Path],
    base: Profile,
) -> Result<(Calibration, usize), Diagnostic> {
    if files.is_empty() {
        return Ok((Calibration { profile: base, ..Calibration::default() }, 0));
    }
    let read = set::read(files, args.kind.as_deref())?;
    let context = Context {
        facts: facts(&read.rows, read.called.as_deref())?,
        base,
        source: source(files),
        date: profiler::date::today(),
    };
    let mut found = calibrate(&read.rows, &context)?;
    found.warnings.splice(..0, read.warnings);
    Ok((found, read.rows.n_rows()))
}

fn named(kind: Option<&str>) -> Profile {
    Profile { name: kind.unwrap_or("calibrated").to_owned(), ..Profile::default() }
}

/// Names of the files, without their folders.
fn source(files: &[&Path]) -> String {
    let name = |path: &&Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let names: Vec<String> = files.iter().filter_map(name).collect();
    names.join(", ").chars().take(SOURCE).collect()
}

/// Data sheets by kind; a stated kind may be known by the name that the files give it.
fn facts(
    rows: &Measurements,
    called: Option<&str>,
) -> Result<BTreeMap<String, GpuFacts>, Diagnostic> {
    let mut all = BTreeMap::new();
    for kind in cost_model::calibrate::kinds(rows) {
        let mut found = devices::facts(&kind)?;
        if let (None, Some(called)) = (&found, called) {
            found = devices::facts(called)?;
        }
        all.extend(found.map(|facts| (kind, facts)));
    }
    Ok(all)
}

fn print(found: &Calibration, args: &CalibrateRequest, page: &Page) {
    let columns =
        Column::row("@part | #samples | #r^2 | #median | #worst | @kept as | not identified");
    let n = found.parts.len();
    let shown = if args.all { n } else { n.min(LISTED) };
    page.table(&columns, found.parts.iter().take(shown).map(row).collect());
    if shown < n {
        page.line(&format!("... and {} more parts (--all)", n - shown));
    }
    let refused: Vec<(&Part, &String)> =
        found.parts.iter().filter_map(|part| Some((part, part.refused.as_ref()?))).collect();
    if refused.is_empty() {
        return;
    }
    page.line("");
    page.line(&match refused.len() {
        1 => "1 line refused; a table stands in for it:".to_owned(),
        n => format!("{n} lines refused; a table stands in for each:"),
    });
    let shown = if args.all { refused.len() } else { refused.len().min(REFUSED) };
    for (part, why) in refused.iter().take(shown) {
        page.line(&format!("  {}: {why}", part.name));
    }
    if shown < refused.len() {
        page.line(&format!("  ... and {} more (--all)", refused.len() - shown));
    }
}

fn row(part: &Part) -> Vec<String> {
    vec![
        part.name.clone(),
        part.quality.n_samples.to_string(),
        format!("{:.3}", part.quality.r_squared),
        percent(part.quality.median_error),
        percent(part.quality.worst_error),
        part.form.clone(),
        part.quality.unidentified.join(", "),
    ]
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn sentence(found: &Calibration, n_rows: usize, path: &str) -> String {
    let untold: usize = found.parts.iter().map(|part| part.quality.unidentified.len()).sum();
    let nominal = match untold {
        0 => String::new(),
        1 => ", 1 constant kept its nominal value".to_owned(),
        n => format!(", {n} constants kept their nominal values"),
    };
    let parts = match found.parts.len() {
        1 => "1 part".to_owned(),
        n => format!("{n} parts"),
    };
    format!("calibrated {parts} on {n_rows} rows{nominal}, wrote {path}")
}

fn part(part: &Part) -> Value {
    json!({
        "name": part.name,
        "kept_as": part.form,
        "samples": part.quality.n_samples,
        "r_squared": part.quality.r_squared,
        "median_error": part.quality.median_error,
        "worst_error": part.quality.worst_error,
        "not_identified": part.quality.unidentified,
        "refused": part.refused,
    })
}
