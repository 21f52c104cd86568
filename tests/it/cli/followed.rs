//! What can be seen of a search while it goes on, and what is left of it when it is ended.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::folder::{Folder, VARIABLES, diamond, instance};

/// Numbers that look random, from a seed.
fn numbers(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |end| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) % end
    }
}

/// A model of so many ops, each of which reads one or two before it; two devices.
pub(super) fn layers(n_ops: u64, seed: u64) -> Value {
    let mut next = numbers(seed);
    let op = |id: u64| {
        let mut inputs: Vec<u64> = match id {
            0 => Vec::new(),
            id => vec![1_000 + id - 1 - next(id.min(4)), 1_000 + next(id)],
        };
        inputs.sort_unstable();
        inputs.dedup();
        json!({
            "id": id,
            "name": format!("op{id}"),
            "time_ns": { "k": 500 + next(2_000) },
            "persistent": 1,
            "temp": 0,
            "inputs": inputs,
            "outputs": [{ "tensor": 1_000 + id, "bytes": 1 + next(800) }],
        })
    };
    instance((0..n_ops).map(op).collect(), 1_000_000)
}

/// An instance with given costs of so many nodes; three accelerators and a core.
pub(super) fn load_instance(n_nodes: u64, seed: u64) -> Value {
    let mut next = numbers(seed);
    let nodes: Vec<Value> = (0..n_nodes)
        .map(|id| {
            let time = 1.0 + next(1_000) as f64 / 100.0;
            json!({ "id": id, "cpuLatency": 20.0 * time, "fpgaLatency": time, "size": 1 })
        })
        .collect();
    // What a node hands on has one size, whoever reads it.
    let costs: Vec<f64> = (0..n_nodes).map(|_| 0.1 + next(100) as f64 / 100.0).collect();
    let edge = |to: u64| {
        let from = to - 1 - next(to.min(5));
        json!({ "sourceId": from, "destId": to, "cost": costs[from as usize] })
    };
    let edges: Vec<Value> = (1..n_nodes).map(edge).collect();
    json!({ "maxSizePerFPGA": n_nodes, "maxFPGAs": 3, "maxCPUs": 1, "nodes": nodes, "edges": edges })
}

