use ir::card::{Recompute, TransformerCard, ZeroStage};
use ir::grid::{Cell, Grid, Pass};
use ir::plan::{Parallelism, Stage};
use ir::units::BytesPerSecond;

use super::constants::{Constant, Constants};
use super::correct;
use super::corrections::Corrections;
use super::fit::{Free, Sample, fit};
use super::run::Run;
use super::run::tests::gpt;
use super::step::Steps;
use super::system::tests::a100;
use crate::kernels::stack::{megatron_deepspeed_2021, torchtitan};
use crate::links::collective::Link;
use crate::runs::judge::judge;
use crate::runs::oracle::{Ending, Place, Seat, StageOracle, lowered};

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

fn run(pipeline: u32, n_micro_batches: u64, micro_batch: u64) -> Run {
    let card = TransformerCard { n_layers: 8, ..gpt().card };
    let degrees = Parallelism { pipeline, n_micro_batches, micro_batch, ..Default::default() };
    Run::equal(card, degrees, Recompute::Full)
}

#[test]
fn a_heavier_last_stage_and_transfers_stay_near_the_formula() {
    let (system, stack) = (a100(), megatron_deepspeed_2021());
    let (constants, none) = (Constants::nominal(&stack), Corrections::default());
    for (p, m) in [(1_u32, 4_u32), (2, 8), (4, 8), (4, 32), (8, 64)] {
        let run = run(p, u64::from(m), 1);
        let steps = Steps::new(&system, &stack, &constants, &none);
        let judged_s = steps.judged_s(&run, &one_f_one_b(p, m)).unwrap();
        let ratio = judged_s / steps.closed_form_s(&run);
        assert!((0.97..1.03).contains(&ratio), "{p} {m}: {ratio}");
    }
}

/// `(m + p - 1)` times one micro-batch on one rank, of equal stages and free transfers (Narayanan et
/// al. 2021, section 2.2).
#[test]
fn equal_stages_and_free_transfers_take_the_textbook_step() {
    let (mut system, stack) = (a100(), megatron_deepspeed_2021());
    let free = Link { start_up_s: 0.0, rate: BytesPerSecond::new(1e30).unwrap() };
    (system.inside, system.network) = (free, free);
    let (constants, none) = (Constants::nominal(&stack), Corrections::default());
    for (p, m) in [(1_u32, 5_u32), (2, 4), (4, 4), (4, 16), (8, 3)] {
        let run = run(p, u64::from(m), 1);
        let pricing = Steps::new(&system, &stack, &constants, &none).pricing(&run);
        let priced = pricing.price(run.degrees(), false).unwrap();
        let middle = Place { first: false, last: false };
        let mut stage = priced.stage(&run.plan.partition.stages[0], middle).unwrap();
        stage.ending = Some(Ending::default());
        let ranks: Vec<u32> = (0..p).collect();
        let grid = one_f_one_b(p, m);
        let costs = lowered(&*priced, &vec![stage; p as usize], &ranks, &grid);
        let step_s = judge(&costs, &grid).unwrap().report.step_time.seconds();
        let by_hand = f64::from(m + p - 1) * stage.seconds();
        assert!((step_s / by_hand - 1.0).abs() < 1e-6, "{p} {m}: {step_s} {by_hand}");
    }
}

#[test]
fn what_is_computed_again_is_not_kept() {
    let (system, stack) = (a100(), megatron_deepspeed_2021());
    let (constants, none) = (Constants::nominal(&stack), Corrections::default());
    let run = run(2, 4, 1);
    let pricing = Steps::new(&system, &stack, &constants, &none).pricing(&run);
    let priced = pricing.price(run.degrees(), false).unwrap();
    let activation = |recompute| {
        let stage = Stage { recompute, ..run.plan.partition.stages[0].clone() };
        priced.stage(&stage, Place::of(0, 2)).unwrap().activation
    };
    let values = 2.0 * 512.0 * 1024.0;
    assert_eq!(activation(Recompute::Full), 4.0 * values);
    assert_eq!(activation(Recompute::Uniform { blocks: 2 }), 2.0 * values);
    assert_eq!(activation(Recompute::Selective), 4.0 * 17.0 * values);
    assert_eq!(activation(Recompute::Block { blocks: 4 }), activation(Recompute::Full));
    assert!(activation(Recompute::None) > activation(Recompute::Selective));
    assert!(
        activation(Recompute::Block { blocks: 1 }) > activation(Recompute::Block { blocks: 2 })
    );
}

