//! How plans stand: listed, looked at, cancelled.

use ir::diagnostic::Diagnostic;
use ir::units::Nanos;
use serde::Deserialize;
use serde_json::{Value, json};
use ureq::http::Method;

use super::connection::{Ask, Service};
use super::events::{objective, shown};
use super::failure::{Failure, told};

/// How a plan stands, as far as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Its id.
    pub id: String,
    /// `queued`, `running`, `done`, `infeasible`, `cancelled` or `failed`.
    pub state: String,
    /// Plans that come before it.
    pub queue_position: Option<u64>,
    /// 0 to 9, higher first.
    pub priority: u8,
    /// What is minimised.
    pub objective: Option<String>,
    /// Value of the best plan so far, in nanoseconds for times.
    pub value_ns: Option<u64>,
    /// What no plan is below.
    pub bound_ns: Option<u64>,
    /// Value / bound - 1.
    pub gap: Option<f64>,
    /// The recipe that is tried, or that found the plan.
    pub algorithm: Option<String>,
    /// Seconds of planning.
    pub elapsed_s: Option<f64>,
    /// That of the command line, once it ended by itself.
    pub exit_code: Option<u8>,
    /// The diagnostic of a plan that failed or can not exist.
    pub error: Option<Value>,
    /// Names of the files that it has made.
    pub artefacts: Vec<String>,
    /// What was asked.
    pub request: Value,
    /// Where a plan comes from that was brought as a file.
    pub opened: Value,
}

impl Status {
    /// Whether nothing more will happen to it.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        !matches!(self.state.as_str(), "queued" | "running")
    }

    /// Why there is no plan, where it ended without one.
    #[must_use]
    pub fn failure(&self) -> Option<Diagnostic> {
        self.error.as_ref().map(|error| told(error, self.exit_code))
    }

    /// The value, as people read it.
    #[must_use]
    pub fn value(&self) -> Option<String> {
        let name = objective(self.objective.as_deref().unwrap_or_default());
        self.value_ns.map(|value| shown(name, Nanos(value)))
    }
}

impl Service {
    /// How a plan stands.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn status(&self, id: &str) -> Result<Status, Failure> {
        let path = format!("/v1/plans/{}", encoded(id));
        self.send(&Ask::new(Method::GET, &path))?.good(self)?.json(self)
    }

    /// The newest plans, of one state where it is stated: as the service lists them.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn list(&self, state: Option<&str>, n: u32) -> Result<Value, Failure> {
        let state = state.map_or_else(String::new, |state| format!("&state={}", encoded(state)));
        let path = format!("/v1/plans?limit={n}{state}");
        self.send(&Ask::new(Method::GET, &path))?.good(self)?.json(self)
    }

    /// Ends a plan with the best so far.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn cancel(&self, id: &str) -> Result<Status, Failure> {
        let path = format!("/v1/plans/{}/cancel", encoded(id));
        let body = json!({}).to_string();
        self.send(&Ask::new(Method::POST, &path).body(body.as_bytes()))?.good(self)?.json(self)
    }

    /// Whether the service takes plans.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn ready(&self) -> Result<(), Failure> {
        self.send(&Ask::new(Method::GET, "/readyz").once())?.good(self).map(drop)
    }
}

/// A word as a part of an address.
pub(super) fn encoded(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let one = |byte: u8| match is_plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    word.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_addresses_are_safe() {
        assert_eq!(encoded("a b/ä?.onnx"), "a%20b%2F%C3%A4%3F.onnx");
    }
}
