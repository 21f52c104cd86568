//! Bubbles, memory and makespans of the generated grids, as their papers state them.

use cost_model::runs::judge::costs::{PipelineCosts, StageCosts};
use cost_model::runs::judge::judge;
use cost_model::runs::judge::report::Report;
use ir::grid::Grid;
use ir::units::{Bytes, Nanos};

use super::early_recompute::{self, Early};
use super::{
    breadth_first, dualpipe_v, gpipe, interleaved, one_f_one_b, shifted, zb_h1, zb_h2, zb_v,
};

const FORWARD: u64 = 70;
const BACKWARD: u64 = 130;

fn report(costs: &PipelineCosts, grid: &Grid) -> Report {
    judge(costs, grid).unwrap().report
}

/// Equal stages, free transfers, one byte per micro-batch that is kept.
fn equal(n_ranks: u32, n_chunks: u32, n_micro_batches: u32, grid: &Grid) -> Report {
    let stage = StageCosts {
        forward: Nanos(FORWARD),
        backward: Nanos(BACKWARD),
        stash: Bytes(1),
        ..StageCosts::default()
    };
    report(&PipelineCosts::looped(n_ranks, n_chunks, n_micro_batches, stage), grid)
}

#[test]
fn gpipe_and_1f1b_idle_as_long_as_the_pipeline_fills_and_drains() {
    for p in 1..=8u32 {
        for m in [1, 2, 3, p, p + 1, 4 * p] {
            for grid in [gpipe::grid(p, m).unwrap(), one_f_one_b::grid(p, m).unwrap()] {
                let report = equal(p, 1, m, &grid);
                for rank in &report.ranks {
                    let expected = u64::from(p - 1) * (FORWARD + BACKWARD);
                    assert_eq!(rank.idle_ns, expected, "{p} ranks, {m} micro-batches");
                }
            }
        }
    }
}

#[test]
fn interleaving_divides_the_bubble_by_the_chunks() {
    for p in 2..=6u32 {
        for v in 1..=4u32 {
            for groups in 1..=4 {
                let grid = interleaved::grid(p, v, groups * p).unwrap();
                let report = equal(p, v, groups * p, &grid);
                // Passes of a rank last v times those of a chunk.
                let expected = u64::from(p - 1) * (FORWARD + BACKWARD);
                assert!(report.ranks.iter().all(|rank| rank.idle_ns == expected), "{p} {v}");
            }
        }
    }
}

#[test]
fn breadth_first_has_the_bubble_of_interleaving() {
    for p in 1..=6u32 {
        for v in 1..=3u32 {
            for m in [p, p + 1, 3 * p] {
                let report = equal(p, v, m, &breadth_first::grid(p, v, m).unwrap());
                let expected = u64::from(p - 1) * (FORWARD + BACKWARD);
                for rank in &report.ranks {
                    assert_eq!(rank.idle_ns, expected, "{p} {v} {m}");
                    assert_eq!(rank.peak.bytes, u64::from(m * v));
                }
            }
        }
    }
}

/// Forward, input gradient, weight gradient.
type Thirds = (u64, u64, u64);

/// Durations with W <= F, for which the laws of the hand-made schedules hold.
const THIRDS: [Thirds; 5] = [(10, 10, 10), (10, 12, 8), (10, 9, 10), (12, 9, 9), (10, 11, 4)];

/// By rank: idle time in the whole step, idle time from its first to its last cell, micro-batches
/// or pairs of stage and micro-batch that it keeps.
fn split(costs: &PipelineCosts, grid: &Grid, (f, i, w): Thirds) -> Vec<(u64, u64, u64)> {
    let mut costs = costs.clone();
    for stage in &mut costs.stages {
        stage.forward = Nanos(f);
        stage.backward = Nanos(i + w);
        stage.backward_input = Nanos(i);
        stage.backward_weight = Nanos(w);
        stage.stash = Bytes(1);
        stage.kept_for_weight = Bytes(1);
    }
    let judged = judge(&costs, grid).unwrap();
    let ranks = judged.report.ranks.iter().enumerate().map(|(rank, figures)| {
        let first = judged.timeline.cell(&judged.lowered, rank, 0).start;
        let last = judged.timeline.cell(&judged.lowered, rank, grid.rows[rank].len() - 1).end;
        (figures.idle_ns, last - first - figures.compute_ns, figures.peak.bytes)
    });
    ranks.collect()
}

#[test]
fn zb_h1_puts_weights_into_the_bubble() {
    for p in 1..=8u32 {
        for m in [p, p + 1, 3 * p] {
            let grid = zb_h1::grid(p, m).unwrap();
            let costs = PipelineCosts::looped(p, 1, m, StageCosts::default());
            for thirds in THIRDS {
                let (f, i, w) = thirds;
                let law = u64::from(p - 1) * (f + i - w);
                let ranks = split(&costs, &grid, thirds);
                assert_eq!(ranks.iter().map(|rank| rank.1).max(), Some(law), "{p} {m} {thirds:?}");
                for (idle, _, peak) in ranks {
                    assert!(w > i || idle == law, "{p} {m} {thirds:?}: {idle}");
                    assert_eq!(peak, u64::from(p));
                }
            }
        }
    }
}

