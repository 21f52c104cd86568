//! Pipelines that serve on unlike machines: planned, judged again, exported, and refused where nothing is
//! said.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::experts;
use super::folder::{Folder, diamond};

/// Kinds with their usable share of 24, 10, 11, 16 and 80 GB.
const KINDS: [&str; 5] = ["rtx_4090", "rtx_3080_10gb", "rtx_2080_ti", "t4", "a100_sxm4_80gb"];

pub(super) const MIXED: &str = "\
name: mixed
nodes:
  - {name: fast, count: 1, device: rtx_4090, memory_bytes: 4GB}
  - {name: slow, count: 2, device: rtx_2080_ti}
network: {bytes_per_s: 312.5e6, latency_s: 50e-6}
";

const ON: &str = "--model dense.json --cluster mixed.yaml";
const PLAN: &str = "plan dense.json --cluster mixed.yaml --phase decode --batch 1 --cached 1000 --dtype f16 \
     --deterministic";

pub(super) fn config() -> Value {
    json!({
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 2048,
        "num_hidden_layers": 24, "num_attention_heads": 16, "num_key_value_heads": 8,
        "intermediate_size": 5632, "vocab_size": 32000, "max_position_embeddings": 4096,
        "tie_word_embeddings": false
    })
}

fn folder() -> Folder {
    let folder = Folder::new(&diamond());
    folder.write("dense.json", &config().to_string());
    folder.write("mixed.yaml", MIXED);
    folder
}

/// A machine of a mix: its device, what it may hold, and blocks per second alone.
struct Machine {
    device: String,
    limit: f64,
    speed: f64,
}

/// A random mix of machines, each with one device, on one switch.
fn mix(random: &mut SmallRng) -> (String, usize) {
    let n = random.random_range(2..=6);
    let mut text = "name: mix\nnodes:\n".to_owned();
    for at in 0..n {
        let kind = KINDS[random.random_range(0..KINDS.len())];
        let gb = [4, 8, 11, 24, 48][random.random_range(0..5)];
        text.push_str(&format!(
            "  - {{name: pc{at}, count: 1, device: {kind}, memory_bytes: {gb}GB}}\n"
        ));
    }
    let rate = [31.25e6, 125e6, 1.25e9, 12.5e9][random.random_range(0..4)];
    let latency = [20e-6, 200e-6, 2e-3][random.random_range(0..3)];
    text.push_str(&format!("network: {{bytes_per_s: {rate:e}, latency_s: {latency:e}}}\n"));
    (text, n)
}

/// Whole blocks in proportion to shares, at least one each, all of them together.
fn split(shares: &[f64], n_blocks: u32) -> Vec<u32> {
    let sum: f64 = shares.iter().sum();
    let mut blocks: Vec<u32> =
        shares.iter().map(|share| ((share / sum * f64::from(n_blocks)) as u32).max(1)).collect();
    while blocks.iter().sum::<u32>() > n_blocks {
        let most = (0..blocks.len()).max_by_key(|at| blocks[*at]).unwrap();
        blocks[most] -= 1;
    }
    while blocks.iter().sum::<u32>() < n_blocks {
        let over = |at: usize| shares[at] / sum * f64::from(n_blocks) - f64::from(blocks[at]);
        let most = (0..blocks.len()).max_by(|a, b| over(*a).total_cmp(&over(*b))).unwrap();
        blocks[most] += 1;
    }
    blocks
}

/// A plan edited to other stages.
fn edited(plan: &Value, stages: &[(String, u32)]) -> Value {
    let (mut changed, mut first) = (plan.clone(), 0);
    let samples = plan["workload"]["batch"].clone();
    let stage = |(device, n): &(String, u32)| {
        let start = first;
        first += n;
        json!({
            "ops": [], "blocks": { "first": start, "n": n, "recompute": "none" },
            "mesh": { "devices": [device], "tensor": 1, "samples": [samples] }
        })
    };
    let all: Vec<Value> = stages.iter().map(stage).collect();
    changed["parallelism"]["pipeline"] = json!(all.len());
    changed["partition"]["stages"] = json!(all);
    changed["algorithm"] = json!("by-hand");
    changed
}

