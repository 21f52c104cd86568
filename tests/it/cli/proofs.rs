//! Questions without an answer: each is impossible by sums over its own figures that share nothing with the
//! program, and stays so with a tighter limit, one more pin or more time.

use serde_json::{Value, json};

use super::averaging::PAIRS;
use super::folder::{Folder, alone, diamond, instance};

/// Parameters of [`config`]: two tables of words, and by block four matrices of attention, three of the
/// perceptron and two norms; one norm at the end.
fn parameters(n_blocks: f64) -> f64 {
    let [hidden, keys, inner, words] = [256.0, 128.0, 704.0, 8000.0];
    let block = 2.0 * hidden * hidden + 2.0 * hidden * keys + 3.0 * hidden * inner + 2.0 * hidden;
    2.0 * words * hidden + n_blocks * block + hidden
}

pub(super) fn config(n_blocks: u32) -> Value {
    json!({
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 256,
        "num_hidden_layers": n_blocks, "num_attention_heads": 8, "num_key_value_heads": 4,
        "intermediate_size": 704, "vocab_size": 8000, "max_position_embeddings": 2048,
        "tie_word_embeddings": false
    })
}

/// Weights in bf16, and with them what Adam keeps: master weights and two moments in single precision.
const WEIGHT: f64 = 2.0;
const STATES: f64 = WEIGHT + 4.0 + 8.0;

const EQUAL: &str = "\
nodes: [{name: n, count: 2, device: a100_sxm4_80gb, devices: 2, scaleup: nvlink3, host: pcie4_x16}]
network: {link: ib_hdr_200}
";
const UNLIKE: &str = "\
nodes:
  - {name: fast, device: rtx_4090, devices: 2}
  - {name: slow, device: rtx_2080_ti, devices: 2}
network: {bytes_per_s: 1.25e9, latency_s: 50e-6}
";

/// Shares of what would be enough by the sums.
const SHARES: [f64; 10] = [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.95];

/// A question that can't be answered by a sum of its own, and one that is no easier.
struct Question {
    line: String,
    harder: String,
    need: f64,
    have: f64,
}

impl Question {
    fn new(line: String, harder: &str, [need, have]: [f64; 2]) -> Self {
        Self { harder: format!("{line} {harder}"), line, need, have }
    }
}

/// Training runs whose states alone are more than all devices hold together.
fn of_states(folder: &Folder, all: &mut Vec<Question>) {
    for n_blocks in [2_u32, 4] {
        let model = format!("dense{n_blocks}.json");
        folder.write(&model, &config(n_blocks).to_string());
        let need = STATES * parameters(f64::from(n_blocks));
        for (cluster, batch) in [("equal", 8), ("equal", 12), ("unlike", 8)] {
            for share in SHARES {
                let each = (need * share / 4.0) as u64;
                let line = format!(
                    "plan {model} --cluster {cluster}.yaml --global-batch {batch} --sequence-length \
                     512 --no-offload --max-memory-per-device {each}B"
                );
                let harder = match cluster {
                    "equal" => "--pin micro-batch=1 --time-limit 20s",
                    _ => "--memory-margin 0.1 --time-limit 20s",
                };
                all.push(Question::new(line, harder, [need, 4.0 * each as f64]));
            }
        }
    }
}

/// Pipelines that serve whose weights alone are more than all devices hold.
fn of_weights(all: &mut Vec<Question>) {
    for (phase, n_blocks) in [("decode", 2_u32), ("decode", 4), ("prefill", 2), ("prefill", 4)] {
        let need = WEIGHT * parameters(f64::from(n_blocks));
        for share in SHARES {
            let each = (need * share / 4.0) as u64;
            let line = format!(
                "plan dense{n_blocks}.json --cluster unlike.yaml --phase {phase} --batch 1 --dtype f16 \
                 --max-memory-per-device {each}B"
            );
            all.push(Question::new(line, "--batch 2 --time-limit 20s", [need, 4.0 * each as f64]));
        }
    }
    // A flag is stated once.
    for question in all.iter_mut().filter(|question| question.harder.contains("--batch 1 ")) {
        question.harder = question.harder.replacen("--batch 1 ", "", 1);
    }
}

/// Caps that no board keeps to: data sheets of 450, 250 and 400 W, a fifth of which is the least limit.
fn of_caps(all: &mut Vec<Question>) {
    for (cluster, watts) in [("equal", 400.0), ("unlike", 250.0)] {
        for share in [0.02, 0.1, 0.3, 0.6, 0.99] {
            let least = 0.2 * watts;
            let cap = least * share;
            let train = format!(
                "plan dense2.json --cluster {cluster}.yaml --global-batch 8 --sequence-length 512 \
                 --power-cap {cap}"
            );
            all.push(Question::new(train, "--pue 1.2 --time-limit 20s", [least, cap]));
            let serve = format!(
                "plan dense2.json --cluster {cluster}.yaml --phase decode --batch 1 --dtype f16 \
                 --power-cap {cap}"
            );
            all.push(Question::new(serve, "--pue 1.2 --time-limit 20s", [least, cap]));
        }
    }
}

