//! Recorded runs of vLLM, replayed with their arrivals.

use cost_model::numeric::score::score;
use cost_model::runs::forms::system::System;
use cost_model::serving::arrivals::Request;
use cost_model::serving::engine::Engine;
use cost_model::serving::memory::Settings;
use cost_model::serving::replay::{Times, Traffic, replay};
use ir::card::ModelCard;
use ir::tensor::DType;

use super::worker;
use crate::line::Line;

/// The limits that vLLM 0.19 was started with, and its share of memory before 0.22.
const MAX_NUM_SEQS: u64 = 128;
const MAX_TOKENS: u64 = 2_048;
const FRACTION: f64 = 0.9;
const MAX_LENGTH: u64 = 32_768;
/// Seconds to the first iteration up to which a request counts as scheduled at once.
const AT_ONCE_S: f64 = 0.5;
/// Errors to reach in percent: mean TPOT, mean TTFT, that of requests scheduled at once, total time.
const TARGETS: [(&str, f64); 4] = [
    ("TPOT", 5.0),
    ("TTFT", 12.0),
    ("TTFT of requests scheduled at once", 15.0),
    ("total time", 5.0),
];

/// A run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its name.
    pub name: &'static str,
    /// The model.
    pub model: ModelCard,
    /// Tensor ranks.
    pub tensor: u32,
    /// Requests and what happened to them.
    pub requests: Vec<(Request, Times)>,
}

/// Mean TPOT, mean TTFT, mean TTFT of some requests, second of the last token.
fn figures(requests: &[Request], times: &[Times], is_at_once: &[bool]) -> [f64; 4] {
    let ttft = |times: &Times| times.first_token_s - times.arrival_s;
    let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let tokens = requests.iter().zip(times).filter(|(request, _)| request.n_output > 1);
    let tpot = tokens.map(|(request, times)| {
        (times.last_token_s - times.first_token_s) / f64::from(request.n_output - 1)
    });
    let at_once = times.iter().zip(is_at_once).filter(|(_, is_in)| **is_in);
    [
        mean(tpot.collect()),
        mean(times.iter().map(ttft).collect()),
        mean(at_once.map(|(times, _)| ttft(times)).collect()),
        times.iter().map(|times| times.last_token_s).fold(0.0, f64::max),
    ]
}

/// Lines by figure, over all runs; none where a run cannot be replayed.
#[must_use]
pub fn lines(runs: &[Run], system: &System) -> Vec<Line> {
    let mut pairs: [Vec<(f64, f64, &str)>; 4] = Default::default();
    for run in runs {
        let settings = Settings {
            engine: Engine::Vllm,
            fraction: Some(FRACTION),
            max_tokens: MAX_TOKENS,
            max_requests: MAX_NUM_SEQS,
            graph_requests: 2 * MAX_NUM_SEQS,
            max_length: MAX_LENGTH,
        };
        let of = (&run.model, DType::Bf16, run.tensor);
        let Some((price, scheduler)) = worker(of, system, &settings) else {
            continue;
        };
        let (requests, measured): (Vec<Request>, Vec<Times>) = run.requests.iter().copied().unzip();
        let Ok(replay) = replay(&requests, Traffic::Open, &scheduler, &price) else { continue };
        let waits = |times: &Times| times.scheduled_s - times.arrival_s;
        let both = replay.times.iter().zip(&measured);
        let is_at_once: Vec<bool> =
            both.map(|(a, b)| waits(a) < AT_ONCE_S && waits(b) < AT_ONCE_S).collect();
        let [said, found] =
            [&replay.times, &measured].map(|times| figures(&requests, times, &is_at_once));
        for (at, of) in pairs.iter_mut().enumerate() {
            of.push((said[at], found[at], run.name));
        }
    }
    let line = |((what, target), pairs): ((&str, f64), Vec<(f64, f64, &str)>)| {
        let score = score(pairs.into_iter());
        Line {
            table: "serving",
            part: format!("recorded vLLM runs, {what}"),
            way: "nothing fitted",
            target: Some(target),
            note: "each run is one row: its mean".to_owned(),
            score,
            ..Line::default()
        }
    };
    TARGETS.into_iter().zip(pairs).map(line).collect()
}
