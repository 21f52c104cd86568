//! JSON Schema of requests: `engine/schema/request.schema.json` is generated from here. Run the tests
//! of this crate with `MESHWRIGHT_BLESS=1` to write it anew after a change.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use ir::card::stored::CacheType;
use ir::tensor::DType;
use ir::workload::{Mode, Optimizer, StepPhase};
use serde_json::{Value, json};

use super::ObjectiveName;
use super::verb::{REQUIRED, Request};
use crate::request::element_type;
use crate::request::executor::Executor;
use crate::request::fields::FIELDS;
use crate::request::serving::ServingMode;
use crate::request::task::Task;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/request.schema.json");

fn schema() -> Value {
    let mut schema = schemars::schema_for!(Request);
    schema.insert("title".to_owned(), "Request of meshwright, version 1".into());
    let mut schema = schema.to_value();
    // What `Request::read` refuses is no request.
    for verb in schema["oneOf"].as_array_mut().unwrap() {
        verb["unevaluatedProperties"] = false.into();
        let name = verb["properties"]["verb"]["const"].clone();
        let names = REQUIRED.iter().find(|(known, _)| name == *known).unwrap().1;
        verb["required"]
            .as_array_mut()
            .unwrap()
            .extend(names.iter().map(|field| Value::from(*field)));
    }
    let executors = Executor::spellings();
    let names: [(&str, Vec<&str>); 9] = [
        ("task", Task::ALL.map(Task::name).to_vec()),
        ("workload", Mode::ALL.map(Mode::name).to_vec()),
        ("optimizer", Optimizer::ALL.map(Optimizer::name).to_vec()),
        ("dtype", element_type::NAMED.map(DType::name).to_vec()),
        ("objective", ObjectiveName::all().into_iter().map(ObjectiveName::name).collect()),
        ("kv_dtype", CacheType::ROWS.map(|row| row.1).to_vec()),
        ("phase", StepPhase::ALL.map(StepPhase::name).to_vec()),
        ("mode", ServingMode::ALL.map(ServingMode::name).to_vec()),
        ("executor", executors.iter().map(String::as_str).collect()),
    ];
    for request in schema["$defs"].as_object_mut().unwrap().values_mut() {
        for (field, names) in &names {
            if let Some(field) = request["properties"].get_mut(field) {
                let names = names.iter().map(|name| Value::from(*name));
                field["enum"] = names.chain([Value::Null]).collect();
            }
        }
    }
    schema
}

#[test]
fn the_committed_schema_is_up_to_date() {
    let expected = documents::json::pretty(&schema()).unwrap();
    if std::env::var_os("MESHWRIGHT_BLESS").is_some() {
        std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/schema")).unwrap();
        std::fs::write(FILE, &expected).unwrap();
    }
    assert!(std::fs::read_to_string(FILE).unwrap() == expected, "the schema is stale");
}

#[test]
fn every_field_of_a_plan_request_has_a_row() {
    let plan = Request::read(br#"{"verb": "plan", "model": "m.onnx"}"#).unwrap();
    let fields = serde_json::to_value(&plan).unwrap();
    let names: Vec<&str> = fields.as_object().unwrap().keys().map(String::as_str).collect();
    // On the command line the verb states the task.
    for name in names.iter().filter(|name| !["verb", "task"].contains(name)) {
        assert!(FIELDS.iter().any(|field| field.name == *name), "{name} has no row");
    }
    FIELDS.iter().for_each(|field| assert!(names.contains(&field.name), "{}", field.name));
}

#[test]
fn schema_and_reader_agree_on_what_is_a_request() {
    let schema = schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let on = |verb: &str| json!({ "verb": verb, "plan": "p.json", "model": "m.onnx" });
    let good = [
        json!({ "verb": "plan", "model": "m.onnx", "cluster": "c.yaml", "batch": 8, "gap": "1%" }),
        json!({ "verb": "plan", "task": "place", "model": "m.onnx" }),
        json!({ "verb": "plan", "model": "m", "dims": { "sequence": 128 }, "devices": "8..64", "threads": 2 }),
        json!({ "verb": "plan", "model": "m", "pin": ["tensor=8"], "no_offload": true, "time_limit": "2m" }),
        json!({ "verb": "import", "model": "m.onnx", "dtype": "bf16", "all": true }),
        json!({ "verb": "compare", "a": "a.json", "b": "b.json" }),
        json!({ "verb": "export", "plan": "p.json", "model": "m.onnx", "target": "trace" }),
        on("simulate"),
        on("verify"),
        on("explain"),
        on("view"),
    ];
    for request in good {
        assert!(validator.is_valid(&request), "{request}");
        assert!(Request::read(request.to_string().as_bytes()).is_ok(), "{request}");
    }
    let bad = [
        json!({}),
        json!([]),
        json!({ "verb": "plan" }),
        json!({ "verb": "compare", "a": "a.json" }),
        json!({ "verb": "export", "plan": "p.json", "model": "m.onnx" }),
        json!({ "verb": "dance" }),
        json!({ "verb": "plan", "model": "m", "colour": "red" }),
        json!({ "verb": "import", "model": "m.onnx", "cluster": "c.yaml" }),
        json!({ "verb": "plan", "model": "m", "pin": "tensor=8" }),
        json!({ "verb": "plan", "model": "m", "dims": { "sequence": -1 } }),
        json!({ "verb": "plan", "model": "m", "threads": 0 }),
        json!({ "verb": "plan", "model": "m", "all": "yes" }),
        json!({ "verb": "plan", "model": "m", "batch": 0 }),
        json!({ "verb": "plan", "model": "m", "executor": "nobody" }),
        json!({ "verb": "plan", "task": "serve", "model": "m" }),
    ];
    for request in bad {
        assert!(!validator.is_valid(&request), "{request}");
        assert!(Request::read(request.to_string().as_bytes()).is_err(), "{request}");
    }
    // What only the reader knows: values, and keys that stand twice.
    for text in [
        r#"{"verb": "plan", "model": "m", "batch": 8, "batch": 9}"#,
        r#"{"verb": "plan", "model": "m", "time_limit": "soon"}"#,
        r#"{"verb": "plan""#,
    ] {
        assert!(Request::read(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn what_was_understood_is_the_same_request() {
    let text = r#"{"verb": "plan", "model": "m.onnx", "batch": "8", "devices": 8, "gap": 0.01,
        "time_limit": 90, "max_memory_per_device": "40GB", "dims": {"n": 3}, "dtype": "f16"}"#;
    let request = Request::read(text.as_bytes()).unwrap();
    let understood = Value::Object(request.understood());
    let again = Request::read(understood.to_string().as_bytes()).unwrap();
    assert_eq!(Value::Object(again.understood()), understood);
    assert_eq!(understood["devices"], "8..8");
    assert_eq!(understood["max_memory_per_device"], "40000000000");
    assert_eq!(understood["time_limit"], "90s");
}

#[test]
fn what_stands_there_unless_stated_asks_for_nothing() {
    let text = br#"{"verb": "plan", "model": "m.onnx", "accelerators": null, "seed": 0,
        "dims": {}, "batch": 4}"#;
    let Request::Plan(plan) = Request::read(text).unwrap() else { panic!() };
    assert_eq!(plan.problem.given, ["batch", "model"]);
}
