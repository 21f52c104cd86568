//! `GET /api/devices`: the catalogue of devices and links.

use axum::Json;
use axum::routing::{MethodRouter, get};
use serde_json::Value;

use crate::error::Problem;

/// The route.
pub(crate) fn route() -> MethodRouter {
    get(answer)
}

async fn answer() -> Result<Json<Value>, Problem> {
    Ok(engine::devices::document().map(Json)?)
}
