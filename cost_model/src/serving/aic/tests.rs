use ir::card::{Attention, ExpertCard, FeedForward, Head, Skew};
use ir::engine_tables::{EngineTables, NumberFormat};

use super::*;
use crate::kernels::tables::Class;
use crate::serving::{Iteration, IterationTime};

/// The tables of a system under an engine, where `MESHWRIGHT_AIC` names a folder of the package.
fn tables(name: &str) -> Option<EngineTables> {
    use importers::aiconfigurator::{Named, read, root};
    let folder = benchmark_data::aiconfigurator()?;
    Some(read(&root(&folder).unwrap(), &Named::parse(name).unwrap()).unwrap())
}

/// Invented tables of `tests/data`, as if of vLLM.
fn invented() -> EngineTables {
    use importers::aiconfigurator::{Named, read};
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/aiconfigurator/systems");
    let tables = read(root.as_ref(), &Named::parse("large/one").unwrap()).unwrap();
    EngineTables { engine: "vllm".to_owned(), ..tables }
}

fn small() -> TransformerCard {
    dense("small", [4, 4096, 32, 4, 128, 8192, 32_000])
}

#[test]
fn iterations_of_one_kind_are_steps() {
    let tables = invented();
    let of = Composition::new(&tables, &small(), &Worker::dense(NumberFormat::Bf16, 2)).unwrap();
    let prices = Prices::own(of.clone(), Memo::default());
    let seconds = |prompts: &[(u64, u64)], n_decoding: u64, decoding_cached: u64| {
        let prompts = prompts
            .iter()
            .map(|(new, cached)| crate::serving::Chunk { new: *new, cached: *cached });
        prices.seconds(&Iteration { prompts: prompts.collect(), n_decoding, decoding_cached })
    };
    assert_eq!(seconds(&[], 0, 0), 0.0);
    assert_eq!(seconds(&[], 4, 4 * 1023), of.decode(4, 1024).seconds);
    assert_eq!(seconds(&[(1024, 0)], 0, 0), of.prefill(1, 1024, 0).seconds);
    assert_eq!(seconds(&[(512, 512)], 0, 0), of.prefill(1, 512, 512).seconds);
    let (alone, both) = (seconds(&[(1024, 0)], 0, 0), seconds(&[(1024, 0)], 4, 4 * 1023));
    assert!(both > alone && both < alone + seconds(&[], 4, 4 * 1023));
}

#[test]
fn kernels_of_a_step_have_names_and_times() {
    let fast = invented();
    let of = |tables: &EngineTables| {
        let worker = Worker { norms_heads: true, ..Worker::dense(NumberFormat::Bf16, 2) };
        let of = Composition::new(tables, &small(), &worker).unwrap();
        of.kernels_of_mixed(1024, 3, lengths(1024, 100))
    };
    let names: Vec<&str> = of(&fast).iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), 14, "{names:?}");
    let mut apart: Vec<&str> = names.clone();
    apart.sort_unstable();
    apart.dedup();
    assert_eq!(apart.len(), names.len(), "{names:?}");
    assert!(of(&fast).iter().all(|(_, answer)| answer.seconds > 0.0));
}

#[test]
fn layouts_that_aiconfigurator_does_not_compose_are_refused() {
    let tables = invented();
    let code = |card: &TransformerCard, worker: &Worker| {
        Composition::new(&tables, card, worker).map(|_| ()).unwrap_err().code
    };
    let dense_worker = Worker::dense(NumberFormat::Bf16, 2);
    assert_eq!(code(&small(), &Worker { tensor: 3, ..dense_worker.clone() }), "not-composed");
    assert_eq!(code(&small(), &Worker { tensor: 0, ..dense_worker.clone() }), "not-composed");
    assert_eq!(code(&small(), &Worker { data: 2, ..dense_worker.clone() }), "not-composed");
    let experts = sparse(small(), 128, 8, 768, 0);
    assert_eq!(code(&experts, &Worker { expert: 4, ..dense_worker.clone() }), "not-composed");
    let other = Worker { cache: NumberFormat::Fp8, ..dense_worker.clone() };
    assert_eq!(code(&small(), &other), "not-measured");
    let one = EngineTables { engine: "one".to_owned(), ..invented() };
    assert_eq!(Composition::new(&one, &small(), &dense_worker).unwrap_err().code, "not-composed");
}

