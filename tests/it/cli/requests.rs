//! Requests as documents say what flags say: the answer of `run-request` is that of `--json`.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::folder::{Folder, VARIABLES, diamond};
use super::followed::load_instance;
use super::layered;

/// The lines of a request, and the exit code.
fn asked(folder: &Folder, request: &str) -> (Vec<Value>, i32) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshwright"));
    for name in VARIABLES {
        command.env_remove(format!("MESHWRIGHT_{name}"));
    }
    command.arg("run-request").current_dir(folder.path("."));
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(request.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (lines, output.status.code().unwrap_or(-1))
}

/// Without what depends on the moment.
fn lasting(mut answer: Value) -> Value {
    let members = answer.as_object_mut().unwrap();
    ["run", "elapsed_s", "trace", "attempts", "run_s"]
        .iter()
        .for_each(|name| drop(members.remove(*name)));
    answer
}

#[test]
fn a_request_is_answered_as_its_flags_are() {
    let folder = Folder::new(&diamond());
    folder.planned("plan.json");
    folder.forget_inputs("plan.json");
    folder.write("costs.json", &load_instance(9, 3).to_string());
    folder.write("layers.json", &layered::config(12).to_string());
    folder.write("node.yaml", layered::CLUSTER);
    layered::measured(&folder);
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/models/qwen3-30b-a3b.json");
    let pod = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/clusters/pod.yaml");
    let cases = [
        (
            "plan model.json --algorithm m-etf",
            json!({ "verb": "plan", "model": "model.json", "algorithm": "m-etf" }),
        ),
        (
            "plan model.json --algorithm m-sct --pin a=1 --seed 7 --node-budget 100",
            json!({ "verb": "plan", "model": "model.json", "algorithm": "m-sct", "pin": ["a=1"], "seed": 7, "node_budget": 100 }),
        ),
        (
            "plan costs.json --algorithm ideals --deterministic",
            json!({ "verb": "plan", "model": "costs.json", "algorithm": "ideals", "deterministic": true }),
        ),
        (
            &format!(
                "plan {config} --cluster {pod} --global-batch 64 --deterministic --pin tensor=2"
            ),
            json!({ "verb": "plan", "model": config, "cluster": pod, "global_batch": 64, "deterministic": true, "pin": ["tensor=2"] }),
        ),
        (
            "plan model.json --global-batch 8",
            json!({ "verb": "plan", "model": "model.json", "global_batch": 8 }),
        ),
        ("plan costs.json --batch 8", json!({ "verb": "plan", "model": "costs.json", "batch": 8 })),
        ("plan nothing.json", json!({ "verb": "plan", "model": "nothing.json" })),
        ("import model.json", json!({ "verb": "import", "model": "model.json" })),
        ("support model.json", json!({ "verb": "support", "model": "model.json" })),
        (
            "simulate plan.json --model model.json",
            json!({ "verb": "simulate", "plan": "plan.json", "model": "model.json" }),
        ),
        (
            "verify plan.json --model model.json",
            json!({ "verb": "verify", "plan": "plan.json", "model": "model.json" }),
        ),
        (
            "explain plan.json --model model.json --op b",
            json!({ "verb": "explain", "plan": "plan.json", "model": "model.json", "op": "b" }),
        ),
        (
            "compare plan.json plan.json",
            json!({ "verb": "compare", "a": "plan.json", "b": "plan.json" }),
        ),
        (
            "compare plan.json plan.json --batch 2",
            json!({ "verb": "compare", "a": "plan.json", "b": "plan.json", "batch": 2 }),
        ),
    ];
    let schema = include_str!("../../../documents/schema/answer.schema.json");
    let schema = jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap();
    let mut codes = Vec::new();
    for (line, request) in cases {
        let ran = folder.run(&format!("{line} --json"));
        let (lines, code) = asked(&folder, &request.to_string());
        assert_eq!(code, ran.code, "{line}: {}", ran.stdout);
        let last = lines.last().unwrap();
        assert_eq!(last["event"], "answer", "{line}");
        assert_eq!(last["exit_code"], ran.code, "{line}");
        assert_eq!(lasting(last["document"].clone()), lasting(ran.json()), "{line}");
        if line.starts_with("plan") {
            let fault = schema.iter_errors(&last["document"]).next();
            assert!(fault.is_none(), "{line}: {fault:?}");
            let mut other = last["document"].clone();
            other["colour"] = json!("red");
            assert!(!schema.is_valid(&other) || line.contains("costs.json"), "{line}");
        }
        codes.push(code);
    }
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes, [0, 2, 3], "all sorts of ends were tried");
}

#[test]
fn a_run_is_told_from_its_request_to_its_answer() {
    let folder = Folder::new(&diamond());
    let request = json!({ "verb": "plan", "model": "model.json", "export": ["svg"], "plot": true, "time_limit": "5s" });
    let (lines, code) = asked(&folder, &request.to_string());
    assert_eq!(code, 0, "{lines:?}");
    let events: Vec<&str> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(events[0], "accepted");
    assert_eq!(lines[0]["request"]["time_limit"], "5s");
    assert_eq!(&events[events.len() - 2..], ["searched", "answer"]);
    let last = lines.last().unwrap();
    let found: Vec<&Value> = lines.iter().filter(|line| line["event"] == "incumbent").collect();
    assert!(!found.is_empty(), "no incumbent was told");
    let values: Vec<u64> = found.iter().map(|one| one["value_ns"].as_u64().unwrap()).collect();
    assert!(values.windows(2).all(|pair| pair[0] > pair[1]), "{values:?}");
    let bounds = lines
        .iter()
        .filter_map(|line| line["bound_ns"].as_u64().filter(|_| line["event"] == "bound"));
    let bounds: Vec<u64> = bounds.collect();
    let best = values.last().unwrap();
    assert!(
        !bounds.is_empty() && bounds.iter().all(|bound| bound <= best),
        "{bounds:?} {values:?}"
    );
    // Each plan that was told of is legal, and the last one is no worse than the answer by more than
    // the half per cent that fewer devices may cost.
    for (at, one) in found.iter().enumerate() {
        folder.write("told.json", &one["plan"].to_string());
        let verified = folder.run("verify told.json --model model.json");
        assert_eq!(verified.code, 0, "plan {at}: {}{}", verified.stdout, verified.stderr);
    }
    assert!(last["files"]["svg"].as_str().unwrap().starts_with("<svg"), "{}", last["files"]);
    assert!(last["files"]["plot"].as_str().unwrap().starts_with("<svg"));
    assert_eq!(folder.list(), ["model.json", "told.json"], "a request writes no file");
}

#[test]
fn what_is_no_request_is_answered_with_why() {
    let folder = Folder::new(&diamond());
    for (request, code, why) in [
        ("", 3, "truncated-json"),
        ("[]", 3, "invalid-document"),
        (r#"{"verb": "plan", "model": "model.json", "colour": 1}"#, 3, "unknown-field"),
        (r#"{"verb": "plan", "model": "model.json", "seed": 1, "seed": 2}"#, 3, "duplicate-key"),
        (r#"{"verb": "plan", "model": "model.json", "accelerators": 3}"#, 2, "not-for-placements"),
    ] {
        let (lines, exit) = asked(&folder, request);
        let last = lines.last().unwrap();
        assert_eq!((exit, last["event"].as_str()), (code, Some("answer")), "{request}: {last}");
        assert_eq!(last["document"]["error"]["code"], why, "{request}: {last}");
    }
}
