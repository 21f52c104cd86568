//! Makespans of schedules with recompute.

use cost_model::runs::judge::costs::{PipelineCosts, StageCosts};
use cost_model::runs::judge::judge;
use cost_model::runs::judge::report::Report;
use cost_model::runs::judge::verify::verify;
use ir::grid::Grid;
use ir::units::{Bytes, Nanos};

use super::early_recompute::{self, Early};
use super::{one_f_one_b, shifted};

fn report(costs: &PipelineCosts, grid: &Grid) -> Report {
    judge(costs, grid).unwrap().report
}

/// 1F1B with F = R = 1 and B = 2 on `p` stages.
fn makespan(p: u32, m: u32, recompute: &[bool], early: Option<Early>) -> u64 {
    let mut costs = PipelineCosts::looped(p, 1, m, StageCosts::default());
    for (stage, again) in costs.stages.iter_mut().zip(recompute) {
        stage.forward = Nanos(1);
        stage.backward = Nanos(2);
        stage.recompute = Nanos(u64::from(*again));
    }
    let late = one_f_one_b::grid(p, m).unwrap();
    let grid = match early {
        Some(early) => early_recompute::insert(&late, early, |stage| recompute[stage.index()]),
        None => late,
    };
    report(&costs, &grid).step_time.get()
}

#[test]
fn shifting_the_critical_path_never_loses() {
    for p in 2..=8u32 {
        for m in [1, 2, 3, p, p + 1, 4 * p] {
            for (f, r, b) in [(1, 1, 2), (3, 2, 5), (10, 10, 21), (4, 1, 9)] {
                let mut costs = PipelineCosts::looped(p, 1, m, StageCosts::default());
                for (rank, stage) in (0..).zip(&mut costs.stages) {
                    stage.forward = Nanos(f);
                    stage.backward = Nanos(b);
                    stage.recompute = Nanos(if rank + 1 == p { 0 } else { r });
                    stage.stash = Bytes(1);
                }
                let late = one_f_one_b::grid(p, m).unwrap();
                let early = early_recompute::insert(&late, Early::CoolDown, |s| s.0 + 1 != p);
                let grid = shifted::grid(p, m).unwrap();
                assert_eq!(verify(&costs, &grid), []);
                let (shifted, early) = (report(&costs, &grid), report(&costs, &early));
                assert!(shifted.step_time <= early.step_time, "{p} {m} {f} {r} {b}");
                for (rank, (this, early)) in shifted.ranks.iter().zip(&early.ranks).enumerate() {
                    let more = u64::from(rank + 2 == p as usize);
                    assert!(this.peak.bytes <= early.peak.bytes + more, "{p} {m} {rank}");
                }
            }
        }
    }
}

/// Variants of recompute in Merak (Lai et al., TPDS 2023), computed by hand-checked recurrences:
/// none, late, early in the cool-down, late but not on the last stage, and the last two with
/// early recompute in the cool-down and everywhere.
#[test]
fn golden_makespans_of_recompute_variants() {
    let golden = [
        (4, 4, [21, 28, 25, 26, 24, 23]),
        (4, 8, [33, 44, 41, 42, 40, 39]),
        (8, 8, [45, 60, 53, 58, 52, 51]),
        (8, 16, [69, 92, 85, 90, 84, 83]),
        (8, 32, [117, 156, 149, 154, 148, 147]),
    ];
    for (p, m, expected) in golden {
        let none = vec![false; p as usize];
        let all = vec![true; p as usize];
        let mut but_last = all.clone();
        but_last[p as usize - 1] = false;
        let found = [
            makespan(p, m, &none, None),
            makespan(p, m, &all, None),
            makespan(p, m, &all, Some(Early::CoolDown)),
            makespan(p, m, &but_last, None),
            makespan(p, m, &but_last, Some(Early::CoolDown)),
            makespan(p, m, &but_last, Some(Early::Always)),
        ];
        assert_eq!(found, expected, "{p} stages, {m} micro-batches");
    }
}
