//! What does not change while the service runs, and how it feels.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde_json::{Value, json};

use super::openapi;
use crate::problem::Problem;
use crate::service::Shared;

/// `GET /livez`.
pub(super) async fn live() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// `GET /readyz`: whether it takes plans: not while it ends, nor without its database.
pub(super) async fn ready(State(service): State<Shared>) -> Result<Json<Value>, Problem> {
    if service.is_stopping() {
        let title = "the service ends";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", title).retry(5));
    }
    service.store.touch().await?;
    Ok(Json(json!({ "status": "ready" })))
}

/// `GET /metrics`, in the text format of Prometheus.
pub(super) async fn metrics(State(service): State<Shared>) -> Result<Response, Problem> {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    Ok((kind, crate::metrics::text(&service).await?).into_response())
}

/// `GET /openapi.json`.
pub(super) async fn document(State(service): State<Shared>) -> Json<Value> {
    Json(openapi::document(service.version))
}

/// `GET /docs`.
pub(super) async fn page() -> Html<&'static str> {
    Html(include_str!("docs.html"))
}

/// `GET /v1/algorithms`.
pub(super) async fn algorithms() -> Json<Value> {
    Json(engine::tools::algorithms::document())
}

/// `GET /v1/devices`.
pub(super) async fn devices() -> Result<Json<Value>, Problem> {
    Ok(engine::inputs::devices::document().map(Json)?)
}

/// `GET /v1/formats`.
pub(super) async fn formats() -> Json<Value> {
    Json(engine::request::catalogue::formats())
}

/// `GET /v1/targets`.
pub(super) async fn targets() -> Json<Value> {
    Json(engine::request::catalogue::targets())
}
