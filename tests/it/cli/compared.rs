//! `compare` of training runs: two plans, or a plan and what a launcher runs, each on its own batch,
//! length, type and optimizer.

use serde_json::{Value, json};

use super::folder::{Folder, diamond};
use super::training::{CLUSTER, config};

const ON: &str = "--model config.json --cluster cluster.yaml";

fn folder() -> Folder {
    let folder = Folder::new(&diamond());
    folder.write("config.json", &config().to_string());
    folder.write("cluster.yaml", CLUSTER);
    folder
}

/// Plans with pins, writes plan and Megatron's flags, and returns the step time.
fn planned(folder: &Folder, name: &str, flags: &str) -> u64 {
    let pins =
        "--pin pipeline=1 --pin tensor=2 --pin zero=1 --pin recompute=full --pin micro-batch=1";
    let plan =
        format!("plan config.json --cluster cluster.yaml {pins} {flags} -o {name}.json --json");
    let step = folder.run(&plan).exits(0).json()["best"]["step_time_ns"].as_u64().unwrap();
    let export = format!("export {name}.json {ON} --target megatron -o {name}.args");
    folder.run(&export).exits(0);
    step
}

const RUNS: [(&str, &str); 5] = [
    ("usual", "--global-batch 32 --sequence-length 2048"),
    ("batch", "--global-batch 8 --sequence-length 2048"),
    ("sequence", "--global-batch 32 --sequence-length 512"),
    ("fp16", "--global-batch 32 --sequence-length 2048 --dtype fp16"),
    ("fp32", "--global-batch 32 --sequence-length 2048 --dtype fp32"),
];

/// Settings cost what the plan costs that they were written from, whatever plan stands beside them;
/// per token a step of fewer tokens counts as one of fewer.
#[test]
fn settings_are_priced_on_their_own_step() {
    let folder = folder();
    let steps = RUNS.map(|(name, flags)| planned(&folder, name, flags));
    for ((name, flags), step) in RUNS.iter().zip(steps) {
        let ran = folder.run(&format!("compare {name}.args usual.json {ON} --json"));
        // Where neither flag is there the type is the plan's.
        if *name == "fp32" {
            continue;
        }
        let told = ran.exits(if *name == "usual" { 0 } else { 10 }).json();
        assert_eq!(told["now"]["step_time_ns"], step, "{name}");
        assert_eq!(told["plan"]["step_time_ns"], steps[0], "{name}");
        let number = |flag: &str| {
            let words: Vec<&str> = flags.split(' ').collect();
            let at = words.iter().position(|word| *word == flag).unwrap();
            words[at + 1].parse::<u64>().unwrap()
        };
        let tokens = number("--global-batch") * number("--sequence-length");
        let each = told["now"]["ns_per_token"].as_f64().unwrap();
        assert!((each * tokens as f64 / step as f64 - 1.0).abs() < 1e-12, "{name}");
    }
    let text = folder.run(&format!("compare batch.args usual.json {ON}")).exits(10).stdout;
    let own = steps[1] as f64 / 8.0 / (steps[0] as f64 / 32.0);
    let wanted = format!("{own:.3} times as fast per token as what runs now");
    assert!(text.contains(&wanted), "{wanted}\n{text}");
    // Twice the bytes and half the rate of products.
    assert!(steps[4] > steps[0]);
}

/// Two plans differ field by field, with the model and without it.
#[test]
fn two_plans_differ_field_by_field() {
    let folder = folder();
    let steps = RUNS.map(|(name, flags)| planned(&folder, name, flags));
    for on in [ON, ""] {
        folder.run(&format!("compare usual.json usual.json {on}")).exits(0);
        for ((name, _), step) in RUNS.iter().zip(steps).skip(1) {
            let ran = folder.run(&format!("compare {name}.json usual.json {on} --json"));
            let told = ran.exits(10).json();
            assert_eq!(
                (&told["a"]["step_time_ns"], &told["b"]["step_time_ns"]),
                (&json!(step), &json!(steps[0]))
            );
            let fields: Vec<&str> = told["changes"]
                .as_array()
                .unwrap()
                .iter()
                .map(|change| change["field"].as_str().unwrap())
                .collect();
            let wanted = match *name {
                "batch" => "samples of a step",
                "sequence" => "tokens of a sample",
                _ => "element type",
            };
            assert!(fields.contains(&wanted), "{name}: {fields:?}");
            for change in told["changes"].as_array().unwrap() {
                assert_ne!(change["a"], change["b"]);
            }
            let text = folder.run(&format!("compare {name}.json usual.json {on}")).exits(10).stdout;
            assert!(!text.contains("orders only"), "{text}");
        }
    }
    let degrees = "--global-batch 32 --sequence-length 2048 --pin data=2 --pin pipeline=2";
    folder.run(&format!("plan config.json --cluster cluster.yaml {degrees} -o deep.json")).exits(0);
    let told = folder.run("compare usual.json deep.json --json").exits(10).json();
    let found = |field: &str| {
        let changes = told["changes"].as_array().unwrap().clone();
        let own = changes.into_iter().find(|change| change["field"] == field);
        own.map(|change| (change["a"].clone(), change["b"].clone()))
    };
    assert_eq!(found("data"), Some((json!("4"), json!("2"))));
    assert_eq!(found("pipeline"), Some((json!("1"), json!("2"))));
    assert_eq!(found("optimizer"), None::<(Value, Value)>);
}

/// Degrees that the model can't have, and numbers that no machine has.
#[test]
fn impossible_settings_are_refused_at_once() {
    let folder = folder();
    planned(&folder, "usual", RUNS[0].1);
    let rest = "--micro-batch-size 1 --global-batch-size 32";
    for (text, code) in [
        (
            format!(
                "--tensor-model-parallel-size 2 --expert-model-parallel-size 4294967295 {rest}"
            ),
            "bad-settings",
        ),
        (
            format!("--tensor-model-parallel-size 2 --expert-model-parallel-size 4 {rest}"),
            "shape-rule",
        ),
        (
            format!("--tensor-model-parallel-size 2 --context-parallel-size 3 {rest}"),
            "bad-settings",
        ),
        (
            "--tensor-model-parallel-size 8 --seq-length 2048 --micro-batch-size 3 --global-batch-size 32".to_string(),
            "bad-settings",
        ),
        (
            format!("--pipeline-model-parallel-size 4294967295 --num-layers 4294967295 {rest}"),
            "bad-settings",
        ),
        (
            "--pipeline-model-parallel-size 1048576 --tensor-model-parallel-size 1048576 --context-parallel-size 1048576 --micro-batch-size 1".to_string(),
            "bad-settings",
        ),
        (
            format!(
                "--tensor-model-parallel-size 2 --num-virtual-stages-per-pipeline-rank 1000000 {rest}"
            ),
            "shape-rule",
        ),
    ] {
        folder.write("now.args", &text);
        let told = folder.run(&format!("compare now.args usual.json {ON} --json")).exits(3);
        assert!(
            format!("{}{}", told.stdout, told.stderr).contains(code),
            "{text}\n{}{}",
            told.stdout,
            told.stderr
        );
    }
    folder.run(&format!("compare usual.json model.json {ON}")).exits(3);
}
