//! What was measured of the devices reaches the price of training runs, what can't is named, and advice
//! on what to measure does what it says.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::folder::{Folder, diamond};

const CLUSTER: &str = "name: two\nnodes:\n  - {count: 2, device: h100_sxm5_80gb, devices: 8, scaleup: \
                       nvlink4, host: pcie5_x16, nics: 8}\nnetwork: {link: ib_ndr_400}\n";

/// Four blocks with eight experts, or dense.
fn folder(has_experts: bool) -> Folder {
    let folder = Folder::new(&diamond());
    let mut config = json!({
        "model_type": "llama", "hidden_size": 2048, "num_hidden_layers": 4,
        "num_attention_heads": 16, "num_key_value_heads": 8, "intermediate_size": 5632,
        "vocab_size": 32000, "max_position_embeddings": 4096
    });
    if has_experts {
        config["model_type"] = json!("mixtral");
        config["num_local_experts"] = json!(8);
        config["num_experts_per_tok"] = json!(2);
    }
    folder.write("config.json", &config.to_string());
    folder.write("cluster.yaml", CLUSTER);
    folder
}

const PLAN: &str = "plan config.json --cluster cluster.yaml --global-batch 64 --sequence-length 2048 \
                    --pin tensor=1 --pin pipeline=1 --pin context=1 --pin micro-batch=2 \
                    --pin recompute=none --for any --json";

/// A plan's JSON, and what it was warned of.
fn planned(folder: &Folder, flags: &str) -> (Value, String) {
    let answer = folder.run(&format!("{PLAN} {flags} -o plan.json --force")).exits(0).json();
    let warned = answer["warnings"].to_string();
    (answer, warned)
}

fn step(answer: &Value) -> f64 {
    answer["best"]["step_time_ns"].as_f64().unwrap()
}

/// A profile of collectives of a group at so many bytes per second.
fn collectives(folder: &Folder, operations: &[&str], group: [u64; 2], rate: f64) {
    let mut text = "gpu,op,library,gpus,gpus_per_node,message_bytes,time_us\n".to_owned();
    for operation in operations {
        for power in 16..32 {
            let bytes = 1_u64 << power;
            let time = 20.0 + bytes as f64 / rate * 1e6;
            let [gpus, per_host] = group;
            writeln!(text, "h100_sxm5_80gb,{operation},nccl/2.27,{gpus},{per_host},{bytes},{time}")
                .unwrap();
        }
    }
    folder.write("measured.csv", &text);
    folder.run("calibrate measured.csv -o p.json --force").exits(0);
}

#[test]
fn measured_all_to_alls_price_the_exchange_of_experts() {
    let folder = folder(true);
    let flags = "--pin expert=8 --pin zero=1 --stack megatron-bridge";
    let nominal = step(&planned(&folder, flags).0);
    let [slow, fast] = [10e9, 900e9].map(|rate| {
        collectives(&folder, &["alltoall"], [8, 8], rate);
        let (answer, warned) = planned(&folder, &format!("{flags} --profile p.json"));
        assert!(!warned.contains("profile-unused"), "{warned}");
        step(&answer)
    });
    assert!(fast < nominal && nominal < slow, "{fast} {nominal} {slow}");
    // Kernels of their own move tokens under other stacks, and other groups were not measured.
    let other = "--pin expert=8 --pin zero=1 --stack megatron-bridge-flex";
    let before = step(&planned(&folder, other).0);
    let (answer, warned) = planned(&folder, &format!("{other} --profile p.json"));
    assert_eq!(step(&answer), before);
    assert!(warned.contains("profile-unused") && warned.contains("all-to-all"), "{warned}");
    let wider = "--pin expert=4 --pin zero=1 --stack megatron-bridge";
    let before = step(&planned(&folder, wider).0);
    assert_eq!(step(&planned(&folder, &format!("{wider} --profile p.json")).0), before);
}

