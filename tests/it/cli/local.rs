//! Models on own cards through llama.cpp: published speeds, what the host's memory takes, and GGUF files.

use std::fmt::Write;
use std::fs;

use serde_json::{Value, json};

use super::folder::{Folder, diamond};

/// Llama 3 as its published configs state it.
fn llama(layers: u64, hidden: u64, heads: u64, inner: u64) -> Value {
    json!({
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": hidden,
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": 8,
        "intermediate_size": inner, "vocab_size": 128_256, "max_position_embeddings": 8_192,
        "torch_dtype": "bfloat16", "tie_word_embeddings": false, "rms_norm_eps": 1e-5,
        "rope_theta": 5e5
    })
}

fn folder() -> Folder {
    let folder = Folder::new(&diamond());
    folder.write("8b.json", &llama(32, 4_096, 32, 14_336).to_string());
    folder.write("70b.json", &llama(80, 8_192, 64, 28_672).to_string());
    folder
}

fn cluster(folder: &Folder, rest: &str) -> String {
    let name = format!("c{}.yaml", folder.list().len());
    folder.write(&name, &format!("name: own\nnodes:\n  - {{name: pc, {rest}}}\n"));
    name
}

const HOST: &str = "host_memory_bytes: 64GiB, host_memory_bytes_per_s: 89.6e9";

/// A run of XiongjieDai's GPU-Benchmarks-on-LLM-Inference: 1,024 tokens generated, on average behind 512.
struct Published {
    model: &'static str,
    mixture: &'static str,
    device: &'static str,
    n: usize,
    tokens_per_s: f64,
}

