//! Fuzzes the importers with mutants of small files, a format at a time.
//!
//! `cargo run --release -p importers --example fuzz -- [COUNT [FIRST_SEED [SAVE_TO [FORMAT]]]]` prints
//! each mutant that panics, takes more than 20 s or holds more than 512 MiB, saves it into the folder
//! `SAVE_TO`, and ends with exit code 1 if there was one.
#![allow(clippy::print_stdout, reason = "a program for the terminal")]

#[path = "../tests/mutant/mod.rs"]
mod mutant;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mutant::gauge::{Counted, Reading, measure};
use mutant::kinds::{KINDS, Kind, Seeds};

#[global_allocator]
static ALLOCATOR: Counted = Counted;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mut number =
        |default| arguments.next().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (count, first): (u64, u64) = (number(10_000), number(0));
    let folder = arguments.next().map(PathBuf::from);
    let only = arguments.next();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data");
    let seeds = match Seeds::open(&data) {
        Ok(seeds) => seeds,
        Err(error) => {
            println!("the test data cannot be read: {error}");
            return ExitCode::from(2);
        }
    };
    // A panic is reported as a finding; its usual message would only repeat it.
    std::panic::set_hook(Box::new(|info| println!("{info}")));
    let chosen = KINDS.iter().filter(|(name, ..)| only.as_deref().is_none_or(|only| only == *name));
    let n_bad: u64 = chosen.map(|kind| run(kind, &seeds, (first, count), folder.as_deref())).sum();
    ExitCode::from(u8::from(n_bad > 0))
}

/// Reads the mutants of a format; how many broke a rule.
fn run(
    (name, file, mutant): &Kind,
    seeds: &Seeds,
    (first, count): (u64, u64),
    folder: Option<&Path>,
) -> u64 {
    let mut worst = Reading::default();
    let (mut slowest, mut largest) = (first, first);
    let (mut n_ok, mut n_bad) = (0u64, 0u64);
    for seed in first..first.saturating_add(count) {
        let bytes = mutant(seeds, seed);
        match measure(file, &bytes) {
            Ok(reading) => {
                n_ok += u64::from(reading.is_ok);
                if reading.time > worst.time {
                    (worst.time, slowest) = (reading.time, seed);
                }
                if reading.bytes > worst.bytes {
                    (worst.bytes, largest) = (reading.bytes, seed);
                }
            }
            Err(what) => {
                n_bad += 1;
                println!("{name}: mutant {seed} ({} bytes) {what}", bytes.len());
                if let Some(folder) = folder
                    && let Err(error) =
                        std::fs::write(folder.join(format!("{seed}.{file}")), &bytes)
                {
                    println!("it cannot be saved: {error}");
                }
            }
        }
    }
    println!(
        "{name}: {count} mutants, {n_ok} were read, {n_bad} broke a rule; longest {:?} (mutant {slowest}), most memory {} KiB (mutant {largest})",
        worst.time,
        worst.bytes / 1024,
    );
    n_bad
}
