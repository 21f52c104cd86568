//! Against exhaustive enumeration, and against every generator.

use cost_model::runs::judge::costs::{PipelineCosts, StageCosts};
use ir::grid::{Cell, Grid, Pass};
use ir::units::{Bytes, Nanos};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::optimal::{Backward, Found, Limits, judged, solve};
use planner::training::schedule::early_recompute::{self, Early};
use planner::training::schedule::{
    breadth_first, dualpipe_v, gpipe, interleaved, one_f_one_b, zb_h1, zb_h2, zb_v,
};

fn found(costs: &PipelineCosts, backward: Backward, known: &[Grid]) -> Found {
    solve(costs, backward, known, &Limits::default(), &|| false).unwrap()
}

/// Stages of random durations; stashes of one byte per micro-batch; at most `cap` of them.
fn random(rng: &mut SmallRng, p: u32, v: u32, m: u32, cap: Option<u64>) -> PipelineCosts {
    let mut costs = PipelineCosts::looped(p, v, m, StageCosts::default());
    for stage in &mut costs.stages {
        let mut time = || Nanos(rng.random_range(1..=9));
        let (input, weight) = (time(), time());
        *stage = StageCosts {
            forward: time(),
            backward: input + weight,
            backward_input: input,
            backward_weight: weight,
            stash: Bytes(1),
            kept_for_weight: Bytes(1),
            ..*stage
        };
    }
    for rank in &mut costs.ranks {
        rank.limit = cap.map(Bytes);
    }
    costs
}

/// All orders of a row in which the passes of each pair of stage and micro-batch stand in order.
fn orders(chains: &[Vec<Cell>]) -> Vec<Vec<Cell>> {
    fn extend(
        chains: &[Vec<Cell>],
        at: &mut [usize],
        row: &mut Vec<Cell>,
        all: &mut Vec<Vec<Cell>>,
    ) {
        if at.iter().zip(chains).all(|(at, chain)| *at == chain.len()) {
            all.push(row.clone());
        }
        for chain in 0..chains.len() {
            if let Some(cell) = chains[chain].get(at[chain]) {
                row.push(*cell);
                at[chain] += 1;
                extend(chains, at, row, all);
                at[chain] -= 1;
                row.pop();
            }
        }
    }
    let mut all = Vec::new();
    extend(chains, &mut vec![0; chains.len()], &mut Vec::new(), &mut all);
    all
}

/// The shortest of all grids, micro-batches in any order.
fn enumerated(costs: &PipelineCosts, passes: &[Pass]) -> Option<Nanos> {
    let rows = (0..costs.ranks.len()).map(|rank| {
        let stages = (0u32..).zip(&costs.stages).filter(|(_, stage)| stage.rank as usize == rank);
        let chains: Vec<Vec<Cell>> = stages
            .flat_map(|(stage, _)| {
                (0..costs.n_micro_batches)
                    .map(move |k| passes.iter().map(|pass| Cell::new(stage, *pass, k)).collect())
            })
            .collect();
        orders(&chains)
    });
    let rows: Vec<Vec<Vec<Cell>>> = rows.collect();
    let mut at = vec![0; rows.len()];
    let mut best = None;
    loop {
        let grid =
            Grid { rows: at.iter().zip(&rows).map(|(at, rows)| rows[*at].clone()).collect() };
        if let Some((value, _)) = judged(costs, &grid) {
            best = Some(best.map_or(value, |best: Nanos| best.min(value)));
        }
        let Some(rank) = (0..rows.len()).find(|rank| at[*rank] + 1 < rows[*rank].len()) else {
            return best;
        };
        at[rank] += 1;
        at[..rank].fill(0);
    }
}

#[test]
fn equals_enumeration() {
    let mut rng = SmallRng::seed_from_u64(1);
    let (whole, split) = (Backward::Whole, Backward::Split);
    let sizes = [
        (2, 1, 2, whole),
        (2, 1, 3, whole),
        (3, 1, 2, whole),
        (2, 1, 2, split),
        (3, 1, 2, split),
        (2, 2, 1, split),
        (1, 2, 2, whole),
    ];
    for (p, v, m, backward) in sizes {
        for cap in [None, Some(1), Some(2), Some(3)] {
            for _ in 0..6 {
                let costs = random(&mut rng, p, v, m, cap);
                let passes: &[Pass] = match backward {
                    Backward::Whole => &[Pass::Forward, Pass::Backward],
                    Backward::Split => &[Pass::Forward, Pass::BackwardInput, Pass::BackwardWeight],
                };
                let found = found(&costs, backward, &[]);
                assert!(found.is_proved);
                let value = found.best.as_ref().map(|best| best.0);
                assert_eq!(value, enumerated(&costs, passes), "{p} {v} {m} {backward:?} {cap:?}");
                assert!(value.is_none_or(|value| value == found.bound));
            }
        }
    }
}

