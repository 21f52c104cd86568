//! Import, placement and judging at 20,000 ops, ONNX files of a gibibyte, and instances of 100,000
//! and 1,000,000 ops.
//!
//! `cargo bench --bench scale [-- FILTER]` prints the tables of `docs/benchmarks.md`; filters are
//! `plan`, `onnx` and `large`. `-- write N FILE` writes the instance of the last with N ops. Times are the
//! best of several runs on this machine; memory is the peak resident size of a child process.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a bench prints, and stops at the first surprise"
)]

mod big_onnx;
mod graphs;
mod large;
mod llama;

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cost_model::ops::problem::{Objective, Problem};
use importers::ImportOptions;
use large::{problem, request};
use planner::run::{Outcome, solve};

const N_OPS: usize = 20_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    if let [verb, n_ops, file] = arguments.as_slice()
        && verb == "write"
    {
        large::write(file.as_ref(), n_ops.parse().unwrap());
        return;
    }
    let filter = arguments.first().cloned().unwrap_or_default();
    let folder = tempfile::tempdir().unwrap();
    if filter.is_empty() || filter == "plan" {
        for shape in [graphs::chain(N_OPS), graphs::layers(N_OPS), graphs::window(N_OPS)] {
            plan_one(&shape, folder.path());
        }
    }
    if filter.is_empty() || filter == "large" {
        large::run(folder.path());
    }
    if filter.is_empty() || filter == "onnx" {
        big_onnx::run(folder.path());
    }
}

fn plan_one(shape: &graphs::Shape, folder: &std::path::Path) {
    println!("\n### {} ops: {}\n", shape.inputs.len(), shape.name);
    println!("| what | best of runs | result |\n|---|---|---|");
    let onnx = folder.join("graph.onnx");
    graphs::write_onnx(shape, &onnx).unwrap();
    let (time, import) = best(5, || importers::read(&onnx, &ImportOptions::default()).unwrap());
    row("import ONNX", time, &format!("{} ops", import.graph.ops.len()));

    let file = folder.join("graph.json");
    graphs::write_instance(shape, &file, None).unwrap();
    let whole = outcome(&problem(&file, Objective::STEP_TIME), "single");
    let total = whole.report.devices.iter().map(|d| d.peak.bytes).max().unwrap();
    let limit = total * 3 / 2 / 16;
    graphs::write_instance(shape, &file, Some(limit)).unwrap();
    let (time, _) = best(5, || importers::read(&file, &ImportOptions::default()).unwrap());
    row("import instance", time, &format!("16 devices of {} B", limit));

    let problem = problem(&file, Objective::STEP_TIME);
    for (recipe, repeats) in [("m-topo", 5), ("m-etf", 3), ("m-sct", 1)] {
        let (time, result) = best(repeats, || try_outcome(&problem, recipe));
        match result {
            Ok(outcome) => {
                let elapsed = outcome.attempts.iter().map(|a| a.elapsed).min().unwrap_or(time);
                let note = outcome.warnings.iter().map(|w| w.code).collect::<Vec<_>>().join(", ");
                row(
                    recipe,
                    elapsed,
                    &format!(
                        "step {}, gap {:.1} %, with verify and report {:.1} ms {note}",
                        outcome.report.step_time,
                        outcome.gap * 100.0,
                        time.as_secs_f64() * 1e3
                    ),
                );
                if recipe == "m-etf" {
                    judge(&problem, &outcome);
                }
            }
            Err(diagnostic) => row(recipe, time, &diagnostic),
        }
    }
}

fn judge(problem: &Problem, outcome: &Outcome) {
    let (time, _) = best(9, || {
        let timeline = cost_model::ops::judge::replay::replay(problem, &outcome.plan).unwrap();
        cost_model::ops::judge::report::report(problem, &outcome.plan, &timeline)
    });
    row("judge (replay, memory, report)", time, "of the m-etf plan");
    let (time, violations) =
        best(5, || cost_model::ops::judge::verify::verify(problem, &outcome.plan));
    row("verify", time, &format!("{} violations", violations.len()));
}

fn outcome(problem: &Arc<Problem>, recipe: &str) -> Outcome {
    try_outcome(problem, recipe).unwrap()
}

fn try_outcome(problem: &Arc<Problem>, recipe: &str) -> Result<Outcome, String> {
    let request = request(recipe, Some(Duration::from_secs(120)));
    solve(Arc::clone(problem), &request, &mut |_| {}).map_err(|no| no.diagnostic.message)
}

fn best<T>(repeats: usize, mut run: impl FnMut() -> T) -> (Duration, T) {
    let mut least: Option<(Duration, T)> = None;
    for _ in 0..repeats {
        let start = Instant::now();
        let value = run();
        let elapsed = start.elapsed();
        if least.as_ref().is_none_or(|(time, _)| elapsed < *time) {
            least = Some((elapsed, value));
        }
    }
    least.unwrap()
}

fn row(what: &str, time: Duration, result: &str) {
    println!("| {what} | {:.1} ms | {result} |", time.as_secs_f64() * 1e3);
}

/// A run of the program.
struct Watched {
    time: Duration,
    /// Most bytes that were resident.
    peak: u64,
    code: String,
    /// What it wrote to a pipe.
    said: String,
}

/// Runs the program in a child process.
fn watched(arguments: &[&str], stdout: Stdio) -> Watched {
    let start = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshwright"));
    let mut child = command.args(arguments).stdout(stdout).stderr(Stdio::null()).spawn().unwrap();
    let mut peak = 0;
    let status = loop {
        peak = resident_peak(child.id()).max(peak);
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_micros(500)),
        }
    };
    let time = start.elapsed();
    let code = status.code().map_or("killed".to_owned(), |code| format!("exit {code}"));
    let mut said = String::new();
    if let Some(mut out) = child.stdout {
        out.read_to_string(&mut said).unwrap();
    }
    Watched { time, peak, code, said }
}

/// Bytes of the high-water mark of a process (Linux), 0 where it can't be read.
fn resident_peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    1024 * kibibytes.unwrap_or(0)
}
