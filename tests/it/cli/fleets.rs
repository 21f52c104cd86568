//! Fleets of serving workers: planned, judged again, exported, and refused by name.

use serde_json::{Value, json};

use super::folder::{Folder, diamond};

/// Qwen3-32B: 64 layers, 64 query and 8 key/value heads of 128.
fn config() -> Value {
    json!({
        "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "hidden_size": 5120,
        "num_hidden_layers": 64, "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 128,
        "intermediate_size": 25600, "vocab_size": 151_936, "max_position_embeddings": 40960,
        "tie_word_embeddings": false, "torch_dtype": "bfloat16"
    })
}

fn hosts(n: usize) -> String {
    format!(
        "name: hosts\nnodes:\n  - {{count: {n}, device: h200_sxm5_141gb, devices: 8, scaleup: nvlink4, \
         host: pcie5_x16, nics: 8}}\nnetwork: {{link: ib_ndr_400}}\n"
    )
}

pub(super) fn folder() -> Folder {
    let folder = Folder::new(&diamond());
    folder.write("qwen.json", &config().to_string());
    folder.write("one.yaml", &hosts(1));
    folder.write("eight.yaml", &hosts(8));
    folder
}

const ASKED: &str = "infer qwen.json --cluster eight.yaml --rate 50 --input-tokens 4000 --output-tokens 1000 \
     --ttft 2s --tpot 30ms --time-limit 10m";

pub(super) fn workers(plan: &Value) -> &Vec<Value> {
    plan["fleet"]["workers"].as_array().unwrap()
}

pub(super) fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

/// A fact of a failure.
fn fact<'v>(failure: &'v Value, name: &str) -> &'v Value {
    let facts = failure["error"]["facts"].as_array().unwrap();
    &facts.iter().find(|fact| fact["name"] == name).unwrap()["value"]
}

/// Devices of all replicas, which are each of one worker alone.
fn devices(plan: &Value) -> Vec<String> {
    let replicas = workers(plan).iter().flat_map(|worker| worker["replicas"].as_array().unwrap());
    let names = replicas.flat_map(|devices| devices.as_array().unwrap());
    names.map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// Roles add up to the rate, devices to those that are counted, and memory to what a device has: figures that
/// nothing but the plan document is asked for.
#[test]
fn a_fleet_serves_the_rate_on_devices_of_its_own() {
    let folder = folder();
    let answer = folder.run(&format!("{ASKED} --json -o plan.json")).exits(0).json();
    let plan = folder.json("plan.json");
    let rate = |role: &str| -> f64 {
        let here = workers(&plan).iter().filter(|worker| worker["role"] == role);
        let of = |worker: &Value| {
            number(&worker["requests_per_s"]) * worker["replicas"].as_array().unwrap().len() as f64
        };
        here.map(of).sum()
    };
    let [prefill, decode, whole] = ["prefill", "decode", "aggregated"].map(rate);
    assert!((prefill - decode).abs() < 1e-6 && (prefill + whole - 50.0).abs() < 1e-6, "{plan}");
    let names = devices(&plan);
    let mut distinct = names.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), names.len());
    assert_eq!(names.len() as u64, plan["fleet"]["n_devices"].as_u64().unwrap());
    // 50 requests/s of this model on H200 took AIConfigurator 0.12.0 56 devices, from its own tables.
    assert!(names.len() <= 56, "{}", names.len());
    // By formulas 52 are enough, with which simulations are above a limit by less than their errors.
    assert!(number(&plan["fleet"]["bound"]) >= names.len() as f64 - 1.0, "{plan}");
    let rows = answer["alternatives"].as_array().unwrap();
    assert!(rows.iter().any(|row| row["name"] == "TP 8"), "{rows:?}");
    let counts: u64 =
        answer["rejected"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    let [accepted, all] = ["n_accepted", "n_enumerated"].map(|name| answer[name].as_u64().unwrap());
    assert_eq!(accepted + counts, all);
    for worker in workers(&plan) {
        let memory = &worker["memory"];
        let term = |name: &str| memory[name].as_u64().unwrap();
        let terms =
            ["weights", "activations", "graphs", "collectives", "runtime", "cache", "reserve"];
        assert!(terms.map(term).iter().sum::<u64>() <= term("capacity"));
        // Products of all layers are shared out: 64 layers of 5,120 x 80 x 128, 8,192 x 5,120, 5,120 x 51,200 and
        // 25,600 x 5,120 elements of 2 bytes, and twice the vocabulary; PyTorch gives each whole blocks of 2 MiB, and
        // takes back what is left over where that is more than 1 MiB.
        let tensor = worker["tensor"].as_u64().unwrap();
        let product = |n: u64| {
            let bytes = 2 * 5_120 * n / tensor;
            let blocks = bytes.next_multiple_of(2 << 20);
            if blocks - bytes <= 1 << 20 { blocks } else { bytes }
        };
        let layer: u64 = [80 * 128, 8_192, 2 * 25_600, 25_600].map(product).iter().sum();
        let weights = 64 * layer + 2 * product(151_936);
        let stated = term("weights");
        let difference = stated as f64 / weights as f64 - 1.0;
        assert!(difference.abs() < 0.002, "{stated} of {weights}");
        // A token takes 2 x 64 x 8 x 128 elements of 2 bytes.
        let tokens = worker["kv_tokens"].as_u64().unwrap();
        let each = 2 * 64 * 8 * 128 * 2 / tensor;
        let room = term("cache");
        assert!(tokens * each <= room && (tokens + 16) * each > room, "{tokens} in {room}");
    }
    assert_eq!(number(&plan["fleet"]["bytes_handed_over"]), f64::from(4000 * 2 * 64 * 8 * 128 * 2));
    folder.run("verify plan.json").exits(0);
}

