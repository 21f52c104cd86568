//! Plan files that were made elsewhere, as plans of this service.

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::asked::{Asked, whole};
use super::contents::resolved;
use super::plans::{self, read};
use super::verbs::{about_plan, brief, illegal, name_beside};
use crate::access::{self, Caller};
use crate::content;
use crate::problem::Problem;
use crate::queue::{self, End, Plan, Wanted};
use crate::service::Shared;
use crate::store::sql::{Cell, Sql};
use crate::work::figures;

/// Longest plan file, in bytes: that of 10,000 ops in 32 micro-batches has 87 MB.
const LONGEST: u64 = 256 << 20;
/// Plans of which it is asked whether they are of the same problem, the newest first.
const LOOKED_AT: i64 = 50;
/// Bytes at the start of a plan file that say what it was made for.
const HEAD: usize = 4096;

/// Query of a plan file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    name: String,
    model: Option<String>,
    cluster: Option<String>,
    profile: Option<String>,
    /// `NAME=FACTOR`, set apart by commas.
    scale: Option<String>,
}

/// `POST /v1/plans/opened`.
pub(super) async fn open(
    State(service): State<Shared>,
    Extension(caller): Extension<Caller>,
    Asked(query): Asked<File>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    content::check_name(&query.name)?;
    let bytes = whole(&headers, body, LONGEST.min(service.options.most_upload)).await?;
    let (mut request, mut files) = subject(&service, &caller, &query, &bytes).await?;
    let name = name_beside(&files);
    request["plan"] = name.clone().into();
    let (mut request, understood) = read("open", request)?;
    files.insert(name.clone(), content::written(&Sha256::digest(&bytes)).into());
    let content = plans::digest(service.version, &understood, &files);
    files.remove(&name);
    let _once = service.making.lock(&content).await;
    let key = content.clone();
    let known = service.store.read(move |sql| queue::answering(sql, &key)).await?;
    let (id, status) = match known {
        Some(id) => (id, StatusCode::OK),
        None => {
            let files = Value::Object(files);
            let question = (request.clone(), files.clone());
            let end = end_of(&service, question, (name, bytes), &query.name).await?;
            request["plan"] = query.name.into();
            let wanted = Wanted {
                id: access::id("plan_"),
                content,
                request,
                files,
                owner: caller.name,
                priority: 0,
                key: None,
                may_be_old: true,
                most: caller.quota.jobs,
            };
            let keep = service.store.write(move |sql| queue::bring(sql, &wanted, &end));
            (keep.await?, StatusCode::CREATED)
        }
    };
    let place = [(header::LOCATION, format!("/v1/plans/{id}"))];
    Ok((status, place, Json(plans::status(&service, id).await?)).into_response())
}

/// How a plan ends that is brought as a file, by what a process of its own says of it.
async fn end_of(
    service: &Shared,
    (request, files): (Value, Value),
    (name, bytes): (String, Vec<u8>),
    called: &str,
) -> Result<End, Problem> {
    let answer = service.ask(request, files, vec![(name, bytes.clone())]).await?;
    if answer.exit_code != 0 {
        return Err(illegal(&answer, "shown"));
    }
    let text = answer.text.clone();
    // That of a large plan takes a while.
    let document = tokio::task::spawn_blocking(move || {
        let text = brief(text.as_bytes()).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    });
    let document: Value = document.await.unwrap_or_default();
    let mut files: Vec<(String, Vec<u8>)> = answer.files.into_iter().collect();
    files.extend([("plan".to_owned(), bytes), ("answer".to_owned(), answer.text.into())]);
    let progress = Some(figures::of_file(&document, called));
    Ok(End { exit_code: Some(0), progress, files, ..End::bare("done") })
}

/// What the plan is put on: the files that are named, else those of a plan of the same problem, else
/// nothing.
async fn subject(
    service: &Shared,
    caller: &Caller,
    query: &File,
    bytes: &[u8],
) -> Result<(Value, Map<String, Value>), Problem> {
    let named = [("model", &query.model), ("cluster", &query.cluster), ("profile", &query.profile)];
    let mut named: Map<String, Value> = named
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value.as_ref()?.as_str().into())))
        .collect();
    if let Some(scale) = &query.scale {
        named.insert("scale".to_owned(), scale.split(',').collect());
    }
    if !named.is_empty() {
        return resolved(service, caller, Value::Object(named)).await;
    }
    let Some(digests) = digests(bytes) else { return Ok((json!({}), Map::new())) };
    let length = bytes.len();
    let same = service.store.read(move |sql| same_problem(sql, &digests, length)).await?;
    Ok(same.map_or_else(
        || (json!({}), Map::new()),
        |plan| {
            let files = plan.files.as_object().cloned().unwrap_or_default();
            (about_plan(&plan, "", "open"), files)
        },
    ))
}

/// Digests of model, cluster and profile, which stand at the start of a plan file.
fn digests(plan: &[u8]) -> Option<[String; 3]> {
    let head = plan.iter().filter(|byte| !byte.is_ascii_whitespace()).take(HEAD);
    let head: Vec<u8> = head.copied().collect();
    let head = String::from_utf8_lossy(&head);
    let written = |text: &str| {
        let digest = text.split('"').nth(1)?;
        let is_one = digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit());
        is_one.then(|| digest.to_owned())
    };
    let found = head.split("\"digest\"").skip(1).filter_map(written).take(3);
    found.collect::<Vec<String>>().try_into().ok()
}

/// The newest plan that was made for what has these digests, by what its file says. Plans of one
/// problem are about as long; others are not read.
fn same_problem(
    sql: &mut dyn Sql,
    digests: &[String; 3],
    length: usize,
) -> Result<Option<Plan>, Problem> {
    let statement = "SELECT p.id, SUBSTR(a.bytes, 1, CAST($1 AS INTEGER)) FROM plans p \
        JOIN artefacts a ON a.plan = p.id AND a.name = 'plan' \
        WHERE p.state = 'done' AND LENGTH(a.bytes) BETWEEN $2 AND $3 \
        ORDER BY p.place DESC LIMIT $4";
    let length = i64::try_from(length).unwrap_or(i64::MAX / 4);
    let values = [HEAD as i64, length / 4, length * 4, LOOKED_AT].map(Cell::from);
    for mut row in sql.rows(statement, &values)? {
        let (id, head) = (row.text(), row.bytes());
        let head = String::from_utf8_lossy(&head);
        if digests.iter().all(|digest| head.contains(digest.as_str())) {
            let plan = queue::plan(sql, &id)?;
            if !plan.request["model"].is_null() {
                return Ok(Some(plan));
            }
        }
    }
    Ok(None)
}
