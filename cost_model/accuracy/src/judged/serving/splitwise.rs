//! Single iterations of a vLLM of 2023 without CUDA graphs on A100 (Patel et al., arXiv:2311.18677).

use std::collections::BTreeMap;

use cost_model::numeric::score::{Score, score};
use cost_model::runs::forms::constants::Constants;
use cost_model::runs::forms::model::Pricing;
use cost_model::runs::forms::system::System;
use cost_model::serving::engine::{Engine, Overhead, stack};
use cost_model::serving::iteration::WorkerPrices;
use cost_model::serving::worker::Shape;
use cost_model::serving::{Chunk, Iteration, IterationTime};
use ir::card::ModelCard;

use crate::line::{Bound, Goal, Line};

/// The row that the host's time of a layer is taken from: model, ranks, prompt, batch, output.
const GIVEN: (&str, u32, u64, u64, u64) = ("llama2-70b", 8, 512, 1, 128);
/// Median error to reach, in percent.
const MOST: f64 = 8.0;

/// Model, tensor ranks, tokens of a prompt, requests, tokens of an output.
pub type Key = (String, u32, u64, u64, u64);

fn iterations((_, _, new, batch, output): &Key) -> [Iteration; 2] {
    let chunks = vec![Chunk { new: *new, cached: 0 }; *batch as usize];
    let n_decoding = *batch;
    let decoding_cached = batch * (new + output / 2);
    [
        Iteration { prompts: chunks, ..Iteration::default() },
        Iteration { n_decoding, decoding_cached, ..Iteration::default() },
    ]
}

/// Prices by model and tensor ranks.
fn prices<'r>(
    rows: &'r BTreeMap<Key, [f64; 2]>,
    models: &BTreeMap<String, ModelCard>,
    (system, overhead): (&System, Overhead),
) -> BTreeMap<(&'r str, u32), WorkerPrices> {
    let stack = stack();
    let constants = Constants::nominal(&stack);
    let mut prices: BTreeMap<(&str, u32), WorkerPrices> = BTreeMap::new();
    for (name, tensor, ..) in rows.keys() {
        let at = (name.as_str(), *tensor);
        let Some(model) = models.get(name).filter(|_| !prices.contains_key(&at)) else { continue };
        let base = Pricing::unlimited(model, system, &stack, &constants);
        let shape = Shape { tensor: *tensor, ..Shape::one(model) };
        if let Ok(price) = WorkerPrices::new(&base, &shape, overhead) {
            prices.insert(at, price);
        }
    }
    prices
}

/// Lines of prompts and of tokens: by key the medians of their seconds. The prompt of one group is a slip of
/// its source, 64 prompts on two devices in an eighth of the time of 32, and is left out.
#[must_use]
pub fn lines(
    rows: &BTreeMap<Key, [f64; 2]>,
    models: &BTreeMap<String, ModelCard>,
    system: &System,
) -> Vec<Line> {
    let is_given = |(name, tensor, new, batch, output): &Key| {
        (name.as_str(), *tensor, *new, *batch, *output) == GIVEN
    };
    let Some((given, host)) = rows.iter().find(|(key, _)| is_given(key)) else { return Vec::new() };
    let Some(layers) = models.get(&given.0).map(|model| f64::from(model.n_blocks())) else {
        return Vec::new();
    };
    let overhead = Overhead {
        iteration_s: 0.0,
        layer_s: host[1] / layers,
        graph_requests: 0,
        small_reduce: None,
        hopper_decode: None,
        mixed_rows: 1,
        ..Engine::Vllm.overhead()
    };
    let prices = prices(rows, models, (system, overhead));
    let scored = |at: usize, is_out: &dyn Fn(&Key) -> bool| -> Score {
        let judged = rows.iter().filter(|(key, _)| !is_out(key));
        score(judged.filter_map(|(key, seconds)| {
            let (name, tensor, new, batch, _) = key;
            let said = prices.get(&(name.as_str(), *tensor))?.seconds(&iterations(key)[at]);
            Some((said, seconds[at], format!("{name} t{tensor} {new} x{batch}")))
        }))
    };
    let is_faulty = |key: &Key| key.0 == GIVEN.0 && (key.1, key.3) == (2, 64);
    vec![
        line(
            "prompts",
            scored(0, &is_faulty),
            "iterations of more than 2,048 tokens took up to twice as long on 4 and 8 devices, at less power, \
             alone and in batches alike: devices waited, for what is not known",
        ),
        line("tokens", scored(1, &is_given), "the host time of a layer is that of one row"),
    ]
}

fn line(what: &str, score: Score, note: &str) -> Line {
    let figure = score.median;
    Line {
        table: "serving",
        part: format!("Splitwise A100, {what}"),
        way: "nothing fitted",
        score,
        goals: vec![Goal { what: "median error", figure, bound: Some(Bound::AtMost(MOST)) }],
        note: note.to_owned(),
        ..Line::default()
    }
}
