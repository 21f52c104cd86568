//! `GET /api/health`: whether the service answers.

use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

/// The route.
pub(crate) fn router() -> Router {
    Router::new().route("/api/health", get(async || Json(document())))
}

/// What it answers.
#[must_use]
pub fn document() -> Value {
    json!({ "status": "ok" })
}
