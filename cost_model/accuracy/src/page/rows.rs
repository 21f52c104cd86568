//! Rows of the lines as CSV.

use csv::Writer;
use ir::diagnostic::{Blame, Diagnostic};

use crate::line::{Line, Measure};

const COLUMNS: [&str; 7] =
    ["table", "part", "way", "row", "predicted", "measured", "error_percent"];

/// Rows of the lines of predicted times and bytes of whole runs but those in sample, each with its error;
/// seconds or bytes.
///
/// # Errors
/// `rows`, should a row not be written.
pub(crate) fn csv(lines: &[Line]) -> Result<Vec<u8>, Diagnostic> {
    let wrong = |error: String| Diagnostic::error(Blame::Internal, "rows", error);
    let mut writer = Writer::from_writer(Vec::new());
    writer.write_record(COLUMNS).map_err(|error| wrong(error.to_string()))?;
    let is_run = |line: &&Line| {
        matches!(line.measure, Measure::TimeError | Measure::MemoryError)
            && ["runs", "steps", "memory", "serving"].contains(&line.table)
            && line.way != "in sample"
    };
    for line in lines.iter().filter(is_run) {
        for (name, predicted, measured) in &line.score.rows {
            let error = 100.0 * (predicted / measured - 1.0);
            let figures = [format!("{predicted:.6}"), measured.to_string(), format!("{error:.2}")];
            let names = [line.table, &line.part, line.way, name];
            let record = names.into_iter().chain(figures.iter().map(String::as_str));
            writer.write_record(record).map_err(|error| wrong(error.to_string()))?;
        }
    }
    writer.into_inner().map_err(|error| wrong(error.to_string()))
}
