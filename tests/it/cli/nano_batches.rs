//! Nano-batches of a serving step: planned, read back, and what is wrong with them named.

use serde_json::{Value, json};

use super::experts::config;
use super::folder::{Folder, diamond};
use super::training::CLUSTER;

pub(super) const TABLE: &str = "op,beside,mode,factor\n\
    attention,dispatch,complementary,1.8\nattention,combine,complementary,1.8\n\
    experts,dispatch,complementary,1.8\nexperts,combine,complementary,1.8\n\
    attention,all-reduce,complementary,1.8\nfeed-forward,all-reduce,complementary,1.8\n";

pub(super) const FUSED: &str = "op,beside,mode,factor\nattention,all-reduce,fused,1.4\n";

/// Sixteen layers of experts.
pub(super) fn experts() -> Value {
    let mut experts = config();
    experts["num_hidden_layers"] = json!(16);
    experts["torch_dtype"] = json!("bfloat16");
    experts
}

/// The same layers without experts.
pub(super) fn dense() -> Value {
    let mut dense = experts();
    dense.as_object_mut().unwrap().remove("num_local_experts");
    dense["model_type"] = json!("llama");
    dense
}

fn folder() -> Folder {
    let folder = Folder::new(&diamond());
    folder.write("experts.json", &experts().to_string());
    folder.write("dense.json", &dense().to_string());
    folder.write("c.yaml", CLUSTER);
    folder.write(
        "one.yaml",
        &CLUSTER.replace("count: 2", "count: 1").replace("devices: 4", "devices: 1"),
    );
    folder.write("table.csv", TABLE);
    folder.write("empty.csv", "op,beside,mode,factor\n");
    folder
}

const LINE: &str = "plan experts.json --cluster c.yaml --phase prefill --batch 128 \
    --sequence-length 2048 --algorithm dynaflow --interference table.csv";
const ON: &str = "--model experts.json --cluster c.yaml";

fn planned(folder: &Folder, line: &str, name: &str) -> Value {
    folder.run(&format!("{line} -o {name}")).exits(0);
    folder.json(name)
}

fn samples(plan: &Value) -> Vec<u64> {
    let all = plan["experts"]["layers"][0]["nano_batches"]["samples"].as_array().unwrap();
    all.iter().map(|n| n.as_u64().unwrap()).collect()
}

#[test]
fn a_step_is_cut_replayed_explained_and_no_worse_than_its_baselines() {
    let folder = folder();
    let plan = planned(&folder, LINE, "own.json");
    let nano = &plan["experts"]["layers"][0]["nano_batches"];
    assert_eq!(samples(&plan).iter().sum::<u64>(), 16);
    assert_eq!(samples(&plan).len(), 2, "{nano}");
    let number = |name: &str| nano[name].as_f64().unwrap();
    assert!(number("cycle_s") < 0.919 * number("unsplit_s"), "{nano}");
    assert!(number("bound_s") <= number("cycle_s"), "{nano}");
    assert_eq!(
        (&plan["parallelism"]["data"], &plan["parallelism"]["tensor"]),
        (&json!(8), &json!(1))
    );
    let streams = plan["schedule"]["cells"][0]["streams"].as_array().unwrap();
    assert_eq!(streams[0]["resource"], "compute");
    assert_eq!(streams[1]["resource"], "inter-node");
    for stream in streams {
        assert_eq!(stream["pieces"].as_array().unwrap().len(), 4, "{stream}");
    }
    let stdout = folder.run(&format!("verify own.json {ON}")).exits(0).stdout;
    assert!(stdout.contains("16 layers on 8 replicas"), "{stdout}");
    let answer = folder.run(&format!("explain own.json {ON} --json")).exits(0).json();
    let stated = plan["cost"]["step_time_s"].as_f64().unwrap();
    assert!((answer["seconds"].as_f64().unwrap() - stated).abs() < 2e-9, "{answer}");
    let answer = folder.run(&format!("explain own.json {ON} --layer 3 --json")).exits(0).json();
    assert_eq!(answer["pieces"].as_array().unwrap().len(), 8, "{answer}");
    let stdout = folder.run(&format!("explain own.json {ON}")).exits(0).stdout;
    assert!(stdout.contains("complementary") && stdout.contains("dispatch(1)"), "{stdout}");
    let seconds = |row: &str| {
        let line = LINE.replace("dynaflow", row);
        folder.run(&format!("{line} --json")).exits(0).json()["seconds"].as_f64().unwrap()
    };
    let best = seconds("dynaflow(min_gain=0)");
    for row in ["sequential", "dual-batch", "comm-overlap", "comm-fusion"] {
        assert!(best <= seconds(row) * 1.02, "{row}");
        planned(&folder, &LINE.replace("dynaflow", row), &format!("{row}.json"));
        folder.run(&format!("verify {row}.json {ON}")).exits(0);
    }
    assert!(best < seconds("sequential"));
}