#[test]
fn measured_gathers_and_scatters_price_sharded_parameters() {
    let folder = folder(false);
    let flags = "--pin zero=3 --stack megatron-core";
    let nominal = step(&planned(&folder, flags).0);
    let [slow, fast] = [3e9, 2e12].map(|rate| {
        collectives(&folder, &["all_gather", "reduce_scatter"], [16, 8], rate);
        step(&planned(&folder, &format!("{flags} --profile p.json")).0)
    });
    assert!(fast <= nominal && nominal < slow, "{fast} {nominal} {slow}");
    collectives(&folder, &["broadcast", "send_recv"], [16, 8], 3e9);
    let (answer, warned) = planned(&folder, &format!("{flags} --profile p.json"));
    assert_eq!(step(&answer), nominal);
    assert!(warned.contains("broadcast") && warned.contains("point-to-point"), "{warned}");
}

/// Products of a type at a share of the peak rate of an H100.
fn products(folder: &Folder, dtype: &str, peak: f64, share: f64) {
    let mut text = "gpu,dtype,m,n,k,time_us\n".to_owned();
    for m in [512_u64, 1024, 2048, 4096, 8192] {
        for [n, k] in [[2048_u64, 2048], [5632, 2048], [2048, 5632], [8192, 8192]] {
            let time = 5.0 + 2.0 * (m * n * k) as f64 / (share * peak) * 1e6;
            writeln!(text, "h100_sxm5_80gb,{dtype},{m},{n},{k},{time}").unwrap();
        }
    }
    folder.write("measured.csv", &text);
    folder.run("calibrate measured.csv -o p.json --force").exits(0);
}

#[test]
fn measured_products_price_the_type_that_they_are_of_alone() {
    let folder = folder(false);
    let steps = ["bf16", "fp8"].map(|dtype| {
        let flags = format!("--pin zero=1 --stack megatron-bridge --dtype {dtype}");
        let nominal = step(&planned(&folder, &flags).0);
        let with = |of: &str, peak: f64| {
            products(&folder, of, peak, 0.25);
            let (answer, warned) = planned(&folder, &format!("{flags} --profile p.json"));
            (step(&answer), warned.contains(&format!("products of {of}")))
        };
        (nominal, with("bf16", 989.4e12), with("fp8", 1978.9e12))
    });
    let [(half, (of_half, _), (unmoved, is_told)), (eighth, (_, is_named), (of_eighth, _))] = steps;
    assert!(of_half > 1.1 * half && of_eighth > 1.1 * eighth, "{steps:?}");
    assert!(unmoved == half && is_told, "{steps:?}");
    // Of a run in fp8 the head is in bf16.
    assert!(is_named, "{steps:?}");
}

/// The upper bound over the lower one.
fn width(low: &Value, high: &Value) -> f64 {
    high.as_f64().unwrap() / low.as_f64().unwrap()
}

/// What `explain` says of the plan that was written.
fn trust(folder: &Folder, profile: &str) -> Value {
    let on = "plan.json --model config.json --cluster cluster.yaml --json";
    folder.run(&format!("explain {on} {profile}")).exits(0).json()["trust"].clone()
}