/// Figures and decisions that a plan states otherwise are named.
#[test]
fn a_lie_of_a_fleet_is_named() {
    let folder = folder();
    folder.run(&format!("{ASKED} -o plan.json")).exits(0);
    let plan = folder.json("plan.json");
    type Edit = fn(&mut Value);
    let edits: [(Edit, &str); 8] = [
        (|fleet| fleet["n_devices"] = json!(7), "n_devices"),
        (|fleet| fleet["bound"] = json!(3.0), "fleet.bound"),
        (|fleet| fleet["workers"][0]["ttft_s"] = json!(0.001), "ttft_s"),
        (|fleet| fleet["workers"][0]["kv_tokens"] = json!(1), "kv_tokens"),
        (|fleet| fleet["workers"][0]["memory"]["weights"] = json!(1), "weights"),
        (
            |fleet| fleet["workers"][0]["replicas"][0] = fleet["workers"][0]["replicas"][1].clone(),
            "worker-devices",
        ),
        (|fleet| fleet["workers"][0]["requests_per_s"] = json!(40.0), "promise-missed"),
        (|fleet| fleet["workers"][0]["tensor"] = json!(3), "worker-"),
    ];
    for (edit, named) in edits {
        let mut changed = plan.clone();
        edit(&mut changed["fleet"]);
        folder.write("lie.json", &changed.to_string());
        let ran = folder.run("verify lie.json --model qwen.json --cluster eight.yaml --json");
        assert_ne!(ran.code, 0, "{named}");
        let text = ran.stdout + &ran.stderr;
        assert!(text.contains(named), "{named}: {text}");
    }
}

/// A fleet within its limits that serves more than the bound that it states.
#[test]
fn a_fleet_beyond_its_bound_is_named() {
    let folder = folder();
    let asked = "infer qwen.json --cluster one.yaml --devices 1 --mode aggregated --tpot 2s";
    folder.run(&format!("{asked} --input-tokens 1000 --output-tokens 100 -o plan.json")).exits(0);
    let mut plan = folder.json("plan.json");
    let fleet = &mut plan["fleet"];
    let rate = number(&fleet["requests_per_s"]);
    assert_eq!(rate, number(&fleet["bound"]));
    fleet["requests_per_s"] = json!(1.01 * rate);
    fleet["workers"][0]["requests_per_s"] = json!(1.01 * rate);
    folder.write("more.json", &plan.to_string());
    let ran = folder.run("verify more.json --model qwen.json --cluster one.yaml --json");
    let text = ran.stdout + &ran.stderr;
    assert!(text.contains("fleet.bound") && !text.contains("promise-missed"), "{text}");
}

/// Where there is no fleet, what is said would do does.
#[test]
fn hints_of_fleets_hold() {
    let folder = folder();
    let asked =
        "infer qwen.json --rate 50 --ttft 2s --tpot 30ms --input-tokens 4000 --output-tokens 1000";
    let ran = folder.run(&format!("{asked} --cluster one.yaml --json")).exits(4).json();
    let needed = fact(&ran, "devices_needed")["count"].as_u64().unwrap();
    folder.write("enough.yaml", &hosts(needed.div_ceil(8) as usize));
    folder.run(&format!("{asked} --cluster enough.yaml --devices {needed}")).exits(0);
    let ran = folder.run("infer qwen.json --cluster one.yaml --rate 1 --tpot 3ms").exits(4).talk();
    let eased = ran.split("--tpot ").nth(1).unwrap().split(' ').next().unwrap();
    folder.run(&format!("infer qwen.json --cluster one.yaml --rate 0.1 --tpot {eased}")).exits(0);
}

/// DeepSeek-V3 in fp8 has 671e9 parameters: two H200 are too few, and as many as are named hold it.
#[test]
fn a_model_that_fits_nowhere_says_on_how_many_it_does() {
    let folder = folder();
    let model = include_str!("../../../examples/models/deepseek-v3.json");
    let mut config: Value = serde_json::from_str(model).unwrap();
    config["quantization_config"] = json!({
        "quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]
    });
    folder.write("deepseek.json", &config.to_string());
    let ran =
        folder.run("infer deepseek.json --cluster one.yaml --devices 2 --json").exits(4).json();
    let smallest = fact(&ran, "smallest")["text"].as_str().unwrap().to_owned();
    let least: u64 = smallest.split(' ').next().unwrap().parse().unwrap();
    // 671e9 bytes on devices of 150.75e9, of which an engine uses 92 %.
    assert!((5..=7).contains(&least), "{least}");
    folder
        .run(&format!("infer deepseek.json --cluster one.yaml --devices {least} --tpot 1s"))
        .exits(0);
}

/// Llama 3.1 405B fits on 16 devices; a worker of 24 keeps latencies that none of 16 keeps at this rate. Judged by
/// the replay of its plan.
#[test]
fn a_worker_may_be_wider_than_the_model_needs() {
    let folder = folder();
    let llama = json!({
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 16384,
        "num_hidden_layers": 126, "num_attention_heads": 128, "num_key_value_heads": 8,
        "intermediate_size": 53248, "vocab_size": 128_256, "max_position_embeddings": 131_072,
        "torch_dtype": "bfloat16"
    });
    folder.write("llama.json", &llama.to_string());
    folder.write("three.yaml", &hosts(3).replace("h200_sxm5_141gb", "h100_sxm5_80gb"));
    let plan = "infer llama.json --cluster three.yaml --input-tokens 2000 --output-tokens 400 --tpot 60ms \
                --ttft 4s --rate 1.55 -o plan.json";
    folder.run(plan).exits(0);
    assert_eq!(devices(&folder.json("plan.json")).len(), 24);
    folder.run("verify plan.json --model llama.json --cluster three.yaml").exits(0);
}

/// How long the slowest requests wait is an estimate before the replay, so nothing is called impossible.
#[test]
fn a_percentile_that_no_found_fleet_keeps_is_no_proof() {
    let folder = folder();
    let asked = "infer qwen.json --cluster one.yaml --input-tokens 4000 --output-tokens 1000 --ttft 2s --rate 50";
    let said = folder.run(asked).exits(4).talk();
    assert!(
        said.contains("serve at most") && said.contains("workers of up to 16 devices"),
        "{said}"
    );
    let said = folder.run(&format!("{asked} --percentile 99 --time-limit 10m")).exits(5).talk();
    assert!(said.contains("best fleet found") && !said.contains("at most"), "{said}");
}