/// Ops that are larger than two devices, and instances larger than three accelerators.
fn of_ops(folder: &Folder, all: &mut Vec<Question>) {
    for at in 1_u64..=30 {
        let limit = 1000;
        let ops = (0..3).map(|id| alone(id, 2 * limit / 3 + at)).collect();
        let name = format!("ops{at}.json");
        folder.write(&name, &instance(ops, limit).to_string());
        let need = 3.0 * (2 * limit / 3 + at) as f64;
        let line = format!("plan {name}");
        let harder = "--pin op0=d0 --time-limit 20s";
        all.push(Question::new(line, harder, [need, 2.0 * limit as f64]));
        let node = |id: u64| json!({ "id": id, "cpuLatency": 20.0, "fpgaLatency": 1.0, "size": 3 });
        let edge = |to: u64| json!({ "sourceId": to - 1, "destId": to, "cost": 0.5 });
        let n = 3 + at;
        let load = json!({
            "maxSizePerFPGA": n - 1, "maxFPGAs": 3, "maxCPUs": 0,
            "nodes": (0..n).map(node).collect::<Vec<_>>(),
            "edges": (1..n).map(edge).collect::<Vec<_>>(),
        });
        let name = format!("load{at}.json");
        folder.write(&name, &load.to_string());
        let sums = [3.0 * n as f64, 3.0 * (n - 1) as f64];
        all.push(Question::new(format!("plan {name}"), "--time-limit 20s", sums));
    }
}

/// Degrees that don't divide four devices, and windows with fewer pairs than a tree of five nodes has.
fn of_counts(folder: &Folder, all: &mut Vec<Question>) {
    for pin in ["data", "tensor", "pipeline", "context"] {
        for degree in [3_u32, 5, 6, 7, 8] {
            let line = format!(
                "plan dense4.json --cluster equal.yaml --global-batch 8 --sequence-length 512 \
                 --devices 4 --pin {pin}={degree}"
            );
            let left = f64::from(if 4 % degree == 0 { 0 } else { degree });
            all.push(Question::new(line, "--pin micro-batch=1 --time-limit 20s", [left, 0.0]));
        }
    }
    let mut short: Value = serde_json::from_str(PAIRS).unwrap();
    short["rounds"] = json!(1);
    folder.write("short.json", &short.to_string());
    let line = "plan short.json".to_owned();
    all.push(Question::new(line, "--time-limit 20s", [4.0, 2.0]));
}

#[test]
fn what_is_impossible_is_so_by_its_own_sums_and_stays_so() {
    let folder = Folder::new(&diamond());
    folder.write("equal.yaml", EQUAL);
    folder.write("unlike.yaml", UNLIKE);
    let mut all = Vec::new();
    of_states(&folder, &mut all);
    of_weights(&mut all);
    of_caps(&mut all);
    of_ops(&folder, &mut all);
    of_counts(&folder, &mut all);
    assert!(all.len() >= 200, "{}", all.len());
    for question in &all {
        assert!(
            question.need > question.have,
            "{}: {} of {}",
            question.line,
            question.need,
            question.have
        );
        let ran = folder.run(&question.line);
        assert_eq!(ran.code, 4, "{}\n{}\n{}", question.line, ran.stdout, ran.stderr);
        let harder = folder.run(&question.harder).code;
        // More time may be wanted for a proof of more, but there is no plan.
        assert!([4, 5].contains(&harder), "{}: {harder}", question.harder);
    }
}

/// What stops a search proves nothing: a cap that can be kept is never impossible, however little time or
/// work there is.
#[test]
fn a_limit_is_no_proof() {
    let folder = Folder::new(&diamond());
    folder.write("equal.yaml", EQUAL);
    folder.write("dense.json", &config(4).to_string());
    let line = "plan dense.json --cluster equal.yaml --global-batch 64 --sequence-length 512";
    let capped = format!("{line} --power-cap 200 --json");
    let most = folder.run(&capped).exits(0).json()["plan"]["energy"]["most_w"].as_f64().unwrap();
    assert!(most <= 200.0, "{most}");
    for limit in ["--time-limit 0.02s", "--time-limit 0.1s", "--time-limit 0.3s", "--node-budget 1"]
    {
        let ran = folder.run(&format!("{line} --power-cap 200 {limit}"));
        assert!([0, 5].contains(&ran.code), "{limit}: {} {}", ran.code, ran.stderr);
    }
}
