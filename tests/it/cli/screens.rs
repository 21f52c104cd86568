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

#[test]
fn first_screens_are_those_that_were_reviewed() {
    let folder = kinds::folder();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/screens");
    let is_blessed = std::env::var_os("MESHWRIGHT_BLESS").is_some();
    let mut wrong = Vec::new();
    for kind in &KINDS {
        let kept =
            |(index, plan): (usize, &Small)| format!("{} -o {}", plan.line(), kind.file(index));
        let lines = kind.plans.iter().enumerate().map(kept);
        let (said, are_first): (Vec<String>, Vec<bool>) =
            lines.map(|line| screen(&folder, &line)).unzip();
        let file = data.join(format!("{}.txt", kind.name));
        let now = said.join("\n");
        if is_blessed {
            fs::write(&file, &now).unwrap();
        }
        if fs::read_to_string(&file).ok().as_deref() != Some(&now) {
            wrong.push(format!("{} is now:\n{now}", file.display()));
        }
        let long = said.iter().zip(are_first).filter(|(_, is_first)| !is_first);
        let more = |text| format!("more than {LINES} lines or {COLUMNS} columns:\n{text}");
        wrong.extend(long.map(|(text, _)| more(text)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
