//! Parameters of configs as model cards, against the counts of the models' own classes.

use cost_model::runs::forms::model::counts::{held, n_parameters};
use cost_model::runs::oracle::Place;
use importers::config::card::{card, of_bytes};
use importers::{ImportOptions, read_bytes};

use crate::data;

/// DeepSeek-V2-Lite; 15,706,484,224 parameters by the index of its published weights.
const V2_LITE: &str = r#"{"model_type":"deepseek_v2","vocab_size":102400,"hidden_size":2048,
    "intermediate_size":10944,"moe_intermediate_size":1408,"num_hidden_layers":27,
    "num_attention_heads":16,"q_lora_rank":null,"kv_lora_rank":512,"qk_nope_head_dim":128,
    "qk_rope_head_dim":64,"v_head_dim":128,"n_routed_experts":64,"n_shared_experts":2,
    "num_experts_per_tok":6,"first_k_dense_replace":1,"max_position_embeddings":2048}"#;

/// Classes of transformers with every kind of bias, norm and table.
const TINY: &[&str] = &[
    r#"{"model_type":"gpt2","n_embd":16,"n_layer":3,"n_head":2,"vocab_size":50,"n_positions":64}"#,
    r#"{"model_type":"bert","hidden_size":16,"num_hidden_layers":3,"num_attention_heads":2,
        "intermediate_size":48,"vocab_size":50,"max_position_embeddings":64,"type_vocab_size":3}"#,
    r#"{"model_type":"bert","hidden_size":16,"num_hidden_layers":3,"num_attention_heads":2,
        "intermediate_size":48,"vocab_size":50,"max_position_embeddings":64,
        "tie_word_embeddings":false}"#,
    r#"{"model_type":"llama","hidden_size":16,"num_hidden_layers":3,"num_attention_heads":4,
        "num_key_value_heads":2,"intermediate_size":48,"vocab_size":50,"attention_bias":true,
        "mlp_bias":true,"max_position_embeddings":64}"#,
    r#"{"model_type":"qwen2","hidden_size":16,"num_hidden_layers":3,"num_attention_heads":4,
        "num_key_value_heads":2,"intermediate_size":48,"vocab_size":50,
        "tie_word_embeddings":true,"max_position_embeddings":64}"#,
    r#"{"model_type":"qwen3_moe","hidden_size":16,"num_hidden_layers":3,"num_attention_heads":4,
        "num_key_value_heads":2,"moe_intermediate_size":8,"head_dim":8,"vocab_size":50,
        "num_local_experts":4,"num_experts_per_tok":2,"max_position_embeddings":64}"#,
];

/// What PyTorch counts on the classes of transformers, whatever the length of a sample; the module
/// of DeepSeek-V3 that predicts a second token is not part of its class.
#[test]
fn cards_count_what_pytorch_counts() {
    let Some(folder) = data::folder() else { return };
    let text = std::fs::read_to_string(folder.join("models/reference.json")).unwrap();
    let reference: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut n_compared = 0;
    for file in std::fs::read_dir(folder.join("models/hf_configs")).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        for sequence in [None, Some(100), Some(512)] {
            let Ok((mut model, _)) = card(&path, sequence) else { continue };
            let later = model.n_predictions - 1;
            model.groups.retain(|group| later == 0 || group.n_blocks != later);
            let known = reference["hf_configs"][&name]["params"].as_u64().unwrap();
            assert_eq!(n_parameters(&model), known, "{name} {sequence:?}");
            n_compared += 1;
        }
    }
    assert!(n_compared >= 36, "{n_compared}");
}

#[test]
fn a_model_without_narrow_queries_has_its_published_count() {
    let (model, _) = of_bytes(V2_LITE.as_bytes(), "v2-lite", None).unwrap();
    assert_eq!(n_parameters(&model), 15_706_484_224);
}

/// The published config of DeepSeek-MoE 16B.
const DEEPSEEK: &str = r#"{"model_type":"deepseek","vocab_size":102400,"hidden_size":2048,
    "intermediate_size":10944,"moe_intermediate_size":1408,"num_hidden_layers":28,
    "num_attention_heads":16,"num_key_value_heads":16,"n_routed_experts":64,"n_shared_experts":2,
    "num_experts_per_tok":6,"first_k_dense_replace":1,"moe_layer_freq":1,
    "max_position_embeddings":4096,"tie_word_embeddings":false,"torch_dtype":"bfloat16"}"#;
