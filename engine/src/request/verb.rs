//! A request of any verb as one JSON document.

use ir::diagnostic::Diagnostic;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    CompareRequest, ExplainRequest, ExportRequest, ImportRequest, OpenRequest, PlanOnModel,
    PlanRequest, ProblemRequest, SimulateRequest, VerifyRequest,
};
use crate::answer::suggest;
use crate::request::fields::FIELDS;

/// JSON Schema of [`Request`].
pub const SCHEMA: &str = include_str!("../../schema/request.schema.json");

/// What is asked, by its verb.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "verb", rename_all = "kebab-case")]
pub enum Request {
    /// Plan a model on a cluster.
    Plan(Box<PlanRequest>),
    /// Show what is understood of a model.
    Import(ImportRequest),
    /// Say which ops of a model have a cost rule.
    Support(ImportRequest),
    /// Replay a plan and report times and memory.
    Simulate(SimulateRequest),
    /// Check a plan against every rule.
    Verify(VerifyRequest),
    /// Say where the step time goes.
    Explain(ExplainRequest),
    /// Compare two plans.
    Compare(CompareRequest),
    /// A plan in an executor's format.
    Export(ExportRequest),
    /// Timeline, memory and graph of a plan as one file, to be asked for in parts.
    View(PlanOnModel),
    /// What a plan file says, and on its model what the judge says of it, with its view.
    Open(OpenRequest),
}

/// By verb, the fields without which it asks for nothing.
pub(super) const REQUIRED: [(&str, &[&str]); 10] = [
    ("plan", &["model"]),
    ("import", &["model"]),
    ("support", &["model"]),
    ("simulate", &["plan", "model"]),
    ("verify", &["plan", "model"]),
    ("explain", &["plan", "model"]),
    ("compare", &["a", "b"]),
    ("export", &["plan", "model", "target"]),
    ("view", &["plan", "model"]),
    ("open", &["plan"]),
];

/// A JSON object, read as strictly as a request.
///
/// # Errors
/// Those of the JSON reader, such as `duplicate-key`.
pub fn object(json: &[u8]) -> Result<Value, Diagnostic> {
    Ok(importers::json::object(json)?.0)
}

impl Request {
    /// Reads a request: an object with the `verb` and its fields, named as the flags are.
    ///
    /// # Errors
    /// Those of the JSON reader; `unknown-field`, `missing-field`.
    pub fn read(json: &[u8]) -> Result<Self, Diagnostic> {
        let (mut request, keys) = importers::json::object::<Self>(json)?;
        let known = request.fields();
        let is_known = |key: &&String| known.contains_key(key.as_str());
        if let Some(key) = keys.iter().find(|key| !is_known(key)) {
            let message = format!("the request has a field `{key}` that its verb does not know");
            let flag = format!("--{}", key.replace('_', "-"));
            let field = FIELDS.iter().find(|field| field.flag() == flag);
            return Err(Diagnostic::input("unknown-field", message).hint(match field {
                Some(field) => format!("the field of `{flag}` is `{}`", field.name),
                None => suggest::hint(key, known.keys().map(String::as_str)),
            }));
        }
        let required = REQUIRED.iter().filter(|(verb, _)| known["verb"] == *verb);
        let mut required = required.flat_map(|(_, names)| *names);
        if let Some(name) = required.find(|name| !keys.contains(**name)) {
            let message = format!("the request has no field `{name}`, which its verb needs");
            return Err(Diagnostic::input("missing-field", message)
                .hint("engine/schema/request.schema.json lists the fields of each verb"));
        }
        // A null, or what stands there unless stated, asks for nothing: generated clients write
        // all fields.
        let bare = serde_json::json!({ "verb": known["verb"] }).to_string();
        let bare = importers::json::object::<Self>(bare.as_bytes())?.0.fields();
        if let Some(problem) = request.problem() {
            let is_asked = |key: &String| known.get(key) != bare.get(key);
            problem.given = keys.into_iter().filter(is_asked).collect();
        }
        Ok(request)
    }

    /// All its fields; what was not asked for is null or empty.
    fn fields(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(fields)) => fields,
            _ => Map::new(),
        }
    }

    /// The request as it was understood: the fields that hold something.
    #[must_use]
    pub fn understood(&self) -> Map<String, Value> {
        let is_empty = |value: &Value| match value {
            Value::Null | Value::Bool(false) => true,
            Value::Array(all) => all.is_empty(),
            Value::Object(all) => all.is_empty(),
            _ => false,
        };
        self.fields().into_iter().filter(|(_, value)| !is_empty(value)).collect()
    }

    fn problem(&mut self) -> Option<&mut ProblemRequest> {
        Some(match self {
            Self::Plan(request) => &mut request.problem,
            Self::Simulate(request) => &mut request.on.target.problem,
            Self::Verify(request) => &mut request.on.target.problem,
            Self::View(request) => &mut request.target.problem,
            Self::Explain(request) => &mut request.on.target.problem,
            Self::Export(request) => &mut request.on.target.problem,
            Self::Compare(request) => &mut request.target.problem,
            Self::Open(request) => &mut request.problem,
            Self::Import(_) | Self::Support(_) => return None,
        })
    }
}
