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
    let ran =
        plan(&folder, TRAINED, "v100_sxm2_32gb", "--workload training --all -o plan.json").exits(0);
    assert!(ran.stderr.contains("fp16 runs instead"), "{}", ran.stderr);
    assert!(ran.stdout.contains("computes in fp16 (default), adamw"), "{}", ran.stdout);
    let plan_of: Value = folder.json("plan.json");
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
    for plan in ["a.json", "b.json"] {
        folder.forget_inputs(plan);
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
    let mut plan: Value = folder.json("plan.json");
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
    let plan: Value = folder.json("plan.json");
    let verify = format!("verify own.json --model {} --cluster a100_sxm4_80gb.yaml", onnx(TRAINED));
    for (member, other, derived) in [
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
        let wanted = format!("field workload.{member}; stated {stated}; derived {derived}");
        let said = ran.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(&wanted), "{wanted}: {said}");
    }
}

/// 12 bytes of memory: 12 GB were meant, and the plan that fails for it says so.
#[test]
fn what_is_strange_about_a_cluster_is_told_with_the_failure() {
    let folder = folder();
    let kind = "{name: chip, memory_bytes: 12, memory_bytes_per_s: 2e12, peak_fp32_flops: 19e12}";
    let text = format!("kinds: [{kind}]\n{}", cluster("chip"));
    folder.write("small.yaml", &text);
    for json in ["", "--json"] {
        let ran = plan(&folder, TRAINED, "small", json).exits(4);
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(
            said.contains("unlikely-number") && said.contains("`memory_bytes: 12e9`"),
            "{said}"
        );
    }
}

#[test]
fn a_constraint_of_a_plan_that_does_not_hold_is_bad_input() {
    let folder = folder();
    plan(&folder, TRAINED, "a100_sxm4_80gb", "-o plan.json").exits(0);
    let plan: Value = folder.json("plan.json");
    let verify = format!("verify own.json --model {} --cluster a100_sxm4_80gb.yaml", onnx(TRAINED));
    for (member, value) in [
        ("pin", json!(["*"])),
        ("pin", json!(["*=nodevice"])),
        ("forbid", json!(["no-such-op=node0.gpu0"])),
        ("colocate", json!([["no-such-op"]])),
    ] {
        let mut changed = plan.clone();
        changed["request"] = json!({ member: value });
        folder.write("own.json", &changed.to_string());
        let ran = folder.run(&verify).exits(3);
        assert!(ran.stderr.contains(&format!("`request.{member}`")), "{}", ran.stderr);
        assert!(!ran.stderr.contains(&format!("write --{member}")), "{}", ran.stderr);
    }
    // What a flag asks for is the flag's.
    folder.run(&format!("{verify} --pin *=nodevice")).exits(2);
}

/// What a hint names works.
#[test]
fn hints_name_what_can_be_planned() {
    let folder = folder();
    let on = format!("plan {} --cluster a100_sxm4_80gb.yaml", onnx(TRAINED));
    let ran = folder.run(&format!("{on} --algorithm labels")).exits(2);
    for row in ["local-search", "blocks", "coplace", "ideals", "columns"] {
        assert!(!ran.stderr.contains(row), "{}", ran.stderr);
    }
    assert!(ran.stderr.contains("auto"), "{}", ran.stderr);
    folder.run(&format!("{on} --algorithm auto --time-limit 2s")).exits(0);
    folder.write("noise.bin", "no model");
    folder.write("noise.json", "{\"a\": 1}");
    for file in ["noise.bin", "noise.json"] {
        let ran = folder.run(&format!("plan {file}")).exits(3);
        assert!(ran.stderr.contains("unknown-format"), "{}", ran.stderr);
        assert!(!ran.stderr.contains("schedule"), "{}", ran.stderr);
    }
}

/// A product of 137 GFLOP in a nanosecond is 1.4e20 a second.
#[test]
fn rows_that_no_hardware_has_are_named() {
    let folder = folder();
    let rows =
        (0..12).map(|row| format!("a100_sxm4_80gb,fp32,{},4096,4096,0.001\n", 4096 + 64 * row));
    let text: String = rows.collect();
    folder.write("fast.csv", &format!("gpu,dtype,m,n,k,time_us\n{text}"));
    let ran = folder.run("calibrate fast.csv -o fast.json").exits(3);
    assert!(
        ran.stderr.contains("unlikely-rows") && ran.stderr.contains("fast.csv"),
        "{}",
        ran.stderr
    );
    assert!(!ran.stderr.contains("fast.json") && !folder.path("fast.json").exists());
}
