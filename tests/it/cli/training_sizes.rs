//! Training runs at the ends of what is planned: memory that is plenty or short, times that no
//! clock counts, clusters of many thousand devices.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::folder::{Folder, diamond};
use super::training::{CLUSTER, config};

const PLAN: &str =
    "plan config.json --cluster cluster.yaml --global-batch 32 --sequence-length 2048";

fn folder(config: &Value, cluster: &str) -> Folder {
    let folder = Folder::new(&diamond());
    folder.write("config.json", &config.to_string());
    folder.write("cluster.yaml", cluster);
    folder
}

/// What each stage computes again, and the nanoseconds of the step.
fn best(folder: &Folder, pins: &str) -> (Vec<String>, u64) {
    let answer = folder.run(&format!("{PLAN} {pins} --json")).exits(0).json();
    let stages = answer["plan"]["partition"]["stages"].as_array().unwrap();
    let again = stages.iter().map(|stage| stage["blocks"]["recompute"].to_string()).collect();
    (again, answer["best"]["step_time_ns"].as_u64().unwrap())
}

/// All stages alike may also mean that none computes anything again, which is the fastest where
/// there is room; where there is none, as few blocks as fit.
#[test]
fn alike_recompute_starts_at_no_block_at_all() {
    let folder = folder(&config(), CLUSTER);
    for pins in ["", "--pin pipeline=2 --pin schedule=1f1b", "--pin pipeline=4 --pin tensor=2"] {
        let (again, step) = best(&folder, &format!("{pins} --pin recompute=alike"));
        assert!(again.iter().all(|policy| policy == "\"none\""), "{pins}: {again:?}");
        assert_eq!(step, best(&folder, &format!("{pins} --pin recompute=none")).1, "{pins}");
    }
    let short = "--pin pipeline=2 --pin schedule=1f1b --pin tensor=1 --pin context=1 --pin zero=1 \
                 --pin micro-batch=4 --max-memory-per-device 6GB --no-offload";
    let (again, alike) = best(&folder, &format!("{short} --pin recompute=alike"));
    assert!(again.iter().any(|policy| policy != "\"none\""), "{again:?}");
    assert!(alike <= best(&folder, &format!("{short} --pin recompute=full")).1);
}

/// A step of 0.6e9 parameters takes 6 FLOPs for each and each token: 1.5e16 for these samples, at a
/// million a second 480 years. Nanoseconds of 292 are counted in 63 bits.
#[test]
fn times_that_no_clock_counts_are_no_proof_that_nothing_fits() {
    let cluster = |rate: &str| {
        format!(
            "name: slow\nkinds:\n  - {{name: chip, memory_bytes: 80e12, memory_bytes_per_s: 1e12, \
             peak_bf16_flops: {rate}, peak_fp32_flops: {rate}}}\nnodes:\n  - {{count: 1, device: \
             chip, devices: 2, scaleup: nvlink3}}\n"
        )
    };
    let line = "plan config.json --cluster cluster.yaml --global-batch 1024 --sequence-length 4096";
    for more in ["", "--time-limit 5s", "--pin pipeline=2", "--deterministic"] {
        let folder = folder(&config(), &cluster("1e6"));
        let answer = folder.run(&format!("{line} {more} --json")).exits(3).json();
        assert_eq!(answer["error"]["code"], "out-of-range", "{more}: {answer}");
    }
    folder(&config(), &cluster("1e9")).run(line).exits(0);
}

/// Llama 3.1 405B as published, on 16,384 devices.
#[test]
fn the_largest_published_run_is_planned_within_its_time() {
    let config = json!({
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 16384,
        "num_hidden_layers": 126, "num_attention_heads": 128, "num_key_value_heads": 8,
        "intermediate_size": 53248, "vocab_size": 128_256, "max_position_embeddings": 131_072,
        "tie_word_embeddings": false, "torch_dtype": "bfloat16"
    });
    let cluster = "name: pod\nnodes:\n  - {count: 2048, device: h100_sxm5_80gb, devices: 8, \
                   scaleup: nvlink4, host: pcie5_x16, nics: 8}\nnetwork: {link: ib_ndr_400}\n";
    let folder = folder(&config, cluster);
    let started = Instant::now();
    let line = "plan config.json --cluster cluster.yaml --global-batch 2048 --sequence-length 8192 \
                --time-limit 10s -o plan.json --json";
    let answer = folder.run(line).exits(0).json();
    // Room for other tests beside this one.
    assert!(started.elapsed() < Duration::from_secs(100), "{:?}", started.elapsed());
    let degrees = &answer["plan"]["parallelism"];
    let degree = |name: &str| degrees[name].as_u64().unwrap();
    let n = ["data", "tensor", "pipeline", "context"].map(degree).iter().product::<u64>();
    assert_eq!(n, 16_384);
    // A block: queries and output, keys and values of 8 of 128 heads, three matrices, two norms.
    let (h, f, words) = (16_384_u64, 53_248, 128_256);
    let block = 2 * h * h + 2 * h * (h / 16) + 3 * h * f + 2 * h;
    let training = &answer["plan"]["training"];
    assert_eq!(training["n_parameters"].as_u64(), Some(126 * block + 2 * words * h + h));
    for rank in training["memory"].as_array().unwrap() {
        assert!(rank["peak_bytes"].as_u64() <= rank["limit_bytes"].as_u64(), "{rank}");
    }
    assert!(answer["bound_s"].as_f64().unwrap() > 0.0);
}

