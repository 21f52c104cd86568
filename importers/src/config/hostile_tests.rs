//! Configs with one wrong number each, and classes of models, held against counts by hand.

use ir::diagnostic::Blame;
use ir::tensor::{DType, Role};
use serde_json::{Value, json};

use super::card;
use crate::import::{Import, ImportOptions};

const CONFIGS: &[&str] = &[
    r#"{"model_type":"llama","hidden_size":8,"num_hidden_layers":2,"num_attention_heads":2,
        "num_key_value_heads":1,"intermediate_size":16,"vocab_size":10,"head_dim":4,
        "max_position_embeddings":4,"sliding_window":2}"#,
    r#"{"model_type":"mistral","hidden_size":8,"num_hidden_layers":2,"num_attention_heads":2,
        "num_key_value_heads":2,"intermediate_size":16,"vocab_size":10,"max_position_embeddings":4,"sliding_window":2}"#,
    r#"{"model_type":"gpt2","n_embd":8,"n_layer":2,"n_head":2,"n_inner":32,"vocab_size":10,
        "n_positions":4,"num_labels":3}"#,
    r#"{"model_type":"bert","hidden_size":8,"num_hidden_layers":2,"num_attention_heads":2,
        "intermediate_size":16,"vocab_size":10,"max_position_embeddings":4,"type_vocab_size":2}"#,
    r#"{"model_type":"qwen3_moe","hidden_size":8,"num_hidden_layers":2,"num_attention_heads":2,
        "num_key_value_heads":2,"moe_intermediate_size":4,"intermediate_size":16,"head_dim":4,
        "vocab_size":10,"num_experts":4,"num_experts_per_tok":2,"decoder_sparse_step":1,
        "max_position_embeddings":4,"max_window_layers":1}"#,
    r#"{"model_type":"mixtral","hidden_size":8,"num_hidden_layers":2,"num_attention_heads":2,
        "num_key_value_heads":2,"intermediate_size":16,"vocab_size":10,"num_local_experts":4,"num_experts_per_tok":2,
        "max_position_embeddings":4}"#,
    r#"{"model_type":"deepseek_v3","vocab_size":10,"hidden_size":8,"intermediate_size":16,
        "moe_intermediate_size":4,"num_hidden_layers":3,"num_attention_heads":2,"q_lora_rank":4,
        "kv_lora_rank":4,"qk_nope_head_dim":4,"qk_rope_head_dim":2,"v_head_dim":4,
        "n_routed_experts":4,"n_shared_experts":1,"num_experts_per_tok":2,"moe_layer_freq":1,
        "first_k_dense_replace":1,"num_nextn_predict_layers":1,"max_position_embeddings":4}"#,
    r#"{"model_type":"t5","vocab_size":10,"d_model":8,"d_kv":4,"d_ff":16,"num_layers":2,
        "num_decoder_layers":2,"num_heads":2,"relative_attention_num_buckets":4}"#,
    r#"{"model_type":"albert","vocab_size":10,"hidden_size":8,"embedding_size":4,
        "num_hidden_layers":2,"num_hidden_groups":1,"num_attention_heads":2,"intermediate_size":16,
        "max_position_embeddings":8}"#,
    r#"{"model_type":"led","vocab_size":10,"d_model":8,"encoder_layers":2,"decoder_layers":2,
        "encoder_attention_heads":2,"decoder_attention_heads":2,"encoder_ffn_dim":16,
        "decoder_ffn_dim":16,"attention_window":4,"max_encoder_position_embeddings":16,
        "max_decoder_position_embeddings":8}"#,
    r#"{"model_type":"vit","hidden_size":8,"num_hidden_layers":2,"num_attention_heads":2,
        "intermediate_size":16,"image_size":32,"patch_size":16,"num_channels":3}"#,
    r#"{"model_type":"swin","embed_dim":8,"image_size":32,"patch_size":4,"window_size":2,
        "depths":[1,1],"num_heads":[2,2],"num_channels":3}"#,
    r#"{"model_type":"wav2vec2","hidden_size":8,"num_hidden_layers":2,"num_attention_heads":2,
        "intermediate_size":16,"conv_dim":[8,8],"conv_kernel":[10,3],"conv_stride":[5,2],
        "num_conv_pos_embeddings":4,"num_conv_pos_embedding_groups":2}"#,
    r#"{"model_type":"detr","d_model":8,"encoder_layers":1,"decoder_layers":1,"num_queries":4,
        "encoder_attention_heads":2,"decoder_attention_heads":2,"encoder_ffn_dim":16,
        "decoder_ffn_dim":16}"#,
];

