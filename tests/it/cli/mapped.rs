//! A device map as the baseline of `compare`.

use std::path::Path;

use serde_json::{Value, json};

use super::folder::{Folder, diamond};

/// The model and the cluster of the examples.
fn on() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let (model, cluster) =
        (root.join("models/gpt2_small.onnx"), root.join("clusters/two-nodes.yaml"));
    format!("--model {} --cluster {}", model.display(), cluster.display())
}

fn planned() -> Folder {
    let folder = Folder::new(&diamond());
    let plan = on().replace("--model ", "");
    folder.run(&format!("plan {plan} --algorithm single --for accelerate -o plan.json")).exits(0);
    folder
}

/// GPT-2 by blocks, three on each accelerator from a first one on.
fn map(first: usize) -> Value {
    let mut map = json!({ "transformer.wte": first, "transformer.wpe": format!("cuda:{first}") });
    for block in 0..12 {
        map[format!("transformer.h.{block}")] = json!(first + block / 6);
    }
    map["transformer.ln_f"] = json!(first + 1);
    map["lm_head"] = json!(first + 1);
    map
}

#[test]
fn a_device_map_is_a_baseline_and_its_own_export_is_the_plan() {
    let folder = planned();
    let on = on();
    folder.write("map.json", &map(0).to_string());
    let ran = folder.run(&format!("compare map.json plan.json {on} --json")).exits(10).json();
    assert_eq!((&ran["equal"], &ran["now_is_legal"]), (&json!(false), &json!(true)));
    // Batches of one gain nothing by two accelerators, and pay for one transfer.
    let transfer = &ran["step_time"][2];
    let times = (transfer["a_ns"].as_u64().unwrap(), transfer["b_ns"].as_u64().unwrap());
    assert!(ran["step_time"][0]["a_ns"].as_u64() > ran["step_time"][0]["b_ns"].as_u64());
    assert!(times.0 > 0 && times.1 == 0, "{times:?}");
    let moved = ran["moved"].as_array().unwrap();
    assert!(moved.iter().all(|op| op["from"] == "node0.gpu1" && op["to"] == "node0.gpu0"));
    let text = folder.run(&format!("compare map.json plan.json {on}")).exits(10).stdout;
    assert!(text.trim_end().ends_with("times as fast as the current setup"), "{text}");
    folder.run(&format!("export plan.json {on} --target accelerate -o own.json")).exits(0);
    folder.run(&format!("compare own.json plan.json {on}")).exits(0);
}

#[test]
fn a_map_of_something_else_says_what_does_not_fit() {
    let folder = planned();
    let on = on();
    let mut short = map(0);
    short.as_object_mut().unwrap().remove("lm_head");
    let mut overlapping = map(0);
    overlapping["transformer"] = json!(3);
    let other = json!({ "model.layers.0": 0 });
    let cases = [
        (map(3), "accelerator 4"),
        (short, "lm_head.weight"),
        (overlapping, "`transformer` covers"),
        (other, "no key of the device map"),
    ];
    for (map, part) in cases {
        folder.write("map.json", &map.to_string());
        let ran = folder.run(&format!("compare map.json plan.json {on}")).exits(3);
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    folder.forget_inputs("plan.json");
    let ran = folder.run("compare map.json plan.json").exits(2);
    assert!(ran.stderr.contains("--model"), "{}", ran.stderr);
}