/// Smaller workers serve more by their means, and miss a percentile: larger ones are sized again, so that a rate that
/// eight devices serve can be planned on them.
#[test]
fn a_rate_that_a_percentile_allows_can_be_planned() {
    let folder = folder();
    let llama = json!({
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 4096,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "intermediate_size": 14336, "vocab_size": 128_256, "max_position_embeddings": 131_072,
        "torch_dtype": "bfloat16"
    });
    folder.write("llama.json", &llama.to_string());
    let host = hosts(1).replace("h200_sxm5_141gb", "a100_sxm4_80gb").replace("nvlink4", "nvlink3");
    folder.write("a100.yaml", &host.replace("pcie5", "pcie4"));
    let asked = "infer llama.json --cluster a100.yaml --input-tokens 4000 --output-tokens 1000 --ttft 300ms \
                 --tpot 20ms --percentile 99 --mode aggregated --time-limit 10m -o plan.json --force";
    folder.run(asked).exits(0);
    let most = number(&folder.json("plan.json")["fleet"]["requests_per_s"]);
    let rate = 0.9 * most;
    folder.run(&format!("{asked} --rate {rate}")).exits(0);
    assert!(devices(&folder.json("plan.json")).len() <= 8);
    folder.run("verify plan.json --model llama.json --cluster a100.yaml").exits(0);
}

/// KV caches that cross a slow network come late. Further hosts behind one do not take from a fleet on one host, which
/// is judged by where its workers are.
#[test]
fn a_slow_network_takes_nothing_from_workers_of_one_host() {
    let folder = folder();
    let slow = "{bytes_per_s: 1.25e9, latency_s: 2e-5}";
    let asked = |n: usize, rate: f64| {
        folder.write(&format!("slow{n}.yaml"), &hosts(n).replace("{link: ib_ndr_400}", slow));
        format!(
            "infer qwen.json --cluster slow{n}.yaml --mode disaggregated --input-tokens 4000 \
             --output-tokens 1000 --ttft 300ms --tpot 15ms --rate {rate} --time-limit 10m -o plan{n}.json --force"
        )
    };
    for n in 1..=3 {
        folder.run(&asked(n, 3.0)).exits(0);
    }
    let plans = [1, 2, 3].map(|n| folder.json(&format!("plan{n}.json")));
    let figures = plans.each_ref().map(|plan| (devices(plan), workers(plan).clone()));
    assert!(figures.iter().all(|of| *of == figures[0]), "{figures:?}");
    let verify = |name: &str| format!("verify {name} --model qwen.json --cluster slow2.yaml");
    folder.run(&verify("plan2.json")).exits(0);
    let mut apart = plans[1].clone();
    let decode = apart["fleet"]["workers"].as_array_mut().unwrap().last_mut().unwrap();
    assert_eq!(decode["role"], "decode");
    decode["replicas"] = json!([(4..8).map(|at| format!("node1.gpu{at}")).collect::<Vec<_>>()]);
    folder.write("apart.json", &apart.to_string());
    let said = folder.run(&verify("apart.json")).exits(6).talk();
    assert!(said.contains("promise-missed") && said.contains("TTFT"), "{said}");
    // Two hosts with a router each serve twice as much as one, and a plan is judged so.
    let said = folder.run(&asked(2, 9.0)).exits(0).stdout;
    assert!(said.contains("one router per host"), "{said}");
    let twice = folder.json("plan2.json");
    folder.run(&asked(1, 4.5)).exits(0);
    assert_eq!(devices(&twice).len(), 2 * devices(&folder.json("plan1.json")).len());
    folder.run(&verify("plan2.json")).exits(0);
    // A decode worker more on one of them: hand-overs are not within hosts any more.
    let mut uneven = twice;
    let decode = uneven["fleet"]["workers"].as_array_mut().unwrap().last_mut().unwrap();
    assert_eq!(decode["role"], "decode");
    decode["replicas"].as_array_mut().unwrap().pop();
    folder.write("uneven.json", &uneven.to_string());
    let said = folder.run(&verify("uneven.json")).exits(6).talk();
    assert!(said.contains("promise-missed") && said.contains("TTFT"), "{said}");
    let said = folder.run(&asked(2, 99.0)).exits(4).talk();
    assert!(said.contains("serves 9.") && !said.contains("at most"), "{said}");
}

/// Hosts that nothing joins: no worker spans two, whole requests are served by all, and prefill with decode workers by
/// one host or by equal ones.
#[test]
fn hosts_without_a_network_serve_by_themselves() {
    let folder = folder();
    let of = |n: usize, per_host: usize| {
        format!(
            "nodes:\n  - {{count: {n}, device: h100_sxm5_80gb, devices: {per_host}, scaleup: nvlink4, \
             host: pcie5_x16}}\n"
        )
    };
    folder.write("apart.yaml", &of(2, 2));
    folder.write("mixed.yaml", &(of(2, 2) + &of(1, 4).replace("nodes:\n", "")));
    let moe = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/models/qwen3-30b-a3b.json");
    for mode in ["auto", "aggregated"] {
        for cluster in ["apart", "mixed"] {
            folder
                .run(&format!(
                    "infer {moe} --cluster {cluster}.yaml --rate 2 --mode {mode} -o plan.json --force"
                ))
                .exits(0);
            let plan = folder.json("plan.json");
            for replica in workers(&plan).iter().flat_map(|of| of["replicas"].as_array().unwrap()) {
                let names = replica.as_array().unwrap().iter().map(|name| name.as_str().unwrap());
                let hosts = names.map(|name| name.split('.').next().unwrap());
                assert_eq!(hosts.collect::<std::collections::BTreeSet<_>>().len(), 1, "{replica}");
            }
        }
    }
    let ran =
        folder.run(&format!("infer {moe} --cluster apart.yaml --rate 99 --mode disaggregated"));
    assert!(ran.talk().contains("best fleet found"), "{}", ran.talk());
}

