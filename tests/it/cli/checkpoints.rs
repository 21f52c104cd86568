//! What a checkpoint holds is one number, whichever question is asked of it: element types, quantised
//! weights, cached keys and values.

use serde_json::{Value, json};

use super::folder::{Folder, Ran, diamond};

const CLUSTER: &str = "\
name: one
nodes:
  - {count: 1, device: h100_sxm5_80gb, devices: 8, scaleup: nvlink4, host: pcie5_x16}
";
const ONE: &str = "name: one\nnodes:\n  - {device: h100_sxm5_80gb, devices: 1, host: pcie5_x16}\n";
const SMALL: &str = "\
name: small
kinds:
  - {name: chip, memory_bytes: 400MB, memory_bytes_per_s: 1e12, peak_bf16_flops: 1e14,
     peak_fp16_flops: 1e14, peak_fp32_flops: 1e13, multiprocessors: 46}
nodes:
  - {count: 1, device: chip, devices: 1, host: pcie3_x16}
";

/// Four layers of a width of 1,024 with eight heads of 128, two of keys.
fn dense() -> Value {
    json!({
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 1024,
        "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 2,
        "intermediate_size": 3072, "vocab_size": 32000, "max_position_embeddings": 4096,
        "tie_word_embeddings": false, "torch_dtype": "bfloat16"
    })
}

/// The same with 16 experts of a width of 512 in each layer, four of them for each token.
fn mixture() -> Value {
    let mut config = dense();
    for (name, value) in [
        ("model_type", json!("qwen3_moe")),
        ("architectures", json!(["Qwen3MoeForCausalLM"])),
        ("moe_intermediate_size", json!(512)),
        ("num_experts", json!(16)),
        ("num_experts_per_tok", json!(4)),
        ("head_dim", json!(128)),
        ("decoder_sparse_step", json!(1)),
        ("mlp_only_layers", json!([])),
        ("norm_topk_prob", json!(true)),
    ] {
        config[name] = value;
    }
    config
}

fn quantized(config: &Value, quantization: Value) -> Value {
    let mut config = config.clone();
    config["quantization_config"] = quantization;
    config
}

fn folder() -> Folder {
    let folder = Folder::new(&diamond());
    folder.write("c.yaml", CLUSTER);
    folder.write("one.yaml", ONE);
    folder.write("small.yaml", SMALL);
    folder
}

