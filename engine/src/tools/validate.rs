//! `validate`: how right the cost model is on published measurements.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread;

use cost_model::accuracy::{self, intervals::Residual};
use cost_model::numeric::score::Line;
use importers::measurements;
use importers::measurements::peak_memory::golden::GoldenRow;
use importers::measurements::peak_memory::{bigscience, golden, korthikanti, torchtitan};
use ir::diagnostic::{Blame, Diagnostic};
use ir::measured::GpuFacts;
use ir::measured::memory::MemoryRow;
use serde_json::json;

use crate::answer::exit::{CommandResult, Exit};
use crate::answer::files::artifact::{self, Existing};
use crate::answer::page::Page;
use crate::request::ValidateRequest;

mod document;
mod markdown;
mod runs;
mod steps;
mod tables;

pub use steps::schedule;

/// Data sheet figures by GPU name.
type Facts = BTreeMap<String, GpuFacts>;
/// Reads tables of the data folder and judges a part of the cost model on them.
type Part = fn(&Path) -> Result<Found, Diagnostic>;

/// Lines of a part, and how far nominal constants are from each run in it.
#[derive(Default)]
struct Found {
    lines: Vec<Line>,
    residuals: Vec<Residual>,
}

impl From<Vec<Line>> for Found {
    fn from(lines: Vec<Line>) -> Self {
        Self { lines, residuals: Vec::new() }
    }
}

/// The slowest first, so that two cores end together.
const PARTS: [Part; 8] =
    [overlap, gemm, steps::judge, runs::judge, attention, moe, collectives, memory];

/// Judges the cost model on published measurements.
///
/// # Errors
/// Those of reading the tables and of writing the page.
pub fn run(args: &ValidateRequest, page: &Page) -> CommandResult {
    let existing = Existing::of(args.force);
    let outputs: Vec<&Path> = args.output.iter().map(PathBuf::as_path).collect();
    artifact::check(&outputs, &[], existing)?;
    let Found { mut lines, residuals } = found(&args.folder)?;
    lines.extend(accuracy::intervals::lines(&residuals));
    // The page opens with today's hardware.
    lines.sort_by_key(|line| line.table != "runs");
    let mut written = Vec::new();
    match &args.output {
        Some(output) => {
            let bytes = markdown::of(&lines).into_bytes();
            artifact::write_all(&[(output.clone(), bytes)], existing)?;
            written.push(output.display().to_string());
            page.line(&format!("wrote {}", output.display()));
        }
        None if args.markdown => page.text(&markdown::of(&lines)),
        None => {
            tables::print(&lines, page);
            if args.detail {
                tables::details(&lines, page);
            }
        }
    }
    page.document(&json!({
        "lines": lines.iter().map(document::of).collect::<Vec<_>>(),
        "written": written,
    }));
    Ok(Exit::DONE)
}

/// How far nominal constants are from each published run of a data folder.
///
/// # Errors
/// Those of reading the tables.
pub fn residuals(data: &Path) -> Result<Vec<Residual>, Diagnostic> {
    Ok(found(data)?.residuals)
}

fn found(data: &Path) -> Result<Found, Diagnostic> {
    let mut found = Found::default();
    for part in judged(data)? {
        let Found { lines, residuals } = part?;
        found.lines.extend(lines);
        found.residuals.extend(residuals);
    }
    Ok(found)
}

/// Every part, on a thread of its own, or on this one where the system starts none.
fn judged(data: &Path) -> Result<Vec<Result<Found, Diagnostic>>, Diagnostic> {
    thread::scope(|scope| {
        let spawn = |part: Part| {
            (part, thread::Builder::new().spawn_scoped(scope, move || part(data)).ok())
        };
        let parts: Vec<(Part, _)> = PARTS.into_iter().map(spawn).collect();
        let failed =
            |_| Diagnostic::error(Blame::Internal, "internal", "a part of the table failed");
        let joined = |(part, own): (Part, Option<thread::ScopedJoinHandle<'_, _>>)| match own {
            Some(own) => own.join().map_err(failed),
            None => Ok(part(data)),
        };
        parts.into_iter().map(joined).collect()
    })
}