/// A tower before a decoder; each number of its parts may be wrong as well.
const PARTS: &str = r#"{"model_type":"qwen2_5_vl","vision_config":{"depth":2,"hidden_size":8,
    "num_heads":2,"intermediate_size":16,"out_hidden_size":8,"patch_size":14,"window_size":112,
    "spatial_merge_size":2,"temporal_patch_size":2,"in_channels":3},"text_config":{"hidden_size":8,
    "num_hidden_layers":2,"num_attention_heads":2,"num_key_value_heads":1,"intermediate_size":16,
    "vocab_size":10}}"#;

#[test]
fn every_number_of_a_part_is_refused_or_planned() {
    let sound: Value = serde_json::from_str(PARTS).unwrap();
    let mut n_read = 0;
    for part in ["vision_config", "text_config"] {
        for field in sound[part].as_object().unwrap().keys() {
            for value in [json!(0), json!(1_u64 << 31), json!(u64::MAX), json!("text"), json!([])] {
                let mut changed = sound.clone();
                changed[part][field] = value.clone();
                match import(&changed.to_string(), &ImportOptions::default()) {
                    Ok(_) => n_read += 1,
                    Err(error) => assert_eq!(error.blame, Blame::Input, "{field} {value}"),
                }
            }
        }
    }
    assert!(n_read < 5, "{n_read}");
    assert!(import(PARTS, &ImportOptions::default()).is_ok());
}

fn import(text: &str, options: &ImportOptions) -> Result<Import, ir::diagnostic::Diagnostic> {
    crate::read_bytes("config.json", text.as_bytes(), options)
}

/// Each number is out of its range, or a model comes out whose sums fit.
#[test]
fn every_number_is_refused_or_planned() {
    let wrong = [
        json!(0),
        json!(-1),
        json!(1_u64 << 31),
        json!(1_u64 << 53),
        json!(u64::MAX),
        json!(1e300),
        json!(1.5),
        json!("text"),
        json!(true),
        json!([]),
        Value::Null,
    ];
    let (mut n_refused, mut n_read) = (0, 0);
    for config in CONFIGS {
        let sound: serde_json::Map<String, Value> = serde_json::from_str(config).unwrap();
        for field in sound.iter().filter(|(_, value)| value.is_number()).map(|(name, _)| name) {
            for value in &wrong {
                let mut changed = sound.clone();
                changed.insert(field.clone(), value.clone());
                let text = serde_json::to_string(&changed).unwrap();
                for error in [
                    import(&text, &ImportOptions::default()).err(),
                    card::of_bytes(text.as_bytes(), "m", None).err(),
                ] {
                    let Some(error) = error else {
                        n_read += 1;
                        continue;
                    };
                    n_refused += 1;
                    assert_eq!(error.blame, Blame::Input, "{field} {value}: {error:?}");
                }
                let is_number_or_null = value.is_null() || value.as_u64().is_some();
                assert!(
                    is_number_or_null || import(&text, &ImportOptions::default()).is_err(),
                    "{field} is {value}: {text}"
                );
            }
        }
    }
    assert!(n_refused > 500 && n_read > 50, "{n_refused} {n_read}");
}

