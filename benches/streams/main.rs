//! The grid of layers that FSMoE was measured on, by its published constants: what parts gain, and how
//! long it takes to plan all of them; the same of FinDEP's groups of devices ([`groups`]).
//!
//! `cargo bench --bench streams`. The baseline of the paper, Tutel with PipeMoE, has one number of parts
//! of 1, 2, 4 and 8 for both passes, one queue for both kinds of links, and sums up gradients after the
//! layer; a layer's gradients are those of its attention (four times the square of the hidden size, of 4
//! bytes), and what else a layer does is left out. `docs/benchmarks.md`.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a bench prints, and stops at the first surprise"
)]

mod groups;

use std::time::Instant;

use cost_model::streams::moe::{PartTimes, cell};
use cost_model::streams::period::{Period, Step};
use cost_model::streams::replay::replay;
use cost_model::streams::{Order, Resource, Slowdowns};
use planner::experts::dual_batch::eight_steps;
use planner::experts::dynaflow;
use planner::experts::fsmoe::published::{Constants, Shape, TESTBED_B, TOOL, grid, layer, reduce};
use planner::experts::fsmoe::{Score, best};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

fn main() {
    println!("| constants | both links at once | one queue | all | best parts differ | seconds |");
    println!("|---|---|---|---|---|---|");
    for (name, constants) in [("Testbed B", TESTBED_B), ("the tool's", TOOL)] {
        row(name, &constants);
    }
    println!(
        "\npublished (Testbeds A, B): Tutel-Improved 1.09, 1.08; without overlap of both links 1.12, \
         1.16; all 1.18, 1.22; best parts differ in 912 of 1,458"
    );
    groups::print();
    nano_batches();
}

/// Seconds of a layer whose links are one queue.
fn queued_s(times: &PartTimes, n: u32, gradients_s: f64) -> f64 {
    let mut cell = cell(times, n, gradients_s);
    cell.pieces.iter_mut().filter(|piece| piece.stream == 1).for_each(|piece| piece.stream = 2);
    cell.streams[2].order = Order::FirstReady;
    replay(&cell, &Slowdowns::default()).unwrap().seconds()
}

/// The least seconds of a pass whose links are one queue.
fn queued(times: &[PartTimes], gradients_s: f64) -> f64 {
    let each = (1..).zip(times).map(|(n, part)| queued_s(part, n, gradients_s));
    each.fold(f64::INFINITY, f64::min)
}

fn row(name: &str, constants: &Constants) {
    let shapes: Vec<Shape> = grid();
    let (mut planned_s, mut n_differ, mut gains) = (0.0, 0, [0.0; 3]);
    for shape in &shapes {
        let layer = layer(shape, constants, 0);
        let bytes = (4.0 * shape.hidden * shape.hidden * 4.0) as u64;
        let gradients_s = reduce(constants).seconds(bytes);
        let start = Instant::now();
        let (forward, forward_s) = best(&layer.forward, 0.0, Score::Replay);
        let (alone, alone_s) = best(&layer.backward, 0.0, Score::Replay);
        let (_, backward_s) = best(&layer.backward, gradients_s, Score::Replay);
        planned_s += start.elapsed().as_secs_f64();
        n_differ += usize::from(forward != alone);
        let both = |n: u32| {
            let at = n as usize - 1;
            queued_s(&layer.forward[at], n, 0.0) + queued_s(&layer.backward[at], n, 0.0)
        };
        let base_s = [1, 2, 4, 8].map(both).into_iter().fold(f64::INFINITY, f64::min) + gradients_s;
        let beside_s = queued(&layer.forward, 0.0) + queued(&layer.backward, gradients_s);
        gains[0] += base_s / (forward_s + alone_s + gradients_s);
        gains[1] += base_s / beside_s;
        gains[2] += base_s / (forward_s + backward_s);
    }
    let n = shapes.len() as f64;
    println!(
        "| {name} | {:.2} | {:.2} | {:.2} | {n_differ} of {n} | {planned_s:.2} |",
        gains[0] / n,
        gains[1] / n,
        gains[2] / n
    );
}

/// Two nano-batches of 10,000 random layers of four pieces of 0.1 to 10 units, log-uniform: what their
/// best order gains over the eight-step order, and over one after the other.
fn nano_batches() {
    let mut rng = SmallRng::seed_from_u64(1);
    let mut drawn = || 10_f64.powf(rng.random_range(-1.0..1.0));
    let (mut over_steps, mut over_turns, mut planned_s) = (Vec::new(), Vec::new(), Vec::new());
    let mut n_bound = 0;
    for _ in 0..10_000 {
        let chains =
            (0..2).map(|_| (0..4).map(|at| Step { stream: at % 2, seconds: drawn() }).collect());
        let streams = vec![Resource::Compute, Resource::InterNode];
        let period = Period { streams, chains: chains.collect() };
        let start = Instant::now();
        let (_, seconds) = dynaflow::best(&period, &Slowdowns::default(), 2.0).unwrap();
        planned_s.push(start.elapsed().as_secs_f64());
        let usual = period.cycle_s(&eight_steps(), &Slowdowns::default()).unwrap();
        over_steps.push(usual / seconds);
        over_turns.push(period.work_s() / seconds);
        n_bound += usize::from(seconds <= period.bound_s(2.0) * (1.0 + 1e-9));
    }
    println!("\n| nano-batches | p10 | p50 | p90 | greatest | mean |\n|---|---|---|---|---|---|");
    let rows = [("gain over eight steps", over_steps), ("over one after the other", over_turns)];
    for (name, mut values) in rows.into_iter().chain([("seconds of a plan", planned_s)]) {
        values.sort_by(f64::total_cmp);
        let at = |share: f64| values[(share * (values.len() - 1) as f64) as usize];
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let digits = if name.starts_with("seconds") { 6 } else { 3 };
        let figures = [at(0.1), at(0.5), at(0.9), at(1.0), mean];
        let cells = figures.map(|figure| format!("{figure:.digits$}")).join(" | ");
        println!("| {name} | {cells} |");
    }
    println!("\nat the bound: {n_bound} of 10,000");
}
