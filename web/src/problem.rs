//! Errors as RFC 9457 problem details.

use std::ops::Deref;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use documents::diagnostic::DiagnosticDocument;
use ir::diagnostic::Diagnostic;
use serde_json::{Map, Value, json};

use crate::fault::Fault;

/// What went wrong, on its way to an HTTP client.
#[derive(Clone, Debug)]
pub(crate) struct Problem(Box<Said>);

/// What is said of it.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) status: StatusCode,
    pub(crate) code: String,
    pub(crate) title: String,
    pub(crate) hints: Vec<String>,
    /// Further members.
    pub(crate) facts: Map<String, Value>,
    /// What the database said, where it is to blame.
    pub(crate) fault: Option<Fault>,
    /// Seconds after which trying again may help.
    pub(crate) retry_s: Option<u64>,
}

impl Deref for Problem {
    type Target = Said;

    fn deref(&self) -> &Said {
        &self.0
    }
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &str, title: impl Into<String>) -> Self {
        Self(Box::new(Said {
            status,
            code: code.to_owned(),
            title: title.into(),
            hints: Vec::new(),
            facts: Map::new(),
            fault: None,
            retry_s: None,
        }))
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hints.push(hint.into());
        self
    }

    pub(crate) fn fact(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.facts.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn retry(mut self, seconds: u64) -> Self {
        self.0.retry_s = Some(seconds);
        self
    }

    /// 422.
    pub(crate) fn unprocessable(code: &str, title: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, title)
    }

    /// What the operator reads.
    pub(crate) fn words(&self) -> String {
        self.fault.as_ref().map_or_else(|| self.title.clone(), ToString::to_string)
    }

    /// 404.
    pub(crate) fn missing(what: &str, id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", format!("there is no {what} `{id}`"))
    }

    /// 422 with what the command line would have said.
    pub(crate) fn refused(error: &Value) -> Self {
        let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        let hints = error["hints"].as_array().into_iter().flatten();
        let status = match error["exit_code"].as_u64() {
            Some(1) => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        let hints = hints.filter_map(Value::as_str);
        let problem = Self::new(status, &text("code"), text("message"));
        hints.fold(problem, Self::hint).fact("facts", error["facts"].clone())
    }
}

impl From<Diagnostic> for Problem {
    fn from(diagnostic: Diagnostic) -> Self {
        let exit_code = diagnostic.blame.exit_code();
        let document = DiagnosticDocument { exit_code: Some(exit_code), ..(&diagnostic).into() };
        Self::refused(&serde_json::to_value(document).unwrap_or_default())
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        let mut problem = match &fault {
            Fault::Full => {
                let title = "no space is left for what was sent";
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "storage-full", title)
                    .hint("delete plans or models that are not needed, or give the disk more space")
                    .retry(30)
            }
            // The words of the database stay in the log: they may hold what a client should not see.
            Fault::Again(_) | Fault::Other(_) => {
                let title = "the database does not answer";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "database-failed", title).retry(5)
            }
        };
        problem.0.fault = Some(fault);
        problem
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        if let Some(Fault::Again(reason) | Fault::Other(reason)) = &self.fault {
            crate::log::line("error", "database-failed", &json!({ "reason": reason }));
        }
        let mut body = json!({
            "type": "about:blank",
            "status": self.status.as_u16(),
            "title": self.title,
            "code": self.code,
            "hints": self.hints,
        });
        if let Some(members) = body.as_object_mut() {
            members.extend(self.facts.clone());
        }
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (self.status, kind, body.to_string()).into_response();
        if let Some(seconds) = self.retry_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let value = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
        }
        response
    }
}
