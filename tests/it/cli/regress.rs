//! Inputs that were answered wrongly once (docs/data.md): each is refused by name, told apart, or
//! planned in time.

use std::path::Path;
use std::time::{Duration, Instant};

use super::folder::run;
use crate::data;

/// What is run, its exit code, and a word of what is said. `R`, `H` and `E` stand for the folders of
/// these inputs, of configs, and of the clusters of the examples.
const CASES: &[(&str, i32, &str)] = &[
    (
        "compare R/compare_other_batch.args R/plan_dense.json --model H/gpt2.json --cluster E/two-nodes.yaml",
        10,
        "as fast per token",
    ),
    (
        "compare R/compare_other_sequence.args R/plan_dense.json --model H/gpt2.json --cluster E/two-nodes.yaml",
        10,
        "of 64 samples of 1 tokens",
    ),
    (
        "compare R/compare_expert_4e9.args R/plan_dense.json --model H/gpt2.json --cluster E/two-nodes.yaml",
        3,
        "--expert-model-parallel-size",
    ),
    (
        "compare R/megatron_16GiB.args R/plan_dense.json --model H/gpt2.json --cluster E/two-nodes.yaml",
        3,
        "--pipeline-model-parallel-size",
    ),
    (
        "compare R/megatron_product.args R/plan_dense.json --model H/gpt2.json --cluster E/two-nodes.yaml",
        3,
        "--tensor-model-parallel-size",
    ),
    (
        "compare R/sglang_product.args R/plan_dense.json --model H/gpt2.json --cluster E/two-nodes.yaml",
        3,
        "--tp-size",
    ),
    ("plan H/gpt2.json --cluster R/slip_312.yaml --global-batch 64", 3, "312e12"),
    (
        "plan H/gpt2.json --cluster R/hang_flops_1e-300.yaml --global-batch 64 --time-limit 2s",
        3,
        "kind-rate",
    ),
    (
        "plan H/gpt2.json --cluster R/a100.yaml --profile R/prof_steps.json --stack \
         megatron-deepspeed-2021 --global-batch 64",
        0,
        "stack measured",
    ),
    (
        "plan H/gpt2.json --cluster R/a100.yaml --profile R/profile_stack_derating_1e21.json \
         --stack megatron-deepspeed-2021 --global-batch 64",
        3,
        "derating",
    ),
    (
        "verify R/plan_lies_verifies.json --model H/gpt2.json --cluster E/two-nodes.yaml",
        6,
        "expert can't be 9",
    ),
    (
        "verify R/lies.json --model H/llama-2-7b.json --cluster R/a1x8.yaml",
        6,
        "`training.schedule` states nonsense",
    ),
    (
        "verify R/lies.json --model H/llama-2-7b.json --cluster R/a1x8.yaml",
        6,
        "`cost.step_time_s` states 0.001",
    ),
    (
        "verify R/tensor5.json --model H/llama-2-7b.json --cluster R/a1x8.yaml",
        6,
        "tensor can't be 5",
    ),
    ("plan R/empty_pipedream.txt", 3, "empty-instance"),
    ("import R/config_head_dim_2e31.json", 3, "head_dim"),
    (
        "plan H/llama-2-7b.json --cluster E/a100-node.yaml --profile R/galvatron_p2p_1e-30 \
         --global-batch 32 --sequence-length 2048 --max-memory-per-device 20GiB",
        3,
        "pp_size_4",
    ),
    ("plan H/gpt2.json --cluster R/y_1000chain.yaml", 3, "too-many-links"),
    (
        "plan R/l1000.json --cluster E/pod-1024.yaml --global-batch 1024 --time-limit 5s",
        0,
        "plan     DP",
    ),
    ("import R/onnx/prelu6.onnx", 0, "PRelu"),
    ("import R/onnx/add6_axis.onnx", 0, "Add"),
    ("import R/onnx/mul6_axis.onnx", 0, "Mul"),
    (
        "plan R/configs/deepseekv2-lite.json --cluster E/two-nodes.yaml --global-batch 8",
        0,
        "plan     DP",
    ),
];

#[test]
fn inputs_that_were_answered_wrongly_are_answered_right() {
    let Some(data) = data::folder() else { return };
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/clusters");
    let folders =
        [(" R/", data.join("regress")), (" H/", data.join("models/hf_configs")), (" E/", examples)];
    let mut wrong = Vec::new();
    for (line, code, word) in CASES {
        let full = folders.iter().fold((*line).to_owned(), |line, (short, folder)| {
            line.replace(short, &format!(" {}/", folder.display()))
        });
        let started = Instant::now();
        let ran = run(&full);
        let said = format!("{}{}", ran.stdout, ran.stderr).replace("\n  ", " ");
        // The longest limit that is asked for is 5 s; the rest is for other tests beside this one.
        if ran.code != *code || !said.contains(word) || started.elapsed() > Duration::from_secs(60)
        {
            wrong.push(format!("{line}: {} after {:?}\n{said}", ran.code, started.elapsed()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// What a config says and was ignored changes what is counted.
#[test]
fn fields_of_configs_that_were_ignored_count() {
    let Some(folder) = data::folder().map(|folder| folder.join("regress")) else { return };
    let import =
        |line: &str| run(&format!("import {}/{line} --json", folder.display())).exits(0).json();
    let plain = import("configs/llama_plain.json");
    for name in ["awq", "bnb4", "fp8", "gptq"] {
        let quantized = import(&format!("configs/llama_{name}.json"));
        assert_ne!(
            quantized["summary"]["parameter_bytes"], plain["summary"]["parameter_bytes"],
            "{name}"
        );
    }
    let flops = |batch: &str| {
        import(&format!("onnx/mha2_10_2.onnx {batch}"))["summary"]["forward_flops"]
            .as_f64()
            .unwrap()
    };
    assert!((flops("--batch 8") / flops("") - 4.0).abs() < 1e-9);
}