fn dense(name: &str, [layers, hidden, heads, kv, dim, inner, words]: [u64; 7]) -> TransformerCard {
    TransformerCard {
        name: name.to_owned(),
        n_layers: u32::try_from(layers).unwrap(),
        hidden,
        n_heads: heads,
        n_kv_heads: kv,
        feed_forward: inner,
        form: FeedForward::Gated,
        sequence: 4096,
        vocabulary: words,
        experts: None,
        attention: Attention::Heads { dim },
        head: Head::Separate,
    }
}

fn sparse(
    card: TransformerCard,
    n: u64,
    per_token: u64,
    inner: u64,
    shared: u64,
) -> TransformerCard {
    let experts = ExpertCard {
        n_experts: n,
        per_token,
        feed_forward: inner,
        n_shared: shared,
        has_biases: false,
        skew: Skew::Balanced,
    };
    TransformerCard { experts: Some(experts), ..card }
}

fn qwen3_32b() -> TransformerCard {
    dense("Qwen3-32B", [64, 5120, 64, 8, 128, 25600, 151_936])
}

fn llama3_8b() -> TransformerCard {
    dense("Llama-3.1-8B", [32, 4096, 32, 8, 128, 14336, 128_256])
}

fn qwen3(tensor: u32) -> Worker {
    Worker { norms_heads: true, ..Worker::dense(NumberFormat::Bf16, tensor) }
}

fn lengths(prompt: u64, generated: u64) -> Lengths {
    Lengths { prompt, generated }
}

/// Holds milliseconds against what AIConfigurator 0.12.0 prints.
#[track_caller]
fn near(what: &str, found: Answer, expected_ms: f64) {
    let found_ms = found.seconds * 1e3;
    let error = found_ms / expected_ms - 1.0;
    println!("{what}: {expected_ms} {found_ms:.3} {:+.3} % {:?}", error * 100.0, found.class);
    assert!(error.abs() <= 0.001, "{what}: {found_ms} instead of {expected_ms}, {:?}", found.class);
}

#[track_caller]
fn figure(what: &str, class: Class, found: f64, expected: f64) {
    near(what, Answer { seconds: found / 1e3, class, source: None }, expected);
}

/// A worker with prompts and decoding requests together: both steps, first token, further tokens in
/// milliseconds, tokens per second and device.
#[track_caller]
fn aggregated(name: &str, of: &Composition, requests: u64, of_length: Lengths, expected: [f64; 5]) {
    let Aggregated { mixed, decode, first_token_s, per_token_s, tokens_per_s, .. } =
        of.aggregated(requests, of_length.prompt, of_length);
    let class = mixed.class.max(decode.class);
    let [mixed_ms, decode_ms, first_ms, per_ms, rate] = expected;
    if mixed_ms > 0.0 {
        near(&format!("{name} mixed step"), mixed, mixed_ms);
        near(&format!("{name} decode step"), decode, decode_ms);
    }
    figure(&format!("{name} first token"), class, first_token_s * 1e3, first_ms);
    figure(&format!("{name} per token"), class, per_token_s * 1e3, per_ms);
    let rate_found = tokens_per_s / f64::from(of.worker.devices());
    figure(&format!("{name} tokens/s"), class, rate_found, rate);
}

