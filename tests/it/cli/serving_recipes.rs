//! Default answers of `docs/serving-recipes.md` are those of today; `MESHWRIGHT_BLESS=1` writes them anew.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::folder::{Folder, diamond};

/// Columns of the table that the program answers: plan, figures.
const ANSWERED: [usize; 2] = [3, 4];

/// Models of the table, as their configs on Hugging Face state them.
fn config(model: &str) -> Value {
    let with = |mut config: Value, quantization: Value| {
        config["quantization_config"] = quantization;
        config
    };
    let llama = json!({
        "model_type": "llama", "vocab_size": 128_256, "hidden_size": 8192, "intermediate_size": 28_672,
        "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8,
        "max_position_embeddings": 131_072, "tie_word_embeddings": false, "torch_dtype": "bfloat16"
    });
    let qwen = json!({
        "model_type": "qwen3_moe", "vocab_size": 151_936, "hidden_size": 4096, "intermediate_size": 12_288,
        "moe_intermediate_size": 1536, "num_hidden_layers": 94, "num_attention_heads": 64,
        "num_key_value_heads": 4, "head_dim": 128, "num_experts": 128, "num_experts_per_tok": 8,
        "decoder_sparse_step": 1, "mlp_only_layers": [], "max_position_embeddings": 40_960,
        "tie_word_embeddings": false, "torch_dtype": "bfloat16"
    });
    let blocks = json!({"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]});
    match model {
        "Llama-3.3-70B" => llama,
        "Llama-3.3-70B FP8" => with(
            llama,
            json!({
                "quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"],
                "kv_cache_scheme": {"num_bits": 8, "type": "float", "dynamic": false}
            }),
        ),
        "Qwen3-235B-A22B" => qwen,
        "Qwen3-235B-A22B FP8" => {
            let gates = (0..94).map(|layer| format!("model.layers.{layer}.mlp.gate"));
            let kept: Vec<String> = gates.chain(["lm_head".to_owned()]).collect();
            let mut blocks = blocks;
            blocks["modules_to_not_convert"] = json!(kept);
            with(qwen, blocks)
        }
        "gpt-oss-120b" => {
            let kinds = ["sliding_attention", "full_attention"];
            let layers: Vec<&str> = kinds.into_iter().cycle().take(36).collect();
            json!({
                "model_type": "gpt_oss", "vocab_size": 201_088, "hidden_size": 2880,
                "intermediate_size": 2880, "num_hidden_layers": 36, "num_attention_heads": 64,
                "num_key_value_heads": 8, "head_dim": 64, "num_local_experts": 128,
                "num_experts_per_tok": 4, "attention_bias": true, "sliding_window": 128,
                "layer_types": layers, "max_position_embeddings": 131_072,
                "tie_word_embeddings": false, "quantization_config": {
                    "quant_method": "mxfp4", "modules_to_not_convert": [
                        "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens",
                        "lm_head"
                    ]
                }
            })
        }
        "DeepSeek-V3 FP8" => {
            let path =
                Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/models/deepseek-v3.json");
            with(serde_json::from_slice(&fs::read(path).unwrap()).unwrap(), blocks)
        }
        other => panic!("no config of `{other}`"),
    }
}

fn cluster(devices: &str) -> String {
    let (n, kind) = match devices {
        "8 H100" => (1, "h100_sxm5_80gb"),
        "8 H200" => (1, "h200_sxm5_141gb"),
        "2 x 8 H100" => (2, "h100_sxm5_80gb"),
        "2 RTX 3090" => {
            let path =
                Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/clusters/two-rtx3090.yaml");
            return fs::read_to_string(path).unwrap();
        }
        other => panic!("no devices `{other}`"),
    };
    format!(
        "name: hosts\nnodes:\n  - {{count: {n}, device: {kind}, devices: 8, scaleup: nvlink4, \
         host: pcie5_x16, nics: 8}}\nnetwork: {{link: ib_ndr_400}}\n"
    )
}

/// Degrees of a worker above one.
fn degrees(worker: &Value) -> String {
    let stages = worker["stages"].as_array().unwrap().len() as u64;
    let degree = |name: &str| worker[name].as_u64().unwrap();
    let mut text = format!("TP {}", degree("tensor"));
    for (name, n) in [("DP", degree("data")), ("EP", degree("expert")), ("PP", stages)] {
        if n > 1 {
            text.push_str(&format!(", {name} {n}"));
        }
    }
    text
}

/// The answer's cells: plan and figures.
fn answer(model: &str, devices: &str) -> [String; 2] {
    let folder = Folder::new(&diamond());
    folder.write("model.json", &config(model).to_string());
    folder.write("cluster.yaml", &cluster(devices));
    // The config of gpt-oss states no type.
    let ran = folder
        .run("infer model.json --cluster cluster.yaml --dtype bf16 --time-limit 10m -o plan.json");
    let after = |text: &str, name: &str, n: usize| -> String {
        let line = text.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
        line.split_whitespace().skip(1).take(n).collect::<Vec<_>>().join(" ")
    };
    if ran.code == 4 {
        let talk = ran.talk();
        let (_, rest) = talk.split_once(" need ").unwrap();
        let (short, _) = rest.split_once(" more per device").unwrap();
        let (_, rest) = talk.split_once("smallest ").unwrap();
        let (facts, _) = rest.split_once(" hint:").unwrap();
        let smallest = facts.split("; assumed").next().unwrap();
        return [
            format!("does not fit: {short} short per device; smallest {smallest}"),
            "-".into(),
        ];
    }
    let text = ran.exits(0).stdout;
    let plan = folder.json("plan.json");
    let part = |worker: &Value| {
        let role = match worker["role"].as_str().unwrap() {
            "aggregated" => String::new(),
            role => format!("{role} "),
        };
        format!("{} x {role}{}", worker["replicas"].as_array().unwrap().len(), degrees(worker))
    };
    let parts: Vec<String> =
        plan["fleet"]["workers"].as_array().unwrap().iter().map(part).collect();
    let figures = [("serves", 1), ("TTFT", 2), ("TPOT", 2)].map(|(name, n)| after(&text, name, n));
    [parts.join("; "), figures.join(", ")]
}

#[test]
fn default_answers_are_those_of_the_page() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/serving-recipes.md");
    let page = fs::read_to_string(&path).unwrap();
    let mut now = String::new();
    for line in page.lines() {
        let mut cells: Vec<String> =
            line.split(" | ").map(|cell| cell.trim_matches(['|', ' ']).to_owned()).collect();
        let is_row = cells.len() == 6 && !["model", "---"].contains(&cells[0].as_str());
        if is_row {
            let found = answer(&cells[0], &cells[1]);
            for (at, text) in ANSWERED.into_iter().zip(found) {
                cells[at] = text;
            }
            now.push_str(&format!("| {} |\n", cells.join(" | ")));
        } else {
            now.push_str(&format!("{line}\n"));
        }
    }
    if std::env::var_os("MESHWRIGHT_BLESS").is_some() {
        fs::write(path, now).unwrap();
        return;
    }
    for (now, stated) in now.lines().zip(page.lines()) {
        assert_eq!(now, stated, "`MESHWRIGHT_BLESS=1` writes the page anew");
    }
}
