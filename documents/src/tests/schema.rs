//! JSON Schemas of the documents: `documents/schema/*.schema.json` are generated from here. Run the
//! tests of this crate with `MESHWRIGHT_BLESS=1` to write them anew after a change.

use ir::profile::Profile;
use ir::workload::Workload;
use schemars::{JsonSchema, Schema, schema_for};
use serde_json::Value;

use crate::plan::kinds::AnswerDocument;
use crate::plan::render::Context;
use crate::plan::request::RequestDocument;
use crate::plan::{CostDocument, PlanDocument};
use crate::profile::ProfileDocument;
use crate::tests::sample;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/schema");

fn plan() -> Schema {
    titled::<PlanDocument>("Plan document of meshwright, version 1")
}

/// Schema of the profile document.
pub(crate) fn profile() -> Schema {
    titled::<ProfileDocument>("Profile document of meshwright, version 1")
}

fn answer() -> Schema {
    titled::<AnswerDocument>("Answer of meshwright to a request for a plan, version 1")
}

fn titled<T: JsonSchema>(title: &str) -> Schema {
    let mut schema = schema_for!(T);
    schema.insert("title".to_owned(), title.into());
    schema
}

#[test]
fn the_committed_schemas_are_up_to_date() {
    for (name, schema) in [("plan", plan()), ("profile", profile()), ("answer", answer())] {
        let expected = crate::json::pretty(&schema).unwrap();
        let file = format!("{FOLDER}/{name}.schema.json");
        if std::env::var_os("MESHWRIGHT_BLESS").is_some() {
            std::fs::write(&file, &expected).unwrap();
        }
        let found = std::fs::read_to_string(&file).unwrap();
        assert!(found == expected, "documents/schema/{name}.schema.json is stale");
    }
}

#[test]
fn the_schema_takes_our_plan_and_refuses_a_maimed_one() {
    let (graph, cluster) = (sample::graph(), sample::cluster());
    let context = Context {
        graph: &graph,
        cluster: &cluster,
        profile: &Profile::default(),
        workload: &Workload::default(),
        request: &RequestDocument::default(),
        objective: "step-time",
        algorithm: "m-etf",
    };
    let cost = CostDocument::new(30, 20, "work");
    let document = PlanDocument::from_ir(&sample::plan(), &context, Some(cost));
    let schema = plan().to_value();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let good = serde_json::to_value(&document).unwrap();
    assert!(validator.is_valid(&good), "{:?}", validator.iter_errors(&good).next());
    let maim: [fn(&mut Value); 4] = [
        |v| v["placement"][0]["device"] = 3.into(),
        |v| v["colour"] = "red".into(),
        |v| drop(v.as_object_mut().unwrap().remove("schedule")),
        |v| v["parallelism"]["data"] = (-1).into(),
    ];
    for maim in maim {
        let mut bad = good.clone();
        maim(&mut bad);
        assert!(!validator.is_valid(&bad), "{bad}");
    }
}
