//! This machine, measured: a profile, or how well one predicts it.

use std::path::Path;

use documents::profile::ProfileDocument;
use ir::diagnostic::Diagnostic;
use ir::profile::{KernelConstants, Profile, Quality};
use profiler::options::{Options, Part};
use serde_json::json;

use crate::answer::exit::{CommandResult, Exit};
use crate::answer::files::artifact::{self, Existing};
use crate::answer::page::{Column, Page};
use crate::request::MeasureRequest;

pub use profiler::options::{Busy, Clock, Engine, Peer};

/// Products that a check measures.
const N_OTHERS: usize = 30;

/// Measures, and writes a profile or checks one.
///
/// # Errors
/// Those of measuring and writing; `other-kind`.
pub fn run(request: &MeasureRequest, page: &Page) -> CommandResult {
    let options = Options {
        kind: request.kind.clone(),
        busy: request.busy,
        peer: request.peer.clone(),
        ..Options::new(request.engine.clone())
    };
    match &request.check {
        Some(path) => check(path, options, page),
        None => write(request, &options, page),
    }
}

fn write(request: &MeasureRequest, options: &Options, page: &Page) -> CommandResult {
    let existing = Existing::of(request.force);
    artifact::check(&[request.output.as_path()], &[], existing)?;
    let measurement = profiler::measure(options)?;
    let profile = profiler::to_profile(&measurement)?;
    let text = documents::json::pretty(&ProfileDocument::from_ir(&profile))?;
    artifact::write_all(&[(request.output.clone(), text.into_bytes())], existing)?;

    constants(&profile, page);
    page.line("");
    quality(&profile, page);
    let seconds = measurement.elapsed_s;
    let path = request.output.display().to_string();
    page.line(&format!("measured in {seconds:.1} s, wrote {path}"));
    page.document(&json!({
        "profile": ProfileDocument::from_ir(&profile),
        "run": { "elapsed_s": seconds, "written": [path] },
    }));
    Ok(Exit::DONE)
}

/// Measures products that no profile was fitted to, drawn from another seed.
fn check(path: &Path, options: Options, page: &Page) -> CommandResult {
    let profile = importers::profile::read(path)?;
    let other = Options { part: Part::Products, seed: 1, n_products: N_OTHERS, ..options };
    let measurement = profiler::measure(&other)?;
    let check = profiler::check(&profile, &measurement);
    if check.n == 0 {
        let kinds: Vec<&str> = profile.kinds.keys().map(String::as_str).collect();
        return Err(Diagnostic::input(
            "other-kind",
            format!("the profile says nothing about products of `{}`", measurement.kind),
        )
        .fact("profiled", kinds.join(", "))
        .hint("name the kind with --kind, or take a profile of this backend"));
    }
    let worst = check.worst.as_ref().map_or_else(String::new, |task| format!(" at {task}"));
    page.line(&format!(
        "{} other products: median error {:.1} %, worst {:.1} %{worst}",
        check.n,
        100.0 * check.median_error,
        100.0 * check.worst_error
    ));
    let load = measurement.machine.load_before;
    if let Some(load) = load {
        page.line(&format!("load average {load:.1} on {} cores", measurement.machine.n_cores));
    }
    page.document(&json!({
        "products": check.n,
        "unknown": check.n_unknown,
        "median_error": check.median_error,
        "worst_error": check.worst_error,
        "dispersion": measurement.dispersion(),
        "idle": measurement.machine.idle,
        "load_average": load,
        "elapsed_s": measurement.elapsed_s,
    }));
    Ok(Exit::DONE)
}

fn constants(profile: &Profile, page: &Page) {
    let columns = Column::row("@kind | #launch | #compute | #memory | #p");
    let row = |(kind, constants): (&String, &KernelConstants)| {
        vec![
            kind.clone(),
            format!("{:.2} us", constants.launch.get() * 1e6),
            format!("{:.0} %", constants.compute_efficiency * 100.0),
            format!("{:.0} %", constants.memory_efficiency * 100.0),
            format!("{:.2}", constants.p_norm),
        ]
    };
    page.table(&columns, profile.kinds.iter().map(row).collect());
}

/// How well each fit describes what was measured.
fn quality(profile: &Profile, page: &Page) {
    let columns =
        Column::row("@fit | #samples | #r^2 | #median error | not identified by the samples");
    let row = |(name, quality): (&String, &Quality)| {
        vec![
            name.clone(),
            quality.n_samples.to_string(),
            format!("{:.3}", quality.r_squared),
            format!("{:.1} %", quality.median_error * 100.0),
            quality.unidentified.join(", "),
        ]
    };
    page.table(&columns, profile.quality.iter().map(row).collect());
}
