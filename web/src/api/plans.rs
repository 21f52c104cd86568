//! Plans: asked for, listed, looked at, cancelled, deleted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::asked::{Asked, Named, object};
use super::contents;
use crate::access::{self, Caller, Scope};
use crate::problem::Problem;
use crate::queue::{self, Plan, Wanted};
use crate::service::{Service, Shared};
use crate::store::sql::Sql;

/// Longest that an answer is waited for, in seconds.
pub(super) const LONGEST_WAIT: f64 = 60.0;
/// Most rows of a page.
pub(super) const LONGEST_PAGE: i64 = 500;

const CACHE: HeaderName = HeaderName::from_static("cache");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// How a plan stands.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct PlanStatus {
    id: String,
    /// `queued`, `running`, `done`, `infeasible`, `cancelled` or `failed`.
    state: String,
    /// What is being done: `queued`, `starting`, `importing`, `searching`, `verifying`, `storing`,
    /// or the state once it ended.
    phase: String,
    /// Plans that come before this one; null once it is started.
    queue_position: Option<i64>,
    /// 0 to 9, higher first.
    priority: i64,
    /// How often a process was started for it.
    attempts: i64,
    /// What is minimised; null until a plan is found, as are the next ones.
    objective: Option<String>,
    /// Value of the best plan so far under the objective, in nanoseconds for times.
    value_ns: Option<u64>,
    /// What no plan is below.
    bound_ns: Option<u64>,
    /// Value / bound - 1.
    gap: Option<f64>,
    /// Bytes at the peak of the fullest device, once it ended.
    peak_bytes: Option<u64>,
    /// The recipe that is tried, or that found the plan.
    algorithm: Option<String>,
    /// Seconds of planning until the last word.
    elapsed_s: Option<f64>,
    /// That of the command line, once it ended by itself.
    exit_code: Option<i64>,
    /// The diagnostic of a plan that failed or can not exist.
    error: Option<Map<String, Value>>,
    /// Milliseconds since 1970.
    created_ms: i64,
    /// The same, of the first start.
    started_ms: Option<i64>,
    /// The same, of the end.
    finished_ms: Option<i64>,
    /// The same, of the last change.
    updated_ms: i64,
    /// Counts changes; the ETag.
    revision: i64,
    /// Whether it was asked to end.
    cancel: bool,
    /// What was asked.
    request: Map<String, Value>,
    /// Of a plan that was brought as a file; null of one that was made here.
    opened: Option<Opened>,
    /// By name, the digest of each file that it reads.
    files: BTreeMap<String, String>,
    /// Names of the files that it has made.
    artefacts: Vec<String>,
}

/// Where a plan comes from that was brought as a file: nothing is known of its search.
#[derive(Debug, Deserialize, Serialize, schemars::JsonSchema)]
struct Opened {
    /// The file's name.
    file: String,
    /// The model's name, as it states.
    model: String,
    /// The cluster's.
    cluster: String,
    /// Whether it was put on its model: else its figures are as it states, and it has no views.
    is_judged: bool,
}

/// A page of plans.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct PlanPage {
    plans: Vec<PlanStatus>,
    /// Cursor of the next page; null on the last.
    next: Option<String>,
}

fn status_of(plan: Plan, queue_position: Option<i64>, artefacts: Vec<String>) -> PlanStatus {
    let text = |name: &str| plan.progress[name].as_str().map(str::to_owned);
    let (count, real) =
        (|name: &str| plan.progress[name].as_u64(), |name: &str| plan.progress[name].as_f64());
    PlanStatus {
        queue_position,
        priority: queue::HIGHEST - plan.rank,
        objective: text("objective"),
        value_ns: count("value_ns"),
        bound_ns: count("bound_ns"),
        gap: real("gap"),
        peak_bytes: count("peak_bytes"),
        algorithm: text("algorithm"),
        elapsed_s: real("elapsed_s"),
        artefacts,
        id: plan.id,
        state: plan.state,
        phase: plan.phase,
        attempts: plan.attempts,
        exit_code: plan.exit_code,
        error: plan.error.and_then(|error| error.as_object().cloned()),
        created_ms: plan.created_ms,
        started_ms: plan.started_ms,
        finished_ms: plan.finished_ms,
        updated_ms: plan.updated_ms,
        revision: plan.revision,
        cancel: plan.cancel,
        request: plan.request.as_object().cloned().unwrap_or_default(),
        opened: Opened::deserialize(&plan.progress["opened"]).ok(),
        files: serde_json::from_value(plan.files).unwrap_or_default(),
    }
}