#[test]
fn qwen3_32b_on_h200_is_what_aiconfigurator_composes() {
    let Some(tables) = tables("h200_sxm/vllm@0.24.0") else { return };
    let card = qwen3_32b();
    let of = |tensor| Composition::new(&tables, &card, &qwen3(tensor)).unwrap();
    let (one, two, four) = (of(1), of(2), of(4));
    near("g1 prefill", four.prefill(32, 4096, 0), 4125.447);
    near("g1 generation", four.generation(32, lengths(4096, 1024)), 10_311.678);
    near("g2 prefill", one.prefill(1, 4096, 0), 402.234);
    let expected = [134.341, 12.479, 324.697, 20.278, 776.57];
    aggregated("g3", &four, 64, lengths(4000, 1000), expected);
    let prefill = Pool { worker: &two, requests: 1, count: 2 };
    let decode = Pool { worker: &four, requests: 64, count: 1 };
    let found = split(prefill, decode, lengths(4000, 1000));
    let class = Class::Transferred;
    figure("g6 first token", class, found.first_token_s * 1e3, 429.532);
    figure("g6 per token", class, found.per_token_s * 1e3, 13.460);
    figure("g6 requests/s", class, found.requests_per_s, 4.378);
}

/// What AIConfigurator 0.12.0 prints of single kernels, in milliseconds of all blocks.
#[test]
fn kernels_are_what_aiconfigurator_prints() {
    let Some(tables) = tables("h200_sxm/vllm@0.24.0") else { return };
    let card = qwen3_32b();
    let of = |tensor| Composition::new(&tables, &card, &qwen3(tensor)).unwrap();
    let check = |kernels: Vec<(&str, Answer)>, expected: &[(&str, f64, Class)]| {
        for (name, expected_ms, class) in expected {
            let (_, found) = kernels.iter().find(|(found, _)| found == name).unwrap();
            let found_ms = found.seconds * 1e3;
            assert!((found_ms - expected_ms).abs() < 0.000_51, "{name}: {found_ms} {expected_ms}");
            assert_eq!(found.class, *class, "{name}");
        }
    };
    check(
        of(1).kernels_of_prefill(1, 4096, 0),
        &[
            ("embedding", 0.014, Class::Analytic),
            ("norm before attention", 2.988, Class::Analytic),
            ("query, key, value", 36.586, Class::Measured),
            ("prefill attention", 38.604, Class::Measured),
            ("attention output", 25.479, Class::Measured),
            ("feed-forward in", 195.983, Class::Measured),
            ("activation", 10.678, Class::Analytic),
            ("feed-forward out", 88.515, Class::Transferred),
            ("head", 0.399, Class::Transferred),
        ],
    );
    let lengths = lengths(4000, 1000);
    check(
        of(4).kernels_of_mixed(4000, 63, lengths),
        &[
            ("query, key, value", 8.356, Class::Interpolated),
            ("attention all-reduce", 13.652, Class::Interpolated),
            ("head", 0.101, Class::Transferred),
        ],
    );
    check(
        of(4).kernels_of_decode(64, 4501),
        &[
            ("query, key, value", 0.793, Class::Measured),
            ("attention all-reduce", 0.697, Class::Interpolated),
            ("head", 0.108, Class::Transferred),
        ],
    );
}

#[test]
fn qwen3_32b_under_other_engines_is_what_aiconfigurator_composes() {
    for (name, engine, expected) in [
        ("g4", "trtllm", [138.475, 13.040, 553.899, 20.715, 3034.73 / 4.0]),
        ("g5", "sglang", [136.856, 11.698, 547.424, 19.355, 3244.17 / 4.0]),
    ] {
        let Some(tables) = tables(&format!("h200_sxm/{engine}")) else { return };
        let of = Composition::new(&tables, &qwen3_32b(), &qwen3(4)).unwrap();
        aggregated(name, &of, 64, lengths(4000, 1000), expected);
    }
}

