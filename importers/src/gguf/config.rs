//! The `config.json` that a GGUF header stands for: the same numbers under the names of Transformers, so that
//! one reader makes cards of both.

use ir::diagnostic::Diagnostic;
use serde_json::{Map, Value as Json, json};

use super::wire::{Header, Tensor, Value};

/// Architectures by their names in GGUF files (`LLM_ARCH_NAMES` of llama.cpp), with the model type of their
/// configs; a mixture of experts may have another.
const ARCHITECTURES: [(&str, &str, &str); 10] = [
    ("llama", "llama", "mixtral"),
    ("qwen2", "qwen2", "qwen2"),
    ("qwen2moe", "qwen2_moe", "qwen2_moe"),
    ("qwen3", "qwen3", "qwen3"),
    ("qwen3moe", "qwen3_moe", "qwen3_moe"),
    ("gpt2", "gpt2", "gpt2"),
    ("bert", "bert", "bert"),
    ("gpt-oss", "gpt_oss", "gpt_oss"),
    ("deepseek", "deepseek", "deepseek"),
    ("deepseek2", "deepseek_v2", "deepseek_v2"),
];

/// Numbers that go over as they are: of the architecture in a GGUF file, and of a config.
const NUMBERS: [(&str, &str); 20] = [
    ("embedding_length", "hidden_size"),
    ("attention.head_count", "num_attention_heads"),
    ("attention.head_count_kv", "num_key_value_heads"),
    ("feed_forward_length", "intermediate_size"),
    ("context_length", "max_position_embeddings"),
    ("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
    ("rope.freq_base", "rope_theta"),
    ("attention.sliding_window", "sliding_window"),
    ("expert_used_count", "num_experts_per_tok"),
    ("expert_feed_forward_length", "moe_intermediate_size"),
    ("expert_shared_feed_forward_length", "shared_expert_intermediate_size"),
    ("expert_shared_count", "n_shared_experts"),
    ("leading_dense_block_count", "first_k_dense_replace"),
    ("nextn_predict_layers", "num_nextn_predict_layers"),
    ("expert_weights_scale", "routed_scaling_factor"),
    ("attention.q_lora_rank", "q_lora_rank"),
    ("attention.kv_lora_rank", "kv_lora_rank"),
    ("rope.dimension_count", "qk_rope_head_dim"),
    ("expert_group_count", "n_group"),
    ("expert_group_used_count", "topk_group"),
];

/// What a sigmoid over experts is called (`LLAMA_EXPERT_GATING_FUNC_TYPE_SIGMOID`).
const SIGMOID: u64 = 2;

impl Header {
    fn text(&self, key: &str) -> Option<&str> {
        match self.values.get(key) {
            Some(Value::Text(Some(text))) => Some(text),
            _ => None,
        }
    }

    pub(super) fn whole(&self, key: &str) -> Option<u64> {
        match self.values.get(key) {
            Some(Value::Whole(n)) => Some(*n),
            _ => None,
        }
    }

    /// A tensor by its name.
    pub(super) fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }

    fn has(&self, end: &str) -> bool {
        self.tensors.iter().any(|tensor| tensor.name.ends_with(end))
    }
}

/// A number of a config; of a list with equal entries that one.
fn number(key: &str, value: &Value) -> Result<Option<Json>, Diagnostic> {
    Ok(match value {
        Value::Whole(n) => Some(json!(n)),
        Value::Real(n) => Some(json!(n)),
        Value::List(_, few) => {
            let first = few.first();
            if few.iter().any(|other| Some(other) != first) {
                let message = format!("`{key}` differs by layer, which no card of a model says");
                return Err(Diagnostic::input("unlike-layers", message)
                    .hint("give the config.json of the model instead"));
            }
            first.map(|value| number(key, value)).transpose()?.flatten()
        }
        _ => None,
    })
}