/// Hosts that other links join, or that have others inside, are no equal hosts: no worker spans devices that nothing
/// joins, and a host more never takes from what one serves.
#[test]
fn hosts_of_other_links_are_apart() {
    let folder = folder();
    let host = |name: &str, n: usize, more: &str| {
        format!("  - {{name: {name}, count: {n}, device: h100_sxm5_80gb, devices: 4{more}}}\n")
    };
    let fast = host("a", 1, ", scaleup: nvlink4, host: pcie5_x16");
    let network = "network: {bytes_per_s: 25e9, latency_s: 1e-5}\n";
    folder.write("fast.yaml", &format!("nodes:\n{fast}"));
    folder.write(
        "slow.yaml",
        &format!("nodes:\n{fast}{}{network}", host("b", 1, ", host: pcie4_x16")),
    );
    let racks = host("a", 4, ", scaleup: nvlink4");
    folder.write(
        "racks.yaml",
        &format!("nodes:\n{racks}domains:\n  - {{link: nvlink4, nodes: [a0, a1]}}\n"),
    );
    let planned = |model: &str, cluster: &str| {
        folder
            .run(&format!(
                "infer {model} --cluster {cluster}.yaml --ttft 2s --tpot 25ms --input-tokens 2000 --output-tokens 500 \
                 -o plan.json --force"
            ))
            .exits(0);
        folder.json("plan.json")
    };
    let dense = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/models/llama-2-70b.json");
    let [one, both] =
        ["fast", "slow"].map(|cluster| number(&planned(dense, cluster)["fleet"]["requests_per_s"]));
    assert!(both >= 1.5 * one, "{one} {both}");
    let moe = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/models/qwen3-30b-a3b.json");
    let plan = planned(moe, "racks");
    for replica in workers(&plan).iter().flat_map(|of| of["replicas"].as_array().unwrap()) {
        let names = replica.as_array().unwrap().iter().map(|name| name.as_str().unwrap());
        let hosts: std::collections::BTreeSet<&str> =
            names.map(|name| name.split('.').next().unwrap()).collect();
        let is_joined = hosts.iter().all(|host| ["a0", "a1"].contains(host));
        assert!(hosts.len() == 1 || is_joined, "{replica}");
    }
}

/// Two kinds in a host hand over within it: two such hosts that a slow network joins serve as much as two alone. Where
/// the kinds are on hosts of their own, nothing stays within a host.
#[test]
fn kinds_of_a_host_hand_over_within_it() {
    let folder = folder();
    let boxes = |n: usize| {
        let cards =
            (0..3 * n).map(|at| format!("  - {{id: x{at}, kind: l40s, node: a{}}}\n", at / 3));
        format!(
            "nodes:\n  - {{name: a, count: {n}, device: h100_pcie_80gb, devices: 1, host: pcie5_x16}}\ndevices:\n{}",
            cards.collect::<String>()
        )
    };
    folder.write("one.yaml", &boxes(1).replace("name: a,", "name: a0,"));
    folder.write("two.yaml", &(boxes(2) + "network: {bytes_per_s: 1e8, latency_s: 1e-5}\n"));
    folder.write(
        "apart.yaml",
        "nodes:\n  - {name: a, device: h200_sxm5_141gb, devices: 2, scaleup: nvlink4}\n  - {name: b, count: 3, device: \
         l40s, devices: 2, host: pcie4_x16}\nnetwork: {bytes_per_s: 3e9, latency_s: 1e-5}\n",
    );
    let dense = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/models/llama-3.1-8b.json");
    let asked = |cluster: &str, tpot: &str| {
        folder.run(&format!(
            "infer {dense} --cluster {cluster}.yaml --ttft 1s --tpot {tpot} --input-tokens 4000 --output-tokens 200 \
             --mode disaggregated -o plan.json --force"
        ))
    };
    let [one, two] = ["one", "two"].map(|cluster| {
        let text = asked(cluster, "14ms").exits(0).stdout;
        let routers = text.contains("within each of 2 hosts: one router per host");
        assert_eq!(routers, cluster == "two", "{text}");
        number(&folder.json("plan.json")["fleet"]["requests_per_s"])
    });
    assert!(two >= 1.99 * one, "{one} {two}");
    folder.run("export plan.json --target vllm -o vllm.sh").exits(0);
    let script = folder.read("vllm.sh");
    for (host, other) in [("a0", "a1"), ("a1", "a0")] {
        let start = format!("# on {host}, vllm-router");
        let router = script.lines().find(|line| line.starts_with(&start)).unwrap();
        assert!(router.contains(&format!("//{host}:")) && !router.contains(&format!("//{other}:")));
    }
    let apart = asked("apart", "12ms").exits(0).stdout;
    assert!(!apart.contains("router per host"), "{apart}");
}

/// Devices of which a faster link joins some are priced at the slower one: nothing is proved of them, neither a plan nor
/// that there is none.
#[test]
fn links_of_several_rates_prove_nothing() {
    let folder = folder();
    let host = "nodes:\n  - {device: a100_sxm4_80gb, devices: 8, scaleup: nvlink3, host: pcie4_x16";
    folder.write("whole.yaml", &format!("{host}}}\n"));
    folder.write("quads.yaml", &format!("{host}, scaleup_domain: 4}}\n"));
    let asked = |cluster: &str, more: &str| {
        format!(
            "infer qwen.json --cluster {cluster}.yaml --mode aggregated --ttft 2s --tpot 40ms {more} --json"
        )
    };
    for (cluster, is_slow) in [("whole", false), ("quads", true)] {
        let ran = folder.run(&asked(cluster, "--rate 0.5")).exits(0);
        assert_eq!(ran.stdout.contains("slow-links"), is_slow, "{}", ran.stdout);
        let found: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(found["is_proved"], json!(!is_slow));
        let exit = if is_slow { 5 } else { 4 };
        folder.run(&asked(cluster, "--rate 99")).exits(exit);
    }
}

