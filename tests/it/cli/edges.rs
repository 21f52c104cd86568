//! Where a run must refuse: odd files, wrong flags, plans that are not what they say.

use std::fs::{self, OpenOptions};
use std::process::Command;

use serde_json::{Value, json};

use super::folder::{Folder, Ran, alone, diamond, instance, run};

/// An instance with a name that would steer a terminal, as JSON text leaves it.
fn evil() -> Value {
    let mut model = diamond();
    model["ops"][1]["name"] = json!("evil\u{9b}2J\u{202e}name");
    model
}

#[test]
fn json_holds_no_character_that_steers_a_terminal() {
    let folder = Folder::new(&evil());
    let line = "plan model.json --algorithm m-etf --json -o p.json --export trace=t.json";
    let document = folder.run(line).exits(0);
    for text in [&document.stdout, &folder.read("p.json"), &folder.read("t.json")] {
        assert!(!text.contains(['\u{9b}', '\u{202e}']), "{text}");
        assert!(text.contains("\\u009b2J\\u202e"), "{text}");
    }
    let placed = document.json()["plan"]["placement"].clone();
    let names: Vec<&str> =
        placed.as_array().unwrap().iter().map(|p| p["op"].as_str().unwrap()).collect();
    assert!(names.contains(&"evil\u{9b}2J\u{202e}name"), "{names:?}");
    folder.run("verify p.json --model model.json").exits(0);
}

#[test]
fn names_of_any_length_fit_a_table() {
    let mut model = diamond();
    let name = "n".repeat(70_000);
    model["ops"][1]["name"] = json!(name);
    model["ops"][1]["op_type"] = json!(name);
    let folder = Folder::new(&model);
    folder.planned("plan.json");
    for line in ["import model.json", "support model.json", "plan model.json --algorithm m-etf"] {
        folder.run(line).exits(0);
    }
    folder.run("explain plan.json --model model.json --op d").exits(0);
}

#[test]
fn what_is_no_file_is_never_written() {
    let folder = Folder::new(&diamond());
    fs::create_dir(folder.path("sub")).unwrap();
    let refused = |output: &str, code: &str| {
        let line = format!("plan model.json --algorithm m-etf --force -o {output}");
        let ran = folder.run(&line).exits(2);
        assert!(ran.stderr.contains(&format!("error[{code}]")), "{output}: {}", ran.stderr);
        ran
    };
    refused("sub", "not-a-file");
    assert!(refused("-", "not-a-file").stderr.contains("--json"));
    if cfg!(unix) {
        refused("/dev/null", "not-a-file");
    }
    if cfg!(target_os = "linux") {
        refused("/proc/plan.json", "not-writable");
    }
    assert_eq!(folder.list(), ["model.json", "sub"], "no temporary file is left");
}

#[cfg(unix)]
#[test]
fn links_do_not_hide_that_an_output_is_an_input() {
    let folder = Folder::new(&diamond());
    std::os::unix::fs::symlink(folder.path("model.json"), folder.path("link")).unwrap();
    let line = "plan model.json --algorithm m-etf --force";
    let ran = folder.run(&format!("{line} -o link")).exits(2);
    assert!(ran.stderr.contains("error[same-file]"), "{}", ran.stderr);
    folder.write("c.yaml", "name: a\ndevices: [{id: g, kind: a100_sxm4_80gb}]\n");
    let ran = folder.run(&format!("{line} --cluster c.yaml#a -o c.yaml")).exits(2);
    assert!(ran.stderr.contains("error[same-file]"), "{}", ran.stderr);
    assert_eq!(folder.read("model.json"), diamond().to_string());
}

#[cfg(unix)]
#[test]
fn devices_and_pipes_are_not_read() {
    let folder = Folder::new(&diamond());
    let lines = [
        "plan model.json --constraints /dev/zero",
        "plan model.json --cluster /dev/zero",
        "plan /dev/zero",
        "verify /dev/zero --model model.json",
    ];
    for line in lines {
        let ran = folder.run(line).exits(3);
        assert!(ran.stderr.contains("regular file"), "{line}: {}", ran.stderr);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_is_lost_is_no_success() {
    for words in [&["algorithms"][..], &["--help"], &["devices", "--json"], &["--nope", "--json"]] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshwright"));
        let output = command.args(words).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("error[stdout-failed]"), "{words:?}: {stderr}");
    }
}

#[test]
fn help_is_a_verb_too() {
    assert_eq!(run("help plan").exits(0).stdout, run("plan --help").exits(0).stdout);
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    let folder = Folder::new(&diamond());
    for flags in ["--dim a=0", "--dim a=2 --dim a=3", "--batch-axis a=0", "--batch 0"] {
        folder.run(&format!("import model.json {flags}")).exits(2);
    }
}

