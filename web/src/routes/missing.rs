//! The answer to any other path.

use axum::http::{StatusCode, Uri};

use crate::error::Problem;

/// 404, with the routes that exist.
pub(crate) async fn answer(uri: Uri) -> Problem {
    Problem {
        status: StatusCode::NOT_FOUND,
        code: "unknown-route",
        title: format!("nothing lives at `{}`", uri.path()),
        hints: vec!["try /api/health, /api/algorithms or /api/devices".to_owned()],
    }
}
