//! Each defect has its code, by the judge and by the verifier, and hostile sizes are refused.

use cost_model::runs::judge::costs::{Nic, PipelineCosts, RankCosts, StageCosts};
use cost_model::runs::judge::verify::verify;
use cost_model::runs::judge::{judge, judge_plan};
use ir::grid::{Cell, Grid, Pass};
use ir::plan::{Parallelism, Partition, Placement, Plan, Stage};
use ir::schedule::Schedule;
use ir::units::{Bytes, Nanos};

fn stage() -> StageCosts {
    StageCosts {
        forward: Nanos(10),
        backward: Nanos(20),
        backward_input: Nanos(10),
        backward_weight: Nanos(10),
        stash: Bytes(5),
        ..StageCosts::default()
    }
}

#[test]
fn every_defect_is_named() {
    let costs = PipelineCosts::looped(2, 1, 2, stage());
    let cases = [
        ("grid-count-wrong", "0F0,0B0"),
        ("cell-missing", "0F0,0F1,0B0,0B1\n1F0,1B0,1F1"),
        ("cell-missing", "0F0,0B0,0F1,0B1\n1F0,1I0,1F1,1B1"),
        ("cell-twice", "0F0,0F1,0B0,0B1\n1F0,1B0,1F1,1B1,1B1"),
        ("cell-twice", "0F0,0F1,0B0,0B1\n1F0,1B0,1F1,1B1,1W1"),
        ("cell-unknown", "0F0,0F1,0B0,0B1\n1F0,1B0,1F1,1B2"),
        ("cell-unknown", "0F0,0F1,0B0,0B1\n1F0,1B0,1F1,2B1"),
        ("cell-on-wrong-rank", "0F0,0F1,0B0,1B1\n1F0,1B0,1F1,0B1"),
        ("cell-too-early", "0F0,0F1,0B0,0B1\n1B0,1F0,1F1,1B1"),
        ("cell-too-early", "0F0,0F1,0B0,0B1\n1F0,1W0,1I0,1F1,1B1"),
        ("cell-too-early", "0F0,0F1,0B0,0B1\n1F0,1B0,1R0,1F1,1B1"),
        ("deadlock", "0F0,0B0,0F1,0B1\n1F0,1F1,1B0,1B1"),
    ];
    for (code, text) in cases {
        let grid = Grid::parse(text).unwrap();
        let violation = judge(&costs, &grid).unwrap_err();
        assert_eq!(violation.code(), code, "{text}");
        assert_eq!(violation.diagnostic().code, code);
        let violations = verify(&costs, &grid);
        assert!(
            violations.iter().any(|violation| violation.code() == code),
            "{text}: {violations:?}"
        );
    }
}

#[test]
fn the_circle_names_its_cells() {
    let costs = PipelineCosts::looped(2, 1, 2, stage());
    let grid = Grid::parse("0F0,0B0,0F1,0B1\n1F0,1F1,1B0,1B1").unwrap();
    let violation = judge(&costs, &grid).unwrap_err();
    assert_eq!(
        violation.to_string(),
        "rows and data form a circle, so nothing on it can start: \
         `0F1`, then `1F1`, then `1B0`, then `0B0`, then `0F1`"
    );
}

#[test]
fn memory_over_the_limit_is_named_with_what_lies_there() {
    let mut costs = PipelineCosts::looped(2, 1, 2, stage());
    costs.ranks[0].limit = Some(Bytes(9));
    let grid = Grid::parse("0F0,0F1,0B0,0B1\n1F0,1B0,1F1,1B1").unwrap();
    let violations = verify(&costs, &grid);
    let [violation] = violations.as_slice() else { panic!("{violations:?}") };
    assert_eq!(violation.code(), "memory-exceeded");
    assert_eq!(violation.to_string(), "rank 0 holds 10 B at 10 ns, but has room for 9 B");
    costs.ranks[0].limit = Some(Bytes(10));
    assert_eq!(verify(&costs, &grid), []);
}

#[test]
fn places_that_do_not_exist_are_refused() {
    let grid = Grid::parse("0F0,0B0").unwrap();
    let mut costs = PipelineCosts::looped(1, 1, 1, StageCosts { rank: 3, ..stage() });
    costs.stages[0].rank = 3;
    let code = |costs: &PipelineCosts| judge(costs, &grid).map(|_| ()).unwrap_err().code();
    assert_eq!(code(&costs), "pipeline-place-unknown");
    costs.stages[0].rank = 0;
    costs.ranks[0] = RankCosts { nic: Some(1), ..RankCosts::default() };
    costs.nics = vec![Nic::default()];
    assert_eq!(code(&costs), "pipeline-place-unknown");
}

#[test]
fn hostile_sizes_are_refused_at_once() {
    let grid = Grid::parse("0F0,0B0").unwrap();
    let mut costs = PipelineCosts::looped(1, 1, u32::MAX, stage());
    let violation = judge(&costs, &grid).unwrap_err();
    assert_eq!(violation.to_string(), "rank 0 never runs `0F1`");
    assert!(verify(&costs, &grid).len() >= 100);
    costs.n_micro_batches = 0;
    assert!(judge(&costs, &grid).is_err());
    let mut costs = PipelineCosts::looped(1, 1, 1, stage());
    costs.stages[0].forward = Nanos::MAX;
    assert_eq!(judge(&costs, &grid).unwrap_err().code(), "pipeline-out-of-range");
    costs.stages[0].forward = Nanos(1);
    costs.stages[0].stash = Bytes::MAX;
    costs.stages[0].recomputed = Bytes::MAX;
    assert_eq!(judge(&costs, &grid).unwrap_err().code(), "pipeline-out-of-range");
    let none = PipelineCosts::default();
    assert!(judge(&none, &Grid::default()).is_err());
}

#[test]
fn a_plan_is_judged_by_its_grid() {
    let costs = PipelineCosts::looped(2, 1, 2, stage());
    let mut plan = Plan {
        parallelism: Parallelism { pipeline: 2, n_micro_batches: 2, ..Parallelism::default() },
        partition: Partition { stages: vec![Stage::default(); 2] },
        placement: Placement::default(),
        schedule: Schedule::default(),
    };
    let error = judge_plan(&costs, &plan).unwrap_err();
    assert_eq!(error.code(), "grid-missing");
    plan.schedule.grid = Some(Grid::parse("0F0,0F1,0B0,0B1\n1F0,1B0,1F1,1B1").unwrap());
    let judged = judge_plan(&costs, &plan).unwrap();
    assert_eq!(judged.report.step_time, Nanos(90));
    plan.parallelism.virtual_stages = 2;
    assert!(judge_plan(&costs, &plan).is_err());
    plan.parallelism.virtual_stages = 1;
    plan.parallelism.n_micro_batches = 3;
    assert!(judge_plan(&costs, &plan).is_err());
    let cell = Cell::new(0, Pass::Forward, 0);
    assert_eq!(cell.to_string(), "0F0");
}
