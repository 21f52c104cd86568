//! Training steps: reads the tables and lends the judge its schedules.

use std::path::Path;

use super::Found;
use cost_model::accuracy::steps::{StepTables, lines};
use importers::measurements;
use ir::diagnostic::Diagnostic;
use ir::grid::Grid;
use planner::training::schedule::{interleaved, one_f_one_b};

/// The GPU that all of these tables are about, as the table of devices calls it.
pub(super) const GPU: &str = "a100_sxm";

/// Judges the step-time model on the tables of the data folder.
pub(super) fn judge(data: &Path) -> Result<Found, Diagnostic> {
    let read = |name: &str| measurements::steps::read(&data.join("steptimes").join(name));
    let tables = StepTables {
        vtrain_single: read("vtrain_single.csv")?,
        vtrain_multi: read("vtrain_multi.csv")?,
        sc21: read("megatron_sc21.csv")?,
        korthikanti: read("korthikanti.csv")?,
        bigscience: read("bigscience_a100.csv")?,
    };
    let collectives = data.join("measurements").join("collectives.csv");
    let collectives = measurements::collectives::read(&collectives)?;
    let facts = measurements::devices::facts(GPU)?;
    let judged = |facts| lines(&tables, &collectives, &facts, schedule);
    let (lines, residuals) = facts.map(judged).unwrap_or_default();
    Ok(Found { lines, residuals })
}

/// The schedule of Megatron-LM: 1F1B, interleaved where a rank holds several chunks.
pub fn schedule(n_ranks: u32, n_chunks: u32, n_micro_batches: u32) -> Result<Grid, Diagnostic> {
    match n_chunks {
        1 => one_f_one_b::grid(n_ranks, n_micro_batches),
        _ => interleaved::grid(n_ranks, n_chunks, n_micro_batches),
    }
}