/// What was said, in one line.
fn said(ran: &Ran) -> String {
    ran.stderr.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn parameter_bytes(folder: &Folder, config: &Value) -> u64 {
    folder.write("m.json", &config.to_string());
    let answer = folder.run("import m.json --json --dim sequence=64").exits(0).json();
    answer["summary"]["parameter_bytes"].as_u64().unwrap()
}

fn served(folder: &Folder, config: &Value, flags: &str) -> Value {
    folder.write("m.json", &config.to_string());
    let line =
        "plan m.json --cluster one.yaml --phase decode --batch 4 --cached 1000 --deterministic";
    folder.run(&format!("{line} {flags} --json")).exits(0).json()["plan"].clone()
}

/// Elements of the products of a dense layer.
const PRODUCTS: u64 = 1024 * (1024 + 2 * 256 + 1024) + 3 * 1024 * 3072;
/// Of an expert.
const EXPERT: u64 = 3 * 1024 * 512;
/// Bytes of all else of the dense model: embedding, head and norms.
const REST: u64 = 2 * (2 * 32_000 * 1024 + 9 * 1024);

/// Configs, and bytes of a dense layer's products in 1/32 of an element: by the formats' own tables.
fn methods() -> Vec<(Value, u64)> {
    let groups = |weights: Value| json!({"g": {"targets": ["Linear"], "weights": weights}});
    vec![
        // 16-bit scale and 4-bit zero point of 32 elements.
        (json!({"quant_method": "awq", "bits": 4, "group_size": 32}), 16 * 8 + 20),
        (json!({"quant_method": "gptq", "bits": 8, "group_size": 32}), 32 * 8 + 24),
        // The same of 64 elements, in the words of AWQ's own files.
        (json!({"quant_method": "awq", "w_bit": 4, "q_group_size": 64}), 16 * 8 + 10),
        // A 32-bit scale of 64 elements.
        (json!({"load_in_4bit": true}), 16 * 8 + 16),
        (
            json!({"quant_method": "compressed-tensors", "ignore": ["lm_head"], "config_groups":
                groups(json!({"num_bits": 4, "type": "int", "group_size": 32, "symmetric": true}))}),
            16 * 8 + 16,
        ),
        // A byte for each element of 4 bits.
        (
            json!({"quant_method": "compressed-tensors", "format": "int-quantized",
                "ignore": ["lm_head"], "config_groups":
                groups(json!({"num_bits": 4, "type": "int", "group_size": 32, "symmetric": true}))}),
            32 * 8 + 16,
        ),
        // An 8-bit scale of 32 elements.
        (
            json!({"quant_method": "compressed-tensors", "ignore": ["lm_head"], "config_groups":
                groups(json!({"num_bits": 4, "type": "float", "group_size": 32}))}),
            16 * 8 + 8,
        ),
        (
            json!({"quant_method": "hqq", "quant_config": {"weight_quant_params":
                {"nbits": 4, "group_size": 64}}}),
            16 * 8 + 16,
        ),
    ]
}

#[test]
fn weights_of_a_dense_checkpoint_are_the_same_bytes_in_every_question() {
    let folder = folder();
    let plain = parameter_bytes(&folder, &dense());
    assert_eq!(plain, 4 * PRODUCTS * 2 + REST);
    let weights = |plan: &Value| {
        let stages = plan["served"]["stages"].as_array().unwrap();
        stages.iter().map(|stage| stage["weight_bytes"].as_u64().unwrap()).sum::<u64>()
    };
    let period = |plan: &Value| plan["served"]["period_ns"].as_u64().unwrap();
    let half = served(&folder, &dense(), "");
    assert_eq!(weights(&half), plain);
    for (method, thirty_seconds) in methods() {
        let config = quantized(&dense(), method.clone());
        let by_hand = 4 * PRODUCTS * thirty_seconds / 32 / 8 + REST;
        assert_eq!(parameter_bytes(&folder, &config), by_hand, "{method}");
        let plan = served(&folder, &config, "");
        assert_eq!(weights(&plan), by_hand, "{method}");
        // A step that reads all weights once is faster for fewer bytes.
        assert!(period(&plan) < period(&half), "{method}");
        // Placed op by op, its weights lie on the device, beside activations of 64 tokens.
        let line = "plan m.json --cluster one.yaml --dim sequence=64 --json";
        let placed = folder.run(line).exits(0).json();
        let device = &placed["report"]["devices"][0];
        let beside = device["peak_memory_bytes"].as_u64().unwrap() - by_hand;
        assert!(beside < 16 << 20, "{method}: {device}");
        // Training is priced in the type of the run, and says so.
        let train = "plan m.json --cluster c.yaml --global-batch 8 --sequence-length 512 --json";
        let trained = folder.run(train).exits(0);
        assert!(trained.stdout.contains("quantized-weights"), "{method}");
    }
}

#[test]
fn experts_of_a_quantised_checkpoint_are_the_same_bytes_in_every_question() {
    let folder = folder();
    let expert = |config: &Value| {
        folder.write("m.json", &config.to_string());
        let line = "plan m.json --cluster one.yaml --algorithm expertflow --phase decode --batch 1 \
            --json";
        let answer = folder.run(line).exits(0).json();
        answer["plan"]["experts"]["host"]["expert_bytes"].as_u64().unwrap()
    };
    let findep = |config: &Value| {
        folder.write("m.json", &config.to_string());
        let line = "plan m.json --cluster c.yaml --algorithm findep --phase decode --batch 64 \
            --sequence-length 512 --json";
        let answer = folder.run(line).exits(0).json();
        answer["plan"]["experts"]["disaggregated"]["expert_bytes"]
            .as_u64()
            .unwrap_or_else(|| panic!("{}", answer["plan"]["experts"]))
    };
    let imported = |config: &Value| parameter_bytes(&folder, config);
    let (half, all) = (mixture(), imported(&mixture()));
    assert_eq!(expert(&half), 2 * EXPERT);
    let of_half = findep(&half);
    for (method, thirty_seconds) in methods() {
        let config = quantized(&half, method.clone());
        let bytes = EXPERT * thirty_seconds / 32 / 8;
        assert_eq!(expert(&config), bytes, "{method}");
        // Attention's products shrink as well.
        let attention = 1024 * (1024 + 2 * 256 + 1024);
        let saved = |elements: u64| 2 * elements - elements * thirty_seconds / 32 / 8;
        assert_eq!(
            all - imported(&config),
            4 * (16 * saved(EXPERT) + saved(attention)),
            "{method}"
        );
        // Devices of experts hold the same share of them, or another one of fewer bytes.
        assert_eq!(findep(&config) % bytes, 0, "{method}");
        assert!(findep(&config) < of_half * 3, "{method}");
    }
    // Experts alone, 17 bytes for 32 elements.
    let mxfp4 = quantized(&half, json!({"quant_method": "mxfp4"}));
    assert_eq!(expert(&mxfp4), EXPERT * 17 / 32);
    assert_eq!(all - imported(&mxfp4), 4 * 16 * (2 * EXPERT - EXPERT * 17 / 32));
}

/// A type that only the text part states, or none.
#[test]
fn a_proof_rests_on_no_type_that_nobody_stated() {
    let folder = folder();
    let mut untyped = dense();
    untyped["torch_dtype"] = Value::Null;
    assert_eq!(parameter_bytes(&folder, &untyped), 2 * (4 * PRODUCTS * 2 + REST));
    let text = said(&folder.run("import m.json --dim sequence=64").exits(0));
    assert!(text.contains("assumed fp32"), "{text}");
    // 236 MB of 16 bits fit where those of 32 do not.
    let place = "plan m.json --cluster small.yaml --dim sequence=64";
    let found = said(&folder.run(place).exits(5));
    assert!(found.contains("states no type"), "{found}");
    assert!(!found.contains("certificate"), "{found}");
    folder.run(&format!("{place} --dtype fp32")).exits(4);
    folder.run(&format!("{place} --dtype bf16")).exits(0);
    // A placement is of one pass, and says so where it is for who generates.
    let text = said(&folder.run("plan m.json --cluster one.yaml --dim sequence=64 --for vllm"));
    assert!(text.contains("no-kv-cache"), "{text}");
    // Nor on weights that may be packed.
    let unknown = quantized(&dense(), json!({"quant_method": "of-tomorrow"}));
    folder.write("m.json", &unknown.to_string());
    folder.write("tiny.yaml", &SMALL.replace("400MB", "100MB"));
    folder.run("plan m.json --cluster tiny.yaml --dim sequence=64").exits(5);
    folder.run("plan m.json --cluster tiny.yaml --phase decode --batch 1 --cached 8").exits(5);
    folder.write("m.json", &dense().to_string());
    folder.run("plan m.json --cluster tiny.yaml --phase decode --batch 1 --cached 8").exits(4);
}

#[test]
fn types_of_caches_are_stated_taken_from_the_checkpoint_and_told_to_servers() {
    let folder = folder();
    let cache = |plan: &Value| plan["served"]["stages"][0]["cache_bytes"].as_u64().unwrap();
    // Keys and values of two heads of 128 of 1,001 tokens of four samples in four layers.
    let elements = 2 * 2 * 128 * 1001 * 4 * 4;
    assert_eq!(cache(&served(&folder, &dense(), "")), 2 * elements);
    for (name, bytes) in [
        ("fp32", 4 * elements),
        ("bf16", 2 * elements),
        ("fp8", elements),
        ("q8_0", elements * 34 / 32),
        ("q4_0", elements * 18 / 32),
    ] {
        let plan = served(&folder, &dense(), &format!("--kv-dtype {name}"));
        assert_eq!(cache(&plan), bytes, "{name}");
    }
    // As a checkpoint states it, and not where a flag does.
    let scheme = json!({"num_bits": 8, "type": "float"});
    let stated = json!({"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"],
        "kv_cache_scheme": scheme});
    let stated = quantized(&dense(), stated);
    assert_eq!(cache(&served(&folder, &stated, "")), elements);
    assert_eq!(cache(&served(&folder, &stated, "--kv-dtype bf16")), 2 * elements);
    let script = |kind: &str, target: &str| {
        let line = "plan m.json --cluster one.yaml --phase decode --batch 4 --cached 1000 --force";
        let line = format!("{line} --kv-dtype {kind} -o p.json --export {target}=s.sh");
        folder.run(&line)
    };
    for (kind, target, flag) in [
        ("fp8", "vllm", "--kv-cache-dtype fp8"),
        ("fp8", "sglang", "--kv-cache-dtype fp8_e4m3"),
        ("q8_0", "llama.cpp", "-ctk q8_0 -ctv q8_0"),
    ] {
        script(kind, target).exits(0);
        let text = folder.read("s.sh");
        assert!(text.contains(flag), "{text}");
        folder.run("verify p.json --model m.json --cluster one.yaml").exits(0);
    }
    let refused = script("fp8", "llama.cpp");
    assert!(refused.code != 0 && refused.stderr.contains("q8_0"), "{}", refused.stderr);
    let train = "plan m.json --cluster c.yaml --global-batch 8 --kv-dtype fp8";
    assert!(folder.run(train).exits(2).stderr.contains("--kv-dtype"));
}

