//! Uploads in several requests, which go on where they broke off.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::asked::{Arriving, Named, form, stated_length, too_long};
use super::contents::{room, settled, stored};
use crate::access::{self, Caller};
use crate::content::{self, CHUNK, Incoming, Kind};
use crate::log::now_ms;
use crate::problem::Problem;
use crate::service::Shared;
use crate::store::sql::{Cell, Sql};

const OFFSET: HeaderName = HeaderName::from_static("upload-offset");

/// What is announced of an upload.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Announced {
    /// Name of the file.
    name: String,
    /// Its length.
    bytes: u64,
    /// `model`, `cluster` or `profile`.
    #[serde(default = "model")]
    kind: String,
}

fn model() -> String {
    Kind::Model.name().to_owned()
}

/// An upload that is under way.
struct Upload {
    kind: Kind,
    name: String,
    bytes: i64,
    held: i64,
    owner: String,
}

fn upload(sql: &mut dyn Sql, id: &str, caller: &Caller) -> Result<Upload, Problem> {
    let statement = "SELECT kind, name, bytes, held, owner FROM uploads WHERE id = $1";
    let missing = || Problem::missing("upload", id);
    let mut row = sql.row(statement, &[id.into()])?.ok_or_else(missing)?;
    let kind = row.text();
    let kind =
        Kind::ALL.into_iter().find(|candidate| candidate.name() == kind).unwrap_or(Kind::Model);
    let upload =
        Upload { kind, name: row.text(), bytes: row.int(), held: row.int(), owner: row.text() };
    if upload.owner == caller.name { Ok(upload) } else { Err(missing()) }
}

/// `POST /v1/uploads`.
pub(super) async fn begin(
    State(service): State<Shared>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let announced: Announced = form(&headers, body).await?;
    content::check_name(&announced.name)?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == announced.kind);
    let kind = kind.ok_or_else(|| {
        let title = format!("there is no kind `{}` of files", announced.kind);
        Problem::unprocessable("bad-body", title).hint("kinds: model, cluster, profile")
    })?;
    let most = room(&service, &caller).await?;
    if announced.bytes > most {
        return Err(too_long(most));
    }
    let id = access::id("up_");
    let values: [Cell; 6] = [
        id.as_str().into(),
        kind.name().into(),
        announced.name.into(),
        i64::try_from(announced.bytes).unwrap_or(i64::MAX).into(),
        caller.name.into(),
        now_ms().into(),
    ];
    let write = service.store.write(move |sql| {
        let statement = "INSERT INTO uploads (id, kind, name, bytes, held, owner, touched_ms) \
            VALUES ($1, $2, $3, $4, 0, $5, $6)";
        Ok(sql.run(statement, &values)?)
    });
    write.await?;
    let place = [(header::LOCATION, format!("/v1/uploads/{id}"))];
    let body = json!({ "id": id, "offset": 0, "bytes": announced.bytes });
    Ok((StatusCode::CREATED, place, Json(body)).into_response())
}

/// `GET /v1/uploads/{id}`.
pub(super) async fn one(
    State(service): State<Shared>,
    Extension(caller): Extension<Caller>,
    Named(id): Named<String>,
) -> Result<Response, Problem> {
    let upload_id = id.clone();
    let found = service.store.read(move |sql| upload(sql, &upload_id, &caller)).await?;
    let body = json!({ "id": id, "offset": found.held, "bytes": found.bytes });
    Ok(([(OFFSET, HeaderValue::from(found.held))], Json(body)).into_response())
}

/// `DELETE /v1/uploads/{id}`.
pub(super) async fn delete(
    State(service): State<Shared>,
    Extension(caller): Extension<Caller>,
    Named(id): Named<String>,
) -> Result<StatusCode, Problem> {
    let delete = service.store.write(move |sql| {
        upload(sql, &id, &caller)?;
        content::drop_chunks(sql, &id)
    });
    delete.await.map(|()| StatusCode::NO_CONTENT)
}

