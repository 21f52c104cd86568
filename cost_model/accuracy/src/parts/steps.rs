//! Training steps: reads the tables.

use std::path::Path;

use importers::measurements;
use ir::diagnostic::Diagnostic;

use super::Found;
use crate::judged::steps::{StepTables, lines};
use crate::readers::Left;

/// The GPU that all of these tables are about, as the table of devices calls it.
pub(super) const GPU: &str = "a100_sxm";

/// Judges the step-time model on the tables of the data folder.
pub(super) fn judge(data: &Path) -> Result<Found, Diagnostic> {
    let mut left = Left::default();
    let mut read =
        |name: &str| left.table(&data.join("steptimes").join(name), measurements::steps::read);
    let tables = StepTables {
        vtrain_single: read("vtrain_single.csv"),
        vtrain_multi: read("vtrain_multi.csv"),
        sc21: read("megatron_sc21.csv"),
        korthikanti: read("korthikanti.csv"),
        bigscience: read("bigscience_a100.csv"),
    };
    let collectives = data.join("measurements").join("collectives.csv");
    let collectives = left.table(&collectives, measurements::collectives::read);
    let facts = measurements::devices::facts(GPU)?;
    let judged = |facts| lines(&tables, &collectives, &facts);
    let (lines, residuals) = facts.map(judged).unwrap_or_default();
    Ok(Found { lines, residuals, left })
}