/// Of a dense layer's products: attention's, and the feed-forward part's.
const ATTENTION: u64 = 1024 * (1024 + 2 * 256 + 1024);
const FED: u64 = PRODUCTS - ATTENTION;
/// Elements of the head.
const HEAD: u64 = 32_000 * 1024;

/// What is left out, said in any of the words that loaders know, and what packs nothing.
#[test]
fn weights_that_are_left_as_they_are_have_the_bytes_of_their_type() {
    let folder = folder();
    let plain = 4 * PRODUCTS * 2 + REST;
    // 8-bit floats with a 32-bit scale of each of three products.
    let of_fp8 = 4 * (2 * ATTENTION + FED + 3 * 4) + REST;
    // 8-bit integers with a 32-bit scale of each row, the head among them.
    let rows = 4 * (2 * 3072 + 1024);
    let of_int8 = 4 * (2 * ATTENTION + FED + rows) + REST - HEAD + 4 * 32_000;
    let dense = json!({"g": {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "int"}}});
    for (method, by_hand, says) in [
        (
            json!({"quant_method": "fp8", "ignored_layers": ["lm_head", "self_attn"]}),
            of_fp8,
            "held in 8 bits",
        ),
        (
            json!({"load_in_8bit": true, "llm_int8_skip_modules": ["self_attn"]}),
            of_int8,
            "held in 8 bits",
        ),
        (json!({"load_in_8bit": false, "load_in_4bit": false}), plain, ""),
        (
            json!({"quant_method": "compressed-tensors", "format": "dense", "config_groups": dense}),
            plain,
            "",
        ),
        (json!({"quant_method": "mxfp4"}), plain, "covers no weight of this model"),
        (
            json!({"quant_method": "compressed-tensors", "format": "dense", "config_groups": {},
                "sparsity_config": {"format": "sparse-24-bitmask"}}),
            plain,
            "`sparsity_config` in `quantization_config` (compressed-tensors) is not understood",
        ),
    ] {
        let config = quantized(&self::dense(), method.clone());
        assert_eq!(parameter_bytes(&folder, &config), by_hand, "{method}");
        let plan = served(&folder, &config, "");
        let stages = plan["served"]["stages"].as_array().unwrap();
        let weights: u64 = stages.iter().map(|stage| stage["weight_bytes"].as_u64().unwrap()).sum();
        assert_eq!(weights, by_hand, "{method}");
        let ran = folder.run("import m.json --dim sequence=64").exits(0);
        assert!(said(&ran).contains(says), "{method}: {}", ran.stderr);
        let claims = ran.stderr.contains("held in");
        assert_eq!(claims, by_hand != plain, "{method}: {}", ran.stderr);
    }
}

