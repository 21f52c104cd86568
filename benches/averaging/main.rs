//! How long it takes to plan rounds of gossip, and queues of tasks on unlike devices, and how near to the
//! bound the plans are.
//!
//! `cargo bench --bench averaging`. Rates and sizes are drawn; the least of five runs each, on one thread.
//! `docs/benchmarks.md`.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a bench prints, and stops at the first surprise"
)]

use std::time::Instant;

use cost_model::given::Goal;
use ir::instance::{AveragingInstance, Instance, Peers, Task, TaskInstance, TaskRun};
use planner::given::runner::{Request, solve};
use planner::registry::entries;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Runs of each.
const RUNS: usize = 5;

fn main() {
    println!("| what | planning | above the bound by at most |\n|---|---|---|");
    let mut draw = SmallRng::seed_from_u64(1);
    for (n, rounds, share) in
        [(14, 2, 1.0), (100, 2, 1.0), (100, 10, 1.0), (100, 4, 0.1), (99, 4, 1.0), (99, 2, 0.1)]
    {
        let name = format!("{rounds} rounds of {n} nodes, {:.0} % of all links", share * 100.0);
        let instance = Instance::Averaging(averaging(&mut draw, (n, rounds, share)));
        row(&name, &instance, Goal::SlowestRound);
    }
    for (n, k, is_alike) in [(1000, 32, true), (1000, 32, false), (10_000, 32, false)] {
        let what = if is_alike { "equal" } else { "unlike" };
        let instance = Instance::Tasks(tasks(&mut draw, (n, k), is_alike));
        row(&format!("{n} tasks on {k} {what} devices"), &instance, Goal::Makespan);
    }
}

fn row(name: &str, instance: &Instance, goal: Goal) {
    let timed = || {
        let start = Instant::now();
        let answer = solve(instance, goal, None, &Request::new(entries())).unwrap();
        (start.elapsed().as_secs_f64(), answer)
    };
    let runs: Vec<_> = (0..RUNS).map(|_| timed()).collect();
    let least_s = runs.iter().map(|run| run.0).fold(f64::INFINITY, f64::min);
    let answer = &runs[0].1;
    let gap = match &answer.best {
        Some((value, _)) => {
            let over = value.seconds() / answer.bound.value.seconds() - 1.0;
            if answer.is_proved {
                "0 (proved)".to_owned()
            } else {
                format!("{:.2} %", over * 100.0)
            }
        }
        None => "none found".to_owned(),
    };
    println!("| {name} | {:.1} ms | {gap} |", least_s * 1e3);
}

/// Nodes of which some reach each other, at 1 to 98 MB/s one way and the other.
fn averaging(draw: &mut SmallRng, (n, rounds, share): (usize, usize, f64)) -> AveragingInstance {
    let mut bytes_per_s = vec![0.0; n * n];
    for a in 0..n {
        for b in 0..a {
            // A ring of all is there, so that rounds join all.
            if a - b == 1 || a - b == n - 1 || draw.random_bool(share) {
                bytes_per_s[a * n + b] = draw.random_range(1e6..98e6);
                bytes_per_s[b * n + a] = draw.random_range(1e6..98e6);
            }
        }
    }
    AveragingInstance {
        name: String::new(),
        nodes: (0..n).map(|node| node.to_string()).collect(),
        bytes: vec![100_000_000; n],
        kept: 0.01,
        peers: Peers::Pairs { bytes_per_s, rounds },
    }
}

/// Devices of half to three seconds a unit, and up to two at the start of each task; or a second a unit.
fn tasks(draw: &mut SmallRng, (n, k): (usize, usize), is_alike: bool) -> TaskInstance {
    let mut history = Vec::new();
    for device in 0..k {
        let (slope, start) = match is_alike {
            true => (1.0, 0.0),
            false => (draw.random_range(0.5..3.0), draw.random_range(0.0..2.0)),
        };
        let run = |size: f64| TaskRun { device, size, seconds: start + slope * size };
        history.extend([1.0, 4.0].map(run));
    }
    let task = |index: usize| Task { name: index.to_string(), size: draw.random_range(0.1..10.0) };
    TaskInstance {
        name: String::new(),
        devices: (0..k).map(|device| device.to_string()).collect(),
        tasks: (0..n).map(task).collect(),
        history,
    }
}