/// How a plan stands.
pub(crate) async fn status(service: &Service, id: String) -> Result<PlanStatus, Problem> {
    let read = service.store.read(move |sql| {
        let plan = queue::plan(sql, &id)?;
        let position = queue::position(sql, &plan)?;
        Ok(status_of(plan, position, queue::artefacts(sql, &id)?))
    });
    read.await
}

/// Query of `POST /v1/plans`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Submission {
    wait: f64,
    priority: i64,
}

/// `POST /v1/plans`.
pub(super) async fn submit(
    State(service): State<Shared>,
    Extension(caller): Extension<Caller>,
    Asked(query): Asked<Submission>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    if service.is_stopping() {
        let title = "the service ends and takes no plans";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", title).retry(5));
    }
    let wait = preferred(query.wait, &headers)?;
    if !(0..=queue::HIGHEST).contains(&query.priority) {
        let title = format!("a priority is 0 to {}", queue::HIGHEST);
        return Err(Problem::unprocessable("bad-query", title));
    }
    let document = object(&headers, body).await?;
    let key = key(&headers, &document)?;
    check_time(&service, &caller).await?;
    let (request, files) = contents::resolved(&service, &caller, document).await?;
    let (request, understood) = read("plan", request)?;
    let wanted = Wanted {
        id: access::id("plan_"),
        content: digest(service.version, &understood, &files),
        request,
        files: Value::Object(files),
        owner: caller.name,
        priority: query.priority,
        key,
        may_be_old: !says(&headers, &header::CACHE_CONTROL, "no-cache"),
        most: caller.quota.jobs,
    };
    let (plan, is_old) = service.store.write(move |sql| queue::submit(sql, &wanted)).await?;
    service.shop.bell.ring();
    if !plan.is_ended() {
        waited(&service, &plan.id, wait).await?;
    }
    let status = status(&service, plan.id).await?;
    let mut response = answered(status);
    let cache = HeaderValue::from_static(if is_old { "hit" } else { "miss" });
    response.headers_mut().insert(CACHE, cache);
    Ok(response)
}

/// The request of a verb, and what is understood of it.
pub(super) fn read(verb: &str, mut request: Value) -> Result<(Value, Map<String, Value>), Problem> {
    if request.get("verb").is_some_and(|stated| stated != verb) {
        let title = format!("the verb here is `{verb}`");
        return Err(Problem::unprocessable("bad-body", title));
    }
    request["verb"] = verb.into();
    let bytes = serde_json::to_vec(&request).unwrap_or_default();
    let understood = engine::request::verb::Request::read(&bytes)?.understood();
    Ok((request, understood))
}

/// What stands for the whole question: equal ones have equal answers.
pub(super) fn digest(
    version: &str,
    understood: &Map<String, Value>,
    files: &Map<String, Value>,
) -> String {
    let text = serde_json::json!([version, understood, files]).to_string();
    access::hexadecimal(&Sha256::digest(text))
}

/// The name of the key, and what stands for the body that it came with.
fn key(headers: &HeaderMap, body: &Value) -> Result<Option<(String, String)>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let name = value.to_str().ok().filter(|name| !name.is_empty() && name.len() <= 200);
    let name = name.ok_or_else(|| {
        let title = "an idempotency key has 1 to 200 characters of ASCII";
        Problem::unprocessable("bad-key", title)
    })?;
    Ok(Some((name.to_owned(), access::hexadecimal(&Sha256::digest(body.to_string())))))
}

