//! Training runs on devices in several places with slow links between them: against equal work on each
//! device in the order of the file.

use std::fmt::Write as _;

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::folder::{Folder, diamond};

const N_DEVICES: usize = 48;
const KINDS: [&str; 4] = ["rtx_3090", "rtx_3080_10gb", "rtx_4090", "t4"];
const BATCH: u64 = 256;

/// Devices in four to eight places, in an order of the seed: 10 Gb/s inside, 8 Mb/s to 10 Gb/s between.
fn testbed(seed: u64) -> String {
    let mut random = SmallRng::seed_from_u64(seed);
    let n_places = random.random_range(4..=8);
    let mut places: Vec<usize> = (0..N_DEVICES).map(|at| at * n_places / N_DEVICES).collect();
    let kinds: Vec<&str> = (0..n_places).map(|_| KINDS[random.random_range(0..4)]).collect();
    let mut rate = |a: usize, b: usize| match a == b {
        true => 10e9_f64,
        false => random.random_range(8e6_f64.ln()..10e9_f64.ln()).exp(),
    };
    let mut rates = vec![vec![0.0; n_places]; n_places];
    for (a, b) in (0..n_places).flat_map(|a| (a..n_places).map(move |b| (a, b))) {
        rates[a][b] = rate(a, b) / 8.0;
        rates[b][a] = rates[a][b];
    }
    places.shuffle(&mut random);
    let mut file = "name: far\ndevices:\n".to_owned();
    for (at, place) in places.iter().enumerate() {
        let _ = writeln!(file, "  - {{id: d{at}, kind: {}, node: n{at}}}", kinds[*place]);
    }
    file.push_str("links:\n");
    for (a, b) in (0..N_DEVICES).flat_map(|a| (a + 1..N_DEVICES).map(move |b| (a, b))) {
        let rate = rates[places[a]][places[b]];
        let _ = writeln!(
            file,
            "  - {{between: [d{a}, d{b}], bytes_per_s: {rate:.0}, latency_s: 1e-3}}"
        );
    }
    file
}

/// 1F1B of so many stages and micro-batches.
fn grid(n_stages: usize, m: u64) -> Vec<String> {
    let row = |stage: usize| {
        let ahead = m.min((n_stages - stage - 1) as u64);
        let mut cells: Vec<String> = (0..ahead).map(|at| format!("{stage}F{at}")).collect();
        for at in 0..m {
            let forward = (at + ahead < m).then(|| format!("{stage}F{}", at + ahead));
            cells.extend(forward.into_iter().chain([format!("{stage}B{at}")]));
        }
        cells.join(",")
    };
    (0..n_stages).map(row).collect()
}

/// The plan with blocks cut to equal work over all devices, in the order of the file.
fn equal_work(plan: &Value, flops: &[f64], micro_batch: u64) -> Value {
    let (total, mut before) = (flops.iter().sum::<f64>(), 0.0);
    let mut stages: Vec<(usize, usize, usize)> = Vec::new();
    for (block, work) in flops.iter().enumerate() {
        let device = (N_DEVICES as f64 * (before + work / 2.0) / total) as usize;
        before += work;
        match stages.last_mut() {
            Some((last, _, n)) if *last == device => *n += 1,
            _ => stages.push((device, block, 1)),
        }
    }
    let mut plan = plan.clone();
    let m = BATCH / micro_batch;
    plan["parallelism"]["pipeline"] = json!(stages.len());
    plan["parallelism"]["n_micro_batches"] = json!(m);
    plan["parallelism"]["training"]["micro_batch"] = json!(micro_batch);
    plan["schedule"]["grid"] = json!(grid(stages.len(), m));
    let stage = |(device, first, n): (usize, usize, usize)| {
        json!({
            "ops": [],
            "blocks": { "first": first, "n": n, "recompute": "none" },
            "mesh": { "devices": [format!("d{device}")], "samples": [micro_batch], "tensor": 1 },
        })
    };
    plan["partition"]["stages"] = stages.into_iter().map(stage).collect();
    plan
}

#[test]
fn plans_beat_equal_work_in_file_order_on_testbeds_far_apart() {
    let folder = Folder::new(&diamond());
    for model in ["resnet101", "gpt2_small"] {
        let path = format!("{}/examples/models/{model}.onnx", env!("CARGO_MANIFEST_DIR"));
        let imported = folder.run(&format!("import {path} --json")).exits(0).json();
        for seed in 1..=benchmark_data::cases(1) {
            folder.write("far.yaml", &testbed(seed));
            let on = format!("--cluster far.yaml --global-batch {BATCH} --dtype f16");
            let limits = "--node-budget 200000 --deterministic";
            let told_of =
                folder.run(&format!("plan {path} {on} {limits} --json -o plan.json --force"));
            let answer = told_of.exits(0).json();
            let plan = &answer["plan"];
            assert_eq!(plan["algorithm"], "unlike-nodes");
            let on = format!("--model {path} --cluster far.yaml");
            folder.run(&format!("verify plan.json {on}")).exits(0);
            let n_blocks = plan["training"]["n_blocks"].as_u64().unwrap() as usize;
            // A transformer's blocks are equal; of another graph each part has its operations.
            let segments = imported["structure"]["segments"].as_array().unwrap();
            let flops: Vec<f64> = match segments.len() == n_blocks {
                true => segments.iter().map(|segment| segment["flops"].as_f64().unwrap()).collect(),
                false => vec![1.0; n_blocks],
            };
            let step = |micro_batch: u32| {
                let other = equal_work(plan, &flops, 1 << micro_batch);
                folder.write("other.json", &other.to_string());
                let simulated = folder.run(&format!("simulate other.json {on} --json")).json();
                simulated["step_time_ns"].as_f64().unwrap() * 1e-9
            };
            let other = (0..7).map(step).fold(f64::INFINITY, f64::min);
            let best = answer["best"]["step_time_s"].as_f64().unwrap();
            assert!(other >= 1.45 * best, "{model}, testbed {seed}: {best} s against {other} s");
        }
    }
}
