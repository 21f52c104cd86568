//! `GET /api/algorithms`: the registry.

use axum::Json;
use axum::routing::{MethodRouter, get};

/// The route.
pub(crate) fn route() -> MethodRouter {
    get(async || Json(engine::algorithms::document()))
}
