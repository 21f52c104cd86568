//! Training runs: planned over all degrees, read back, refused where nothing fits.

use serde_json::{Value, json};

use super::folder::{Folder, diamond};

/// Eight blocks, a billion parameters.
pub(crate) fn config() -> Value {
    json!({
        "model_type": "llama", "hidden_size": 2048, "num_hidden_layers": 10,
        "num_attention_heads": 16, "num_key_value_heads": 8, "intermediate_size": 5632,
        "vocab_size": 32000, "max_position_embeddings": 4096, "tie_word_embeddings": false
    })
}

pub(crate) const CLUSTER: &str = "\
name: small
nodes:
  - {count: 2, device: a100_sxm4_80gb, devices: 4, scaleup: nvlink3, host: pcie4_x16, nics: 4}
network: {link: ib_hdr_200}
";

fn folder() -> Folder {
    let folder = Folder::new(&diamond());
    folder.write("config.json", &config().to_string());
    folder.write("cluster.yaml", CLUSTER);
    folder
}

const PLAN: &str =
    "plan config.json --cluster cluster.yaml --global-batch 32 --sequence-length 2048";

#[test]
fn a_plan_is_found_written_and_read_back_to_the_same_step() {
    let folder = folder();
    let ran = folder.run(&format!("{PLAN} --pin pipeline=4 -o plan.json --json")).exits(0);
    let answer = ran.json();
    let step = answer["best"]["step_time_ns"].as_u64().unwrap();
    // "Optimum" is said where nothing is left between plan and bound, and nowhere else.
    assert_eq!(answer["stopped_early"], false);
    let gap = answer["best"]["step_time_s"].as_f64().unwrap() - answer["bound_s"].as_f64().unwrap();
    assert_eq!(answer["is_optimum"].as_bool().unwrap(), gap < 1e-9, "{gap}");
    let plan: Value = folder.json("plan.json");
    assert_eq!(plan["cost"]["step_time_ns"], step);
    assert_eq!(plan["parallelism"]["pipeline"], 4);
    let stages = plan["partition"]["stages"].as_array().unwrap();
    let blocks: u64 = stages.iter().map(|stage| stage["blocks"]["n"].as_u64().unwrap()).sum();
    assert_eq!(blocks, 10);
    assert_eq!(plan["training"]["memory"].as_array().unwrap().len(), 4);
    for peak in plan["training"]["memory"].as_array().unwrap() {
        assert!(peak["peak_bytes"].as_u64() <= peak["limit_bytes"].as_u64());
    }
    let on = "plan.json --model config.json --cluster cluster.yaml --json";
    let replayed = folder.run(&format!("simulate {on}")).exits(0).json();
    assert_eq!(replayed["step_time_ns"], step);
    let verified = folder.run(&format!("verify {on}")).exits(0).json();
    assert_eq!(verified["violations"], json!([]));
    let explained = folder.run(&format!("explain {on}")).exits(0).json();
    assert_eq!(explained["ranks"].as_array().unwrap().len(), 4);
    folder.run(&format!("explain {on} --op x")).exits(2);
}