/// The config of a header, with the type that most of its plain weights have.
///
/// # Errors
/// `missing-field`, `unknown-architecture`, `unlike-layers`.
pub(super) fn config(header: &Header) -> Result<Map<String, Json>, Diagnostic> {
    let missing = |key: &str| {
        let message = format!("the header states no `{key}`");
        Diagnostic::input("missing-field", message).hint("convert the model again")
    };
    let key = "general.architecture";
    let architecture = header.text(key).ok_or_else(|| missing(key))?;
    let known = ARCHITECTURES.iter().find(|row| row.0 == architecture).ok_or_else(|| {
        let shown: String = architecture.chars().take(40).collect();
        let known = ARCHITECTURES.map(|row| row.0).join(", ");
        Diagnostic::input("unknown-architecture", format!("GGUF files of `{shown}` are not read"))
            .hint(format!("read are {known}; for others give config.json and --quantization"))
    })?;
    let of = |name: &str| format!("{architecture}.{name}");
    let n_experts = header.whole(&of("expert_count")).filter(|n| *n > 0);
    let is_sigmoid = header.whole(&of("expert_gating_func")) == Some(SIGMOID);
    let model_type = match (n_experts, is_sigmoid && known.0 == "deepseek2") {
        (_, true) => "deepseek_v3",
        (Some(_), _) => known.2,
        (None, _) => known.1,
    };
    let mut fields = Map::new();
    fields.insert("model_type".to_owned(), json!(model_type));
    for (name, field) in NUMBERS {
        let key = of(name);
        let value = header.values.get(&key).map(|value| number(&key, value)).transpose()?;
        fields.extend(value.flatten().map(|value| (field.to_owned(), value)));
    }
    let blocks = header.whole(&of("block_count")).ok_or_else(|| missing(&of("block_count")))?;
    let later = header.whole(&of("nextn_predict_layers")).unwrap_or(0);
    fields.insert("num_hidden_layers".to_owned(), json!(blocks.saturating_sub(later)));
    let rows = header.tensor("token_embd.weight").and_then(|tensor| tensor.shape.get(1).copied());
    let tokens = match header.values.get("tokenizer.ggml.tokens") {
        Some(Value::List(n, _)) => Some(*n),
        _ => None,
    };
    let vocabulary = rows.or(header.whole(&of("vocab_size"))).or(tokens);
    fields.insert("vocab_size".to_owned(), json!(vocabulary.ok_or_else(|| missing("vocab_size"))?));
    let is_tied = header.tensor("output.weight").is_none() && !header.tensors.is_empty();
    fields.insert("tie_word_embeddings".to_owned(), json!(is_tied));
    fields.insert("torch_dtype".to_owned(), json!(plain(header)));
    if let Some(n) = n_experts {
        for field in ["num_local_experts", "num_experts", "n_routed_experts"] {
            fields.insert(field.to_owned(), json!(n));
        }
        fields.insert("norm_topk_prob".to_owned(), json!(model_type != "qwen2_moe"));
    }
    heads(header, &of, &mut fields);
    special(header, model_type, &mut fields);
    Ok(fields)
}

/// Widths of heads: of latent attention those before keys and values are compressed.
fn heads(header: &Header, of: &dyn Fn(&str) -> String, fields: &mut Map<String, Json>) {
    let stated = |names: [&str; 2]| names.into_iter().find_map(|name| header.whole(&of(name)));
    let key = stated(["attention.key_length_mla", "attention.key_length"]);
    let value = stated(["attention.value_length_mla", "attention.value_length"]);
    if !fields.contains_key("kv_lora_rank") {
        fields.remove("qk_rope_head_dim");
        fields.extend(key.map(|dim| ("head_dim".to_owned(), json!(dim))));
        return;
    }
    let rotary = header.whole(&of("rope.dimension_count")).unwrap_or(0);
    let plain = key.map(|dim| ("qk_nope_head_dim".to_owned(), json!(dim.saturating_sub(rotary))));
    fields.extend(plain);
    fields.extend(value.map(|dim| ("v_head_dim".to_owned(), json!(dim))));
    fields.insert("num_key_value_heads".to_owned(), fields["num_attention_heads"].clone());
}

/// What model types say in words of their own.
fn special(header: &Header, model_type: &str, fields: &mut Map<String, Json>) {
    let mut rename = |from: &str, to: &str| {
        let value = fields.get(from).cloned();
        fields.extend(value.map(|value| (to.to_owned(), value)));
    };
    match model_type {
        "gpt2" => {
            let names = [
                ("hidden_size", "n_embd"),
                ("num_hidden_layers", "n_layer"),
                ("num_attention_heads", "n_head"),
                ("max_position_embeddings", "n_positions"),
                ("intermediate_size", "n_inner"),
            ];
            names.into_iter().for_each(|(from, to)| rename(from, to));
        }
        // Experts stand in the place of the feed-forward part.
        "gpt_oss" => rename("moe_intermediate_size", "intermediate_size"),
        "llama" if header.has("attn_q.bias") => {
            fields.insert("attention_bias".to_owned(), json!(true));
        }
        // Windows are those of a config that says so.
        "mixtral" | "qwen2" | "qwen3" | "qwen3_moe" => {
            fields.remove("sliding_window");
        }
        _ => {}
    }
}

/// The type of weights that are no blocks; of files of blocks alone 16-bit floats, in which llama.cpp
/// computes.
fn plain(header: &Header) -> &'static str {
    let matrices = header.tensors.iter().filter(|tensor| tensor.shape.len() > 1);
    let bytes = |name: &str| -> u64 {
        let own = matrices.clone().filter(|tensor| tensor.kind.name == name);
        own.fold(0, |sum, tensor| sum.saturating_add(tensor.bytes))
    };
    let is_packed = matrices.clone().any(|tensor| !tensor.kind.is_plain());
    match [bytes("F32"), bytes("F16"), bytes("BF16")] {
        [single, 0, 0] if single > 0 && !is_packed => "float32",
        [_, half, brain] if brain > half => "bfloat16",
        _ => "float16",
    }
}
