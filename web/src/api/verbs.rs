//! What can be asked of a plan that exists: its files, why it is as it is, how it compares.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

use super::asked::{Asked, Named, form};
use super::contents::resolved;
use super::plans::{check_limit, read};
use super::views;
use crate::access::{self, Caller};
use crate::log::now_ms;
use crate::problem::Problem;
use crate::queue::{self, Plan};
use crate::service::Shared;
use crate::store::sql::{Cell, Sql};
use crate::work::child::Answer;

/// Fields of a plan's request that say what it was planned for.
const SUBJECT: [&str; 13] = [
    "model",
    "cluster",
    "profile",
    "constraints",
    "traces",
    "dims",
    "batch",
    "micro_batch",
    "batch_axis",
    "dtype",
    "qdq_as_written",
    "workload",
    "scale",
];
/// Rules that a plan breaks which are told in words.
const TOLD: usize = 5;
/// Name of the plan's file beside its inputs.
const PLAN: &str = "plan.json";

/// Files of a plan that are no exports, though they lie beside them.
const NOT_EXPORTS: [&str; 4] = ["plan", "answer", "incumbent", engine::views::FILE];

/// A text as it is stored.
fn text(kind: &'static str, bytes: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, kind)], bytes).into_response()
}

async fn file(service: &Shared, id: String, name: &'static str) -> Result<Response, Problem> {
    let read = service.store.read(move |sql| stored(sql, &id, name));
    let is_view = name == engine::views::FILE;
    let kind = if is_view { "application/octet-stream" } else { "application/json" };
    Ok(text(kind, read.await?))
}

pub(super) fn stored(sql: &mut dyn Sql, id: &str, name: &str) -> Result<Vec<u8>, Problem> {
    let plan = queue::plan(sql, id)?;
    let found = queue::artefact(sql, id, name)?;
    found.ok_or_else(|| not_there(&plan, name))
}

/// 409 while a file may still come, 404 where it will not.
fn not_there(plan: &Plan, name: &str) -> Problem {
    let title = format!("plan `{}` has no {name}: it is {}", plan.id, plan.state);
    if plan.is_ended() {
        return Problem::new(StatusCode::NOT_FOUND, "no-such-file", title);
    }
    Problem::new(StatusCode::CONFLICT, "not-ended", title)
        .hint("wait for it: GET /v1/plans/ID?wait=30")
        .retry(1)
}

/// Query of an answer.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Length {
    /// Without what is long.
    brief: bool,
}

/// `GET /v1/plans/{id}/answer`.
pub(super) async fn answer(
    State(service): State<Shared>,
    Named(id): Named<String>,
    Asked(query): Asked<Length>,
) -> Result<Response, Problem> {
    let read = service.store.read(move |sql| {
        let bytes = stored(sql, &id, "answer")?;
        if !query.brief {
            return Ok(bytes);
        }
        brief(&bytes).map_err(|error| {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string())
        })
    });
    Ok(text("application/json", read.await?))
}

/// Members of a plan that grow with its ops.
const LONG: [&str; 2] = ["placement", "schedule"];

/// An answer without the long members of its plan; what is left stands as it stood.
pub(super) fn brief(answer: &[u8]) -> serde_json::Result<Vec<u8>> {
    let mut members: BTreeMap<String, &RawValue> = serde_json::from_slice(answer)?;
    let plan = members.get("plan").map_or("null", |plan| plan.get());
    let plan: Option<BTreeMap<String, &RawValue>> = serde_json::from_str(plan)?;
    let Some(mut plan) = plan else { return Ok(answer.to_vec()) };
    plan.retain(|name, _| !LONG.contains(&name.as_str()));
    let plan = to_raw_value(&plan)?;
    members.insert("plan".to_owned(), &plan);
    serde_json::to_vec(&members)
}

