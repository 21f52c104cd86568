use ir::card::{Recompute, ZeroStage};
use ir::grid::{Cell, Grid, Pass};

use super::constants::{Constant, Constants};
use super::corrections::Corrections;
use super::fit::{Free, Sample, fit};
use super::run::tests::gpt;
use super::run::{Run, equal_blocks};
use super::step::{StepCosts, Timer};
use super::system::tests::a100;
use super::*;
use crate::kernels::stack::{megatron_deepspeed_2021, torchtitan};

/// 1F1B on so many ranks (Narayanan et al. 2019), written down for the tests.
fn one_f_one_b(n_ranks: u32, n_micro_batches: u32) -> Grid {
    let row = |rank: u32| {
        let warm_up = (n_ranks - 1 - rank).min(n_micro_batches);
        let mut row: Vec<Cell> = (0..warm_up).map(|k| Cell::new(rank, Pass::Forward, k)).collect();
        for k in 0..n_micro_batches {
            if warm_up + k < n_micro_batches {
                row.push(Cell::new(rank, Pass::Forward, warm_up + k));
            }
            row.push(Cell::new(rank, Pass::Backward, k));
        }
        row
    };
    Grid { rows: (0..n_ranks).map(row).collect() }
}

fn run(pipeline: u32, n_micro_batches: u64) -> Run {
    let mut run = gpt();
    run.card.n_layers = 8;
    run.parallelism.pipeline = pipeline;
    run.parallelism.n_micro_batches = n_micro_batches;
    run.blocks = equal_blocks(8, pipeline);
    run
}

fn costs(run: &Run) -> StepCosts {
    let (system, stack) = (a100(), megatron_deepspeed_2021());
    let (constants, none) = (Constants::nominal(&stack), Corrections::default());
    Timer::new(&system, &stack, &constants, &none).costs(run)
}

/// Equal stages and free transfers, nothing at the end.
fn bare(pipeline: u32, n_micro_batches: u64) -> StepCosts {
    let mut costs = costs(&run(pipeline, n_micro_batches));
    let first = costs.chunks[0];
    for chunk in &mut costs.chunks {
        *chunk = first;
        chunk.boundary_bytes = 0.0;
        chunk.link.start_up_s = 0.0;
    }
    costs.exchange_s.fill(0.0);
    costs.optimizer_s.fill(0.0);
    costs
}

#[test]
fn equal_stages_and_free_transfers_replay_to_the_textbook_formula() {
    for (p, m) in [(1_u32, 5_u32), (2, 4), (4, 4), (4, 16), (8, 3)] {
        let costs = bare(p, u64::from(m));
        let replayed = costs.replay(&one_f_one_b(p, m), Origin::Nominal).unwrap().step_s;
        let one = costs.chunks[0].seconds();
        let by_hand = f64::from(m + p - 1) * one;
        assert!((replayed / by_hand - 1.0).abs() < 1e-6, "{p} {m}: {replayed} {by_hand}");
        let closed = costs.closed_form(Origin::Nominal).step_s;
        assert!((closed / by_hand - 1.0).abs() < 1e-9, "{p} {m}: {closed} {by_hand}");
    }
}

#[test]
fn a_heavier_last_stage_and_transfers_stay_near_the_formula() {
    for (p, m) in [(1_u32, 4_u32), (2, 8), (4, 8), (4, 32), (8, 64)] {
        let costs = costs(&run(p, u64::from(m)));
        let replayed = predict(&costs, &Way::Replay(&one_f_one_b(p, m))).unwrap();
        let closed = predict(&costs, &Way::ClosedForm).unwrap();
        let ratio = replayed.step_s / closed.step_s;
        assert!((0.97..1.03).contains(&ratio), "{p} {m}: {replayed:?} {closed:?}");
    }
}

