//! What a plan on unlike nodes is the best of: plans stated by hand, which the judge takes, are none below
//! its bound, and what is allowed besides makes no plan slower.

use serde_json::{Value, json};

use super::folder::{Folder, diamond};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/models/gpt2-xl.json");

const NETWORK: &str = "network: {bytes_per_s: 12e9, latency_s: 30e-6}\n";

fn folder(files: &[(&str, &str)]) -> Folder {
    let folder = Folder::new(&diamond());
    files.iter().for_each(|(name, nodes)| {
        let network = if nodes.contains("network:") { "" } else { NETWORK };
        folder.write(name, &format!("name: own\nnodes:\n{nodes}{network}"));
    });
    folder
}

fn planned(folder: &Folder, line: &str) -> Value {
    folder.run(&format!("plan {MODEL} {line} --dtype f16 --json")).exits(0).json()
}

fn step_s(answer: &Value) -> f64 {
    answer["best"]["step_time_s"].as_f64().unwrap()
}

/// A stage on one device: first block, number of blocks, device.
type Stated<'d> = (u32, u32, &'d str);

/// The judge's seconds of a plan of one sample at a time with other stages.
fn stated_s(folder: &Folder, (plan, cluster): (&Value, &str), stages: &[Stated<'_>]) -> f64 {
    let mut plan = plan.clone();
    let n = plan["training"]["global_batch"].as_u64().unwrap();
    plan["parallelism"]["n_micro_batches"] = json!(n);
    plan["parallelism"]["training"]["micro_batch"] = json!(1);
    let cells = |rank: u64| -> String {
        let ahead = (stages.len() as u64 - rank).min(n);
        let mut cells: Vec<String> = (0..ahead).map(|batch| format!("{rank}F{batch}")).collect();
        for batch in 0..n {
            cells.push(format!("{rank}B{batch}"));
            cells.extend((batch + ahead < n).then(|| format!("{rank}F{}", batch + ahead)));
        }
        cells.join(",")
    };
    plan["schedule"]["grid"] = (0..stages.len() as u64).map(cells).collect();
    plan["parallelism"]["pipeline"] = json!(stages.len());
    let stage = |(first, n, device): &Stated<'_>| {
        json!({
            "ops": [],
            "blocks": { "first": first, "n": n, "recompute": "none" },
            "mesh": { "devices": [device], "tensor": 1, "samples": [1] },
        })
    };
    plan["partition"]["stages"] = stages.iter().map(stage).collect();
    plan.as_object_mut().unwrap().remove("cost");
    let training = plan["training"].as_object_mut().unwrap();
    ["held", "memory", "peak"].iter().for_each(|name| drop(training.remove(*name)));
    folder.write("stated.json", &plan.to_string());
    let on = format!("--model {MODEL} --cluster {cluster}");
    folder.run(&format!("verify stated.json {on}")).exits(0);
    seconds(&folder.run(&format!("simulate stated.json {on} --json")).exits(0).json())
}

fn seconds(simulated: &Value) -> f64 {
    1e-9 * simulated["step_time_ns"].as_f64().unwrap()
}

/// One more computer makes no plan slower: the one alone needs its host for the optimizer states.
#[test]
fn a_second_computer_makes_no_plan_slower() {
    let one = "  - {name: b, device: rtx_3090}\n";
    let two = "  - {name: a, device: rtx_3080_10gb}\n  - {name: b, device: rtx_3090}\n\
               network: {bytes_per_s: 125e6, latency_s: 50e-6}\n";
    let folder = folder(&[("one.yaml", one), ("two.yaml", two)]);
    let answer_to = |cluster: &str, more: &str| {
        let line = format!("--cluster {cluster} --global-batch 32 --sequence-length 512 {more}");
        planned(&folder, &line)
    };
    let (alone, both) = (answer_to("one.yaml", ""), answer_to("two.yaml", "-o plan.json"));
    assert!(step_s(&both) <= step_s(&alone), "{} {}", step_s(&both), step_s(&alone));
    assert_eq!(both["plan"]["training"]["offloads_optimizer"], true);
    folder.run(&format!("verify plan.json --model {MODEL} --cluster two.yaml")).exits(0);
    let on_device = answer_to("two.yaml", "--no-offload");
    assert!(step_s(&on_device) > step_s(&both));
    assert_ne!(on_device["plan"]["training"]["offloads_optimizer"], true);
}

/// The first and the last stage on a node of two, others between them: a pipeline that begins and ends on one
/// node is in the space.
#[test]
fn a_pipeline_may_end_on_the_node_where_it_began() {
    let nodes = "  - {name: h0, device: t4, nics: 1}\n  - {name: h1, device: rtx_4090, nics: 1}\n  \
                 - {name: h2, device: rtx_4090, devices: 2}\n";
    let folder = folder(&[("c.yaml", nodes)]);
    let answer = planned(&folder, "--cluster c.yaml --global-batch 16 --sequence-length 1024");
    let bound_s = answer["bound_s"].as_f64().unwrap();
    let mut best = f64::INFINITY;
    for (at, first, last) in [(0, 17, 11), (0, 17, 10), (0, 18, 10), (1, 17, 11), (1, 18, 10)] {
        let slow = 2 - at;
        let middle = 48 - first - last - slow;
        let stages = [
            (0, first, "h2.gpu0"),
            (first, middle, "h1.gpu0"),
            (first + middle, slow, "h0.gpu0"),
            (48 - last, last, "h2.gpu1"),
        ];
        best = stated_s(&folder, (&answer["plan"], "c.yaml"), &stages).min(best);
    }
    assert!(bound_s <= best, "bound {bound_s}, a plan of {best}");
}

/// Every way to share out the samples of one stage over two sorts of cards: the best is found.
#[test]
fn samples_are_shared_out_by_the_time_of_the_stage() {
    let nodes = "  - {name: h0, device: t4}\n  - {name: h1, device: v100_sxm2_32gb}\n\
                 network: {bytes_per_s: 1.25e9, latency_s: 30e-6}\n";
    let folder = folder(&[("c.yaml", nodes)]);
    let small = r#"{"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_embd": 768, "n_head": 12,
        "n_layer": 12, "n_positions": 1024, "vocab_size": 50257}"#;
    folder.write("small.json", small);
    let line = "plan small.json --cluster c.yaml --global-batch 64 --sequence-length 512 --dtype f16 --json";
    let answer = folder.run(line).exits(0).json();
    let mut plan = answer["plan"].clone();
    assert_eq!(plan["partition"]["stages"].as_array().unwrap().len(), 1, "{plan}");
    plan.as_object_mut().unwrap().remove("cost");
    let training = plan["training"].as_object_mut().unwrap();
    ["held", "memory", "peak"].iter().for_each(|name| drop(training.remove(*name)));
    for few in 8..20 {
        plan["partition"]["stages"][0]["mesh"]["samples"] = json!([few, 64 - few]);
        folder.write("stated.json", &plan.to_string());
        let ran =
            folder.run("simulate stated.json --model small.json --cluster c.yaml --json").exits(0);
        let stated_s = seconds(&ran.json());
        assert!(step_s(&answer) <= stated_s + 1e-9, "{} {few}: {stated_s}", step_s(&answer));
    }
}