async fn check_time(service: &Service, caller: &Caller) -> Result<(), Problem> {
    let (name, limit) = (caller.name.clone(), caller.quota.cpu_ms);
    let used = service.store.read(move |sql| access::used_ms(sql, &name)).await?;
    if used < limit {
        return Ok(());
    }
    let title = "the plans of this token have used its processor time of this hour";
    let left = 3600 - (crate::log::now_ms() / 1000).rem_euclid(3600);
    Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-much-time", title)
        .fact("used_ms", used)
        .fact("limit_ms", limit)
        .retry(left.unsigned_abs()))
}

fn says(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    headers.get(name).and_then(|value| value.to_str().ok()).is_some_and(|text| text.contains(word))
}

/// 200 with a plan that ended, 202 with one that did not.
fn answered(status: PlanStatus) -> Response {
    let is_ended = queue::ENDED.contains(&status.state.as_str());
    let code = if is_ended { StatusCode::OK } else { StatusCode::ACCEPTED };
    let location = format!("/v1/plans/{}", status.id);
    let tag = tag(&status);
    let mut response = (code, Json(status)).into_response();
    let headers = response.headers_mut();
    headers.extend(location.parse().map(|value| (header::LOCATION, value)));
    headers.extend(tag.parse().map(|value| (header::ETAG, value)));
    if !is_ended {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(1));
    }
    response
}

/// Artefacts may come after the end.
fn tag(status: &PlanStatus) -> String {
    let place = status.queue_position.unwrap_or(0);
    format!("\"{}-{}-{place}\"", status.revision, status.artefacts.len())
}

pub(super) fn check_wait(wait: f64) -> Result<Duration, Problem> {
    if (0.0..=LONGEST_WAIT).contains(&wait) {
        return Ok(Duration::from_secs_f64(wait));
    }
    let title = format!("`wait` is 0 to {LONGEST_WAIT} seconds");
    Err(Problem::unprocessable("bad-query", title))
}

/// `?wait=`, or `Prefer: wait=` (RFC 7240).
fn preferred(wait: f64, headers: &HeaderMap) -> Result<Duration, Problem> {
    let prefer = headers.get("prefer").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let words = prefer.split([',', ';']).filter_map(|word| word.trim().strip_prefix("wait="));
    let stated = words.filter_map(|word| word.parse().ok()).next();
    check_wait(stated.filter(|_| wait == 0.0).unwrap_or(wait))
}

/// Waits until a plan ended, the time is over or the service ends.
async fn waited(service: &Arc<Service>, id: &str, time: Duration) -> Result<(), Problem> {
    if time.is_zero() {
        return Ok(());
    }
    let watched = service.hub.watch(&service.store, id);
    let mut events = watched.subscribe();
    let until = Instant::now() + time;
    // It may have ended before it was watched.
    let plan_id = id.to_owned();
    if service.store.read(move |sql| queue::plan(sql, &plan_id)).await?.is_ended() {
        return Ok(());
    }
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(event) if event.1 == "end" => return Ok(()),
                Err(tokio::sync::broadcast::error::RecvError::Closed) => return Ok(()),
                _ => {}
            },
            () = tokio::time::sleep_until(until) => return Ok(()),
            () = service.stopped() => return Ok(()),
        }
    }
}

/// Query of `GET /v1/plans/{id}`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Patience {
    wait: f64,
}

/// `GET /v1/plans/{id}`.
pub(super) async fn one(
    State(service): State<Shared>,
    Named(id): Named<String>,
    Asked(query): Asked<Patience>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let wait = preferred(query.wait, &headers)?;
    let plan_id = id.clone();
    if !service.store.read(move |sql| queue::plan(sql, &plan_id)).await?.is_ended() {
        waited(&service, &id, wait).await?;
    }
    let status = status(&service, id).await?;
    let tag = tag(&status);
    if says(&headers, &header::IF_NONE_MATCH, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    let mut response = answered(status);
    *response.status_mut() = StatusCode::OK;
    Ok(response)
}

/// Query of `GET /v1/plans`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listing {
    #[serde(default)]
    state: String,
    cursor: Option<i64>,
    #[serde(default = "page")]
    limit: i64,
}