#[test]
fn parts_add_up() {
    let costs = costs(&run(4, 8));
    for way in [Way::ClosedForm, Way::Replay(&one_f_one_b(4, 8))] {
        let step = predict(&costs, &way).unwrap();
        let parts = [
            step.compute_s,
            step.tensor_s,
            step.bubble_s,
            step.neighbours_s,
            step.exchange_s,
            step.optimizer_s,
        ];
        assert!(parts.iter().all(|part| *part >= 0.0), "{step:?}");
        assert!((parts.iter().sum::<f64>() / step.step_s - 1.0).abs() < 1e-6, "{step:?}");
    }
}

#[test]
fn what_is_computed_again_is_not_kept() {
    let kept = |recompute| {
        let mut run = run(2, 4);
        run.recompute = recompute;
        costs(&run).chunks[0].stash_bytes
    };
    let values = 2.0 * 512.0 * 1024.0;
    assert_eq!(kept(Recompute::Full), 4.0 * values);
    assert_eq!(kept(Recompute::Uniform { blocks: 2 }), 2.0 * values);
    assert_eq!(kept(Recompute::Selective), 4.0 * 17.0 * values);
    assert_eq!(kept(Recompute::Block { blocks: 4 }), kept(Recompute::Full));
    assert!(kept(Recompute::None) > kept(Recompute::Selective));
    assert!(kept(Recompute::Block { blocks: 1 }) > kept(Recompute::Block { blocks: 2 }));
}

#[test]
fn sharded_parameters_are_gathered_and_their_optimizer_is_shared_out() {
    let (system, stack) = (a100(), torchtitan());
    let (constants, none) = (Constants::nominal(&stack), Corrections::default());
    let timer = Timer::new(&system, &stack, &constants, &none);
    let mut run = run(1, 1);
    run.parallelism.data = 8;
    let whole = timer.costs(&run);
    run.parallelism.zero = ZeroStage::Parameters;
    let shared = timer.costs(&run);
    assert!((whole.optimizer_s[0] / shared.optimizer_s[0] - 8.0).abs() < 1e-9);
    assert!((whole.exchange_s[0] / shared.exchange_s[0] - 2.0).abs() < 1e-9);
    assert!(shared.chunks[0].forward_s >= whole.chunks[0].forward_s);
}

#[test]
fn a_fit_finds_what_slowed_the_steps_and_a_table_what_is_left() {
    let (system, stack) = (a100(), megatron_deepspeed_2021());
    let (nominal, none) = (Constants::nominal(&stack), Corrections::default());
    let truth = nominal.clone().with(Constant::LaunchFloor, 1.2e-3).with(Constant::Derating, 0.7);
    let runs: Vec<Run> = [1, 2, 8, 32, 64]
        .into_iter()
        .map(|micro_batch| {
            let mut run = run(2, 8);
            run.parallelism.micro_batch = micro_batch;
            run
        })
        .collect();
    let timer = Timer::new(&system, &stack, &truth, &none);
    let time = |run| timer.costs(run).closed_form(Origin::Nominal).step_s;
    let samples: Vec<Sample<'_>> =
        runs.iter().map(|run| Sample { run, system: &system, time_s: time(run) }).collect();
    let free =
        [Constant::LaunchFloor, Constant::Derating].map(|constant| Free { constant, log_sd: 10.0 });
    let fitted = fit(&samples, &stack, &nominal, &free);
    for free in free {
        let ratio = fitted.get(free.constant) / truth.get(free.constant);
        assert!((0.98..1.02).contains(&ratio), "{free:?} {ratio}");
    }
    assert_eq!(fit(&[], &stack, &nominal, &free).get(Constant::Ends), 5.0);
    let table = Corrections::fit(&samples, &stack, &nominal);
    assert_eq!(table.cells().count(), 5);
    let corrected = Timer::new(&system, &stack, &nominal, &table);
    for sample in &samples {
        let step = corrected.costs(sample.run).closed_form(Origin::Nominal).step_s;
        assert!((step / sample.time_s - 1.0).abs() < 0.01, "{step} {}", sample.time_s);
    }
}
