//! A slice of the fuzzing of the ONNX importer: fixed seeds, so that a failure can be repeated with
//! `cargo run --release -p importers --example fuzz_onnx -- 1 SEED`.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod mutant;

use std::path::Path;

use mutant::Pool;
use mutant::gauge::{Counted, measure};

#[global_allocator]
static ALLOCATOR: Counted = Counted;

/// Mutants of the slice.
const COUNT: u64 = 2_000;

#[test]
fn mutants_neither_panic_nor_run_away() {
    let pool =
        Pool::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data")).unwrap();
    let mut n_ok = 0;
    for seed in 0..COUNT {
        match measure(&pool.mutant(seed)) {
            Ok(reading) => n_ok += u64::from(reading.is_ok),
            Err(what) => panic!("mutant {seed} {what}"),
        }
    }
    // Mutants that all fail early would test nothing but the scan.
    assert!(n_ok > COUNT / 20, "only {n_ok} of {COUNT} mutants were still models");
    assert!(n_ok < COUNT, "no mutant was broken");
}