const fn published(
    model: &'static str,
    mixture: &'static str,
    (n, device): (usize, &'static str),
    tokens_per_s: f64,
) -> Published {
    Published { model, mixture, device, n, tokens_per_s }
}

/// Those that constants were fitted to.
const PUBLISHED: [Published; 8] = [
    published("8b", "F16", (1, "rtx_3090"), 46.5),
    published("8b", "F16", (1, "rtx_4090"), 54.3),
    published("8b", "F16", (1, "rtx_a6000"), 40.3),
    published("8b", "F16", (1, "l40s"), 43.4),
    published("8b", "Q4_K_M", (1, "rtx_3090"), 111.7),
    published("8b", "Q4_K_M", (1, "rtx_4090"), 127.7),
    published("70b", "Q4_K_M", (2, "rtx_3090"), 16.3),
    published("70b", "Q4_K_M", (2, "rtx_4090"), 19.1),
];

fn planned(folder: &Folder, model: &str, cluster: &str, more: &str) -> Value {
    let line = format!("infer {model} --cluster {cluster} --for llama.cpp --json {more}");
    folder.run(&line).exits(0).json()
}

fn speed(plan: &Value) -> f64 {
    plan["tokens_per_s"].as_f64().unwrap()
}

#[test]
fn published_speeds_are_met_and_documented() {
    let folder = folder();
    let mut table = String::new();
    for row in PUBLISHED {
        let Published { model, mixture, device, n, tokens_per_s } = row;
        let cluster = cluster(&folder, &format!("device: {device}, devices: {n}, {HOST}"));
        let more = format!("--quantization {mixture} --cached 512");
        let plan = planned(&folder, &format!("{model}.json"), &cluster, &more);
        let error = 100.0 * (speed(&plan) / tokens_per_s - 1.0);
        assert!(error.abs() < 15.0, "{model} {mixture} {device}: {error:+.1} %");
        let (model, predicted) = (model.to_uppercase(), speed(&plan));
        writeln!(
            table,
            "| Llama 3 {model} | {mixture} | {n} x `{device}` | {tokens_per_s:.1} | {predicted:.1} | \
             {error:+.1} % |"
        )
        .unwrap();
    }
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/how-right.md");
    assert!(fs::read_to_string(page).unwrap().contains(&table), "docs/how-right.md lacks\n{table}");
}

#[test]
fn what_does_not_fit_lies_in_the_memory_of_the_host() {
    let folder = folder();
    let one = cluster(&folder, &format!("device: rtx_4090, {HOST}"));
    let more = "--quantization Q4_K_M --cached 1000 -o plan.json";
    let plan = planned(&folder, "70b.json", &one, more);
    let stages = plan["plan"]["served"]["stages"].as_array().unwrap();
    let blocks = &plan["plan"]["partition"]["stages"];
    assert_eq!(stages.len(), 2);
    assert_eq!(blocks[0]["mesh"]["devices"], json!(["pc.cpu"]));
    folder.run("verify plan.json").exits(0);
    folder.run("export plan.json --target llama.cpp -o serve.sh").exits(0);
    // The layers on the card and the head.
    let n = blocks[1]["blocks"]["n"].as_u64().unwrap();
    assert!(folder.read("serve.sh").contains(&format!("-ngl {} ", n + 1)));
    // One more layer on the card does not fit: the bytes of a layer are more than what is left.
    let of = |name: &str| stages[1][name].as_u64().unwrap();
    let each = of("weight_bytes") / n;
    assert!(of("limit_bytes") - of("peak_bytes") < each + each / 3);
    // Faster memory, another card and a smaller file are faster; a host without memory holds nothing.
    let faster = cluster(
        &folder,
        "device: rtx_4090, host_memory_bytes: 64GiB, host_memory_bytes_per_s: 300e9",
    );
    let two = cluster(&folder, &format!("device: rtx_4090, devices: 2, {HOST}"));
    let of = |cluster: &str, mixture: &str| {
        let more = format!("--quantization {mixture} --cached 1000");
        speed(&planned(&folder, "70b.json", cluster, &more))
    };
    assert!(of(&faster, "Q4_K_M") > speed(&plan));
    assert!(of(&two, "Q4_K_M") > of(&faster, "Q4_K_M"));
    assert!(of(&one, "Q3_K_S") > speed(&plan));
    let none = cluster(
        &folder,
        "device: rtx_4090, host_memory_bytes: 1GiB, host_memory_bytes_per_s: 80e9",
    );
    let line = format!("infer 70b.json --cluster {none} --for llama.cpp --quantization Q4_K_M");
    folder.run(&format!("{line} --cached 1000")).exits(4);
}

#[test]
fn experts_stay_in_the_memory_of_the_host_where_the_card_is_small() {
    let folder = folder();
    folder.write(
        "moe.json",
        &fs::read_to_string(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/examples/models/qwen3-30b-a3b.json"
        ))
        .unwrap(),
    );
    let of = |gb: u64, more: &str| {
        let rest = format!("device: rtx_4090, memory_bytes: {gb}GB, {HOST}");
        let more = format!("--quantization Q4_K_M --cached 2000 {more}");
        planned(&folder, "moe.json", &cluster(&folder, &rest), &more)
    };
    let kept = |plan: &Value| plan["plan"]["served"]["host_experts"].as_u64().unwrap_or(0);
    let plans: Vec<Value> = [24, 16, 12, 8].into_iter().map(|gb| of(gb, "")).collect();
    assert_eq!(kept(&plans[0]), 0);
    for pair in plans.windows(2) {
        assert!(kept(&pair[0]) < kept(&pair[1]) && speed(&pair[0]) > speed(&pair[1]));
    }
    let small = of(8, "-o plan.json");
    folder.run("verify plan.json").exits(0);
    folder.run("export plan.json --target llama.cpp -o serve.sh").exits(0);
    assert!(folder.read("serve.sh").contains(&format!("--n-cpu-moe {} ", kept(&small))));
    // Other numbers of layers whose experts the host keeps are legal where they fit, and no faster.
    let mut plan = folder.json("plan.json");
    plan["served"]["host_experts"] = json!(kept(&small) + 1);
    folder.write("other.json", &plan.to_string());
    let said = folder.run("verify other.json").exits(6);
    assert!(said.stderr.contains("latency") || said.stdout.contains("latency"));
}

/// Layers with a window cache no more than it: the context that fits is never below the one that is planned.
#[test]
fn the_context_that_fits_counts_windows() {
    let folder = folder();
    let mut model = llama(32, 4_096, 32, 14_336);
    model["max_position_embeddings"] = json!(131_072);
    folder.write("full.json", &model.to_string());
    model["model_type"] = json!("mistral");
    model["architectures"] = json!(["MistralForCausalLM"]);
    model["sliding_window"] = json!(4_096);
    folder.write("windows.json", &model.to_string());
    let on = cluster(&folder, &format!("device: rtx_3090, {HOST}"));
    let of = |model: &str, cached: u64| {
        planned(&folder, model, &on, &format!("--cached {cached}"))["longest_context"]
            .as_u64()
            .unwrap()
    };
    let full = of("full.json", 8_000);
    assert!((8_001..131_072).contains(&full), "{full}");
    for cached in [8_000, full + 1_000, 100_000] {
        assert_eq!(of("windows.json", cached), 131_072, "{cached}");
    }
}