#[test]
fn nothing_is_cut_without_a_gain() {
    let folder = folder();
    let cut = |line: &str| samples(&planned(&folder, line, "p.json")).len();
    let dense = LINE.replace("experts.json", "dense.json");
    assert_eq!(cut(&format!("{LINE} --force")), 2);
    let one = dense.replace("c.yaml", "one.yaml");
    for line in [
        // An empty table, and none.
        LINE.replace("table.csv", "empty.csv"),
        LINE.replace("--interference table.csv", ""),
        // One device, few tokens, and a gain within what prices are off by.
        one,
        LINE.replace("--sequence-length 2048", "--sequence-length 16"),
        LINE.replace("dynaflow", "dynaflow(min_tokens=100000)"),
        LINE.replace("dynaflow", "dynaflow(min_gain=90)"),
    ] {
        assert_eq!(cut(&format!("{line} --force")), 1, "{line}");
    }
    let ran =
        folder.run(&format!("{} --force -o p.json", LINE.replace("--interference table.csv", "")));
    assert!(ran.stderr.contains("warning[no-interference]"), "{}", ran.stderr);
    // Of a model without experts the products are shared out inside hosts.
    let plan = planned(&folder, &format!("{dense} --force"), "p.json");
    assert_eq!(
        (&plan["parallelism"]["data"], &plan["parallelism"]["tensor"]),
        (&json!(2), &json!(4))
    );
    let stream = &plan["schedule"]["cells"][0]["streams"][1];
    assert_eq!(
        (&stream["resource"], &stream["pieces"][0]["op"]),
        (&json!("intra-node"), &json!("all-reduce"))
    );
    folder.run("verify p.json --model dense.json --cluster c.yaml").exits(0);
    // Fused pieces.
    folder.write("fused.csv", FUSED);
    let line = dense.replace("table.csv", "fused.csv");
    let plan = planned(&folder, &format!("{line} --force"), "p.json");
    let stream = &plan["schedule"]["cells"][0]["streams"][0];
    assert_eq!(stream["pieces"][0]["op"], "attention+all-reduce", "{stream}");
    folder.run("verify p.json --model dense.json --cluster c.yaml").exits(0);
}