/// What the judge says of stages: tokens per second and latency; nothing where they are illegal.
fn judged(folder: &Folder, plan: &Value, stages: &[(String, u32)]) -> Option<[f64; 2]> {
    folder.write("edited.json", &edited(plan, stages).to_string());
    let ran = folder.run("simulate edited.json --model dense.json --cluster mix.yaml --json");
    if ran.code == 6 {
        let text = ran.stdout + &ran.stderr;
        assert!(text.contains("memory-exceeded"), "{text}");
        return None;
    }
    let answer = ran.exits(0).json();
    Some(["tokens_per_s", "latency_seconds"].map(|name| answer[name].as_f64().unwrap()))
}

/// Of each machine what it may hold and how fast it is, from a plan of it alone without a limit.
fn machines(folder: &Folder, n: usize, step: &str) -> Vec<Machine> {
    let of = |at: usize| {
        let cluster = folder.read("mix.yaml");
        let lines: Vec<&str> =
            cluster.lines().filter(|line| line.contains(&format!("pc{at},"))).collect();
        folder.write("one.yaml", &format!("name: one\nnodes:\n{}\n", lines.join("\n")));
        let plan = folder
            .run(&format!("plan dense.json --cluster one.yaml --scale memory=1000 {step} --json"));
        let plan = plan.exits(0).json();
        let served = &plan["plan"]["served"]["stages"][0];
        Machine {
            device: format!("pc{at}.gpu0"),
            limit: served["limit_bytes"].as_f64().unwrap(),
            speed: 1.0 / served["ns"].as_f64().unwrap(),
        }
    };
    (0..n).map(of).collect()
}

/// Splits by memory and by speed over all machines in the order of the file, and each machine alone.
fn baselines(machines: &[Machine]) -> Vec<Vec<(String, u32)>> {
    let over = |share: fn(&Machine) -> f64| {
        let shares: Vec<f64> = machines.iter().map(share).collect();
        let blocks = split(&shares, 24);
        machines.iter().map(|machine| machine.device.clone()).zip(blocks).collect::<Vec<_>>()
    };
    let alone = machines.iter().map(|machine| vec![(machine.device.clone(), 24)]);
    [over(|machine| machine.limit), over(|machine| machine.speed)]
        .into_iter()
        .chain(alone)
        .collect()
}

#[test]
fn a_plan_is_at_least_as_fast_as_splits_by_memory_by_speed_and_one_machine_alone() {
    let folder = folder();
    let random = &mut SmallRng::seed_from_u64(5);
    let (mut better, mut several, mut judged_ones) = ([0; 2], 0, 0);
    for at in 0..20 {
        let (cluster, n) = mix(random);
        folder.write("mix.yaml", &cluster);
        let step = match at % 3 {
            0 => "--phase decode --batch 1 --cached 2000 --dtype f16",
            1 => "--phase decode --batch 16 --cached 1000 --dtype f16",
            _ => "--phase prefill --batch 1 --sequence-length 512 --dtype f16",
        };
        let machines = machines(&folder, n, step);
        for (goal, name) in ["throughput", "latency"].into_iter().enumerate() {
            let line = format!("plan dense.json --cluster mix.yaml {step} --objective {name}");
            let ran = folder.run(&format!("{line} -o plan.json --force --json"));
            if ran.code == 4 {
                continue;
            }
            let answer = ran.exits(0).json();
            assert_eq!(answer["stop_reason"], "proved-optimal", "{cluster}");
            let plan = folder.json("plan.json");
            folder.run("verify plan.json --model dense.json --cluster mix.yaml").exits(0);
            let figures = [&answer["tokens_per_s"], &answer["latency_seconds"]];
            let figures = figures.map(|figure| figure.as_f64().unwrap());
            several += usize::from(plan["partition"]["stages"].as_array().unwrap().len() > 1);
            let others = baselines(&machines);
            let others: Vec<_> =
                others.iter().filter_map(|stages| judged(&folder, &plan, stages)).collect();
            judged_ones += others.len();
            let is_as_good = |other: &[f64; 2]| match goal {
                0 => figures[0] >= other[0] * (1.0 - 1e-9),
                _ => figures[1] <= other[1] * (1.0 + 1e-9),
            };
            assert!(others.iter().all(is_as_good), "{name} {figures:?} {others:?} {cluster}");
            let best = others.iter().map(|other| other[goal]).reduce(if goal == 0 {
                f64::max
            } else {
                f64::min
            });
            let is_better = best.is_none_or(|best| (figures[goal] / best - 1.0).abs() > 1e-3);
            better[goal] += usize::from(is_better);
        }
    }
    assert!(better[0] > 5 && several > 8 && judged_ones > 60, "{better:?} {several} {judged_ones}");
}