fn started(folder: &Folder, line: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshwright"));
    for name in VARIABLES {
        command.env_remove(format!("MESHWRIGHT_{name}"));
    }
    let command = command.args(line.split_whitespace()).current_dir(folder.path("."));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Values of the incumbents whose lines are whole.
fn printed(stdout: &str) -> Vec<u64> {
    let whole = stdout.rfind('\n').map_or("", |end| &stdout[..end]);
    let lines = whole.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let incumbents = lines.filter(|line| line["event"] == "incumbent");
    incumbents.map(|line| line["value_ns"].as_u64().unwrap()).collect()
}

/// The value that a plan states, once it was verified.
fn verified(folder: &Folder, model: &str) -> u64 {
    let ran = folder.run(&format!("verify out.json --model {model} --json")).exits(0);
    assert_eq!(ran.json()["legal"], true);
    let plan: Value = folder.json("out.json");
    let value = plan.get("value_ns").or_else(|| plan["cost"].get("step_time_ns"));
    value.and_then(Value::as_u64).unwrap()
}

/// Kills a run after a while; what it leaves must be as good as what it said.
fn killed(folder: &Folder, model: &str, after: Duration) -> bool {
    let _ = std::fs::remove_file(folder.path("out.json"));
    let line = format!("plan {model} --time-limit 5 -o out.json --json --progress lines");
    let mut child = started(folder, &line);
    std::thread::sleep(after);
    child.kill().unwrap();
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    child.wait().unwrap();
    let printed = printed(&stderr);
    assert!(printed.is_sorted_by(|a, b| a > b), "{printed:?}");
    if !folder.path("out.json").exists() {
        assert!(printed.is_empty(), "{model}: printed before there was a file");
        return false;
    }
    let value = verified(folder, model);
    assert!(printed.last().is_none_or(|last| value <= *last), "{model}: {value} {printed:?}");
    !printed.is_empty()
}

#[test]
fn what_was_printed_outlives_a_kill() {
    let folder = Folder::new(&layers(150, 1));
    folder.write("load.json", &load_instance(60, 2).to_string());
    let mut next = numbers(11);
    let mut n_printed = 0;
    for turn in 0..20 {
        let model = ["model.json", "load.json"][turn % 2];
        // Short moments are the ones in which most is written.
        let most = [15, 60, 250, 800][turn / 2 % 4];
        n_printed += usize::from(killed(&folder, model, Duration::from_millis(next(most))));
    }
    assert!(n_printed > 2, "only {n_printed} of 20 runs had printed anything");
}

#[cfg(unix)]
#[test]
fn the_first_interrupt_keeps_the_best() {
    let folder = Folder::new(&diamond());
    folder.write("load.json", &load_instance(150, 4).to_string());
    let line = "plan load.json --time-limit 120 -o out.json --json --progress lines";
    let started_at = Instant::now();
    let mut child = started(&folder, line);
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut first = String::new();
    stderr.read_line(&mut first).unwrap();
    assert_eq!(printed(&first).len(), 1, "{first}");
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    let mut answer = String::new();
    child.stdout.take().unwrap().read_to_string(&mut answer).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{rest}");
    assert!(started_at.elapsed() < Duration::from_secs(60));
    // One document, whatever was told on the way.
    let report: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(report["stop_reason"], "cancelled");
    assert_eq!(report["value_ns"], verified(&folder, "load.json"));
}

#[test]
fn each_better_plan_has_its_line() {
    let folder = Folder::new(&layers(60, 1));
    folder.write("load.json", &load_instance(30, 2).to_string());
    for (model, objective) in [("model.json", "step-time"), ("load.json", "max-load")] {
        let line = format!("plan {model} --time-limit 2 --progress lines");
        let ran = folder.run(&line).exits(0);
        let n_lines = ran.stderr.lines().filter(|line| line.contains(objective)).count();
        assert!(n_lines > 0 && ran.stderr.contains("gap "), "{}", ran.stderr);
        assert!(!ran.stdout.contains("incumbent"), "{}", ran.stdout);
        let quiet = folder.run(&format!("plan {model} --time-limit 2 --progress none")).exits(0);
        assert!(!quiet.stderr.contains("gap "), "{}", quiet.stderr);
    }
}

#[test]
fn a_gap_that_is_near_enough_ends_the_search() {
    let folder = Folder::new(&layers(60, 1));
    folder.write("load.json", &load_instance(60, 2).to_string());
    for model in ["model.json", "load.json"] {
        let report = |gap: &str| {
            let line = format!("plan {model} --node-budget 3000000 --deterministic --json {gap}");
            folder.run(&line).exits(0).json()
        };
        let reached = report("--gap 300%");
        assert_eq!(reached["stop_reason"], "gap-reached", "{model}");
        assert!(reached["gap"].as_f64().unwrap() <= 3.0);
        assert_ne!(report("")["stop_reason"], "gap-reached", "{model}");
    }
}

#[test]
fn a_file_of_the_user_is_not_published_over() {
    let folder = Folder::new(&layers(60, 1));
    folder.write("load.json", &load_instance(30, 2).to_string());
    for model in ["model.json", "load.json"] {
        folder.write("out.json", "mine");
        let ran = folder.run(&format!("plan {model} --time-limit 1 -o out.json")).exits(2);
        assert!(ran.stderr.contains("error[file-exists]"), "{}", ran.stderr);
        assert_eq!(folder.read("out.json"), "mine");
        folder.run(&format!("plan {model} --time-limit 1 -o out.json --force")).exits(0);
        verified(&folder, model);
    }
}

#[test]
fn a_solution_that_is_not_worth_what_it_states_is_found_out() {
    let folder = Folder::new(&diamond());
    folder.write("load.json", &load_instance(12, 2).to_string());
    folder.run("plan load.json --time-limit 1 -o out.json").exits(0);
    let mut solution: Value = folder.json("out.json");
    let value = verified(&folder, "load.json");
    solution["value_ns"] = json!(value - 1);
    folder.write("out.json", &solution.to_string());
    let ran = folder.run("verify out.json --model load.json").exits(6);
    assert!(ran.stderr.contains("stated-wrong"), "{}", ran.stderr);
    solution["fpgas"][0]["nodes"] = json!([]);
    folder.write("out.json", &solution.to_string());
    folder.run("verify out.json --model load.json").exits(6);
    solution["objective"] = json!("slowest-stage");
    folder.write("out.json", &solution.to_string());
    folder.run("verify out.json --model load.json").exits(3);
    folder.write("out.json", "{}");
    folder.run("verify out.json --model load.json").exits(3);
}

#[test]
fn the_search_is_drawn() {
    let folder = Folder::new(&layers(60, 1));
    folder.write("load.json", &load_instance(30, 2).to_string());
    for (model, unit) in [("model.json", "(us"), ("load.json", "units of the file")] {
        let line = format!("plan {model} --time-limit 1 --plot trace.svg --json --force");
        let report = folder.run(&line).exits(0).json();
        let picture = folder.read("trace.svg");
        for part in ["<svg", "best plan", "bound", "time since the start (s", unit] {
            assert!(picture.contains(part), "{part} is not in {picture}");
        }
        let trace = report["run"]["trace"].as_array().unwrap();
        let values = |name: &str| -> Vec<u64> {
            trace.iter().filter_map(|point| point[name].as_u64()).collect()
        };
        let elapsed = trace.iter().map(|point| point["elapsed_s"].as_f64().unwrap());
        assert!(elapsed.is_sorted() && values("bound_ns").is_sorted(), "{model}: {trace:?}");
        assert!(values("value_ns").is_sorted_by(|a, b| a >= b) && !values("value_ns").is_empty());
    }
    folder.run("plan model.json --plot model.json --force").exits(2);
}
