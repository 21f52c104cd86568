//! Ops of a graph and stages of a training run have one price: what a step takes and holds on one
//! device is the same both ways, and no price lies below what the device could do at best.

use serde_json::Value;

use super::folder::{Folder, diamond};
use crate::data;

/// One A100 with memory for all.
const CLUSTER: &str = "\
name: one
nodes:
  - {count: 1, device: a100_sxm4_80gb, devices: 1, memory_bytes: 400GB}
";
/// Products in bf16 and memory of the data sheet, per second.
const PEAK: f64 = 312e12;
const BANDWIDTH: f64 = 2.039e12;

/// Model and samples of a step.
const RUNS: [(&str, u64); 6] = [
    ("gpt2_small", 1),
    ("gpt2_small", 8),
    ("resnet50", 64),
    ("resnet50", 256),
    ("llama3_8b", 1),
    ("llama3_8b", 2),
];

/// Step in nanoseconds and peak in bytes: of ops placed on the device, and of one stage.
fn both(folder: &Folder, model: &str, batch: u64) -> [[f64; 2]; 2] {
    let path = data::folder().unwrap().join(format!("models/onnx/{model}.onnx"));
    let plan = format!("plan {} --cluster cluster.yaml --json", path.display());
    let answer_to = |rest: String| folder.run(&format!("{plan} {rest}")).exits(0).json();
    let figure = |value: &Value| value.as_f64().unwrap();
    let ops = answer_to(format!("--workload training --batch {batch} --algorithm single"));
    let device = &ops["report"]["devices"][0];
    let pins = format!("--pin micro-batch={batch} --pin recompute=none");
    let stage = answer_to(format!("--global-batch {batch} {pins}"))["best"].clone();
    [
        [figure(&ops["report"]["step_time_ns"]), figure(&device["peak_memory_bytes"])],
        [figure(&stage["step_time_ns"]), figure(&stage["peak_bytes"])],
    ]
}

/// Bytes of the placeholders of gradients that stages of Megatron-Core have and ops have not, by hand: one in 16 bits
/// for each shape of a block's products, and the head's; a graph of no transformer has none.
fn placeholders(model: &str) -> f64 {
    let [queries_to_values, hidden, inner, down, words] = match model {
        "gpt2_small" => [2304.0, 768.0, 3072.0, 3072.0, 50_257.0],
        "llama3_8b" => [6144.0, 4096.0, 28_672.0, 14_336.0, 128_256.0],
        _ => return 0.0,
    };
    2.0 * hidden * (queries_to_values + hidden + inner + down + words)
}

#[test]
fn ops_and_stages_agree_on_time_and_memory_of_one_device() {
    if data::folder().is_none() {
        return;
    }
    let folder = Folder::new(&diamond());
    folder.write("cluster.yaml", CLUSTER);
    for (model, batch) in RUNS {
        let [ops, mut stage] = both(&folder, model, batch);
        stage[1] -= placeholders(model);
        let [time, memory] = [0, 1].map(|at| ops[at] / stage[at] - 1.0);
        assert!(time.abs() < 0.02, "{model} {batch}: time {time:+.4}");
        assert!(memory.abs() < 0.03, "{model} {batch}: memory {memory:+.4}");
    }
}

/// GPT-2 by hand (Radford et al. 2019: 12 blocks of 768, 1,024 tokens, 50,257 words): products by
/// weights three times, half of the scores' products three and a half times (the scores are computed
/// again), and AdamW, which reads and writes 36 bytes per parameter.
#[test]
fn no_price_of_gpt2_lies_below_the_roofline() {
    if data::folder().is_none() {
        return;
    }
    let folder = Folder::new(&diamond());
    folder.write("cluster.yaml", CLUSTER);
    let (batch, tokens, width, words, blocks) = (8.0, 1024.0, 768.0, 50_257.0, 12.0);
    let weights = blocks * 12.0 * width * width + words * width;
    let by_weights = 3.0 * 2.0 * batch * tokens * weights;
    let cores = 3.5 * 0.5 * blocks * 4.0 * batch * tokens * tokens * width;
    let least_s = (by_weights + cores) / PEAK + 36.0 * weights / BANDWIDTH;
    // Weights, gradients, master weights and moments of each parameter; logits in 6 bytes.
    let least_bytes = 18.0 * weights + 6.0 * batch * tokens * words;
    for [step_ns, peak] in both(&folder, "gpt2_small", 8) {
        let times = step_ns * 1e-9 / least_s;
        assert!((1.0..3.5).contains(&times), "{times} of {least_s} s");
        assert!((1.0..2.0).contains(&(peak / least_bytes)), "{peak} of {least_bytes}");
    }
}
