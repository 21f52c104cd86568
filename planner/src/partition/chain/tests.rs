//! Against every cut.

use cost_model::runs::judge::costs::{Boundary, Link};
use cost_model::runs::judge::way::Contention;
use cost_model::runs::judge::{judge, over_limit};
use ir::units::{Bytes, BytesPerSecond, Nanos};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::critical_path::{self, Limits};
use super::{Block, Chain, Ends, Slot, min_max};
use crate::training::schedule::one_f_one_b;

/// Blocks with times of two device classes; the first and the last share their parameters.
fn random(rng: &mut SmallRng, n: usize, p: usize, limit: Option<u64>) -> Chain {
    let bandwidth = BytesPerSecond::new(1e9);
    let has_ways = rng.random_range(0..2) == 0;
    let blocks = (0..n).map(|at| {
        let mut times = || vec![Nanos(rng.random_range(1..=20)), Nanos(rng.random_range(1..=20))];
        let (forward, backward) = (times(), times());
        let bytes = if has_ways { rng.random_range(0..=9) } else { 0 };
        Block {
            forward,
            backward,
            persistent: Bytes(rng.random_range(5..=9)),
            stash: Bytes(rng.random_range(1..=4)),
            temporary: Bytes(rng.random_range(0..=3)),
            next: Boundary {
                activation: Bytes(bytes),
                gradient: Bytes(bytes),
                link: Link { latency_ns: 1.0, bandwidth, ..Link::default() },
            },
            tied: (at == 0 || at + 1 == n).then_some(0),
            tied_bytes: Bytes(5),
        }
    });
    let blocks = blocks.collect();
    let slot = |_| Slot { class: rng.random_range(0..2), limit: limit.map(Bytes) };
    let slots = (0..p).map(slot).collect();
    Chain { blocks, slots, n_micro_batches: rng.random_range(1..=9) }
}

/// Every cut into stages that are not empty.
fn cuts(n: usize, p: usize) -> Vec<Ends> {
    if p == 1 {
        return vec![vec![n]];
    }
    let shorter = (p - 1..n).flat_map(|last| cuts(last, p - 1));
    shorter.map(|ends| [ends, vec![n]].concat()).collect()
}

/// Least time of the slowest stage and least step over all cuts that fit.
fn enumerated(chain: &Chain) -> Option<(u64, u64)> {
    let p = chain.slots.len();
    let grid = one_f_one_b::grid(p as u32, chain.n_micro_batches).unwrap();
    let mut best: Option<(u64, u64)> = None;
    for ends in cuts(chain.blocks.len(), p) {
        let costs = chain.costs(&ends);
        let judged = judge(&costs, &grid, Contention::Static).unwrap();
        if over_limit(&judged.report).is_some() {
            continue;
        }
        let stages = costs.stages.iter().map(|stage| (stage.forward + stage.backward).get());
        let (slowest, step) = (stages.max().unwrap(), judged.report.step_time.get());
        best = Some(best.map_or((slowest, step), |best| (best.0.min(slowest), best.1.min(step))));
    }
    best
}

#[test]
fn both_objectives_equal_every_cut() {
    let mut rng = SmallRng::seed_from_u64(1);
    let mut n_infeasible = 0;
    for round in 0..600 {
        let p = rng.random_range(1..=4usize);
        let n = rng.random_range(p..=14);
        let limit = (round % 2 == 0).then(|| rng.random_range(15..=90));
        let chain = random(&mut rng, n, p, limit);
        let expected = enumerated(&chain);
        n_infeasible += usize::from(expected.is_none());
        let slowest = min_max::solve(&chain).unwrap();
        assert_eq!(slowest.map(|(value, _)| value.get()), expected.map(|best| best.0), "{round}");
        let found = critical_path::solve(&chain, &Limits::default(), &|| false).unwrap();
        assert!(found.is_proved, "{round}");
        let (value, ends) = found.best.unzip();
        assert_eq!(value.map(Nanos::get), expected.map(|best| best.1), "{round} {ends:?}");
        if let Some(ends) = ends {
            assert_eq!(ends.last(), Some(&n));
            assert!(ends.windows(2).all(|pair| pair[0] < pair[1]) && ends[0] > 0);
        }
    }
    assert!((20..400).contains(&n_infeasible), "{n_infeasible}");
}

#[test]
fn the_bound_is_below_every_cut() {
    let mut rng = SmallRng::seed_from_u64(2);
    for round in 0..300 {
        let p = rng.random_range(1..=4usize);
        let chain = random(&mut rng, p + round % 8, p, None);
        let none = Limits { most_cells: 0 };
        let found = critical_path::solve(&chain, &none, &|| false).unwrap();
        assert!(found.bound.get() <= enumerated(&chain).unwrap().1, "{round}");
    }
}

/// A transformer's shape: equal layers, a light embedding, a heavy head with the loss.
pub(crate) fn transformer(n: usize, p: usize, m: u32) -> Chain {
    let block = |at| {
        let forward = match at {
            0 => 400,
            at if at + 1 == n => 2_600,
            _ => 1_000,
        };
        Block {
            forward: vec![Nanos(forward)],
            backward: vec![Nanos(2 * forward)],
            ..Block::default()
        }
    };
    Chain {
        blocks: (0..n).map(block).collect(),
        slots: vec![Slot::default(); p],
        n_micro_batches: m,
    }
}

#[test]
fn two_hundred_blocks_on_32_stages_are_within_1_percent_of_the_bound() {
    let mut rng = SmallRng::seed_from_u64(3);
    for m in [32, 64, 256] {
        let mut uneven = transformer(200, 32, m);
        for block in &mut uneven.blocks {
            block.forward[0] = Nanos(rng.random_range(500..=1_500));
            block.backward[0] = Nanos(2 * block.forward[0].get());
        }
        for chain in [transformer(200, 32, m), uneven] {
            let found = critical_path::solve(&chain, &Limits::default(), &|| false).unwrap();
            let value = found.best.unwrap().0.get() as f64;
            let bound = found.bound.get() as f64;
            assert!(value <= 1.01 * bound, "{m} micro-batches: {value} over {bound}");
        }
    }
}

#[test]
fn a_heavy_end_gets_fewer_layers_and_30_layers_on_4_stages_stay_30() {
    let chain = transformer(32, 4, 8);
    let (_, ends) = min_max::solve(&chain).unwrap().unwrap();
    assert_eq!(ends.last(), Some(&32));
    assert!(ends[3] - ends[2] < ends[1] - ends[0], "{ends:?}");
}

#[test]
fn nonsense_is_refused() {
    let sizes = [(0, 0, 1), (3, 0, 1), (2, 3, 1), (3, 3, 0), (30_000, 2, 1)];
    for (n, p, m) in sizes {
        let blocks = vec![transformer(1, 1, 1).blocks[0].clone(); n];
        let chain = Chain { blocks, slots: vec![Slot::default(); p], n_micro_batches: m };
        assert_eq!(min_max::solve(&chain).unwrap_err().code, "chain-size", "{n} {p} {m}");
    }
    let mut chain = transformer(3, 2, 1);
    chain.slots[1].class = 7;
    assert_eq!(min_max::solve(&chain).unwrap_err().code, "chain-times");
}
