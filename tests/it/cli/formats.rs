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
    let planned = |model: &str, flags: &str| {
        folder.run(&format!("plan {model} --cluster c.yaml {flags} --json")).exits(0).json()
    };
    let file = "Llama-tiny/config.json";
    let ops = "--dim sequence=128 --algorithm m-etf";
    let placed = planned("Llama-tiny", ops)["plan"]["placement"].clone();
    assert!(placed.as_array().is_some_and(|ops| ops.len() > 10), "{placed}");
    assert_eq!(placed, planned(file, ops)["plan"]["placement"]);
    let degrees = "--global-batch 8 --sequence-length 128";
    let step = planned("Llama-tiny", degrees)["best"]["step_time_ns"].as_u64();
    assert!(step.is_some());
    assert_eq!(step, planned(file, degrees)["best"]["step_time_ns"].as_u64());
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

/// `import` and `support` tell the format of what is piped in by its content; other verbs read a
/// model more than once and take files alone.
#[test]
fn standard_input_is_read() {
    let folder = folder();
    let piped = |words: &str| {
        let file = fs::File::open(folder.path("Llama-tiny/config.json")).unwrap();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_meshwright"));
        command.current_dir(folder.path(".")).args(words.split(' ')).stdin(file).output().unwrap()
    };
    let parsed = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
    let read = parsed(&piped("import - --json").stdout);
    let file = folder.run("import Llama-tiny/config.json --json").exits(0).json();
    assert_eq!(read["summary"], file["summary"]);
    assert_eq!(read["name"], "stdin");
    assert_eq!(parsed(&piped("support - --json").stdout)["supported"], true);
    assert_eq!(piped("plan - --cluster c.yaml").status.code(), Some(3));
}

/// The parameters of a tiny Llama by hand, module by module.
#[test]
fn modules_are_listed_with_what_they_hold() {
    let folder = folder();
    let import = folder.run("import Llama-tiny --tree --json").exits(0).json();
    let modules = import["modules"].as_array().unwrap();
    let of = |name: &str| {
        let row = modules.iter().find(|row| row["module"] == name);
        row.unwrap_or_else(|| panic!("{name}: {modules:?}"))["parameters"].as_u64()
    };
    let layer = 4 * 256 * 256 + 3 * 256 * 512 + 2 * 256;
    assert_eq!(of("0..1"), Some(layer));
    assert_eq!(of("layers"), Some(2 * layer));
    assert_eq!(of("lm_head"), Some(1000 * 256));
    assert_eq!(of("gate_proj"), Some(256 * 512));
    let text = folder.run("import Llama-tiny --tree").exits(0);
    assert!(text.stdout.contains("0..1 (2 alike)"), "{}", text.stdout);
}

/// Each format of the table has a row and a section in the documentation, in the words of the table
/// and of `import --help`, and no other has.
#[test]
fn every_format_is_documented() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/formats.md")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ["));
    let mut documented: Vec<&str> =
        rows.flat_map(|row| row.split(']').next()).flat_map(|names| names.split(", ")).collect();
    documented.sort_unstable();
    let mut known: Vec<&str> = importers::formats().iter().map(|format| format.name).collect();
    known.sort_unstable();
    assert_eq!(documented, known);
    let folder = folder();
    let help = folder.run("import --help").exits(0).stdout;
    for format in importers::formats() {
        let is_row = |line: &&str| line.starts_with("| [") && line.contains(format.name);
        let row = text.lines().find(is_row).unwrap();
        assert!(row.contains(&format!("| {} |", format.what)), "{row}");
        let line = help.lines().find(|line| line.starts_with("  ") && line.contains(format.name));
        assert!(line.is_some_and(|line| line.ends_with(&format.what.replace('`', ""))), "{help}");
    }
    // A JSON file of no format is told what the others have.
    fs::write(folder.path("other.json"), "{\"a\": 1}").unwrap();
    let error = folder.run("import other.json --json").exits(3).json()["error"].to_string();
    for keys in ["config has `model_type`", "instance has `ops` and `devices`", "kineto has"] {
        assert!(error.contains(keys), "{error}");
    }
}
