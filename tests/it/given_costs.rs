//! Instances with given costs on the command line: what is stated is true, what can't be honoured
//! is refused, and time limits hold.

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::data;

pub(crate) const LOAD: &str = r#"{"maxSizePerFPGA":100,"maxFPGAs":2,"maxCPUs":1,"nodes":[
    {"id":5,"cpuLatency":90,"fpgaLatency":3,"size":60},{"id":6,"cpuLatency":90,"fpgaLatency":5,"size":60}],
    "edges":[{"sourceId":5,"destId":6,"cost":1}]}"#;

const PROFILE: &str = "n1 -- Linear -- forward_compute_time=1.500, backward_compute_time=2.500, activation_size=8.0, parameter_size=16.0
n2 -- Linear -- forward_compute_time=1.000, backward_compute_time=2.000, activation_size=8.0, parameter_size=16.0
\tn1 -- n2
";

const STAGES: &str = r#"{"maxDevices":2,"maxMemoryPerDevice":1000,"bandwidth":1000,"mbsInBatch":2,"nodes":[
    {"id":1,"TMPCs":{"1":[{"id":"plain","timePerSample":3,"parameterSize":10,"memoryUsageA":1,"memoryUsageB":1}]}},
    {"id":2,"TMPCs":{"1":[{"id":"plain","timePerSample":5,"parameterSize":10,"memoryUsageA":1,"memoryUsageB":1}]}}],
    "edges":[{"sourceId":1,"destId":2,"communicationCost":100}]}"#;

fn run(folder: &Path, line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshwright"));
    command.args(line.split_whitespace()).current_dir(folder).output().unwrap()
}

fn text(ran: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr))
}

fn exits(folder: &Path, line: &str, code: i32) -> String {
    let ran = run(folder, line);
    let text = text(&ran);
    assert_eq!(ran.status.code(), Some(code), "{line}\n{text}");
    text
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("load.json", LOAD), ("profile.txt", PROFILE), ("stages.json", STAGES)] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn read(folder: &Path, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap()
}

/// PipeDream's files are in milliseconds; the two layers on two devices take 4 and 3 of them.
#[test]
fn milliseconds_of_a_file_are_milliseconds_of_the_answer() {
    let folder = folder();
    let ran = exits(folder.path(), "plan profile.txt --accelerators 2 -o out.json", 0);
    assert!(ran.contains("slowest-stage 4 ms"), "{ran}");
    let written = read(folder.path(), "out.json");
    assert_eq!(written["value_ns"], 4_000_000);
    assert_eq!(written["bound_ns"], 4_000_000);
    assert_eq!(written["unit_ns"], 1_000_000);
    assert_eq!(written["accelerators"], 2);
}

#[test]
fn files_with_nothing_to_plan_are_bad_input() {
    let folder = folder();
    std::fs::write(folder.path().join("none.txt"), "").unwrap();
    std::fs::write(folder.path().join("edge.txt"), "\n\n").unwrap();
    let empty = |text: &str, from: &str| {
        let mut document: Value = serde_json::from_str(text).unwrap();
        document["nodes"] = json!([]);
        document["edges"] = json!([]);
        std::fs::write(folder.path().join(from), document.to_string()).unwrap();
    };
    empty(LOAD, "load0.json");
    empty(STAGES, "stages0.json");
    for name in ["none.txt", "edge.txt", "load0.json", "stages0.json"] {
        let said = exits(folder.path(), &format!("plan {name}"), 3);
        assert!(said.contains("[empty-"), "{name}: {said}");
    }
}

