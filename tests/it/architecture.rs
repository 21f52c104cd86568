//! The house stands as ARCHITECTURE.md says: arrows between crates, sizes of files, headers of
//! algorithms, and words that no file holds.

mod circles;
mod engine;
mod phrases;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Longest source file.
const MOST_LINES: usize = 600;

/// What each crate may depend on, of ours.
const ARROWS: [(&str, &[&str]); 13] = [
    ("ir", &[]),
    ("benchmark_data", &[]),
    ("documents", &["ir"]),
    ("importers", &["ir", "documents"]),
    ("profiler", &["ir", "documents", "cost_model"]),
    ("cost_model", &["ir"]),
    ("planner", &["ir", "cost_model"]),
    ("exporters", &["ir", "documents", "cost_model"]),
    ("web", &["ir", "documents", "engine"]),
    ("engine", &["ir", "documents", "importers", "profiler", "cost_model", "planner", "exporters"]),
    ("accuracy", &["ir", "documents", "importers", "cost_model", "planner", "engine"]),
    ("meshwright", &["ir", "documents", "profiler", "engine", "web", "accuracy"]),
    ("meshwright-python", &["ir", "documents", "engine", "meshwright"]),
];

/// Headings of an algorithm's file, in this order.
const HEADINGS: [&str; 7] =
    ["Decides", "Idea", "Paper", "Guarantee", "Complexity", "Limits", "Example"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn arrows_between_crates_run_downhill() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.into_iter().collect();
    let packages = metadata["packages"].as_array().unwrap();
    let names: BTreeSet<&str> = packages.iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(names, allowed.keys().copied().collect(), "the table and the workspace differ");
    for package in packages {
        let name = package["name"].as_str().unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            let on = dependency["name"].as_str().unwrap();
            // Tests of a crate may look at others.
            if names.contains(on) && dependency["kind"] != "dev" {
                assert!(allowed[name].contains(&on), "{name} must not depend on {on}");
            }
        }
    }
}

/// Source files of the project, sorted.
fn files(folders: &[&str], extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            let named = |names: &[&str], part: Option<&std::ffi::OsStr>| {
                part.is_some_and(|part| names.iter().any(|name| part == *name))
            };
            if path.is_dir() {
                if !named(&["target", "data", "fuzz_targets", "node_modules"], path.file_name()) {
                    open.push(path);
                }
            } else if named(extensions, path.extension()) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

const CRATES: [&str; 12] = [
    "engine/src",
    "src",
    "ir/src",
    "documents/src",
    "importers/src",
    "profiler/src",
    "cost_model/src",
    "cost_model/accuracy/src",
    "planner/src",
    "exporters/src",
    "web/src",
    "python/src",
];

#[test]
fn no_source_file_is_too_long() {
    let sources = files(&CRATES, &["rs"]);
    assert!(sources.len() > 50, "the sources were not found");
    let long: Vec<String> = sources
        .iter()
        .map(|path| (path, fs::read_to_string(path).unwrap().lines().count()))
        .filter(|(_, lines)| *lines > MOST_LINES)
        .map(|(path, lines)| format!("{}: {lines} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "past {MOST_LINES} lines:\n{}", long.join("\n"));
}

#[test]
fn main_only_starts_the_command_line() {
    let lines = fs::read_to_string(root().join("src/main.rs")).unwrap().lines().count();
    assert!(lines < 60, "src/main.rs has {lines} lines");
}

#[test]
fn every_algorithm_has_its_file_with_its_headings() {
    let sources = files(&["planner/src"], &["rs"]);
    for entry in planner::registry::entries() {
        let snake = entry.name.replace('-', "_");
        let ends = [format!("/{snake}.rs"), format!("/{snake}/mod.rs")];
        let path = sources
            .iter()
            .filter(|path| ends.iter().any(|end| path.to_string_lossy().ends_with(end.as_str())))
            // A part of another algorithm may bear the same name, deeper down.
            .min_by_key(|path| path.components().count())
            .unwrap_or_else(|| panic!("no file for algorithm `{}`", entry.name));
        let text = fs::read_to_string(path).unwrap();
        let headings: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("//! # ")).collect();
        assert_eq!(headings, HEADINGS, "headings of {}", path.display());
    }
}

#[test]
fn modules_are_named_for_what_they_hold() {
    let vague = ["utils", "util", "common", "helpers", "helper", "manager", "misc"];
    for path in files(&CRATES, &["rs"]) {
        let parts = path.with_extension("");
        let bad = parts.iter().any(|part| vague.iter().any(|name| part == *name));
        assert!(!bad, "{} is named after nothing", path.display());
    }
}

#[test]
fn no_file_holds_a_forbidden_word() {
    // Put together here, so that this file does not hold them itself.
    let words = [
        ["TO", "DO"].concat(),
        ["FIX", "ME"].concat(),
        ["XX", "X:"].concat(),
        ["/wo", "rk/"].concat(),
        ["/tm", "p/"].concat(),
        ["/ho", "me/"].concat(),
        ["../sh", "ared"].concat(),
        ["crates", ".io"].concat(),
        ["pypi", ".org"].concat(),
        ["Cla", "ude"].concat(),
        ["sub", "agent"].concat(),
    ];
    let mut found = Vec::new();
    let folders =
        [&CRATES[..], &["tests", "benches", "examples", "docs", "python", "web/ui"]].concat();
    let mut sources = files(&folders, &["rs", "md", "py", "toml", "yaml", "js", "html", "css"]);
    sources.extend(
        ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md"].map(|f| root().join(f)),
    );
    for path in sources {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for (at, line) in text.lines().enumerate() {
            if let Some(word) = words.iter().find(|word| line.contains(word.as_str())) {
                found.push(format!("{}:{}: {word}", path.display(), at + 1));
            }
        }
    }
    assert!(found.is_empty(), "forbidden words:\n{}", found.join("\n"));
}