#[test]
fn zb_h2_has_no_bubble_for_twice_the_memory() {
    for p in 1..=8u32 {
        for m in [2 * p - 1, 2 * p, 5 * p] {
            let grid = zb_h2::grid(p, m).unwrap();
            let costs = PipelineCosts::looped(p, 1, m, StageCosts::default());
            for thirds in THIRDS {
                let (f, i, w) = thirds;
                let ranks = split(&costs, &grid, thirds);
                let most = ranks.iter().map(|rank| rank.1).max().unwrap();
                assert_eq!(most, u64::from(p - 1) * (f + i).saturating_sub(2 * w), "{p} {m}");
                assert!(ranks.iter().all(|rank| rank.2 == u64::from(2 * p - 1)), "{p} {m}");
            }
        }
    }
}

#[test]
fn zb_v_has_no_bubble_for_the_memory_of_1f1b() {
    for p in 1..=8u32 {
        for m in [1, 2, p, 2 * p - 1, 2 * p, 5 * p] {
            let grid = zb_v::grid(p, m).unwrap();
            let costs = v_shaped(p, m);
            for (_, idle, peak) in split(&costs, &grid, (10, 10, 10)) {
                assert!(m < 2 * p - 1 || idle == 0, "{p} {m}: {idle}");
                assert!(peak <= u64::from(2 * p), "{p} {m}: {peak}");
            }
        }
    }
}

#[test]
fn dualpipe_v_stays_within_its_published_bubble() {
    for p in 1..=8u32 {
        for m in [2 * p, 2 * p + 1, 5 * p] {
            let grid = dualpipe_v::grid(p, m).unwrap();
            let costs = v_shaped(p, m);
            for thirds in THIRDS {
                let (f, i, w) = thirds;
                for (_, idle, peak) in split(&costs, &grid, thirds) {
                    let published = u64::from(p - 1) * (f + 2 * (i + w) - 3 * w);
                    assert!(idle <= published, "{p} {m} {thirds:?}: {idle}");
                    assert!(peak <= u64::from(2 * p + 1), "{p} {m}: {peak}");
                }
            }
        }
        let error = dualpipe_v::grid(p, 2 * p - 1).unwrap_err();
        assert_eq!(error.code, "schedule-too-short");
    }
}

/// Two equal stages per rank, in the shape of a V.
fn v_shaped(p: u32, m: u32) -> PipelineCosts {
    let mut costs = PipelineCosts::looped(p, 2, m, StageCosts::default());
    for (stage, costs) in (0..).zip(&mut costs.stages) {
        costs.rank = if stage < p { stage } else { 2 * p - 1 - stage };
    }
    costs
}

#[test]
fn as_many_micro_batches_are_in_flight_as_the_papers_say() {
    for p in 1..=8u32 {
        for m in [1, 2, p, 3 * p] {
            let gpipe = equal(p, 1, m, &gpipe::grid(p, m).unwrap());
            let flush = equal(p, 1, m, &one_f_one_b::grid(p, m).unwrap());
            for (i, (gpipe, flush)) in (0..).zip(gpipe.ranks.iter().zip(&flush.ranks)) {
                assert_eq!(gpipe.peak.bytes, u64::from(m));
                assert_eq!(flush.peak.bytes, u64::from((p - i).min(m)));
            }
            for v in 2..=3 {
                let m = m.next_multiple_of(p);
                let looped = equal(p, v, m, &interleaved::grid(p, v, m).unwrap());
                for (i, rank) in (0..).zip(&looped.ranks) {
                    let warm = (v - 1) * p + 2 * (p - 1 - i) + 1;
                    assert_eq!(rank.peak.bytes, u64::from(warm.min(m * v)), "{p} {v} {m} {i}");
                }
            }
        }
    }
}