/// Parameters are elements, whichever bits they are packed in.
#[test]
fn packed_weights_count_as_the_elements_that_they_are() {
    let folder = folder();
    let of = |config: &Value| {
        folder.write("m.json", &config.to_string());
        let answer = folder.run("import m.json --json --dim sequence=64").exits(0).json();
        let template = answer["structure"]["template"].is_string();
        (answer["structure"]["n_parameters"].as_u64().unwrap(), template)
    };
    let all = of(&dense());
    assert_eq!(all, (4 * PRODUCTS + REST / 2, true));
    for (method, _) in methods() {
        assert_eq!(of(&quantized(&dense(), method.clone())), all, "{method}");
    }
}

/// 64-bit floats are eight bytes, where they are priced; steps that serve are not.
#[test]
fn a_type_that_a_path_does_not_price_is_refused_by_name() {
    let folder = folder();
    let mut wide = mixture();
    wide["torch_dtype"] = json!("float64");
    let half = parameter_bytes(&folder, &mixture());
    assert_eq!(parameter_bytes(&folder, &wide), 4 * half);
    folder.write("m.json", &wide.to_string());
    for line in [
        "--cluster one.yaml --algorithm expertflow --phase decode --batch 1",
        "--cluster c.yaml --algorithm findep --phase decode --batch 64 --sequence-length 512",
        "--cluster c.yaml --algorithm dynaflow --phase decode --batch 64 --sequence-length 512",
    ] {
        let found = said(&folder.run(&format!("plan m.json {line}")).exits(2));
        assert!(found.contains("not priced in fp64"), "{found}");
    }
    let mut wide = dense();
    wide["torch_dtype"] = json!("float64");
    folder.write("m.json", &wide.to_string());
    let phase = "plan m.json --cluster one.yaml --phase decode --batch 4 --cached 1000";
    assert!(said(&folder.run(phase).exits(2)).contains("not priced in fp64"));
    folder.run(&format!("{phase} --dtype fp32")).exits(0);
    let train = "plan m.json --cluster c.yaml --global-batch 8 --sequence-length 512";
    let text = said(&folder.run(train).exits(0));
    assert!(text.contains("the config states fp64, in which no run is planned"), "{text}");
}

