//! Copies of experts on devices: planned, read back, exported, and what is wrong with them named.

use serde_json::{Value, json};

use super::folder::{Folder, diamond};

/// Four layers of 16 experts, two of them for each token.
pub(super) fn config() -> Value {
    json!({
        "model_type": "mixtral", "hidden_size": 1024, "num_hidden_layers": 4,
        "num_attention_heads": 16, "num_key_value_heads": 8, "intermediate_size": 2816,
        "vocab_size": 32000, "max_position_embeddings": 4096, "tie_word_embeddings": false,
        "num_local_experts": 16, "num_experts_per_tok": 2
    })
}

/// Visits of a run: two layers alike.
pub(super) fn visits() -> Value {
    let layer = |first: u32| -> Vec<u32> { (0..16).map(|i| first / (i + 1) + i % 3).collect() };
    json!({ "0": layer(900), "1": layer(400), "2": layer(900), "3": layer(5000) })
}

pub(super) const CLUSTER: &str = "name: c\nnodes:\n  - {count: 2, device: h100_sxm5_80gb, devices: 4, \
    scaleup: nvlink4, host: pcie5_x16, nics: 4}\nnetwork: {link: ib_ndr_400}\n";

fn folder() -> Folder {
    let folder = Folder::new(&diamond());
    folder.write("experts.json", &config().to_string());
    folder.write("visits.json", &visits().to_string());
    folder.write("c.yaml", CLUSTER);
    folder
}

const LINE: &str = "plan experts.json --cluster c.yaml --phase decode --batch 256 \
    --expert-skew visits.json --algorithm expert-placement(slots=3)";
const ON: &str = "--model experts.json --cluster c.yaml";

fn planned(folder: &Folder, line: &str, name: &str) -> Value {
    folder.run(&format!("{line} -o {name}")).exits(0);
    folder.json(name)
}

#[test]
fn a_plan_of_experts_is_judged_explained_compared_and_exported() {
    let folder = folder();
    let plan = planned(&folder, LINE, "own.json");
    let layers = plan["experts"]["layers"].as_array().unwrap();
    // Layers of one histogram are one entry.
    assert_eq!(layers.len(), 3);
    assert_eq!(layers[0]["layers"], json!([0, 2]));
    assert_eq!(
        (&plan["experts"]["tokens"], &plan["objective"]),
        (&json!(256), &json!("expert-load"))
    );
    let ran = folder.run(&format!("verify own.json {ON}")).exits(0);
    assert!(ran.stdout.contains("16 experts of 4 layers on 8 devices"), "{}", ran.stdout);
    let stdout = folder.run(&format!("explain own.json {ON}")).exits(0).stdout;
    assert!(stdout.contains("a step of 256 tokens with 2 experts each"), "{stdout}");
    let ran = folder.run(&format!("explain own.json {ON} --device node1.gpu2 --json")).exits(0);
    let experts = &ran.json()["device"]["layers"][0]["experts"];
    assert!((1..=3).contains(&experts.as_array().unwrap().len()), "{experts}");
    planned(&folder, &LINE.replace("expert-placement", "eplb"), "eplb.json");
    let answer = folder.run("compare eplb.json own.json --json").exits(10).json();
    let load = |side: &str| answer[side]["load"].as_f64().unwrap();
    assert!(load("b") <= load("a") && load("b") >= 1.0, "{answer}");
    folder.run("compare own.json own.json").exits(0);
    for (line, code) in [
        (format!("simulate own.json {ON}"), "not-for-experts"),
        (format!("explain own.json {ON} --op a"), "not-for-experts"),
        (format!("explain own.json {ON} --device gpu9"), "unknown-device"),
        (format!("verify own.json {ON} --batch 3"), "not-for-experts"),
        (format!("export own.json {ON} --target megatron -o out"), "unknown-target"),
    ] {
        let ran = folder.run(&line).exits(2);
        assert!(ran.stderr.contains(&format!("error[{code}]")), "{line}: {}", ran.stderr);
    }
    let ran = folder.run(&format!("export own.json {ON} --target sglang -o sglang.sh")).exits(0);
    assert!(ran.stderr.contains("nearest-copies"), "{}", ran.stderr);
    let text = folder.read("sglang.sh");
    let map = text.split("<<'END'\n").nth(1).unwrap().split("END\n").next().unwrap();
    let map: Value = serde_json::from_str(map).unwrap();
    let rows = map["physical_to_logical_map"].as_array().unwrap();
    assert_eq!((rows.len(), rows[3].as_array().unwrap().len()), (4, 24));
    assert!(text.contains("--ep-size 8 --ep-num-redundant-experts 8 "), "{text}");
    // The plan again from the map alone: slot p is on device p / 3.
    for entry in layers {
        for layer in entry["layers"].as_array().unwrap() {
            let row = rows[layer.as_u64().unwrap() as usize].as_array().unwrap();
            for (expert, devices) in
                entry["devices_of_expert"].as_array().unwrap().iter().enumerate()
            {
                let slots = row.iter().enumerate().filter(|(_, value)| **value == json!(expert));
                let names: Vec<String> = slots
                    .map(|(slot, _)| format!("node{}.gpu{}", slot / 12, slot / 3 % 4))
                    .collect();
                assert_eq!(json!(names), *devices, "layer {layer}, expert {expert}");
            }
        }
    }
    let ran = folder.run(&format!("export own.json {ON} --target vllm -o vllm.sh")).exits(0);
    assert!(ran.stderr.contains("places-itself"), "{}", ran.stderr);
    assert!(folder.read("vllm.sh").contains("'{\"num_redundant_experts\": 8}'"));
}

