//! JSON Schema of answers of views: `engine/schema/views.schema.json` is generated from here, as that
//! of requests is.

use schemars::JsonSchema;
use serde_json::Value;

use super::plans::{file_of_ops, file_of_run};
use crate::views::{Found, Graph, MemoryCurve, Overview, SCHEMA, Tile, View};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/views.schema.json");

/// The answers, as members of one object.
#[derive(JsonSchema)]
#[allow(dead_code, reason = "what counts is its schema")]
struct Answers {
    /// `View::overview`.
    overview: Overview,
    /// `View::timeline`.
    timeline: Tile,
    /// `View::memory`.
    memory: MemoryCurve,
    /// `View::graph`.
    graph: Graph,
    /// `View::find`.
    found: Found,
}

#[test]
fn the_committed_schema_is_up_to_date() {
    let mut schema = schemars::schema_for!(Answers);
    schema.insert("title".to_owned(), "Answers of views of meshwright, version 1".into());
    let expected = documents::json::pretty(&schema.to_value()).unwrap();
    if std::env::var_os("MESHWRIGHT_BLESS").is_some() {
        std::fs::write(FILE, &expected).unwrap();
    }
    assert!(std::fs::read_to_string(FILE).unwrap() == expected, "the schema is stale");
}

#[test]
fn answers_are_as_the_schema_says() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for file in [file_of_ops(), file_of_run()] {
        let view = View::open(file).unwrap();
        let device = view.overview().devices[0].device.clone();
        let answers = serde_json::json!({
            "overview": view.overview(),
            "timeline": view.timeline(None, None, &[], 500).unwrap(),
            "memory": view.memory(&device, 50).unwrap(),
            "graph": view.graph(None, 2, &[]).unwrap(),
            "found": view.find("0", 5).unwrap(),
        });
        let fault = validator.iter_errors(&answers).next();
        assert!(fault.is_none(), "{fault:?}");
    }
}
