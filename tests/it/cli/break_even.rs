//! At which rate a boundary takes as long as a stage.

use serde_json::{Value, json};

use super::clusters::Says;
use super::folder::{Folder, diamond};

/// A model whose block is 12 squares of its width.
fn gpt(width: u64, layers: u64) -> String {
    json!({ "model_type": "gpt2", "n_embd": width, "n_layer": layers, "n_head": width / 64,
        "n_positions": 64, "vocab_size": 30_522 })
    .to_string()
}

/// Hosts of one device, with so many bytes per second between them.
fn hosts(rate: f64) -> String {
    format!(
        "name: room\nnodes:\n  - {{name: a, count: 4, device: rtx_3080_10gb}}\n  \
         - {{name: b, device: h100_pcie_80gb}}\nnetwork: {{bytes_per_s: {rate}, latency_s: 1e-4}}\n"
    )
}

fn planned(width: u64, layers: u64) -> Folder {
    let folder = Folder::new(&diamond());
    folder.write("gpt.json", &gpt(width, layers));
    folder.write("room.yaml", &hosts(1.25e9));
    folder
        .run(
            "plan gpt.json --cluster room.yaml --global-batch 64 --sequence-length 1 --dtype f16 \
             -o plan.json",
        )
        .exits(0);
    folder
}

fn asked(folder: &Folder, cluster: &str, share: &str) -> Value {
    let ran = folder.run(&format!(
        "explain plan.json --model gpt.json --cluster {cluster} --allow-mismatch --json \
         --break-even {share}"
    ));
    ran.exits(0).json()
}

/// 59.5 TFLOP/s x 0.4 over 12 h operations per byte, h of BERT-Large and of GPT-3 175B: 31.0 Gb/s for
/// half a block of a card, 0.646 Gb/s for two.
#[test]
fn rates_are_those_of_the_arithmetic_of_the_shapes() {
    for (width, blocks, published) in [(1024, 0.5, 31.0), (12_288, 2.0, 0.646)] {
        let folder = planned(width, if blocks < 1.0 { 24 } else { 1 });
        let answer = asked(&folder, "room.yaml", "0.4");
        let rows = answer["kinds"].as_array().unwrap();
        let row = rows.iter().find(|kind| kind["kind"] == "rtx_3080_10gb").unwrap();
        let rate = row["one_block_bytes_per_s"].as_f64().unwrap() * 8e-9 / blocks;
        // Samples of one token still have two operations per byte more.
        assert!((rate / published - 1.0).abs() < 2e-3, "{rate} Gb/s");
        // 756 / 59.5 by peak, 80 / 10 by memory: four of the ones are fifty of the others.
        let equal = &answer["equals"][0];
        assert_eq!(
            (&equal["kind"], &equal["of"]),
            (&json!("rtx_3080_10gb"), &json!("h100_pcie_80gb"))
        );
        assert!((equal["by_speed"].as_f64().unwrap() - 756.0 / 59.5).abs() < 1e-9);
        assert_eq!(equal["by_memory"], 8.0);
    }
}

/// On links of the rate that is named, a boundary takes as long as its stage.
#[test]
fn at_the_rate_that_is_named_a_boundary_takes_as_long_as_its_stage() {
    let folder = Folder::new(&diamond());
    folder.write("gpt.json", &gpt(4096, 24));
    let one_kind = |rate: f64| {
        format!(
            "name: room\nnodes:\n  - {{count: 4, device: rtx_3080_10gb}}\nnetwork: {{bytes_per_s: {rate}, latency_s: 1e-4}}\n"
        )
    };
    folder.write("room.yaml", &one_kind(1.25e9));
    folder
        .run("plan gpt.json --cluster room.yaml --global-batch 8 --sequence-length 64 --dtype f16 --pin pipeline=4 --optimizer sgd -o plan.json")
        .exits(0);
    let answer = asked(&folder, "room.yaml", "");
    let boundary = &answer["boundaries"][0];
    let of = |name: &str| boundary[name].as_f64().unwrap();
    let rate = 1.25e9 * of("even_bytes_per_s") / of("way_bytes_per_s");
    assert!((of("boundary_over_stage") - 1.0).abs() > 0.1, "{answer}");
    folder.write("even.yaml", &one_kind(rate));
    let even = asked(&folder, "even.yaml", "");
    let ratio = even["boundaries"][0]["boundary_over_stage"].as_f64().unwrap();
    assert!((ratio - 1.0).abs() < 1e-4, "{even}");
}

#[test]
fn shares_that_are_none_and_plans_without_stages_are_refused() {
    let folder = planned(1024, 4);
    let explain = "explain plan.json --model gpt.json --cluster room.yaml";
    for share in ["0", "1.5", "-1", "nan", "fast"] {
        folder.run(&format!("{explain} --break-even={share}")).exits(2).says("bad-share");
    }
    folder.run("plan gpt.json --cluster room.yaml --batch 1 --dim sequence=8 -o ops.json").exits(0);
    folder
        .run("explain ops.json --model gpt.json --cluster room.yaml --break-even 0.4")
        .exits(2)
        .says("--break-even");
}