/// Each number that no clock, memory or plan can hold is refused by the name of its field.
#[test]
fn numbers_out_of_range_are_refused_by_name() {
    let folder = folder();
    for (text, file, field, value) in [
        (LOAD, "x.json", "/nodes/0/cpuLatency", json!(1e12)),
        (LOAD, "x.json", "/nodes/1/fpgaLatency", json!(-1.0)),
        (LOAD, "x.json", "/edges/0/cost", json!(1e10)),
        (LOAD, "x.json", "/nodes/0/size", json!(1e30)),
        (LOAD, "x.json", "/maxFPGAs", json!(1_000_000_000)),
        (LOAD, "x.json", "/maxSizePerFPGA", json!(-3)),
        (STAGES, "x.json", "/bandwidth", json!(1e-30)),
        (STAGES, "x.json", "/bandwidth", json!(1e300)),
        (STAGES, "x.json", "/mbsInBatch", json!(0)),
        (STAGES, "x.json", "/maxDevices", json!(0)),
        (STAGES, "x.json", "/nodes/0/TMPCs/1/0/timePerSample", json!(1e10)),
        (STAGES, "x.json", "/edges/0/communicationCost", json!(1e19)),
    ] {
        let mut document: Value = serde_json::from_str(text).unwrap();
        *document.pointer_mut(field).unwrap() = value.clone();
        std::fs::write(folder.path().join(file), document.to_string()).unwrap();
        let said = exits(folder.path(), &format!("plan {file}"), 3);
        let name = field.rsplit('/').next().unwrap();
        assert!(said.contains(name) || said.contains("no device"), "{field} = {value}: {said}");
    }
    let long = PROFILE.replace("1.500", "1e14");
    std::fs::write(folder.path().join("x.txt"), long).unwrap();
    assert!(exits(folder.path(), "plan x.txt", 3).contains("forward_compute_time"));
}

/// Every figure that a solution states of itself, changed alone.
#[test]
fn no_stated_figure_is_believed() {
    let folder = folder();
    let mut n_mutants = 0;
    for (model, flags) in [
        ("load.json", "--objective max-load"),
        ("load.json", "--objective contiguous-max-load"),
        ("load.json", "--objective latency"),
        ("profile.txt", "--accelerators 2"),
        ("stages.json", ""),
    ] {
        exits(folder.path(), &format!("plan {model} {flags} -o out.json --force"), 0);
        let verify = format!("verify mutant.json --model {model}");
        let written = read(folder.path(), "out.json");
        let place = |document: &Value| {
            std::fs::write(folder.path().join("mutant.json"), document.to_string()).unwrap();
        };
        place(&written);
        exits(folder.path(), &verify, 0);
        let value = written["value_ns"].as_u64().unwrap();
        for (field, mutant) in [
            ("/value_ns", json!(value + 1)),
            ("/value_ns", json!(value - 1)),
            ("/value_ns", json!(0)),
            ("/bound_ns", json!(value + 1)),
            ("/bound_ns", json!(u64::MAX)),
            ("/proved_optimal", json!(!written["proved_optimal"].as_bool().unwrap())),
            ("/unit_ns", json!(7)),
            ("/fpgas/0/load", json!(0.5)),
            ("/cpus/0/load", json!(0.5)),
        ] {
            let mut document = written.clone();
            let Some(slot) = document.pointer_mut(field) else { continue };
            *slot = mutant;
            place(&document);
            let said = exits(folder.path(), &verify, 6);
            let name = field.trim_start_matches('/').split('/').next().unwrap();
            assert!(said.contains("stated-wrong") && said.contains(name), "{field}: {said}");
            n_mutants += 1;
        }
        // What a bound rests on is a statement, too.
        for (field, mutant) in [("bound_method", "work"), ("bound_method", "magic")] {
            let mut document = written.clone();
            if document[field] == mutant {
                continue;
            }
            document[field] = json!(mutant);
            document["bound_ns"] = json!(value - 1);
            document["proved_optimal"] = json!(false);
            place(&document);
            exits(folder.path(), &verify, 6);
        }
    }
    assert!(n_mutants > 40, "{n_mutants}");
}

/// A false claim of optimality: a worse plan, its own value as the bound.
#[test]
fn a_plan_that_is_beaten_is_not_proved_optimal() {
    let folder = folder();
    // Both nodes on the core: 180, where 6 is possible.
    let lie = |method: &str| {
        json!({
            "format": "meshwright.solution/1", "instance": "load", "objective": "contiguous-max-load",
            "value_ns": 180_000_000_000u64, "bound_ns": 180_000_000_000u64,
            "bound_method": method, "proved_optimal": true, "unit_ns": 1_000_000_000,
            "fpgas": [], "cpus": [{ "load": 180.0, "nodes": [5, 6] }],
        })
    };
    for method in ["work", "all ideals", "integer program (HiGHS)", "columns", "no such method"] {
        std::fs::write(folder.path().join("lie.json"), lie(method).to_string()).unwrap();
        let said = exits(folder.path(), "verify lie.json --model load.json", 6);
        assert!(said.contains("bound_") && said.contains("proved_optimal"), "{method}: {said}");
    }
}

