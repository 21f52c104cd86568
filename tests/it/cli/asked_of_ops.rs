//! What is asked of a placement of ops is honoured, refused by name, or said.

use serde_json::{Value, json};

use super::folder::{Folder, Ran};
use super::stated_ops::onnx;

const TRAINED: &str = "tied_embedding_head.onnx";
const OPEN: &str = "symbolic_dims_batch_seq.onnx";

/// Two kinds from the catalogue: Volta has no bf16 products (NVIDIA V100 data sheet), Ampere has no
/// fp8 ones (NVIDIA A100 data sheet).
fn cluster(kind: &str) -> String {
    format!(
        "nodes:\n  - {{device: {kind}, devices: 2, host: pcie3_x16}}\n\
         network: {{link: ib_hdr_200}}\n"
    )
}

fn folder() -> Folder {
    let folder = Folder::new(&json!({}));
    for kind in ["v100_sxm2_32gb", "a100_sxm4_80gb"] {
        folder.write(&format!("{kind}.yaml"), &cluster(kind));
    }
    folder
}

fn plan(folder: &Folder, model: &str, kind: &str, flags: &str) -> Ran {
    let model = onnx(model);
    folder.run(&format!("plan {model} --cluster {kind}.yaml --algorithm single {flags}"))
}

fn refuses(ran: Ran, words: &[&str]) {
    let ran = ran.exits(2);
    words.iter().for_each(|word| assert!(ran.stderr.contains(word), "{word}: {}", ran.stderr));
}

#[test]
fn a_type_that_no_device_computes_in_is_refused_or_replaced() {
    let folder = folder();
    let dims = super::stated_ops::dims();
    for (kind, dtype) in [("v100_sxm2_32gb", "bf16"), ("a100_sxm4_80gb", "fp8")] {
        let ran = plan(&folder, OPEN, kind, &format!("{dims} --dtype {dtype}"));
        refuses(ran, &["error[dtype]", kind, dtype]);
    }
    // Nobody has named the type of this training: Volta takes fp16.
    let ran = plan(&folder, TRAINED, "v100_sxm2_32gb", "--workload training -o plan.json").exits(0);
    assert!(ran.stderr.contains("fp16 runs instead"), "{}", ran.stderr);
    assert!(ran.stdout.contains("computes in fp16 (default), adamw"), "{}", ran.stdout);
    let plan_of: Value = serde_json::from_str(&folder.read("plan.json")).unwrap();
    assert_eq!(plan_of["workload"]["dtype"], "fp16");
    let verify = format!("verify plan.json --model {} --cluster", onnx(TRAINED));
    folder.run(&format!("{verify} v100_sxm2_32gb.yaml")).exits(0);
    // Ampere computes in what is usual, and the answer says in what.
    let ran = plan(&folder, TRAINED, "a100_sxm4_80gb", "--workload training").exits(0);
    assert!(ran.stdout.contains("computes in bf16 (default), adamw"), "{}", ran.stdout);
    assert!(!ran.stderr.contains("dtype-replaced"), "{}", ran.stderr);
    let ran = plan(&folder, OPEN, "v100_sxm2_32gb", &dims).exits(0);
    assert!(ran.stdout.contains("computes in fp32 (the file)"), "{}", ran.stdout);
    let ran = plan(&folder, OPEN, "v100_sxm2_32gb", &format!("{dims} --dtype fp16")).exits(0);
    assert!(ran.stdout.contains("computes in fp16 (--dtype)"), "{}", ran.stdout);
}