/// The greatest numbers of every field at once are a model that the budget refuses; one of them
/// alone never overflows.
#[test]
fn numbers_at_the_ends_of_their_ranges_fit_64_bits() {
    let most = [
        ("hidden_size", 1_u64 << 20),
        ("intermediate_size", 1 << 22),
        ("num_attention_heads", 1 << 14),
        ("head_dim", 1 << 14),
        ("vocab_size", 1 << 24),
        ("max_position_embeddings", 1 << 24),
        ("num_hidden_layers", 2_000),
    ];
    let sound: serde_json::Map<String, Value> = serde_json::from_str(CONFIGS[0]).unwrap();
    let mut all = sound.clone();
    let mut options = ImportOptions { batch: Some(1 << 24), ..ImportOptions::default() };
    options.dims.insert("sequence".into(), 1 << 24);
    for (name, value) in most {
        all.insert(name.to_owned(), value.into());
        let one = sound.iter().map(|(name, value)| (name.clone(), value.clone()));
        let mut one: serde_json::Map<String, Value> = one.collect();
        one.insert(name.to_owned(), value.into());
        let text = serde_json::to_string(&one).unwrap();
        card::of_bytes(text.as_bytes(), "m", None).unwrap();
        import(&text, &ImportOptions::default()).unwrap();
        // 2^48 tokens at once are too many operations, whatever the model.
        assert_eq!(import(&text, &options).unwrap_err().code, "size-budget", "{name}");
    }
    let text = serde_json::to_string(&all).unwrap();
    assert_eq!(card::of_bytes(text.as_bytes(), "m", None).unwrap_err().code, "size-budget");
    assert_eq!(import(&text, &ImportOptions::default()).unwrap_err().code, "size-budget");
}

fn with(config: &str, fields: &str) -> String {
    config.replacen('{', &format!("{{{fields},"), 1)
}

fn count(text: &str) -> u64 {
    import(text, &ImportOptions::default()).unwrap().summary.initializer_elements
}

/// Parameters of the classes of transformers 5.23, by hand.
#[test]
fn the_class_that_a_config_names_is_built() {
    let class = |config: &str, name: &str| {
        let text = with(config, &format!("\"architectures\":[\"{name}\"]"));
        let read = import(&text, &ImportOptions::default()).unwrap();
        let unknown = read.warnings.iter().filter(|warning| warning.code == "unknown-architecture");
        (read.summary.initializer_elements, unknown.count())
    };
    let (llama, gpt2, bert) = (CONFIGS[0], CONFIGS[2], CONFIGS[3]);
    // Width 8, vocabulary 10: a head of its own has 80 weights.
    let whole = count(llama);
    assert_eq!(class(llama, "LlamaForCausalLM"), (whole, 0));
    assert_eq!(class(llama, "LlamaModel"), (whole - 80, 0));
    assert_eq!(class(llama, "LlamaForSequenceClassification"), (whole - 80 + 2 * 8, 0));
    assert_eq!(class(llama, "LlamaForTokenClassification"), (whole - 80 + 2 * 8 + 2, 0));
    assert_eq!(class(llama, "LlamaForOther"), (whole, 1));
    // GPT-2's head is its embedding; the config has three labels.
    let whole = count(gpt2);
    assert_eq!(class(gpt2, "GPT2Model"), (whole, 0));
    assert_eq!(class(gpt2, "GPT2ForSequenceClassification"), (whole + 3 * 8, 0));
    // BERT's head: a dense layer of 72, a norm of 16, a bias of 10; its pooler has 72.
    let whole = count(bert);
    assert_eq!(class(bert, "BertModel"), (whole - 98 + 72, 0));
    assert_eq!(class(bert, "BertForSequenceClassification"), (whole - 98 + 72 + 18, 0));
    assert_eq!(class(bert, "BertForTokenClassification"), (whole - 98 + 18, 0));
    // A decoder of its own has a weight and a bias.
    assert_eq!(count(&with(bert, "\"tie_word_embeddings\":false")), whole + 80 + 10);
}

#[test]
fn modules_of_a_bare_model_have_no_prefix() {
    let text = with(CONFIGS[0], "\"architectures\":[\"LlamaModel\"]");
    let graph = import(&text, &ImportOptions::default()).unwrap().graph;
    let modules: Vec<&str> = graph.ops.iter().filter_map(|op| op.module.as_deref()).collect();
    assert!(modules.contains(&"layers.1.mlp.up_proj") && modules.contains(&"norm"));
    assert!(modules.iter().all(|module| !module.starts_with("model.")));
}