const fn page() -> i64 {
    50
}

/// `GET /v1/plans`.
pub(super) async fn list(
    State(service): State<Shared>,
    Asked(query): Asked<Listing>,
) -> Result<Json<PlanPage>, Problem> {
    check_limit(query.limit)?;
    let states = ["queued", "running"].into_iter().chain(queue::ENDED);
    if !query.state.is_empty() && !states.clone().any(|state| state == query.state) {
        let title = format!("there is no state `{}`", query.state);
        return Err(Problem::unprocessable("bad-query", title)
            .hint(format!("states: {}", states.collect::<Vec<_>>().join(", "))));
    }
    let read = service.store.read(move |sql| {
        let before = query.cursor.unwrap_or(i64::MAX);
        let plans = queue::list(sql, &query.state, before, query.limit)?;
        let is_full = i64::try_from(plans.len()).unwrap_or(0) == query.limit;
        let next = plans.last().filter(|_| is_full).map(|plan| plan.place.to_string());
        let ends = plans.last().zip(plans.first());
        let ends = ends.filter(|_| plans.iter().any(|plan| plan.state == "queued"));
        let ends = ends.map(|(last, first)| (last.place, first.place));
        let positions =
            ends.map(|ends| queue::positions(sql, ends)).transpose()?.unwrap_or_default();
        let mut rows = Vec::with_capacity(plans.len());
        for plan in plans {
            let position = positions.get(&plan.id).copied();
            let artefacts = queue::artefacts(sql, &plan.id)?;
            rows.push(status_of(plan, position, artefacts));
        }
        Ok(PlanPage { plans: rows, next })
    });
    read.await.map(Json)
}

pub(super) fn check_limit(limit: i64) -> Result<(), Problem> {
    if (1..=LONGEST_PAGE).contains(&limit) {
        return Ok(());
    }
    let title = format!("`limit` is 1 to {LONGEST_PAGE}");
    Err(Problem::unprocessable("bad-query", title))
}

/// Refuses what only the owner of a plan and admins may do.
fn must_own(sql: &mut dyn Sql, id: &str, caller: &Caller) -> Result<(), Problem> {
    let owner = sql.row("SELECT owner FROM plans WHERE id = $1", &[id.into()])?;
    let owner = owner.map(|mut row| row.text());
    if owner.is_some_and(|owner| owner != caller.name) { caller.must(Scope::Admin) } else { Ok(()) }
}

async fn cancelled(service: &Service, id: &str, caller: &Caller) -> Result<Plan, Problem> {
    let (id, caller) = (id.to_owned(), caller.clone());
    let cancel = service.store.write(move |sql| {
        must_own(sql, &id, &caller)?;
        queue::cancel(sql, &id)
    });
    cancel.await
}

/// `POST /v1/plans/{id}/cancel`.
pub(super) async fn cancel(
    State(service): State<Shared>,
    Extension(caller): Extension<Caller>,
    Named(id): Named<String>,
) -> Result<Response, Problem> {
    cancelled(&service, &id, &caller).await?;
    service.hub.changed(&id);
    let mut response = answered(status(&service, id).await?);
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

/// Query of `DELETE /v1/plans/{id}`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Deletion {
    cancel: u8,
}

/// `DELETE /v1/plans/{id}`.
pub(super) async fn delete(
    State(service): State<Shared>,
    Extension(caller): Extension<Caller>,
    Named(id): Named<String>,
    Asked(query): Asked<Deletion>,
) -> Result<StatusCode, Problem> {
    if query.cancel > 1 {
        return Err(Problem::unprocessable("bad-query", "`cancel` is 0 or 1"));
    }
    if query.cancel == 1 {
        cancelled(&service, &id, &caller).await?;
        service.hub.changed(&id);
        waited(&service, &id, Duration::from_secs(15)).await?;
    }
    let delete = service.store.write(move |sql| {
        must_own(sql, &id, &caller)?;
        queue::delete(sql, &id)
    });
    delete.await.map(|()| StatusCode::NO_CONTENT)
}