/// Scripts state what the plan does.
#[test]
fn scripts_of_fleets_state_the_plan() {
    let folder = folder();
    folder.run(&format!("{ASKED} -o plan.json")).exits(0);
    let plan = folder.json("plan.json");
    folder.run("export plan.json --target vllm -o vllm.sh").exits(0);
    let script = folder.read("vllm.sh");
    let n: usize = workers(&plan).iter().map(|of| of["replicas"].as_array().unwrap().len()).sum();
    assert_eq!(script.matches(" port=").count(), n, "{script}");
    for worker in workers(&plan) {
        let flags = format!(
            "--tensor-parallel-size {} --pipeline-parallel-size {} --max-num-seqs {} --max-num-batched-tokens {}",
            worker["tensor"],
            worker["stages"].as_array().unwrap().len(),
            worker["max_num_seqs"],
            worker["max_num_batched_tokens"]
        );
        assert!(script.contains(&flags), "{flags} in {script}");
    }
    folder.run("export plan.json --target dynamo -o dynamo.yaml").exits(0);
    let deployment: Value = serde_yaml::from_str(&folder.read("dynamo.yaml")).unwrap();
    let components = deployment["spec"]["components"].as_array().unwrap();
    let replicas: u64 = components.iter().map(|of| of["replicas"].as_u64().unwrap()).sum();
    assert_eq!(replicas as usize, n + 1);
}

/// What means nothing for a fleet, or is out of range, is refused by its name.
#[test]
fn what_fleets_do_not_honour_is_refused_by_name() {
    let folder = folder();
    let refused = [
        ("--batch 8", "--batch"),
        ("--cached 100", "--cached"),
        ("--sequence-length 128", "--sequence-length"),
        ("--pin tensor=8", "--pin"),
        ("--expert-skew zipf:1", "--expert-skew"),
        ("--power-cap 10kW", "--power-cap"),
        ("--rate 0", "--rate"),
        ("--rate -1", "--rate"),
        ("--rate nan", "--rate"),
        ("--tpot 0s", "tpot"),
        ("--rate 1 --tpot -1ms", "`-1ms` of `--tpot` is negative"),
        ("--rate 1 --seed -1", "--seed"),
        ("--rate 1 --threads 0", "needs a whole number of at least 1"),
        ("--percentile 0", "--percentile"),
        ("--rate 1 --percentile 95", "--percentile"),
        ("--input-tokens 0", "--input-tokens"),
        ("--mode both", "--mode"),
        ("--objective latency", "latency"),
        ("--objective lowest-price --rate 1", "price"),
        ("--for megatron", "megatron"),
        ("--rate 1 --objective throughput", "--rate"),
        ("--devices 100", "--devices"),
    ];
    for (flags, name) in refused {
        let ran = folder.run(&format!("infer qwen.json --cluster one.yaml {flags}"));
        assert!([2, 3].contains(&ran.code), "{flags}: {} {}", ran.code, ran.stderr);
        assert!(ran.talk().contains(name), "{flags}: {}", ran.stderr);
    }
}

/// Limits that change nothing are warned about; those that do are in the script.
#[test]
fn limits_of_memory_count_or_are_warned_about() {
    let folder = folder();
    let asked = "infer qwen.json --cluster one.yaml --rate 1 -o plan.json --force";
    for limit in ["--memory-margin 5%", "--max-memory-per-device 500GB"] {
        let ran = folder.run(&format!("{asked} {limit} --all")).exits(0);
        assert!(ran.talk().contains("no-effect"), "{limit}: {}", ran.stderr);
    }
    folder.run(&format!("{asked} --memory-margin 30%")).exits(0);
    folder.run("export plan.json --target vllm -o vllm.sh").exits(0);
    assert!(folder.read("vllm.sh").contains("--gpu-memory-utilization 0.7)"));
}

/// The shortest prompts and answers are served; requests of one token have no TPOT.
#[test]
fn requests_of_one_token_are_served() {
    let folder = folder();
    let asked = "infer qwen.json --cluster one.yaml --rate 2 -o plan.json --force --time-limit 10m";
    folder.run(&format!("{asked} --input-tokens 1")).exits(0);
    folder.run(&format!("{asked} --output-tokens 1")).exits(0);
    assert!(workers(&folder.json("plan.json")).iter().all(|worker| worker["tpot_s"].is_null()));
    folder.run("verify plan.json").exits(0);
    let concurrent = asked.replace("--rate", "--concurrency") + " --output-tokens 1";
    let talk = folder.run(&concurrent).exits(0).talk();
    assert!(!talk.contains("TPOT"), "{talk}");
    let talk = folder.run(&format!("{asked} --output-tokens 1 --tpot 30ms")).exits(2).talk();
    assert!(talk.contains("`--tpot` limits the time between tokens"), "{talk}");
}

/// A fleet is the same, to the byte, each time; of another seed its simulations have other arrivals, which the plan
/// states.
#[test]
fn a_fleet_repeats() {
    let folder = folder();
    let asked = "infer qwen.json --cluster one.yaml --deterministic --json";
    let first = folder.run(asked).exits(0);
    assert_eq!(first.stdout, folder.run(asked).exits(0).stdout);
    let other = folder.run(&format!("{asked} --seed 7 -o seven.json")).exits(0);
    let latency = |answer: &Value| number(&answer["ttft_seconds"]);
    assert_ne!(latency(&first.json()), latency(&other.json()));
    assert_eq!(folder.json("seven.json")["fleet"]["seed"], 7);
    folder.run("verify seven.json --model qwen.json --cluster one.yaml").exits(0);
}

