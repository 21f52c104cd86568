//! A slice of the fuzzing of the importers: fixed seeds, so that a failure can be repeated with
//! `cargo run --release -p importers --example fuzz -- 1 SEED . FORMAT`.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod mutant;

use std::path::Path;

use mutant::gauge::{Counted, measure};
use mutant::kinds::{KINDS, Seeds};
use mutant::{Dice, damage};

#[global_allocator]
static ALLOCATOR: Counted = Counted;

// One test at a time: the allocator counts for the whole process.
static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// Mutants of the slice.
const COUNT: u64 = 2_000;

#[test]
fn mutants_neither_panic_nor_run_away() {
    let _one = ONE.lock();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data");
    let seeds = Seeds::open(&data).unwrap();
    for (name, file, mutant) in KINDS {
        let mut n_ok = 0;
        for seed in 0..COUNT {
            match measure(file, &mutant(&seeds, seed)) {
                Ok(reading) => n_ok += u64::from(reading.is_ok),
                Err(what) => panic!("{name}: mutant {seed} {what}"),
            }
        }
        // Mutants that all fail early would test nothing but the scan.
        assert!(n_ok > COUNT / 50, "{name}: only {n_ok} of {COUNT} mutants were read");
        assert!(n_ok < COUNT, "{name}: no mutant was broken");
    }
}

/// An instance with everything that one may hold.
const INSTANCE: &str = r#"{"ops":[{"id":1,"name":"A","time_ns":{"a":2},"persistent":1,"temp":2,
    "inputs":[5,6],"outputs":[{"tensor":7,"bytes":2}],"group":3},{"id":2,"time_ns":{"a":1},
    "inputs":[7]}],"devices":[{"id":0,"kind":"a","limit":10},{"id":1,"kind":"a"}],
    "link":{"latency_ns":1,"bytes_per_s":1e9,"duplex":"half"},
    "links":[{"from":0,"to":1,"latency_ns":2,"bytes_per_s":1e8}],
    "graph_inputs":[{"tensor":5,"bytes":1}],"parameters":[{"tensor":6,"bytes":1}],
    "graph_outputs":[7]}"#;

#[test]
fn damaged_files_of_the_other_formats_neither_panic_nor_run_away() {
    let _one = ONE.lock();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/hostile");
    let mut samples = vec![("instance.json".to_owned(), INSTANCE.as_bytes().to_vec())];
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.ends_with(".onnx") && bytes.len() < 1 << 12 {
            samples.push((name, bytes));
        }
    }
    samples.sort();
    for seed in 0..200 {
        for (name, bytes) in &samples {
            let mut dice = Dice::new(seed);
            let mut bytes = bytes.clone();
            damage(&mut bytes, &mut dice);
            // Text survives more often when one digit becomes another.
            if let Some(byte) = bytes.iter_mut().find(|byte| byte.is_ascii_digit()) {
                *byte = b'0' + (dice.roll() % 10) as u8;
            }
            if let Err(what) = measure(name, &bytes) {
                panic!("{name} with seed {seed} {what}");
            }
        }
    }
}