/// `GET /v1/plans/{id}/plan`; the best so far of a search that goes on or was cut off.
pub(super) async fn plan(
    State(service): State<Shared>,
    Named(id): Named<String>,
) -> Result<Response, Problem> {
    let plan_id = id.clone();
    let best =
        service.store.read(move |sql| queue::artefact(sql, &plan_id, queue::INCUMBENT)).await?;
    match best {
        Some(bytes) => {
            let mut response = text("application/json", bytes);
            let name = HeaderName::from_static("best-so-far");
            response.headers_mut().insert(name, HeaderValue::from_static("true"));
            Ok(response)
        }
        None => file(&service, id, "plan").await,
    }
}

/// A request about a plan whose file has a name: what it was planned for.
pub(crate) fn about_plan(plan: &Plan, name: &str, verb: &str) -> Value {
    let known = SUBJECT
        .into_iter()
        .filter_map(|field| plan.request.get(field).map(|value| (field.to_owned(), value.clone())));
    let mut request: Map<String, Value> = known.collect();
    request.insert("plan".to_owned(), name.into());
    request.insert("verb".to_owned(), verb.into());
    Value::Object(request)
}

/// A name for a plan's file that none of the others has.
pub(super) fn name_beside(files: &Map<String, Value>) -> String {
    let mut name = PLAN.to_owned();
    while files.contains_key(&name) {
        name = format!("the-{name}");
    }
    name
}

/// 422 of a plan that breaks rules.
pub(super) fn illegal(answer: &Answer, what: &str) -> Problem {
    let document: Value = serde_json::from_str(&answer.text).unwrap_or_default();
    let title = format!("the plan breaks rules and is not {what}");
    let broken = document["violations"].as_array().into_iter().flatten();
    let facts =
        broken.map(|violation| json!({ "name": violation["code"], "value": violation["message"] }));
    let facts: Vec<Value> = facts.take(TOLD).collect();
    Problem::unprocessable("illegal-plan", title).fact("facts", facts).fact("answer", document)
}

/// A request about a stored plan, further members in it, and the files that it reads.
pub(super) async fn about(
    service: &Shared,
    of: (&str, &str),
    further: Map<String, Value>,
) -> Result<(Value, Value), Problem> {
    about_on(service, of, (further, Map::new())).await
}

/// As [`about`], with further files, which take the place of those of the plan that are called so.
async fn about_on(
    service: &Shared,
    (id, verb): (&str, &str),
    (further, on): (Map<String, Value>, Map<String, Value>),
) -> Result<(Value, Value), Problem> {
    let plan_id = id.to_owned();
    let found = service.store.read(move |sql| queue::plan(sql, &plan_id)).await?;
    if !found.is_ended() {
        return Err(not_there(&found, "plan"));
    }
    if found.request["model"].is_null() {
        let title = format!("plan `{id}` was opened without its model, of which this is told");
        return Err(Problem::unprocessable("needs-model", title)
            .hint("upload model and cluster, and open its file with ?model=NAME&cluster=NAME"));
    }
    let mut files = found.files.as_object().cloned().unwrap_or_default();
    if let Some(name) = taken(&found.request, &further, (&files, &on)) {
        let title = format!("`{name}` is the name of another file, on which the plan was made");
        return Err(Problem::unprocessable("same-name", title)
            .hint("upload the file under another name, and name that"));
    }
    files.extend(on);
    let name = name_beside(&files);
    files.insert(name.clone(), format!("plan:{id}").into());
    let mut request = about_plan(&found, &name, verb);
    if let Some(members) = request.as_object_mut() {
        members.extend(further);
    }
    let (request, _) = read(verb, request)?;
    Ok((request, Value::Object(files)))
}

/// The name of a file that is still read, and has another one's content among the further files.
fn taken<'f>(
    request: &Value,
    further: &Map<String, Value>,
    (files, on): (&Map<String, Value>, &'f Map<String, Value>),
) -> Option<&'f String> {
    let is_read = |name: &String| {
        let fields = request.as_object().into_iter().flatten();
        let mut rest = fields.filter(|(field, _)| !further.contains_key(*field));
        rest.any(|(_, value)| {
            value == name || value.as_array().is_some_and(|all| all.iter().any(|item| item == name))
        })
    };
    let differs = |name: &String| files.get(name).is_some_and(|file| Some(file) != on.get(name));
    on.keys().find(|name| differs(name) && is_read(name))
}

