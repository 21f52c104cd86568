//! Published throughput of data-parallel training on 8 hosts of 4 V100 beside what buckets are planned:
//! all gradients after the backward pass, each alone (wait-free), by MG-WFBP's rule, in buckets of the
//! best cap, and the best of all.
//!
//! `cargo bench --bench gradients`. Forward : backward is 1 : 2, the backward pass is spread by
//! multiply-adds, a ring sends `2 (P - 1) / P` of 4 bytes an element. `docs/benchmarks.md`.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a bench prints, and stops at the first surprise"
)]

use accuracy::judged::collectives::exchange::{GPUS, Rates, Run, TRAINED, Trained};
use cost_model::given::Goal;
use ir::instance::{Exchange, ExchangeCost, GradientInstance, GradientTensor, Instance};
use planner::given::runner::{Request, solve};
use planner::registry::entries;

/// Of ResNet-50 at 10 Gb/s, fitted to its wait-free rows, in seconds.
const START_UPS_S: Rates = [0.36e-3, 0.55e-3, 0.98e-3];
/// Recipes by column.
const RECIPES: [&str; 5] =
    ["bucket-cap(bytes=1000000000000)", "bucket-cap(bytes=1)", "mg-wfbp", "bucket-cap", "auto"];

fn main() {
    println!(
        "| model, network | GPUs | start-up, ms | no overlap | wait-free | MG-WFBP | best cap | best | \
         efficiency |\n|---|---|---|---|---|---|---|---|---|"
    );
    for trained in &TRAINED {
        let (name, beside) = (trained.name, trained.beside);
        let measured =
            [Some(trained.after), beside.map(|rates| rates.0), beside.map(|rates| rates.1)];
        table(trained, (&format!("{name}, 10 GbE"), 1.25e9), measured);
    }
    for trained in &TRAINED {
        // Nominal rates are not reached: those that the rows without overlap have.
        let rate = if trained.name == "ResNet-50" { 6e9 } else { 5e9 };
        let (wait_free, merged) = trained.fast_beside;
        let measured = [Some(trained.fast_after), Some(wait_free), Some(merged)];
        let name = format!("{}, 100 Gb/s at {} GB/s", trained.name, rate / 1e9);
        table(trained, (&name, rate), measured);
    }
}

fn table(trained: &Trained, (name, rate): (&str, f64), measured: [Option<Rates>; 3]) {
    for (at, gpus) in GPUS.into_iter().enumerate() {
        let run = Run::new(trained, gpus);
        let is_fitted = rate == 1.25e9 && trained.name == "ResNet-50";
        // Of the others by their own wait-free rows, where there are some.
        let fitted = measured[1].filter(|_| !is_fitted);
        let start_up_s =
            fitted.map_or(START_UPS_S[at], |rates| run.start_up_s(run.samples / rates[at], rate));
        let cells = RECIPES.iter().enumerate().map(|(column, recipe)| {
            let planned = run.samples / seconds(&run, (start_up_s, rate), recipe);
            let rates = measured.get(column).copied().flatten();
            let note = rates.map_or_else(String::new, |rates| format!(" ({:.0})", rates[at]));
            (planned, format!("{planned:.0}{note}"))
        });
        let cells: Vec<(f64, String)> = cells.collect();
        let efficiency = 100.0 * cells[4].0 / (gpus * trained.alone);
        let cells: Vec<String> = cells.into_iter().map(|cell| cell.1).collect();
        println!(
            "| {name} | {gpus} | {:.2} | {} | {efficiency:.1} % |",
            start_up_s * 1e3,
            cells.join(" | ")
        );
    }
}

/// Seconds of a step in the buckets of a recipe.
fn seconds(run: &Run, (start_up_s, rate): (f64, f64), recipe: &str) -> f64 {
    let cost = run.cost(start_up_s, rate);
    let forward_s = run.compute_s / 3.0;
    let tensor = |(at, gradient): (usize, &cost_model::links::collective::gradient::Gradient)| {
        GradientTensor {
            name: at.to_string(),
            bytes: gradient.bytes as u64,
            ready_s: gradient.ready_s - forward_s,
        }
    };
    let instance = Instance::Gradients(GradientInstance {
        name: String::new(),
        replicas: 2,
        samples: None,
        forward_s,
        backward_s: run.compute_s - forward_s,
        costs: vec![ExchangeCost {
            exchange: Exchange::AllReduce,
            start_up_s: cost.start_up_s,
            per_byte_s: cost.per_byte_s,
        }],
        lossy: Vec::new(),
        element_bytes: 4,
        tensors: run.gradients.iter().enumerate().map(tensor).collect(),
    });
    let answer = solve(&instance, Goal::StepTime, Some(recipe), &Request::new(entries())).unwrap();
    answer.best.unwrap().0.seconds()
}