fn gemm(data: &Path) -> Result<Found, Diagnostic> {
    let rows = measurements::gemm::read(&data.join("measurements/gemm.csv"))?;
    let facts = facts(rows.iter().map(|row| row.gpu.as_str()))?;
    Ok(accuracy::gemm::lines(&rows, &facts).into())
}

fn attention(data: &Path) -> Result<Found, Diagnostic> {
    let rows = measurements::attention::read(&data.join("measurements/attention.csv"))?;
    let facts = facts(rows.iter().map(|row| row.gpu.as_str()))?;
    Ok(accuracy::attention::lines(&rows, &facts).into())
}

fn moe(data: &Path) -> Result<Found, Diagnostic> {
    let rows = measurements::moe::read(&data.join("measurements/moe.csv"))?;
    let facts = facts(rows.iter().map(|row| row.gpu.as_str()))?;
    Ok(accuracy::moe::lines(&rows, &facts).into())
}

fn collectives(data: &Path) -> Result<Found, Diagnostic> {
    let rows = measurements::collectives::read(&data.join("measurements/collectives.csv"))?;
    Ok(accuracy::collectives::lines(&rows).into())
}

fn overlap(data: &Path) -> Result<Found, Diagnostic> {
    let rows = measurements::overlap::read(&data.join("measurements/overlap.csv"))?;
    Ok(accuracy::overlap::lines(&rows).into())
}

fn memory(data: &Path) -> Result<Found, Diagnostic> {
    use accuracy::memory::{GoldenRows, Replayer};
    let folder = data.join("steptimes");
    let golden = golden::read(&folder.join("megatron_golden.csv"))?;
    let (stated, unsure) = golden_rows(&golden);
    let of_experts = golden.iter().filter(|own| own.is_whole && own.row.card.experts.is_some());
    let experts: Vec<MemoryRow> = of_experts.map(|own| own.row.clone()).collect();
    let Some(facts) = measurements::devices::facts(steps::GPU)? else {
        return Ok(Found::default());
    };
    let system = accuracy::steps::bare_system(&facts);
    let Some(system) = system else { return Ok(Found::default()) };
    let replayer = Replayer { system: &system, grid_of: steps::schedule };
    let golden = GoldenRows { stated: &stated, unsure: &unsure, experts: &experts };
    let formulas = replayer.formulas(&korthikanti::read(&folder.join("korthikanti.csv"))?);
    let measured = [
        replayer.golden(&golden),
        (formulas, Vec::new()),
        replayer.device(&bigscience::read(&folder.join("bigscience_a100.csv"))?),
        replayer.sharded(&torchtitan::read(&folder.join("torchtitan.csv"))?),
    ];
    let mut found = Found::default();
    for (lines, residuals) in measured {
        found.lines.extend(lines);
        found.residuals.extend(residuals);
    }
    Ok(found)
}

/// Mixtures from this many experts on are judged apart: nobody states the load of a rank.
const MANY_EXPERTS: u64 = 8;

/// Rows whose layout and load are stated, and the others.
fn golden_rows(rows: &[GoldenRow]) -> (Vec<MemoryRow>, Vec<MemoryRow>) {
    let (mut stated, mut unsure) = (Vec::new(), Vec::new());
    for golden in rows {
        let few = golden.row.card.experts.is_none_or(|e| e.n_experts < MANY_EXPERTS);
        let known = few && golden.layout == golden::Layout::Stated;
        if known { &mut stated } else { &mut unsure }.push(golden.row.clone());
    }
    (stated, unsure)
}

fn facts<'a>(gpus: impl Iterator<Item = &'a str>) -> Result<Facts, Diagnostic> {
    let mut all = Facts::new();
    for gpu in gpus {
        if !all.contains_key(gpu)
            && let Some(facts) = measurements::devices::facts(gpu)?
        {
            all.insert(gpu.to_owned(), facts);
        }
    }
    Ok(all)
}