#[test]
fn a_plan_is_read_back_explained_compared_and_exported() {
    let folder = folder();
    let answer = folder.run(&format!("{PLAN} -o plan.json --json")).exits(0).json();
    assert_eq!(answer["stop_reason"], "proved-optimal");
    folder.run(&format!("{PLAN} --objective latency -o latency.json")).exits(0);
    folder.run(&format!("verify plan.json {ON}")).exits(0);
    let simulated = folder.run(&format!("simulate plan.json {ON} --json")).exits(0).json();
    assert_eq!(simulated["tokens_per_s"], answer["tokens_per_s"]);
    let explained = folder.run(&format!("explain plan.json {ON}")).exits(0).stdout;
    assert!(explained.contains("the pace"), "{explained}");
    let first = answer["plan"]["partition"]["stages"][0]["mesh"]["devices"][0].as_str().unwrap();
    folder.run(&format!("explain plan.json {ON} --device {first}")).exits(0);
    for flag in ["--op x", "--transfer x", "--longest 3", "--layer 1", "--device nobody"] {
        folder.run(&format!("explain plan.json {ON} {flag}")).exits(2);
    }
    folder.run("compare plan.json plan.json").exits(0);
    folder.run(&format!("compare plan.json latency.json {ON}")).exits(10);
    folder.run(&format!("verify plan.json {ON} --batch 2")).exits(2);
    folder.run(&format!("simulate plan.json {ON} --micro-batches 2")).exits(2);
    for target in ["llama.cpp", "layer-ranges"] {
        folder.run(&format!("export plan.json {ON} --target {target} -o {target}.out")).exits(0);
    }
    let refused = folder.run(&format!("export plan.json {ON} --target vllm -o no")).exits(3);
    assert!(refused.stderr.contains("cannot-express"), "{}", refused.stderr);
    folder.run(&format!("export plan.json {ON} --target megatron -o no")).exits(2);
    let shares = folder.read("llama.cpp.out");
    assert!(shares.contains(" -ts "), "{shares}");
}

#[test]
fn whatever_a_plan_states_is_derived_again() {
    let folder = folder();
    folder.run(&format!("{PLAN} -o plan.json")).exits(0);
    let mut plan = folder.json("plan.json");
    plan["request"]["kept_free"] = Value::Null;
    let verify = |plan: &Value| {
        folder.write("edited.json", &plan.to_string());
        folder.run(&format!("verify edited.json {ON}"))
    };
    for (pointer, value) in [
        ("/cost/bound_ns", json!(plan["cost"]["bound_ns"].as_u64().unwrap() - 1)),
        ("/cost/bound_ns", json!(1)),
        ("/cost/value_ns", json!(1)),
        ("/cost/bound_method", json!("guess")),
        ("/served/latency_ns", json!(7)),
        ("/served/tokens_per_s", json!(1e9)),
        ("/served/in_flight", json!(1)),
        ("/served/stages/0/peak_bytes", json!(1)),
        ("/served/stages/0/limit_bytes", json!(1_u64 << 50)),
        ("/parallelism/tensor", json!(2)),
        ("/partition/stages/0/mesh/devices", json!(["nobody"])),
        ("/partition/stages/0/mesh/tensor", json!(2)),
        ("/partition/stages/0/mesh/samples", json!([2])),
        ("/partition/stages/0/blocks/n", json!(1)),
        ("/partition/stages/0/blocks/first", json!(4_294_967_295_u32)),
        ("/algorithm", json!("fsmoe")),
    ] {
        let mut changed = plan.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        let ran = verify(&changed);
        assert_eq!(ran.code, 6, "{pointer}: {}{}", ran.stdout, ran.stderr);
    }
    for (pointer, value) in [
        // A cluster with another margin is another one.
        ("/request/kept_free", json!(0.5)),
        ("/served/phase", json!("training")),
        ("/served/tokens", json!(2)),
        ("/objective", json!("step-time")),
        ("/workload/mode", json!("training")),
        ("/placement", json!([{ "op": "a", "device": "b" }])),
    ] {
        let mut changed = plan.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        let ran = verify(&changed);
        assert_eq!(ran.code, 3, "{pointer}: {}{}", ran.stdout, ran.stderr);
    }
    for (pointer, value) in [("/served/cached", u64::MAX), ("/workload/batch", u64::MAX)] {
        let mut changed = plan.clone();
        *changed.pointer_mut(pointer).unwrap() = json!(value);
        assert_eq!(verify(&changed).code, 2, "{pointer}");
    }
    assert_eq!(verify(&plan).code, 0);
}

