//! Configs against what transformers and PyTorch count of the same models: the committed cases
//! (`python/judge_configs.py` made their figures), and the folder of configs where it is at hand.

use std::path::Path;

use importers::{ImportOptions, read, read_bytes};
use serde_json::Value;

/// Cases by name of each file in `tests/data/configs`.
fn cases() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/configs");
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let entries: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap();
        cases.extend(entries);
    }
    cases
}

#[test]
fn parameters_and_operations_are_those_of_the_library() {
    let mut wrong = Vec::new();
    let cases = cases();
    for (name, case) in &cases {
        let mut config = case["config"].clone();
        config["architectures"] = serde_json::json!([case["class"]]);
        let mut options = ImportOptions::default();
        for (dimension, extent) in case["dims"].as_object().unwrap() {
            options.dims.insert(dimension.clone(), extent.as_u64().unwrap());
        }
        let read = match read_bytes("config.json", config.to_string().as_bytes(), &options) {
            Ok(read) => read.summary,
            Err(error) => {
                wrong.push(format!("{name}: {} {}", error.code, error.message));
                continue;
            }
        };
        let parameters = case["parameters"].as_u64().unwrap();
        if read.initializer_elements != parameters {
            wrong.push(format!("{name}: {} of {parameters} parameters", read.initializer_elements));
        }
        let Some(flops) = case["flops"].as_u64() else { continue };
        if read.forward_flops.abs_diff(flops) > flops / 100 {
            wrong.push(format!("{name}: {} of {flops} operations", read.forward_flops));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn parameters_of_the_folder_of_configs_are_exact() {
    let Some(folder) = benchmark_data::folder() else { return };
    let folder = folder.join("models/hf_families");
    let text = std::fs::read_to_string(folder.join("parameters.json")).unwrap();
    let counts: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap();
    let (mut wrong, mut n_exact) = (Vec::new(), 0);
    for (name, count) in &counts {
        match read(&folder.join(format!("{name}.json")), &ImportOptions::default()) {
            Ok(read) if Some(read.summary.initializer_elements) == count["parameters"].as_u64() => {
                n_exact += 1;
            }
            Ok(read) => wrong.push(format!("{name}: {}", read.summary.initializer_elements)),
            Err(error) => {
                let is_named = ["unsupported-trait", "unknown-model-type"].contains(&error.code);
                assert!(is_named, "{name}: {} {}", error.code, error.message);
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), counts.len(), wrong.join("\n"));
    assert!(n_exact > 15, "{n_exact} are exact");
}