/// Each layer of GPT-2 has a norm, queries, keys and values and an output more: 4 h^2 + 6 h.
#[test]
fn cross_attention_is_built_or_has_no_effect() {
    let cross = "\"add_cross_attention\":true";
    let more = |config: &str| count(&with(config, cross)) - count(config);
    assert_eq!(more(CONFIGS[2]), 2 * (4 * 64 + 6 * 8));
    assert_eq!(more(CONFIGS[3]), 2 * (4 * 64 + 6 * 8));
    assert_eq!(more(CONFIGS[0]), 0);
    let read = import(&with(CONFIGS[0], cross), &ImportOptions::default()).unwrap();
    assert!(read.warnings.iter().any(|warning| warning.code == "field-without-effect"));
    let error = card::of_bytes(with(CONFIGS[2], cross).as_bytes(), "m", None).unwrap_err();
    assert_eq!(error.code, card::NO_CARD);
}

/// Of four tokens each attends to two: half of the operations of scores and values are left.
#[test]
fn windows_shorten_attention() {
    let flops = |text: &str| import(text, &ImportOptions::default()).unwrap().summary.forward_flops;
    let wide = CONFIGS[1].replace("\"sliding_window\":2", "\"sliding_window\":null");
    let core = 2 * 2 * (2 * 2 * 4 * 4 * 4);
    assert_eq!(flops(&wide) - flops(CONFIGS[1]), core / 2);
    // Llama's class does not read the field.
    let read = import(CONFIGS[0], &ImportOptions::default()).unwrap();
    assert!(read.warnings.iter().any(|warning| warning.code == "field-without-effect"));
    let (_, warnings) = card::of_bytes(CONFIGS[1].as_bytes(), "m", None).unwrap();
    assert!(warnings.iter().any(|warning| warning.code == "sliding-window"));
}

#[test]
fn quantised_weights_are_packed_for_inference_alone() {
    let packed = with(
        CONFIGS[0],
        "\"torch_dtype\":\"bfloat16\",\"quantization_config\":{\"quant_method\":\"awq\",\"bits\":4,\
         \"group_size\":4}",
    );
    let read =
        |trains| import(&packed, &ImportOptions { trains, ..ImportOptions::default() }).unwrap();
    let (inference, training) = (read(false), read(true));
    // Per layer q 64, k and v 32 each, o 64, three of 128: 576 weights of half a byte, and for each
    // four of them 20 bits. Norms and both ends in 16 bits.
    let weights = 2 * 576;
    let rest = 2 * (2 * 16 + 8 + 2 * 80);
    assert_eq!(inference.summary.parameter_bytes, weights / 2 + weights / 4 * 20 / 8 + rest);
    assert_eq!(training.summary.parameter_bytes, 2 * weights + rest);
    assert_eq!(inference.summary.initializer_elements, training.summary.initializer_elements);
    for read in [inference, training] {
        assert!(read.warnings.iter().any(|warning| warning.code == "quantized-weights"));
        let floats = read.graph.tensors.iter().filter(|tensor| tensor.role == Role::Activation);
        assert!(floats.into_iter().all(|tensor| tensor.dtype == DType::Bf16));
    }
    let (_, warnings) = card::of_bytes(packed.as_bytes(), "m", None).unwrap();
    assert!(warnings.iter().any(|warning| warning.code == "quantized-weights"));
}

/// DeepSeek-V2-Lite has 15,706,484,224 parameters (the safetensors index of the model).
#[test]
fn queries_without_a_narrow_product_are_read() {
    let text = r#"{"model_type":"deepseek_v2","vocab_size":102400,"hidden_size":2048,
        "intermediate_size":10944,"moe_intermediate_size":1408,"num_hidden_layers":27,
        "num_attention_heads":16,"q_lora_rank":null,"kv_lora_rank":512,"qk_nope_head_dim":128,
        "qk_rope_head_dim":64,"v_head_dim":128,"n_routed_experts":64,"n_shared_experts":2,
        "num_experts_per_tok":6,"first_k_dense_replace":1,"max_position_embeddings":2048}"#;
    let (model, _) = card::of_bytes(text.as_bytes(), "m", None).unwrap();
    let dense = model.groups[0].card.attention;
    assert!(matches!(dense, ir::card::Attention::Latent { query_rank: None, .. }));
}

#[test]
fn experts_of_qwen3_moe_have_two_names() {
    let named = CONFIGS[4].replace("num_experts\"", "num_local_experts\"");
    assert_eq!(count(&named), count(CONFIGS[4]));
}
