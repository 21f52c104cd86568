//! The model in Megatron's flags is the model of the config: its parameters, counted from the flags alone
//! by formulas of this file, are those that transformers counts.

use std::collections::BTreeMap;
use std::path::Path;

use cost_model::kernels::stack::megatron_core;
use exporters::runs::export;
use exporters::training::{Blocks, TrainingSource};
use importers::config::{card, hyperparameters};
use ir::card::Recompute;
use ir::diagnostic::Diagnostic;
use ir::plan::{Parallelism, Partition, Plan, Stage};
use ir::tensor::DType;
use ir::workload::Optimizer;

use crate::data;

/// Megatron's flags of a model on one device, and what is warned about.
pub(crate) fn on_one_device(config: &Path, sequence_length: u64) -> (String, Vec<Diagnostic>) {
    let (model, _) = card::card(config, Some(sequence_length)).unwrap();
    let hyperparameters = hyperparameters::read(config).unwrap();
    let stage = Stage {
        ops: Vec::new(),
        blocks: 0..model.n_blocks(),
        recompute: Recompute::None,
        each: Vec::new(),
        mesh: None,
    };
    let plan = Plan {
        parallelism: Parallelism { n_micro_batches: 1, micro_batch: 1, ..Parallelism::default() },
        partition: Partition { stages: vec![stage] },
        placement: Default::default(),
        schedule: Default::default(),
    };
    let source = TrainingSource {
        version: "",
        plan: &plan,
        schedule: "1f1b",
        sequence_length,
        model: &model,
        hyperparameters: Some(&hyperparameters),
        dtype: DType::Bf16,
        optimizer: Optimizer::AdamW,
        stack: &megatron_core(),
        offloads: false,
        blocks: Blocks::Layers,
        starts: &[],
        places: &[],
    };
    let file = export("megatron", &source).unwrap();
    (String::from_utf8(file.bytes).unwrap(), file.warnings)
}

/// Flags of a model on one device, by name.
fn flags(config: &Path) -> BTreeMap<String, String> {
    let (text, warnings) = on_one_device(config, 2_048);
    assert_eq!(warnings, [], "{}", config.display());
    let lines = text.lines().map(|line| line.split_once(' ').unwrap_or((line, "")));
    lines.map(|(flag, value)| (flag.to_owned(), value.to_owned())).collect()
}

/// Parameters of the model that Megatron's GPT builds of such flags (`gpt_model.py`, d98e8a64), modules
/// that predict a later token left out, as transformers leaves them out.
fn parameters(flags: &BTreeMap<String, String>) -> u64 {
    let has = |name: &str| flags.contains_key(&format!("--{name}"));
    let n = |name: &str| flags.get(&format!("--{name}")).map_or(0, |v| v.parse::<u64>().unwrap());
    let (h, heads, layers) = (n("hidden-size"), n("num-attention-heads"), n("num-layers"));
    let norm = if flags["--normalization"] == "RMSNorm" { h } else { 2 * h };
    let has_biases = !has("disable-bias-linear");
    let of = |is: bool, count: u64| if is { count } else { 0 };
    let attention = if has("multi-latent-attention") {
        let (key, value) = (n("qk-head-dim") + n("qk-pos-emb-head-dim"), n("v-head-dim"));
        let (q, kv) = (n("q-lora-rank"), n("kv-lora-rank"));
        let queries = if q > 0 { h * q + q + q * heads * key } else { h * heads * key };
        let narrow = h * (kv + n("qk-pos-emb-head-dim")) + kv;
        queries + narrow + kv * heads * (n("qk-head-dim") + value) + heads * value * h
    } else {
        let dim = n("kv-channels");
        let groups = if has("group-query-attention") { n("num-query-groups") } else { heads };
        let (q, kv) = (heads * dim, 2 * groups * dim);
        let biases = of(has_biases || has("add-qkv-bias"), q + kv) + of(has_biases, h);
        let sinks = of(has("softmax-type"), heads);
        2 * h * q + h * kv + biases + of(has("qk-layernorm"), 2 * dim) + sinks
    };
    let gates = if has("swiglu") || has("quick-geglu") { 2 } else { 1 };
    let inner = |f: u64| (gates + 1) * h * f + of(has_biases, gates * f + h);
    let dense = inner(n("ffn-hidden-size"));
    let experts = n("num-experts");
    let shared = n("moe-shared-expert-intermediate-size");
    // The bias of a router beside sigmoids is no parameter.
    let mixture = experts * inner(n("moe-ffn-hidden-size"))
        + h * experts
        + of(has_biases, experts)
        + of(shared > 0, inner(shared));
    // `([0]*3+[1]*58)`
    let n_mixtures = match flags.get("--moe-layer-freq") {
        Some(text) => {
            let runs = text.trim_matches(['(', ')']).split('+');
            let runs = runs.map(|run| run.split_once('*').unwrap());
            runs.filter(|(kind, _)| *kind == "[1]").map(|(_, n)| n.parse::<u64>().unwrap()).sum()
        }
        None if experts > 0 => layers,
        None => 0,
    };
    let blocks =
        layers * (attention + 2 * norm) + n_mixtures * mixture + (layers - n_mixtures) * dense;
    let tables = if has("untie-embeddings-and-output-weights") { 2 } else { 1 };
    let positions = match flags["--position-embedding-type"].as_str() {
        "learned_absolute" => n("max-position-embeddings") * h,
        _ => 0,
    };
    blocks + tables * n("vocab-size") * h + positions + norm
}

/// Totals of the published checkpoints.
#[test]
fn flags_of_published_models_count_their_parameters() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/models");
    for (name, total) in [("llama-2-70b", 68_976_648_192), ("qwen3-30b-a3b", 30_532_122_624)] {
        let flags = flags(&root.join(format!("{name}.json")));
        assert_eq!(parameters(&flags), total, "{name}: {flags:?}");
    }
    let latent = flags(&root.join("deepseek-v3.json"));
    assert_eq!(latent["--moe-layer-freq"], "([0]*3+[1]*58)");
    assert_eq!(latent["--mtp-num-layers"], "1");
}

/// Parameters that transformers counts of models built of configs.
#[test]
fn flags_of_families_count_what_transformers_counts() {
    let Some(folder) = data::folder() else { return };
    let folder = folder.join("models/hf_families");
    let text = std::fs::read_to_string(folder.join("parameters.json")).unwrap();
    let counts: serde_json::Value = serde_json::from_str(&text).unwrap();
    let families =
        ["llama", "mistral", "mixtral", "qwen2", "qwen3", "qwen3_moe", "deepseek_v3", "gpt_oss"];
    for name in families {
        let flags = flags(&folder.join(format!("{name}.json")));
        assert_eq!(
            Some(parameters(&flags)),
            counts[name]["parameters"].as_u64(),
            "{name}: {flags:?}"
        );
    }
}
