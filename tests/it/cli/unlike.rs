//! Training runs on nodes of different kinds: planned, read back, and refused where nothing is said.

use serde_json::{Value, json};

use super::experts::config;
use super::folder::{Folder, diamond};

const MIXED: &str = "\
name: mixed
nodes:
  - {count: 1, device: t4, devices: 4, nics: 1}
  - {count: 1, device: a100_sxm4_80gb, devices: 4, scaleup: nvlink3, nics: 1}
network: {link: ethernet_100g}
";

const PLAN: &str = "plan dense.json --cluster mixed.yaml --global-batch 32 --sequence-length 1024 --dtype f16 \
     --deterministic";

fn folder() -> Folder {
    let folder = Folder::new(&diamond());
    let mut dense = config();
    dense.as_object_mut().unwrap().remove("num_local_experts");
    dense["model_type"] = json!("llama");
    dense["num_hidden_layers"] = json!(8);
    folder.write("dense.json", &dense.to_string());
    folder.write("experts.json", &config().to_string());
    folder.write("mixed.yaml", MIXED);
    folder
}

#[test]
fn stages_have_devices_of_their_own_and_are_read_back() {
    let folder = folder();
    let told = folder.run(&format!("{PLAN} -o plan.json --json")).exits(0).json();
    assert!(told["bound_s"].as_f64().unwrap() <= told["best"]["step_time_s"].as_f64().unwrap());
    let plan: Value = serde_json::from_str(&folder.read("plan.json")).unwrap();
    assert_eq!(plan["algorithm"], "unlike-nodes");
    let stages = plan["partition"]["stages"].as_array().unwrap();
    let micro_batch = plan["parallelism"]["training"]["micro_batch"].as_u64().unwrap();
    for stage in stages {
        let mesh = &stage["mesh"];
        let samples: Vec<u64> =
            mesh["samples"].as_array().unwrap().iter().map(|own| own.as_u64().unwrap()).collect();
        assert_eq!(samples.iter().sum::<u64>(), micro_batch);
        let n = mesh["devices"].as_array().unwrap().len() as u64;
        assert_eq!(n, samples.len() as u64 * mesh["tensor"].as_u64().unwrap());
    }
    let on = "--model dense.json --cluster mixed.yaml";
    folder.run(&format!("verify plan.json {on}")).exits(0);
    folder.run(&format!("explain plan.json {on}")).exits(0);
    folder.run(&format!("simulate plan.json {on}")).exits(0);
    folder.run(&format!("compare plan.json plan.json {on}")).exits(0);
    folder.run(&format!("export plan.json {on} --to svg -o plan.svg")).exits(0);
    let refused = folder.run(&format!("export plan.json {on} --to megatron -o m")).exits(3);
    assert!(refused.stderr.contains("no words for stages"), "{}", refused.stderr);
    // A device in two stages, samples that nobody has, a device that is none.
    let first = &stages[0]["mesh"]["devices"][0];
    for (at, value) in [
        ("samples", json!([micro_batch + 1])),
        ("devices", json!([first, first])),
        ("tensor", json!(0)),
    ] {
        let mut wrong = plan.clone();
        wrong["partition"]["stages"][0]["mesh"][at] = value;
        folder.write("wrong.json", &wrong.to_string());
        folder.run(&format!("verify wrong.json {on}")).exits(6);
    }
    let mut wrong = plan.clone();
    wrong["partition"]["stages"][0]["mesh"]["devices"][0] = json!("nobody");
    folder.write("wrong.json", &wrong.to_string());
    folder.run(&format!("verify wrong.json {on}")).exits(3);
}

#[test]
fn what_is_not_honoured_is_refused_by_name() {
    let folder = folder();
    for flag in ["--pin tensor=2", "--devices 4", "--for megatron", "--export megatron"] {
        let ran = folder.run(&format!("{PLAN} {flag}"));
        let name = flag.split(' ').last().unwrap();
        let text = ran.stderr;
        assert!(text.contains(flag.split(' ').next().unwrap()) || text.contains(name), "{text}");
    }
    let experts = PLAN.replace("dense.json", "experts.json");
    assert!(folder.run(&experts).stderr.contains("not planned on nodes of different kinds"));
}
