//! The KV cache of published start-up logs of vLLM (`tests/data/serving`), beside that of the rule.

use std::collections::BTreeMap;

use ir::card::{ExpertCard, FeedForward, TransformerCard};

use super::*;

/// A table with comments, by column.
fn table(name: &str) -> Vec<BTreeMap<String, String>> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/serving/");
    let text = std::fs::read_to_string(format!("{root}{name}.csv")).unwrap();
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    let row = |line: &str| {
        let fields: Vec<String> = line.split(',').map(str::to_owned).collect();
        assert_eq!(fields.len(), names.len(), "{line}");
        names.iter().map(|name| (*name).to_owned()).zip(fields).collect()
    };
    lines.map(row).collect()
}

fn number(row: &BTreeMap<String, String>, name: &str) -> Option<f64> {
    let text = &row[name];
    (!text.is_empty()).then(|| text.parse().unwrap())
}

/// Cards of `kv_cache_models.csv` by name.
fn models() -> BTreeMap<String, ModelCard> {
    let rows = table("kv_cache_models").into_iter();
    rows.map(|row| (row["model"].clone(), model(&row))).collect()
}

fn model(row: &BTreeMap<String, String>) -> ModelCard {
    let of = |name: &str| number(row, name).unwrap() as u64;
    let latent: Vec<u64> = row["latent"].split(':').map(|part| part.parse().unwrap()).collect();
    let dim = of("head_dim");
    let whole = match latent[..] {
        [key_value_rank, plain, rotary] => {
            Attention::Latent { query_rank: None, key_value_rank, plain, rotary, value: plain }
        }
        _ => Attention::Heads { dim },
    };
    let experts = ExpertCard {
        n_experts: of("experts"),
        per_token: of("per_token"),
        feed_forward: of("expert_width"),
        n_shared: of("shared"),
        ..ExpertCard::default()
    };
    let card = TransformerCard {
        name: row["model"].clone(),
        n_layers: of("layers") as u32,
        hidden: of("hidden"),
        n_heads: of("heads"),
        n_kv_heads: of("kv_heads"),
        feed_forward: of("feed_forward"),
        form: if of("gated") == 1 { FeedForward::Gated } else { FeedForward::Plain },
        sequence: 0,
        vocabulary: of("vocabulary"),
        experts: (experts.n_experts > 0).then_some(experts),
        attention: whole,
        head: if of("tied") == 1 { Head::Tied } else { Head::Separate },
    };
    let (period, tokens) = (of("whole"), of("window"));
    let groups = (0..of("layers")).map(|layer| {
        let is_whole = period == 0 || (layer + 1) % period == 0;
        let attention = if is_whole { whole } else { Attention::Window { dim, tokens } };
        let experts = card.experts.filter(|_| layer >= of("first"));
        let card = TransformerCard { attention, experts, ..card.clone() };
        let other_parameters = of("biases") as i64;
        BlockGroup { other_parameters, ..BlockGroup::of_card(card, 1) }
    });
    ModelCard { groups: groups.collect(), ..ModelCard::uniform(card.clone()) }
}

/// A line whose model has a card, with limits and the total of its device.
struct Line {
    name: String,
    version: String,
    model: ModelCard,
    shape: Shape,
    settings: Settings,
    capacity: f64,
    dtype: DType,
    /// Whether the type of its weights is one of the card's.
    is_of_card: bool,
    weights: f64,
    cache: f64,
    tokens: f64,
}

