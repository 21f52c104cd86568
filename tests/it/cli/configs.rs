//! Configs on the command line: hostile numbers, classes without a head, quantised weights.

use serde_json::{Value, json};

use super::clusters::Says;
use super::folder::{Folder, diamond};
use super::training::{CLUSTER, config};

fn folder() -> Folder {
    let folder = Folder::new(&diamond());
    folder.write("cluster.yaml", CLUSTER);
    folder
}

fn with(fields: &[(&str, Value)]) -> String {
    let mut config = config();
    for (name, value) in fields {
        config[*name] = value.clone();
    }
    config.to_string()
}

const RUN: &str = "--cluster cluster.yaml --global-batch 8 --sequence-length 512";

/// A number at the end of its range, or far outside, ends in a plan or in a sentence.
#[test]
fn hostile_numbers_end_in_a_sentence() {
    let folder = folder();
    let ends = [
        ("hidden_size", 1_u64 << 20),
        ("num_hidden_layers", 2_000),
        ("intermediate_size", 1 << 22),
        ("vocab_size", 1 << 24),
        ("head_dim", 1 << 14),
        ("max_position_embeddings", 1 << 24),
    ];
    for (name, most) in ends {
        for (value, codes) in [
            (json!(most), &[0, 4][..]),
            (json!(most + 1), &[3]),
            (json!(1_u64 << 53), &[3]),
            (json!(1e300), &[3]),
            (json!(-1), &[3]),
        ] {
            folder.write("c.json", &with(&[(name, value.clone())]));
            let ran = folder.run(&format!("plan c.json {RUN} --time-limit 1s"));
            assert!(codes.contains(&ran.code), "{name} {value}: {}\n{}", ran.code, ran.stderr);
            assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
        }
    }
    folder.write("c.json", &config().to_string());
    for length in [1_u64 << 24, (1 << 24) + 1, u64::MAX] {
        let line = "plan c.json --cluster cluster.yaml --global-batch 16777216 --time-limit 1s";
        let ran = folder.run(&format!("{line} --sequence-length {length}"));
        assert!([0, 2, 3, 4].contains(&ran.code), "{length}: {}\n{}", ran.code, ran.stderr);
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    }
}

/// A classifier is trained on its own parameters, by parts where it is no card.
#[test]
fn models_without_a_vocabulary_head_are_trained_as_they_are() {
    let folder = folder();
    let n = |class: &str| {
        folder.write("c.json", &with(&[("architectures", json!([class]))]));
        let answer = folder.run(&format!("plan c.json {RUN} --json")).exits(0).json();
        answer["plan"]["training"]["n_parameters"].as_u64().unwrap()
    };
    let (whole, head) = (n("LlamaForCausalLM"), 2048 * 32_000);
    assert_eq!(n("LlamaModel"), whole - head);
    assert_eq!(n("LlamaForSequenceClassification"), whole - head + 2 * 2048);
}

/// Packed weights for inference, whole ones for training, each with a word about it.
#[test]
fn quantised_weights_count_where_they_are_used() {
    let folder = folder();
    let awq = json!({"quant_method": "awq", "bits": 4, "group_size": 128});
    let dtype = ("torch_dtype", json!("bfloat16"));
    folder.write("plain.json", &with(std::slice::from_ref(&dtype)));
    folder.write("awq.json", &with(&[dtype, ("quantization_config", awq)]));
    let bytes = |name: &str| {
        let answer = folder.run(&format!("import {name} --json")).exits(0).json();
        answer["summary"]["parameter_bytes"].as_u64().unwrap()
    };
    // Ten blocks of products; 16 bits become 4 and a part of 20 bits in 128.
    let products = 10 * (2048 * (2 * 2048 + 2 * 1024) + 3 * 2048 * 5632);
    let packed = products / 2 + products / 128 * 20 / 8;
    assert_eq!(bytes("plain.json") - bytes("awq.json"), 2 * products - packed);
    folder.run(&format!("plan awq.json {RUN} -o a.json")).exits(0).says("quantized-weights");
    folder.run(&format!("plan plain.json {RUN} -o b.json")).exits(0);
    let step = |name: &str| {
        let plan: Value = folder.json(name);
        plan["cost"]["step_time_ns"].clone()
    };
    assert_eq!(step("a.json"), step("b.json"));
}

/// A launcher without fp16 plans the config in bf16 and says so; a flag it refuses.
#[test]
fn a_launcher_computes_in_what_it_can_say() {
    let folder = folder();
    folder.write("c.json", &with(&[("torch_dtype", json!("float16"))]));
    let plan = format!("plan c.json {RUN} --for torchtitan");
    let ran = folder.run(&format!("{plan} -o plan.json")).exits(0);
    assert!(format!("{}{}", ran.stdout, ran.stderr).contains("dtype-replaced"));
    let on = "--model c.json --cluster cluster.yaml";
    folder.run(&format!("verify plan.json {on}")).exits(0);
    folder.run(&format!("export plan.json {on} --target torchtitan -o t.args")).exits(0);
    assert!(folder.read("t.args").contains("--training.mixed_precision_param bfloat16"));
    let ran = folder.run(&format!("{plan} --dtype fp16")).exits(2);
    assert!(ran.stderr.contains("cannot-express"), "{}", ran.stderr);
}
