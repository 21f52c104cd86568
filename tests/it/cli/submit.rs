//! `submit` and `jobs` against a service that runs, one that is gone, and one that never answers.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::folder::{Folder, diamond, run_in};
use super::followed::load_instance;
use super::layered;

/// A service on a free port; it goes when this is dropped.
struct Running {
    process: Child,
    url: String,
}

impl Running {
    fn new(folder: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_meshwright"))
            .args(["serve", "--listen", "127.0.0.1:0", "--workers", "1"])
            .current_dir(folder)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let line =
            lines.find(|line| line.as_ref().unwrap().contains("listening")).unwrap().unwrap();
        // What it says later is read, so that it never waits for a reader.
        std::thread::spawn(move || lines.count());
        let url = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
        let url = url.split("/docs").next().unwrap().trim_end_matches(',').to_owned();
        Self { process, url }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A folder with a model, and one for the service.
fn places() -> (Folder, tempfile::TempDir) {
    (Folder::new(&diamond()), tempfile::tempdir().unwrap())
}

/// Without what depends on the moment.
fn lasting(text: &str) -> Value {
    let mut answer: Value = serde_json::from_str(text).unwrap();
    let members = answer.as_object_mut().unwrap();
    ["run", "trace", "attempts", "run_s", "elapsed_s"].iter().for_each(|name| {
        members.remove(*name);
    });
    answer
}

#[test]
fn a_plan_of_a_service_is_the_plan() {
    let (folder, at) = places();
    let service = Running::new(at.path());
    folder.write("layers.json", &layered::config(12).to_string());
    folder.write("node.yaml", layered::CLUSTER);
    folder.write("rules.yaml", "pin:\n  a: d1\n");
    let ops = "model.json --algorithm m-etf --deterministic";
    folder.write("costs.json", &load_instance(9, 3).to_string());
    let symbolic = "tests/data/onnx_features/symbolic_dims_batch_seq.onnx";
    let symbolic = Path::new(env!("CARGO_MANIFEST_DIR")).join(symbolic);
    std::fs::copy(symbolic, folder.path("symbolic.onnx")).unwrap();
    let cases = [
        "symbolic.onnx --cluster node.yaml --dim batch=2 --dim seq=8 --algorithm m-etf --deterministic"
            .to_owned(),
        "costs.json --deterministic".to_owned(),
        format!("{ops} --export trace=X.trace --plot X.svg"),
        format!("{ops} --constraints rules.yaml --seed 7"),
        "layers.json --cluster node.yaml --global-batch 8 --deterministic".to_owned(),
    ];
    for case in &cases {
        let run = |verb: &str, name: &str| {
            let case = case.replace('X', name);
            folder.run(&format!("{verb} {case} -o {name}.json --json")).exits(0)
        };
        let here = run("plan", "here");
        let there = run(&format!("submit --server {}", service.url), "there");
        assert_eq!(lasting(&here.stdout), lasting(&there.stdout), "{case}");
        let plan = |name: &str| {
            let mut plan: Value = folder.json(name);
            plan.as_object_mut().unwrap().remove("run");
            plan
        };
        assert_eq!(plan("here.json"), plan("there.json"), "{case}");
        if case.contains("trace=") {
            assert_eq!(folder.read("here.trace"), folder.read("there.trace"));
            assert!(folder.read("there.svg").contains("<svg"));
        }
        let again =
            folder.run(&format!("submit --server {} {}", service.url, case.replace('X', "again")));
        let again = again.exits(0);
        let is_known = again.stdout.contains("the service had it already");
        assert!(is_known, "{case}: {}", again.stdout);
        [
            "here.json",
            "there.json",
            "here.trace",
            "there.trace",
            "here.svg",
            "there.svg",
            "again.trace",
            "again.svg",
        ]
        .iter()
        .for_each(|name| drop(std::fs::remove_file(folder.path(name))));
    }
    let anew = format!("submit --server {} {ops} --no-cache", service.url);
    assert!(folder.run(&anew).exits(0).stdout.contains("made now"));
    let listed = folder.run(&format!("jobs --server {} --state done", service.url)).exits(0);
    assert_eq!(listed.stdout.matches("plan_").count(), 6, "{}", listed.stdout);
    let id = listed.stdout.split_whitespace().find(|word| word.starts_with("plan_")).unwrap();
    let followed = folder.run(&format!("jobs --server {} --follow {id} --json", service.url));
    let lines = followed.exits(0).stdout;
    assert!(lines.lines().next().unwrap().contains("\"event\":\"incumbent\""), "{lines}");
    assert!(lines.lines().last().unwrap().contains("\"state\":\"done\""), "{lines}");
    folder.run(&format!("jobs --server {} --check", service.url)).exits(0);
}

#[test]
fn what_the_planner_says_of_a_request_is_no_reason_for_another_plan() {
    let (folder, at) = places();
    let service = Running::new(at.path());
    folder.write("rules.yaml", "pin:\n  nobody: d1\n");
    folder.write("broken.onnx", "nothing");
    for (case, code) in [
        ("model.json --constraints rules.yaml", 2),
        ("model.json --accelerators 2", 2),
        ("model.json --global-batch 8", 3),
        ("broken.onnx", 3),
        ("none.onnx", 3),
    ] {
        let here = folder.run(&format!("plan {case} --json"));
        let submit = format!("submit {case} --server {} --fallback heuristic --json", service.url);
        let there = folder.run(&submit).exits(here.code);
        let code_of = |ran: &super::folder::Ran| ran.json()["error"]["code"].clone();
        assert_eq!(code_of(&here), code_of(&there), "{case}");
        assert_eq!(here.code, code, "{case}");
    }
    assert_eq!(folder.list().len(), 3, "{:?}", folder.list());
}

#[test]
fn without_a_service_the_fallback_decides() {
    let (folder, _) = places();
    // Nobody listens there once it is closed.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let submit = |rest: &str| {
        let start = Instant::now();
        let ran = folder.run(&format!(
            "submit model.json --server http://127.0.0.1:{port} -o plan.json {rest}"
        ));
        assert!(start.elapsed() < Duration::from_secs(10), "{rest}: {:?}", start.elapsed());
        ran
    };
    let ran = submit("").exits(5);
    assert!(ran.stderr.contains("error[no-service]"), "{}", ran.stderr);
    let ran = submit("--fallback last").exits(5);
    assert!(ran.stderr.contains("error[no-last-plan]"), "{}", ran.stderr);
    assert_eq!(folder.list(), ["model.json"]);
    let ran = submit("--fallback heuristic --json").exits(0);
    assert!(ran.stderr.contains("warning[no-service]"), "{}", ran.stderr);
    let first = folder.read("plan.json");
    let ran = submit("--fallback last --force --export trace=t.json").exits(0);
    assert!(ran.stdout.contains("the last plan"), "{}", ran.stdout);
    assert!(folder.read("plan.json") == first && folder.read("t.json").contains("traceEvents"));
    let ran = submit("--fallback last --force --json").exits(0);
    assert_eq!(ran.json()["reason"]["code"], "no-service");
    // A plan of another model is none to go on with.
    folder.write(
        "model.json",
        &super::folder::instance(vec![super::folder::alone(0, 1)], 9).to_string(),
    );
    let ran = submit("--fallback last --force").exits(5);
    assert!(ran.stderr.contains("error[no-last-plan]"), "{}", ran.stderr);
    assert_eq!(folder.read("plan.json"), first);
    let ran = folder.run("submit model.json --server http://127.0.0.1:1 --fallback last").exits(2);
    assert!(ran.stderr.contains("error[no-output]"), "{}", ran.stderr);
}

#[test]
fn a_service_that_never_answers_holds_nobody() {
    let (folder, _) = places();
    // Connections are taken by the system, and nobody ever reads.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    for (line, code) in [
        (format!("submit model.json --server {url} --wait 1s"), 5),
        (format!("submit model.json --server {url} --wait 1s --fallback heuristic"), 0),
        (format!("jobs --server {url} --wait 1s"), 5),
        (format!("jobs --server {url} --check --wait 1s"), 5),
    ] {
        let start = Instant::now();
        let ran = folder.run(&line).exits(code);
        let took = start.elapsed();
        assert!(
            took >= Duration::from_secs(1) && took < Duration::from_secs(10),
            "{line}: {took:?}"
        );
        assert!(ran.stderr.contains("service-late"), "{line}: {}", ran.stderr);
    }
}

#[test]
fn a_server_that_is_no_planning_service_is_told_apart() {
    let (folder, _) = places();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().take(8) {
            use std::io::{Read, Write};
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi");
        }
    });
    let ran = folder.run(&format!("submit model.json --server {url} --wait 5s")).exits(5);
    assert!(ran.stderr.contains("no planning service"), "{}", ran.stderr);
}

#[test]
fn tokens_come_from_a_file_and_are_never_shown() {
    let (folder, at) = places();
    let service = Running::new(at.path());
    let made = run_in(at.path(), &["token", "launcher", "--scope", "plan"]).exits(0);
    let token = made.stdout.trim();
    folder.write("token", &format!("{token}\n"));
    folder.write("wrong", "mw_wrong\n");
    let submit = format!("submit model.json --algorithm m-etf --server {}", service.url);
    let ran = folder.run(&submit).exits(2);
    assert!(ran.stderr.contains("--token-file"), "{}", ran.stderr);
    folder.run(&format!("{submit} --token-file wrong")).exits(2);
    folder.run(&format!("{submit} --token-file none")).exits(2);
    let ran = folder.run(&format!("{submit} --token-file token")).exits(0);
    assert!(!format!("{}{}", ran.stdout, ran.stderr).contains(token));
}
