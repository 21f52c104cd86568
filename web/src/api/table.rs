//! The table of routes.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use super::openapi::{Answers, Body, Row};
use super::{contents, events, listings, opened, plans, ui, unread, uploads, verbs, views};
use crate::access::{self, Scope};
use crate::content::Kind;
use crate::log;
use crate::problem::Problem;
use crate::service::Shared;

const OPENED: &str = "/v1/plans/opened";
const FOLDER: &str = "/v1/plans/{id}/artefacts/{target}/{launcher}";

/// Routes of the files of a kind.
macro_rules! kind {
    ($kind:expr, $path:literal, $one:literal, $what:literal) => {
        [
            Row::get(
                $path,
                move |a, b| contents::list($kind, a, b),
                Some(Scope::Read),
                concat!("List ", $what),
            )
            .asks(&["cursor", "limit"])
            .answers(Answers::Json(200)),
            Row::post(
                $path,
                move |a, b, c, d, e| contents::post($kind, a, b, c, d, e),
                Some(Scope::Plan),
                concat!("Upload one of the ", $what),
            )
            .asks(&["name!"])
            .takes(Body::Bytes)
            .answers(Answers::Stored),
            Row::get(
                $one,
                move |a, b, c| contents::one($kind, a, b, c),
                Some(Scope::Read),
                "Look at one, by digest or latest name",
            )
            .answers(Answers::Json(200)),
            Row::delete(
                $one,
                move |a, b, c| contents::delete($kind, a, b, c),
                Some(Scope::Plan),
                "Delete one",
            )
            .answers(Answers::Nothing),
        ]
    };
}

/// Every route.
pub(super) fn rows() -> Vec<Row> {
    let mut rows = vec![
        Row::get("/livez", listings::live, None, "Whether the process lives")
            .answers(Answers::Json(200)),
        Row::get("/readyz", listings::ready, None, "Whether it takes plans")
            .answers(Answers::Json(200)),
        Row::get("/metrics", listings::metrics, Some(Scope::Read), "Metrics, for Prometheus")
            .answers(Answers::Text),
        Row::get("/openapi.json", listings::document, Some(Scope::Read), "This document")
            .answers(Answers::Json(200)),
        Row::get("/docs", listings::page, Some(Scope::Read), "This document, to look at")
            .answers(Answers::Html),
        Row::get(
            "/v1/algorithms",
            listings::algorithms,
            Some(Scope::Read),
            "The algorithms and their options",
        )
        .answers(Answers::Json(200)),
        Row::get(
            "/v1/devices",
            listings::devices,
            Some(Scope::Read),
            "Devices and links that clusters name",
        )
        .answers(Answers::Json(200)),
        Row::get("/v1/formats", listings::formats, Some(Scope::Read), "Formats of models")
            .answers(Answers::Json(200)),
        Row::get(
            "/v1/targets",
            listings::targets,
            Some(Scope::Read),
            "Formats in which plans are written",
        )
        .answers(Answers::Json(200)),
    ];
    rows.extend(kind!(Kind::Model, "/v1/models", "/v1/models/{digest}", "models"));
    rows.extend(kind!(Kind::Cluster, "/v1/clusters", "/v1/clusters/{digest}", "clusters"));
    rows.extend(kind!(Kind::Profile, "/v1/profiles", "/v1/profiles/{digest}", "profiles"));
    rows.extend(of_uploads());
    rows.extend(of_plans());
    rows.extend(of_answers());
    rows.extend(of_replays());
    rows
}

fn of_uploads() -> [Row; 4] {
    let one = "/v1/uploads/{id}";
    [
        Row::post(
            "/v1/uploads",
            uploads::begin,
            Some(Scope::Plan),
            "Begin an upload that can be resumed",
        )
        .takes(Body::Form("Announced"))
        .answers(Answers::Json(201)),
        Row::get(one, uploads::one, Some(Scope::Plan), "How much of an upload is there")
            .answers(Answers::Json(200)),
        Row::patch(
            one,
            uploads::go_on,
            Some(Scope::Plan),
            "Go on at the byte that Upload-Offset states",
        )
        .takes(Body::Bytes)
        .answers(Answers::Appended),
        Row::delete(one, uploads::delete, Some(Scope::Plan), "Give an upload up")
            .answers(Answers::Nothing),
    ]
}