#[test]
fn llama_on_h100_and_a100_is_what_aiconfigurator_composes() {
    let Some(h100) = tables("h100_sxm/vllm") else { return };
    let card = llama3_8b();
    let one = Composition::new(&h100, &card, &Worker::dense(NumberFormat::Bf16, 1)).unwrap();
    let expected = [24.256, 7.564, 74.784, 9.651, 1562.57];
    aggregated("g7", &one, 16, lengths(1024, 128), expected);
    let expected = [22.109, 6.184, 47.709, 6.184, 152.44];
    aggregated("g8", &one, 1, lengths(1024, 128), expected);
    let Some(a100) = tables("a100_sxm/vllm") else { return };
    let two = Composition::new(&a100, &card, &Worker::dense(NumberFormat::Bf16, 2)).unwrap();
    aggregated("g9", &two, 32, lengths(2048, 512), [0.0, 0.0, 173.893, 14.835, 1054.32]);
}

/// DeepSeek-V3 on eight devices.
fn deepseek(tensor: u32, data: u32) -> (TransformerCard, Worker) {
    let card = dense("DeepSeek-V3", [61, 7168, 128, 128, 128, 18432, 129_280]);
    let attention = Attention::Latent {
        query_rank: Some(1536),
        key_value_rank: 512,
        plain: 128,
        rotary: 64,
        value: 128,
    };
    let worker = Worker {
        data,
        expert_tensor: 1,
        expert: 8,
        weights: NumberFormat::Fp8Block,
        expert_weights: NumberFormat::Fp8Block,
        cache: NumberFormat::Fp8,
        load: String::from("power_law_1.01"),
        ..Worker::dense(NumberFormat::Bf16, tensor)
    };
    (TransformerCard { attention, ..sparse(card, 256, 8, 2048, 1) }, worker)
}

#[test]
fn latent_attention_is_what_aiconfigurator_composes() {
    for (engine, layout, expected) in [
        ("vllm", (1, 8), [1201.821, 44.069, 2032.258, 81.117, 384.84]),
        ("vllm", (8, 1), [237.591, 27.419, 465.386, 34.145, 115.57]),
        ("trtllm", (1, 8), [836.195, 39.656, 2884.872, 62.826, 490.72]),
        ("trtllm", (8, 1), [162.294, 22.816, 559.915, 26.873, 146.48]),
    ] {
        let Some(tables) = tables(&format!("h200_sxm/{engine}")) else { return };
        let (card, worker) = deepseek(layout.0, layout.1);
        let of = Composition::new(&tables, &card, &worker).unwrap();
        aggregated(&format!("{engine} {layout:?}"), &of, 32, lengths(4000, 1000), expected);
    }
}

#[test]
fn mixtures_of_experts_are_what_aiconfigurator_composes() {
    let Some(sglang) = tables("h200_sxm/sglang") else { return };
    let card = dense("Qwen3-235B-A22B", [94, 4096, 64, 4, 128, 12288, 151_936]);
    let worker = Worker {
        data: 2,
        expert_tensor: 1,
        expert: 8,
        weights: NumberFormat::Fp8Block,
        expert_weights: NumberFormat::Fp8Block,
        attention: NumberFormat::Fp8,
        cache: NumberFormat::Fp8,
        ..qwen3(4)
    };
    let of = Composition::new(&sglang, &sparse(card, 128, 8, 1536, 0), &worker).unwrap();
    let expected = [221.734, 20.585, 764.983, 26.436, 295.76];
    aggregated("g10", &of, 32, lengths(4000, 1000), expected);
    let (card, worker) = deepseek(1, 8);
    let of = Composition::new(&sglang, &card, &worker).unwrap();
    let expected = [1236.413, 55.168, 4265.626, 89.527, 343.86];
    aggregated("g11", &of, 32, lengths(4000, 1000), expected);
    let Some(vllm) = tables("h100_sxm/vllm") else { return };
    let card = dense("Qwen3-30B-A3B", [48, 2048, 32, 4, 128, 6144, 151_936]);
    let worker = Worker { expert_tensor: 1, expert: 2, ..qwen3(2) };
    let of = Composition::new(&vllm, &sparse(card, 128, 8, 768, 0), &worker).unwrap();
    let expected = [26.662, 14.923, 113.858, 15.656, 2029.48];
    aggregated("g12", &of, 64, lengths(1024, 1024), expected);
}
