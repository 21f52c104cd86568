//! Timeline, memory and graph of a plan, in parts (docs/views.md).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::views::{self, Found, Graph, MemoryCurve, Overview, Tile, View};
use ir::diagnostic::Diagnostic;
use serde::Deserialize;
use serde_json::Map;
use serde_json::value::RawValue;

use super::asked::{Asked, Named};
use super::verbs::{about, stored};
use crate::problem::Problem;
use crate::queue;
use crate::service::Shared;

/// Rows of a timeline unless stated, and at most.
pub(super) const ROWS: (usize, usize) = (4_000, 100_000);
/// Points of a memory curve unless stated, and at most.
pub(super) const POINTS: (usize, usize) = (1_000, 100_000);
/// Groups inside groups that are open unless stated, and at most.
pub(super) const DEPTH: (usize, usize) = (1, 64);
/// Nodes that a search tells unless stated, and at most.
pub(super) const FOUND: (usize, usize) = (50, 1_000);

/// What is stated, or what is usual.
fn stated(
    name: &str,
    given: Option<usize>,
    (usual, most): (usize, usize),
) -> Result<usize, Problem> {
    match given.unwrap_or(usual) {
        n if (1..=most).contains(&n) => Ok(n),
        _ => Err(Problem::unprocessable("bad-query", format!("`{name}` is 1 to {most}"))),
    }
}

/// The view file of a plan: at hand, stored, or made now.
async fn file(service: &Shared, id: &str) -> Result<Arc<Vec<u8>>, Problem> {
    // What is at hand may be of a plan that was deleted.
    let plan_id = id.to_owned();
    service.store.read(move |sql| queue::plan(sql, &plan_id)).await?;
    let _once = service.making.lock(id).await;
    if let Some(file) = service.views.get(id) {
        return Ok(file);
    }
    let plan_id = id.to_owned();
    let stored = service.store.read(move |sql| queue::artefact(sql, &plan_id, views::FILE));
    // One that another version made is made again.
    let stored = stored.await?.filter(|bytes| View::open(bytes).is_ok());
    let bytes = match stored {
        Some(bytes) => bytes,
        None => {
            let (request, files) = about(service, (id, "view"), Map::new()).await?;
            let mut answer = service.ask(request, files, Vec::new()).await?;
            let bytes = answer.files.remove(views::FILE).unwrap_or_default();
            let (plan_id, copy) = (id.to_owned(), bytes.clone());
            let keep = service.store.write(move |sql| {
                queue::plan(sql, &plan_id)?;
                queue::keep(sql, &plan_id, views::FILE, &copy)
            });
            keep.await?;
            bytes
        }
    };
    let file = Arc::new(bytes);
    service.views.put(id, &file);
    Ok(file)
}

/// `GET /v1/plans/{id}/artefacts/html`: the plan as a page that is one file.
pub(super) async fn sheet(service: &Shared, id: String) -> Result<Response, Problem> {
    let view = file(service, &id).await?;
    let read = service.store.read(move |sql| stored(sql, &id, "answer"));
    let (answer, version) = (read.await?, service.version);
    let made = tokio::task::spawn_blocking(move || {
        let answer: Option<Box<RawValue>> = serde_json::from_slice(&answer).ok();
        super::sheet::made(&answer, &view, version)
    });
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"plan.html\""),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, made.await.map_err(ended)??).into_response())
}

/// The thread that reads a view has ended before its answer.
fn ended(error: tokio::task::JoinError) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string())
}

/// A part of a plan's view, read in a thread that may take its time.
async fn part<T: Send + 'static>(
    service: &Shared,
    id: &str,
    read: impl FnOnce(&View<'_>) -> Result<T, Diagnostic> + Send + 'static,
) -> Result<Json<T>, Problem> {
    let file = file(service, id).await?;
    let read = tokio::task::spawn_blocking(move || View::open(&file).and_then(|view| read(&view)));
    Ok(Json(read.await.map_err(ended)??))
}

/// `GET /v1/plans/{id}/view`.
pub(super) async fn overview(
    State(service): State<Shared>,
    Named(id): Named<String>,
) -> Result<Json<Overview>, Problem> {
    part(&service, &id, |view| Ok(view.overview())).await
}

/// Query of a timeline.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Window {
    from_ns: Option<u64>,
    to_ns: Option<u64>,
    /// Names of lanes or devices, commas between them.
    lanes: String,
    max_slices: Option<usize>,
}

/// `GET /v1/plans/{id}/timeline`.
pub(super) async fn timeline(
    State(service): State<Shared>,
    Named(id): Named<String>,
    Asked(query): Asked<Window>,
) -> Result<Json<Tile>, Problem> {
    let max = stated("max_slices", query.max_slices, ROWS)?;
    let lanes: Vec<String> =
        query.lanes.split(',').filter(|lane| !lane.is_empty()).map(str::to_owned).collect();
    part(&service, &id, move |view| view.timeline(query.from_ns, query.to_ns, &lanes, max)).await
}

/// Query of a memory curve.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Curve {
    device: String,
    points: Option<usize>,
}

/// `GET /v1/plans/{id}/memory`.
pub(super) async fn memory(
    State(service): State<Shared>,
    Named(id): Named<String>,
    Asked(query): Asked<Curve>,
) -> Result<Json<MemoryCurve>, Problem> {
    let points = stated("points", query.points, POINTS)?;
    part(&service, &id, move |view| view.memory(&query.device, points)).await
}

/// Query of a graph.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Opened {
    group: Option<String>,
    depth: Option<usize>,
    /// JSON list of groups.
    open: Option<String>,
}

/// `GET /v1/plans/{id}/graph`.
pub(super) async fn graph(
    State(service): State<Shared>,
    Named(id): Named<String>,
    Asked(query): Asked<Opened>,
) -> Result<Json<Graph>, Problem> {
    let depth = stated("depth", query.depth, DEPTH)?;
    let open: Vec<String> = match &query.open {
        None => Vec::new(),
        Some(list) => serde_json::from_str(list).map_err(|_| {
            Problem::unprocessable("bad-query", "`open` is no JSON list of names")
                .hint("write the groups as [\"transformer.h.0\"]")
        })?,
    };
    part(&service, &id, move |view| view.graph(query.group.as_deref(), depth, &open)).await
}

/// Query of a search.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sought {
    text: String,
    most: Option<usize>,
}

/// `GET /v1/plans/{id}/graph/found`.
pub(super) async fn found(
    State(service): State<Shared>,
    Named(id): Named<String>,
    Asked(query): Asked<Sought>,
) -> Result<Json<Found>, Problem> {
    let most = stated("most", query.most, FOUND)?;
    part(&service, &id, move |view| view.find(&query.text, most)).await
}