/// No fleet of the front is beaten by another one in both TPOT and devices; the plan is the same without it.
#[test]
fn a_shorter_tpot_never_costs_less_on_the_front() {
    let folder = folder();
    let asked = "infer qwen.json --cluster eight.yaml --rate 12 --input-tokens 2000 --output-tokens 200 \
         --ttft 2s --tpot 20ms --time-limit 10m";
    let answer: Value = folder.run(&format!("{asked} --all --json")).exits(0).json();
    let front = answer["front"].as_array().unwrap();
    assert!(front.len() > 1, "{front:?}");
    for two in front.windows(2) {
        let [shorter, longer] = [&two[0], &two[1]].map(|of| number(&of["tpot_seconds"]));
        let [more, fewer] = [&two[0], &two[1]].map(|of| number(&of["n_devices"]));
        assert!(shorter < longer && more > fewer, "{two:?}");
    }
    let plain: Value = folder.run(&format!("{asked} --json")).exits(0).json();
    assert_eq!(plain["plan"], answer["plan"]);
    assert_eq!((&plain["alternatives"], &plain["front"]), (&answer["alternatives"], &json!([])));
    let text = folder.run(&format!("{asked} --all")).exits(0).stdout;
    assert!(text.contains("\nPareto front"), "{text}");
}

/// Percentiles rise, and the mean of a latency is that of the workers.
#[test]
fn latencies_of_workers_are_distributions() {
    let folder = folder();
    let asked =
        "infer qwen.json --cluster one.yaml --rate 4 --ttft 2s --tpot 50ms --time-limit 10m --json";
    let answer: Value = folder.run(asked).exits(0).json();
    let all = answer["worker_latencies"].as_array().unwrap();
    assert_eq!(all.len(), workers(&answer["plan"]).len());
    for (of, worker) in all.iter().zip(workers(&answer["plan"])) {
        for name in
            ["ttft_s", "tpot_s", "latency_s"].into_iter().filter(|name| !of[*name].is_null())
        {
            let percentiles: Vec<f64> =
                of[name]["percentiles"].as_array().unwrap().iter().map(number).collect();
            assert_eq!(percentiles.len(), 21);
            assert!(percentiles.is_sorted() && percentiles[10] == number(&of[name]["p50"]));
            let stated = &worker[name];
            let mean = number(&of[name]["mean"]);
            assert!(stated.is_null() || (number(stated) / mean - 1.0).abs() < 1e-9, "{name}");
        }
    }
}

/// Servers that a script starts, priced at the requests of a plan by its replays.
#[test]
fn a_plan_is_compared_with_what_a_script_starts() {
    let folder = folder();
    folder.run(&format!("{ASKED} -o plan.json")).exits(0);
    let servers = |n: usize, flags: &str| {
        let one = format!("vllm serve Qwen/Qwen3-32B {flags} --port 8000 &\n");
        format!("#!/bin/bash\n{}", one.repeat(n))
    };
    folder.write("now.sh", &servers(8, "--tensor-parallel-size 8 --max-num-seqs 512"));
    let compare = "compare now.sh plan.json --model qwen.json --cluster eight.yaml";
    let answer = folder.run(&format!("{compare} --json")).exits(10).json();
    assert_eq!(answer["a"]["devices"], 64);
    assert!((number(&answer["a"]["requests_per_s"]) - 50.0).abs() < 1e-6);
    assert!(number(&answer["a"]["tpot_s"]) > 0.0 && number(&answer["b"]["tpot_s"]) < 0.03);
    // One worker of eight devices can't serve all of it, nor do nine fit.
    folder.write("now.sh", &servers(1, "-tp 8 --gpu-memory-utilization 0.8"));
    let answer = folder.run(&format!("{compare} --json")).exits(10).json();
    let codes: Vec<&Value> =
        answer["warnings"].as_array().unwrap().iter().map(|warning| &warning["code"]).collect();
    assert_eq!(codes, ["unpriced-settings", "not-planned", "growing-queue"]);
    assert_eq!(answer["a"]["tpot_s"], Value::Null);
    assert!(number(&answer["a"]["requests_per_s"]) < 40.0);
    folder.write("now.sh", &servers(9, "-tp 8"));
    assert!(folder.run(compare).exits(3).talk().contains("not-placed"));
    folder.write("now.sh", "python -m sglang.launch_server --tp 8");
    assert!(folder.run(compare).exits(2).talk().contains("the script starts sglang"));
}

/// Devices that starts of a script name are theirs, and no one else's.
#[test]
fn starts_take_the_devices_that_they_name() {
    let folder = folder();
    folder.run("infer qwen.json --cluster one.yaml --rate 4 --tpot 50ms -o plan.json").exits(0);
    let compare = "compare now.sh plan.json --model qwen.json";
    let start = |devices: &str, flags: &str| {
        format!("CUDA_VISIBLE_DEVICES={devices} vllm serve m {flags} &\n")
    };
    folder.write("now.sh", &[start("4,5", "-tp 2"), start("0,1", "-tp 2")].concat());
    let answer = folder.run(&format!("{compare} --json")).json();
    assert_eq!(answer["a"]["devices"], 4);
    let refused = [
        ([start("0,1", "-tp 2"), start("1,2", "-tp 2")].concat(), "no host has devices 1, 2 free"),
        (start("0", "-tp 2"), "names 1"),
        (start("0,1", "-tp 4 --nnodes 2"), "no host has devices 0, 1 free"),
        (start("7,8", "-tp 2"), "names device 8 of hosts of 8 devices"),
        (start("3,3", "-tp 2"), "names device 3 twice"),
    ];
    for (script, said) in refused {
        folder.write("now.sh", &script);
        let talk = folder.run(compare).exits(3).talk();
        assert!(talk.contains("not-placed") && talk.contains(said), "{script}: {talk}");
    }
    let eight = format!("{compare} --cluster eight.yaml --allow-mismatch --json");
    folder.write("now.sh", &start("0,1,2,3", "-tp 4").repeat(3));
    let answer = folder.run(&eight).json();
    assert_eq!(answer["a"]["devices"], 12);
    assert!(answer["warnings"].to_string().contains("hosts-assumed"), "{answer}");
    for (script, said) in
        [("", "is empty"), ("echo up\n", "neither a plan"), ("trtllm-serve m", "TensorRT-LLM")]
    {
        folder.write("now.sh", script);
        assert!(folder.run(compare).exits(3).talk().contains(said), "{script}");
    }
}

