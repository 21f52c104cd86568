//! Whole runs of the built program: exit code, stdout, stderr.

mod amd;
mod asked_of_ops;
mod averaging;
mod both_spaces;
mod break_even;
mod calibrate;
mod calibrate_steps;
mod checkpoints;
mod claims;
mod clusters;
mod compared;
mod configs;
mod deterministic;
mod documented;
mod edge_parts;
mod edges;
mod energy;
mod expert_overlap;
mod expertflow;
mod experts;
mod explained;
mod families;
mod far_apart;
mod fields;
mod findep;
mod fine_tuning;
mod flags;
mod fleet_hints;
mod fleet_requests;
mod fleets;
mod folder;
mod followed;
mod formats;
mod free_devices;
mod frozen;
mod goldens;
mod gradients;
mod hardware;
mod held;
mod hints;
mod jax;
mod kinds;
mod launch_files;
mod launchers;
mod layered;
mod local;
mod losses;
mod lossy;
mod mapped;
mod margin;
mod measured;
mod more;
mod nano_batches;
mod one_base;
mod one_price;
mod pinned_documents;
mod priced;
mod proofs;
mod recorded;
mod regress;
mod requests;
mod scaled;
mod screens;
mod search_ends;
mod serving;
mod serving_recipes;
mod sharding;
mod shared_database;
mod shown;
mod simplest;
mod stated;
mod stated_ops;
mod streams;
mod submit;
mod targets;
mod tasks;
pub(crate) mod training;
mod training_graph;
mod training_sizes;
mod unlike;
mod unlike_space;
mod verbs;
mod why_not;
mod within;
mod worker_sets;

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use self::folder::{Folder, alone, diamond, instance, run, run_in};

#[test]
fn without_a_word_it_says_what_it_is_in_six_lines() {
    let ran = run("").exits(0);
    assert_eq!(ran.stdout.lines().count(), 6, "{}", ran.stdout);
    assert_eq!(ran.stderr, "");
}

#[test]
fn help_fits_a_screen_and_shows_an_example() {
    let verbs = [
        "",
        "plan",
        "import",
        "support",
        "simulate",
        "verify",
        "compare",
        "export",
        "algorithms",
        "devices",
        "profile",
        "calibrate",
        "validate",
        "serve",
        "view",
        "worker",
        "submit",
        "jobs",
        "backup",
        "completions",
    ];
    for verb in verbs {
        let ran = run(&format!("{verb} --help")).exits(0);
        assert!(ran.stdout.contains("Example: meshwright "), "{verb}: {}", ran.stdout);
        assert!(
            ran.stdout.lines().count()
                <= match verb {
                    "plan" => 80,
                    // The flags of `plan`, and how the service is asked.
                    "submit" => 90,
                    _ => 50,
                },
            "{verb} has {}",
            ran.stdout.lines().count()
        );
        assert!(ran.stdout.lines().all(|line| line.chars().count() <= 100), "{}", ran.stdout);
    }
}

#[test]
fn the_version_names_commit_and_solver() {
    let ran = run("--version").exits(0);
    assert!(ran.stdout.starts_with(concat!("meshwright ", env!("CARGO_PKG_VERSION"))));
    assert!(ran.stdout.contains("(commit ") && ran.stdout.contains("HiGHS 1."), "{}", ran.stdout);
}