#[test]
fn a_plan_that_loses_something_is_refused() {
    let folder = folder();
    folder.run(&format!("{PLAN} --pin pipeline=2 --pin schedule=1f1b -o plan.json")).exits(0);
    let plan: Value = folder.json("plan.json");
    let mut broken = Vec::new();
    let mut lost = plan.clone();
    let n = lost["partition"]["stages"][1]["blocks"]["n"].as_u64().unwrap();
    lost["partition"]["stages"][1]["blocks"]["n"] = json!(n - 1);
    broken.push((lost, "stages-lose-blocks"));
    let mut pass = plan.clone();
    let row = pass["schedule"]["grid"][0].as_str().unwrap().to_owned();
    let (most, _) = row.rsplit_once(',').unwrap();
    pass["schedule"]["grid"][0] = json!(most);
    broken.push((pass, "cell-missing"));
    let mut faster = plan.clone();
    let step = plan["cost"]["step_time_ns"].as_u64().unwrap();
    faster["cost"]["step_time_ns"] = json!(step - 1);
    broken.push((faster, "stated-wrong"));
    let mut tied = plan.clone();
    tied["training"]["held"][1]["n_tied_copies"] = json!(1);
    broken.push((tied, "stated-wrong"));
    let mut headless = plan.clone();
    headless["training"]["held"][1]["head"] = json!(false);
    broken.push((headless, "stated-wrong"));
    let mut stage = plan.clone();
    stage["training"]["held"].as_array_mut().unwrap().pop();
    broken.push((stage, "stated-wrong"));
    let mut large = plan;
    for rank in large["training"]["memory"].as_array_mut().unwrap() {
        rank["limit_bytes"] = json!(1_000_000_000_u64);
    }
    broken.push((large, "stated-wrong"));
    for (plan, code) in broken {
        folder.write("broken.json", &plan.to_string());
        let on = "verify broken.json --model config.json --cluster cluster.yaml --json";
        let answer = folder.run(on).exits(6).json();
        let codes: Vec<&str> = answer["violations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|violation| violation["code"].as_str().unwrap())
            .collect();
        assert!(codes.contains(&code), "{code}: {codes:?}");
    }
    let other =
        config().to_string().replace("\"num_hidden_layers\":10", "\"num_hidden_layers\":11");
    folder.write("other.json", &other);
    folder.run("verify plan.json --model other.json --cluster cluster.yaml").exits(3);
}

/// Experts and tied weights are part of the plan, and of what `verify` counts again.
#[test]
fn experts_and_tied_weights_are_counted() {
    let folder = folder();
    let mut mixture = config();
    mixture["model_type"] = json!("mixtral");
    mixture["architectures"] = json!(["MixtralForCausalLM"]);
    mixture["num_local_experts"] = json!(4);
    mixture["num_experts_per_tok"] = json!(2);
    mixture["tie_word_embeddings"] = json!(true);
    folder.write("config.json", &mixture.to_string());
    let pins = "--pin pipeline=2 --pin expert=2 --pin schedule=1f1b";
    folder.run(&format!("{PLAN} {pins} -o plan.json")).exits(0);
    let plan: Value = folder.json("plan.json");
    let stages = plan["training"]["held"].as_array().unwrap();
    let sum = |name: &str| stages.iter().map(|stage| stage[name].as_u64().unwrap()).sum::<u64>();
    let blocks = mixture["num_hidden_layers"].as_u64().unwrap();
    let words = mixture["vocab_size"].as_u64().unwrap() * mixture["hidden_size"].as_u64().unwrap();
    assert_eq!(sum("n_experts"), 4 * blocks);
    assert_eq!(sum("n_parameters"), plan["training"]["n_parameters"].as_u64().unwrap());
    assert_eq!(sum("n_tied_copies"), words);
    let on = "--model config.json --cluster cluster.yaml";
    folder.run(&format!("verify plan.json {on}")).exits(0);
    for (name, value) in [("n_experts", 4 * blocks), ("n_parameters", 1), ("n_tied_copies", 0)] {
        let mut lost = plan.clone();
        lost["training"]["held"][1][name] = json!(value);
        folder.write("lost.json", &lost.to_string());
        let answer = folder.run(&format!("verify lost.json {on} --json")).exits(6).json();
        assert_eq!(answer["violations"][0]["code"], "stated-wrong", "{name}");
    }
}

#[test]
fn pins_limits_and_counts_of_devices_are_kept() {
    let folder = folder();
    let best =
        |extra: &str| folder.run(&format!("{PLAN} --json {extra}")).exits(0).json()["best"].clone();
    let free = best("");
    let pinned = best("--pin tensor=4 --pin micro-batch=2 --pin zero=0");
    assert!(pinned["degrees"].as_str().unwrap().contains("tensor 4"));
    assert!(pinned["step_time_ns"].as_u64() >= free["step_time_ns"].as_u64());
    let small = best("--max-memory-per-device 16GB");
    assert!(small["peak_bytes"].as_u64().unwrap() <= 16_000_000_000);
    assert!(small["step_time_ns"].as_u64() >= free["step_time_ns"].as_u64());
    let answer = folder.run(&format!("{PLAN} --json --devices 2..8")).exits(0).json();
    let front: Vec<u64> = answer["front"]
        .as_array()
        .unwrap()
        .iter()
        .map(|plan| plan["n_devices"].as_u64().unwrap())
        .collect();
    assert_eq!((front.first(), front.last()), (Some(&2), Some(&8)), "{front:?}");
    let tokens = folder.run(
        "plan config.json --cluster cluster.yaml --tokens-per-step 65536 --sequence-length 2048 --json",
    );
    assert_eq!(tokens.exits(0).json()["best"]["step_time_ns"], free["step_time_ns"]);
}

#[test]
fn what_does_not_fit_is_told_in_bytes_with_ways_out() {
    let folder = folder();
    let limit =
        "--pin data=1 --pin pipeline=1 --pin tensor=1 --devices 1 --max-memory-per-device 6GB";
    let ran = folder.run(&format!("{PLAN} {limit} --no-offload --json")).exits(4);
    let error = &ran.json()["error"];
    assert_eq!(error["code"], "memory-exceeded");
    let text = error.to_string();
    assert!(text.contains("shortfall_bytes") && text.contains("persistent"), "{text}");
    let hints = error["hints"].as_array().unwrap();
    assert!(hints.len() >= 2, "{text}");
    // The way out that is stated in bytes is one.
    let stated = hints.iter().rev().find_map(|hint| {
        let (_, bytes) = hint.as_str()?.split_once("--max-memory-per-device ")?;
        bytes.split(' ').next()?.parse::<u64>().ok()
    });
    let enough = limit.replace("6GB", &stated.unwrap().to_string());
    folder.run(&format!("{PLAN} {enough} --no-offload")).exits(0);
    let moved = folder.run(&format!("{PLAN} {} --json -o moved.json", limit.replace("6GB", "7GB")));
    assert_eq!(moved.exits(0).json()["plan"]["training"]["offloads_optimizer"], true);
    folder.run("verify moved.json --model config.json --cluster cluster.yaml").exits(0);
}

#[test]
fn slips_are_understood() {
    let folder = folder();
    let base = "plan config.json --cluster cluster.yaml";
    assert!(
        folder
            .run(&format!("{base} --sequence-length 64"))
            .exits(2)
            .stderr
            .contains("--global-batch")
    );
    let ran = folder.run(&format!("{base} --global-batch 8 --pin tensr=8")).exits(2);
    assert!(ran.stderr.contains("tensor"), "{}", ran.stderr);
    folder.run(&format!("{base} --global-batch 8 --devices 9")).exits(2);
    folder.run(&format!("{base} --global-batch 18446744073709551615")).exits(2);
    folder.run(&format!("{base} --global-batch 8 --stack nothing")).exits(2);
    folder.run(&format!("{base} --global-batch 8 --pin data=3")).exits(4);
    folder.run("plan config.json --global-batch 8").exits(2);
    folder.run(&format!("{base} --global-batch 8 --algorithm m-etf")).exits(2);
}

/// A search that is stopped says why, and its bound is not above the whole one's.
#[test]
fn a_gap_and_a_node_budget_stop_the_search() {
    let folder = folder();
    let line = "plan config.json --cluster cluster.yaml --global-batch 8 --json";
    let found = |limit: &str| folder.run(&format!("{line} {limit}")).exits(0).json();
    let bound_s = |report: &Value| report["bound_s"].as_f64().unwrap();
    let whole = found("");
    assert_eq!(whole["stopped_early"], false);
    for (limit, reason) in [("--node-budget 5", "node-budget"), ("--gap 300%", "gap-reached")] {
        let report = found(limit);
        assert_eq!(
            (&report["stopped_early"], &report["stop_reason"]),
            (&json!(true), &json!(reason))
        );
        assert!(bound_s(&report) <= bound_s(&whole) * (1.0 + 1e-9), "{limit}");
        assert!(report["best"]["step_time_s"].as_f64() >= Some(bound_s(&whole)), "{limit}");
    }
}

#[test]
fn plans_are_exported_and_what_a_target_has_no_words_for_is_named() {
    let folder = folder();
    let pins = "--pin pipeline=4 --pin schedule=1f1b --pin zero=1 --pin recompute=full";
    folder.run(&format!("{PLAN} {pins} --pin context=1 -o plan.json")).exits(0);
    let export = |target: &str, file: &str| {
        let on = "plan.json --model config.json --cluster cluster.yaml";
        folder.run(&format!("export {on} --target {target} -o {file}"))
    };
    export("megatron", "megatron.args").exits(0);
    let flags = importers::launcher::read(
        importers::launcher::Launcher::Megatron,
        &folder.read("megatron.args"),
    );
    let flags = flags.unwrap();
    assert_eq!(flags.pipeline, Some(4));
    assert_eq!(flags.global_batch, Some(32));
    assert_eq!(flags.blocks.unwrap().iter().sum::<u32>(), 10);
    export("torch-pipelining", "schedule.csv").exits(0);
    let grid = ir::grid::Grid::parse(&folder.read("schedule.csv")).unwrap();
    assert_eq!(grid.rows.len(), 4);
    let refused = export("torchtitan", "torchtitan.args").exits(3);
    assert!(refused.stderr.contains("ZeRO 1"), "{}", refused.stderr);
    let unknown = export("megatorn", "x").exits(2);
    assert!(unknown.stderr.contains("megatron"), "{}", unknown.stderr);
}

#[test]
fn what_runs_now_is_the_baseline_of_a_comparison() {
    let folder = folder();
    let pins = "--pin pipeline=2 --pin tensor=2 --pin schedule=1f1b --pin zero=1 --pin context=1";
    folder.run(&format!("{PLAN} {pins} --pin recompute=none -o plan.json")).exits(0);
    let on = "--model config.json --cluster cluster.yaml";
    folder.run(&format!("export plan.json {on} --target megatron -o same.args")).exits(0);
    // What was exported is what was planned.
    let same = folder.run(&format!("compare same.args plan.json {on} --json")).exits(0).json();
    assert_eq!(same["now"], same["plan"]);
    // Full recompute on equal stages takes longer.
    let slow = "--tensor-model-parallel-size 2 --pipeline-model-parallel-size 2 --num-layers 10 \
        --micro-batch-size 1 --global-batch-size 32 --use-distributed-optimizer \
        --recompute-granularity full --recompute-method uniform --recompute-num-layers 1";
    folder.write("slow.args", slow);
    let ran = folder.run(&format!("compare slow.args plan.json {on} --json")).exits(10).json();
    assert!(ran["now"]["step_time_ns"].as_u64() > ran["plan"]["step_time_ns"].as_u64(), "{ran}");
    let fields = ran["changes"].as_array().unwrap();
    assert!(fields.iter().any(|change| change["field"] == "recompute"), "{ran}");
    // Another model's layers are refused.
    folder.write("other.args", &slow.replace("layers 10", "layers 12"));
    let other = folder.run(&format!("compare other.args plan.json {on}")).exits(3);
    assert!(other.stderr.contains("bad-settings"), "{}", other.stderr);
}

/// What is planned for a launcher can be written for it, and costs no less than what is planned for
/// none.
#[test]
fn a_plan_for_a_launcher_has_words_there() {
    let folder = folder();
    let targets = ["torch-pipelining", "torchtitan", "megatron", "deepspeed", "galvatron"];
    let step = |name: &str| -> u64 {
        let plan: Value = folder.json(name);
        plan["cost"]["step_time_ns"].as_u64().unwrap()
    };
    let limits =
        ["--max-memory-per-device 12GB", "--max-memory-per-device 12GB --pin pipeline=4", ""];
    for limit in limits {
        let plan = format!("{PLAN} {limit} --stack megatron-core --fastest");
        folder.run(&format!("{plan} --for any -o free.json --force")).exits(0);
        for target in targets {
            folder.run(&format!("{plan} --for {target} -o plan.json --force")).exits(0);
            let on = "plan.json --model config.json --cluster cluster.yaml";
            folder.run(&format!("verify {on}")).exits(0);
            folder.run(&format!("export {on} --target {target} -o out --force")).exits(0);
            assert!(step("plan.json") >= step("free.json"), "{target} {limit}");
        }
    }
    let refused = [("megatron", "zb-h1"), ("deepspeed", "interleaved")];
    for (target, schedule) in refused {
        let line = format!("{PLAN} --for {target} --pin schedule={schedule}");
        assert!(folder.run(&line).exits(2).stderr.contains("has no words for"));
    }
    folder.run(&format!("{PLAN} --for accelerate")).exits(2);
    folder.run("plan model.json --for megatron").exits(2);
}
