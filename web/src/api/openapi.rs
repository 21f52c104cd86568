//! The OpenAPI document, made from the table of routes and the types of bodies.

use axum::handler::Handler;
use axum::routing::{self, MethodRouter};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::{plans, uploads, verbs, views};
use crate::access::Scope;
use crate::service::Shared;

/// What a route answers when all is well.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answers {
    /// JSON with a status.
    Json(u16),
    /// 200 with a named schema.
    Form(&'static str),
    /// 200 with how a plan stands, or 304.
    Status,
    /// The same, or 202.
    Queued,
    /// 202 with how a plan stands.
    Accepted,
    /// 201, or 200 where it was there.
    Stored,
    /// The same, with how a plan stands.
    Opened,
    /// 204, or 201 once complete, or 200 where it was there.
    Appended,
    /// 204.
    Nothing,
    /// Text.
    Text,
    /// A page.
    Html,
    /// Server-sent events.
    Events,
}

/// What a route takes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Body {
    /// Bytes as they are.
    Bytes,
    /// JSON of a named schema.
    Form(&'static str),
}

/// Routes by their methods, each with what answers it.
macro_rules! by_method {
    ($($name:ident $method:literal),*) => {$(
        pub(super) fn $name<T: 'static>(
            path: &'static str,
            handler: impl Handler<T, Shared>,
            scope: Option<Scope>,
            summary: &'static str,
        ) -> Self {
            Self::new(($method, path), routing::$name(handler), scope, summary)
        }
    )*};
}

/// A route.
pub(super) struct Row {
    pub(super) method: &'static str,
    /// With `{names}`.
    pub(super) path: &'static str,
    /// What a token needs; `None` = no token.
    pub(super) scope: Option<Scope>,
    /// What answers.
    pub(super) handler: MethodRouter<Shared>,
    summary: &'static str,
    /// Names of the query; `!` behind one that is needed.
    pub(super) asks: &'static [&'static str],
    body: Option<Body>,
    answers: Answers,
}

impl Row {
    fn new(
        (method, path): (&'static str, &'static str),
        handler: MethodRouter<Shared>,
        scope: Option<Scope>,
        summary: &'static str,
    ) -> Self {
        let answers = Answers::Json(200);
        Self { method, path, scope, handler, summary, asks: &[], body: None, answers }
    }

    by_method!(get "GET", post "POST", patch "PATCH", delete "DELETE");

