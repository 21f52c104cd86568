//! Bytes by the tensors that writers of the formats lay out.

use super::*;

fn read(text: &str) -> Result<(Option<Quantization>, Option<Diagnostic>), Diagnostic> {
    let text = format!("{{\"quantization_config\":{text}}}");
    let fields: Object = crate::json::parse(text.as_bytes()).unwrap();
    Quantization::read(Fields(&fields))
}

fn bytes(text: &str, module: &str, shape: [u64; 2]) -> Option<u64> {
    let (found, warning) = read(text).unwrap();
    assert!(warning.is_none(), "{text}");
    found.unwrap().bytes(module, shape).map(|(_, bytes)| bytes.get())
}

const SQUARE: [u64; 2] = [4096, 4096];
const PACKED: u64 = 8_388_608;
const BYTE: u64 = 16_777_216;

/// One product of Llama-2-7B.
#[test]
fn packed_weights_have_the_bytes_of_their_files() {
    // qweight i32[4096, 512], scales f16[32, 4096], qzeros i32[32, 512].
    let awq = 4096 * 512 * 4 + 32 * 4096 * 2 + 32 * 512 * 4;
    let text = r#"{"quant_method":"awq","bits":4,"group_size":128,"zero_point":true}"#;
    assert_eq!(bytes(text, "model.layers.0.self_attn.q_proj", SQUARE), Some(awq));
    // The same and g_idx i32[4096], which only a sorted order needs.
    let sorted = |flag: bool| {
        let text = format!(
            r#"{{"quant_method":"gptq","bits":4,"group_size":128,"desc_act":{flag},"lm_head":false}}"#
        );
        bytes(&text, "q_proj", SQUARE)
    };
    assert_eq!((sorted(false), sorted(true)), (Some(awq), Some(awq + 4096 * 4)));
    // Packed u8[8388608], absmax f32[262144]; nested: u8[262144] and f32[1024].
    let text = r#"{"quant_method":"bitsandbytes","load_in_4bit":true}"#;
    assert_eq!(bytes(text, "q_proj", SQUARE), Some(PACKED + 262_144 * 4));
    let text = r#"{"load_in_4bit":true,"bnb_4bit_use_double_quant":true}"#;
    assert_eq!(bytes(text, "q_proj", SQUARE), Some(PACKED + 262_144 + 1024 * 4));
    let text = r#"{"load_in_8bit":true,"llm_int8_skip_modules":["lm_head"]}"#;
    assert_eq!(bytes(text, "q_proj", SQUARE), Some(BYTE + 4096 * 4));
    assert_eq!(bytes(text, "lm_head", SQUARE), None);
    // weight f8[576, 7168], weight_scale_inv f32[5, 56]: the last row of blocks is in part empty.
    let text = r#"{"quant_method":"fp8","weight_block_size":[128,128]}"#;
    assert_eq!(bytes(text, "q_proj", SQUARE), Some(BYTE + 32 * 32 * 4));
    assert_eq!(bytes(text, "kv_a_proj", [576, 7168]), Some(576 * 7168 + 5 * 56 * 4));
    // W_q u8[8388608], scale and zero f16[262144] each.
    let text = r#"{"quant_method":"hqq","quant_config":{"weight_quant_params":{"nbits":4,
        "group_size":64}},"skip_modules":["lm_head"]}"#;
    assert_eq!(bytes(text, "q_proj", SQUARE), Some(PACKED + 262_144 * 4));
    let text = r#"{"quant_method":"quanto","weights":"int8","modules_to_not_convert":["q_proj"]}"#;
    assert_eq!(bytes(text, "k_proj", SQUARE), Some(BYTE + 4096 * 2));
    assert_eq!(bytes(text, "q_proj", SQUARE), None);
    let text = r#"{"quant_method":"torchao","quant_type":{"default":{"_type":"Int4WeightOnlyConfig",
        "_data":{"group_size":32}}}}"#;
    assert_eq!(bytes(text, "q_proj", SQUARE), Some(PACKED + 4096 * 128 * 4));
}

