//! Views of a plan of 10,000 ops and a million slices: the file, and what is asked of it.
//!
//! `cargo bench --bench views`. The model is `chain` of `benches/scale` without modules, in
//! training with 96 micro-batches on 64 devices, placed by m-topo; `-- MODEL MICRO_BATCHES` takes
//! another, such as one with modules. Times are the best of several runs
//! on this machine, which mean little where it is busy, and the user CPU time of a run.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a bench prints, and stops at the first surprise"
)]

#[allow(dead_code, reason = "the graphs of another bench")]
#[path = "../scale/graphs.rs"]
mod graphs;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::door::{Answer, Form, answer};
use engine::request::PlanOnModel;
use engine::views::{NodeKind, View, make};
use serde_json::{Value, json};

/// Forward ops; with their gradients and updates above 10,000.
const N_OPS: usize = 4_000;
const CLUSTER: &str = "
name: pod
nodes:
  - {count: 8, device: h100_sxm5_80gb, devices: 8, scaleup: nvlink4, host: pcie5_x16, nics: 8}
network: {link: ib_ndr_400}
";

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let (model, micro_batch, n) = match args.as_slice() {
        [model, n] => (std::fs::canonicalize(model).unwrap(), 1, n.parse().unwrap()),
        _ => {
            graphs::write_onnx(&graphs::chain(N_OPS), &path("model.onnx")).unwrap();
            (path("model.onnx"), 64, 96)
        }
    };
    std::fs::write(path("cluster.yaml"), CLUSTER).unwrap();
    let request = json!({ "verb": "plan", "model": &model, "cluster": path("cluster.yaml"),
        "workload": "training", "batch": micro_batch * n, "micro_batch": micro_batch, "algorithm": "m-topo" });
    let planned = asked(&request);
    assert_eq!(planned.exit_code, 0, "{}", planned.document);
    std::fs::write(path("plan.json"), planned.document["plan"].to_string()).unwrap();
    let file = viewed(folder.path(), &model);
    let view = View::open(&file).unwrap();
    println!("| what | best | user CPU | answer |\n|---|---|---|---|");
    queries(&file, &view);
}

fn asked(request: &Value) -> Answer {
    let form = ("bench", Form::Document);
    answer(request.to_string().as_bytes(), &Arc::default(), form, &mut |_| ())
}

fn viewed(folder: &Path, model: &Path) -> Vec<u8> {
    let mut request = PlanOnModel {
        plan: folder.join("plan.json"),
        model: model.to_owned(),
        ..PlanOnModel::default()
    };
    request.target.problem.cluster = Some(folder.join("cluster.yaml"));
    let start = Instant::now();
    let made = make(&request).unwrap();
    let overview = View::open(&made.bytes).unwrap().overview();
    println!(
        "read, replayed and written in {:.1} s: {} slices on {} lanes, {:.1} MB, {} groups\n",
        start.elapsed().as_secs_f64(),
        overview.n_slices,
        overview.lanes.len(),
        made.bytes.len() as f64 / 1e6,
        overview.n_groups,
    );
    made.bytes
}

/// A row of the table: `n` runs, numbered, of what tells of its answer.
fn row(what: &str, n: u64, mut run: impl FnMut(u64) -> String) {
    let before = user_seconds();
    let mut best = Duration::MAX;
    let mut answer = String::new();
    for number in 0..n {
        let start = Instant::now();
        answer = run(number);
        best = best.min(start.elapsed());
    }
    let cpu = (user_seconds() - before) * 1e3 / n as f64;
    println!("| {what} | {:.2} ms | {cpu:.1} ms | {answer} |", best.as_secs_f64() * 1e3);
}

/// User CPU time of this process so far (Linux; 0 elsewhere).
fn user_seconds() -> f64 {
    let Ok(text) = std::fs::read_to_string("/proc/self/stat") else { return 0.0 };
    let ticks = text.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(11));
    ticks.map_or(0.0, |ticks| ticks.parse::<f64>().unwrap() / 100.0)
}

fn queries(file: &[u8], view: &View<'_>) {
    let step = view.overview().step_time_ns;
    let device = view.overview().devices[0].device.clone();
    let size = |answer: Vec<u8>| format!("{} kB", answer.len() / 1000);
    row("open", 50, |_| format!("{} lanes", View::open(file).unwrap().overview().lanes.len()));
    for (what, part, most) in [
        ("tile of all, 2,000 slices", 1, 2_000),
        ("tile of all, 20,000 slices", 1, 20_000),
        ("tile of a 10th, 5,000 slices", 10, 5_000),
        ("tile of a 1,000th, 5,000 slices", 1_000, 5_000),
    ] {
        row(what, 50, |run| {
            let from = if part == 1 { 0 } else { step / 60 * run };
            let tile = view.timeline(Some(from), Some(from + step / part), &[], most).unwrap();
            size(serde_json::to_vec(&tile).unwrap())
        });
    }
    for points in [100, 2_000] {
        row(&format!("memory, {points} points"), 50, |_| {
            size(serde_json::to_vec(&view.memory(&device, points).unwrap()).unwrap())
        });
    }
    row("graph, top level", 10, |_| laid_out(view, None).1);
    let mut open = laid_out(view, None).0;
    while let Some(group) = open.pop() {
        row(&format!("graph, `{group}`"), 1, |_| {
            let (inside, summary) = laid_out(view, Some(&group));
            open.extend(inside);
            summary
        });
    }
}

/// Lays a group out: the groups in it, and how large it is.
fn laid_out(view: &View<'_>, group: Option<&str>) -> (Vec<String>, String) {
    let graph = view.graph(group, 1, &[]).unwrap();
    let bytes = serde_json::to_vec(&graph).unwrap().len();
    let nodes = &graph.inside.nodes;
    let groups = nodes.iter().filter(|node| node.figures.kind != NodeKind::Op);
    let summary = format!("{} nodes, {} kB", nodes.len(), bytes / 1000);
    (groups.map(|node| node.figures.id.clone()).collect(), summary)
}