/// `GET /v1/plans/{id}/artefacts/{target}`.
pub(super) async fn artefact(
    State(service): State<Shared>,
    Named((id, target)): Named<(String, String)>,
) -> Result<Response, Problem> {
    if target == "html" {
        return views::sheet(&service, id).await;
    }
    // What a plan's `artefacts` names is served under that name.
    if let Some(name) = NOT_EXPORTS.into_iter().find(|name| *name == target) {
        return file(&service, id, name).await;
    }
    let further = [("target".to_owned(), target.as_str().into())].into_iter().collect();
    let content = |answer: Answer| answer.files.into_values().next().unwrap_or_default();
    let bytes = exported(&service, (id, target.clone()), further, content).await?;
    Ok(text("text/plain; charset=utf-8", bytes))
}

/// `GET /v1/plans/{id}/artefacts/{target}/{launcher}`: all files that a launcher needs, by name.
pub(super) async fn folder(
    State(service): State<Shared>,
    Named((id, target, launcher)): Named<(String, String, String)>,
) -> Result<Response, Problem> {
    let named = [("target", &target), ("launcher", &launcher)];
    let further = named.map(|(name, value)| (name.to_owned(), value.as_str().into()));
    let content = |answer: Answer| {
        let files = answer.files.into_iter();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let files: BTreeMap<String, String> =
            files.map(|(name, bytes)| (name, text(bytes))).collect();
        serde_json::to_vec(&files).unwrap_or_default()
    };
    let name = format!("{target}:{launcher}");
    let bytes = exported(&service, (id, name), further.into_iter().collect(), content).await?;
    Ok(text("application/json", bytes))
}

/// An export of a plan under a name: stored, or made now.
async fn exported(
    service: &Shared,
    (id, name): (String, String),
    further: Map<String, Value>,
    content: impl FnOnce(Answer) -> Vec<u8>,
) -> Result<Vec<u8>, Problem> {
    let (plan_id, key) = (id.clone(), name.clone());
    let known = service.store.read(move |sql| {
        queue::plan(sql, &plan_id)?;
        let is_export = !NOT_EXPORTS.contains(&key.as_str());
        if is_export { queue::artefact(sql, &plan_id, &key) } else { Ok(None) }
    });
    if let Some(bytes) = known.await? {
        return Ok(bytes);
    }
    let (request, files) = about(service, (&id, "export"), further).await?;
    let answer = service.ask(request, files, Vec::new()).await?;
    if answer.exit_code != 0 {
        return Err(illegal(&answer, "exported"));
    }
    let bytes = content(answer);
    let stored = bytes.clone();
    // It may have been deleted meanwhile.
    let keep = service.store.write(move |sql| {
        queue::plan(sql, &id)?;
        queue::keep(sql, &id, &name, &stored)
    });
    keep.await?;
    Ok(bytes)
}

/// Query of an explanation.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Subject {
    op: Option<String>,
    transfer: Option<String>,
    device: Option<String>,
    /// Of the critical path, so many of the longest.
    longest: Option<u64>,
    /// Of a plan of streams, a layer.
    layer: Option<u32>,
}

/// `GET /v1/plans/{id}/explain`.
pub(super) async fn explain(
    State(service): State<Shared>,
    Named(id): Named<String>,
    Asked(query): Asked<Subject>,
) -> Result<Response, Problem> {
    let given = [("op", query.op), ("transfer", query.transfer), ("device", query.device)];
    let mut given: Map<String, Value> = given
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.into())))
        .collect();
    if given.len() > 1 {
        let title = "one of `op`, `transfer` and `device` is explained at a time";
        return Err(Problem::unprocessable("bad-query", title));
    }
    given.extend(query.longest.map(|n| ("longest".to_owned(), n.into())));
    given.extend(query.layer.map(|n| ("layer".to_owned(), n.into())));
    let (request, files) = about(&service, (&id, "explain"), given).await?;
    let answer = service.ask(request, files, Vec::new()).await?;
    Ok(text("application/json", answer.text.into_bytes()))
}

