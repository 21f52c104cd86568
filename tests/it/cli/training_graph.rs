//! Training runs on graphs: planned, read back, exported; nothing is lost on the way.

use serde_json::{Value, json};

use super::folder::{Folder, diamond};
use crate::data;

const CLUSTER: &str = "\
name: host
nodes:
  - {count: 1, device: h100_sxm5_80gb, devices: 8, scaleup: nvlink4, host: pcie5_x16, nics: 8}
";

/// A folder with a cluster, and where a model lies.
fn folder(model: &str) -> Option<(Folder, String)> {
    let path = data::folder()?.join(format!("models/onnx/{model}.onnx"));
    let folder = Folder::new(&diamond());
    folder.write("cluster.yaml", CLUSTER);
    Some((folder, path.display().to_string()))
}

#[test]
fn a_transformer_is_planned_as_its_config_is() {
    let Some((folder, model)) = folder("gpt2_small") else { return };
    let config = data::folder().unwrap().join("models/hf_configs/gpt2.json");
    let rest = "--cluster cluster.yaml --global-batch 64 --json";
    let of_graph = folder.run(&format!("plan {model} {rest}")).exits(0).json();
    let config = format!("plan {} {rest} --sequence-length 1024", config.display());
    let of_config = folder.run(&config).exits(0).json();
    assert_eq!(of_graph["best"]["degrees"], of_config["best"]["degrees"]);
    // The exporter dropped biases of zeros, which the config's optimizer steps over.
    let step = |answer: &Value| answer["best"]["step_time_ns"].as_f64().unwrap();
    let ratio = step(&of_graph) / step(&of_config);
    assert!(ratio <= 1.0 && ratio > 0.9999, "{ratio}");
    let graph = &of_graph["graph"];
    assert_eq!(graph["n_parameters"], graph["n_parameters_of_plan"]);
    assert_eq!(graph["n_parameters"], of_graph["plan"]["training"]["n_parameters"]);
    assert_eq!(graph["starts"].as_array().unwrap().len(), 12);
    folder.run(&format!("plan {model} {rest} --sequence-length 512")).exits(2);
}

#[test]
fn plans_on_graphs_are_read_back_to_the_same_step() {
    for name in ["gpt2_small", "t5_base", "resnet50"] {
        let Some((folder, model)) = folder(name) else { return };
        let answer = folder
            .run(&format!(
                "plan {model} --cluster cluster.yaml --global-batch 64 --algorithm search-3d \
                 --pin pipeline=2 --pin schedule=1f1b -o plan.json --json"
            ))
            .exits(0)
            .json();
        let step = answer["best"]["step_time_ns"].as_u64().unwrap();
        let on = format!("plan.json --model {model} --cluster cluster.yaml");
        let replayed = folder.run(&format!("simulate {on} --json")).exits(0).json();
        assert_eq!(replayed["step_time_ns"], step, "{name}");
        let verified = folder.run(&format!("verify {on} --json")).exits(0).json();
        assert_eq!(verified["violations"], json!([]), "{name}");
        folder.run(&format!("explain {on}")).exits(0);
        folder.run(&format!("export {on} --target torch-pipelining -o s.csv")).exits(0);
        folder.run(&format!("export {on} --target torch-split-points -o p.json")).exits(0);
        let points: Value = folder.json("p.json");
        assert_eq!(points["split_spec"].as_object().unwrap().len(), 1, "{name}");
        let megatron = folder.run(&format!("export {on} --target megatron -o m.args"));
        megatron.exits(if name == "gpt2_small" { 0 } else { 3 });
        let mut plan: Value = folder.json("plan.json");
        let n = plan["training"]["n_parameters"].as_u64().unwrap();
        plan["training"]["n_parameters"] = json!(n - 1);
        folder.write("plan.json", &plan.to_string());
        let lost = folder.run(&format!("verify {on} --json")).exits(6).json();
        assert_eq!(lost["violations"][0]["code"], "stated-wrong", "{name}");
    }
}

#[test]
fn splits_of_a_transformer_are_its_modules() {
    let Some((folder, model)) = folder("gpt2_small") else { return };
    let plan = "--cluster cluster.yaml --global-batch 64 --pin pipeline=4 --pin schedule=1f1b";
    folder.run(&format!("plan {model} {plan} --pin split=equal -o plan.json")).exits(0);
    let on = format!("plan.json --model {model} --cluster cluster.yaml");
    folder.run(&format!("export {on} --target torch-split-points -o p.json")).exits(0);
    let points: Value = folder.json("p.json");
    let modules: Vec<&String> = points["split_spec"].as_object().unwrap().keys().collect();
    for (module, layer) in modules.iter().zip([3, 6, 9]) {
        assert!(module.ends_with(&format!("h.{layer}")), "{module}");
    }
}

#[test]
fn the_open_dimension_of_a_graph_is_the_length_of_a_sample() {
    let Some((folder, model)) = folder("bert_2l_dynamic") else { return };
    let plan = format!("plan {model} --cluster cluster.yaml --global-batch 16");
    folder.run(&plan).exits(3);
    for length in [64, 128] {
        let rest = format!("--sequence-length {length} -o plan.json --force --json");
        let answer = folder.run(&format!("{plan} {rest}")).exits(0).json();
        assert_eq!(answer["plan"]["training"]["sequence_length"], length);
        let on = format!("plan.json --model {model} --cluster cluster.yaml --json");
        folder.run(&format!("verify {on}")).exits(0);
    }
}

/// A config without a card is written out op by op: T5's two sides, of any length.
#[test]
fn an_encoder_decoder_config_is_planned_from_its_ops() {
    let folder = Folder::new(&diamond());
    let config = json!({
        "model_type": "t5", "vocab_size": 1000, "d_model": 256, "d_kv": 64, "d_ff": 1024,
        "num_layers": 4, "num_decoder_layers": 3, "num_heads": 4,
        "relative_attention_num_buckets": 32, "feed_forward_proj": "relu"
    });
    folder.write("t5.json", &config.to_string());
    folder.write("nodes.yaml", super::training::CLUSTER);
    let plan = "plan t5.json --cluster nodes.yaml --global-batch 32 --sequence-length 128";
    let answer =
        folder.run(&format!("{plan} --pin pipeline=2 -o plan.json --json")).exits(0).json();
    assert!(answer["best"]["tokens_per_s"].as_f64().unwrap() > 0.0);
    let plan: Value = folder.json("plan.json");
    assert_eq!(plan["training"]["sequence_length"], 128);
    // Embedding, blocks, biases of the scores, norms.
    let (h, f) = (256_u64, 1024_u64);
    let encoder = 4 * (4 * h * h + 2 * h * f + 2 * h);
    let decoder = 3 * (8 * h * h + 2 * h * f + 3 * h);
    let expected = 1000 * h + encoder + decoder + 2 * 32 * 4 + 2 * h;
    assert_eq!(plan["training"]["n_parameters"].as_u64(), Some(expected));
    folder.run("verify plan.json --model t5.json --cluster nodes.yaml").exits(0);
    folder.run("simulate plan.json --model t5.json --cluster nodes.yaml").exits(0);
}