#[test]
fn solutions_that_lied_are_found_out() {
    let Some(folder) = data::folder().map(|folder| folder.join("regress")) else { return };
    let lie = "verify sol_false_proof_verifies.json --model dnn.json";
    let said = exits(&folder, lie, 6);
    assert!(said.contains("stated-wrong") && said.contains("proved_optimal"), "{said}");
    // The same without the claim is true in every figure.
    exits(&folder, "verify sol_load.json --model dnn.json", 0);
    assert!(exits(&folder, "plan empty_pipedream.txt", 3).contains("[empty-"));
}

/// A model in layers of which each reads the one before: nothing but the number of nodes is hard.
pub(crate) fn long_instance(n_nodes: u64) -> String {
    let mut nodes = String::new();
    let mut edges = String::new();
    for id in 0..n_nodes {
        let comma = if id == 0 { "" } else { "," };
        let time = 1 + id * 7 % 13;
        let _ = write!(
            nodes,
            r#"{comma}{{"id":{id},"cpuLatency":{},"fpgaLatency":{time},"size":1}}"#,
            20 * time
        );
        if let Some(from) = id.checked_sub(1 + id % 3) {
            let comma = if edges.is_empty() { "" } else { "," };
            let _ = write!(
                edges,
                r#"{comma}{{"sourceId":{from},"destId":{id},"cost":{}}}"#,
                1 + from % 5
            );
        }
    }
    format!(
        r#"{{"maxSizePerFPGA":{n_nodes},"maxFPGAs":4,"maxCPUs":1,"nodes":[{nodes}],"edges":[{edges}]}}"#
    )
}

/// The limit is on everything between the first byte read and the last one written: ten times as long is
/// taken by none but what does not look at the clock.
#[test]
fn a_time_limit_holds_on_instances_of_any_size() {
    let folder = folder();
    std::fs::write(folder.path().join("long.json"), long_instance(60_000)).unwrap();
    for (limit, objective) in [(3, "max-load"), (3, "contiguous-max-load"), (3, "latency")] {
        let start = Instant::now();
        let line = format!(
            "plan long.json --objective {objective} --time-limit {limit}s -o out.json --force"
        );
        let said = exits(folder.path(), &line, 0);
        assert!(
            start.elapsed() < Duration::from_secs(10 * limit),
            "{objective}: {:?}\n{said}",
            start.elapsed()
        );
        assert!(read(folder.path(), "out.json")["value_ns"].as_u64().unwrap() > 0);
    }
    // Nothing can be found before the file is read.
    let start = Instant::now();
    let said = exits(folder.path(), "plan long.json --time-limit 1ms", 5);
    assert!(said.contains("no-plan") && start.elapsed() < Duration::from_secs(10), "{said}");
}

#[test]
fn a_signal_ends_a_run() {
    let folder = folder();
    std::fs::write(folder.path().join("long.json"), long_instance(60_000)).unwrap();
    let mut n_kept = 0;
    for (signal, after) in [("-INT", 5_000), ("-TERM", 5_000), ("-TERM", 30)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshwright"));
        command.args(["plan", "long.json", "--time-limit", "60s", "-o", "out.json", "--force"]);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut child = command.current_dir(folder.path()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(after));
        let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let start = Instant::now();
        let status = child.wait().unwrap();
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
        // So early that there is no handler yet, the signal itself ends it.
        assert!(matches!(status.code(), Some(0 | 130) | None), "{status}");
        n_kept += usize::from(status.code() == Some(0));
    }
    assert!(n_kept > 0);
}