#[test]
fn flags_without_an_effect_are_refused_by_name() {
    let folder = folder();
    let a100 = "a100_sxm4_80gb";
    let dims = super::stated_ops::dims();
    let ran = plan(&folder, OPEN, a100, &format!("{dims} --optimizer sgd"));
    refuses(ran, &["--optimizer", "--workload training"]);
    // The one flag that makes this a training run is named, and what it takes away is said.
    for flag in ["--max-memory-per-device 3GB", "--devices 2", "--memory-margin 5%"] {
        let model = onnx(TRAINED);
        let ran = folder.run(&format!("plan {model} --cluster {a100}.yaml {flag}"));
        let name = flag.split(' ').next().unwrap();
        refuses(ran, &[&format!("`{name}`"), &format!("leave out {name}")]);
    }
    for name in ["a", "b"] {
        let flags = format!("--workload training -o {name}.json");
        plan(&folder, TRAINED, a100, &flags).exits(0);
    }
    folder.run("compare a.json b.json").exits(0);
    for flag in [
        "--batch 4",
        "--profile nofile",
        "--cluster nofile",
        "--constraints nofile",
        "--pin x=y",
        "--dtype bf16",
        "--allow-mismatch",
    ] {
        let name = flag.split(' ').next().unwrap();
        refuses(folder.run(&format!("compare a.json b.json {flag}")), &[name, "--model"]);
    }
}

/// A device map runs each batch whole (`accelerate.dispatch_model` has no micro-batches).
#[test]
fn micro_batches_are_not_asked_of_a_device_map() {
    let folder = folder();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let on = format!(
        "plan {} --cluster {} --algorithm single --batch 4",
        root.join("models/gpt2_small.onnx").display(),
        root.join("clusters/two-nodes.yaml").display()
    );
    refuses(
        folder.run(&format!("{on} --micro-batch 2 --for accelerate")),
        &["--micro-batch", "accelerate"],
    );
    refuses(
        folder.run(&format!("{on} --micro-batch 2 --export accelerate=map.json")),
        &["--micro-batch", "accelerate"],
    );
    folder.run(&format!("{on} --micro-batch 4 --for accelerate")).exits(0);
    folder.run(&format!("{on} --for accelerate -o plan.json")).exits(0);
}

/// A step of 8 samples in micro-batches of 4 has two, and a plan that says otherwise is refused.
#[test]
fn a_plan_states_its_micro_batches() {
    let folder = folder();
    let flags = "--workload training --batch 8 --micro-batch 4 -o plan.json";
    plan(&folder, TRAINED, "a100_sxm4_80gb", flags).exits(0);
    let mut plan: Value = serde_json::from_str(&folder.read("plan.json")).unwrap();
    assert_eq!(plan["parallelism"]["n_micro_batches"], 2);
    let verify = format!("verify own.json --model {} --cluster a100_sxm4_80gb.yaml", onnx(TRAINED));
    for (count, code) in [(2, 0), (1, 3), (4, 3)] {
        plan["parallelism"]["n_micro_batches"] = json!(count);
        folder.write("own.json", &plan.to_string());
        let ran = folder.run(&verify).exits(code);
        let named = ran.stderr.contains("parallelism.n_micro_batches");
        assert_eq!(named, code != 0, "{}", ran.stderr);
    }
}

/// Each member of the workload that is changed in a plan is named, with the value that it had.
#[test]
fn a_changed_workload_is_named() {
    let folder = folder();
    let flags = "--workload training --optimizer sgd --batch 8 --micro-batch 4 -o plan.json";
    plan(&folder, TRAINED, "a100_sxm4_80gb", flags).exits(0);
    let plan: Value = serde_json::from_str(&folder.read("plan.json")).unwrap();
    let verify = format!("verify own.json --model {} --cluster a100_sxm4_80gb.yaml", onnx(TRAINED));
    for (member, other, own) in [
        ("optimizer", json!("adamw"), "sgd"),
        ("dtype", json!("fp32"), "bf16"),
        ("mode", json!("inference"), "training"),
        ("batch", json!(16), "8"),
    ] {
        let mut changed = plan.clone();
        if member == "batch" {
            changed["parallelism"]["n_micro_batches"] = json!(4);
        }
        let stated = other.as_str().map_or_else(|| other.to_string(), str::to_owned);
        changed["workload"][member] = other;
        folder.write("own.json", &changed.to_string());
        let ran = folder.run(&verify);
        assert_ne!(ran.code, 0, "{member}");
        let told = format!("field workload.{member}; stated {stated}; derived {own}");
        let said = ran.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(&told), "{told}: {said}");
    }
}
