use cost_model::ops::max_load::LoadSession;
use cost_model::ops::problem::{Objective, Problem};
use ir::id::DeviceId;
use ir::plan::Placement;

use super::held;
use super::search::Search;
use crate::line;
use crate::placement::list_schedule::sketch::Sketch;

fn improved(problem: &Problem, start: &[usize]) -> (u64, Placement) {
    let device = start.iter().map(|device| Some(DeviceId::new(*device))).collect();
    let placement = Placement { device };
    let line = line::depth_first(problem);
    let bytes = held(problem, &line, &placement).unwrap();
    let session = LoadSession::new(problem, &placement).unwrap();
    let mut search = Search::new(problem, &line, session, bytes, 0);
    search.run(&mut |_| false);
    let placement = search.placement();
    let loads = cost_model::ops::max_load::loads(problem, &placement).unwrap();
    (loads.iter().map(|load| load.total_ns()).max().unwrap(), placement)
}

/// Ops without edges.
fn apart(devices: Sketch, times: &[u64]) -> Problem {
    let ops = times.iter().enumerate();
    let sketch = ops.fold(devices, |sketch, (at, time)| {
        sketch.op(&format!("o{at}"), "a", *time, "", &format!("t{at}:1"))
    });
    sketch.problem().with_objective(Objective::MAX_LOAD)
}

#[test]
fn ops_apart_spread_out() {
    let two = || Sketch::new(1.0).device("a", 99).device("a", 99);
    assert_eq!(improved(&apart(two(), &[10, 10, 10, 10]), &[0, 0, 0, 0]).0, 20);
    // 9 + 8 + 8 against 9 + 8 + 7 takes an exchange: 9 + 9 + 8 against 8 + 8 + 7 admits no move.
    assert_eq!(improved(&apart(two(), &[9, 9, 8, 8, 8, 7]), &[0, 0, 0, 1, 1, 1]).0, 25);
}

#[test]
fn what_does_not_fit_stays() {
    let full = Sketch::new(1.0).device("a", 99).device("a", 0);
    assert_eq!(improved(&apart(full, &[10, 10]), &[0, 0]).0, 20);
}

#[test]
fn a_dear_transfer_keeps_ops_together() {
    // Parted: 10 + 50 and 10 + 50; together: 20.
    let sketch = Sketch::new(1.0).device("a", 999).device("a", 999);
    let sketch = sketch.op("A", "a", 10, "", "x:49").op("B", "a", 10, "x", "");
    let problem = sketch.problem().with_objective(Objective::MAX_LOAD);
    assert_eq!(improved(&problem, &[0, 1]).0, 20);
}
