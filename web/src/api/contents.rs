//! Uploaded files: models, clusters, profiles.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::asked::{Arriving, Asked, Named, stated_length, too_long};
use super::covers;
use super::plans::check_limit;
use crate::access::{self, Caller, Scope};
use crate::content::{self, CHUNK, Content, FILES, HISTOGRAM, Incoming, Kind, names_file};
use crate::problem::Problem;
use crate::service::{Service, Shared};

/// Of models that can be planned, but not be looked at by themselves: extents are stated with the plan,
/// and instances with given costs have no graph.
const NEEDS_FLAGS: [&str; 2] = ["unbound-dimension", "no-graph"];

/// Query of an upload.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Name {
    pub(super) name: String,
}

/// A file that comes in, chunk by chunk; dropped before it is kept, it leaves nothing.
pub(super) struct Receiving {
    service: Arc<Service>,
    pub(super) incoming: Incoming,
    hash: Sha256,
    /// Not written yet.
    rest: Vec<u8>,
    n: i64,
    is_kept: bool,
}

impl Receiving {
    pub(super) fn new(service: &Shared, caller: &Caller, kind: Kind, name: String) -> Self {
        let incoming = Incoming {
            holder: access::id("in_"),
            kind,
            name,
            bytes: 0,
            digest: String::new(),
            owner: caller.name.clone(),
            summary: Value::Null,
        };
        let (service, hash) = (Arc::clone(service), Sha256::new());
        Self { service, incoming, hash, rest: Vec::new(), n: 0, is_kept: false }
    }

    async fn take(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.hash.update(bytes);
        self.incoming.bytes += i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        self.rest.extend_from_slice(bytes);
        while self.rest.len() >= CHUNK {
            let rest = self.rest.split_off(CHUNK);
            let chunk = std::mem::replace(&mut self.rest, rest);
            self.write(chunk).await?;
        }
        Ok(())
    }

    async fn write(&mut self, chunk: Vec<u8>) -> Result<(), Problem> {
        let (incoming, n) = (self.incoming.clone(), self.n);
        self.n += 1;
        self.service.store.write(move |sql| content::receive(sql, &incoming, n, &chunk)).await
    }

    /// Takes a body as a whole.
    pub(super) async fn body(
        &mut self,
        headers: &HeaderMap,
        body: Body,
        most: u64,
    ) -> Result<(), Problem> {
        if stated_length(headers).is_some_and(|length| length > most) {
            return Err(too_long(most));
        }
        let mut body = Arriving::new(body);
        while let Some(bytes) = body.next().await? {
            if self.incoming.bytes.unsigned_abs().saturating_add(bytes.len() as u64) > most {
                return Err(too_long(most));
            }
            self.take(&bytes).await?;
        }
        Ok(())
    }

    /// Looks at what came, and keeps it: the file, and whether it is new.
    async fn end(mut self) -> Result<(Content, bool), Problem> {
        self.incoming.digest = content::written(&self.hash.clone().finalize());
        let rest = std::mem::take(&mut self.rest);
        if !rest.is_empty() {
            self.write(rest).await?;
        }
        let ended = settled(&self.service, &mut self.incoming).await?;
        self.is_kept = true;
        Ok(ended)
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        if self.n > 0 && !self.is_kept {
            let (service, holder) = (Arc::clone(&self.service), self.incoming.holder.clone());
            tokio::spawn(async move {
                let _ = service.store.write(move |sql| content::drop_chunks(sql, &holder)).await;
            });
        }
    }
}

/// Keeps what came in under a holder, once; a model has to be one that can be read under its name.
pub(super) async fn settled(
    service: &Shared,
    incoming: &mut Incoming,
) -> Result<(Content, bool), Problem> {
    let (kind, digest) = (incoming.kind, incoming.digest.clone());
    // Of equal files that come at once the first is looked at, the others find it there.
    let _once = service.making.lock(&digest).await;
    let known = service.store.read(move |sql| content::find_of(sql, kind, &digest, "")).await?;
    if let Some(known) = known {
        incoming.summary = known.summary;
    } else if incoming.kind == Kind::Model {
        let looked = looked_at(service, incoming).await;
        if looked.is_err() {
            let holder = incoming.holder.clone();
            service.store.write(move |sql| content::drop_chunks(sql, &holder)).await?;
        }
        incoming.summary = looked?;
    }
    let copy = incoming.clone();
    let digest = incoming.digest.clone();
    let keep = service.store.write(move |sql| {
        let is_new = content::keep(sql, &copy)?;
        let found = content::find_of(sql, kind, &digest, &copy.owner)?;
        Ok((found.ok_or_else(|| Problem::missing("file", &digest))?, is_new))
    });
    keep.await
}