/// The same figures under the names that other writers and loaders give them.
#[test]
fn other_words_of_a_method_say_the_same() {
    let text = r#"{"quant_method":"awq","w_bit":4,"q_group_size":64,"zero_point":true}"#;
    // qweight i32[4096, 512], scales f16[64, 4096], qzeros i32[64, 512].
    assert_eq!(bytes(text, "q_proj", SQUARE), Some(4096 * 512 * 4 + 64 * 4096 * 2 + 64 * 512 * 4));
    let text = r#"{"quant_method":"fp8","ignored_layers":["lm_head","self_attn"]}"#;
    assert_eq!(bytes(text, "model.layers.0.self_attn.q_proj", SQUARE), None);
    assert_eq!(bytes(text, "model.layers.0.mlp.up_proj", SQUARE), Some(BYTE + 4));
    // What a list leaves out takes the place of what is left out by default: the head.
    let head = |list: &str| {
        let text = format!(r#"{{"quant_method":"bitsandbytes","load_in_8bit":true{list}}}"#);
        read(&text)
            .unwrap()
            .0
            .unwrap()
            .of_head()
            .and_then(|quantization| quantization.bytes("lm_head", SQUARE))
    };
    assert_eq!(head(""), None);
    assert_eq!(head(r#","llm_int8_skip_modules":null"#), None);
    assert_eq!(head(r#","llm_int8_skip_modules":["lm_head"]"#), None);
    let int8 = (DType::I8, Bytes(BYTE + 4096 * 4));
    assert_eq!(head(r#","llm_int8_skip_modules":["self_attn"]"#), Some(int8));
    let text = r#"{"quant_method":"bitsandbytes","_load_in_4bit":true,"_load_in_8bit":false}"#;
    assert_eq!(bytes(text, "q_proj", SQUARE), Some(PACKED + 262_144 * 4));
}

/// `CompressionFormat` of compressed-tensors: as it is, a byte for each element, or side by side.
#[test]
fn formats_of_compressed_tensors_say_how_elements_lie() {
    let text = |format: &str, bits: u8, of_group: &str| {
        format!(
            r#"{{"quant_method":"compressed-tensors",{format}"config_groups":{{"g":{{{of_group}
            "targets":["Linear"],"weights":{{"num_bits":{bits},"type":"int","group_size":128}}}}}}}}"#
        )
    };
    let scales = 4096 * 32 * 2;
    for (format, bits, elements) in [
        ("", 4, PACKED),
        (r#""format":"pack-quantized","#, 4, PACKED),
        (r#""format":"int-quantized","#, 4, BYTE),
        (r#""format":"int-quantized","#, 8, BYTE),
        (r#""format":"naive-quantized","#, 4, BYTE),
    ] {
        let size = bytes(&text(format, bits, ""), "q_proj", SQUARE);
        assert_eq!(size, Some(elements + scales), "{format}");
    }
    let of_group = r#""format":"int-quantized","#;
    let size = bytes(&text(r#""format":"mixed-precision","#, 4, of_group), "q_proj", SQUARE);
    assert_eq!(size, Some(BYTE + scales));
    assert_eq!(read(&text(r#""format":"dense","#, 8, "")).unwrap(), (None, None));
    let (found, unknown) = read(&text(r#""format":"marlin-24","#, 4, "")).unwrap();
    assert!(found.is_some() && unknown.unwrap().message.contains("marlin-24"));
}

#[test]
fn experts_alone_are_of_mxfp4() {
    // gate_up_proj_blocks u8[.., 90, 16] and _scales u8[.., 90] of 2,880 columns.
    let text = r#"{"quant_method":"mxfp4","modules_to_not_convert":["model.layers.*.self_attn",
        "model.layers.*.mlp.router","model.embed_tokens","lm_head"]}"#;
    let expert = "model.layers.3.mlp.experts.7.gate_proj";
    assert_eq!(bytes(text, expert, [2880, 2880]), Some(2880 * 90 * 17));
    for other in ["model.layers.3.self_attn.q_proj", "lm_head", "model.layers.3.mlp.router"] {
        assert_eq!(bytes(text, other, [2880, 2880]), None, "{other}");
    }
}

/// `weight_packed` u8 of two, `weight_scale` f8[4096, 256], `weight_global_scale` and `input_global_scale` f32.
#[test]
fn inputs_of_nvfp4_have_a_scale_above_their_local_ones() {
    let of = |inputs: &str| {
        let text = format!(
            r#"{{"quant_method":"compressed-tensors","format":"nvfp4-pack-quantized","config_groups":{{"group_0":{{
            "targets":["Linear"],"weights":{{"num_bits":4,"type":"float","strategy":"tensor_group","group_size":16}}{inputs}}}}}}}"#
        );
        bytes(&text, "q_proj", SQUARE)
    };
    assert_eq!(of(""), Some(PACKED + 4096 * 256 + 4));
    let local = r#","input_activations":{"num_bits":4,"type":"float","dynamic":"local"}"#;
    assert_eq!(of(local), Some(PACKED + 4096 * 256 + 8));
    assert_eq!(of(&local.replace("\"local\"", "true")), Some(PACKED + 4096 * 256 + 4));
}

#[test]
fn modelopt_has_one_algorithm_or_one_for_each_module() {
    // weight f8, weight_scale and input_scale f32.
    let text = r#"{"quant_method":"modelopt","quant_algo":"FP8","ignore":["lm_head"]}"#;
    assert_eq!(bytes(text, "q_proj", SQUARE), Some(BYTE + 8));
    assert_eq!(bytes(text, "lm_head", SQUARE), None);
    // weight u8 of two, weight_scale f8[4096, 256], weight_scale_2 and input_scale f32.
    let nvfp4 = Some(PACKED + 4096 * 256 + 8);
    let text = r#"{"quant_method":"modelopt","quantization":{"quant_algo":"NVFP4","group_size":16,
        "exclude_modules":["lm_head","model.layers.1.self_attn*"]}}"#;
    assert_eq!(bytes(text, "model.layers.0.self_attn.q_proj", SQUARE), nvfp4);
    assert_eq!(bytes(text, "model.layers.1.self_attn.q_proj", SQUARE), None);
    let text = r#"{"quant_method":"modelopt","quant_algo":"MIXED_PRECISION","quantized_layers":{
        "model.layers.0.self_attn.q_proj":{"quant_algo":"FP8"},
        "model.layers.0.mlp.up_proj":{"quant_algo":"NVFP4","group_size":16}}}"#;
    assert_eq!(bytes(text, "model.layers.0.self_attn.q_proj", SQUARE), Some(BYTE + 8));
    assert_eq!(bytes(text, "model.layers.0.mlp.up_proj", SQUARE), nvfp4);
    assert_eq!(bytes(text, "model.layers.1.mlp.up_proj", SQUARE), None);
}

