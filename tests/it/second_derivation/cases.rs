//! What is asked: five small models on three clusters, whose devices have a network card each or
//! share one.

use serde_json::{Value, json};

/// One question: model, cluster, network cards of a host, samples of a step, and pins.
pub(super) struct Case {
    pub(super) model: &'static str,
    pub(super) cluster: &'static str,
    pub(super) cards: usize,
    pub(super) global_batch: usize,
    /// `--dtype` and `--optimizer`.
    pub(super) numbers: [&'static str; 2],
    pub(super) pins: &'static str,
}

/// The config of a model, and tokens of a sample.
pub(super) fn model(name: &str) -> (Value, usize) {
    let llama = |hidden: usize, heads: usize, key_value_heads: usize, inner: usize| {
        json!({
            "model_type": "llama", "hidden_size": hidden, "num_hidden_layers": 8,
            "num_attention_heads": heads, "num_key_value_heads": key_value_heads,
            "intermediate_size": inner, "vocab_size": 32768, "max_position_embeddings": 65536,
            "tie_word_embeddings": false
        })
    };
    match name {
        "dense" => (llama(2048, 16, 16, 5632), 2048),
        "grouped" => (llama(4096, 32, 8, 14336), 4096),
        "long" => (llama(2048, 16, 8, 5632), 16384),
        "tied" => {
            let config = json!({
                "model_type": "gpt2", "n_embd": 1536, "n_layer": 8, "n_head": 16,
                "vocab_size": 51200, "n_positions": 1024
            });
            (config, 1024)
        }
        "mixture" => {
            let mut config = llama(2048, 16, 8, 4096);
            config["model_type"] = json!("mixtral");
            config["num_local_experts"] = json!(8);
            config["num_experts_per_tok"] = json!(2);
            (config, 2048)
        }
        _ => panic!("no model {name}"),
    }
}

/// Devices of a host.
pub(super) fn devices(cluster: &str) -> usize {
    let file = self::cluster(cluster, 1);
    file["nodes"][0]["devices"].as_u64().unwrap() as usize
}

/// Sixteen devices; as JSON, which is YAML too.
pub(super) fn cluster(name: &str, cards: usize) -> Value {
    let hosts = |count: usize, device: &str, devices: usize, inside: [f64; 2], across: [f64; 2]| {
        json!({
            "name": name,
            "link_kinds": [{"name": "inner", "bytes_per_s": inside[0], "latency_s": inside[1]}],
            "nodes": [{
                "count": count, "device": device, "devices": devices, "scaleup": "inner",
                "nics": cards
            }],
            "network": {"bytes_per_s": across[0], "latency_s": across[1]}
        })
    };
    match name {
        "wide" => hosts(2, "a100_sxm4_80gb", 8, [200e9, 10e-6], [25e9, 5e-6]),
        "square" => hosts(4, "h100_sxm5_80gb", 4, [400e9, 8e-6], [40e9, 4e-6]),
        // Links inside that are slower than a network card.
        "narrow" => hosts(8, "a100_sxm4_80gb", 2, [12e9, 6e-6], [16e9, 12e-6]),
        _ => panic!("no cluster {name}"),
    }
}

const ADAMW: [&str; 2] = ["bf16", "adamw"];
const SGD: [&str; 2] = ["bf16", "sgd"];
const SINGLE: [&str; 2] = ["fp32", "adamw"];
const SINGLE_SGD: [&str; 2] = ["fp32", "sgd"];

const fn case(
    (model, cluster, cards): (&'static str, &'static str, usize),
    global_batch: usize,
    numbers: [&'static str; 2],
    pins: &'static str,
) -> Case {
    Case { model, cluster, cards, global_batch, numbers, pins }
}

/// Of each model and cluster one with a card for each device and one with shared cards.
#[rustfmt::skip]
pub(super) const CASES: [Case; 33] = [
    case(("dense", "wide", 8), 16, ADAMW, "tensor=2 data=2 pipeline=4 schedule=1f1b micro-batch=1 zero=1 recompute=none mesh=data-inside"),
    case(("dense", "wide", 1), 32, SGD, "tensor=8 data=2 schedule=1f1b micro-batch=4 zero=2 recompute=none sequence-parallel=on"),
    case(("dense", "square", 4), 16, SINGLE_SGD, "tensor=4 data=2 pipeline=2 schedule=gpipe micro-batch=1 zero=0 recompute=full mesh=pipeline-inside"),
    case(("dense", "square", 2), 32, ADAMW, "tensor=2 data=8 schedule=1f1b micro-batch=2 zero=3 recompute=none"),
    case(("dense", "narrow", 2), 32, ADAMW, "tensor=2 data=4 pipeline=2 schedule=interleaved virtual-stages=2 micro-batch=1 zero=1 recompute=full mesh=pipeline-inside"),
    case(("dense", "narrow", 1), 16, ADAMW, "tensor=4 data=2 pipeline=2 schedule=1f1b micro-batch=2 zero=0 recompute=none mesh=data-inside sequence-parallel=off"),
    case(("tied", "wide", 8), 32, SGD, "tensor=1 data=4 pipeline=4 schedule=1f1b micro-batch=2 zero=0 recompute=none mesh=data-inside"),
    case(("tied", "wide", 2), 32, SINGLE, "tensor=2 data=4 pipeline=2 schedule=gpipe micro-batch=2 zero=1 recompute=full mesh=pipeline-inside sequence-parallel=off"),
    case(("tied", "square", 4), 64, ADAMW, "tensor=2 data=4 pipeline=2 schedule=interleaved virtual-stages=2 micro-batch=4 zero=1 recompute=none mesh=pipeline-inside"),
    case(("tied", "square", 1), 64, ADAMW, "tensor=1 data=8 pipeline=2 schedule=1f1b micro-batch=2 zero=1 recompute=full mesh=data-inside"),
    case(("tied", "narrow", 2), 64, ADAMW, "tensor=1 data=16 schedule=1f1b micro-batch=4 zero=3 recompute=full"),
    case(("tied", "narrow", 1), 32, SINGLE, "tensor=2 data=2 pipeline=4 schedule=interleaved virtual-stages=2 micro-batch=4 zero=0 recompute=none mesh=pipeline-inside"),
    case(("grouped", "wide", 8), 16, ADAMW, "tensor=4 context=2 data=2 schedule=1f1b micro-batch=1 zero=1 recompute=none"),
    case(("grouped", "wide", 2), 8, SGD, "tensor=4 data=1 pipeline=4 schedule=1f1b micro-batch=1 zero=0 recompute=none"),
    case(("grouped", "square", 4), 8, SGD, "tensor=8 data=2 schedule=1f1b micro-batch=1 zero=2 recompute=none sequence-parallel=on"),
    case(("grouped", "square", 2), 8, ADAMW, "tensor=4 context=2 data=2 schedule=1f1b micro-batch=1 zero=3 recompute=full"),
    case(("grouped", "narrow", 2), 16, ADAMW, "tensor=2 data=1 pipeline=8 schedule=1f1b micro-batch=1 zero=0 recompute=full"),
    case(("grouped", "narrow", 1), 16, SINGLE, "tensor=2 context=2 data=4 schedule=1f1b micro-batch=1 zero=2 recompute=full sequence-parallel=off"),
    case(("mixture", "wide", 8), 64, ADAMW, "tensor=2 data=8 expert=8 schedule=1f1b micro-batch=2 zero=1 recompute=none"),
    case(("mixture", "wide", 2), 64, ADAMW, "tensor=1 data=8 pipeline=2 expert=4 schedule=1f1b micro-batch=2 zero=1 recompute=full mesh=data-inside"),
    case(("mixture", "wide", 8), 64, ADAMW, "tensor=4 data=4 expert=8 expert-tensor=1 schedule=1f1b micro-batch=2 zero=1 recompute=none"),
    case(("mixture", "wide", 2), 64, ADAMW, "tensor=8 data=2 expert=4 expert-tensor=2 schedule=1f1b micro-batch=2 zero=1 recompute=none"),
    case(("mixture", "square", 4), 32, ADAMW, "tensor=4 data=2 pipeline=2 expert=8 expert-tensor=1 schedule=1f1b micro-batch=1 zero=0 recompute=full mesh=data-inside"),
    case(("mixture", "square", 4), 64, SGD, "tensor=1 data=16 expert=8 schedule=1f1b micro-batch=2 zero=2 recompute=none"),
    case(("mixture", "square", 1), 16, ADAMW, "tensor=2 data=4 pipeline=2 expert=4 schedule=gpipe micro-batch=1 zero=0 recompute=full mesh=pipeline-inside"),
    case(("mixture", "narrow", 2), 32, SGD, "tensor=1 context=2 data=4 pipeline=2 expert=4 schedule=1f1b micro-batch=2 zero=1 recompute=none mesh=pipeline-inside"),
    case(("mixture", "narrow", 1), 64, SINGLE_SGD, "tensor=1 data=8 pipeline=2 expert=2 schedule=interleaved virtual-stages=2 micro-batch=1 zero=0 recompute=full mesh=data-inside"),
    case(("long", "wide", 8), 8, ADAMW, "tensor=2 context=4 data=2 schedule=1f1b micro-batch=1 zero=1 recompute=none sequence-parallel=on"),
    case(("long", "wide", 1), 8, ADAMW, "tensor=1 context=8 data=2 schedule=1f1b micro-batch=1 zero=3 recompute=full"),
    case(("long", "square", 4), 16, SGD, "tensor=2 context=2 data=2 pipeline=2 schedule=gpipe micro-batch=1 zero=0 recompute=full mesh=pipeline-inside"),
    case(("long", "square", 2), 8, ADAMW, "tensor=1 context=8 data=1 pipeline=2 schedule=1f1b micro-batch=1 zero=0 recompute=none mesh=data-inside"),
    case(("long", "narrow", 2), 8, SINGLE, "tensor=2 context=4 data=1 pipeline=2 schedule=interleaved virtual-stages=2 micro-batch=1 zero=1 recompute=full sequence-parallel=off"),
    case(("long", "narrow", 1), 8, ADAMW, "tensor=2 context=4 data=2 schedule=1f1b micro-batch=1 zero=2 recompute=none"),
];