/// The same of switch-base-128, but for what says nothing of its size.
const SWITCH: &str = r#"{"model_type":"switch_transformers","vocab_size":32128,"d_model":768,"d_ff":3072,
    "d_kv":64,"num_heads":12,"num_layers":12,"num_decoder_layers":12,"num_experts":128,
    "num_sparse_encoder_layers":6,"num_sparse_decoder_layers":6,"encoder_sparse_step":2,
    "decoder_sparse_step":2,"feed_forward_proj":"relu","is_gated_act":false,"router_bias":false,
    "relative_attention_num_buckets":32,"tie_word_embeddings":true}"#;

/// All experts resident, in 16 bits: ExpertFlow's table says 31.35 and 15.26 GB.
#[test]
fn configs_of_cached_models_weigh_what_was_published() {
    for (config, parameters, published) in [
        (DEEPSEEK, 16_375_728_128, 31.35e9),
        // Embedding; of 24 layers self-attention, of 12 attention to the encoder, of 12 experts and a
        // router, of 12 one feed-forward part; norms; two tables of 32 relative positions.
        (
            SWITCH,
            32_128 * 768
                + 36 * 4 * 768 * 768
                + 12 * (128 * 2 * 768 * 3072 + 128 * 768)
                + 12 * 2 * 768 * 3072
                + (12 * 2 + 12 * 3 + 2) * 768
                + 2 * 32 * 12,
            15.26e9,
        ),
    ] {
        let (model, _) = of_bytes(config.as_bytes(), "m", None).unwrap();
        assert_eq!(n_parameters(&model), parameters, "{config}");
        let bytes = cost_model::runs::serving::Weights::of(&model, ir::tensor::DType::Bf16).all();
        assert!((bytes as f64 / published - 1.0).abs() < 0.1, "{bytes} and {published}");
    }
    let (model, warnings) = of_bytes(SWITCH.as_bytes(), "m", None).unwrap();
    let mixed = model.groups.iter().filter(|group| group.card.experts.is_some());
    assert_eq!((model.n_blocks(), mixed.map(|group| group.n_blocks).sum::<u32>()), (24, 12));
    assert!(warnings.iter().any(|warning| warning.code == "two-sides"));
}

/// Qwen2-MoE has as many parameters as its class, in blocks with and without experts.
#[test]
fn mixtures_of_two_kinds_of_blocks_have_the_counts_of_their_classes() {
    let Some(folder) = data::folder() else { return };
    let families = folder.join("models/hf_families");
    let text = std::fs::read_to_string(families.join("parameters.json")).unwrap();
    let known: serde_json::Value = serde_json::from_str(&text).unwrap();
    let (model, _) = card(&families.join("qwen2_moe.json"), None).unwrap();
    assert_eq!(n_parameters(&model), known["qwen2_moe"]["parameters"].as_u64().unwrap());
    let config = std::fs::read_to_string(families.join("qwen2_moe.json")).unwrap();
    for (field, n_mixed) in [
        ("\"decoder_sparse_step\": 1", 24),
        ("\"decoder_sparse_step\": 3", 8),
        ("\"decoder_sparse_step\": 1, \"mlp_only_layers\": [0, 5]", 22),
    ] {
        let text = config
            .replace("\"mlp_only_layers\": [],", "")
            .replace("\"decoder_sparse_step\": 1", field);
        let (model, _) = of_bytes(text.as_bytes(), "m", Some(64)).unwrap();
        let mixed = model.groups.iter().filter(|group| group.card.experts.is_some());
        assert_eq!(mixed.map(|group| group.n_blocks).sum::<u32>(), n_mixed, "{field}");
        // The same written out op by op.
        let options =
            ImportOptions { dims: [("sequence".to_owned(), 64)].into(), ..Default::default() };
        let graph = read_bytes("config.json", text.as_bytes(), &options).unwrap();
        assert_eq!(n_parameters(&model), graph.summary.initializer_elements, "{field}");
    }
}

/// The same config written out op by op has each parameter as a tensor; and stages lose none.
#[test]
fn cards_count_what_graphs_hold() {
    for config in TINY {
        let graph =
            read_bytes("config.json", config.as_bytes(), &ImportOptions::default()).unwrap();
        for sequence in [None, Some(5)] {
            let (model, _) = of_bytes(config.as_bytes(), "m", sequence).unwrap();
            let all = n_parameters(&model);
            assert_eq!(all, graph.summary.initializer_elements, "{config}");
            let first = held(&model, &(0..1), Place { first: true, last: false }, false);
            let last = held(&model, &(1..3), Place { first: false, last: true }, false);
            assert_eq!(first.plus(last).n_parameters, all, "{config}");
        }
    }
}

/// A table of positions ends.
#[test]
fn samples_are_no_longer_than_learned_positions() {
    assert_eq!(of_bytes(TINY[0].as_bytes(), "m", Some(65)).unwrap_err().code, "invalid-field");
    assert!(of_bytes(TINY[3].as_bytes(), "m", Some(65)).is_ok());
}
