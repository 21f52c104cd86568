//! Models that the tables name, by their published configs.

use importers::config::card::of_bytes;
use ir::card::ModelCard;
use ir::diagnostic::Diagnostic;

/// Llama 3 and 3.1 of 8, 70 and 405 billion parameters (model cards of Meta).
pub(in crate::readers) const LLAMA_8B: &str = r#"{"model_type":"llama","hidden_size":4096,
    "num_hidden_layers":32,"num_attention_heads":32,"num_key_value_heads":8,
    "intermediate_size":14336,"vocab_size":128256,"max_position_embeddings":8192}"#;
pub(in crate::readers) const LLAMA_70B: &str = r#"{"model_type":"llama","hidden_size":8192,
    "num_hidden_layers":80,"num_attention_heads":64,"num_key_value_heads":8,
    "intermediate_size":28672,"vocab_size":128256,"max_position_embeddings":8192}"#;
pub(super) const LLAMA_405B: &str = r#"{"model_type":"llama","hidden_size":16384,
    "num_hidden_layers":126,"num_attention_heads":128,"num_key_value_heads":8,
    "intermediate_size":53248,"vocab_size":128256,"max_position_embeddings":8192}"#;
/// Llama 2 of 70 billion parameters (Touvron et al., arXiv:2307.09288), and bigscience/bloom in the code of
/// GPT-2, from which its positions differ.
pub(in crate::readers) const LLAMA2_70B: &str = r#"{"model_type":"llama","hidden_size":8192,
    "num_hidden_layers":80,"num_attention_heads":64,"num_key_value_heads":8,
    "intermediate_size":28672,"vocab_size":32000,"max_position_embeddings":4096}"#;
pub(in crate::readers) const BLOOM: &str = r#"{"model_type":"gpt2","n_embd":14336,"n_layer":70,
    "n_head":112,"vocab_size":250880,"n_positions":4096}"#;
/// Qwen/Qwen3-32B, config.json.
pub(in crate::readers) const QWEN3_32B: &str = r#"{"model_type":"qwen3","hidden_size":5120,
    "num_hidden_layers":64,"num_attention_heads":64,"num_key_value_heads":8,"head_dim":128,
    "intermediate_size":25600,"vocab_size":151936,"max_position_embeddings":40960}"#;
/// Qwen/Qwen3-30B-A3B, config.json.
pub(super) const QWEN3_30B: &str = r#"{"model_type":"qwen3_moe","hidden_size":2048,
    "num_hidden_layers":48,"num_attention_heads":32,"num_key_value_heads":4,"head_dim":128,
    "intermediate_size":6144,"moe_intermediate_size":768,"num_experts":128,
    "num_experts_per_tok":8,"vocab_size":151936,"max_position_embeddings":40960}"#;
/// Qwen/Qwen3-235B-A22B, config.json.
pub(super) const QWEN3_235B: &str = r#"{"model_type":"qwen3_moe","hidden_size":4096,
    "num_hidden_layers":94,"num_attention_heads":64,"num_key_value_heads":4,"head_dim":128,
    "intermediate_size":12288,"moe_intermediate_size":1536,"num_experts":128,
    "num_experts_per_tok":8,"vocab_size":151936,"max_position_embeddings":40960}"#;
/// openai/gpt-oss-120b, config.json.
pub(super) const GPT_OSS_120B: &str = r#"{"model_type":"gpt_oss","hidden_size":2880,
    "num_hidden_layers":36,"num_attention_heads":64,"num_key_value_heads":8,"head_dim":64,
    "intermediate_size":2880,"num_local_experts":128,"num_experts_per_tok":4,
    "sliding_window":128,"attention_bias":true,"vocab_size":201088,
    "max_position_embeddings":131072}"#;
/// deepseek-ai/DeepSeek-V3, config.json, without and with the block that predicts a later token.
pub(super) const DEEPSEEK_V3: &str = r#"{"model_type":"deepseek_v3","vocab_size":129280,
    "hidden_size":7168,"intermediate_size":18432,"moe_intermediate_size":2048,
    "num_hidden_layers":61,"num_attention_heads":128,"q_lora_rank":1536,"kv_lora_rank":512,
    "qk_nope_head_dim":128,"qk_rope_head_dim":64,"v_head_dim":128,"n_routed_experts":256,
    "n_shared_experts":1,"num_experts_per_tok":8,"first_k_dense_replace":3,
    "num_nextn_predict_layers":0,"max_position_embeddings":163840}"#;
pub(super) const DEEPSEEK_V3_MTP: &str = r#"{"model_type":"deepseek_v3","vocab_size":129280,
    "hidden_size":7168,"intermediate_size":18432,"moe_intermediate_size":2048,
    "num_hidden_layers":61,"num_attention_heads":128,"q_lora_rank":1536,"kv_lora_rank":512,
    "qk_nope_head_dim":128,"qk_rope_head_dim":64,"v_head_dim":128,"n_routed_experts":256,
    "n_shared_experts":1,"num_experts_per_tok":8,"first_k_dense_replace":3,
    "num_nextn_predict_layers":1,"max_position_embeddings":163840}"#;
/// deepseek-ai/DeepSeek-V2, config.json.
pub(super) const DEEPSEEK_V2: &str = r#"{"model_type":"deepseek_v2","vocab_size":102400,
    "hidden_size":5120,"intermediate_size":12288,"moe_intermediate_size":1536,
    "num_hidden_layers":60,"num_attention_heads":128,"num_key_value_heads":128,
    "q_lora_rank":1536,"kv_lora_rank":512,"qk_nope_head_dim":128,"qk_rope_head_dim":64,
    "v_head_dim":128,"n_routed_experts":160,"n_shared_experts":2,"num_experts_per_tok":6,
    "first_k_dense_replace":1,"max_position_embeddings":163840}"#;
/// gpt2-large and bert-large-uncased, config.json; GPT-3 of 2.7 billion parameters (Brown et al.
/// 2020, table 2.1) in the code of GPT-2.
pub(super) const GPT2_LARGE: &str = r#"{"model_type":"gpt2","n_embd":1280,"n_layer":36,
    "n_head":20,"vocab_size":50257,"n_positions":1024}"#;
pub(super) const BERT_LARGE: &str = r#"{"model_type":"bert","hidden_size":1024,
    "num_hidden_layers":24,"num_attention_heads":16,"intermediate_size":4096,"vocab_size":30522,
    "max_position_embeddings":512,"architectures":["BertForMaskedLM"]}"#;
pub(super) const GPT3_2_7B: &str = r#"{"model_type":"gpt2","n_embd":2560,"n_layer":32,
    "n_head":32,"vocab_size":50257,"n_positions":2048}"#;

/// The card of a config for samples of so many tokens.
///
/// # Errors
/// Those of the reader of configs.
pub(in crate::readers) fn card(
    config: &str,
    name: &str,
    sequence: u64,
) -> Result<ModelCard, Diagnostic> {
    of_bytes(config.as_bytes(), name, Some(sequence)).map(|(card, _)| card)
}