fn lines() -> Vec<Line> {
    let models = models();
    let of = |row: BTreeMap<String, String>| {
        let number = |name| number(&row, name);
        let model = models.get(&row["model"])?.clone();
        let (tensor, pipeline) = (number("tensor")? as u32, number("pipeline")? as u32);
        let n_layers = model.groups.len() as u32;
        // vLLM gives what is left over to the last stages but one.
        let stages = (0..pipeline).map(|_| n_layers / pipeline).collect();
        let shape = Shape { stages, ..Shape::of_tensor(&model, tensor) };
        let kept = match (row["kv_dtype"].as_str(), row["dtype"].as_str()) {
            ("fp8", _) => Some(CacheType::F8),
            _ => None,
        };
        let model = match kept {
            Some(cache) => {
                let stored = Stored { cache: Some(cache), ..Stored::default() };
                ModelCard { stored: Some(Box::new(stored)), ..model }
            }
            None => model,
        };
        let dtype = match (row["quantization"].as_str(), row["dtype"].as_str()) {
            ("fp8" | "w8a8", _) => DType::F8,
            (_, "float32") => DType::F32,
            _ => DType::Bf16,
        };
        let settings = Settings {
            engine: Engine::Vllm,
            fraction: number("utilization"),
            max_tokens: number("max_num_batched_tokens")? as u64,
            max_requests: number("max_num_seqs")? as u64,
            graph_requests: if counts_graphs(&row["version"]) { 512 } else { 0 },
            max_length: number("max_model_len")? as u64,
        };
        Some(Line {
            name: format!("{} TP {tensor} PP {pipeline} {}", row["model"], row["quantization"]),
            version: row["version"].clone(),
            model,
            shape,
            settings,
            capacity: number("device_gib")? * GIB,
            dtype,
            is_of_card: !matches!(row["quantization"].as_str(), "w4a16" | "mxfp4"),
            weights: number("weights_gib")? * GIB,
            cache: number("cache_gib")? * GIB,
            tokens: number("tokens")?,
        })
    };
    table("kv_cache_lines").into_iter().filter_map(of).collect()
}

/// Versions that leave room for CUDA graphs by default.
fn counts_graphs(version: &str) -> bool {
    minor(version).is_some_and(|minor| minor >= 21)
}

/// The second number of a version.
fn minor(version: &str) -> Option<u32> {
    version.split('.').nth(1)?.parse().ok()
}

/// Versions whose sampling sorts no logits, which the rule is of.
fn is_of_rule(version: &str) -> bool {
    minor(version).is_some_and(|minor| minor >= 17)
}

/// What a line logs beside weights and keys and values, and by the rule.
fn beside(line: &Line, stage: &StageMemory) -> [f64; 2] {
    let terms = [Term::Activations, Term::Graphs, Term::Collectives, Term::Runtime];
    let logged = line.settings.fraction.unwrap() * line.capacity - line.weights - line.cache;
    [logged, terms.iter().map(|term| stage.get(*term) as f64).sum()]
}

#[test]
fn tokens_of_published_logs() {
    let (mut n_lines, mut worst) = (0, 0.0_f64);
    for line in lines().iter().filter(|line| is_of_rule(&line.version)) {
        let of = (&line.model, line.dtype);
        let memory = Memory::of(of, &line.shape, &line.settings, line.capacity as u64);
        let stage = memory.stages.iter().min_by_key(|stage| stage.get(Term::Cache)).unwrap();
        let [logged, ours] = beside(line, stage).map(gib);
        let tokens = memory.start_tokens() as f64 / line.tokens - 1.0;
        println!(
            "{}: {:+.2} % tokens, {ours:.2} of {logged:.2} GiB beside, weights {:.2} of {:.2}",
            line.name,
            100.0 * tokens,
            gib(stage.get(Term::Weights) as f64),
            gib(line.weights),
        );
        n_lines += 1;
        if line.is_of_card {
            worst = worst.max(tokens.abs());
            assert!(tokens.abs() < 0.03, "{}: {tokens}", line.name);
        }
        assert!(
            line.shape.stages.len() > 1 || (ours - logged).abs() < 0.4,
            "{}: {ours} of {logged} GiB",
            line.name
        );
    }
    println!("{n_lines} lines, {:.2} % of tokens at most", 100.0 * worst);
    assert!(n_lines > 40);
}