#[test]
fn slips_of_the_finger_are_understood() {
    let ran = run("plam x.json").exits(2);
    assert!(ran.stderr.starts_with("error[usage]: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("'plan'"), "{}", ran.stderr);
    let folder = Folder::new(&diamond());
    let ran = folder.run("plan model.json --algorithm m-eft").exits(2);
    assert!(ran.stderr.contains("`m-etf`"), "{}", ran.stderr);
    let ran = folder.run("plan model.json --export trce=t.json").exits(2);
    assert!(ran.stderr.contains("`trace`"), "{}", ran.stderr);
    let ran = run("plan --jsn --json").exits(2);
    assert_eq!(ran.json()["exit_code"], 2);
    assert_eq!(ran.json()["error"]["code"], "usage");
    assert_eq!(ran.stderr, "");
}

#[test]
fn data_goes_to_stdout_and_the_line_that_matters_comes_first() {
    let folder = Folder::new(&diamond());
    let ran = folder.run("plan model.json --algorithm m-etf -o plan.json").exits(0);
    let says = |label: &str, text: &str| {
        let mut first = ran.stdout.lines().take(8);
        first.any(|line| line.trim_start().starts_with(label) && line.contains(text))
    };
    assert!(says("step", "3.0") && says("proof", "the best of all"), "{}", ran.stdout);
    assert!(ran.stderr.contains("wrote plan.json"), "{}", ran.stderr);
    assert!(ran.stdout.lines().all(|line| line.chars().count() <= 100), "{}", ran.stdout);
}

#[test]
fn a_file_that_exists_stays_unless_forced() {
    let folder = Folder::new(&diamond());
    folder.write("plan.json", "mine");
    let ran = folder.run("plan model.json --algorithm m-etf -o plan.json").exits(2);
    assert!(ran.stderr.contains("error[file-exists]") && ran.stderr.contains("--force"));
    assert_eq!(folder.read("plan.json"), "mine");
    folder.run("plan model.json --algorithm m-etf -o plan.json --force").exits(0);
    assert!(folder.read("plan.json").contains("meshwright.plan/1"));
    let ran = folder.run("plan model.json --algorithm m-etf -o model.json --force").exits(2);
    assert!(ran.stderr.contains("error[same-file]"), "{}", ran.stderr);
    let ran = folder.run("plan model.json --algorithm m-etf -o missing/plan.json").exits(2);
    assert!(ran.stderr.contains("error[no-folder]"), "{}", ran.stderr);
}

#[test]
fn nothing_is_written_when_a_run_fails() {
    let folder = Folder::new(&instance(vec![alone(0, 5000)], 1000));
    folder.run("plan model.json -o plan.json --export trace=trace.json").exits(4);
    assert_eq!(folder.list(), ["model.json"]);
}

#[test]
fn bad_input_is_named_with_its_file() {
    let folder = Folder::new(&diamond());
    folder.write("broken.json", "{\"ops\": [");
    let ran = folder.run("plan broken.json").exits(3);
    assert!(ran.stderr.contains("broken.json"), "{}", ran.stderr);
    let ran = folder.run("import missing.onnx --json").exits(3);
    assert_eq!(ran.json()["exit_code"], 3);
    assert_eq!(ran.json()["error"]["severity"], "error");
    folder.write("cluster.yaml", "devices: [{id: g, kind: rtx_9999}]\n");
    let ran = folder.run("plan model.json --cluster cluster.yaml").exits(3);
    assert!(ran.stderr.contains("rtx_9999"), "{}", ran.stderr);
}

#[test]
fn a_plan_that_can_not_exist_is_proved_and_the_hint_helps() {
    let model = |limit: u64| instance(vec![alone(0, 2500), alone(1, 600), alone(2, 600)], limit);
    let folder = Folder::new(&model(1000));
    let ran = folder.run("plan model.json").exits(4);
    assert!(ran.stderr.starts_with("error[memory-exceeded]: "), "{}", ran.stderr);
    let hint = ran.stderr.lines().find(|line| line.contains("memory limit below")).unwrap();
    let bytes = hint.split("below ").nth(1).unwrap().split(' ').next().unwrap();
    let enough: u64 = bytes.parse().unwrap();
    folder.write("model.json", &model(enough).to_string());
    folder.run("plan model.json --algorithm m-etf").exits(0);
    folder.write("model.json", &model(enough - 1).to_string());
    folder.run("plan model.json --algorithm m-etf").exits(4);
}

#[test]
fn a_plan_that_was_not_found_is_no_proof() {
    // 4 x 4 bytes on 2 x 10: m-topo's cap is 12, so it overfills the first device.
    let ops = (0..4).map(|id| alone(id, 4)).collect();
    let folder = Folder::new(&instance(ops, 10));
    folder.run("plan model.json --algorithm m-topo").exits(5);
    folder.run("plan model.json --algorithm m-etf").exits(0);
}

#[test]
fn a_plan_is_one_document() {
    let folder = Folder::new(&diamond());
    let ran = folder.run("plan model.json --algorithm m-etf --json -o plan.json").exits(0);
    assert_eq!(ran.stderr, "");
    let document = ran.json();
    // The file states besides where its inputs are.
    assert_eq!(folder.json("plan.json")["inputs"], json!({ "model": "model.json" }));
    folder.forget_inputs("plan.json");
    assert_eq!(document["plan"], folder.json("plan.json"));
    let step = document["report"]["step_time_ns"].as_u64().unwrap();
    assert_eq!(document["report"]["step_time_s"].as_f64().unwrap(), step as f64 / 1e9);
    for device in document["report"]["devices"].as_array().unwrap() {
        assert!(device["id"].is_string());
        let seconds = ["busy_s", "communication_s", "idle_s"];
        let sum: f64 = seconds.iter().map(|name| device[name].as_f64().unwrap()).sum();
        assert!((sum - step as f64 / 1e9).abs() < 1e-12, "{device}");
        assert!(device["peak_memory_bytes"].as_u64() <= device["memory_limit_bytes"].as_u64());
    }
    assert!(document["bound"]["value_s"].as_f64().unwrap() <= step as f64 / 1e9);
    assert!(document["bound"]["method"].is_string());
    assert!(document["gap"].as_f64().unwrap() >= 0.0);
    assert_eq!(document["stop_reason"], "proved-optimal", "3,011 ns is the critical path");
    assert_eq!(document["algorithm"], "m-etf");
    assert!(document["warnings"].is_array());
    assert!(document["run"]["planning_time_s"].as_f64().unwrap() >= 0.0);
    assert!(document["run"]["trace"].is_array());
}

#[test]
fn only_the_member_run_depends_on_the_moment() {
    let folder = Folder::new(&diamond());
    let document = || {
        let line = "plan model.json --node-budget 1000 --deterministic --seed 7 --json";
        let mut document = folder.run(line).exits(0).json();
        document.as_object_mut().unwrap().remove("run").unwrap();
        document
    };
    assert_eq!(document(), document());
}

#[test]
fn names_can_not_steer_the_terminal() {
    let mut model = diamond();
    model["ops"][1]["name"] = json!("evil\u{1b}[31m\u{202e}\nname\u{9b}2J");
    let folder = Folder::new(&model);
    folder.planned("plan.json");
    let on = "--model model.json";
    let lines = [
        "plan model.json --algorithm m-etf --all".to_owned(),
        "import model.json".to_owned(),
        "support model.json".to_owned(),
        "plan model.json --pin evl=d0".to_owned(),
        format!("verify plan.json {on}"),
        format!("explain plan.json {on} --op a"),
        format!("explain plan.json {on} --op evil"),
    ];
    for line in lines {
        let ran = folder.run(&line);
        for text in [&ran.stdout, &ran.stderr] {
            let raw = text.chars().find(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
            assert_eq!(raw, None, "{line}: {text}");
        }
    }
    let ran = folder.run(&format!("explain plan.json {on} --op evil")).exits(2);
    assert!(ran.stderr.contains("\\u{1b}[31m"), "{}", ran.stderr);
}

#[test]
fn pins_bind_and_patterns_must_match() {
    let folder = Folder::new(&diamond());
    let device = |document: &Value, op: &str| {
        let placed = document["plan"]["placement"].as_array().unwrap().clone();
        placed.iter().find(|p| p["op"] == op).unwrap()["device"].as_str().unwrap().to_owned()
    };
    let free = folder.run("plan model.json --algorithm m-etf --json").exits(0).json();
    let devices = free["report"]["devices"].as_array().unwrap().clone();
    for target in devices.iter().map(|d| d["id"].as_str().unwrap()) {
        let line = format!("plan model.json --algorithm m-etf --json --pin a={target}");
        assert_eq!(device(&folder.run(&line).exits(0).json(), "a"), target);
        let line = format!("plan model.json --algorithm m-etf --json --forbid ?={target}");
        assert_ne!(device(&folder.run(&line).exits(0).json(), "d"), target);
    }
    let together = folder.run("plan model.json --algorithm m-etf --json --colocate *").exits(0);
    assert_eq!(device(&together.json(), "b"), device(&together.json(), "c"));
    let ran = folder.run("plan model.json --pin zz*=d0").exits(2);
    assert!(ran.stderr.contains("error[no-match]"), "{}", ran.stderr);
    let ran = folder.run("plan model.json --pin a=tpu7").exits(2);
    assert!(ran.stderr.contains("error[unknown-device]"), "{}", ran.stderr);
    let first = devices[0]["id"].as_str().unwrap();
    folder.write("rules.yaml", &format!("pin:\n  b: \"{first}\"\ncolocate:\n  - [c, d]\n"));
    let line = "plan model.json --algorithm m-etf --json --constraints rules.yaml";
    let document = folder.run(line).exits(0).json();
    assert_eq!(device(&document, "b"), first);
    assert_eq!(device(&document, "c"), device(&document, "d"));
    folder.write("rules.yaml", "pins: {}\n");
    folder.run(line).exits(3);
}

#[test]
fn a_plan_is_replayed_verified_and_explained() {
    let folder = Folder::new(&diamond());
    let plan = folder.planned("plan.json");
    let step = plan["cost"]["step_time_ns"].clone();
    let on = "plan.json --model model.json --json";
    let replayed = folder.run(&format!("simulate {on}")).exits(0).json();
    assert_eq!(replayed["report"]["step_time_ns"], step);
    let verified = folder.run(&format!("verify {on}")).exits(0).json();
    assert_eq!(verified["legal"], true);
    let explained = folder.run(&format!("explain {on} --op c")).exits(0).json();
    assert_eq!(explained["step_time"]["ns"], step);
    assert_eq!(explained["elsewhere"].as_array().unwrap().len(), 1);
    assert!(!explained["why"].as_array().unwrap().is_empty());
    let ran = folder.run("explain plan.json --model model.json --op c").exits(0);
    assert!(ran.stdout.starts_with("c ("), "{}", ran.stdout);
    assert_eq!(explained["time"]["origin"], "given");
}

#[test]
fn a_plan_that_breaks_a_rule_exits_with_six() {
    let folder = Folder::new(&diamond());
    let mut plan = folder.planned("plan.json");
    let devices = plan["schedule"]["devices"].as_array_mut().unwrap();
    let busy = devices.iter_mut().find(|d| d["actions"].as_array().unwrap().len() > 1).unwrap();
    busy["actions"].as_array_mut().unwrap().reverse();
    folder.write("bad.json", &plan.to_string());
    let ran = folder.run("verify bad.json --model model.json").exits(6);
    assert!(ran.stdout.starts_with("illegal: "), "{}", ran.stdout);
    assert!(ran.stderr.contains("error["), "{}", ran.stderr);
    let ran = folder.run("verify bad.json --model model.json --json").exits(6);
    assert!(!ran.json()["violations"].as_array().unwrap().is_empty());
    folder.run("simulate bad.json --model model.json").exits(6);
}

#[test]
fn a_plan_for_another_model_is_refused_unless_allowed() {
    let folder = Folder::new(&diamond());
    folder.planned("plan.json");
    let mut other = diamond();
    other["ops"][0]["time_ns"]["k"] = json!(2000);
    folder.write("other.json", &other.to_string());
    let ran = folder.run("verify plan.json --model other.json").exits(3);
    assert!(ran.stderr.contains("error[digest-mismatch]"), "{}", ran.stderr);
    let ran = folder.run("verify plan.json --model other.json --allow-mismatch").exits(0);
    assert!(ran.stderr.contains("warning[digest-mismatch]"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("--allow-mismatch"), "{}", ran.stderr);
}

#[test]
fn the_rows_of_a_comparison_sum_up() {
    let folder = Folder::new(&diamond());
    folder.planned("a.json");
    folder.run("plan model.json --algorithm single -o b.json").exits(0);
    folder.run("compare a.json a.json").exits(0);
    folder.run("compare a.json b.json").exits(10);
    let ran = folder.run("compare a.json b.json --model model.json --json").exits(10);
    let rows = ran.json()["step_time"].as_array().unwrap().clone();
    let difference = |row: &Value| row["difference_ns"].as_i64().unwrap();
    assert!(rows.len() > 1 && difference(&rows[0]) > 0, "{rows:?}");
    assert_eq!(difference(&rows[0]), rows[1..].iter().map(difference).sum::<i64>());
    assert!(!ran.json()["moved"].as_array().unwrap().is_empty());
    let ran = folder.run("compare a.json b.json --model model.json").exits(10);
    assert!(ran.stdout.ends_with("the plans differ\n"), "{}", ran.stdout);
}

#[test]
fn exports_are_written_beside_the_plan_and_afterwards() {
    let folder = Folder::new(&diamond());
    folder
        .run("plan model.json --algorithm m-etf -o p.json --export trace=t.json --export svg=t.svg")
        .exits(0);
    assert!(folder.read("t.svg").contains("<svg"));
    let line = "export p.json --model model.json --target trace -o again.json";
    folder.run(line).exits(0);
    assert_eq!(folder.read("again.json"), folder.read("t.json"));
    folder.run(line).exits(2);
    folder.run(&format!("{line} --force")).exits(0);
}

#[test]
fn listings_have_the_same_rows_in_text_and_json() {
    let names = |line: &str, list: &str| -> Vec<String> {
        let document = run(&format!("{line} --json")).exits(0).json();
        let rows = document[list].as_array().unwrap().clone();
        rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
    };
    for (line, list) in [
        ("algorithms", "algorithms"),
        ("devices", "devices"),
        ("devices --links", "links"),
        ("devices --here", "backends"),
    ] {
        let text = run(line).exits(0).stdout;
        for name in names(line, list) {
            assert!(text.lines().any(|row| row.starts_with(&name)), "{name} is not in:\n{text}");
        }
    }
    assert!(run("devices").stdout.contains("recalled"));
}

#[test]
fn models_are_understood_before_any_solve() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/onnx_features");
    let mut n_models = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "onnx") {
            continue;
        }
        let model = path.to_str().unwrap();
        let dims = dims(&folder, model);
        let run = |words: &[&str]| {
            let dims = dims.iter().flat_map(|dim| ["--dim", dim.as_str()]);
            run_in(&folder, &words.iter().copied().chain(dims).collect::<Vec<_>>()).exits(0)
        };
        let document = run(&["import", model, "--json"]).json();
        assert!(document["summary"]["n_ops"].as_u64().unwrap() > 0, "{model}");
        assert!(document["warnings"].is_array());
        let text = run(&["import", model]);
        assert!(text.stdout.lines().last().unwrap().contains(" ops, "), "{}", text.stdout);
        let support = run(&["support", model, "--json"]).json();
        assert_eq!(
            support["supported"].as_bool().unwrap(),
            document["summary"]["guessed_share"].as_f64() == Some(0.0),
            "{model}"
        );
        n_models += 1;
    }
    assert!(n_models > 5, "the models were not found");
}

/// What the error about dimensions without a value asks for; nothing where all have one.
fn dims(folder: &Path, model: &str) -> Vec<String> {
    let ran = run_in(folder, &["import", model, "--json"]);
    if ran.code == 0 {
        return Vec::new();
    }
    let error = ran.exits(3).json()["error"].clone();
    assert_eq!(error["code"], "unbound-dimension", "{model}: {error}");
    let names = error["facts"][0]["value"]["list"].as_array().unwrap().clone();
    names.iter().map(|name| format!("{}=4", name.as_str().unwrap())).collect()
}

#[test]
fn a_model_without_a_cluster_says_what_to_add() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/onnx_features");
    let ran = run_in(&folder, &["plan", "two_towers_join.onnx"]).exits(2);
    assert!(ran.stderr.contains("--cluster"), "{}", ran.stderr);
}