#[test]
fn a_dimension_must_not_bind_the_batch_to_another_number() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/onnx_features");
    // Any model whose inputs have a symbol on their first axis will do.
    let symbolic = |path: &std::path::Path| -> Option<(String, Vec<String>)> {
        let model = path.to_str()?;
        let ran = run(&format!("import {model} --json"));
        let list = ran.json()["error"]["facts"][0]["value"]["list"].clone();
        let names: Vec<String> =
            list.as_array()?.iter().filter_map(|n| Some(n.as_str()?.to_owned())).collect();
        Some((model.to_owned(), names))
    };
    let mut n_refused = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let Some((model, names)) = symbolic(&path) else { continue };
        let dims: Vec<String> = names.iter().map(|name| format!("--dim {name}=3")).collect();
        let line = format!("import {model} {} --json", dims.join(" "));
        let bound = run(&line);
        if bound.code != 0 {
            continue;
        }
        let inputs = bound.json()["inputs"].as_array().unwrap().clone();
        if !inputs.iter().any(|input| input["shape"][0] == 3) {
            continue;
        }
        run(&format!("{line} --batch 3")).exits(0);
        let ran = run(&format!("{line} --batch 64")).exits(2);
        assert_eq!(ran.json()["error"]["code"], "batch-sizes", "{model}");
        n_refused += 1;
    }
    assert!(n_refused > 0, "no model has a symbolic batch");
}

#[test]
fn a_plan_must_keep_its_word() {
    let folder = Folder::new(&diamond());
    let plan = folder.planned("plan.json");
    let verify = |change: &dyn Fn(&mut Value)| -> Ran {
        let mut plan = plan.clone();
        change(&mut plan);
        folder.write("other.json", &plan.to_string());
        folder.run("verify other.json --model model.json")
    };
    let stated = |change: &dyn Fn(&mut Value)| {
        let ran = verify(change).exits(6);
        assert!(ran.stderr.contains("error[stated-wrong]"), "{}", ran.stderr);
    };
    verify(&|_| {}).exits(0);
    stated(&|plan| plan["cost"]["step_time_ns"] = json!(1));
    stated(&|plan| plan["cost"]["bound_ns"] = json!(u32::MAX));
    stated(&|plan| plan["cost"]["gap"] = json!(0.5));
    verify(&|plan| plan["objective"] = json!("foo")).exits(3);
    // Nor does another digest hide what is wrong, or make it so.
    let zeros = json!("0".repeat(64));
    let ran = verify(&|plan| plan["model"]["digest"] = zeros.clone()).exits(3);
    assert!(ran.stderr.contains("error[digest-mismatch]"), "{}", ran.stderr);
    stated(&|plan| {
        plan["model"]["digest"] = zeros.clone();
        plan["cost"]["gap"] = json!(0.5);
    });
    let ran = verify(&|plan| plan["workload"]["batch"] = json!(0)).exits(3);
    assert!(ran.stderr.contains("other.json"), "{}", ran.stderr);
}

#[test]
fn illegal_plans_are_not_explained_or_exported() {
    let folder = Folder::new(&diamond());
    let plan = folder.planned("plan.json");
    let placed = plan["placement"][0]["device"].as_str().unwrap();
    let on = format!("plan.json --model model.json --forbid a={placed}");
    for line in [
        format!("simulate {on}"),
        format!("verify {on}"),
        format!("explain {on} --op a"),
        format!("export {on} --target trace -o t.json"),
    ] {
        let ran = folder.run(&line).exits(6);
        assert!(ran.stderr.contains("error[device-not-allowed]"), "{line}: {}", ran.stderr);
    }
    assert_eq!(folder.list(), ["model.json", "plan.json"]);
}

#[test]
fn plans_for_other_models_are_told_apart() {
    let folder = Folder::new(&diamond());
    folder.planned("a.json");
    let mut other = diamond();
    other["ops"][0]["time_ns"]["k"] = json!(2000);
    folder.write("model.json", &other.to_string());
    folder.planned("b.json");
    let ran = folder.run("compare a.json b.json").exits(10);
    assert!(ran.stdout.ends_with("the plans are for different models\n"), "{}", ran.stdout);
    assert!(ran.stderr.contains("warning[other-model]"), "{}", ran.stderr);
    let ran = folder.run("compare a.json b.json --json").exits(10);
    assert_eq!(ran.json()["equal"], false);
    let ran = folder.run("simulate a.json --model model.json").exits(3);
    assert!(ran.stderr.contains("--workload") && !ran.stderr.contains("--cluster"));
}

#[test]
fn what_was_tried_is_listed_when_nothing_was_found() {
    // 41 of 4 bytes on two devices of 83: 20 fit on each, which the sum of bytes does not rule out.
    let ops = (0..41).map(|id| alone(id, 4)).collect();
    let folder = Folder::new(&instance(ops, 83));
    let ran = folder.run("plan model.json --all");
    assert!([4, 5].contains(&ran.code), "{}", ran.stderr);
    for row in ["single ", "m-topo ", "m-etf "] {
        assert!(ran.stderr.lines().any(|line| line.starts_with(row)), "{row}: {}", ran.stderr);
    }
    assert_eq!(ran.stdout, "");
    let document = folder.run("plan model.json --json").json();
    assert!(document["attempts"].as_array().unwrap().len() > 2);
    assert_eq!(document["exit_code"], ran.code);
}

#[test]
fn a_hint_names_the_limit_that_was_set() {
    let folder = Folder::new(&diamond());
    let ran = folder.run("plan model.json --algorithm m-sct --node-budget 1");
    assert!(!ran.stderr.contains("the time limit"), "{}", ran.stderr);
}
