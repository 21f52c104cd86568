//! Calibrations on few measured steps, judged on all the others.

use cost_model::calibrate::steps::{Context, StepCalibration, calibrate};
use cost_model::kernels::stack::megatron_deepspeed_2021;
use cost_model::runs::forms::run::Gradients;
use cost_model::runs::forms::system::System;
use importers::measurements;
use ir::diagnostic::Diagnostic;
use ir::grid::Grid;
use ir::measured::StepRow;
use ir::profile::Profile;
use planner::training::schedule::{interleaved, one_f_one_b};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

use crate::data::folder;

fn schedule(n_ranks: u32, n_chunks: u32, n_micro_batches: u32) -> Result<Grid, Diagnostic> {
    match n_chunks {
        1 => one_f_one_b::grid(n_ranks, n_micro_batches),
        _ => interleaved::grid(n_ranks, n_chunks, n_micro_batches),
    }
}

fn context(base: Profile) -> Context {
    let facts = measurements::devices::facts("a100_sxm4_80gb").unwrap().unwrap();
    let all_reduce = std::collections::BTreeMap::new();
    Context {
        system: System::a100_hosts("a100", &facts, all_reduce, 22.5e9).unwrap(),
        stack: megatron_deepspeed_2021(),
        gradients: Some(Gradients::Half),
        grid_of: schedule,
        base,
        source: "vtrain_single.csv".to_owned(),
        date: "2026-01-02".to_owned(),
    }
}

/// A calibration on `n` random rows, and the mean error on the others in percent: with nominal
/// constants, and with those that were found.
fn calibrated(rows: &[StepRow], n: usize, seed: u64) -> (StepCalibration, [f64; 2]) {
    let mut rows = rows.to_vec();
    rows.shuffle(&mut SmallRng::seed_from_u64(seed));
    let (chosen, others) = rows.split_at(n);
    let found = calibrate(chosen, &context(Profile::default())).unwrap();
    let judged = |base| calibrate(others, &context(base)).unwrap().before.mape;
    let errors = [judged(Profile::default()), judged(found.profile.clone())];
    (found, errors)
}

fn rows() -> Option<Vec<StepRow>> {
    let table = folder()?.join("data/steptimes/vtrain_single.csv");
    Some(measurements::steps::read(&table).unwrap())
}

#[test]
fn sixteen_and_thirty_two_rows_bring_all_others_closer() {
    let Some(rows) = rows() else { return };
    for (n, most) in [(16, 0.9), (32, 0.75)] {
        let mut shares = Vec::new();
        for seed in 0..8 {
            let (found, [nominal, calibrated]) = calibrated(&rows, n, seed);
            // One draw of few rows may mislead a little.
            let worst = 1.1 * nominal;
            assert!(calibrated < worst, "{n} rows, seed {seed}: {calibrated} of {nominal} %");
            assert!(found.after.mape <= found.before.mape, "{n} rows, seed {seed}: {found:?}");
            shares.push(calibrated / nominal);
        }
        let mean = shares.iter().sum::<f64>() / shares.len() as f64;
        assert!(mean < most, "{n} rows leave {shares:?} of the error");
    }
}

#[test]
fn two_rows_move_no_constant_further_than_is_believed() {
    let Some(rows) = rows() else { return };
    for seed in 0..benchmark_data::cases(6) {
        let (found, [nominal, calibrated]) = calibrated(&rows, 2, seed);
        assert!(found.warnings.iter().any(|warning| warning.code == "few-steps"));
        for one in &found.constants {
            let moved = (one.value / one.nominal).ln().abs();
            assert!(moved <= one.constant.log_sd() + 1e-6, "seed {seed}: {one:?}");
        }
        assert!(calibrated < 1.5 * nominal, "seed {seed}: {calibrated} of {nominal} %");
    }
}
