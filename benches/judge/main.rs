//! How fast the judge is: pipelines of 64 stages, and annotating 20,000 ops.
//!
//! `cargo bench --bench judge [-- pipeline|annotate]`. A task is one pass of a stage or one transfer.
//! Everything runs on one core. Wall times are the median and the best of the runs, and mean little
//! on a busy machine; the user CPU time of all runs together does. `docs/benchmarks.md`.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a bench prints, and stops at the first surprise"
)]

#[allow(dead_code, reason = "the graphs of another bench")]
#[path = "../scale/graphs.rs"]
mod graphs;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use cost_model::ops::annotate::annotate;
use cost_model::ops::problem::{Constraints, Objective};
use cost_model::runs::judge::costs::{
    Boundary, Link, PipelineCosts, RankCosts, Sharing, StageCosts,
};
use cost_model::runs::judge::judge;
use importers::ImportOptions;
use ir::grid::Grid;
use ir::profile::Profile;
use ir::units::{Bytes, BytesPerSecond, Nanos};
use ir::workload::Workload;
use planner::training::schedule::{gpipe, interleaved, one_f_one_b};

const N_RANKS: u32 = 64;
const N_MICRO_BATCHES: u32 = 1024;
const N_OPS: usize = 20_000;

/// Sixteen devices on two hosts.
const CLUSTER: &str = "
name: two-hosts
nodes:
  - {count: 2, device: a100_sxm4_80gb, devices: 8, scaleup: nvlink3, host: pcie4_x16, nics: 8}
network: {link: ib_hdr_200}
";

fn main() {
    let filter = std::env::args().skip(1).find(|a| !a.starts_with('-')).unwrap_or_default();
    println!("load average before: {}", load());
    if filter.is_empty() || filter == "pipeline" {
        pipelines();
    }
    if filter.is_empty() || filter == "annotate" {
        annotations();
    }
    println!("\nload average after: {}", load());
}

fn pipelines() {
    println!(
        "\n### Lower, replay, memory trace and report, {N_RANKS} ranks, {N_MICRO_BATCHES} micro-batches\n"
    );
    println!(
        "| grid | tasks | median | best | CPU | tasks/s by median | by CPU |\n|---|---|---|---|---|---|---|"
    );
    let plain = one_f_one_b::grid(N_RANKS, N_MICRO_BATCHES).unwrap();
    let filled = gpipe::grid(N_RANKS, N_MICRO_BATCHES).unwrap();
    let looped = interleaved::grid(N_RANKS, 2, N_MICRO_BATCHES).unwrap();
    pipeline("1F1B", &costs(1), &plain, 400);
    pipeline("GPipe", &costs(1), &filled, 200);
    pipeline("interleaved, 2 chunks", &costs(2), &looped, 100);
}

/// Stages that differ a little, 16 MiB between them at 25 GB/s.
fn costs(n_chunks: u32) -> PipelineCosts {
    let bandwidth = BytesPerSecond::new(25e9);
    let link = Link { latency_ns: 5e3, bandwidth, tier: 0, sharing: Sharing::Own };
    let stage = StageCosts {
        stash: Bytes(1 << 28),
        persistent: Bytes(1 << 33),
        forward_temporary: Bytes(1 << 26),
        backward_temporary: Bytes(1 << 27),
        next: Boundary { activation: Bytes(1 << 24), gradient: Bytes(1 << 24), link },
        exchange: Nanos(30_000_000),
        overlapped: Nanos(20_000_000),
        ..StageCosts::default()
    };
    let mut costs = PipelineCosts::looped(N_RANKS, n_chunks, N_MICRO_BATCHES, stage);
    for (index, stage) in (0..).zip(&mut costs.stages) {
        stage.forward = Nanos(1_000_000 + (index * 7919) % 5_000);
        stage.backward = Nanos(2_000_000 + (index * 104_729) % 9_000);
    }
    for costs in &mut costs.ranks {
        let limit = Some(Bytes(80 << 30));
        *costs = RankCosts { optimizer: Nanos(8_000_000), limit, ..*costs };
    }
    costs
}

fn pipeline(name: &str, costs: &PipelineCosts, grid: &Grid, n_runs: usize) {
    let judged = judge(costs, grid).unwrap();
    let n_tasks = grid.n_cells() + judged.timeline.transfers(&judged.lowered).count();
    let (median, best, cpu) = runs(n_runs, || {
        black_box(judge(costs, grid).unwrap());
    });
    println!(
        "| {name} | {n_tasks} | {:.1} ms | {:.1} ms | {:.1} ms | {:.1} M | {:.1} M |",
        median * 1e3,
        best * 1e3,
        cpu * 1e3,
        n_tasks as f64 / median / 1e6,
        n_tasks as f64 / cpu / 1e6,
    );
}

fn annotations() {
    println!("\n### Annotating {N_OPS} ops on 16 devices\n");
    println!("| graph | median | best | CPU |\n|---|---|---|---|");
    let folder = tempfile::tempdir().unwrap();
    let cluster = Arc::new(importers::cluster::parse(CLUSTER, "bench", None).unwrap());
    assert_eq!(cluster.n_devices(), 16);
    for shape in [graphs::chain(N_OPS), graphs::layers(N_OPS), graphs::window(N_OPS)] {
        let file = folder.path().join("graph.onnx");
        graphs::write_onnx(&shape, &file).unwrap();
        let import = importers::read(&file, &ImportOptions::default()).unwrap();
        let graph = Arc::new(import.graph);
        let (median, best, cpu) = runs(20, || {
            let annotated = annotate(
                Arc::clone(&graph),
                Arc::clone(&cluster),
                &Profile::default(),
                Workload::default(),
                Objective::STEP_TIME,
                Constraints::default(),
            );
            black_box(annotated.unwrap());
        });
        let [median, best, cpu] = [median, best, cpu].map(|seconds| seconds * 1e3);
        println!("| {} | {median:.1} ms | {best:.1} ms | {cpu:.1} ms |", shape.name);
    }
}

/// Median and best wall time and mean user CPU time of a run, in seconds.
fn runs(n_runs: usize, mut run: impl FnMut()) -> (f64, f64, f64) {
    run();
    let mut walls = Vec::with_capacity(n_runs);
    let before = user_seconds();
    for _ in 0..n_runs {
        let start = Instant::now();
        run();
        walls.push(start.elapsed().as_secs_f64());
    }
    let cpu = (user_seconds() - before) / n_runs as f64;
    walls.sort_by(f64::total_cmp);
    (walls[n_runs / 2], walls[0], cpu)
}

/// User CPU time of this process so far: field 14 of its `stat` file, in ticks of 10 ms
/// (proc(5); USER_HZ is 100 on Linux). Not a number elsewhere.
fn user_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().nth(11).and_then(|ticks| ticks.parse::<f64>().ok());
    ticks.unwrap_or(f64::NAN) / 100.0
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("unknown").to_owned()
}
