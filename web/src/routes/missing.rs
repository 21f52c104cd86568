//! The answer to any other path.

use axum::http::{StatusCode, Uri};

use crate::error::Problem;

/// 404, with the routes that exist.
pub(super) fn answer(uri: &Uri, paths: &[&str]) -> Problem {
    let (last, others) = paths.split_last().unwrap_or((&"", &[]));
    Problem {
        status: StatusCode::NOT_FOUND,
        code: "unknown-route",
        title: format!("nothing lives at `{}`", uri.path()),
        hints: vec![format!("try {} or {last}", others.join(", "))],
    }
}
