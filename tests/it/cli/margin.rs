//! One memory margin: kept where a plan can, told where none does, and no proof that nothing fits.

use serde_json::{Value, json};

use super::folder::{Folder, diamond};
use super::training::config;

/// What the driver's context takes of a device of the catalogue, and the share that stays free.
const CONTEXT: u64 = 512 << 20;
const MARGIN: f64 = 0.05;

/// One device of so many bytes.
fn folder(memory: u64) -> Folder {
    let folder = Folder::new(&diamond());
    folder.write("config.json", &config().to_string());
    with_memory(&folder, memory);
    folder
}

fn with_memory(folder: &Folder, memory: u64) {
    let device =
        format!("{{count: 1, device: a100_sxm4_80gb, devices: 1, memory_bytes: {memory}}}");
    folder.write("one.yaml", &format!("name: one\nnodes:\n  - {device}\n"));
}

/// A question with one plan, of which every byte is needed: on a card that holds them beside the context
/// it is planned, with a warning unless 5 % stay free; on a smaller one nothing fits.
fn keeps_one_margin(line: &str, peak: &str) {
    let folder = folder(80_000_000_000);
    let ask = format!("plan config.json --cluster one.yaml {line} -o plan.json --force");
    let on = "--model config.json --cluster one.yaml";
    let ran = folder.run(&ask).exits(0);
    assert!(!ran.stderr.contains("margin-not-kept"), "{}", ran.stderr);
    let need = folder.json("plan.json").pointer(peak).and_then(Value::as_u64).unwrap() + CONTEXT;
    let roomy = (need as f64 / (1.0 - MARGIN)).ceil() as u64 + 2;
    for (memory, is_kept) in [(roomy, true), (roomy - 10_000_000, false), (need + 2, false)] {
        with_memory(&folder, memory);
        let ran = folder.run(&ask).exits(0);
        assert_eq!(ran.stderr.contains("margin-not-kept"), !is_kept, "{memory}: {}", ran.stderr);
        let plan = folder.json("plan.json");
        let margin = if is_kept { Value::Null } else { json!(0.0) };
        assert_eq!(plan["request"]["kept_free"], margin);
        folder.run(&format!("verify plan.json {on}")).exits(0);
        let answer = folder.run(&format!("{ask} --json")).exits(0).json();
        let codes =
            answer["warnings"].as_array().into_iter().flatten().map(|warning| &warning["code"]);
        assert_eq!(codes.filter(|code| **code == "margin-not-kept").count(), usize::from(!is_kept));
    }
    with_memory(&folder, need - 1_000_000);
    folder.run(&ask).exits(4);
    // A stated margin is no other: none is asked for, and one that nothing leaves is told.
    with_memory(&folder, need + 2);
    for (margin, is_kept) in [("1%", false), ("0", true)] {
        let ran = folder.run(&format!("{ask} --memory-margin {margin}")).exits(0);
        assert_eq!(ran.stderr.contains("margin-not-kept"), !is_kept, "{margin}: {}", ran.stderr);
    }
}

#[test]
fn training_runs_keep_one_margin() {
    keeps_one_margin(
        "--global-batch 4 --sequence-length 1024 --pin micro-batch=1 --pin recompute=none --no-offload",
        "/training/memory/0/peak_bytes",
    );
}

#[test]
fn inference_pipelines_keep_one_margin() {
    keeps_one_margin(
        "--phase decode --batch 1 --cached 1000 --dtype f16 --deterministic",
        "/served/stages/0/peak_bytes",
    );
}
