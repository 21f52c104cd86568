//! Whatever is pinned, no plan is faster than what was proved of the whole search space, and none is below its
//! bound: random questions, each asked again with every pin that fixes one choice.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::folder::{Folder, diamond};

const TARGETS: [&str; 7] = [
    "",
    "--for any",
    "--for megatron",
    "--for torchtitan",
    "--for jax",
    "--for deepspeed",
    "--for torch-pipelining",
];
const PINS: [&str; 14] = [
    "sequence-parallel=off",
    "sequence-parallel=on",
    "recompute=none",
    "recompute=selective",
    "recompute=per-op",
    "recompute=full",
    "recompute=alike",
    "tensor=3",
    "tensor=2",
    "pipeline=2",
    "data=2",
    "zero=3",
    "micro-batch=1",
    "context=2",
];
const QUESTIONS: u64 = 30;

fn pick<T: Copy>(random: &mut SmallRng, all: &[T]) -> T {
    all[random.random_range(0..all.len())]
}

/// A model and a cluster of up to four devices, and what is asked of them.
fn asked(folder: &Folder, random: &mut SmallRng) -> String {
    let heads = pick(random, &[3, 4, 6, 8]);
    let model = json!({
        "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_embd": 128 * heads,
        "n_layer": pick(random, &[2, 3, 4]), "n_head": heads, "n_positions": 2048, "vocab_size": 4096,
        "torch_dtype": "float16"
    });
    folder.write("model.json", &model.to_string());
    let device = pick(random, &["v100_sxm2_16gb", "rtx_4090", "a100_sxm4_80gb", "h100_sxm5_80gb"]);
    let [hosts, each] = pick(random, &[[1, 2], [1, 4], [2, 2], [1, 3]]);
    let scaleup = pick(random, &["none", "nvlink2", "nvlink4"]);
    let memory = pick(random, &[1.2e9, 2e9, 16e9]);
    folder.write(
        "cluster.yaml",
        &format!(
            "nodes: [{{count: {hosts}, device: {device}, devices: {each}, memory_bytes: {memory}, scaleup: \
             {scaleup}, host: pcie4_x16}}]\nnetwork: {{link: ib_hdr_200}}\n"
        ),
    );
    format!(
        "plan model.json --cluster cluster.yaml --global-batch {} --sequence-length {} --fastest {}",
        pick(random, &[4, 6, 12]),
        pick(random, &[64, 96, 1024]),
        pick(random, &TARGETS)
    )
}

/// Where the plan is one that was looked for: none beyond the launcher of the stack.
fn is_within(answer: &Value) -> bool {
    let warnings = answer["warnings"].as_array().into_iter().flatten();
    !warnings
        .into_iter()
        .any(|warning| warning["code"] == "beyond-launcher" || warning["code"] == "margin-not-kept")
}

#[test]
fn no_pin_beats_what_was_proved_without_it() {
    let folder = Folder::new(&diamond());
    let [mut n, mut n_proved] = [0; 2];
    for seed in 0..QUESTIONS {
        let line = asked(&folder, &mut SmallRng::seed_from_u64(seed));
        let free = folder.run(&format!("{line} --json"));
        if free.code != 0 || !is_within(&free.json()) {
            continue;
        }
        let free = free.json();
        let cost = |answer: &Value, name: &str| answer["plan"]["cost"][name].as_u64().unwrap();
        let [step, bound] = ["step_time_ns", "bound_ns"].map(|name| cost(&free, name));
        let is_proved = free["is_optimum"] == true;
        for pin in PINS {
            let ran = folder.run(&format!("{line} --pin {pin} --json"));
            if ran.code != 0 || !is_within(&ran.json()) {
                continue;
            }
            let pinned = cost(&ran.json(), "step_time_ns");
            let least = if is_proved { step } else { bound };
            assert!(pinned >= least, "{seed} {line} --pin {pin}: {pinned} below {least}");
            n += 1;
        }
        n_proved += u64::from(is_proved);
    }
    assert!(n > 5 * QUESTIONS && 3 * n_proved > QUESTIONS, "{n} {n_proved}");
}
