//! Prices of iterations beside compositions of AIConfigurator 0.12.0, whose kernels were measured alone.
//! Prompts are dearer here: products and attention of H100 and H200 at the rate that is left of them in
//! steps of training (`kernels::generation`), a fifth less on long products.

use importers::aiconfigurator::{Named, read, root};
use ir::engine_tables::{EngineTables, NumberFormat};

use super::*;
use crate::serving::aic::{Composition, Worker};

fn tables(name: &str) -> Option<EngineTables> {
    let folder = benchmark_data::aiconfigurator()?;
    Some(read(&root(&folder).unwrap(), &Named::parse(name).unwrap()).unwrap())
}

/// By name seconds of kernels of a prompt, or of a decode step: query heads, hidden size, feed-forward width.
fn ours(
    (model, system, tensor): (&ModelCard, &System, u32),
    (tokens, prompts, cached): (u64, u64, u64),
) -> Vec<(&'static str, f64)> {
    let (stack, card) = (stack(), &model.groups[0].card);
    let prices = LayerPrices {
        system: system.clone(),
        constants: Constants::nominal(&stack),
        stack,
        dtype: DType::Bf16,
    };
    let rates = prices.beside();
    let layers = f64::from(model.n_blocks());
    let parts = u64::from(tensor);
    let (heads, keys) = (card.n_heads / parts * 128, (card.n_kv_heads / parts).max(1) * 128);
    let width = card.feed_forward / parts;
    let product = |n, k| layers * rates.by_weight(1, [tokens, n, k]);
    let attending = Attending::of(&prices, card, Held::default(), tensor);
    let attention_s = match prompts {
        0 => attending.decode_s(tokens, cached * tokens, 1.0),
        n => n as f64 * attending.prompt_s(tokens / n, 0),
    };
    let worker = half(model, system, &Shape::of_tensor(model, tensor));
    let worker = WorkerPrices {
        shared: Shared { overhead: Engine::Vllm.overhead(), ..worker.shared },
        ..worker
    };
    let reduce_s = worker.shared.reduce_s(worker.shared.groups[0], worker.shared.bytes(tokens));
    vec![
        ("query, key, value", product(heads + 2 * keys, card.hidden)),
        (if prompts == 0 { "decode attention" } else { "prefill attention" }, layers * attention_s),
        ("attention output", product(card.hidden, heads)),
        ("attention all-reduce", layers * reduce_s),
        ("feed-forward in", product(2 * width, card.hidden)),
        ("feed-forward out", product(card.hidden, width)),
    ]
}

/// Name, tables, model, host, tensor ranks; requests, tokens of a prompt, and of an output.
type Golden<'a> = (&'a str, &'a str, ModelCard, &'a System, u32, [u64; 3]);

/// Prints and gives the relative error of seconds.
#[allow(clippy::print_stdout, reason = "shows the figures")]
fn error(name: &str, ours: f64, theirs: f64) -> f64 {
    let error = ours / theirs - 1.0;
    println!("{name}: {:.3} of {:.3} ms, {:+.1} %", 1e3 * ours, 1e3 * theirs, 1e2 * error);
    error
}

/// Relative errors of prompts and of a decode step; prints those of their kernels.
fn errors((name, tables, model, system, tensor, sizes): &Golden) -> Option<[f64; 2]> {
    let (tables, [batch, new, output]) = (self::tables(tables)?, *sizes);
    let norms_heads = model.name.starts_with("qwen");
    let worker = Worker { norms_heads, ..Worker::dense(NumberFormat::Bf16, *tensor) };
    let card = &model.groups[0].card;
    let card = TransformerCard { n_layers: model.n_blocks(), ..card.clone() };
    let theirs = Composition::new(&tables, &card, &worker).unwrap();
    let overhead = Overhead { iteration_s: 0.0, layer_s: 0.0, ..Engine::Vllm.overhead() };
    let shape = Shape::of_tensor(model, *tensor);
    let worker = priced((model, DType::Bf16), system, &shape, overhead);
    let (n, each) = (batch.min(8), new + output / 2);
    let chunks = vec![Chunk { new, cached: 0 }; n as usize];
    let whole = Iteration { prompts: chunks, ..Iteration::default() };
    let kernels = [
        (ours((model, system, *tensor), (n * new, n, 0)), theirs.kernels_of_prefill(n, new, 0)),
        (
            ours((model, system, *tensor), (batch, 0, each)),
            theirs.kernels_of_decode(batch, each + 1),
        ),
    ];
    for (kernel, seconds, theirs) in kernels
        .iter()
        .flat_map(|(ours, theirs)| ours.iter().map(move |(kernel, s)| (kernel, s, theirs)))
    {
        if let Some((_, found)) = theirs.iter().find(|(name, _)| name == kernel) {
            error(&format!("{name} {kernel}"), *seconds, found.seconds);
        }
    }
    let [prompts, step] = [theirs.prefill(n, new, 0), theirs.decode(batch, each + 1)];
    Some([
        error(&format!("{name} prompts"), worker.seconds(&whole), prompts.seconds),
        error(&format!("{name} decode"), worker.seconds(&decode(batch, each)), step.seconds),
    ])
}

#[test]
fn prompts_are_dearer_and_tokens_near() {
    let (h200, h100, a100) = (hopper(4.8e12), hopper(3.35e12), a100());
    let cases: [Golden; 5] = [
        ("g1", "h200_sxm/vllm@0.24.0", qwen3_32b(), &h200, 4, [32, 4096, 1024]),
        ("g2", "h200_sxm/vllm@0.24.0", qwen3_32b(), &h200, 1, [1, 4096, 1]),
        ("g3", "h200_sxm/vllm@0.24.0", qwen3_32b(), &h200, 4, [64, 4000, 1000]),
        ("g7", "h100_sxm/vllm", llama31_8b(), &h100, 1, [16, 1024, 128]),
        ("g9", "a100_sxm/vllm", llama31_8b(), &a100, 2, [32, 2048, 512]),
    ];
    for case in cases {
        let Some([prompts, tokens]) = errors(&case) else { return };
        assert!((0.0..0.14).contains(&prompts) && tokens.abs() < 0.07, "{}", case.0);
    }
}
