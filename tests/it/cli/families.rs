//! Every family of models is planned, and its plan is read back; samples are counted in the tokens
//! of their text, where they have any.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::folder::{Folder, Ran, diamond};
use crate::data;

/// Hosts on which any of the models fits whole, so that a plan is quick.
const CLUSTER: &str = "\
name: large
link_kinds:
  - {name: way, bytes_per_s: 200000000000.0, latency_s: 5e-6}
nodes:
  - {name: a, count: 1, device: h100_sxm5_80gb, devices: 8, scaleup: way, nics: 1}
";
const PLAN: &str = "--cluster c.yaml --global-batch 8 --pin pipeline=1 --pin tensor=1 \
    --pin zero=3 --pin micro-batch=1 --pin recompute=full --scale memory=64 --time-limit 60s";

/// Families whose text is not the first of what they are fed, or that are fed none.
const PICTURES_FIRST: [&str; 8] =
    ["blip-2", "gemma3", "idefics3", "llava", "mistral3", "qwen2_5_vl", "qwen3_vl", "layoutlmv3"];
const WITHOUT_TEXT: [&str; 8] =
    ["clip", "detr", "dinov2", "hubert", "siglip", "swin", "vit", "wav2vec2"];
/// Refused by name.
const REFUSED: [&str; 2] = ["musicgen", "sam"];

fn folder() -> Folder {
    let folder = Folder::new(&diamond());
    folder.write("c.yaml", CLUSTER);
    folder
}

fn planned(folder: &Folder, config: &str, flags: &str) -> Ran {
    folder.run(&format!("plan {config} {PLAN} {flags} -o p.json --force --json"))
}

/// Tokens of a sample that a plan states, after it was verified; its rate is that of these tokens.
fn tokens(folder: &Folder, config: &str, flags: &str) -> u64 {
    let answer = planned(folder, config, flags).exits(0).json();
    let on = format!("--model {config} --cluster c.yaml --scale memory=64");
    folder.run(&format!("verify p.json {on}")).exits(0);
    let plan = folder.json("p.json");
    let tokens = plan["training"]["sequence_length"].as_u64().unwrap();
    let best = &answer["best"];
    let figure = |name: &str| best[name].as_f64().unwrap_or_else(|| panic!("{name}: {best}"));
    let of_step = figure("tokens_per_s") * figure("step_time_s");
    assert!((of_step / (8 * tokens) as f64 - 1.0).abs() < 1e-6, "{config}: {of_step}");
    tokens
}

/// The names of the families, with their configs.
fn families() -> Option<Vec<(String, PathBuf)>> {
    let folder = data::folder()?.join("models/hf_families");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let mut all: Vec<_> = files.map(|path| (name(&path), path)).collect();
    all.retain(|(name, _)| name != "parameters");
    all.sort();
    Some(all)
}

#[test]
fn plans_of_every_family_are_verified_with_and_without_a_length() {
    let Some(families) = families() else { return };
    for (name, path) in families {
        let (folder, config) = (folder(), path.display().to_string());
        let name = name.as_str();
        if REFUSED.contains(&name) {
            planned(&folder, &config, "").exits(3);
            continue;
        }
        let whole = tokens(&folder, &config, "");
        if WITHOUT_TEXT.contains(&name) {
            assert_eq!(whole, 1, "{name}: a sample is no row of tokens");
            let refused = planned(&folder, &config, "--sequence-length 64").exits(2);
            assert_eq!(refused.json()["error"]["code"], "sequence-fixed", "{name}");
            let refused = planned(&folder, &config, "--tokens-per-step 65536").exits(2).json();
            let message = refused["error"]["message"].as_str().unwrap();
            assert!(message.contains("--tokens-per-step"), "{name}: {message}");
            continue;
        }
        // One step shorter than the whole: room for any picture.
        let length = whole - 8;
        assert_eq!(tokens(&folder, &config, &format!("--sequence-length {length}")), length);
    }
}

