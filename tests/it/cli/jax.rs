//! Plans for JAX's partitioner: what their file says, and what it refuses by name.

use serde_json::{Value, json};

use super::flags::folder as flagged;
use super::folder::Folder;

const ON: &str = "--cluster one.yaml";
const RUN: &str = "--cluster one.yaml --global-batch 16 --sequence-length 128";

/// Two heads of keys and values, which four tensor ranks do not split, and an odd vocabulary.
fn grouped() -> Value {
    json!({
        "model_type": "qwen2", "hidden_size": 512, "num_hidden_layers": 4,
        "num_attention_heads": 8, "num_key_value_heads": 2, "intermediate_size": 1024,
        "vocab_size": 1001, "max_position_embeddings": 4096
    })
}

fn folder() -> Folder {
    let folder = flagged();
    folder.write("model.qwen.json", &grouped().to_string());
    folder
}

fn export(folder: &Folder, model: &str, pins: &str) -> super::folder::Ran {
    folder.run(&format!("plan {model} {RUN} {pins} -o plan.json --force")).exits(0);
    let line = format!("export plan.json --model {model} {ON} --target jax -o out --force");
    folder.run(&line)
}

#[test]
fn a_file_says_mesh_states_and_rules() {
    let folder = folder();
    let n = folder.run(&format!("plan model.qwen.json {RUN} --for jax -o p.json --json")).exits(0);
    let parallelism = &n.json()["plan"]["parallelism"];
    assert_eq!(
        (&parallelism["pipeline"], &parallelism["context"]),
        (&json!(1), &json!(1)),
        "{parallelism}"
    );
    let pins = "--for jax --pin tensor=2 --pin zero=2 --pin recompute=full";
    assert_eq!(export(&folder, "model.qwen.json", pins).code, 0);
    let file: Value = folder.json("out");
    let plan: Value = folder.json("plan.json");
    let data = plan["parallelism"]["data"].as_u64().unwrap();
    assert_eq!(
        file["mesh"],
        json!({ "axes": ["data", "expert", "tensor"], "shape": [data, 1, 2] })
    );
    assert_eq!(file["checkpoint"], json!({ "around": "block", "policy": "nothing_saveable" }));
    for (again, warns) in [("none", true), ("selective", true), ("full", false)] {
        let pins = format!("--for jax --pin data=4 --pin zero=3 --pin recompute={again}");
        let ran = export(&folder, "model.qwen.json", &pins).exits(0);
        assert_eq!(ran.stderr.contains("not-in-file"), warns, "{again}: {}", ran.stderr);
    }
    let split = |state: &str| file["states"][state]["split"].as_str().unwrap().to_owned();
    let all = ["parameters", "gradients", "optimizer"].map(split);
    assert_eq!(all, ["whole", "shared", "shared"]);
    assert_eq!((&file["jax"], &file["rows_of_vocabulary"]), (&json!("0.10"), &json!(1002)));
    // No word of the user's own is in it, so none can be strange.
    let (first, other) = (file.to_string(), "it's,\"\u{e9}.json");
    folder.write(other, &grouped().to_string());
    assert_eq!(export(&folder, other, pins).code, 0);
    let other: Value = folder.json("out");
    assert_eq!(other.to_string(), first);
}

/// Each with what the message names; what is refused here is not planned for it.
#[test]
fn what_the_partitioner_does_not_express_is_refused_by_name() {
    let folder = folder();
    let cases = [
        ("--pin pipeline=2", "pipeline parallelism"),
        ("--pin context=2 --pin pipeline=1", "context parallelism"),
        ("--pin zero=1 --pin data=4 --pin micro-batch=1", "after the last micro-batch"),
        ("--pin tensor=4 --pin data=1", "heads of keys and values"),
        (
            "--pin recompute=per-op --pin pipeline=1 --pin context=1 --pin zero=2",
            "every second product",
        ),
        ("--optimizer adafactor --pin pipeline=1", "adafactor"),
    ];
    for (pins, named) in cases {
        let ran = export(&folder, "model.qwen.json", pins).exits(3);
        assert!(ran.stderr.contains(named), "{pins}: {}", ran.stderr);
        let line = format!("plan model.qwen.json {RUN} {pins} --for jax -o x.json --force");
        let planned = folder.run(&line);
        assert!([2, 4].contains(&planned.code), "{pins}: {}", planned.stdout);
    }
    let bert = json!({
        "model_type": "bert", "vocab_size": 1000, "hidden_size": 256, "num_hidden_layers": 4,
        "num_attention_heads": 4, "intermediate_size": 512, "max_position_embeddings": 128
    });
    folder.write("bert.json", &bert.to_string());
    let ran = folder.run(&format!("plan bert.json {RUN} --for jax -o x.json --force")).exits(2);
    assert!(ran.stderr.contains("names of this model's parameters"), "{}", ran.stderr);
    let fp8 = folder.run(&format!("plan model.qwen.json {RUN} --for jax --dtype fp8")).exits(2);
    assert!(fp8.stderr.contains("jax has no words for"), "{}", fp8.stderr);
}

#[test]
fn names_of_the_target_are_checked() {
    let folder = folder();
    assert_eq!(export(&folder, "model.qwen.json", "--for jax@0.10").code, 0);
    let on = format!("export plan.json --model model.qwen.json {ON}");
    let refusal = |words: &str, code: i32| folder.run(&format!("{on} {words}")).exits(code).stderr;
    assert!(refusal("--target jax@0.9 -o x", 2).contains("jax@0.10"));
    assert!(refusal("--target jaxx -o x", 2).contains("did you mean `jax`"));
    assert!(refusal("--target jax --to run", 3).contains("a folder that starts it"));
    assert!(refusal("--target jax -o x --launcher slurm", 2).contains("--launcher"));
    assert!(!folder.path("x").exists() && !folder.path("run").exists());
}
