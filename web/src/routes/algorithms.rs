//! `GET /api/algorithms`: the registry.

use axum::routing::get;
use axum::{Json, Router};

/// The route.
pub(crate) fn router() -> Router {
    Router::new().route("/api/algorithms", get(async || Json(engine::algorithms::document())))
}