fn of_plans() -> Vec<Row> {
    let (read, plan) = (Some(Scope::Read), Some(Scope::Plan));
    vec![
        Row::post("/v1/plans", plans::submit, plan, "Ask for a plan")
            .asks(&["wait", "priority"])
            .takes(Body::Form("PlanRequest"))
            .answers(Answers::Queued),
        Row::post(OPENED, opened::open, plan, "Show a plan file that was made elsewhere")
            .asks(&["name!", "model", "cluster", "profile", "scale"])
            .takes(Body::Bytes)
            .answers(Answers::Opened),
        Row::get("/v1/plans", plans::list, read, "List plans, the newest first")
            .asks(&["state", "cursor", "limit"])
            .answers(Answers::Form("PlanPage")),
        Row::get("/v1/plans/{id}", plans::one, read, "How a plan stands")
            .asks(&["wait"])
            .answers(Answers::Status),
        Row::delete("/v1/plans/{id}", plans::delete, plan, "Delete a plan")
            .asks(&["cancel"])
            .answers(Answers::Nothing),
        Row::post("/v1/plans/{id}/cancel", plans::cancel, plan, "End a plan with the best so far")
            .answers(Answers::Accepted),
        Row::get(
            "/v1/plans/{id}/events",
            events::stream,
            read,
            "What happens to a plan, as it happens",
        )
        .answers(Answers::Events),
    ]
}

/// What is read of one plan that is there.
fn of_answers() -> Vec<Row> {
    let read = Some(Scope::Read);
    vec![
        Row::get(
            "/v1/plans/{id}/answer",
            verbs::answer,
            read,
            "What the command line prints with --json",
        )
        .asks(&["brief"])
        .answers(Answers::Json(200)),
        Row::get("/v1/plans/{id}/plan", verbs::plan, read, "The plan's file")
            .answers(Answers::Json(200)),
        Row::get(
            "/v1/plans/{id}/artefacts/{target}",
            verbs::artefact,
            read,
            "A plan in another format",
        )
        .answers(Answers::Text),
        Row::get(FOLDER, verbs::folder, read, "By name, all files that start a plan's processes")
            .answers(Answers::Json(200)),
        Row::get("/v1/plans/{id}/explain", verbs::explain, read, "Where the time goes, and why")
            .asks(&["op", "transfer", "device", "longest", "layer"])
            .answers(Answers::Json(200)),
        Row::get(
            "/v1/plans/{id}/view",
            views::overview,
            read,
            "Lanes, devices and sizes of a plan's views",
        )
        .answers(Answers::Json(200)),
        Row::get(
            "/v1/plans/{id}/timeline",
            views::timeline,
            read,
            "What lanes do in a window of the step",
        )
        .asks(&["from_ns", "to_ns", "lanes", "max_slices"])
        .answers(Answers::Json(200)),
        Row::get("/v1/plans/{id}/memory", views::memory, read, "What a device holds over the step")
            .asks(&["device!", "points"])
            .answers(Answers::Json(200)),
        Row::get("/v1/plans/{id}/graph", views::graph, read, "What is in a group of ops, laid out")
            .asks(&["group", "depth", "open"])
            .answers(Answers::Json(200)),
        Row::get(
            "/v1/plans/{id}/graph/found",
            views::found,
            read,
            "Ops and groups by words of their names",
        )
        .asks(&["text!", "most"])
        .answers(Answers::Json(200)),
    ]
}

/// What is asked of plans that exist, in bodies of their own.
fn of_replays() -> Vec<Row> {
    let (read, plan) = (Some(Scope::Read), Some(Scope::Plan));
    vec![
        Row::post(
            "/v1/simulate",
            verbs::simulate,
            plan,
            "Replay a plan, perhaps on something else",
        )
        .takes(Body::Form("Simulated"))
        .answers(Answers::Json(200)),
        Row::post(
            "/v1/compare",
            verbs::compare,
            plan,
            "Compare a plan with another, or with the current setup",
        )
        .takes(Body::Form("Compared"))
        .answers(Answers::Json(200)),
        Row::post(
            "/v1/measurements",
            verbs::measured,
            plan,
            "Tell how long a plan's step really takes",
        )
        .takes(Body::Form("Measured"))
        .answers(Answers::Json(201)),
        Row::get(
            "/v1/measurements",
            verbs::measurements,
            read,
            "Measured steps beside their predictions",
        )
        .asks(&["plan", "cursor", "limit"])
        .answers(Answers::Json(200)),
    ]
}

