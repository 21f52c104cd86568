//! `GET /api/algorithms`: the registry.

use axum::routing::get;
use axum::{Json, Router};
use planner::algorithm::{Guarantee, OptionRow};
use planner::registry::{Entry, entries};
use serde_json::{Map, Value, json};

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
        "runs_on": entry.promises().iter().map(|(kind, _)| *kind).collect::<Vec<_>>(),
        "guarantees": entry.promises().into_iter().map(promise).collect::<Map<_, _>>(),
        "objectives": entry.objectives(),
        "decides": entry.decides.iter().map(|f| f.name()).collect::<Vec<_>>(),
        "paper": entry.paper,
        "summary": entry.summary,
        "options": entry.options.iter().map(option).collect::<Vec<_>>(),
    })
}

fn promise((kind, guarantee): (&str, Guarantee)) -> (String, Value) {
    (kind.to_owned(), guarantee.name().into())
}

fn option(option: &OptionRow) -> Value {
    json!({
        "name": option.name,
        "unit": option.unit,
        "default": option.default,
        "summary": option.summary,
    })
}