#[test]
fn advice_on_what_to_measure_narrows_the_interval_as_far_as_it_says() {
    let folder = folder(true);
    let flags = "--pin zero=3 --pin expert=1 --stack megatron-core";
    planned(&folder, flags);
    let answer = trust(&folder, "");
    let interval = &answer["interval"];
    let now = width(&interval["low_ns"], &interval["high_ns"]);
    let ways = answer["narrower"].as_array().unwrap();
    let promised = |what: &str| {
        let of = |way: &&Value| way["measure"].as_str().unwrap().contains(what);
        let way = ways.iter().find(of).unwrap_or_else(|| panic!("{what}: {answer}"));
        width(&way["low_ns"], &way["high_ns"])
    };
    let [gathers, steps] =
        [promised("all-gathers and reduce-scatters of 16 ranks"), promised("steps")];
    assert!(gathers < now && steps < now, "{answer}");
    assert!(!answer["terms"].as_array().unwrap().is_empty(), "{answer}");

    collectives(&folder, &["all_gather", "reduce_scatter"], [16, 8], 3e11);
    planned(&folder, &format!("{flags} --profile p.json"));
    let followed = trust(&folder, "--profile p.json");
    let own_width =
        |answer: &Value| width(&answer["interval"]["low_ns"], &answer["interval"]["high_ns"]);
    assert!((own_width(&followed) / gathers - 1.0).abs() < 1e-6, "{followed}");

    // Steps that nothing like the forms gave, and steps of other devices, narrow nothing.
    let header =
        "model,config,gpus,tp,pp,micro_batch,global_batch,seq,recompute,zero_stage,iter_s\n";
    let wild = [32, 64, 96, 128, 160, 192].map(|batch: u64| {
        let seconds = 0.2 + 0.01 * batch as f64;
        format!("m,config.json,16,1,1,2,{batch},2048,none,3,{seconds}\n")
    });
    folder.write("wild.csv", &format!("{header}{}", wild.concat()));
    let calibrate = "calibrate --stack megatron-core --cluster cluster.yaml";
    folder.run(&format!("{calibrate} --steps wild.csv -o wild.json")).exits(0);
    let (_, warned) = planned(&folder, &format!("{flags} --profile wild.json"));
    assert!(warned.contains("profile-off"), "{warned}");
    let followed = trust(&folder, "--profile wild.json");
    assert!((own_width(&followed) / now - 1.0).abs() < 1e-6, "{followed}");

    // Steps of the same software on slower devices.
    let row = |batch: u64| {
        let line = PLAN.replace("--global-batch 64", &format!("--global-batch {batch}"));
        let answer = folder.run(&format!("{line} {flags} -o other.json --force")).exits(0).json();
        let seconds = 1.08 * step(&answer) / 1e9;
        format!("m,config.json,16,1,1,2,{batch},2048,none,3,{seconds}\n")
    };
    let rows: String = [32, 64, 96, 128, 160, 192].map(row).concat();
    folder.write("steps.csv", &format!("{header}{rows}"));
    folder.run(&format!("{calibrate} --steps steps.csv -o s.json")).exits(0);
    planned(&folder, &format!("{flags} --profile s.json"));
    let followed = trust(&folder, "--profile s.json");
    assert!((own_width(&followed) / steps - 1.0).abs() < 1e-6, "{followed}");

    // Steps of a mixture of experts price no dense model.
    let experts = folder.read("config.json");
    folder.write("config.json", &self::folder(false).read("config.json"));
    let (nominal, _) = planned(&folder, flags);
    let (priced, warned) = planned(&folder, &format!("{flags} --profile s.json"));
    assert!(warned.contains("profile-other-models"), "{warned}");
    assert_eq!(step(&nominal), step(&priced));
    folder.write("config.json", &experts);
    folder.write("cluster.yaml", &CLUSTER.replace("h100_sxm5_80gb", "h200_sxm5_141gb"));
    let (_, warned) = planned(&folder, &format!("{flags} --profile s.json"));
    assert!(warned.contains("profile-elsewhere"), "{warned}");
}

/// The steps of docs/calibrate.md: constants of six on one host predict others better than none do.
#[test]
fn own_steps_of_the_recipe_bring_others_nearer() {
    let examples = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/own-steps");
    let folder = Folder::new(&diamond());
    for name in ["hosts.yaml", "llama-3.1-8b.json", "steps.csv", "others.csv"] {
        folder.write(name, &std::fs::read_to_string(examples.join(name)).unwrap());
    }
    let on = "--stack torchtitan-2024 --cluster hosts.yaml --json";
    let calibrated = |line: &str| folder.run(&format!("calibrate {line} {on}")).exits(0).json();
    calibrated("--steps steps.csv -o own.json");
    let error = |line: &str| {
        let answer = calibrated(line);
        answer["steps"]["error"]["nominal"]["mean"].as_f64().unwrap() * 100.0
    };
    let before = error("--steps others.csv -o a.json");
    let after = error("--steps others.csv --base own.json -o b.json");
    assert!(after < before, "{before} {after}");
    let page = std::fs::read_to_string(examples.join("../../docs/calibrate.md")).unwrap();
    for figure in [before, after] {
        assert!(page.contains(&format!("{figure:.1} %")), "docs/calibrate.md: {figure:.1} %");
    }
}