/// Without a type all questions assume the same one, and say so.
#[test]
fn a_type_that_nobody_states_is_assumed_alike() {
    let folder = folder();
    let untyped = |mut config: Value| {
        config["torch_dtype"] = Value::Null;
        config
    };
    let plan_of = |line: &str| {
        let answer = folder.run(line).exits(0).json();
        let warnings = answer["warnings"].as_array().unwrap();
        let assumed: Vec<&Value> =
            warnings.iter().filter(|warning| warning["code"] == "assumed-dtype").collect();
        assert_eq!(assumed.len(), 1, "{warnings:?}");
        let stated = warnings.iter().any(|warning| warning["code"] == "stated-dtype");
        assert!(!stated, "{warnings:?}");
        answer["plan"].clone()
    };
    folder.write("m.json", &untyped(dense()).to_string());
    let phase = "plan m.json --cluster one.yaml --phase decode --batch 4 --cached 1000 --json";
    let plan = plan_of(phase);
    assert_eq!(plan["served"]["stages"][0]["weight_bytes"], 2 * (4 * PRODUCTS * 2 + REST));
    folder.write("m.json", &untyped(mixture()).to_string());
    let plan = plan_of(
        "plan m.json --cluster one.yaml --algorithm expertflow --phase decode --batch 1 --json",
    );
    assert_eq!(plan["experts"]["host"]["expert_bytes"], 4 * EXPERT);
    let disaggregated = "plan m.json --cluster c.yaml --algorithm findep --phase decode --batch 64 \
        --sequence-length 512 --json";
    let plan = plan_of(disaggregated);
    let bytes = plan["experts"]["disaggregated"]["expert_bytes"].as_u64().unwrap();
    assert_eq!(bytes % (4 * EXPERT), 0, "{bytes}");
    // What was planned is verified, with the same assumption.
    folder.run(&format!("{disaggregated} -o p.json")).exits(0);
    folder.run("verify p.json --model m.json --cluster c.yaml").exits(0);
}

