//! Files that are no model, models that are folders, and models with nothing in them.

use std::fs;

use super::folder::{Folder, diamond};
use super::training::CLUSTER;

/// A folder with a checkpoint as Transformers saves it.
fn folder() -> Folder {
    let folder = Folder::new(&diamond());
    let config = r#"{"model_type":"llama","hidden_size":256,"num_hidden_layers":2,
        "num_attention_heads":4,"intermediate_size":512,"vocab_size":1000,
        "max_position_embeddings":128}"#;
    fs::create_dir(folder.path("Llama-tiny")).unwrap();
    fs::write(folder.path("Llama-tiny/config.json"), config).unwrap();
    fs::write(folder.path("Llama-tiny/model.safetensors"), b"\x02\0\0\0\0\0\0\0{}").unwrap();
    fs::write(folder.path("c.yaml"), CLUSTER).unwrap();
    folder
}

#[test]
fn a_checkpoint_folder_is_planned_by_its_config() {
    let folder = folder();
    let told = |model: &str, flags: &str| {
        folder.run(&format!("plan {model} --cluster c.yaml {flags} --json")).exits(0).json()
    };
    let file = "Llama-tiny/config.json";
    let ops = "--dim sequence=128 --algorithm m-etf";
    let placed = told("Llama-tiny", ops)["plan"]["placement"].clone();
    assert!(placed.as_array().is_some_and(|ops| ops.len() > 10), "{placed}");
    assert_eq!(placed, told(file, ops)["plan"]["placement"]);
    let degrees = "--global-batch 8 --sequence-length 128";
    let step = told("Llama-tiny", degrees)["best"]["step_time_ns"].as_u64();
    assert!(step.is_some());
    assert_eq!(step, told(file, degrees)["best"]["step_time_ns"].as_u64());
    let ran = folder.run("import Llama-tiny/model.safetensors").exits(3);
    assert!(ran.stderr.contains("config.json"), "{}", ran.stderr);
}

#[test]
fn nothing_is_not_planned() {
    let folder = folder();
    fs::write(folder.path("graph.txt"), "").unwrap();
    fs::write(folder.path("blank.txt"), "\n").unwrap();
    fs::write(folder.path("a.json"), r#"{"devices":[{"id":1,"kind":"a"}],"ops":[]}"#).unwrap();
    for (file, code) in
        [("graph.txt", "empty-instance"), ("blank.txt", "empty-instance"), ("a.json", "no-ops")]
    {
        let ran = folder.run(&format!("plan {file}")).exits(3);
        assert!(ran.stderr.contains(&format!("error[{code}]")), "{file}: {}", ran.stderr);
    }
}
