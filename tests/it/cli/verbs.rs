//! Verbs by kind of model and kind of plan: each pair works, or is refused by a named diagnostic.

use serde_json::json;

use super::folder::{Folder, diamond};
use super::layered::{self, measured};
use super::training;

/// A kind of plan: how it is made, and on what it is read.
struct Kind {
    name: &'static str,
    plan: &'static str,
    model: &'static str,
    /// What a verb needs beside plan and model.
    on: &'static str,
    /// A format that it has.
    target: &'static str,
}

const KINDS: [Kind; 4] = [
    Kind {
        name: "ops",
        plan: "plan small.json --cluster node.yaml --dim sequence=64 --algorithm m-etf",
        model: "small.json",
        on: "--cluster node.yaml",
        target: "trace",
    },
    Kind {
        name: "degrees",
        plan: "plan config.json --cluster nodes.yaml --global-batch 32 --sequence-length 2048",
        model: "config.json",
        on: "--cluster nodes.yaml",
        target: "svg",
    },
    Kind {
        name: "layers",
        plan: "plan small.json --cluster node.yaml --profile measured --global-batch 32 \
               --sequence-length 512",
        model: "small.json",
        on: "--cluster node.yaml --profile measured",
        target: "galvatron",
    },
    Kind { name: "instance", plan: "plan dnn.json", model: "dnn.json", on: "", target: "split" },
];

/// What a verb does with its own kind of plan: exit codes of ops, degrees, layers, instance.
const VERBS: [(&str, [i32; 4]); 5] = [
    ("verify", [0, 0, 0, 0]),
    ("simulate", [0, 0, 0, 0]),
    ("explain", [0, 0, 0, 0]),
    ("compare", [0, 0, 0, 0]),
    ("export", [0, 0, 0, 0]),
];

fn folder() -> Folder {
    let folder = Folder::new(&diamond());
    folder.write("config.json", &training::config().to_string());
    folder.write("nodes.yaml", training::CLUSTER);
    folder.write("small.json", &layered::config(12).to_string());
    folder.write("node.yaml", layered::CLUSTER);
    measured(&folder);
    let node = |id: u32| {
        json!({ "id": id, "name": format!("node{id}"), "supportedOnFpga": 1, "cpuLatency": 10.0,
            "fpgaLatency": 1.0, "isBackwardNode": 0, "size": 1e6 })
    };
    let edge = |from: u32, to: u32| json!({ "sourceId": from, "destId": to, "cost": 0.1 });
    let dnn = json!({
        "maxSizePerFPGA": 1e9, "maxFPGAs": 2, "maxCPUs": 0,
        "nodes": [node(0), node(1), node(2)], "edges": [edge(0, 1), edge(1, 2)]
    });
    folder.write("dnn.json", &dnn.to_string());
    for kind in KINDS {
        folder.run(&format!("{} -o {}.plan", kind.plan, kind.name)).exits(0);
    }
    folder
}

/// A verb on a plan of one kind with model and cluster of another.
fn line(verb: &str, of: &Kind, on: &Kind) -> String {
    let plan = format!("{}.plan", of.name);
    let rest = format!("--model {} {}", on.model, on.on);
    match verb {
        "compare" => format!("compare {plan} {plan} {rest}"),
        "export" => format!("export {plan} {rest} --target {} -o out --force", of.target),
        _ => format!("{verb} {plan} {rest}"),
    }
}

#[test]
fn every_verb_takes_every_kind_of_plan_or_names_why_not() {
    let folder = folder();
    for (verb, codes) in VERBS {
        for (of, code) in KINDS.iter().zip(codes) {
            let line = line(verb, of, of);
            let ran = folder.run(&line);
            assert_eq!(ran.code, code, "{line}:\n{}{}", ran.stdout, ran.stderr);
            assert_eq!(code != 0, ran.stderr.contains("error["), "{line}: {}", ran.stderr);
        }
    }
}

#[test]
fn no_verb_takes_a_plan_for_the_model_of_another() {
    let folder = folder();
    for (verb, _) in VERBS {
        for of in &KINDS {
            for on in KINDS.iter().filter(|on| on.model != of.model) {
                let line = line(verb, of, on);
                let ran = folder.run(&line);
                assert!([2, 3].contains(&ran.code), "{line}: {}\n{}", ran.code, ran.stdout);
                assert!(ran.stderr.contains("error["), "{line}: {}", ran.stderr);
            }
        }
    }
}

#[test]
fn every_kind_of_model_is_imported_or_named() {
    let folder = folder();
    for (model, code) in [("small.json --dim sequence=64", 0), ("model.json", 0), ("dnn.json", 3)] {
        for verb in ["import", "support"] {
            let ran = folder.run(&format!("{verb} {model}"));
            assert_eq!(ran.code, code, "{verb} {model}: {}", ran.stderr);
            assert!(code == 0 || ran.stderr.contains("hint: "), "{verb} {model}");
            assert_eq!(code != 0, ran.stderr.contains("error["), "{verb} {model}");
        }
    }
}

/// A picture and a trace of a step are those of its passes.
#[test]
fn the_step_of_a_training_run_is_drawn() {
    let folder = folder();
    let plan = "plan config.json --cluster nodes.yaml --global-batch 32 --sequence-length 2048 \
                --pin pipeline=4 --pin schedule=1f1b --pin micro-batch=1 --pin data=2";
    let files =
        "-o four.plan --export svg=step.svg --export trace=step.json --export megatron=m.args";
    let told = folder.run(&format!("{plan} --json {files}")).exits(0).json();
    let step_us = told["best"]["step_time_s"].as_f64().unwrap() * 1e6;
    let trace: serde_json::Value = folder.json("step.json");
    let events = trace["traceEvents"].as_array().unwrap();
    let named = |pass: &str| {
        let of = |event: &&serde_json::Value| event["name"].as_str().unwrap().starts_with(pass);
        events.iter().filter(of).count()
    };
    // Sixteen micro-batches of each replica on four stages.
    assert_eq!((named("forward"), named("backward")), (64, 64));
    let end =
        |event: &serde_json::Value| event["ts"].as_f64().unwrap() + event["dur"].as_f64().unwrap();
    let last = events.iter().filter(|event| event["ph"] == "X").map(end).fold(0.0, f64::max);
    assert!((last / step_us - 1.0).abs() < 1e-6, "{last} {step_us}");
    let picture = folder.read("step.svg");
    assert!(picture.contains("rank 3") && picture.contains("forward 15"), "{}", picture.len());
    assert!(folder.read("m.args").contains("--pipeline-model-parallel-size 4"));
    // RecomputeRule from the plan.
    let on = "four.plan --model config.json --cluster nodes.yaml";
    folder.run(&format!("export {on} --target svg -o again.svg")).exits(0);
    assert_eq!(folder.read("again.svg"), picture);
    let told = folder.run(&format!("explain {on} --device node1.gpu3")).exits(0).stdout;
    assert!(told.contains("`node1.gpu3` is one of the devices of rank 3"), "{told}");
    assert!(
        folder.run(&format!("explain {on} --device node1.gpu9")).exits(2).stderr.contains("hint: ")
    );
}
