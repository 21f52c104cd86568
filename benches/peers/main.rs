//! Plans beside what other systems reach and publish: the tables of `docs/benchmarks.md`,
//! `docs/benchmarks-placement.md` and `docs/benchmarks-galvatron.md`.
//!
//! `cargo bench --bench peers [-- TABLE] [only=TEXT] [seconds=N]`; tables are `instances`,
//! `accelerators`, `memory`, `training` and `layers`, all but `training` on the data of
//! `docs/data.md`. `only` keeps cases whose names hold it; `seconds` is the limit of a run. Peers'
//! figures lie beside this file with their sources. Seconds are those that the run states, wall
//! clock; CPU seconds those of the whole command, in steps of 10 ms.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a bench prints, and stops at the first surprise"
)]

mod memory;
mod placement;
mod training;

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde::de::DeserializeOwned;
use serde_json::Value;

/// What of the tables is wanted.
struct Asked {
    only: String,
    seconds: Option<String>,
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let value = |key: &str| words.iter().find_map(|word| word.strip_prefix(key)).map(str::to_owned);
    let options = Asked { only: value("only=").unwrap_or_default(), seconds: value("seconds=") };
    let tables: Vec<&String> = words.iter().filter(|word| !word.contains('=')).collect();
    let is_wanted = |name: &str| tables.is_empty() || tables.iter().any(|table| *table == name);
    if is_wanted("training") {
        training::merak(&options);
    }
    let Some(data) = benchmark_data::folder() else { return };
    if is_wanted("instances") {
        placement::instances(&data, &options);
    }
    if is_wanted("accelerators") {
        placement::accelerators(&data, &options);
    }
    if is_wanted("memory") {
        memory::run(&data, &options);
    }
    if is_wanted("layers") {
        training::galvatron(&data);
    }
}

/// What a command answered.
struct Ran {
    /// Its document, or that of its error.
    json: Value,
    /// Planning time as it states it, else that of the whole command.
    seconds: f64,
    /// Of the whole command.
    cpu_s: f64,
}

/// Runs the command with `--json`; words are parted by spaces.
fn meshwright(words: &str, files: &[&Path]) -> Ran {
    let (start, before) = (Instant::now(), children_s());
    let output = Command::new(env!("CARGO_BIN_EXE_meshwright"))
        .args(words.split_whitespace())
        .args(files)
        .arg("--json")
        .output()
        .unwrap();
    let wall_s = start.elapsed().as_secs_f64();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{words}: {error}: {}", String::from_utf8_lossy(&output.stderr))
    });
    // What is asked is right: only plans may be missing.
    assert!(!matches!(json["exit_code"].as_u64(), Some(1..=3)), "{words}: {json}");
    let seconds = json["run"]["planning_time_s"].as_f64().or(json["elapsed_s"].as_f64());
    Ran { seconds: seconds.unwrap_or(wall_s), json, cpu_s: children_s() - before }
}

impl Ran {
    /// The code of its error.
    fn error(&self) -> Option<&str> {
        self.json["error"]["code"].as_str()
    }

    /// A fact of its error: text, or bytes.
    fn fact(&self, name: &str) -> Option<&Value> {
        let mut facts = self.json["error"]["facts"].as_array()?.iter();
        facts.find(|fact| fact["name"] == name)?["value"].as_object()?.values().next()
    }

    /// Whether it was proved that there is no plan.
    fn is_infeasible(&self) -> bool {
        self.json["exit_code"] == 4
    }
}

/// CPU seconds of all children so far: fields 16 and 17 of `stat`, in ticks of 10 ms (proc(5)).
/// Not a number elsewhere.
fn children_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(13).take(2).map(|t| t.parse::<f64>());
    ticks.map(|t| t.unwrap_or(f64::NAN)).sum::<f64>() / 100.0
}

/// Rows of a CSV file, whose comments name their sources.
fn rows<T: DeserializeOwned>(text: &str) -> Vec<T> {
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(text.as_bytes());
    reader.deserialize().map(Result::unwrap).collect()
}

/// Starts a table; `:` at the end of a title puts its column to the right.
fn head(titles: &str) {
    let line = |title: &str| if title.ends_with(':') { "---:|" } else { "---|" };
    let lines: String = titles.split(" | ").map(line).collect();
    println!("\n| {} |\n|{lines}", titles.replace(": |", " |").trim_end_matches(':'));
}

fn row(cells: &[String]) {
    println!("| {} |", cells.join(" | "));
}

fn percent(share: f64, digits: usize) -> String {
    format!("{:.digits$} %", share * 100.0)
}