/// What is replayed.
#[derive(Debug, Deserialize)]
struct Simulated {
    /// The plan.
    plan: String,
    /// On what else.
    #[serde(flatten)]
    changes: Map<String, Value>,
}

/// `POST /v1/simulate`: a stored plan, on what differs from what it was planned for.
pub(super) async fn simulate(
    State(service): State<Shared>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Simulated { plan: id, changes } = form(&headers, body).await?;
    let (changes, new_files) = resolved(&service, &caller, Value::Object(changes)).await?;
    let mut further = changes.as_object().cloned().unwrap_or_default();
    if !further.is_empty() {
        further.entry("allow_mismatch").or_insert(true.into());
    }
    let (request, files) = about_on(&service, (&id, "simulate"), (further, new_files)).await?;
    let answer = service.ask(request, files, Vec::new()).await?;
    Ok(text("application/json", answer.text.into_bytes()))
}

/// What is compared.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Compared {
    /// The plan.
    plan: String,
    /// Another plan.
    with: Option<String>,
    /// The settings that run now, as text of a launcher's file.
    settings: Option<String>,
    /// How that file is called, such as `run.sh` or `config.toml`.
    settings_name: Option<String>,
}

/// `POST /v1/compare`.
pub(super) async fn compare(
    State(service): State<Shared>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let compared: Compared = form(&headers, body).await?;
    let (mut request, files) = about(&service, (&compared.plan, "simulate"), Map::new()).await?;
    let mut files = files.as_object().cloned().unwrap_or_default();
    let members = request.as_object_mut();
    let Some(members) = members else { return Err(Problem::missing("plan", &compared.plan)) };
    let plan = members.remove("plan").unwrap_or_default();
    members.insert("b".to_owned(), plan);
    let mut texts = Vec::new();
    match (compared.with, compared.settings) {
        (Some(_), None) if compared.settings_name.is_some() => {
            let title = "`settings_name` names `settings`, which were not given";
            return Err(Problem::unprocessable("bad-body", title));
        }
        (Some(other), None) => {
            let other_id = other.clone();
            let found = service.store.read(move |sql| queue::plan(sql, &other_id)).await?;
            if !found.is_ended() {
                return Err(not_there(&found, "plan"));
            }
            let name = name_beside(&files);
            files.insert(name.clone(), format!("plan:{other}").into());
            members.insert("a".to_owned(), name.into());
        }
        (None, Some(settings)) => {
            let name = compared.settings_name.unwrap_or_else(|| "settings".to_owned());
            crate::content::check_name(&name)?;
            if files.contains_key(&name) {
                let title = format!("`{name}` is the name of a file of the plan");
                return Err(Problem::unprocessable("same-name", title));
            }
            members.insert("a".to_owned(), name.clone().into());
            texts.push((name, settings.into_bytes()));
        }
        _ => {
            let title = "a plan is compared `with` another, or with `settings`";
            return Err(Problem::unprocessable("bad-body", title));
        }
    }
    let (request, _) = read("compare", {
        members.remove("verb");
        Value::Object(members.clone())
    })?;
    let answer = service.ask(request, Value::Object(files), texts).await?;
    Ok(text("application/json", answer.text.into_bytes()))
}

/// A run of a plan that was measured.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Measured {
    /// The plan.
    plan: String,
    /// Seconds of a step.
    step_s: f64,
    /// Bytes at the peak of the fullest device.
    peak_bytes: Option<u64>,
    /// Software that ran it; unless stated, what a training run was planned for.
    stack: Option<String>,
    /// Kind of device that it ran on; unless stated, the one that was planned for.
    device: Option<String>,
    /// What ran, in the client's words.
    note: Option<String>,
}