/// Of models that see or read a page, samples are as long as the config of their text says; up to 4,096 tokens.
#[test]
fn tokens_of_models_that_see_are_those_of_their_text() {
    let Some(families) = families() else { return };
    for (name, path) in families {
        if !PICTURES_FIRST.contains(&name.as_str()) {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let config: Value = serde_json::from_str(&text).unwrap();
        let part = config.get("text_config").unwrap_or(&config);
        let positions = part["max_position_embeddings"].as_u64().unwrap_or(4096).min(4096);
        let length = tokens(&folder(), &path.display().to_string(), "");
        // Of RoBERTa's positions LayoutLM leaves two.
        let unused = if name == "layoutlmv3" { 2 } else { 0 };
        assert_eq!(length, positions - unused, "{name}");
    }
}

fn see() -> Value {
    json!({
        "model_type": "qwen3_vl", "architectures": ["Qwen3VLForConditionalGeneration"],
        "text_config": {
            "model_type": "qwen3_vl_text", "hidden_size": 512, "num_hidden_layers": 4,
            "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 64,
            "intermediate_size": 1024, "vocab_size": 8000, "max_position_embeddings": 8192,
            "torch_dtype": "bfloat16"
        },
        "vision_config": {
            "depth": 3, "hidden_size": 128, "num_heads": 4, "intermediate_size": 256,
            "patch_size": 16, "spatial_merge_size": 2, "temporal_patch_size": 2,
            "in_channels": 3, "out_hidden_size": 512, "num_position_embeddings": 2304,
            "deepstack_visual_indexes": [1]
        },
        "tie_word_embeddings": false
    })
}

#[test]
fn a_length_beside_pictures_is_the_texts() {
    let folder = folder();
    folder.write("see.json", &see().to_string());
    assert_eq!(tokens(&folder, "see.json", ""), 4096);
    assert_eq!(tokens(&folder, "see.json", "--sequence-length 1000"), 1000);
    assert_eq!(tokens(&folder, "see.json", "--dim sequence=1000"), 1000);
    let both = planned(&folder, "see.json", "--dim sequence=1000 --sequence-length 2000").exits(2);
    assert_eq!(both.json()["error"]["code"], "sequence-fixed");
}

/// Eight layers of 1,024 x 12 x 1,024 weights and norms, which read positions off no table.
fn alibi() -> Value {
    json!({
        "model_type": "mpt", "architectures": ["MptForCausalLM"], "d_model": 1024, "n_heads": 8,
        "n_layers": 8, "expansion_ratio": 4, "max_seq_len": 131072, "vocab_size": 16000,
        "no_bias": true, "torch_dtype": "bfloat16",
        "attn_config": { "attn_type": "multihead_attention", "alibi": true }
    })
}

/// However long samples are, a model without a table of positions has the same parameters, in the same
/// blocks, and may be cut along its heads and its samples.
#[test]
fn what_a_model_can_be_cut_along_hangs_on_no_length() {
    let folder = folder();
    folder.write("alibi.json", &alibi().to_string());
    let line = "plan alibi.json --cluster c.yaml --global-batch 8 -o p.json --force";
    for length in [128, 4096, 32768, 131_072] {
        for pin in ["--pin context=4 --pin tensor=2", "--pin tensor=8"] {
            folder.run(&format!("{line} --sequence-length {length} {pin}")).exits(0);
            let training = &folder.json("p.json")["training"];
            assert_eq!(training["n_blocks"], 8, "{length}");
            // A norm has 1,024 weights: two in each block, and one before the head, which is tied.
            let counted = 8 * (12 * 1024 * 1024 + 2 * 1024) + 1024 + 16000 * 1024;
            assert_eq!(training["n_parameters"], counted, "{length}");
        }
        folder.run("verify p.json --model alibi.json --cluster c.yaml").exits(0);
    }
}

/// A model's class says what it is, whatever its type is called.
#[test]
fn a_type_of_another_name_is_read_as_its_class() {
    let folder = folder();
    let original = json!({
        "model_type": "deepseek_v3", "architectures": ["DeepseekV3ForCausalLM"],
        "vocab_size": 16000, "hidden_size": 512, "intermediate_size": 1024,
        "moe_intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 8,
        "q_lora_rank": 128, "kv_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16,
        "v_head_dim": 32, "n_routed_experts": 16, "n_shared_experts": 1, "num_experts_per_tok": 4,
        "first_k_dense_replace": 1, "num_nextn_predict_layers": 0,
        "max_position_embeddings": 8192, "tie_word_embeddings": false, "torch_dtype": "bfloat16"
    });
    let mut other = original.clone();
    other["model_type"] = json!("of_our_own");
    folder.write("own.json", &original.to_string());
    folder.write("other.json", &other.to_string());
    let planned = |config: &str| {
        let line = "--cluster c.yaml --global-batch 64 --sequence-length 4096 --pin expert=8";
        let ran = folder.run(&format!("plan {config} {line} -o p.json --force")).exits(0);
        (folder.json("p.json"), ran.stderr)
    };
    let ((original, _), (other, stderr)) = (planned("own.json"), planned("other.json"));
    assert!(stderr.contains("read-as-class") && !stderr.contains("guess"), "{stderr}");
    for member in ["parallelism", "partition", "cost", "training"] {
        assert_eq!(original[member], other[member], "{member}");
    }
    let import = |name: &str| folder.run(&format!("import {name} --json")).exits(0).json();
    let [original, other] = ["own.json", "other.json"].map(|name| import(name)["summary"].clone());
    assert!(original["op_types"].is_object() && original == other, "{original}\n{other}");
}

/// Qwen3.5 is a tower of Qwen3-VL before its decoder. Weights of the tower, by hand, of width 256, 4 blocks,
/// 16 x 16 x 2 x 3 pixels a patch: 5,191,424. Of a type that nobody knows the decoder alone is read.
#[test]
fn the_text_of_a_model_of_several_parts_is_read_at_least() {
    let folder = folder();
    let text = json!({
        "model_type": "qwen3_5_text", "head_dim": 256, "hidden_size": 1024, "intermediate_size": 2816,
        "layer_types": ["linear_attention", "full_attention"], "linear_conv_kernel_dim": 4,
        "linear_key_head_dim": 128, "linear_num_key_heads": 4, "linear_num_value_heads": 8,
        "linear_value_head_dim": 128, "max_position_embeddings": 262_144,
        "num_attention_heads": 8, "num_hidden_layers": 2, "num_key_value_heads": 2,
        "vocab_size": 32000, "dtype": "bfloat16"
    });
    let tower = json!({
        "depth": 4, "hidden_size": 256, "num_heads": 4, "intermediate_size": 512,
        "patch_size": 16, "spatial_merge_size": 2, "temporal_patch_size": 2, "in_channels": 3,
        "out_hidden_size": 1024, "num_position_embeddings": 2304, "deepstack_visual_indexes": []
    });
    let whole = |model_type: &str| {
        json!({
            "model_type": model_type, "architectures": ["XForConditionalGeneration"],
            "text_config": text, "vision_config": tower, "tie_word_embeddings": false
        })
    };
    folder.write("text.json", &text.to_string());
    folder.write("whole.json", &whole("qwen3_5").to_string());
    folder.write("unknown.json", &whole("of_our_own").to_string());
    let counted = |name: &str| {
        let answer = folder.run(&format!("import {name} --json")).exits(0).json();
        let counted = answer["summary"]["initializer_elements"].as_u64().unwrap();
        (counted, answer["warnings"].to_string())
    };
    let (alone, _) = counted("text.json");
    let patches = 256 * (3 * 2 * 16 * 16) + 256 + 2304 * 256;
    let block = 4 * 256 + 256 * 768 + 768 + 256 * 256 + 256 + 2 * 256 * 512 + 512 + 256;
    let merger = 2 * 256 + 2 * (1024 * 1024 + 1024);
    assert_eq!(patches + 4 * block + merger, 5_191_424);
    assert_eq!(counted("whole.json").0, alone + 5_191_424);
    let (n, warnings) = counted("unknown.json");
    assert_eq!(n, alone);
    assert!(
        warnings.contains("text-part-alone") && warnings.contains("vision_config"),
        "{warnings}"
    );
}
