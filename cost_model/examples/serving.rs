//! How fast the replay of continuous batching is, and what recorded runs of vLLM say of it:
//! `MESHWRIGHT_DATA=../shared cargo run --release -p cost_model --example serving`. Prices are those of
//! data sheets; nothing is fitted.
#![allow(clippy::print_stdout, reason = "an example")]

use std::time::Instant;

use cost_model::serving::arrivals::{Length, Request, Spacing, at_rate};
use cost_model::serving::fault::Fault;
use cost_model::serving::replay::{Scheduler, Traffic, capacity, replay};
use cost_model::serving::{Iteration, IterationTime, closed_form};

/// Seconds of an iteration, of a token in it, and of a cached one that is read.
struct Price(f64, f64, f64);

impl IterationTime for Price {
    fn seconds(&self, iteration: &Iteration) -> f64 {
        let cached = self.2 * iteration.decoding_cached as f64;
        self.0 + self.1 * iteration.n_tokens() as f64 + cached
    }
}

fn main() -> Result<(), Fault> {
    speed()?;
    let Some(folder) = benchmark_data::folder() else { return Ok(()) };
    // Bytes of weights and of a cached token, devices.
    let runs = [("llama-3.1-8b", 16.06e9, 131_072.0, 1.0), ("qwen3-32b", 65.52e9, 262_144.0, 2.0)];
    for (name, weights, cached, n_devices) in runs {
        let file = format!("data/serving/vllm_requests_rtxpro6000_{name}.csv");
        let text = std::fs::read_to_string(folder.join(file)).unwrap_or_default();
        recorded(name, &text, [weights / n_devices, cached / n_devices])?;
    }
    Ok(())
}

fn speed() -> Result<(), Fault> {
    let price = Price(0.009, 3.2e-5, 7.3e-8);
    let length = |n_input, n_output, share| Length { n_input, n_output, share };
    let mix = [length(1_024, 256, 1.0), length(300, 600, 1.0), length(4_000, 100, 0.5)];
    println!("seqs  load  requests  ms/1,000  rounds/request  form, ms  TTFT: replay, form");
    for (seqs, load, n) in
        [(256, 0.05, 1_000_000), (256, 0.7, 1_000), (256, 0.7, 1_000_000), (1_024, 0.9, 1_000_000)]
    {
        let scheduler = Scheduler::vllm(seqs, 8_192, 40_000);
        let rate = load * capacity(&mix, &scheduler, &price)?;
        let requests = at_rate(&mix, rate, Spacing::Poisson, n, 1)?;
        let begin = Instant::now();
        let run = replay(&requests, Traffic::Open, &scheduler, &price)?;
        let replay_s = begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        let form = closed_form::at_rate(&mix, rate, &scheduler, &price)?;
        let form_s = begin.elapsed().as_secs_f64();
        let first = run.summary(&requests, 0..n).map_or(0.0, |summary| summary.ttft.mean());
        println!(
            "{seqs:>4} {load:>5} {n:>9} {:>9.3} {:>15.2} {:>9.3}  {first:.4} {:.4}",
            replay_s * 1e6 / n as f64,
            run.n_rounds as f64 / n as f64,
            form_s * 1e3,
            form.ttft_s
        );
    }
    Ok(())
}

/// RTX PRO 6000 Blackwell: bytes/s of its memory, FLOP/s of bf16 products.
const MEMORY: f64 = 1.792e12;
const PRODUCTS: f64 = 5.0e14;

fn recorded(name: &str, text: &str, [weights, cached]: [f64; 2]) -> Result<(), Fault> {
    let row = |line: &str| -> Vec<f64> {
        line.split(',').map(|value| value.parse().unwrap_or(f64::NAN)).collect()
    };
    let rows: Vec<Vec<f64>> = text.lines().skip(1).map(row).collect();
    let request = |row: &Vec<f64>| Request {
        n_input: row[0] as u32,
        n_output: row[1] as u32,
        arrival_s: row[2],
    };
    let requests: Vec<Request> = rows.iter().map(request).collect();
    let mean = |of: fn(&Vec<f64>) -> f64| rows.iter().map(of).sum::<f64>() / rows.len() as f64;
    let first = mean(|row| row[5] - row[2]);
    let token = mean(|row| (row[6] - row[5]) / (row[1] - 1.0));
    let total = rows.iter().map(|row| row[6]).fold(0.0, f64::max);
    println!("{name}: measured TTFT {first:.3} s, TPOT {token:.5} s, total {total:.2} s");
    for (what, cached) in [("weights and products", 0.0), ("and cached tokens", cached)] {
        let price = Price(weights / MEMORY, weights / PRODUCTS, cached / MEMORY);
        let scheduler = Scheduler::vllm(128, 2_048, 32_768);
        let run = replay(&requests, Traffic::Open, &scheduler, &price)?;
        let Some(summary) = run.summary(&requests, 0..requests.len()) else { continue };
        let tokens = summary.tpot.map_or(0.0, |tpot| tpot.mean());
        let error = |said: f64, measured: f64| 100.0 * (said / measured - 1.0);
        println!(
            "  {what}: TTFT {:.3} ({:+.1} %), TPOT {tokens:.5} ({:+.1} %), total {:.2} ({:+.1} %)",
            summary.ttft.mean(),
            error(summary.ttft.mean(), first),
            error(tokens, token),
            run.total_s,
            error(run.total_s, total)
        );
    }
    Ok(())
}