    pub(super) fn asks(mut self, names: &'static [&'static str]) -> Self {
        self.asks = names;
        self
    }

    pub(super) fn takes(mut self, body: Body) -> Self {
        self.body = Some(body);
        self
    }

    pub(super) fn answers(mut self, answers: Answers) -> Self {
        self.answers = answers;
        self
    }

    fn operation(&self) -> Value {
        let mut operation = json!({
            "operationId": self.id(),
            "summary": self.summary,
            "parameters": self.parameters(),
            "responses": self.responses(),
        });
        match self.body {
            None => {}
            Some(Body::Bytes) => {
                let schema = json!({ "type": "string", "format": "binary" });
                operation["requestBody"] = json!({ "required": true,
                    "content": { "application/octet-stream": { "schema": schema } } });
            }
            Some(Body::Form(name)) => {
                operation["requestBody"] = json!({ "required": true,
                    "content": { "application/json": { "schema": reference(name) } } });
            }
        }
        if let Some(scope) = self.scope {
            operation["security"] = json!([{ "token": [] }]);
            operation["description"] = format!("Needs the scope `{}`.", scope.name()).into();
        }
        operation
    }

    /// Such as `post_plans`, `get_plan_events`.
    fn id(&self) -> String {
        let words = self.path.split('/').filter(|word| !word.is_empty() && *word != "v1");
        let words = words.map(|word| word.trim_matches(['{', '}']).replace('.', "_"));
        format!("{}_{}", self.method.to_lowercase(), words.collect::<Vec<_>>().join("_"))
    }

    fn parameters(&self) -> Vec<Value> {
        let in_path =
            self.path.split('/').filter_map(|word| word.strip_prefix('{')?.strip_suffix('}'));
        let in_path = in_path.map(|name| {
            let schema = match name {
                "launcher" => json!({ "type": "string", "enum": ["torchrun", "slurm", "k8s"] }),
                _ => json!({ "type": "string" }),
            };
            json!({ "name": name, "in": "path", "required": true, "schema": schema })
        });
        let in_query = self.asks.iter().map(|name| {
            let is_needed = name.ends_with('!');
            let name = name.trim_end_matches('!');
            json!({ "name": name, "in": "query", "required": is_needed, "schema": asked(name) })
        });
        let header = |name: &str, schema: Value| json!({ "name": name, "in": "header", "required": false, "schema": schema });
        let mut all: Vec<Value> = in_path.chain(in_query).collect();
        match self.answers {
            Answers::Queued => {
                let text = json!({ "type": "string", "minLength": 1, "maxLength": 200,
                    "pattern": "^[!-~]+$" });
                all.push(header("Idempotency-Key", text));
            }
            Answers::Events => all.push(header("Last-Event-ID", json!({ "type": "integer" }))),
            Answers::Appended => {
                let mut offset =
                    header("Upload-Offset", json!({ "type": "integer", "minimum": 0 }));
                offset["required"] = true.into();
                all.push(offset);
            }
            Answers::Status => all.push(header("If-None-Match", json!({ "type": "string" }))),
            _ => {}
        }
        all
    }

    fn responses(&self) -> Value {
        let mut all = Map::new();
        let mut add = |status: u16, what: &str, kind: &str, schema: Value| {
            let content = json!({ kind: { "schema": schema } });
            let answer = match kind {
                "" => json!({ "description": what }),
                _ => json!({ "description": what, "content": content }),
            };
            all.insert(status.to_string(), answer);
        };
        const JSON: &str = "application/json";
        let any = json!({ "type": "object" });
        match self.answers {
            Answers::Json(status) => add(status, "The answer", JSON, any),
            Answers::Form(name) => add(200, "The answer", JSON, reference(name)),
            Answers::Status => {
                add(200, "How it stands", JSON, reference("PlanStatus"));
                add(304, "As the client knows it", "", Value::Null);
            }
            Answers::Queued => {
                add(200, "It ended", JSON, reference("PlanStatus"));
                add(202, "It waits or runs", JSON, reference("PlanStatus"));
            }
            Answers::Accepted => add(202, "It will end", JSON, reference("PlanStatus")),
            Answers::Stored => {
                add(200, "It was there", JSON, any.clone());
                add(201, "It is stored", JSON, any);
            }
            Answers::Opened => {
                add(200, "It was there", JSON, reference("PlanStatus"));
                add(201, "It is shown", JSON, reference("PlanStatus"));
            }
            Answers::Appended => {
                add(204, "More is to come", "", Value::Null);
                add(200, "It was there", JSON, any.clone());
                add(201, "It is stored", JSON, any);
            }
            Answers::Nothing => add(204, "Done", "", Value::Null),
            Answers::Text => {
                let text = json!({ "type": "string" });
                add(200, "The text", "text/plain", text);
            }
            Answers::Html => add(200, "The page", "text/html", json!({ "type": "string" })),
            Answers::Events => {
                add(200, "Events", "text/event-stream", json!({ "type": "string" }));
            }
        }
        for status in self.failures() {
            let answer = json!({ "$ref": "#/components/responses/Problem" });
            all.insert(status.to_string(), answer);
        }
        Value::Object(all)
    }

    /// Statuses of problems.
    fn failures(&self) -> Vec<u16> {
        let mut all = vec![421];
        if self.scope.is_some() {
            all.extend([401, 403, 429, 500, 503]);
        }
        if self.path.contains('{')
            || matches!(self.body, Some(Body::Form("Simulated" | "Compared" | "Measured")))
        {
            all.extend([404, 409]);
        }
        if self.scope.is_some() {
            all.push(422);
        }
        if self.body.is_some() {
            all.extend([408, 413, 429]);
        }
        if self.method != "GET" || self.path.contains("artefacts") {
            all.push(507);
        }
        if self.path == "/readyz" {
            all.push(503);
        }
        all.sort_unstable();
        all.dedup();
        all
    }
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// Schema of a count with its usual value and its highest.
fn up_to((usual, most): (usize, usize)) -> Value {
    json!({ "type": "integer", "minimum": 1, "maximum": most, "default": usual })
}

/// Schema of a name in a query.
fn asked(name: &str) -> Value {
    match name {
        "wait" => json!({ "type": "number", "minimum": 0, "maximum": plans::LONGEST_WAIT,
            "description": "Seconds to wait for the end" }),
        "priority" => json!({ "type": "integer", "minimum": 0, "maximum": 9 }),
        "limit" => json!({ "type": "integer", "minimum": 1, "maximum": plans::LONGEST_PAGE }),
        "from_ns" | "to_ns" | "layer" => json!({ "type": "integer", "minimum": 0 }),
        "longest" => json!({ "type": "integer", "minimum": 1 }),
        "brief" => json!({ "type": "boolean", "default": false }),
        "max_slices" => up_to(views::ROWS),
        "points" => up_to(views::POINTS),
        "depth" => up_to(views::DEPTH),
        "most" => up_to(views::FOUND),
        "cancel" => json!({ "type": "integer", "minimum": 0, "maximum": 1 }),
        "state" => json!({ "type": "string", "enum":
            ["queued", "running", "done", "infeasible", "cancelled", "failed"] }),
        _ => json!({ "type": "string" }),
    }
}