/// A small Llama in F16 after the specification of GGUF, header alone.
fn gguf() -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let mut values = Vec::new();
    let mut n_values = 1_u64;
    values.extend(
        [text("general.architecture"), 8_u32.to_le_bytes().to_vec(), text("llama")].concat(),
    );
    for (key, n) in [
        ("block_count", 2_u32),
        ("embedding_length", 64),
        ("feed_forward_length", 128),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
        ("context_length", 512),
    ] {
        n_values += 1;
        values.extend([text(&format!("llama.{key}")), 4_u32.to_le_bytes().to_vec()].concat());
        values.extend(n.to_le_bytes());
    }
    let (mut tensors, mut n_tensors, mut offset) = (Vec::new(), 0_u64, 0_u64);
    let mut tensor = |name: &str, shape: [u64; 2]| {
        n_tensors += 1;
        tensors.extend([text(name), 2_u32.to_le_bytes().to_vec()].concat());
        shape.iter().for_each(|extent| tensors.extend(extent.to_le_bytes()));
        tensors.extend([&1_u32.to_le_bytes()[..], &offset.to_le_bytes()].concat());
        offset += 2 * shape[0] * shape[1];
    };
    tensor("token_embd.weight", [64, 1_000]);
    for at in 0..2 {
        let part = |name: &str| format!("blk.{at}.{name}.weight");
        tensor(&part("attn_q"), [64, 64]);
        tensor(&part("attn_k"), [64, 32]);
        tensor(&part("attn_v"), [64, 32]);
        tensor(&part("attn_output"), [64, 64]);
        tensor(&part("ffn_gate"), [64, 128]);
        tensor(&part("ffn_up"), [64, 128]);
        tensor(&part("ffn_down"), [128, 64]);
    }
    let counts = [n_tensors.to_le_bytes(), n_values.to_le_bytes()].concat();
    [b"GGUF", &3_u32.to_le_bytes()[..], &counts, &values, &tensors].concat()
}

#[test]
fn a_gguf_file_is_planned_by_its_header() {
    let folder = folder();
    fs::write(folder.path("small.gguf"), gguf()).unwrap();
    let cluster = cluster(&folder, &format!("device: rtx_3090, {HOST}"));
    let line = format!("infer small.gguf --cluster {cluster} --cached 100 --json");
    let plan = folder.run(&line).exits(0).json();
    // 2 bytes of each weight; the embedding, which is the head too, lies on the card as that.
    let weights = plan["plan"]["served"]["stages"][0]["weight_bytes"].as_u64().unwrap();
    assert_eq!(weights, 2 * (2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128) + 64 * 1_000));
    // A file that ends within its data, and one that ends within its header.
    let mut cut = gguf();
    cut.resize(cut.len().next_multiple_of(32) + 5, 0);
    fs::write(folder.path("cut.gguf"), &cut).unwrap();
    fs::write(folder.path("short.gguf"), &gguf()[..100]).unwrap();
    for name in ["cut", "short"] {
        let line = format!("infer {name}.gguf --cluster {cluster} --for llama.cpp");
        let said = folder.run(&line).exits(3);
        assert!(said.stderr.contains("truncated-gguf"), "{}", said.stderr);
    }
}

#[test]
fn what_means_nothing_is_refused_by_name() {
    let folder = folder();
    fs::write(folder.path("small.gguf"), gguf()).unwrap();
    let cluster = cluster(&folder, &format!("device: rtx_3090, {HOST}"));
    for (line, code) in [
        ("8b.json --for llama.cpp --quantization Q4_K_X", "quantization"),
        ("small.gguf --quantization Q8_0", "quantization"),
        ("8b.json --for llama.cpp --objective throughput", "no-objective"),
        ("8b.json --for vllm --phase decode --batch 1", "not-for-serving"),
        ("8b.json --for llama.cpp --rate 5", "not-for-serving"),
        ("8b.json --quantization Q8_0 --rate 5", "not-for-fleets"),
    ] {
        let said = folder.run(&format!("infer {line} --cluster {cluster} --cached 100")).exits(2);
        assert!(said.stderr.contains(&format!("error[{code}]")), "{line}: {}", said.stderr);
    }
}
