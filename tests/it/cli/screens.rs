//! First screens, as people read them: what each kind of plan prints where there is a plan and where nothing
//! fits. The texts lie in tests/data/screens; `MESHWRIGHT_BLESS=1` writes
//! them anew, and they are reviewed as prose.

use std::fs;
use std::path::Path;

use super::folder::Folder;
use super::frozen::masked;
use super::kinds::{self, KINDS, Small};

/// Lines and columns of a first screen, stdout and stderr together.
const LINES: usize = 24;
const COLUMNS: usize = 88;

/// What a run says and how it ends, without what the moment changes; whether it is a first screen.
fn screen(folder: &Folder, line: &str) -> (String, bool) {
    let ran = folder.run(line);
    let said = format!("{}{}", ran.stdout, ran.stderr);
    let is_narrow = said.lines().all(|line| line.chars().count() <= COLUMNS);
    let is_first = is_narrow && said.lines().count() <= LINES;
    let said = format!("$ meshwright {line}\n{said}exit {}\n", ran.code);
    (masked(&said, &folder.path("")), is_first)
}

/// What runs print and the file that says so, or is written anew; what is wrong with them.
fn reviewed(name: &str, folder: &Folder, lines: impl Iterator<Item = String>) -> Vec<String> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/screens");
    let (said, are_first): (Vec<String>, Vec<bool>) =
        lines.map(|line| screen(folder, &line)).unzip();
    let file = data.join(format!("{name}.txt"));
    let now = said.join("\n");
    if std::env::var_os("MESHWRIGHT_BLESS").is_some() {
        fs::write(&file, &now).unwrap();
    }
    let is_known = fs::read_to_string(&file).ok().as_deref() == Some(&now);
    let other = (!is_known).then(|| format!("{} is now:\n{now}", file.display()));
    let long = said.iter().zip(are_first).filter(|(_, is_first)| !is_first);
    let more = |text| format!("more than {LINES} lines or {COLUMNS} columns:\n{text}");
    other.into_iter().chain(long.map(|(text, _)| more(text))).collect()
}

#[test]
fn first_screens_are_those_that_were_reviewed() {
    let folder = kinds::folder();
    let of = |kind: &kinds::Kind| {
        let line =
            |(index, plan): (usize, &Small)| format!("{} -o {}", plan.line(), kind.file(index));
        reviewed(kind.name, &folder, kind.plans.iter().enumerate().map(line))
    };
    let wrong: Vec<String> = KINDS.iter().flat_map(of).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A search of one node: a plan that is not proved, or none in time.
#[test]
fn searches_that_end_at_once_are_told_as_reviewed() {
    let folder = kinds::folder();
    let has_budget = |plan: &&Small| plan.line().contains("--node-budget");
    let line = |kind: &kinds::Kind| {
        let plan = kind.plans.iter().find(|plan| !has_budget(plan))?;
        Some(format!("{} --node-budget 1 -o {}", plan.line(), kind.file(0)))
    };
    let wrong = reviewed("ended", &folder, KINDS.iter().filter_map(line));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What `explain --why-not` says of settings that are slower, kept, do not fit, or do not exist.
#[test]
fn settings_that_a_plan_does_not_have_are_explained_as_reviewed() {
    let folder = kinds::folder();
    let run = |model: &str, size: &str, file: &str| {
        format!("train {model}.json --cluster two.yaml {size} -o {file}.plan")
    };
    let lines = [
        run("billion", "--global-batch 32 --sequence-length 2048", "dense"),
        run("experts", "--global-batch 64 --sequence-length 2048", "sparse"),
        run(
            "billion",
            "--global-batch 32 --sequence-length 2048 --max-memory-per-device 6GB --no-offload",
            "small",
        ),
    ];
    lines.iter().for_each(|line| drop(folder.run(line).exits(0)));
    let questions = [
        ("billion", "dense", "tensor=4"),
        ("billion", "dense", "pipeline=4 --why-not schedule=1f1b"),
        ("billion", "dense", "recompute=full"),
        ("billion", "dense", "pp=1"),
        ("billion", "dense", "tensor=3"),
        ("experts", "sparse", "ep=2"),
        ("billion", "small", "zero=0 --why-not data=8"),
    ];
    let questions = questions.map(|(model, file, pins)| {
        format!("explain {file}.plan --model {model}.json --cluster two.yaml --why-not {pins}")
    });
    let wrong = reviewed("why-not", &folder, questions.into_iter());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
