//! How long the list schedulers take on large graphs. Figures, no limits: run with
//! `cargo test --release -p planner --test speed -- --ignored --nocapture`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

#[path = "worked/sketch.rs"]
mod sketch;

use std::sync::Arc;
use std::time::{Duration, Instant};

use cost_model::problem::Problem;
use planner::placement::{m_etf, m_sct, m_topo};
use planner::recipe::Recipe;
use planner::run::{Request, solve};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use sketch::{Sketch, SketchOp, full_duplex};

const N_OPS: usize = 20_000;
const N_DEVICES: usize = 16;

/// 16 devices that hold `share` / 16 of the total each, ops of 1 to 100 us, tensors of 1 to 100 kB.
fn graph(share: (u64, u64), predecessors: impl Fn(usize, &mut SmallRng) -> Vec<usize>) -> Problem {
    let mut rng = SmallRng::seed_from_u64(7);
    let mut sketch = Sketch::new(1_000.0);
    sketch.links = Some(full_duplex(N_DEVICES, 1_000.0));
    let mut total = 0;
    for number in 0..N_OPS {
        let mut inputs = predecessors(number, &mut rng);
        inputs.sort_unstable();
        inputs.dedup();
        let output = rng.random_range(1_000..100_000);
        let weight = rng.random_range(1_000..1_000_000);
        total += output + weight;
        sketch.ops.push(SketchOp {
            name: format!("o{number}"),
            times: vec![("a".to_owned(), rng.random_range(1_000..100_000))],
            inputs: inputs.into_iter().map(|input| format!("t{input}")).collect(),
            outputs: vec![(format!("t{number}"), output)],
            parameters: vec![(format!("w{number}"), weight)],
            temporary: rng.random_range(0..100_000),
            ..SketchOp::default()
        });
    }
    for _ in 0..N_DEVICES {
        sketch.devices.push(("a".to_owned(), Some(total * share.0 / share.1 / N_DEVICES as u64)));
    }
    sketch.problem()
}

/// Blocks of ten ops: three branches, a join, a residual edge.
fn transformer(number: usize, _: &mut SmallRng) -> Vec<usize> {
    let block = number / 10 * 10;
    match number % 10 {
        0 => number.checked_sub(1).into_iter().collect(),
        1..=3 => vec![block],
        4 => vec![block + 1, block + 2],
        5 => vec![block + 4, block + 3],
        6 => vec![block + 5, block],
        9 => vec![block + 8, block + 6],
        _ => vec![number - 1],
    }
}

fn recent(number: usize, rng: &mut SmallRng) -> Vec<usize> {
    let from = number.saturating_sub(500);
    (0..if number == 0 { 0 } else { 2 }).map(|_| rng.random_range(from..number)).collect()
}

fn layered(number: usize, rng: &mut SmallRng) -> Vec<usize> {
    match (number / 100).checked_sub(1) {
        Some(layer) => (0..2).map(|_| layer * 100 + rng.random_range(0..100)).collect(),
        None => Vec::new(),
    }
}

#[test]
#[ignore = "prints timings"]
fn timings() {
    let roomy = (3, 2);
    // Parameters are nine tenths of the total: little room is left.
    let tight = (92, 100);
    let graphs: [(&str, Problem); 5] = [
        ("transformer chain", graph(roomy, transformer)),
        ("random, last 500", graph(roomy, recent)),
        ("200 layers x 100", graph(roomy, layered)),
        ("random, last 500, tight", graph(tight, recent)),
        ("200 layers x 100, tight", graph(tight, layered)),
    ];
    for (name, problem) in &graphs {
        let started = Instant::now();
        let Ok(placement) = m_topo::solve(problem) else { continue };
        println!("{name}: m-topo {:?}", started.elapsed());
        let started = Instant::now();
        let plan = planner::draft::finish(problem, placement, None);
        println!("{name}: finish {:?}, {}", started.elapsed(), plan.schedule.channels.len());
        let started = Instant::now();
        let verdict = m_etf::solve(problem).map(|(_, schedule)| schedule.after.len());
        println!("{name}: m-etf {:?}, waits: {verdict:?}", started.elapsed());
    }
    for (name, problem) in graphs.clone() {
        for text in ["m-sct", "auto"] {
            let mut request = Request::new(Recipe::parse(text).unwrap());
            request.budget.time = Some(Duration::from_secs(6));
            let started = Instant::now();
            let outcome = solve(Arc::new(problem.clone()), &request, &mut |_| {}).unwrap();
            println!("{name}: {text} {:?}, {}", started.elapsed(), outcome.algorithm);
            for attempt in &outcome.attempts {
                let time = attempt.result.as_ref().map(|plan| plan.step_time.get());
                println!("    {} {time:?} {:?}", attempt.algorithm, attempt.elapsed);
                for step in &attempt.steps {
                    println!("        {} {:?} {:?}", step.row, step.elapsed, step.facts);
                }
            }
        }
    }
    if std::env::var_os("MESHWRIGHT_SPEED_LP").is_some() {
        for (name, problem) in &graphs {
            let started = Instant::now();
            let limit = Duration::from_secs(60);
            let favourites = m_sct::solve(problem, 0.1, Some(limit));
            let n_favourites = favourites.iter().flatten().count();
            println!("{name}: m-sct program {:?}, {n_favourites}", started.elapsed());
        }
    }
}
