//! Errors as RFC 9457 problem details.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use ir::diagnostic::{Blame, Diagnostic};
use serde_json::json;

/// A diagnostic on its way to an HTTP client.
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) title: String,
    pub(crate) hints: Vec<String>,
}

impl From<Diagnostic> for Problem {
    fn from(diagnostic: Diagnostic) -> Self {
        let status = match diagnostic.blame {
            Blame::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            // An infeasible problem is an answer, not a failure of the request.
            Blame::Infeasible | Blame::NotFound | Blame::IllegalPlan => StatusCode::OK,
            Blame::Usage | Blame::Input => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self { status, code: diagnostic.code, title: diagnostic.message, hints: diagnostic.hints }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "type": "about:blank",
            "status": self.status.as_u16(),
            "title": self.title,
            "code": self.code,
            "hints": self.hints,
        });
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        (self.status, kind, body.to_string()).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blame_decides_the_status() {
        let of = |blame| Problem::from(Diagnostic::error(blame, "x", "y")).status.as_u16();
        assert_eq!(of(Blame::Internal), 500);
        assert_eq!(of(Blame::Input), 422);
        assert_eq!(of(Blame::Infeasible), 200);
    }
}
