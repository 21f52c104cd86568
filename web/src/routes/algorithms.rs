//! `GET /api/algorithms`: the registry.

use axum::routing::get;
use axum::{Json, Router};
use planner::registry::{Entry, entries};
use serde_json::{Value, json};

/// The route.
pub(crate) fn router() -> Router {
    Router::new().route("/api/algorithms", get(async || Json(document())))
}

/// The registry, row by row, in its own order.
#[must_use]
pub fn document() -> Value {
    json!({ "algorithms": entries().iter().map(row).collect::<Vec<_>>() })
}

fn row(entry: &Entry) -> Value {
    json!({
        "name": entry.name,
        "kind": entry.kind.name(),
        "decides": entry.decides.iter().map(|f| f.name()).collect::<Vec<_>>(),
        "paper": entry.paper,
        "summary": entry.summary,
    })
}