/// `PATCH /v1/uploads/{id}`: what comes is kept as it comes, so that a connection that breaks costs
/// no more than a chunk.
pub(super) async fn go_on(
    State(service): State<Shared>,
    Extension(caller): Extension<Caller>,
    Named(id): Named<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (upload_id, who) = (id.clone(), caller.clone());
    let found = service.store.read(move |sql| upload(sql, &upload_id, &who)).await?;
    let stated = headers.get(OFFSET).and_then(|value| value.to_str().ok()?.parse::<i64>().ok());
    if stated != Some(found.held) {
        let title = format!("the upload goes on at byte {}", found.held);
        return Err(Problem::new(StatusCode::CONFLICT, "wrong-offset", title)
            .fact("offset", found.held)
            .hint(format!("send `Upload-Offset: {}` and the bytes from there", found.held)));
    }
    let left = found.bytes.saturating_sub(found.held).unsigned_abs();
    if stated_length(&headers).is_some_and(|length| length > left) {
        return Err(too_long(left));
    }
    let (mut offset, mut rest, mut failed) = (found.held, Vec::new(), None);
    let mut body = Arriving::new(body);
    loop {
        let more = body.next().await;
        let is_end = !matches!(more, Ok(Some(_)));
        match more {
            Ok(Some(bytes)) => rest.extend_from_slice(&bytes),
            Ok(None) => {}
            Err(problem) => failed = Some(problem),
        }
        if (offset - found.held).unsigned_abs() + rest.len() as u64 > left {
            return Err(too_long(left));
        }
        while rest.len() >= CHUNK || (is_end && !rest.is_empty()) {
            let others = rest.split_off(rest.len().min(CHUNK));
            let chunk = std::mem::replace(&mut rest, others);
            offset = append(&service, &id, offset, chunk).await?;
        }
        if is_end {
            break;
        }
    }
    if let Some(problem) = failed {
        return Err(problem);
    }
    if offset < found.bytes {
        return Ok((StatusCode::NO_CONTENT, [(OFFSET, HeaderValue::from(offset))]).into_response());
    }
    complete(&service, &caller, id, found).await
}

/// Appends a chunk where the upload still stands at `offset`; where it stands then.
async fn append(service: &Shared, id: &str, offset: i64, chunk: Vec<u8>) -> Result<i64, Problem> {
    let id = id.to_owned();
    let now = offset + i64::try_from(chunk.len()).unwrap_or(i64::MAX);
    let write = service.store.write(move |sql| {
        let moved = "UPDATE uploads SET held = $1, touched_ms = $2 WHERE id = $3 AND held = $4";
        let values = [now.into(), now_ms().into(), id.as_str().into(), offset.into()];
        if sql.run(moved, &values)? == 0 {
            let title = "another request goes on with this upload";
            return Err(Problem::new(StatusCode::CONFLICT, "wrong-offset", title));
        }
        let count = "SELECT COUNT(*) FROM chunks WHERE holder = $1";
        let n = sql.row(count, &[id.as_str().into()])?.map_or(0, |mut row| row.int());
        content::append(sql, &id, n, &chunk)
    });
    write.await.map(|()| now)
}

/// All bytes are there.
async fn complete(
    service: &Shared,
    caller: &Caller,
    id: String,
    found: Upload,
) -> Result<Response, Problem> {
    let (shared, upload_id) = (Arc::clone(service), id.clone());
    let hashed =
        tokio::task::spawn_blocking(move || content::digest(&shared.store, &upload_id)).await;
    let digest = hashed.map_err(|error| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string())
    })??;
    let mut incoming = Incoming {
        holder: id,
        kind: found.kind,
        name: found.name,
        bytes: found.bytes,
        digest,
        owner: caller.name.clone(),
        summary: Value::Null,
    };
    let (content, is_new) = settled(service, &mut incoming).await?;
    Ok(stored(&content, is_new))
}
