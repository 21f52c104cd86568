//! What a request asks: its query, its body, who sent it.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::problem::Problem;

/// Longest body of JSON, in bytes.
pub(crate) const LONGEST_JSON: u64 = 8 << 20;
/// How long the next bytes of a body may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes a second that a body brings at least, once as much time has gone by.
const SLOWEST: u64 = 1 << 10;

/// A query, of which every name is known.
pub(crate) struct Asked<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query.map(|Query(query)| Self(query)).map_err(|error| {
            Problem::unprocessable("bad-query", error.body_text())
                .hint("/docs lists what can be asked")
        })
    }
}

/// Names in the path.
pub(crate) struct Named<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Named<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<T>::from_request_parts(parts, state).await;
        path.map(|Path(path)| Self(path))
            .map_err(|error| Problem::new(StatusCode::NOT_FOUND, "bad-path", error.body_text()))
    }
}

/// 413.
pub(crate) fn too_long(limit: u64) -> Problem {
    let title = format!("the body is longer than {limit} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-long", title).fact("limit_bytes", limit)
}

/// The length that a body states.
pub(crate) fn stated_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A body as it comes in.
pub(crate) struct Arriving {
    body: Body,
    bytes: u64,
    /// How long it was waited for, without what was done with its bytes meanwhile.
    waited: Duration,
}

impl Arriving {
    pub(crate) const fn new(body: Body) -> Self {
        Self { body, bytes: 0, waited: Duration::ZERO }
    }

    /// The next bytes.
    ///
    /// # Errors
    /// `body-cut-short` where the connection failed or too little came in time.
    pub(crate) async fn next(&mut self) -> Result<Option<axum::body::Bytes>, Problem> {
        let cut = |reason: String| {
            Problem::new(StatusCode::REQUEST_TIMEOUT, "body-cut-short", "the body did not arrive")
                .fact("reason", reason)
        };
        loop {
            let earned = PATIENCE + Duration::from_secs(self.bytes / SLOWEST);
            let (start, left) = (Instant::now(), earned.saturating_sub(self.waited).min(PATIENCE));
            let frame = tokio::time::timeout(left, self.body.frame()).await;
            self.waited += start.elapsed();
            match frame.map_err(|_| {
                let (patience, bytes) = (PATIENCE.as_secs(), self.bytes);
                cut(format!("{bytes} bytes came; {SLOWEST} a second are asked for after {patience} s, and no pause as long"))
            })? {
                None => return Ok(None),
                Some(Err(error)) => return Err(cut(error.to_string())),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        self.bytes += bytes.len() as u64;
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }
}

/// The whole body.
///
/// # Errors
/// Of a length above the limit, before it is read where the length is stated.
pub(crate) async fn whole(headers: &HeaderMap, body: Body, limit: u64) -> Result<Vec<u8>, Problem> {
    if stated_length(headers).is_some_and(|length| length > limit) {
        return Err(too_long(limit));
    }
    let (mut bytes, mut body) = (Vec::new(), Arriving::new(body));
    while let Some(more) = body.next().await? {
        if (bytes.len() + more.len()) as u64 > limit {
            return Err(too_long(limit));
        }
        bytes.extend_from_slice(&more);
    }
    Ok(bytes)
}

/// A body that is one JSON object.
///
/// # Errors
/// `bad-body`.
pub(crate) async fn object(headers: &HeaderMap, body: Body) -> Result<Value, Problem> {
    let bytes = whole(headers, body, LONGEST_JSON).await?;
    Ok(engine::request::verb::object(&bytes)?)
}

/// A body of a known form.
///
/// # Errors
/// `bad-body`.
pub(crate) async fn form<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
) -> Result<T, Problem> {
    let value = object(headers, body).await?;
    serde_json::from_value(value)
        .map_err(|error| Problem::unprocessable("bad-body", error.to_string()))
}