#[test]
fn what_is_changed_in_a_plan_is_named() {
    let folder = folder();
    let plan = planned(&folder, LINE, "own.json");
    let check = |what: &str, change: &dyn Fn(&mut Value), code: i32, word: &str| {
        let mut changed = plan.clone();
        change(&mut changed);
        folder.write("changed.json", &changed.to_string());
        let ran = folder.run(&format!("verify changed.json {ON}"));
        assert_eq!(ran.code, code, "{what}: {}{}", ran.stdout, ran.stderr);
        assert!(ran.stderr.contains(word), "{what}: {}", ran.stderr);
    };
    fn nano(plan: &mut Value) -> &mut Value {
        &mut plan["experts"]["layers"][0]["nano_batches"]
    }
    fn pieces(plan: &mut Value) -> &mut Vec<Value> {
        plan["schedule"]["cells"][0]["streams"][0]["pieces"].as_array_mut().unwrap()
    }
    check("cycle", &|plan| nano(plan)["cycle_s"] = json!(1e-9), 6, "stated-wrong");
    check("samples", &|plan| nano(plan)["samples"] = json!([1, 2]), 6, "bad-cell");
    check("none", &|plan| nano(plan)["samples"] = json!([0, 16]), 6, "bad-cell");
    check("three", &|plan| nano(plan)["samples"] = json!([1, 1, 14]), 6, "bad-cell");
    check("ahead", &|plan| nano(plan)["ahead"] = json!([9, 9]), 6, "bad-cell");
    check("piece", &|plan| drop(pieces(plan).pop()), 6, "bad-cell");
    check("name", &|plan| pieces(plan)[0]["op"] = json!("x"), 6, "bad-cell");
    check("time", &|plan| nano(plan)["pieces"][0]["seconds"] = json!(1.0), 6, "stated-wrong");
    check("mode", &|plan| nano(plan)["beside"][0]["mode"] = json!("turns"), 6, "stated-wrong");
    check("cost", &|plan| plan["cost"]["step_time_ns"] = json!(1), 6, "stated-wrong");
    check(
        "layer",
        &|plan| plan["experts"]["layers"][0]["layers"] = json!([99]),
        6,
        "no-such-layer",
    );
    let serving = "/experts/serving";
    check(
        "threshold",
        &|plan| plan.pointer_mut(serving).unwrap()["thresholds"][0]["nano_batches"] = json!(7),
        6,
        "stated-wrong",
    );
    check(
        "factor",
        &|plan| plan.pointer_mut(serving).unwrap()["interference"][0]["factor"] = json!(0.5),
        3,
        "bad-interference",
    );
    check("slots", &|plan| plan["experts"]["layers"][0]["slots"] = json!(3), 3, "bad-plan");
    check("phase", &|plan| plan["experts"]["phase"] = json!("training"), 6, "bad-phase");
    check("missing", &|plan| drop(plan.as_object_mut().unwrap().remove("cost")), 3, "bad-plan");
}

#[test]
fn what_means_nothing_beside_nano_batches_is_refused() {
    let folder = folder();
    planned(&folder, LINE, "own.json");
    folder.write("slow.csv", "op,beside,mode,factor\nattention,dispatch,complementary,0.9\n");
    folder.write("other.csv", "op,beside,mode,factor\nattention,sum,complementary,2\n");
    let mut odd = config();
    odd["num_local_experts"] = json!(9);
    folder.write("odd.json", &odd.to_string());
    let line = |from: &str, to: &str| LINE.replace(from, to);
    for (line, code, word) in [
        (line("--phase prefill", "--phase training"), "not-for-streams", "--phase"),
        (line("--phase prefill", ""), "no-phase", "--phase"),
        (line("--batch 128", ""), "no-batch", "--batch"),
        (line("--batch 128", "--batch 3"), "uneven-batch", "--batch"),
        (line("experts.json", "odd.json"), "uneven-experts", "9 experts"),
        (line("table.csv", "slow.csv"), "bad-interference", "line 2"),
        (line("table.csv", "other.csv"), "bad-interference", "line 2"),
        (line("table.csv", "nothing.csv"), "unreadable-file", "nothing.csv"),
        (line("dynaflow", "dynaflow(min_gain=100)"), "bad-option", "min_gain"),
        (line("dynaflow", "sequential(min_gain=1)"), "unknown-option", "min_gain"),
        (format!("{LINE} --cached 99999999999"), "cached", "--cached"),
        (format!("{LINE} --expert-skew visits.json"), "not-for-streams", "--expert-skew"),
        (format!("{LINE} --export megatron=x"), "unknown-target", "megatron"),
        (format!("{LINE} --dtype fp32"), "not-for-streams", "--dtype"),
        (
            line("--phase prefill", "--phase training").replace("dynaflow", "fsmoe"),
            "not-for-streams",
            "--interference",
        ),
        (format!("explain own.json {ON} --op a"), "not-for-streams", "--op"),
        (format!("explain own.json {ON} --layer 16"), "unknown-layer", "0 to 15"),
    ] {
        let ran = folder.run(&line);
        assert!(ran.stderr.contains(&format!("error[{code}]")), "{line}: {}", ran.stderr);
        assert!(
            ran.stderr.contains(word) && ran.stderr.contains("hint: "),
            "{line}: {}",
            ran.stderr
        );
        assert!([2, 3].contains(&ran.code), "{line}: {} {}", ran.code, ran.stderr);
    }
    let unused = line("table.csv", "dense.csv");
    folder.write("dense.csv", "op,beside,mode,factor\nattention,all-reduce,complementary,2\n");
    let ran = folder.run(&unused).exits(0);
    assert!(ran.stderr.contains("warning[unused-interference]"), "{}", ran.stderr);
}

