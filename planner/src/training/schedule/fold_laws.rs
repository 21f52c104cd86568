//! A run that is judged by its beginning and its end has the report of the whole.

use cost_model::runs::judge::costs::{Boundary, Link, PipelineCosts, RankCosts, StageCosts};
use cost_model::runs::judge::{fold, judge};
use ir::plan::Parallelism;
use ir::units::{Bytes, BytesPerSecond, Nanos};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::training::order::{Chunks, Order};

/// Above every step.
const MOST: Nanos = Nanos(u64::MAX);

/// Unlike stages with transfers, exchanges and recompute.
fn costs(random: &mut SmallRng, order: Order, n_ranks: u32, n_chunks: u32) -> PipelineCosts {
    let mut duration = |most: u64| Nanos(random.random_range(1..=most));
    let stages = (0..n_ranks * n_chunks).map(|stage| StageCosts {
        rank: order.rank_of(n_ranks, stage),
        forward: duration(60),
        backward: duration(120),
        backward_input: duration(60),
        backward_weight: duration(60),
        recompute: duration(40),
        stash: Bytes(3),
        recomputed: Bytes(5),
        kept_for_weight: Bytes(2),
        exchange: duration(200),
        overlapped: duration(100),
        next: Boundary {
            activation: Bytes(duration(40).0),
            gradient: Bytes(duration(40).0),
            link: Link {
                latency_ns: 3.0,
                bandwidth: BytesPerSecond::new(1e9),
                tier: (duration(2).0 - 1) as u8,
                ..Link::default()
            },
        },
        ..StageCosts::default()
    });
    let stages = stages.collect();
    let ranks =
        vec![RankCosts { optimizer: duration(50), ..RankCosts::default() }; n_ranks as usize];
    PipelineCosts { stages, ranks, ..PipelineCosts::default() }
}

#[test]
fn a_run_judged_by_its_ends_has_the_report_of_the_whole() {
    let (mut n_folded, mut n) = (0, 0);
    for seed in 0..400 {
        let mut random = SmallRng::seed_from_u64(seed);
        let order = Order::ALL[random.random_range(0..Order::ALL.len())];
        let n_ranks = random.random_range(1..=4);
        let n_chunks = match order.chunks() {
            Chunks::Exactly(n) => n,
            Chunks::Several => random.random_range(2..=3),
        };
        let m = n_ranks * random.random_range(60..=160);
        if !order.takes(n_ranks, u64::from(m)) {
            continue;
        }
        let mut costs = costs(&mut random, order, n_ranks, n_chunks);
        costs.n_micro_batches = m;
        let longest = std::cell::Cell::new(0);
        let degrees = Parallelism {
            pipeline: n_ranks,
            virtual_stages: n_chunks,
            expert_overlap: random.random_bool(0.5),
            ..Parallelism::default()
        };
        let grid = |m: u32| {
            longest.set(longest.get().max(m));
            order.grid(&degrees, m, |stage| stage.0 % 2 == 0).ok()
        };
        let steady = order.steady(n_ranks, n_chunks);
        let folded = fold::report(&costs, steady, MOST, grid).unwrap().unwrap();
        // Asked for less than its step there is none.
        let below = |most| fold::report(&costs, steady, Nanos(most), grid).unwrap();
        let step = folded.step_time.0;
        assert_eq!((below(step), below(step + 1).as_ref()), (None, Some(&folded)), "seed {seed}");
        n_folded += u32::from(longest.get() < m);
        n += 1;
        let whole = grid(m).unwrap();
        let whole = judge(&costs, &whole).unwrap().report;
        assert_eq!(folded, whole, "seed {seed}: {} {n_ranks} {n_chunks} {m}", order.name());
    }
    assert!(2 * n_folded > n, "{n_folded} of {n}");
}

#[test]
fn a_run_of_millions_takes_no_longer_than_one_of_thousands() {
    let mut random = SmallRng::seed_from_u64(1);
    let order = Order::OneFOneB;
    let mut costs = costs(&mut random, order, 4, 1);
    let degrees = Parallelism { pipeline: 4, ..Parallelism::default() };
    let mut steps = [1_000_001, 2_000_001, 3_000_001].map(|m| {
        costs.n_micro_batches = m;
        let grid = |m: u32| {
            assert!(m < 10_000, "{m}");
            order.grid(&degrees, m, |_| false).ok()
        };
        fold::report(&costs, order.steady(4, 1), MOST, grid).unwrap().unwrap().step_time.0
    });
    steps.reverse();
    assert_eq!(steps[0] - steps[1], steps[1] - steps[2]);
}
