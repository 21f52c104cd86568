//! What a solution of an instance claims of its bound is proved, refuted, or told as unchecked;
//! never taken as true for what it says.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::folder::Folder;
use crate::given_costs::{LOAD, long_instance};

fn folder() -> Folder {
    let folder = Folder::new(&json!({}));
    folder.write("load.json", LOAD);
    folder.run("plan load.json -o plan.json").exits(0);
    folder
}

fn edited(folder: &Folder, change: &dyn Fn(&mut Value)) -> super::folder::Ran {
    let mut plan: Value = folder.json("plan.json");
    change(&mut plan);
    folder.write("own.json", &plan.to_string());
    folder.run("verify own.json --model load.json --json")
}

#[test]
fn a_true_proof_is_legal_with_or_without_its_certificate() {
    let folder = folder();
    let plan: Value = folder.json("plan.json");
    assert_eq!(plan["proved_optimal"], true, "{plan}");
    let ran = edited(&folder, &|_| {}).exits(0);
    assert_eq!(ran.json()["legal"], true);
    edited(&folder, &|plan| drop(plan.as_object_mut().unwrap().remove("certificate"))).exits(0);
}

#[test]
fn standings_and_methods_are_those_that_a_search_could_state() {
    let folder = folder();
    for standing in ["", "checked", "proved", "Derived"] {
        let ran = edited(&folder, &|plan| plan["bound_standing"] = json!(standing)).exits(6);
        assert!(ran.stdout.contains("bound_standing"), "{}", ran.stdout);
    }
    // Column prices bound the greatest load, and no latency.
    folder.run("plan load.json --objective latency -o plan.json --force").exits(0);
    let ran = edited(&folder, &|plan| plan["bound_method"] = json!("columns")).exits(6);
    assert!(ran.stdout.contains("bound_method"), "{}", ran.stdout);
}

/// A contiguous optimum is one of ordered splits, and says so; of all splits nobody can claim it.
#[test]
fn an_optimum_says_among_which_splits() {
    let folder = folder();
    let plan = "plan load.json --objective contiguous-max-load --algorithm ideals -o plan.json";
    folder.run(&format!("{plan} --force")).exits(0);
    let plan: Value = folder.json("plan.json");
    assert_eq!(plan["proved_optimal"], true, "{plan}");
    assert_eq!(plan["bound_covers"], "devices-in-one-order");
    edited(&folder, &|_| {}).exits(0);
    let ran = edited(&folder, &|plan| plan["bound_covers"] = json!("all")).exits(6);
    assert!(ran.stdout.contains("bound_covers"), "{}", ran.stdout);
}

#[test]
fn a_node_stands_once_in_a_share() {
    let folder = folder();
    let ran = edited(&folder, &|plan| {
        for share in plan["fpgas"].as_array_mut().unwrap() {
            let nodes = share["nodes"].as_array_mut().unwrap();
            nodes.extend(nodes.clone());
        }
    });
    assert!(ran.exits(6).stdout.contains("placed twice"));
}

/// A claim of optimality that nobody has proved: interrupted, `verify` says neither that it is legal
/// nor that it is not.
#[test]
#[cfg(unix)]
fn an_interrupted_check_proves_nothing() {
    let folder = folder();
    folder.write("long.json", &long_instance(20_000));
    folder.run("plan long.json --time-limit 1s -o plan.json --force").exits(0);
    let mut plan: Value = folder.json("plan.json");
    assert!(plan["bound_ns"].as_u64() < plan["value_ns"].as_u64());
    plan["bound_ns"] = plan["value_ns"].clone();
    plan["proved_optimal"] = json!(true);
    plan["bound_method"] = json!("columns");
    plan["bound_standing"] = json!("certificate-checked");
    plan.as_object_mut().unwrap().remove("certificate");
    folder.write("lie.json", &plan.to_string());
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshwright"));
    command.args(["verify", "lie.json", "--model", "long.json"]).current_dir(folder.path(""));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(1_500));
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let ended = child.wait_with_output().unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr)
    );
    assert_eq!(ended.status.code(), Some(130), "{said}");
    assert!(said.contains("interrupted") && !said.contains("legal"), "{said}");
}