#[test]
fn memory_is_kept_to_and_what_does_not_fit_is_said() {
    let folder = folder();
    let plan = |more: &str| folder.run(&format!("{PLAN} {more} --json"));
    let stages = |answer: &Value| answer["plan"]["served"]["stages"].as_array().unwrap().clone();
    let free = plan("").exits(0).json();
    let tight = plan("--max-memory-per-device 1500MB").exits(0).json();
    for stage in stages(&tight) {
        assert!(stage["peak_bytes"].as_u64().unwrap() <= 1_500_000_000, "{tight}");
    }
    assert!(tight["tokens_per_s"].as_f64() <= free["tokens_per_s"].as_f64());
    // As many batches' keys and values as are in flight.
    let n = stages(&free).len() as u64;
    assert_eq!(free["plan"]["served"]["in_flight"], json!(n));
    let blocks = free["plan"]["partition"]["stages"][0]["blocks"]["n"].as_u64().unwrap();
    // 1,001 tokens, eight heads of 128 elements for keys and for values, two bytes each.
    let cache = stages(&free)[0]["cache_bytes"].as_u64().unwrap();
    assert_eq!(cache, n * blocks * 1001 * 2 * 8 * 128 * 2);
    let refused = plan("--max-memory-per-device 100MB");
    assert_eq!(refused.code, 4, "{}", refused.stdout);
    let none = folder.run(&PLAN.replace("--batch 1", "--batch 40000"));
    assert_eq!(none.code, 4, "{}", none.stdout);
}

#[test]
fn fewer_batches_are_in_flight_where_memory_asks_for_it() {
    let folder = folder();
    // Keys and values of one batch take 9 GB: two such cards hold one batch, three with a slow one three.
    folder.write(
        "mixed.yaml",
        "name: sf\nnodes:\n  - {name: big, device: t4, memory_bytes: 48GB}\n  \
         - {name: f0, device: rtx_4090, memory_bytes: 14GB}\n  \
         - {name: f1, device: rtx_4090, memory_bytes: 14GB}\n\
         network: {bytes_per_s: 1.25e9, latency_s: 20e-6}\n",
    );
    let plan = PLAN.replace("--batch 1 --cached 1000", "--batch 64 --cached 3000");
    let most = folder.run(&format!("{plan} --json")).exits(0).json();
    let alone = folder.run(&format!("{plan} --objective latency --json")).exits(0).json();
    assert_eq!(most["plan"]["served"]["in_flight"], 1);
    assert!(most["tokens_per_s"].as_f64() >= alone["tokens_per_s"].as_f64());
    let screen = folder.run(&plan).exits(0).stdout;
    let words = screen.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("up to as many batches in flight"), "{screen}");
}

