//! `GET /api/health`: whether the service answers.

use axum::Json;
use axum::routing::{MethodRouter, get};
use serde_json::{Value, json};

/// The route.
pub(crate) fn route() -> MethodRouter {
    get(async || Json(document()))
}

/// What it answers.
#[must_use]
pub fn document() -> Value {
    json!({ "status": "ok" })
}
