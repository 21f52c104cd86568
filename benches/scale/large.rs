//! 100,000 and 1,000,000 ops on 64 devices, each with 1.5/64 of what one device would need.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cost_model::ops::annotate::annotate;
use cost_model::ops::problem::{Constraints, Objective, Problem};
use importers::ImportOptions;
use ir::profile::Profile;
use ir::workload::Workload;
use planner::registry;
use planner::run::{Event, Limits, Request, solve};

use crate::{llama, watched};

const N_DEVICES: usize = 64;
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn run(folder: &Path) {
    println!("\n### Llama-3-8B blocks on {N_DEVICES} devices\n");
    let file = folder.join("hundred_thousand.json");
    write(&file, 100_000);
    println!(
        "| ops | objective | first legal plan | value | gap then | value at the end | gap | of the limit |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (name, objective) in
        [("max-load", Objective::MAX_LOAD), ("step-time", Objective::STEP_TIME)]
    {
        portfolio(&file, name, objective);
    }
    let million = folder.join("million.json");
    write(&million, 1_000_000);
    println!("\n| ops | command | time | peak resident | answer |\n|---|---|---|---|---|");
    for (n_ops, file) in [(100_000, &file), (1_000_000, &million)] {
        let plan = folder.join(format!("{n_ops}.plan.json"));
        let (model, output) = (file.display().to_string(), plan.display().to_string());
        for objective in ["max-load", "step-time"] {
            let flags = ["--objective", objective, "--algorithm", "orders", "--force"];
            let arguments = [&["plan", &model, "-o", &output][..], &flags].concat();
            command(n_ops, &format!("plan {}", flags[..4].join(" ")), &arguments);
            command(n_ops, "verify", &["verify", &output, "--model", &model]);
        }
        let flags = ["--objective", "max-load", "--time-limit", "20s", "--force"];
        let arguments = [&["plan", &model, "-o", &output][..], &flags].concat();
        command(n_ops, &format!("plan {}", flags[..4].join(" ")), &arguments);
    }
}

/// Writes the instance with its limit.
pub(crate) fn write(file: &Path, n_ops: usize) {
    llama::write(file, n_ops, 1, None).unwrap();
    let one = problem(file, Objective::STEP_TIME);
    let outcome = solve(one, &request("orders", None), &mut |_| {}).unwrap();
    let total = outcome.report.devices[0].peak.bytes;
    let n = llama::write(file, n_ops, N_DEVICES, Some(total * 3 / 2 / N_DEVICES as u64)).unwrap();
    println!("{n} ops, {total} bytes on one device\n");
}

pub(crate) fn request(recipe: &str, time: Option<Duration>) -> Request {
    let recipe = registry::recipe(recipe).unwrap();
    Request { recipe, limits: Limits { time, ..Limits::default() } }
}

pub(crate) fn problem(file: &Path, objective: Objective) -> Arc<Problem> {
    let import = importers::read(file, &ImportOptions::default()).unwrap();
    let annotated = annotate(
        Arc::new(import.graph),
        Arc::new(import.cluster.unwrap()),
        &Profile::default(),
        Workload::default(),
        objective,
        Constraints::default(),
    );
    Arc::new(annotated.unwrap().problem)
}

/// The whole way from the file to the plan, with the moment of the first plan.
fn portfolio(file: &Path, name: &str, objective: Objective) {
    let start = Instant::now();
    let problem = problem(file, objective);
    let mut first = None;
    let outcome = solve(Arc::clone(&problem), &request("auto", Some(LIMIT)), &mut |event| {
        if let Event::Incumbent { value, .. } = event {
            first.get_or_insert((start.elapsed(), *value));
        }
    })
    .unwrap();
    let (elapsed, value) = first.unwrap();
    let bound = outcome.bound.value.as_f64();
    println!(
        "| {} | {name} | {:.2} s | {value} | {:.1} % | {} by `{}` | {:.2} % | {:.1} s, {} |",
        problem.actions.len(),
        elapsed.as_secs_f64(),
        (value.as_f64() / bound - 1.0) * 100.0,
        outcome.value,
        outcome.algorithm,
        outcome.gap * 100.0,
        start.elapsed().as_secs_f64(),
        outcome.stop.name(),
    );
}

/// The real command in a child process.
fn command(n_ops: usize, what: &str, arguments: &[&str]) {
    let ran = watched(arguments, Stdio::piped());
    println!(
        "| {n_ops} | {what} | {:.1} s | {:.2} GB | {}: {} |",
        ran.time.as_secs_f64(),
        ran.peak as f64 / 1e9,
        ran.code,
        ran.said.lines().last().unwrap_or("").trim()
    );
}