/// The document.
pub(super) fn document(version: &str) -> Value {
    let mut paths = Map::new();
    for row in super::table::rows() {
        let item = paths.entry(row.path.to_owned()).or_insert_with(|| json!({}));
        item[row.method.to_lowercase()] = row.operation();
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "meshwright",
            "version": version.split(' ').next(),
            "summary": "Plans where and how large models run",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "responses": {
                "Problem": {
                    "description": "What went wrong",
                    "content": { "application/problem+json": { "schema": reference("Problem") } },
                },
            },
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

/// Schemas of all bodies.
fn schemas() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        "/components/schemas".clone_into(settings.definitions_path.to_mut());
    });
    let mut generator = settings.into_generator();
    generator.subschema_for::<plans::PlanPage>();
    generator.subschema_for::<uploads::Announced>();
    generator.subschema_for::<verbs::Compared>();
    generator.subschema_for::<verbs::Measured>();
    let mut all: Map<String, Value> = generator.take_definitions(true);
    all.insert(
        "Problem".to_owned(),
        json!({
            "type": "object",
            "required": ["type", "status", "title", "code", "hints"],
            "properties": {
                "type": { "type": "string" },
                "status": { "type": "integer" },
                "title": { "type": "string" },
                "code": { "type": "string", "description": "Stable, such as `unknown-file`" },
                "hints": { "type": "array", "items": { "type": "string" } },
            },
        }),
    );
    let (wanted, simulated) = asked_bodies();
    all.insert("PlanRequest".to_owned(), wanted);
    all.insert("Simulated".to_owned(), simulated);
    Value::Object(all)
}

/// Bodies of plans and replays: the requests of the command line, whose files are digests, names or
/// inline objects.
fn asked_bodies() -> (Value, Value) {
    let schema: Value = serde_json::from_str(engine::request::verb::SCHEMA).unwrap_or_default();
    let of = |verb: &str| {
        let is_of = |one: &&Value| one["properties"]["verb"]["const"] == verb;
        let one = schema["oneOf"].as_array().into_iter().flatten().find(is_of);
        let mut one = one.cloned().unwrap_or_else(|| json!({ "type": "object" }));
        // Its own definitions travel with it.
        let name = one["$ref"]
            .as_str()
            .and_then(|reference| reference.rsplit('/').next())
            .map(str::to_owned);
        if let Some(definition) = name.and_then(|name| schema["$defs"].get(name)) {
            for (key, value) in definition["properties"].as_object().into_iter().flatten() {
                one["properties"][key] = value.clone();
            }
        }
        let file = json!({ "description": "Digest or name of an uploaded file" });
        // Any value: generated clients have no use for "text or object".
        let inline = json!({ "description":
            "Digest or name of an uploaded file, or its content as an object" });
        let properties = one["properties"].as_object_mut();
        for (name, property) in properties.into_iter().flatten() {
            match name.as_str() {
                "model" | "cluster" | "profile" | "constraints" => *property = inline.clone(),
                "costs" | "routing_trace" | "interference" | "replace" | "requests" => {
                    *property = file.clone()
                }
                "plan" => *property = json!({ "type": "string", "description": "Id of a plan" }),
                "traces" => property["items"] = file.clone(),
                _ => {}
            }
        }
        if let Some(properties) = one["properties"].as_object_mut() {
            properties.remove("verb");
        }
        json!({ "type": "object", "properties": one["properties"],
            "required": [if verb == "plan" { "model" } else { "plan" }] })
    };
    (of("plan"), of("simulate"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document("1.0");
        let mut open = vec![&document];
        let mut n = 0;
        while let Some(value) = open.pop() {
            if let Some(at) = value.get("$ref").and_then(Value::as_str) {
                assert!(document.pointer(at.trim_start_matches('#')).is_some(), "{at}");
                n += 1;
            }
            open.extend(value.as_array().into_iter().flatten());
            open.extend(value.as_object().into_iter().flatten().map(|(_, value)| value));
        }
        assert!(n > 20, "{n}");
    }

    #[test]
    fn operations_have_names_of_their_own() {
        let mut names: Vec<String> = super::super::table::rows().iter().map(Row::id).collect();
        let n = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), n);
    }
}