/// The script that a fleet is exported as starts that fleet.
#[test]
fn an_exported_script_starts_its_fleet() {
    let folder = folder();
    for engine in ["vllm", "sglang"] {
        let asked = "infer qwen.json --cluster eight.yaml --rate 12 --mode aggregated --ttft 2s \
                     --tpot 30ms --time-limit 10m";
        folder.run(&format!("{asked} --for {engine} -o plan.json")).exits(0);
        folder.run(&format!("export plan.json --target {engine} -o now.sh")).exits(0);
        let answer = folder
            .run("compare now.sh plan.json --model qwen.json --cluster eight.yaml --json")
            .json();
        for name in ["devices", "requests_per_s", "ttft_s", "tpot_s"] {
            let [now, plan] = ["a", "b"].map(|of| number(&answer[of][name]));
            assert!((now / plan - 1.0).abs() < 0.02, "{engine}, {name}: {answer}");
        }
        std::fs::remove_file(folder.path("now.sh")).unwrap();
        std::fs::remove_file(folder.path("plan.json")).unwrap();
    }
}

/// ModelOpt before 0.31 states how it quantised a checkpoint in a file beside the config.
#[test]
fn quantisation_is_read_from_the_file_beside_a_config() {
    let folder = folder();
    std::fs::create_dir(folder.path("checkpoint")).unwrap();
    folder.write("checkpoint/config.json", &config().to_string());
    let asked = "infer checkpoint/config.json --cluster one.yaml --rate 1 --json";
    let weights = |plan: &Value| number(&workers(plan)[0]["memory"]["weights"]);
    let plain = folder.run(asked).exits(0).json();
    folder.write(
        "checkpoint/hf_quant_config.json",
        r#"{"producer": {"name": "modelopt", "version": "0.23.0"},
            "quantization": {"quant_algo": "FP8", "exclude_modules": ["lm_head"]}}"#,
    );
    let packed = folder.run(asked).exits(0).json();
    let codes = packed["warnings"].to_string();
    assert!(codes.contains("quantized-weights"), "{codes}");
    let per_device =
        |answer: &Value| weights(&answer["plan"]) * number(&workers(&answer["plan"])[0]["tensor"]);
    let fraction = per_device(&packed) / per_device(&plain);
    assert!((0.5..0.56).contains(&fraction), "{fraction}");
    folder.write("checkpoint/hf_quant_config.json", "{");
    let talk = folder.run(&asked.replace(" --json", "")).exits(3).talk();
    assert!(talk.contains("hf_quant_config.json"), "{talk}");
}

/// What a fleet takes of the hosts of a larger cluster, these hosts have by themselves: shares of their network cards,
/// ways inside them, and those of a domain.
#[test]
fn hosts_serve_alone_what_they_serve_among_others() {
    let folder = folder();
    let llama = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/models/llama-3.1-8b.json");
    let kind = |name: &str, memory: &str, peak: &str| {
        format!(
            "  - {{name: {name}, memory_bytes: 40e9, memory_bytes_per_s: {memory}, peak_bf16_flops: {peak}, \
             architecture: ampere}}\n"
        )
    };
    let kinds =
        format!("kinds:\n{}{}", kind("comp", "0.6e12", "600e12"), kind("memo", "3e12", "60e12"));
    let host = |name: &str, device: &str, more: &str| {
        format!("  - {{name: {name}, device: {device}, devices: 4, {more}}}\n")
    };
    let network = "network: {bytes_per_s: 2e9, latency_s: 2e-6}\n";
    let card = "nics: 1, scaleup: nvlink3";
    let cards: Vec<String> = ["a0", "a1", "b0", "b1"]
        .map(|name| host(name, if name.starts_with('a') { "comp" } else { "memo" }, card))
        .to_vec();
    let slow: Vec<String> = ["a0", "a1"].map(|name| host(name, "l40s", "host: pcie3_x16")).to_vec();
    let domain = "domains: [{link: nvlink3, nodes: [a0, a1]}]\n";
    for (kinds, hosts, tail, more, limits) in [
        (&kinds[..], &cards, network, "", "--ttft 3s --tpot 15ms --rate 9"),
        (&kinds[..], &cards, network, domain, "--ttft 3s --tpot 15ms --rate 9"),
        ("", &slow, "network: {link: ib_ndr_400}\n", "", "--ttft 188ms --tpot 60ms --rate 2"),
    ] {
        let asked = format!(
            "infer {llama} --input-tokens 2000 --output-tokens 300 --mode disaggregated {limits} -o plan.json \
             --force --cluster"
        );
        folder.write("all.yaml", &format!("{kinds}nodes:\n{}{tail}{more}", hosts.concat()));
        folder.run(&format!("{asked} all.yaml")).exits(0);
        let used = devices(&folder.json("plan.json"));
        let is_used = |host: &&String| {
            let name = host.split("name: ").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
            used.iter().any(|device| device.starts_with(&format!("{name}.")))
        };
        let some: String = hosts.iter().filter(is_used).map(String::as_str).collect();
        let joins = if some.matches("comp").count() == 2 { more } else { "" };
        folder.write("some.yaml", &format!("{kinds}nodes:\n{some}{tail}{joins}"));
        folder.run(&format!("{asked} some.yaml")).exits(0);
        assert!(devices(&folder.json("plan.json")).len() <= used.len(), "{some}");
    }
}

fn llama_of_four_bits() -> Value {
    json!({
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 8192,
        "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8,
        "intermediate_size": 28672, "vocab_size": 128_256, "max_position_embeddings": 131_072,
        "tie_word_embeddings": false, "torch_dtype": "float16",
        "quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128}
    })
}

