//! Parts of the accuracy table: each reads tables of the data folder and judges a part of the cost
//! model on them.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;

use importers::measurements;
use ir::diagnostic::{Blame, Diagnostic};
use ir::measured::GpuFacts;

use crate::judged;
use crate::judged::intervals::Residual;
use crate::line::Line;
use crate::readers::Left;
use crate::readers::memory::MemoryRow;
use crate::readers::peak_memory::golden::GoldenRow;
use crate::readers::peak_memory::{bigscience, golden, korthikanti, torchtitan};

mod own;
mod runs;
pub(crate) mod serving;
mod steps;

/// Data sheet figures by GPU name.
type Facts = BTreeMap<String, GpuFacts>;
/// Reads tables of the data folder and judges a part of the cost model on them.
type Part = fn(&Path) -> Result<Found, Diagnostic>;

/// Lines of a part, how far nominal constants are from each run in it, and what was left out.
#[derive(Default)]
pub(super) struct Found {
    pub(super) lines: Vec<Line>,
    pub(super) residuals: Vec<Residual>,
    /// What could not be read.
    pub(super) left: Left,
}

impl From<Vec<Line>> for Found {
    fn from(lines: Vec<Line>) -> Self {
        Self { lines, ..Self::default() }
    }
}

/// The slowest first, so that two cores end together.
const PARTS: [Part; 9] =
    [overlap, gemm, steps::judge, runs::judge, attention, moe, collectives, memory, serving::judge];

/// All parts.
pub(super) fn found(data: &Path) -> Result<Found, Diagnostic> {
    let mut found = Found::default();
    // Some parts have figures of their own beside the tables.
    let is_data = ["measurements", "steptimes"].iter().any(|name| data.join(name).is_dir());
    let parts = if is_data { each(data)? } else { Vec::new() };
    for part in parts.into_iter().chain([own::judge(data)]) {
        let Found { lines, residuals, left } = part?;
        found.lines.extend(lines);
        found.residuals.extend(residuals);
        // Several parts read the same table.
        for error in left.0 {
            if !found.left.0.contains(&error) {
                found.left.0.push(error);
            }
        }
    }
    found.lines.retain(|line| line.score.n > 0);
    Ok(found)
}

/// Every part, on a thread of its own, or on this one where the system starts none.
fn each(data: &Path) -> Result<Vec<Result<Found, Diagnostic>>, Diagnostic> {
    thread::scope(|scope| {
        let spawn = |part: Part| {
            (part, thread::Builder::new().spawn_scoped(scope, move || part(data)).ok())
        };
        let parts: Vec<(Part, _)> = PARTS.into_iter().map(spawn).collect();
        let failed =
            |_| Diagnostic::error(Blame::Internal, "internal", "a part of the table failed");
        let joined = |(part, handle): (Part, Option<thread::ScopedJoinHandle<'_, _>>)| match handle
        {
            Some(handle) => handle.join().map_err(failed),
            None => Ok(part(data)),
        };
        parts.into_iter().map(joined).collect()
    })
}

fn gemm(data: &Path) -> Result<Found, Diagnostic> {
    let mut left = Left::default();
    let rows = left.table(&data.join("measurements/gemm.csv"), measurements::gemm::read);
    let facts = facts(rows.iter().map(|row| row.gpu.as_str()))?;
    Ok(Found { left, ..judged::gemm::lines(&rows, &facts).into() })
}

fn attention(data: &Path) -> Result<Found, Diagnostic> {
    let mut left = Left::default();
    let rows = left.table(&data.join("measurements/attention.csv"), measurements::attention::read);
    let facts = facts(rows.iter().map(|row| row.gpu.as_str()))?;
    Ok(Found { left, ..judged::attention::lines(&rows, &facts).into() })
}

fn moe(data: &Path) -> Result<Found, Diagnostic> {
    let mut left = Left::default();
    let rows = left.table(&data.join("measurements/moe.csv"), measurements::moe::read);
    let facts = facts(rows.iter().map(|row| row.gpu.as_str()))?;
    Ok(Found { left, ..judged::moe::lines(&rows, &facts).into() })
}

fn collectives(data: &Path) -> Result<Found, Diagnostic> {
    let mut left = Left::default();
    let rows =
        left.table(&data.join("measurements/collectives.csv"), measurements::collectives::read);
    if rows.is_empty() {
        return Ok(Found { left, ..Found::default() });
    }
    Ok(Found { left, ..judged::collectives::lines(&rows).into() })
}

fn overlap(data: &Path) -> Result<Found, Diagnostic> {
    let mut left = Left::default();
    let rows = left.table(&data.join("measurements/overlap.csv"), measurements::overlap::read);
    Ok(Found { left, ..judged::overlap::lines(&rows).into() })
}

fn memory(data: &Path) -> Result<Found, Diagnostic> {
    use judged::memory::{GoldenRows, Replayer};
    let folder = data.join("steptimes");
    let mut left = Left::default();
    let golden = golden::read(&folder.join("megatron_golden.csv"), &mut left);
    let (stated, unsure) = golden_rows(&golden);
    let of_experts =
        golden.iter().filter(|entry| entry.is_whole && entry.row.card.experts.is_some());
    let experts: Vec<MemoryRow> = of_experts.map(|entry| entry.row.clone()).collect();
    let Some(facts) = measurements::devices::facts(steps::GPU)? else {
        return Ok(Found::default());
    };
    let system = judged::steps::bare_system(&facts);
    let Some(system) = system else { return Ok(Found::default()) };
    let replayer = Replayer { system: &system };
    let golden = GoldenRows { stated: &stated, unsure: &unsure, experts: &experts };
    let formulas =
        replayer.formulas(&korthikanti::read(&folder.join("korthikanti.csv"), &mut left));
    let measured = [
        replayer.golden(&golden),
        (formulas, Vec::new()),
        replayer.device(&bigscience::read(&folder.join("bigscience_a100.csv"), &mut left)),
        replayer.sharded(&torchtitan::read(&folder.join("torchtitan.csv"), &mut left)),
    ];
    let mut found = Found { left, ..Found::default() };
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