/// Experts of several sizes have no slot of one size.
#[test]
fn experts_that_are_quantised_in_part_are_refused_by_name() {
    let folder = folder();
    let groups = json!({"g": {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "int",
        "group_size": 32, "symmetric": true}}});
    for ignored in ["re:.*layers.0.mlp.experts.*", "re:.*layers.2.mlp.experts.3.*"] {
        let method = json!({"quant_method": "compressed-tensors", "ignore": ["lm_head", ignored],
            "config_groups": groups});
        folder.write("m.json", &quantized(&mixture(), method).to_string());
        for line in [
            "--cluster one.yaml --algorithm expertflow --phase decode --batch 1",
            "--cluster c.yaml --algorithm findep --phase decode --batch 64 --sequence-length 512",
        ] {
            let found = said(&folder.run(&format!("plan m.json {line}")).exits(3));
            assert!(found.contains("experts of several sizes"), "{ignored}: {found}");
        }
        folder.run("plan m.json --cluster one.yaml --dim sequence=64").exits(0);
    }
}

/// Hints that end in an answer: a type does not say how weights are packed.
#[test]
fn who_does_not_understand_a_method_says_what_helps() {
    let folder = folder();
    folder.write("tiny.yaml", &SMALL.replace("400MB", "100MB"));
    for method in [
        json!({"quant_method": "aqlm", "num_codebooks": 1}),
        json!({"quant_method": "gptq", "bits": 8, "modules_in_block_to_quantize": [["q_proj"]]}),
    ] {
        folder.write("m.json", &quantized(&dense(), method).to_string());
        for line in ["--phase decode --batch 1 --cached 8", "--dim sequence=64"] {
            let found = folder.run(&format!("plan m.json --cluster tiny.yaml {line}")).exits(5);
            let found = said(&found);
            assert!(!found.contains("--dtype"), "{found}");
            assert!(found.contains("leave `quantization_config` out"), "{found}");
        }
    }
}

/// A part with a type of its own is counted in the type of the whole, which is said.
#[test]
fn a_part_of_another_type_is_told_of() {
    let folder = folder();
    let mut config: Value = serde_json::from_str(PUBLISHED[1].0).unwrap();
    config["vision_config"]["dtype"] = json!("float32");
    assert_eq!(parameter_bytes(&folder, &config), PUBLISHED[1].1);
    let text = said(&folder.run("import m.json").exits(0));
    assert!(text.contains("`vision_config` states fp32"), "{text}");
    assert!(!said(&folder.run("import m.json --dtype bf16").exits(0)).contains("part-dtype"));
    config["vision_config"]["dtype"] = json!("float16");
    folder.write("m.json", &config.to_string());
    assert!(!said(&folder.run("import m.json").exits(0)).contains("part-dtype"));
}