#[test]
fn servers_are_told_of_thresholds() {
    let folder = folder();
    planned(&folder, LINE, "own.json");
    folder.run(&format!("export own.json {ON} --target vllm -o vllm.sh")).exits(0);
    let script = folder.read("vllm.sh");
    assert!(script.contains(" --enable-dbo --dbo-decode-token-threshold "), "{script}");
    folder.run(&format!("{LINE} --export sglang=sglang.sh")).exits(0);
    let script = folder.read("sglang.sh");
    assert!(
        script.contains(" --enable-two-batch-overlap --tbo-token-distribution-threshold 0"),
        "{script}"
    );
    assert!(script.contains("--nnodes 2"), "{script}");
    let line = LINE.replace("experts.json", "dense.json");
    let ran = folder.run(&format!("{line} --export vllm=x"));
    assert!(ran.stderr.contains("error[cannot-express]"), "{}", ran.stderr);
}

#[test]
fn two_plans_of_nano_batches_are_compared_and_drawn() {
    let folder = folder();
    let plan = planned(&folder, LINE, "own.json");
    planned(&folder, &LINE.replace("dynaflow", "sequential"), "whole.json");
    assert!(folder.run("compare own.json own.json").exits(0).stdout.contains("decide the same"));
    let answer = folder.run("compare own.json whole.json --json").exits(10).json();
    let layer = &answer["layers"][0];
    assert_eq!(layer["a"]["samples"], json!(samples(&plan)), "{answer}");
    assert_eq!(layer["b"]["samples"], json!([16]), "{answer}");
    assert_eq!(answer["a"]["step_time_ns"], plan["cost"]["step_time_ns"]);
    let mut bad = plan.clone();
    bad["experts"]["layers"][0]["nano_batches"]["beside"] = json!([]);
    folder.write("bad.json", &bad.to_string());
    let ran = folder.run(&format!("verify bad.json {ON}")).exits(6);
    assert!(ran.stderr.contains("nano_batches.beside"), "{}", ran.stderr);
    let words = folder.run(&format!("compare own.json whole.json {ON}")).exits(10).stdout;
    assert!(words.contains("samples") && words.contains("more in B"), "{words}");
    planned(&folder, &LINE.replace("table.csv", "empty.csv"), "empty.json");
    let stderr = folder.run("compare own.json empty.json").stderr;
    assert!(
        stderr.contains("warning[other-setting]") && stderr.contains("interference"),
        "{stderr}"
    );
    folder.run(&format!("{LINE} --export svg=a.svg")).exits(0);
    folder.run(&format!("export own.json {ON} --target svg -o b.svg")).exits(0);
    let picture = folder.read("a.svg");
    assert_eq!(picture, folder.read("b.svg"));
    // Each piece of a layer twice, and a title.
    let cells = plan["schedule"]["cells"].as_array().unwrap().iter();
    let streams = cells.flat_map(|cell| cell["streams"].as_array().unwrap());
    let n: usize = streams.map(|stream| stream["pieces"].as_array().unwrap().len()).sum();
    assert_eq!(picture.matches("<title>").count(), 2 * n + 1, "{picture}");
}
