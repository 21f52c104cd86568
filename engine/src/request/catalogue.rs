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
    let of = |kind: &'static str| {
        move |row: &exporters::Target| {
            json!({ "name": row.name, "file_name": row.file_name, "summary": row.summary,
                "versions": row.versions, "of": kind, "is_executor": row.is_executor })
        }
    };
    let placed = exporters::targets().iter().map(of("placements"));
    let pictures = exporters::targets().iter().filter(|row| PICTURES.contains(&row.name));
    let pictures = pictures.map(of("training-runs"));
    let runs = training::targets().iter().map(|row| {
        json!({ "name": row.name, "file_name": row.file_name, "summary": row.summary,
            "versions": row.versions, "of": "training-runs", "is_executor": true })
    });
    json!({ "targets": placed.chain(pictures).chain(runs).collect::<Vec<_>>() })
}

/// Pictures of the step.
pub const PICTURES: [&str; 2] = ["svg", "trace"];