/// What each verb makes of a solution, and of a person's split as the baseline.
#[test]
fn every_verb_takes_solutions_of_instances() {
    let folder = folder();
    let at = folder.path();
    std::fs::write(
        at.join("person.json"),
        r#"{"fpgas":[{"nodes":[5],"load":-1}],"cpus":[{"nodes":[6],"load":-1}]}"#,
    )
    .unwrap();
    for (model, device, node) in [
        ("load.json", "accelerator 0", "5"),
        ("profile.txt", "stage 0", "n1"),
        ("stages.json", "stage 0", "1"),
    ] {
        exits(at, &format!("plan {model} -o out.json --force"), 0);
        for verb in ["simulate", "explain", "verify"] {
            exits(at, &format!("{verb} out.json --model {model}"), 0);
            let said = exits(at, &format!("{verb} out.json --model {model} --batch 2"), 2);
            assert!(said.contains("--batch"), "{said}");
        }
        exits(at, &format!("explain out.json --model {model} --op {node}"), 0);
        assert!(exits(at, &format!("explain out.json --model {model} --op 77"), 2).contains("77"));
        let args = ["explain", "out.json", "--model", model, "--device", device];
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshwright"));
        let ran = command.args(args).current_dir(at).output().unwrap();
        assert!(ran.status.success() && text(&ran).contains(node), "{}", text(&ran));
        exits(at, &format!("compare out.json out.json --model {model}"), 0);
    }
    // It states its instance; without that and `--model` it can't be read.
    exits(at, "compare out.json out.json", 0);
    let text = std::fs::read_to_string(at.join("out.json")).unwrap();
    let mut solution: Value = serde_json::from_str(&text).unwrap();
    solution.as_object_mut().unwrap().remove("inputs");
    std::fs::write(at.join("out.json"), solution.to_string()).unwrap();
    let said = exits(at, "compare out.json out.json", 3);
    assert!(said.contains("--model INSTANCE"), "{said}");
    // 3 + 1 on the accelerator, 90 on the core; the best is 6.
    exits(at, "plan load.json -o out.json --force", 0);
    let said = exits(at, "compare person.json out.json --model load.json", 10);
    assert!(said.contains("A 90, B 6") && said.contains("15.000 times"), "{said}");
    assert!(exits(at, "verify person.json --model load.json", 0).contains("max-load 90"));
    // Written in the collection's own form, it is read back as the same split.
    exits(at, "export out.json --model load.json --target split -o split.json", 0);
    exits(at, "compare split.json out.json --model load.json", 0);
    exits(at, "plan profile.txt --accelerators 2 -o stages.out", 0);
    exits(at, "export stages.out --model profile.txt --target pipedream -o staged.txt", 0);
    let staged = std::fs::read_to_string(at.join("staged.txt")).unwrap();
    assert!(staged.contains("stage_id=0") && staged.contains("stage_id=1"), "{staged}");
    exits(at, "verify stages.out --model staged.txt", 0);
    exits(at, "plan stages.json -o piper.out", 0);
    assert!(
        exits(at, "export piper.out --model stages.json --target split -o x", 2)
            .contains("cannot-express")
    );
}

/// Hand-made splits of the papers are judged as they are, and beaten.
#[test]
fn splits_of_experts_are_a_baseline() {
    let Some(folder) = data::folder() else { return };
    let folder = folder.join("bench/placement/dnn-partitioning");
    let out = tempfile::tempdir().unwrap();
    let plan = out.path().join("plan.json");
    for (name, expert, best) in [
        ("bert24_inference", "20.083953", "17.789906"),
        ("gnmt_training", "137.153902", "107.004414"),
    ] {
        let model = format!("throughput/layer/{name}.json.gz");
        let flags = "--objective contiguous-max-load --force";
        exits(&folder, &format!("plan {model} {flags} -o {}", plan.display()), 0);
        let person = format!("experts/{name}_expert.json");
        let line = format!("compare {person} {} --model {model}", plan.display());
        let said = exits(&folder, &line, 10);
        assert!(
            said.contains(&format!("A {expert}")) && said.contains(&format!("B {best}")),
            "{said}"
        );
    }
}

/// Every flag of `plan` that says nothing about an instance is refused by its name.
#[test]
fn flags_that_mean_nothing_are_refused_by_name() {
    let folder = folder();
    for flags in [
        "--batch 2",
        "--micro-batch 2",
        "--dim n=2",
        "--batch-axis x=0",
        "--dtype fp16",
        "--cluster c.yaml",
        "--profile p.json",
        "--workload training",
        "--optimizer sgd",
        "--pin a=b",
        "--forbid a=b",
        "--colocate a",
        "--constraints none.yaml",
        "--for megatron",
        "--export trace=t.json",
        "--global-batch 8",
        "--sequence-length 8",
        "--tokens-per-step 8",
        "--devices 8",
        "--max-memory-per-device 1GB",
        "--memory-margin 5%",
        "--stack torchtitan",
        "--no-offload",
    ] {
        for model in ["load.json", "profile.txt", "stages.json"] {
            let said = exits(folder.path(), &format!("plan {model} {flags}"), 2);
            let name = flags.split(' ').next().unwrap();
            assert!(said.contains("not-for-instances") && said.contains(name), "{flags}: {said}");
        }
    }
}
