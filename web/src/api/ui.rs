//! The pages for people: files that were built into the program.

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use sha2::{Digest, Sha256};

use crate::access::hexadecimal;
use crate::problem::Problem;

/// A file of the pages.
struct File {
    name: &'static str,
    bytes: &'static [u8],
    gzip: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/ui_files.rs"));

/// Nothing is read from elsewhere, and nothing runs that does not come as a file of its own.
const POLICY: &str = "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Answered where the pages were not built in.
const MISSING: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
    <title>meshwright</title><h1>meshwright</h1>\
    <p>This program was built without its pages. With Node.js 20 or newer, \
    <code>make ui</code> builds them; build the program again after it.</p>\
    <p>The service works without them: <a href=\"/docs\">/docs</a> lists its routes.</p></html>";

/// `GET /`.
pub(super) async fn page(headers: HeaderMap) -> Response {
    match find("index.html") {
        Some(file) => answer(file, &headers, "no-cache"),
        None => guarded(Html(MISSING).into_response(), "no-cache"),
    }
}

/// `GET /assets/{file}`: their names hold a hash of what they hold.
pub(super) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    match find(&format!("assets/{name}")) {
        Some(file) => answer(file, &headers, "public, max-age=31536000, immutable"),
        None => Problem::new(StatusCode::NOT_FOUND, "unknown-asset", "no page has such a file")
            .hint("load the page again: its program may be newer")
            .into_response(),
    }
}

fn find(name: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.name == name)
}

/// What a file of the pages holds, where they were built in.
pub(super) fn built(name: &str) -> Option<&'static [u8]> {
    find(name).map(|file| file.bytes)
}

fn answer(file: &File, request_headers: &HeaderMap, lasts: &'static str) -> Response {
    let tag = format!("\"{}\"", &hexadecimal(&Sha256::digest(file.bytes))[..32]);
    let has = |name, value: &str| {
        let given =
            request_headers.get(name).and_then(|text| text.to_str().ok()).unwrap_or_default();
        given.split(',').any(|part| part.split(';').next().unwrap_or_default().trim() == value)
    };
    let mut response = if has(header::IF_NONE_MATCH, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else if has(header::ACCEPT_ENCODING, "gzip") {
        ([(header::CONTENT_ENCODING, "gzip")], file.gzip).into_response()
    } else {
        file.bytes.into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind(file.name)));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    guarded(response, lasts)
}

fn guarded(mut response: Response, lasts: &'static str) -> Response {
    let all = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, lasts),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in all {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn kind(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "json" => "application/json",
        "yaml" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
