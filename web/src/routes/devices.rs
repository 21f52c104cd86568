//! `GET /api/devices`: the catalogue of devices and links.

use axum::routing::get;
use axum::{Json, Router};
use serde_json::Value;

use crate::error::Problem;

/// The route.
pub(crate) fn router() -> Router {
    Router::new().route("/api/devices", get(answer))
}

async fn answer() -> Result<Json<Value>, Problem> {
    Ok(engine::devices::document().map(Json)?)
}