/// In a V the first and the last stage lie on one rank, which holds a tied embedding once. Each
/// parameter of GPT-2 takes 18 bytes: 2 of weights, 4 of gradients, 12 of states.
#[test]
fn a_v_holds_a_tied_embedding_once() {
    let (h, words, positions) = (768_u64, 50_257, 1024);
    let config = json!({
        "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_embd": h, "n_layer": 12,
        "n_head": 12, "n_positions": positions, "vocab_size": words
    });
    let folder = folder(&config, CLUSTER);
    let line = "plan config.json --cluster cluster.yaml --global-batch 64 --sequence-length 1024 \
                --for any --devices 2 --pin pipeline=2 --pin tensor=1 --pin micro-batch=4";
    // Matrices of 12 h^2; biases of 3 + 1 + 4 + 1 and two norms of two vectors each.
    let block = 12 * h * h + 13 * h;
    let persistent = |schedule: &str| -> (Vec<u64>, Vec<u64>) {
        folder.run(&format!("{line} --pin schedule={schedule} -o plan.json --force")).exits(0);
        let plan: Value = folder.json("plan.json");
        let all = |list: &Value, of: &dyn Fn(&Value) -> u64| -> Vec<u64> {
            list.as_array().unwrap().iter().map(of).collect()
        };
        let bytes =
            all(&plan["training"]["memory"], &|rank| rank["persistent_bytes"].as_u64().unwrap());
        let blocks =
            all(&plan["partition"]["stages"], &|stage| stage["blocks"]["n"].as_u64().unwrap());
        (bytes, blocks)
    };
    let (bytes, blocks) = persistent("zb-v");
    // Ranks differ by what they hold of the model; what else lies there is the same for both.
    let ends = (words + positions) * h + 2 * h;
    let first = (blocks[0] + blocks[3]) * block + ends;
    let second = (blocks[1] + blocks[2]) * block;
    // A placeholder of its gradient in 16 bits lies beside the head, those of blocks on all ranks.
    let placeholder = 2 * words * h;
    assert_eq!(bytes[0] - bytes[1], 18 * (first - second) + placeholder);
    // Apart from each other, both ends hold it.
    let (bytes, blocks) = persistent("1f1b");
    let first = blocks[0] * block + (words + positions) * h;
    let second = blocks[1] * block + words * h + 2 * h;
    assert_eq!(
        i128::from(bytes[0]) - i128::from(bytes[1]),
        18 * (i128::from(first) - i128::from(second)) - i128::from(placeholder)
    );
}

/// Activations of 16 bits take half the room of those of 32.
#[test]
fn fewer_bits_are_a_way_out_that_works() {
    let mut config = config();
    config["torch_dtype"] = json!("float32");
    let folder = folder(&config, CLUSTER);
    let line = format!(
        "{PLAN} --max-memory-per-device 12GB --pin recompute=none --pin micro-batch=4 \
         --pin tensor=1 --pin pipeline=1 --pin data=8"
    );
    for more in ["", "--dtype fp32"] {
        let error = folder.run(&format!("{line} {more} --json")).exits(4).json()["error"].clone();
        assert_eq!(error["code"], "memory-exceeded");
        let hints = error["hints"].as_array().unwrap();
        let way = hints.iter().find_map(|hint| hint.as_str()?.strip_prefix("with --dtype "));
        let (dtype, promised) =
            way.expect("no --dtype among the ways out").split_once(' ').unwrap();
        let screen = folder.run(&format!("{line} --dtype {dtype} --fastest")).exits(0).stdout;
        let step = promised.rsplit_once("step time ").unwrap().1;
        assert!(screen.contains(&format!("  step     {step}")), "{promised}: {screen}");
    }
    // Of 16 bits already, nothing is promised.
    let error = folder.run(&format!("{line} --dtype bf16 --json").replace("12GB", "3GB"));
    assert!(!error.exits(4).json()["error"]["hints"].to_string().contains("--dtype"));
}
