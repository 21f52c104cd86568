//! Figures and decisions of many small plans, frozen: whatever is rebuilt leaves them as they are,
//! or changes tests/data/goldens.json, line by line. `MESHWRIGHT_BLESS=1` writes it anew.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::flags::folder as flagged;
use super::folder::Folder;
use super::followed::{layers, load_instance};

/// Share by which figures may differ: a last digit of a float.
const TOLERANCE: f64 = 1e-7;

const CLUSTERS: [(&str, &str); 3] = [
    (
        "four",
        "nodes:\n  - {device: a100_sxm4_80gb, devices: 4, scaleup: nvlink3, host: pcie4_x16}\n",
    ),
    (
        "shared",
        "nodes:\n  - {count: 2, device: a100_sxm4_80gb, devices: 4, scaleup: nvlink3, \
         host: pcie4_x16, nics: 1}\nnetwork: {link: ethernet_25g}\n",
    ),
    (
        "sixteen",
        "nodes:\n  - {count: 2, device: h100_sxm5_80gb, devices: 8, scaleup: nvlink4, \
         host: pcie5_x16, nics: 8}\nnetwork: {link: ib_ndr_400}\n",
    ),
];

/// Training runs by forms, without `plan MODEL --cluster CLUSTER`.
const RUNS: [&str; 5] = [
    "--global-batch 32 --sequence-length 512",
    "--global-batch 32 --sequence-length 2048 --for any",
    "--global-batch 16 --sequence-length 1024 --pin pipeline=2 --for megatron",
    "--global-batch 64 --sequence-length 512 --max-memory-per-device 3GB",
    "--global-batch 16 --sequence-length 512 --dtype fp32 --optimizer sgd --pin tensor=2",
];

/// The same on measured layers.
const MEASURED: [&str; 6] = [
    "",
    "--max-memory-per-device 2300MiB --pin pipeline=2",
    "--pin tensor=2",
    "--pin data=4 --pin zero=3",
    "--max-memory-per-device 1700MiB",
    "--pin sequence-parallel=ulysses --pin tensor=2",
];

const OPS: [&str; 6] = ["single", "m-topo", "m-etf", "m-sct", "heft", "orders"];

fn config(kind: &str) -> Value {
    let mut config = json!({
        "hidden_size": 1024, "num_hidden_layers": 12, "num_attention_heads": 16,
        "num_key_value_heads": 8, "intermediate_size": 2816, "vocab_size": 32000,
        "max_position_embeddings": 4096, "tie_word_embeddings": kind == "llama"
    });
    config["model_type"] = json!(kind);
    if kind == "mixtral" {
        config["num_local_experts"] = json!(8);
        config["num_experts_per_tok"] = json!(2);
    }
    config
}

fn folder() -> Folder {
    let folder = flagged();
    for kind in ["llama", "mixtral"] {
        folder.write(&format!("{kind}.json"), &config(kind).to_string());
    }
    for (name, text) in CLUSTERS {
        folder.write(&format!("{name}.yaml"), text);
    }
    for seed in 0..5 {
        folder.write(&format!("layers{seed}.json"), &layers(12 + 4 * seed, seed).to_string());
        folder.write(&format!("load{seed}.json"), &load_instance(12 + 2 * seed, seed).to_string());
    }
    folder
}

/// All lines, each a run of `plan`.
fn lines() -> Vec<String> {
    let mut lines = Vec::new();
    for kind in ["llama", "mixtral"] {
        for (cluster, _) in CLUSTERS {
            lines.extend(RUNS.map(|run| format!("{kind}.json --cluster {cluster}.yaml {run}")));
        }
    }
    for batch in [8, 16, 24, 32, 64] {
        let run = format!(
            "config.json --cluster one.yaml --profile measured --sequence-length 512 \
             --global-batch {batch}"
        );
        lines.extend(MEASURED.map(|flags| format!("{run} {flags}")));
    }
    for seed in 0..5 {
        lines.extend(OPS.map(|algorithm| format!("layers{seed}.json --algorithm {algorithm}")));
        for objective in ["max-load", "contiguous-max-load"] {
            lines.push(format!("load{seed}.json --objective {objective} --accelerators 3"));
            lines.push(format!("load{seed}.json --objective {objective} --accelerators 2"));
        }
    }
    lines
}

/// What was decided, in few characters.
fn decided(plan: &Value) -> String {
    let parts = ["parallelism", "partition", "placement", "schedule", "fpgas", "cpus"];
    let parts: Vec<&Value> = parts.iter().map(|part| &plan[part]).collect();
    let hash = Sha256::digest(serde_json::to_vec(&parts).unwrap());
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Step, bound and greatest peak, and what was decided; for a run without a plan its exit code.
fn told(folder: &Folder, line: &str) -> Value {
    let ran = folder.run(&format!("plan {line} --deterministic -o golden.json --force"));
    if ran.code != 0 {
        return json!({ "exit": ran.code });
    }
    let plan: Value = folder.json("golden.json");
    let memory = plan["training"]["memory"].as_array();
    let peaks = memory.into_iter().flatten().filter_map(|rank| rank["peak_bytes"].as_u64());
    let of = |names: [&str; 2]| {
        let places = [&plan["cost"], &plan];
        let found = names.iter().flat_map(|name| places.map(|place| &place[*name]));
        found.into_iter().find(|value| !value.is_null()).cloned().unwrap()
    };
    json!({
        "value_ns": of(["value_ns", "step_time_ns"]),
        "bound_ns": of(["bound_ns", "bound_ns"]),
        "peak_bytes": peaks.max(),
        "decided": decided(&plan),
    })
}

/// Whether two answers are the same up to a last digit.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()),
        _ => match (a.as_object(), b.as_object()) {
            (Some(a), Some(b)) => a.len() == b.len() && a.iter().all(|(k, v)| same(v, &b[k])),
            _ => a == b,
        },
    }
}

#[test]
fn plans_are_those_that_were_frozen() {
    let folder = folder();
    let now: BTreeMap<String, Value> =
        lines().into_iter().map(|line| (line.clone(), told(&folder, &line))).collect();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/goldens.json");
    if std::env::var_os("MESHWRIGHT_BLESS").is_some() {
        std::fs::write(&file, format!("{:#}\n", json!(now))).unwrap();
    }
    let frozen = std::fs::read_to_string(&file).unwrap();
    let frozen: BTreeMap<String, Value> = serde_json::from_str(&frozen).unwrap();
    let keys = |all: &BTreeMap<String, Value>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&now), keys(&frozen));
    let changed: Vec<String> = now
        .iter()
        .filter(|(line, value)| !same(value, &frozen[*line]))
        .map(|(line, value)| format!("{line}:\n  was {}\n  is  {value}", frozen[line]))
        .collect();
    assert!(changed.is_empty(), "{} changed:\n{}", changed.len(), changed.join("\n"));
    // Most have a plan; of the others that they have none is frozen.
    let n_plans = frozen.values().filter(|value| value.get("exit").is_none()).count();
    assert!(frozen.len() >= 110 && n_plans >= 90, "{n_plans} of {}", frozen.len());
}
