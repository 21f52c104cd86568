//! Lists of what can be read and written, as documents.

use exporters::training;
use serde_json::{Value, json};

/// The formats of models that are read.
#[must_use]
pub fn formats() -> Value {
    let names: Vec<&str> = importers::formats().iter().map(|row| row.name).collect();
    json!({ "formats": names })
}

/// The formats in which plans are written, for placements of ops and for training runs.
#[must_use]
pub fn targets() -> Value {
    let placed = exporters::targets().iter().map(|row| {
        json!({ "name": row.name, "file_name": row.file_name, "summary": row.summary,
            "versions": row.versions, "of": "placements" })
    });
    let runs = training::targets().iter().map(|row| {
        json!({ "name": row.name, "file_name": row.file_name, "summary": row.summary,
            "versions": row.versions, "of": "training-runs" })
    });
    json!({ "targets": placed.chain(runs).collect::<Vec<_>>() })
}