#[test]
fn equals_enumeration_with_recompute() {
    let mut rng = SmallRng::seed_from_u64(2);
    for (p, m) in [(2, 2), (3, 2), (2, 3)] {
        for limit in [None, Some(3), Some(4)] {
            for _ in 0..4 {
                let mut costs = random(&mut rng, p, 1, m, limit);
                for stage in &mut costs.stages {
                    stage.recompute = Nanos(rng.random_range(1..=5));
                    stage.recomputed = Bytes(1);
                }
                let passes = [Pass::Forward, Pass::Recompute, Pass::Backward];
                if (p, m) == (2, 3) {
                    // Too many grids; at least no generator is better.
                    let late = one_f_one_b::grid(p, m).unwrap();
                    let early = early_recompute::insert(&late, Early::CoolDown, |_| true);
                    let found = found(&costs, Backward::Whole, &[]);
                    for known in [late, early] {
                        assert!(beats(&costs, &found, &known));
                    }
                    continue;
                }
                let found = found(&costs, Backward::Whole, &[]);
                let value = found.best.as_ref().map(|best| best.0);
                assert_eq!(value, enumerated(&costs, &passes), "{p} {m} {limit:?}");
            }
        }
    }
}

/// Whether a grid is illegal, does not fit, or is not shorter.
fn beats(costs: &PipelineCosts, found: &Found, known: &Grid) -> bool {
    judged(costs, known).is_none_or(|(value, _)| {
        found.is_proved && found.bound <= value && {
            found.best.as_ref().is_some_and(|best| best.0 <= value)
        }
    })
}

#[test]
fn no_generator_is_shorter_with_and_without_a_memory_cap() {
    let mut rng = SmallRng::seed_from_u64(3);
    for (p, m) in (1..=3).flat_map(|p| (1..=4).map(move |m| (p, m))) {
        for cap in [None, Some(1), Some(u64::from(p)), Some(u64::from(2 * p - 1))] {
            let costs = random(&mut rng, p, 1, m, cap);
            let whole = found(&costs, Backward::Whole, &[]);
            for grid in [gpipe::grid(p, m), one_f_one_b::grid(p, m)] {
                assert!(beats(&costs, &whole, &grid.unwrap()), "{p} {m} {cap:?}");
            }
            let split = found(&costs, Backward::Split, &[]);
            for grid in [zb_h1::grid(p, m), zb_h2::grid(p, m)] {
                assert!(beats(&costs, &split, &grid.unwrap()), "{p} {m} {cap:?}");
            }
        }
    }
}

#[test]
fn no_generator_of_two_chunks_is_shorter() {
    let mut rng = SmallRng::seed_from_u64(4);
    for cap in [None, Some(4)] {
        let looped = random(&mut rng, 2, 2, 2, cap);
        let whole = found(&looped, Backward::Whole, &[]);
        for grid in [interleaved::grid(2, 2, 2), breadth_first::grid(2, 2, 2)] {
            assert!(beats(&looped, &whole, &grid.unwrap()));
        }
        let mut v_shaped = random(&mut rng, 2, 2, 4, cap);
        for (stage, rank) in v_shaped.stages.iter_mut().zip([0, 1, 1, 0]) {
            stage.rank = rank;
        }
        let split = found(&v_shaped, Backward::Split, &[]);
        assert!(beats(&v_shaped, &split, &zb_v::grid(2, 4).unwrap()));
        let mut mixed = dualpipe_v::grid(2, 4).unwrap();
        // A search with split passes covers whole ones: the parts may stand side by side.
        for row in &mut mixed.rows {
            *row = row.iter().flat_map(|cell| parts(*cell)).collect();
        }
        assert!(beats(&v_shaped, &split, &mixed));
    }
}

fn parts(cell: Cell) -> Vec<Cell> {
    match cell.pass {
        Pass::Backward => {
            [Pass::BackwardInput, Pass::BackwardWeight].map(|pass| Cell { pass, ..cell }).to_vec()
        }
        _ => vec![cell],
    }
}

#[test]
fn a_cap_below_one_micro_batch_is_proved_infeasible() {
    let mut rng = SmallRng::seed_from_u64(5);
    let mut costs = random(&mut rng, 3, 1, 4, Some(1));
    costs.stages[1].stash = Bytes(2);
    let found = found(&costs, Backward::Split, &[]);
    assert!(found.is_proved && found.best.is_none());
}

#[test]
fn a_narrow_sweep_bounds_what_it_dropped() {
    let mut rng = SmallRng::seed_from_u64(6);
    for _ in 0..20 {
        let costs = random(&mut rng, 3, 1, 4, None);
        let exact = found(&costs, Backward::Split, &[]);
        let narrow = Limits { most_width: 4, ..Limits::default() };
        let narrow = solve(&costs, Backward::Split, &[], &narrow, &|| false).unwrap();
        let (best, _) = exact.best.unwrap();
        assert!(narrow.bound <= best);
        assert!(narrow.best.is_some_and(|(value, _)| value >= best));
        let few = Limits { most_states: 100, ..Limits::default() };
        assert!(solve(&costs, Backward::Split, &[], &few, &|| false).unwrap().bound <= best);
    }
}

#[test]
fn equal_thirds_need_one_pass_of_each_earlier_rank() {
    // m (F + I + W) on the last rank, after p - 1 forward passes; weights fill everything else.
    for (p, m) in [(2u32, 4u32), (3, 4)] {
        let stage = StageCosts {
            forward: Nanos(1),
            backward: Nanos(2),
            backward_input: Nanos(1),
            backward_weight: Nanos(1),
            ..StageCosts::default()
        };
        let costs = PipelineCosts::looped(p, 1, m, stage);
        let found = found(&costs, Backward::Split, &[zb_h2::grid(p, m).unwrap()]);
        assert_eq!(found.best.unwrap().0, Nanos(u64::from(3 * m + p - 1)));
        assert!(found.is_proved);
    }
}