/// ZeRO-3 gathers parameters before each pass and scatters gradients after it, and an eighth of the
/// optimizer is left; nothing is left to exchange at the end.
#[test]
fn sharded_parameters_are_gathered_and_their_optimizer_is_shared_out() {
    let (system, stack) = (a100(), torchtitan());
    let (constants, none) = (Constants::nominal(&stack), Corrections::default());
    let run = run(1, 1, 1);
    let pricing = Steps::new(&system, &stack, &constants, &none).pricing(&run);
    let of = |zero| {
        let degrees = Parallelism { data: 8, zero, ..run.degrees().clone() };
        let priced = pricing.price(&degrees, false).unwrap();
        let stage = priced.stage(&run.plan.partition.stages[0], Place::of(0, 1)).unwrap();
        (stage, priced.ending(&stage, Seat { stage: 0, n_stages: 1, rank: 0, next: 0 }))
    };
    let (whole, all) = of(ZeroStage::None);
    let (shared, left) = of(ZeroStage::Parameters);
    assert!((all.optimizer_s / left.optimizer_s - 8.0).abs() < 1e-9);
    assert!(all.exchange_s > 0.0 && left.exchange_s == 0.0);
    assert!(shared.forward_s >= whole.forward_s && shared.backward_s >= whole.backward_s);
}

/// 175B parameters under ZeRO 3, and over tensor 8 and pipeline 12 (arXiv:2104.04473, table 2:
/// operations per second and device), through cards of 200 Gb/s (`links.csv`, ib_hdr_200).
#[test]
fn zero_3_takes_about_as_long_as_published_and_loses_where_it_lost() {
    let stack = megatron_deepspeed_2021();
    let none = Corrections::default();
    let mut system = a100();
    system.network.rate = BytesPerSecond::new(22.5e9).unwrap();
    let constants = Constants::nominal(&stack);
    let card = TransformerCard {
        n_layers: 96,
        hidden: 12_288,
        n_heads: 96,
        n_kv_heads: 96,
        feed_forward: 4 * 12_288,
        sequence: 2048,
        vocabulary: 51_200,
        ..gpt().card
    };
    let flops = crate::runs::counts::step_flops(&card, 1536, Recompute::Full);
    let mut errors = Vec::new();
    for (n, micro_batch, sharded) in [(384, 4, 144e12), (768, 2, 88e12), (1536, 1, 44e12)] {
        let predicted_s = |degrees| {
            let run = Run::equal(card.clone(), degrees, Recompute::Full);
            Steps::new(&system, &stack, &constants, &none).closed_form_s(&run)
        };
        let measured_s = flops / n as f64 / sharded;
        let own_s = predicted_s(Parallelism {
            data: n,
            micro_batch,
            zero: ZeroStage::Parameters,
            ..Parallelism::default()
        });
        let other_s = predicted_s(Parallelism {
            tensor: 8,
            pipeline: 12,
            data: n / 96,
            n_micro_batches: 1536 / u64::from(n / 96),
            ..Parallelism::default()
        });
        assert!(other_s < own_s, "{n}: {other_s} {own_s}");
        errors.push((own_s / measured_s - 1.0_f64).abs());
    }
    let mean = errors.iter().sum::<f64>() / errors.len() as f64;
    assert!(mean < 0.12, "{errors:?}");
}

#[test]
fn a_fit_finds_what_slowed_the_steps_and_a_table_what_is_left() {
    let (system, stack) = (a100(), megatron_deepspeed_2021());
    let (nominal, none) = (Constants::nominal(&stack), Corrections::default());
    let truth = nominal.clone().with(Constant::LaunchFloor, 1.2e-3).with(Constant::Derating, 0.7);
    let runs: Vec<Run> =
        [1, 2, 8, 32, 64].into_iter().map(|micro_batch| run(2, 8, micro_batch)).collect();
    let true_steps = Steps::new(&system, &stack, &truth, &none);
    let samples: Vec<Sample<'_>> = runs
        .iter()
        .map(|run| Sample { run, system: &system, time_s: true_steps.closed_form_s(run) })
        .collect();
    let free =
        [Constant::LaunchFloor, Constant::Derating].map(|constant| Free { constant, log_sd: 10.0 });
    let fitted = fit(&samples, &stack, &nominal, &free);
    for free in free {
        let ratio = fitted.get(free.constant) / truth.get(free.constant);
        assert!((0.98..1.02).contains(&ratio), "{free:?} {ratio}");
    }
    assert_eq!(fit(&[], &stack, &nominal, &free).get(Constant::Ends), 5.0);
    let table = correct::fit(&samples, &stack, &nominal);
    assert_eq!(table.cells().count(), 5);
    let corrected = Steps::new(&system, &stack, &nominal, &table);
    for sample in &samples {
        let step = corrected.closed_form_s(sample.run);
        assert!((step / sample.time_s - 1.0).abs() < 0.01, "{step} {}", sample.time_s);
    }
}