#[test]
fn groups_stay_on_their_hosts() {
    let folder = folder();
    let plan = planned(&folder, &LINE.replace("slots=3", "slots=3,groups=4"), "own.json");
    for entry in plan["experts"]["layers"].as_array().unwrap() {
        let devices = entry["devices_of_expert"].as_array().unwrap();
        for group in devices.chunks(4) {
            let mut hosts: Vec<&str> = group
                .iter()
                .flat_map(|names| names.as_array().unwrap())
                .map(|name| name.as_str().unwrap().split('.').next().unwrap())
                .collect();
            hosts.sort_unstable();
            hosts.dedup();
            assert_eq!(hosts.len(), 1, "{group:?}");
        }
    }
    folder.run(&format!("verify own.json {ON}")).exits(0);
}

#[test]
fn every_corruption_is_named() {
    type Maim = fn(&mut Value);
    let folder = folder();
    let line = LINE.replace("--expert-skew visits.json", "--expert-skew zipf:1.2");
    let plan = planned(&folder, &line.replace("slots=3", "slots=3,groups=4"), "own.json");
    let cases: [(&str, Maim); 15] = [
        ("expert-nowhere", |v| v["devices_of_expert"][5] = json!([])),
        ("slots", |v| v["devices_of_expert"][5] = json!(["node0.gpu0", "node0.gpu0"])),
        ("unknown-device", |v| v["devices_of_expert"][0][0] = json!("node7.gpu0")),
        ("other-experts", |v| drop(v["devices_of_expert"].as_array_mut().unwrap().pop())),
        ("group-apart", |v| {
            let all = v["devices_of_expert"].as_array_mut().unwrap();
            all.swap(0, 4);
            all.swap(1, 5);
        }),
        ("greatest_load", |v| v["greatest_load"] = json!(0.13)),
        ("bound", |v| v["bound"] = v["greatest_load"].clone()),
        ("bound", |v| v["bound"] = json!(0.9)),
        ("bound", |v| {
            v["bound"] = v["greatest_load"].clone();
            v["bound_method"] = json!("program");
        }),
        ("visits", |v| v["visits"][3] = json!(0.5)),
        ("bad-visits", |v| v["visits"][3] = json!(-0.5)),
        ("bad-visits", |v| v["visits"] = json!([])),
        ("bad-slots", |v| v["slots"] = json!(1)),
        ("layers-missing", |v| v["layers"] = json!([0, 1, 2])),
        ("layer-twice", |v| v["layers"] = json!([0, 1, 2, 3, 3])),
    ];
    for (code, maim) in cases {
        let mut bad = plan.clone();
        maim(&mut bad["experts"]["layers"][0]);
        folder.write("bad.json", &bad.to_string());
        let ran = folder.run(&format!("verify bad.json {ON}")).exits(6);
        assert!(ran.stderr.contains(code), "{code}: {}", ran.stderr);
    }
    let whole: [(&str, Maim); 4] = [
        ("objective", |v| v["objective"] = json!("step-time")),
        ("parallelism.expert", |v| v["parallelism"]["expert"] = json!(4)),
        ("experts.tokens", |v| v["experts"]["tokens"] = json!(4)),
        ("no-such-layer", |v| v["experts"]["layers"][0]["layers"] = json!([0, 1, 2, 3, 4])),
    ];
    for (code, maim) in whole {
        let mut bad = plan.clone();
        maim(&mut bad);
        folder.write("bad.json", &bad.to_string());
        let ran = folder.run(&format!("verify bad.json {ON}")).exits(6);
        assert!(ran.stderr.contains(code), "{code}: {}", ran.stderr);
    }
}