/// What is understood of a model, by a process of its own.
async fn looked_at(service: &Shared, incoming: &Incoming) -> Result<Value, Problem> {
    let request = json!({ "verb": "import", "model": incoming.name });
    let files = json!({ incoming.name.clone(): format!("holder:{}", incoming.holder) });
    let answer = match service.ask(request, files, Vec::new()).await {
        Err(problem) if NEEDS_FLAGS.contains(&problem.code.as_str()) => {
            let needs = json!({ "code": problem.code, "message": problem.title });
            return Ok(json!({ "summary": null, "needs": needs }));
        }
        answer => answer?,
    };
    let document: Value = serde_json::from_str(&answer.text).unwrap_or_default();
    Ok(json!({ "summary": document["summary"], "name": document["name"],
        "warnings": document["warnings"] }))
}

/// Stores an upload of a kind.
pub(super) async fn upload(
    kind: Kind,
    service: Shared,
    caller: Caller,
    (name, headers, body): (String, HeaderMap, Body),
) -> Result<Response, Problem> {
    content::check_name(&name)?;
    let most = room(&service, &caller).await?;
    let mut receiving = Receiving::new(&service, &caller, kind, name);
    receiving.body(&headers, body, most).await?;
    let (content, is_new) = receiving.end().await?;
    Ok(stored(&content, is_new))
}

/// The longest upload of a caller, in bytes.
pub(super) async fn room(service: &Shared, caller: &Caller) -> Result<u64, Problem> {
    let name = caller.name.clone();
    let used = service.store.read(move |sql| access::held_bytes(sql, &name)).await?;
    let left = caller.quota.bytes.saturating_sub(used);
    if left <= 0 {
        let title = "the files of this token have used its space";
        return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-bytes", title)
            .fact("held_bytes", used)
            .fact("limit_bytes", caller.quota.bytes)
            .hint("delete models that are not needed"));
    }
    Ok(service.options.most_upload.min(left.unsigned_abs()))
}

pub(super) fn stored(content: &Content, is_new: bool) -> Response {
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    (status, Json(content.document())).into_response()
}

/// `POST` of files of a kind.
pub(super) async fn post(
    kind: Kind,
    State(service): State<Shared>,
    Extension(caller): Extension<Caller>,
    Asked(query): Asked<Name>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    upload(kind, service, caller, (query.name, headers, body)).await
}

/// Query of a listing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listing {
    #[serde(default)]
    cursor: String,
    #[serde(default = "page")]
    limit: i64,
}

const fn page() -> i64 {
    50
}

/// `GET` of files of a kind.
pub(super) async fn list(
    kind: Kind,
    State(service): State<Shared>,
    Asked(query): Asked<Listing>,
) -> Result<Json<Value>, Problem> {
    check_limit(query.limit)?;
    let limit = query.limit;
    let read = service.store.read(move |sql| {
        let (digest, name) = query.cursor.split_once('/').unwrap_or((&query.cursor, ""));
        content::list(sql, kind, (digest, name), limit)
    });
    let rows = read.await?;
    let is_full = i64::try_from(rows.len()).unwrap_or(0) == limit;
    let last = rows.last().filter(|_| is_full);
    let next = last.map(|row| format!("{}/{}", row.digest, row.name));
    let rows: Vec<Value> = rows.iter().map(Content::document).collect();
    Ok(Json(json!({ "contents": rows, "next": next })))
}

/// `GET` of one file's description, by digest or name.
pub(super) async fn one(
    kind: Kind,
    State(service): State<Shared>,
    Extension(caller): Extension<Caller>,
    Named(reference): Named<String>,
) -> Result<Json<Value>, Problem> {
    let wanted = reference.clone();
    let read = service.store.read(move |sql| content::find_of(sql, kind, &wanted, &caller.name));
    let found = read.await?;
    let found = found.ok_or_else(|| Problem::missing(kind.name(), &reference))?;
    let mut document = found.document();
    if kind == Kind::Profile {
        let shared = Arc::clone(&service);
        let read = tokio::task::spawn_blocking(move || covers::of(&shared.store, &found));
        document["covers"] = read.await.map_err(|_| unread(kind))??;
    }
    Ok(Json(document))
}