/// All routes; those with a scope refuse who has no token for it.
pub(crate) fn router(service: &Shared) -> Router {
    let mut app = Router::new();
    for row in rows() {
        let handler = match row.scope {
            None => row.handler,
            Some(scope) => {
                let state = (Arc::clone(service), scope, !row.asks.is_empty());
                row.handler.layer(from_fn_with_state(state, admitted))
            }
        };
        app = app.route(row.path, handler);
    }
    // Pages ask for no token; what they show does.
    let app = app.route("/", get(ui::page)).route("/assets/{*name}", get(ui::asset));
    let app = app.fallback(missing).method_not_allowed_fallback(wrong_method);
    app.layer(from_fn_with_state(Arc::clone(service), counted)).with_state(Arc::clone(service))
}

async fn missing(uri: Uri) -> Problem {
    let title = format!("nothing lives at `{}`", uri.path());
    Problem::new(StatusCode::NOT_FOUND, "unknown-route", title).hint("/docs lists all routes")
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let title = format!("`{}` does not take {method}", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "wrong-method", title)
        .hint("/docs lists all routes")
}

async fn admitted(
    State((service, scope, takes_query)): State<(Shared, Scope, bool)>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let (headers, anonymous) = (request.headers().clone(), service.options.anonymous);
    let caller = service.store.read(move |sql| access::caller(sql, &headers, anonymous)).await?;
    caller.must(scope)?;
    // A browser sends no token of its own accord; without one any page could ask in the user's name.
    if caller.is_anonymous()
        && !request.method().is_safe()
        && access::is_cross_origin(request.headers(), request.uri())
    {
        let title = "a page of another site can't change anything here";
        return Err(Problem::new(StatusCode::FORBIDDEN, "cross-origin", title).hint(
            "make a token, `meshwright token NAME`, and send `Authorization: Bearer TOKEN`",
        ));
    }
    // Handlers with a query know each name of theirs.
    if !takes_query && request.uri().query().is_some_and(|query| !query.is_empty()) {
        let title = format!("`{}` takes no query", request.uri().path());
        return Err(
            Problem::unprocessable("bad-query", title).hint("/docs lists what can be asked")
        );
    }
    if service.rate.check_key(&caller.name).is_err() {
        let title = "this token sends more requests a second than it may";
        return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", title)
            .fact("limit_per_s", service.options.requests_per_s.get())
            .retry(1));
    }
    let name = Named(caller.name.clone());
    request.extensions_mut().insert(caller);
    let mut response = next.run(request).await;
    response.extensions_mut().insert(name);
    Ok(response)
}

/// Whose request was answered, for the log.
#[derive(Clone)]
struct Named(String);

async fn counted(State(service): State<Shared>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let trace = trace(request.headers());
    // Elsewhere a page could reach this service by a name that leads to this machine.
    let (request, unread) = unread::lend(request);
    let mut response = match service.is_of_here(request.headers(), request.uri()) {
        true => next.run(request).await,
        false => {
            let title = "the request is for another host";
            Problem::new(StatusCode::MISDIRECTED_REQUEST, "wrong-host", title)
                .hint("reach a service on a loopback address by `localhost` or its address")
                .into_response()
        }
    };
    unread.drop_before(&mut response).await;
    let status = response.status();
    service.count(status);
    if service.options.logs_all || method != Method::GET || status.is_server_error() {
        let caller = response.extensions().get::<Named>().map(|named| named.0.as_str());
        let ms = start.elapsed().as_secs_f64() * 1e3;
        log::line(
            "info",
            "request",
            &json!({ "method": method.as_str(), "path": path,
            "status": status.as_u16(), "ms": ms, "caller": caller, "trace": trace }),
        );
    }
    response
}

/// The id of the trace that a request belongs to, of its `traceparent` (W3C Trace Context, 3.2.2).
fn trace(headers: &HeaderMap) -> Option<String> {
    let parts: Vec<&str> = headers.get("traceparent")?.to_str().ok()?.split('-').collect();
    let [_, id, parent, _, ..] = parts.as_slice() else { return None };
    let is_id = |text: &str, n: usize| {
        text.len() == n && text.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase())
    };
    (is_id(id, 32) && is_id(parent, 16)).then(|| (*id).to_owned())
}
