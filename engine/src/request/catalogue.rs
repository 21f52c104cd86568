//! Lists of what can be read and written, as documents.

use exporters::Writer;
use ir::plan_kind::PlanKind;
use serde_json::{Value, json};

/// The formats of models that are read.
#[must_use]
pub fn formats() -> Value {
    let names: Vec<&str> = importers::formats().iter().map(|row| row.name).collect();
    json!({ "formats": names })
}

/// The formats in which plans are written, for placements of ops, training runs and fleets of serving workers.
#[must_use]
pub fn targets() -> Value {
    let kinds = [
        (PlanKind::Placement, "placements"),
        (PlanKind::Training, "training-runs"),
        (PlanKind::Fleet, "fleets"),
    ];
    let of = |(kind, of): (PlanKind, &'static str)| {
        exporters::targets().iter().filter_map(move |row| {
            let takes = row.takes(kind)?;
            let is_executor = takes.writer.is_executor() || matches!(takes.writer, Writer::Run(_));
            Some(json!({ "name": row.name, "file_name": row.file_name, "summary": row.summary,
                "versions": takes.versions, "of": of, "is_executor": is_executor }))
        })
    };
    json!({ "targets": kinds.into_iter().flat_map(of).collect::<Vec<_>>() })
}