#[test]
fn groups_of_compressed_tensors_are_of_their_modules() {
    let text = r#"{"quant_method":"compressed-tensors","ignore":["lm_head","re:.*gate$"],
        "config_groups":{
        "group_0":{"targets":["Linear"],"weights":{"num_bits":4,"type":"int","group_size":128,
            "strategy":"group","symmetric":true},"input_activations":null},
        "group_1":{"targets":["re:.*down_proj"],"weights":{"num_bits":8,"type":"float",
            "strategy":"channel","symmetric":true},"input_activations":{"dynamic":true}}}}"#;
    // weight_packed i32, weight_scale bf16[4096, 32]; weight f8, weight_scale bf16[4096, 1].
    assert_eq!(bytes(text, "layers.0.up_proj", SQUARE), Some(PACKED + 4096 * 32 * 2));
    assert_eq!(bytes(text, "layers.0.down_proj", SQUARE), Some(BYTE + 4096 * 2));
    assert_eq!(bytes(text, "layers.0.mlp.gate", SQUARE), None);
    let (found, _) = read(text).unwrap();
    assert_eq!(found.unwrap().bits(), "4 or 8");
}

#[test]
fn faults_and_what_is_not_understood_are_named() {
    let code = |text: &str| read(text).map(|(found, warning)| (found.is_some(), warning.is_some()));
    assert_eq!(code(r#"{"quant_method":"other"}"#).unwrap(), (false, true));
    assert_eq!(code(r#"{"quant_method":"modelopt","quant_algo":"W9"}"#).unwrap(), (false, true));
    let neither = r#"{"quant_method":"bitsandbytes","load_in_4bit":false,"load_in_8bit":false}"#;
    assert_eq!(code(neither).unwrap(), (false, false));
    assert_eq!(code(r#"{"quant_method":"bitsandbytes"}"#).unwrap(), (false, true));
    let sparse = r#"{"quant_method":"compressed-tensors","format":"dense","config_groups":{},
        "sparsity_config":{"format":"sparse-24-bitmask"}}"#;
    assert_eq!(code(sparse).unwrap(), (false, true));
    for partly in [
        r#"{"quant_method":"gptq","dynamic":{"-:.*q_proj":{}}}"#,
        r#"{"quant_method":"awq","modules_to_not_convert":["re:(?!x)"]}"#,
    ] {
        assert_eq!(code(partly).unwrap(), (true, true), "{partly}");
    }
    let groups = |weights: &str| {
        format!(
            r#"{{"quant_method":"compressed-tensors","config_groups":{{"g":{{"targets":["Linear"],
            "weights":{weights}}}}}}}"#
        )
    };
    for wrong in [
        "4",
        r#"{"quant_method":"awq","bits":5}"#,
        r#"{"quant_method":"awq","bits":0}"#,
        r#"{"quant_method":"gptq","bits":-1}"#,
        r#"{"quant_method":"gptq","bits":1e9}"#,
        r#"{"quant_method":"gptq","bits":4,"group_size":-2}"#,
        r#"{"quant_method":"gptq","bits":4,"group_size":0}"#,
        r#"{"quant_method":"fp8","weight_block_size":[0,128]}"#,
        r#"{"quant_method":"fp8","weight_block_size":[128]}"#,
        r#"{"quant_method":7}"#,
        r#"{"quant_method":"modelopt","quant_algo":"NVFP4","group_size":0}"#,
        r#"{"quant_method":"hqq","quant_config":{"weight_quant_params":{"nbits":0}}}"#,
        &groups(r#"{"num_bits":0}"#),
        &groups(r#"{"num_bits":1000000000}"#),
        &groups(r#"{"num_bits":4,"group_size":0}"#),
        &groups(r#"{"num_bits":2,"type":"float"}"#),
        &groups("7"),
    ] {
        assert_eq!(read(wrong).unwrap_err().code, "invalid-field", "{wrong}");
    }
}