#[test]
fn windows_of_attention_bound_what_is_cached() {
    let folder = folder();
    let mut config = config();
    config["model_type"] = json!("mistral");
    config["architectures"] = json!(["MistralForCausalLM"]);
    config["max_position_embeddings"] = json!(32768);
    config["sliding_window"] = json!(512);
    folder.write("dense.json", &config.to_string());
    let answer = folder.run(&format!("{PLAN} -o plan.json --json")).exits(0).json();
    let blocks = answer["plan"]["partition"]["stages"][0]["blocks"]["n"].as_u64().unwrap();
    let in_flight = answer["plan"]["served"]["in_flight"].as_u64().unwrap();
    let cache = &answer["plan"]["served"]["stages"][0]["cache_bytes"];
    assert_eq!(*cache, json!(in_flight * blocks * 512 * 2 * 8 * 128 * 2));
    assert!(!answer["warnings"].to_string().contains("sliding-window"), "{answer}");
    folder.run(&format!("verify plan.json {ON}")).exits(0);
}

#[test]
fn what_reaches_nobody_and_what_is_no_gpu_is_said() {
    let folder = folder();
    // Eight pairs of unlike cards, too many classes to look at every order.
    let kinds = ["rtx_4090", "t4", "l4", "rtx_3060"];
    let device = |at: usize| {
        let (kind, gb) = (kinds[at % 4], 2.0 + 0.1 * at as f64);
        format!("  - {{id: d{at}, kind: {kind}, memory_bytes: {gb}GB}}\n")
    };
    let link = |at: usize| {
        format!("  - {{between: [d{at}, d{}], bytes_per_s: 1e9, latency_s: 1e-5}}\n", at + 8)
    };
    let text = |line: &dyn Fn(usize) -> String, n| (0..n).map(line).collect::<String>();
    let devices = text(&device, 16);
    folder.write(
        "mixed.yaml",
        &format!("name: pairs\ndevices:\n{devices}links:\n{}", text(&link, 8)),
    );
    let answer = folder.run(&format!("{PLAN} -o pair.json --json")).exits(0).json();
    let pair = answer["plan"]["partition"]["stages"].as_array().unwrap();
    assert!(pair.len() <= 2, "{answer}");
    let unhosted = folder.run(&format!("export pair.json {ON} --target llama.cpp -o no"));
    assert_eq!(unhosted.code, 3, "{}", unhosted.stderr);
    assert!(unhosted.stderr.contains("states no host"), "{}", unhosted.stderr);
    folder.write("mixed.yaml", "name: other\nnodes:\n  - {name: a, device: mi300x}\n");
    folder.run(&format!("{PLAN} -o amd.json")).exits(0);
    let other = folder.run(&format!("export amd.json {ON} --target llama.cpp -o no")).exits(3);
    assert!(other.stderr.contains("`mi300x`"), "{}", other.stderr);
}

#[test]
fn what_is_not_planned_is_refused_by_name() {
    let folder = folder();
    folder.write("experts.json", &experts::config().to_string());
    let refused = |line: &str, word: &str| {
        let ran = folder.run(line).exits(2);
        assert!(ran.stderr.contains(word) && ran.stderr.contains("hint: "), "{}", ran.stderr);
    };
    refused(&PLAN.replace("dense.json", "experts.json"), "experts");
    refused(&PLAN.replace("--batch 1", ""), "--batch");
    refused(&PLAN.replace("--phase decode", "--algorithm serving-pipeline"), "--phase");
    refused(&format!("{PLAN} --objective step-time"), "--objective throughput");
    refused(&format!("{PLAN} --workload training"), "--workload");
    refused(&format!("{PLAN} --sequence-length 64"), "--cached");
    refused(&PLAN.replace("--dtype f16", "--dtype bf16"), "dtype");
    refused(&PLAN.replace("--cached 1000", "--cached 99999999999"), "--cached");
    for flag in
        ["--optimizer sgd", "--pin tensor=2", "--devices 2", "--for vllm", "--stack torchtitan"]
    {
        refused(&format!("{PLAN} {flag}"), flag.split(' ').next().unwrap());
    }
    // A switch that does not exist: each machine stands alone.
    folder.write("mixed.yaml", MIXED.split("network").next().unwrap());
    let alone = folder.run(&format!("{PLAN} --json")).exits(0).json();
    assert_eq!(alone["plan"]["partition"]["stages"].as_array().unwrap().len(), 1);
}