/// Configs with the fields of published ones and sizes of our own, and the bytes of their weights.
const PUBLISHED: [(&str, u64); 5] = [
    // 175,612,672 parameters, counted by transformers, in 16 bits.
    (
        r#"{"model_type":"qwen3_vl","architectures":["Qwen3VLForConditionalGeneration"],
        "tie_word_embeddings":false,"text_config":{"model_type":"qwen3_vl_text",
        "hidden_size":1024,"num_hidden_layers":8,"num_attention_heads":8,
        "num_key_value_heads":4,"head_dim":128,"intermediate_size":3072,"vocab_size":32000,
        "max_position_embeddings":32768,"rms_norm_eps":1e-06,"hidden_act":"silu",
        "rope_theta":5000000,"dtype":"bfloat16","attention_bias":false,
        "rope_scaling":{"mrope_interleaved":true,"mrope_section":[24,20,20],
        "rope_type":"default"}},"vision_config":{"model_type":"qwen3_vl","depth":4,
        "hidden_size":256,"num_heads":4,"intermediate_size":512,"patch_size":16,
        "spatial_merge_size":2,"temporal_patch_size":2,"in_channels":3,"out_hidden_size":1024,
        "num_position_embeddings":2304,"deepstack_visual_indexes":[1,2],
        "hidden_act":"gelu_pytorch_tanh"},"image_token_id":100,"vision_start_token_id":101,
        "vision_end_token_id":102,"video_token_id":103}"#,
        351_225_344,
    ),
    // 147,390,976 parameters in 16 bits.
    (
        r#"{"model_type":"llava","architectures":["LlavaForConditionalGeneration"],
        "image_token_index":32000,"projector_hidden_act":"gelu","vision_feature_layer":-2,
        "vision_feature_select_strategy":"default","text_config":{"model_type":"llama",
        "hidden_size":1024,"num_hidden_layers":6,"num_attention_heads":8,
        "num_key_value_heads":8,"intermediate_size":2816,"vocab_size":32064,
        "torch_dtype":"float16","rms_norm_eps":1e-05,"max_position_embeddings":4096},
        "vision_config":{"model_type":"clip_vision_model","hidden_size":256,
        "intermediate_size":1024,"num_attention_heads":4,"num_hidden_layers":4,"image_size":112,
        "patch_size":14,"projection_dim":256,"vocab_size":32000}}"#,
        294_781_952,
    ),
    // 201,326,592 weights of experts in 17 bytes for 32, the rest in 16 bits.
    (
        r#"{"model_type":"gpt_oss","architectures":["GptOssForCausalLM"],"hidden_size":1024,
        "intermediate_size":1024,"num_hidden_layers":4,"num_attention_heads":16,
        "num_key_value_heads":4,"head_dim":64,"num_local_experts":16,"num_experts_per_tok":4,
        "experts_per_token":4,"vocab_size":32000,"sliding_window":128,
        "layer_types":["sliding_attention","full_attention","sliding_attention",
        "full_attention"],"max_position_embeddings":131072,"attention_bias":true,
        "rms_norm_eps":1e-05,"tie_word_embeddings":false,"rope_theta":150000,
        "hidden_act":"silu","swiglu_limit":7.0,"quantization_config":{"quant_method":"mxfp4",
        "modules_to_not_convert":["model.layers.*.self_attn","model.layers.*.mlp.router",
        "model.embed_tokens","lm_head"]}}"#,
        259_561_728,
    ),
    // 360,710,144 weights in 8 bits with two 32-bit scales for each of 56 products, 131,106,816 in 16.
    (
        r#"{"model_type":"llama","architectures":["LlamaForCausalLM"],"hidden_size":2048,
        "intermediate_size":5632,"num_hidden_layers":8,"num_attention_heads":16,
        "num_key_value_heads":4,"vocab_size":32000,"max_position_embeddings":4096,
        "rms_norm_eps":1e-05,"torch_dtype":"bfloat16","tie_word_embeddings":false,
        "quantization_config":{"quant_method":"modelopt","quant_algo":"FP8",
        "kv_cache_scheme":{"num_bits":8,"type":"float","dynamic":false},"ignore":["lm_head"],
        "producer":{"name":"modelopt","version":"0.33"}}}"#,
        622_924_224,
    ),
    // 360,710,144 weights in 4 bits with a 16-bit scale of 32, 131,106,816 in 16.
    (
        r#"{"model_type":"llama","architectures":["LlamaForCausalLM"],"hidden_size":2048,
        "intermediate_size":5632,"num_hidden_layers":8,"num_attention_heads":16,
        "num_key_value_heads":4,"vocab_size":32000,"max_position_embeddings":4096,
        "rms_norm_eps":1e-05,"torch_dtype":"bfloat16","tie_word_embeddings":false,
        "quantization_config":{"quant_method":"compressed-tensors","format":"pack-quantized",
        "ignore":["lm_head"],"config_groups":{"group_0":{"targets":["Linear"],
        "weights":{"num_bits":4,"type":"int","group_size":32,"symmetric":true,
        "strategy":"group"},"input_activations":null,"output_activations":null}}}}"#,
        465_113_088,
    ),
];

#[test]
fn published_forms_of_configs_have_the_bytes_of_their_tensors() {
    let folder = folder();
    for (config, bytes) in PUBLISHED {
        folder.write("m.json", config);
        let answer = folder.run("import m.json --json").exits(0).json();
        assert_eq!(answer["summary"]["parameter_bytes"].as_u64(), Some(bytes), "{config}");
    }
}
