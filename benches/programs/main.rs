//! `milp` on models, on four A100: plan, bound, and whether both hold when they are derived by hand.
//!
//! `cargo bench --bench programs [-- only=TEXT] [algorithm=NAME] [seconds=N] [proof=N]
//! [objective=NAME] [cluster=FILE]` prints the table of `docs/benchmarks-placement.md`. `seconds` is
//! the limit of a run (60), wall clock; `only` keeps models whose names hold it; another algorithm
//! than `milp` is run alone. A bound of `columns` is searched again for `proof` seconds (60), and its
//! certificate checked on an instance that shares no code with the row's.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a bench prints, and stops at the first surprise"
)]

#[allow(dead_code, reason = "the placements of a test")]
#[path = "../../planner/tests/programs/by_hand.rs"]
mod by_hand;
#[allow(dead_code, reason = "the graphs of another bench")]
#[path = "../scale/graphs.rs"]
mod graphs;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cost_model::ops::annotate::annotate;
use cost_model::ops::objective;
use cost_model::ops::problem::{Constraints, Objective, Problem};
use importers::ImportOptions;
use ir::profile::Profile;
use ir::units::Nanos;
use ir::workload::Workload;
use planner::given::max_load::check::check;
use planner::given::{as_instance, runner};
use planner::registry;
use planner::run::{Limits, Outcome, Request, gap, solve};

const CLUSTER: &str = "
name: four-a100
nodes:
  - {count: 1, device: a100_sxm4_80gb, devices: 4, scaleup: nvlink3, host: pcie4_x16, nics: 4}
network: {link: ib_hdr_200}
";

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let value = |key: &str| words.iter().find_map(|word| word.strip_prefix(key));
    let only = value("only=").unwrap_or_default();
    let seconds = |key| Duration::from_secs(value(key).map_or(60, |text| text.parse().unwrap()));
    let objective = objective::named(value("objective=").unwrap_or("max-load")).unwrap().objective;
    let algorithm = value("algorithm=").unwrap_or("milp");
    let folder = tempfile::tempdir().unwrap();
    println!(
        "| model | ops | auto ms | plan ms | found by | bound ms | bound by | gap | s | CPU s | by hand |"
    );
    println!("|---|---:|---:|---:|---|---:|---|---:|---:|---:|---|");
    for (name, file) in models(folder.path()).into_iter().filter(|(name, _)| name.contains(only)) {
        let problem = problem(&file, value("cluster="), objective);
        line(&name, &problem, algorithm, [seconds("seconds="), seconds("proof=")]);
    }
}

/// Name and file of each model.
fn models(folder: &Path) -> Vec<(String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let example = |name: &str| (name.to_owned(), root.join(format!("examples/models/{name}.onnx")));
    let mut models = vec![example("gpt2_small"), example("resnet101")];
    if let Some(data) = benchmark_data::folder() {
        for name in ["bert_base", "inception_v3"] {
            models.push((name.to_owned(), data.join(format!("models/onnx/{name}.onnx"))));
        }
    }
    let chain = folder.join("chain.onnx");
    graphs::write_onnx(&graphs::chain(2_000), &chain).unwrap();
    models.push(("chain of 100 blocks".to_owned(), chain));
    models
}

fn problem(file: &Path, cluster: Option<&str>, objective: Objective) -> Arc<Problem> {
    let cluster = match cluster {
        Some(file) => importers::cluster::read(Path::new(file)).unwrap().0,
        None => importers::cluster::parse(CLUSTER, "bench", None).unwrap(),
    };
    let import = importers::read(file, &ImportOptions::default()).unwrap();
    let annotated = annotate(
        Arc::new(import.graph),
        Arc::new(cluster),
        &Profile::default(),
        Workload::default(),
        objective,
        Constraints::default(),
    );
    Arc::new(annotated.unwrap().problem)
}

fn line(name: &str, problem: &Arc<Problem>, algorithm: &str, [time, proof]: [Duration; 2]) {
    let within = |time| Limits { time: Some(time), ..Limits::default() };
    let request = Request { recipe: registry::recipe(algorithm).unwrap(), limits: within(time) };
    let (start, before) = (Instant::now(), cpu_s());
    let found = solve(Arc::clone(problem), &request, &mut |_| {}).unwrap();
    let (wall_s, cpu_s) = (start.elapsed().as_secs_f64(), cpu_s() - before);
    let others = found.attempts.iter().filter(|attempt| attempt.algorithm != algorithm);
    let auto = others.filter_map(|attempt| Some(attempt.result.as_ref().ok()?.value)).min();
    let ms = |value: Nanos| format!("{:.4}", value.as_f64() / 1e6);
    print!(
        "| {name} | {} | {} | {} | {} | {} | {} | {:.2} % | {wall_s:.1} | {cpu_s:.1} |",
        problem.actions.len(),
        auto.map_or_else(String::new, ms),
        ms(found.value),
        found.algorithm,
        ms(found.bound.value),
        found.bound.method,
        100.0 * gap(found.value, found.bound.value),
    );
    // A proof takes as long again.
    let _ = std::io::stdout().flush();
    println!(" {} |", derived(problem, &found, within(proof)));
}

/// What of the answer was derived again.
fn derived(problem: &Problem, found: &Outcome, limits: Limits) -> String {
    if problem.objective != Objective::MAX_LOAD {
        return String::new();
    }
    let load = by_hand::greatest_load(problem, &found.plan.placement);
    assert_eq!(load, Some(found.value.get()), "the load by hand is another one");
    let request = runner::Request { limits, ..runner::Request::new(registry::entries()) };
    let proof = as_instance::certified(problem, &request);
    let Some((bound, certificate)) = proof else { return "load".to_owned() };
    assert_eq!(check(&by_hand::instance(problem), &certificate), Ok(()));
    format!("load, certificate of {:.4} ms", bound.as_f64() / 1e6)
}

/// CPU seconds of this process so far: fields 14 and 15 of its `stat` file, in ticks of 10 ms
/// (proc(5); USER_HZ is 100 on Linux). Not a number elsewhere.
fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2).map(|t| t.parse::<f64>());
    ticks.map(|t| t.unwrap_or(f64::NAN)).sum::<f64>() / 100.0
}