#[test]
fn bad_input_is_refused_by_name() {
    let folder = folder();
    let refused = |line: &str, code: &str, exit: i32| {
        let ran = folder.run(line).exits(exit);
        assert!(ran.stderr.contains(&format!("error[{code}]")), "{line}: {}", ran.stderr);
    };
    for (text, named) in [
        ("{\"0\": [1]}", "lacks the layers 1-3"),
        ("{\"9\": [1]}", "layer 9 of the histogram has no experts"),
        ("{\"0\": []}", "layer 0 has no experts"),
        ("{\"0\": [1, -1]}", "below zero"),
        ("{\"0\": [0, 0]}", "no visits at all"),
    ] {
        folder.write("visits.json", text);
        let ran = folder.run(LINE).exits(3);
        assert!(ran.stderr.contains(named), "{text}: {}", ran.stderr);
    }
    let short: Vec<u32> = vec![1; 17];
    let all = json!({ "0": short, "1": short, "2": short, "3": short });
    folder.write("visits.json", &all.to_string());
    let ran = folder.run(LINE).exits(3);
    assert!(ran.stderr.contains("has 17 experts, and the model 16"), "{}", ran.stderr);
    folder.write("visits.json", &visits().to_string());
    refused(&LINE.replace("slots=3", "slots=1"), "too-few-slots", 2);
    refused(&LINE.replace("slots=3", "slots=17"), "too-many-slots", 2);
    refused(&LINE.replace("slots=3", "groups=3"), "bad-groups", 2);
    refused(&LINE.replace("slots=3", "slot=3"), "unknown-option", 2);
    refused(&LINE.replace("--cluster c.yaml", ""), "no-cluster", 2);
    refused(
        &LINE.replace("expert-placement(slots=3)", "expert-placement,m-etf"),
        "not-for-training",
        2,
    );
    let mut dense = config();
    dense["model_type"] = json!("llama");
    let members = dense.as_object_mut().unwrap();
    members.retain(|name, _| !name.contains("expert"));
    folder.write("dense.json", &dense.to_string());
    refused(&LINE.replace("experts.json", "dense.json"), "no-experts", 2);
    let trained = LINE.replace("decode", "training");
    refused(&format!("{trained} --export sglang=out"), "cannot-express", 3);
    // A training run states a law.
    let run = "plan experts.json --cluster c.yaml --global-batch 8 --expert-skew visits.json";
    refused(run, "not-for-training", 2);
}