/// `get_pp_rank_microbatches` of Megatron-Core d98e8a64: twice the ranks behind, as many as all chunks but
/// one take together, and one more where forward and backward passes run together, at most all.
#[test]
fn passes_that_run_together_are_one_further_ahead() {
    for (p, v, groups) in (2..=5u32)
        .flat_map(|p| (2..=4u32).map(move |v| (p, v)))
        .flat_map(|(p, v)| (1..=4u32).map(move |groups| (p, v, groups)))
    {
        let (alone, together) = (
            interleaved::grid(p, v, groups * p).unwrap(),
            interleaved::together(p, v, groups * p).unwrap(),
        );
        let report = equal(p, v, groups * p, &together);
        for (i, row) in (0..).zip(&together.rows) {
            let total = v * groups * p;
            let is_forward = |cell: &&ir::grid::Cell| cell.pass == ir::grid::Pass::Forward;
            let before_first = row.iter().take_while(is_forward).count() as u32;
            let ahead = (2 * (p - 1 - i) + (v - 1) * p + 1).min(total);
            // Behind the warm-up a forward pass comes before each backward one.
            assert_eq!(before_first, (ahead + 1).min(total), "{p} {v} {groups} {i}");
            assert_eq!(report.ranks[i as usize].peak.bytes, u64::from((ahead + 1).min(total)));
            // Each kind of pass keeps its order.
            for forward in [true, false] {
                let of = |row: &[ir::grid::Cell]| -> Vec<_> {
                    row.iter().filter(|cell| is_forward(cell) == forward).copied().collect()
                };
                assert_eq!(of(row), of(&alone.rows[i as usize]));
            }
        }
    }
    let text = interleaved::together(2, 2, 4).unwrap().to_string();
    let last = "1F0,1F1,3F0,3F1,3B0,1F2,3B1,1F3,1B0,3F2,1B1,3F3,3B2,3B3,1B2,1B3";
    assert_eq!(text.lines().last(), Some(last));
}

#[test]
fn one_chunk_per_rank_is_plain_1f1b() {
    for p in 1..=5 {
        assert_eq!(interleaved::grid(p, 1, 3 * p).unwrap(), one_f_one_b::grid(p, 3 * p).unwrap());
    }
}

#[test]
fn the_examples_of_the_headers() {
    let text = |grid: Grid| grid.to_string();
    assert_eq!(text(gpipe::grid(2, 2).unwrap()), "0F0,0F1,0B0,0B1\n1F0,1F1,1B0,1B1\n");
    assert_eq!(
        text(one_f_one_b::grid(2, 3).unwrap()),
        "0F0,0F1,0B0,0F2,0B1,0B2\n1F0,1B0,1F1,1B1,1F2,1B2\n"
    );
    assert_eq!(
        text(zb_h1::grid(2, 2).unwrap()),
        "0F0,0F1,0I0,0W0,0I1,0W1\n1F0,1I0,1F1,1I1,1W0,1W1\n"
    );
    assert_eq!(
        text(zb_h2::grid(2, 3).unwrap()),
        "0F0,0F1,0F2,0I0,0W0,0I1,0W1,0I2,0W2\n1F0,1I0,1F1,1I1,1F2,1I2,1W0,1W1,1W2\n"
    );
    assert_eq!(
        text(zb_v::grid(1, 2).unwrap()),
        "0F0,1F0,1I0,1W0,0F1,0I0,0W0,1F1,1I1,1W1,0I1,0W1\n"
    );
    assert_eq!(text(dualpipe_v::grid(1, 2).unwrap()), "0F0,1F0,0F1,1B0,1F1,0B0,1B1,0I1,0W1\n");
    assert_eq!(
        text(shifted::grid(2, 3).unwrap()),
        "0F0,0F1,0R0,0F2,0B0,0R1,0B1,0R2,0B2\n1F0,1B0,1F1,1B1,1F2,1B2\n"
    );
    let late = one_f_one_b::grid(2, 2).unwrap();
    let early = text(early_recompute::insert(&late, Early::CoolDown, |_| true));
    assert_eq!(early.lines().next(), Some("0F0,0F1,0B0,0R1,0B1"));
    let first = text(breadth_first::grid(2, 2, 2).unwrap());
    assert_eq!(first.lines().next(), Some("0F0,0F1,2F0,2F1,2B0,2B1,0B0,0B1"));
    let looped = text(interleaved::grid(2, 2, 2).unwrap());
    assert_eq!(looped.lines().last(), Some("1F0,1F1,3F0,3B0,3F1,3B1,1B0,1B1"));
}

#[test]
fn sizes_that_make_no_schedule_are_refused() {
    assert_eq!(interleaved::grid(4, 2, 6).unwrap_err().code, "schedule-indivisible");
    for error in [
        gpipe::grid(0, 4).unwrap_err(),
        one_f_one_b::grid(4, 0).unwrap_err(),
        interleaved::grid(4, 0, 4).unwrap_err(),
        one_f_one_b::grid(u32::MAX, u32::MAX).unwrap_err(),
        interleaved::grid(u32::MAX, u32::MAX, u32::MAX).unwrap_err(),
        breadth_first::grid(1, u32::MAX, 1).unwrap_err(),
        zb_h1::grid(u32::MAX, 1).unwrap_err(),
        zb_h2::grid(1, u32::MAX).unwrap_err(),
        zb_v::grid(1 << 20, 1).unwrap_err(),
        dualpipe_v::grid(u32::MAX, u32::MAX).unwrap_err(),
    ] {
        assert_eq!(error.code, "schedule-size");
    }
}