/// Of fleets of as few devices the plan is one of the lowest price.
#[test]
fn of_as_few_devices_the_cheapest_are_planned() {
    let folder = folder();
    folder.write("llama.json", &llama_of_four_bits().to_string());
    folder.write(
        "priced.yaml",
        "name: priced\nnodes:\n  - {count: 1, device: l40s, devices: 4, host: pcie5_x16, nics: 4}\n  \
         - {count: 2, device: a100_sxm4_80gb, devices: 4, scaleup: nvlink3, host: pcie5_x16, nics: 4}\n\
         network: {link: ib_ndr_400}\nrunning:\n  - {kind: l40s, price_per_hour: 0.9}\n  \
         - {kind: a100_sxm4_80gb, price_per_hour: 1.7}\n",
    );
    let asked = "infer llama.json --cluster priced.yaml --input-tokens 1000 --output-tokens 200 --rate 2 \
                 --tpot 35ms --ttft 1500ms --time-limit 10m --force -o plan.json --objective";
    let of = |objective: &str| {
        folder.run(&format!("{asked} {objective}")).exits(0);
        let fleet = folder.json("plan.json")["fleet"].clone();
        (fleet["n_devices"].as_u64().unwrap(), number(&fleet["price_per_hour"]))
    };
    let [(fewest, price), (n, lowest)] = ["fewest-devices", "lowest-price"].map(of);
    assert!(fewest <= n && lowest <= price);
    assert!(fewest < n || price <= lowest * 1.001, "{fewest} devices at {price}, {n} at {lowest}");
}

/// Of fleets of as low a price the plan is one of the fewest devices.
#[test]
fn of_as_low_prices_the_fewest_devices_are_planned() {
    let folder = folder();
    let kind = |name: &str| {
        format!("  - {{count: 1, device: {name}, devices: 8, scaleup: nvlink4, host: pcie5_x16}}\n")
    };
    let price = |name: &str, price: u8| format!("  - {{kind: {name}, price_per_hour: {price}}}\n");
    let [own, rented] = ["h200_sxm5_141gb", "h100_sxm5_80gb"];
    let (nodes, prices) = (kind(own) + &kind(rented), price(own, 0) + &price(rented, 3));
    folder.write("owned.yaml", &format!("name: owned\nnodes:\n{nodes}running:\n{prices}"));
    folder
        .run("infer qwen.json --cluster owned.yaml --rate 0.5 --time-limit 10m -o plan.json")
        .exits(0);
    let fleet = &folder.json("plan.json")["fleet"];
    assert_eq!((&fleet["n_devices"], number(&fleet["price_per_hour"])), (&json!(1), 0.0));
}

/// Engines serve fp32 checkpoints in 16 bits unless a type is stated: a plan in fp32 says so.
#[test]
fn plans_of_fp32_checkpoints_say_so() {
    let folder = folder();
    let mut model = config();
    model["torch_dtype"] = json!("float32");
    folder.write("model.json", &model.to_string());
    for (dtype, is_warned) in [("", true), ("--dtype fp32", false), ("--dtype bf16", false)] {
        let asked = "infer model.json --cluster one.yaml --rate 0.1 --all -o plan.json --force";
        let talk = folder.run(&format!("{asked} {dtype}")).exits(0).talk();
        assert_eq!(talk.contains("fp32-checkpoint"), is_warned, "{dtype}: {talk}");
    }
}

/// Four-bit kernels complete fewer requests in large batches: a longer TPOT limit, that allows these, serves as much.
#[test]
fn a_longer_tpot_limit_serves_as_much_where_large_batches_are_slower() {
    let folder = folder();
    let mut model = llama_of_four_bits();
    for (field, value) in [
        ("hidden_size", 3584),
        ("num_hidden_layers", 28),
        ("num_attention_heads", 28),
        ("num_key_value_heads", 4),
        ("intermediate_size", 18_944),
        ("vocab_size", 152_064),
    ] {
        model[field] = json!(value);
    }
    model["quantization_config"] = json!({
        "quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm", "zero_point": true
    });
    folder.write("small.json", &model.to_string());
    folder.write(
        "a100.yaml",
        "name: a100\nnodes:\n  - {count: 1, device: a100_sxm4_80gb, devices: 1, host: pcie5_x16}\n",
    );
    let of = |tpot: &str| {
        let asked = "infer small.json --cluster a100.yaml --input-tokens 200 --output-tokens 600 --ttft 4500ms \
                     --time-limit 10m --force -o plan.json --tpot";
        folder.run(&format!("{asked} {tpot}")).exits(0);
        number(&folder.json("plan.json")["fleet"]["requests_per_s"])
    };
    let [shorter, longer] = ["25ms", "80ms"].map(of);
    // Rates are searched in steps of 1.1 %, and once more of 1 %.
    assert!(longer > 0.98 * shorter, "{longer} instead of {shorter} requests/s");
}

/// Engines run on no GPU that is older than their kernels, or of another vendor.
#[test]
fn devices_that_an_engine_does_not_run_on_get_no_script() {
    let folder = folder();
    for (device, engine, word) in [
        ("p100_sxm2_16gb", "vllm", "Volta"),
        ("v100_sxm2_32gb", "sglang", "Turing"),
        ("v100_sxm2_32gb", "trtllm", "Ampere"),
        ("m1_ultra_64core_128gb", "vllm", "CUDA"),
    ] {
        let hosts = format!("name: old\nnodes:\n  - {{count: 1, device: {device}, devices: 1}}\n");
        folder.write("old.yaml", &hosts);
        folder.write("dense.json", &super::serving::config().to_string());
        let asked = "infer dense.json --cluster old.yaml --dtype f16 --rate 0.1 --input-tokens 200 --output-tokens 50";
        folder.run(&format!("{asked} --for {engine} -o plan.json --force")).exits(0);
        let talk =
            folder.run(&format!("export plan.json --target {engine} -o start.sh")).exits(3).talk();
        assert!(talk.contains(word), "{device} {engine}: {talk}");
    }
}
