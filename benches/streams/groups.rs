//! Attention and experts on devices of their own: what parts and order gain over ping-pong, on random layers
//! and on published sizes by published constants, and how long it takes to plan them.

use std::sync::Arc;
use std::time::Instant;

use cost_model::streams::groups::{Groups, Line, Prices};
use planner::experts::findep::published::{Model, deepseek_v2, qwen3_235b};
use planner::experts::findep::{Planned, Problem, least_s, solve};
use planner::experts::{naive, ping_pong};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// A layer of linear prices, of samples of 4,096 tokens; eight samples fit.
#[derive(Clone)]
struct Drawn {
    layers: [(u32, usize); 1],
    attention: [Line; 2],
    experts: [Line; 2],
}

const TOKENS: u64 = 4096;
const MOST: u64 = 8;

impl Prices for Drawn {
    fn layers(&self) -> &[(u32, usize)] {
        &self.layers
    }

    fn tokens(&self) -> u64 {
        TOKENS
    }

    fn attention_s(&self, _: usize, samples: u64) -> [f64; 2] {
        self.attention.map(|line| line.of(samples * TOKENS))
    }

    fn experts(&self, _: usize, _: Groups) -> Option<[Line; 2]> {
        Some(self.experts)
    }

    fn most_samples(&self, _: Groups) -> u64 {
        MOST
    }
}

/// How seconds are drawn: of a sample's tokens, and of a start-up.
type Draw = fn(&mut SmallRng) -> [f64; 2];

fn uniform(random: &mut SmallRng) -> [f64; 2] {
    [random.random_range(0.2..2.0), random.random_range(0.0..0.2)]
}

fn log_uniform(random: &mut SmallRng) -> [f64; 2] {
    [10_f64.powf(random.random_range(-1.0..1.0)), 10_f64.powf(random.random_range(-3.0..-1.0))]
}

fn each(problem: &Problem) -> [Planned; 3] {
    [solve, ping_pong::solve, naive::solve].map(|row| row(problem).unwrap())
}

/// Prints the tables.
pub(crate) fn print() {
    println!("\n| drawn | layers | p5 | p50 | p95 | most | AASS |");
    println!("|---|---|---|---|---|---|---|");
    for layers in [2, 16, 60] {
        random("uniform", uniform, layers);
        random("log-uniform", log_uniform, layers);
    }
    println!(
        "\n| model | layers | devices | tokens | attention, experts | over ping-pong | over naive | \
         bound | ms |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for devices in [8, 32] {
        for tokens in [1024, 2048, 4096] {
            for layers in [16, 60] {
                published("DeepSeek-V2", &deepseek_v2(layers, tokens, MOST), devices);
            }
            for layers in [48, 94] {
                published("Qwen3-235B", &qwen3_235b(layers, tokens, MOST), devices);
            }
        }
    }
    println!("\npublished gains over ping-pong: 1.02 to 1.61");
}

/// Gains over ping-pong of layers on one device each.
fn random(name: &str, draw: Draw, layers: u32) {
    let mut random = SmallRng::seed_from_u64(u64::from(layers));
    let mut gains = Vec::new();
    let mut n_aass = 0;
    for _ in 0..2000 {
        let mut line = || {
            let [all, start_up_s] = draw(&mut random);
            Line { start_up_s, per_token_s: all / TOKENS as f64, least_s: 0.0 }
        };
        let prices =
            Drawn { layers: [(layers, 0)], attention: [line(), line()], experts: [line(), line()] };
        let problem = Problem {
            prices: Arc::new(prices),
            devices: 2,
            samples: MOST,
            groups: None,
            control: Arc::default(),
        };
        let [planned, ping_pong, _] = each(&problem);
        n_aass += u32::from(planned.split.cut.turns.name() == "aass");
        gains.push(ping_pong.sample_s() / planned.sample_s());
    }
    gains.sort_by(f64::total_cmp);
    let at = |percent: usize| gains[percent * (gains.len() - 1) / 100];
    println!(
        "| {name} | {layers} | {:.2} | {:.2} | {:.2} | {:.2} | {n_aass} of {} |",
        at(5),
        at(50),
        at(95),
        at(100),
        gains.len()
    );
}

fn published(name: &str, model: &Model, devices: u32) {
    let samples = u64::from(devices) * MOST;
    let problem = Problem {
        prices: Arc::new(model.clone()),
        devices,
        samples,
        groups: None,
        control: Arc::default(),
    };
    let mut best_s = f64::INFINITY;
    for _ in 0..5 {
        let start = Instant::now();
        std::hint::black_box(solve(&problem));
        best_s = best_s.min(start.elapsed().as_secs_f64());
    }
    let [own_plan, ping_pong, naive] = each(&problem);
    let sample_s = own_plan.sample_s();
    println!(
        "| {name} | {} | {devices} | {} | {:?} | {:.3} | {:.3} | {:.3} | {:.2} |",
        model.layers[0].0,
        model.tokens,
        own_plan.split.groups,
        ping_pong.sample_s() / sample_s,
        naive.sample_s() / sample_s,
        sample_s / least_s(&problem),
        best_s * 1e3
    );
}