/// Kinds of the devices that a plan was made for; null where it can't be replayed.
async fn kinds(service: &Shared, id: &str) -> Value {
    let Ok((request, files)) = about(service, (id, "simulate"), Map::new()).await else {
        return Value::Null;
    };
    let Ok(answer) = service.ask(request, files, Vec::new()).await else { return Value::Null };
    let document: Value = serde_json::from_str(&answer.text).unwrap_or_default();
    let devices = document["cluster"]["devices"].as_array();
    let mut kinds: Vec<&str> =
        devices.into_iter().flatten().filter_map(|device| device["kind"].as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    if kinds.is_empty() { Value::Null } else { kinds.join(", ").into() }
}

/// `POST /v1/measurements`.
pub(super) async fn measured(
    State(service): State<Shared>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let measured: Measured = form(&headers, body).await?;
    if !(measured.step_s.is_finite() && measured.step_s > 0.0) {
        let title = "`step_s` is a number of seconds above 0";
        return Err(Problem::unprocessable("bad-body", title));
    }
    let id = measured.plan.clone();
    let plan = service.store.read(move |sql| {
        let plan = queue::plan(sql, &id)?;
        let file = queue::artefact(sql, &id, "plan")?.unwrap_or_default();
        Ok((plan, serde_json::from_slice(&file).unwrap_or(Value::Null)))
    });
    let (plan, file): (Plan, Value) = plan.await?;
    let is_step = plan.progress["objective"] == "step-time";
    // What a file states alone, nobody has predicted here.
    let is_ours = is_step && plan.progress["opened"]["is_judged"] != false;
    let predicted = plan.progress["value_ns"].as_f64().filter(|_| is_ours).map(|ns| ns / 1e9);
    let stack = measured.stack.map_or_else(|| file["training"]["stack"].clone(), Value::from);
    let device = match measured.device {
        Some(device) => device.into(),
        None => kinds(&service, &measured.plan).await,
    };
    let document = json!({
        "id": access::id("run_"),
        "plan": measured.plan,
        "model": file["model"]["name"],
        "cluster": file["cluster"]["name"],
        "stack": stack,
        "device": device,
        "step_s": measured.step_s,
        "predicted_s": predicted,
        "error": predicted.map(|predicted| predicted / measured.step_s - 1.0),
        "peak_bytes": measured.peak_bytes,
        "predicted_peak_bytes": plan.progress["peak_bytes"],
        "note": measured.note,
        "created_ms": now_ms(),
    });
    let values: [Cell; 5] = [
        document["id"].as_str().unwrap_or_default().into(),
        measured.plan.into(),
        document.to_string().into(),
        caller.name.into(),
        now_ms().into(),
    ];
    let write = service.store.write(move |sql| {
        sql.lock_order()?;
        let statement = "INSERT INTO measurements (id, place, plan, body, owner, created_ms) \
            VALUES ($1, (SELECT COALESCE(MAX(place), 0) + 1 FROM measurements), $2, $3, $4, $5)";
        Ok(sql.run(statement, &values)?)
    });
    write.await?;
    Ok((StatusCode::CREATED, Json(document)).into_response())
}

/// Query of the measurements.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Runs {
    #[serde(default)]
    plan: String,
    cursor: Option<i64>,
    #[serde(default = "page")]
    limit: i64,
}

const fn page() -> i64 {
    50
}

/// `GET /v1/measurements`.
pub(super) async fn measurements(
    State(service): State<Shared>,
    Asked(query): Asked<Runs>,
) -> Result<Json<Value>, Problem> {
    check_limit(query.limit)?;
    let limit = query.limit;
    let read = service.store.read(move |sql| {
        let statement = "SELECT place, body FROM measurements WHERE ($1 = '' OR plan = $1) \
            AND place < $2 ORDER BY place DESC LIMIT $3";
        let before = query.cursor.unwrap_or(i64::MAX);
        Ok(sql.rows(statement, &[query.plan.into(), before.into(), limit.into()])?)
    });
    let rows = read.await?.into_iter();
    let rows: Vec<(i64, Value)> = rows
        .map(|mut row| (row.int(), serde_json::from_str(&row.text()).unwrap_or_default()))
        .collect();
    let is_full = i64::try_from(rows.len()).unwrap_or(0) == limit;
    let next = rows.last().filter(|_| is_full).map(|(place, _)| place.to_string());
    let rows: Vec<Value> = rows.into_iter().map(|(_, body)| body).collect();
    Ok(Json(json!({ "measurements": rows, "next": next })))
}