/// The thread that read a file has ended before its answer.
fn unread(kind: Kind) -> Problem {
    let title = format!("the {} could not be read", kind.name());
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", title)
}

/// `DELETE` of a file.
pub(super) async fn delete(
    kind: Kind,
    State(service): State<Shared>,
    Extension(caller): Extension<Caller>,
    Named(digest): Named<String>,
) -> Result<StatusCode, Problem> {
    let gone = digest.clone();
    let delete = service.store.write(move |sql| {
        let owner = (caller.scope < Scope::Admin).then_some(caller.name.as_str());
        if content::delete(sql, (kind, &digest), owner)? {
            return Ok(());
        }
        if content::find_of(sql, kind, &digest, "")?.is_some() {
            caller.must(Scope::Admin)?;
        }
        Err(Problem::missing(kind.name(), &digest))
    });
    delete.await?;
    service.warm.forget(&gone);
    Ok(StatusCode::NO_CONTENT)
}

/// A request whose file fields name files of a folder, and what lies there: by name, digests.
/// Inline objects are stored first.
pub(super) async fn resolved(
    service: &Shared,
    caller: &Caller,
    mut request: Value,
) -> Result<(Value, Map<String, Value>), Problem> {
    let mut files = Map::new();
    for field in FILES {
        let Some(given) = request.get(field).filter(|given| !given.is_null()).cloned() else {
            continue;
        };
        let name = resolved_one(service, caller, field, given, &mut files).await?;
        request[field] = name.into();
    }
    if let Some(given) = request.get(HISTOGRAM).filter(|given| names_file(given)).cloned() {
        let name = resolved_one(service, caller, HISTOGRAM, given, &mut files).await?;
        request[HISTOGRAM] = name.into();
    }
    if let Some(traces) = request.get("traces").and_then(Value::as_array).cloned() {
        let mut names = Vec::with_capacity(traces.len());
        for trace in traces {
            names.push(resolved_one(service, caller, "traces", trace, &mut files).await?);
        }
        request["traces"] = names.into();
    }
    Ok((request, files))
}

async fn resolved_one(
    service: &Shared,
    caller: &Caller,
    field: &str,
    given: Value,
    files: &mut Map<String, Value>,
) -> Result<String, Problem> {
    let unprocessable = |code: &str, title: String| Problem::unprocessable(code, title);
    let (content, part) = match given {
        Value::Object(_) if field != "traces" => {
            (inline(service, caller, field, &given).await?, String::new())
        }
        Value::String(text) => {
            let (reference, part) = match text.split_once('#') {
                Some((reference, part)) => (reference.to_owned(), format!("#{part}")),
                None => (text.clone(), String::new()),
            };
            let wanted = reference.clone();
            let kind = Kind::ALL.into_iter().find(|kind| kind.name() == field);
            let asks = caller.name.clone();
            let read = service.store.read(move |sql| content::find(sql, kind, &wanted, &asks));
            let found = read.await?;
            let found = found.ok_or_else(|| {
                unprocessable("unknown-file", format!("`{field}`: there is no file `{reference}`"))
                    .hint("upload it first: POST /v1/models?name=NAME, /v1/clusters, /v1/profiles")
            })?;
            (found, part)
        }
        _ => {
            let title = format!("`{field}` is a digest, a name, or an object with the file itself");
            return Err(unprocessable("bad-file", title));
        }
    };
    let name = content.name.clone();
    match files.insert(name.clone(), content.digest.as_str().into()) {
        Some(other) if other != content.digest.as_str() => {
            let title = format!("two files of the request are called `{name}`");
            Err(unprocessable("same-name", title).hint("upload one of them under another name"))
        }
        _ => Ok(name + &part),
    }
}

/// Stores a file that stands in the request.
async fn inline(
    service: &Shared,
    caller: &Caller,
    field: &str,
    given: &Value,
) -> Result<Content, Problem> {
    let kind = match field {
        "model" => Kind::Model,
        "profile" => Kind::Profile,
        _ => Kind::Cluster,
    };
    let most = room(service, caller).await?;
    let name = if field == "model" { "config.json".to_owned() } else { format!("{field}.json") };
    let bytes = serde_json::to_vec(given).unwrap_or_default();
    let mut receiving = Receiving::new(service, caller, kind, name);
    receiving.body(&HeaderMap::new(), Body::from(bytes), most).await?;
    Ok(receiving.end().await?.0)
}
