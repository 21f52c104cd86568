//! `milp` on models: equal to all placements of small graphs on unlike devices, never above `auto`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod by_hand;
mod drawn;
mod second;

use std::collections::BTreeSet;
use std::sync::Arc;

use cost_model::ops::judge::verify::verify;
use cost_model::ops::problem::{Objective, Problem};
use ir::op::Op;
use ir::units::Nanos;
use planner::given::max_load::check::check;
use planner::given::{as_instance, runner};
use planner::registry;
use planner::run::no_plan::NoPlan;
use planner::run::{Limits, Outcome, Request, StopReason, solve};

const N_GRAPHS: u64 = 300;

fn run(problem: &Arc<Problem>, recipe: &str) -> Result<Outcome, NoPlan> {
    let limits = Limits { nodes: Some(200_000_000), deterministic: true, ..Limits::default() };
    let request = Request { recipe: registry::recipe(recipe).unwrap(), limits };
    solve(Arc::clone(problem), &request, &mut |_| {})
}

/// What was met, to see that nothing was left out.
#[derive(Debug, Default)]
struct Tally {
    several_outputs: u32,
    groups: u32,
    pins: u32,
    unlike: u32,
    no_way: u32,
    limits: u32,
    none: u32,
    above_auto: u32,
    proved: u32,
    by_program: u32,
}

#[test]
fn the_least_of_all_placements_is_found_and_nothing_above_it_is_proved() {
    let mut tally = Tally::default();
    for seed in 0..N_GRAPHS {
        let drawn = drawn::problem(seed);
        let problem = Arc::new(drawn.problem);
        let least = by_hand::least(&problem);
        let found = run(&problem, "milp");
        tally.several_outputs += u32::from(drawn.has_several_outputs);
        tally.groups += u32::from(!problem.groups.is_empty());
        tally.pins += u32::from(!problem.constraints.pins.is_empty());
        tally.unlike += u32::from(problem.cluster.kinds.len() > 1);
        tally.no_way += u32::from(drawn.lacks_a_way);
        tally.limits += u32::from(drawn.is_tight);
        let Some(least) = least else {
            assert!(found.is_err(), "graph {seed}: a plan where there is none");
            tally.none += 1;
            continue;
        };
        let found = found.unwrap_or_else(|none| panic!("graph {seed}: {none}"));
        assert_eq!(found.value, Nanos(least), "graph {seed}");
        assert_eq!(by_hand::greatest_load(&problem, &found.plan.placement), Some(least));
        assert_eq!(verify(&problem, &found.plan), vec![], "graph {seed}");
        assert!(found.bound.value <= found.value, "graph {seed}: {:?}", found.bound);
        tally.proved += u32::from(found.stop == StopReason::ProvedOptimal);
        tally.by_program += u32::from(found.bound.method == "integer program (HiGHS)");
        let auto = run(&problem, "auto");
        tally.above_auto += u32::from(auto.is_ok_and(|auto| auto.value > found.value));
    }
    println!("{tally:?}");
    let n = N_GRAPHS as u32;
    assert!(tally.several_outputs * 2 > n && tally.groups * 4 > n && tally.pins * 4 > n);
    assert!(tally.unlike * 3 > n && tally.no_way * 20 > n && tally.limits * 4 > n);
    assert!(tally.proved * 10 > (n - tally.none) * 9, "{tally:?}");
    assert!(tally.by_program * 4 > n && tally.none > 0 && tally.above_auto > 0, "{tally:?}");
}

#[test]
fn another_program_finds_the_same_on_graphs_too_large_to_enumerate() {
    let mut n_proved = 0;
    for seed in 0..20 {
        let problem = Arc::new(drawn::problem_of(seed, 14..=16).problem);
        let (found, least) = (run(&problem, "milp"), second::least(&problem));
        let Ok(found) = found else {
            assert_eq!(least, None, "graph {seed}");
            continue;
        };
        assert_eq!(Some(found.value.get()), least, "graph {seed}");
        assert_eq!(by_hand::greatest_load(&problem, &found.plan.placement), least);
        assert!(found.bound.value <= found.value, "graph {seed}");
        n_proved += u32::from(found.stop == StopReason::ProvedOptimal);
    }
    assert!(n_proved > 10, "{n_proved} proved");
}

/// On equal devices `columns` proves, also where an op's tensors go to different ops: its certificate
/// is checked on an instance that is written down by hand.
#[test]
fn certificates_hold_on_an_instance_by_hand() {
    let (mut n_checked, mut n_split) = (0, 0);
    for seed in 0..N_GRAPHS {
        let problem = Arc::new(drawn::on_equal_devices(seed));
        let request = runner::Request::new(registry::entries());
        let Some((bound, certificate)) = as_instance::certified(&problem, &request) else {
            continue;
        };
        assert_eq!(check(&by_hand::instance(&problem), &certificate), Ok(()), "graph {seed}");
        assert!(certificate.limit_ns + 1 >= bound.get(), "graph {seed}");
        let readers = by_hand::readers(&problem.graph);
        let is_split = |op: &Op| {
            let read: BTreeSet<_> = op.outputs.iter().filter_map(|t| readers.get(t)).collect();
            read.len() > 1
        };
        n_split += u32::from(problem.graph.ops.iter().any(is_split));
        n_checked += 1;
        let found = run(&problem, "milp").unwrap();
        let least = by_hand::least(&problem);
        assert_eq!(Some(found.value.get()), least, "graph {seed}");
        assert!(bound <= found.value, "graph {seed}");
    }
    assert!(n_checked > N_GRAPHS / 2 && n_split > 50, "{n_checked}, {n_split} with a split op");
}

#[test]
fn a_step_is_never_longer_than_autos_and_no_plan_is_below_its_bound() {
    let mut n_better_bounds = 0;
    for seed in 0..N_GRAPHS / 3 {
        let drawn = drawn::problem_of(seed, 3..=6);
        let problem = Arc::new(drawn.problem.with_objective(Objective::STEP_TIME));
        let Ok(auto) = run(&problem, "orders") else { continue };
        let found = run(&problem, "milp").unwrap();
        let exact = run(&problem, "brute-force").unwrap();
        assert!(found.value <= auto.value, "graph {seed}");
        assert_eq!(found.value, exact.value, "graph {seed}");
        assert!(found.bound.value <= exact.value, "graph {seed}");
        n_better_bounds += u32::from(found.bound.value > auto.bound.value);
    }
    assert!(n_better_bounds > 0);
}

#[test]
fn the_same_budget_gives_the_same_plan() {
    for seed in 0..10 {
        let problem = Arc::new(drawn::problem(seed).problem);
        let plans = [(); 2].map(|()| run(&problem, "milp").map(|found| found.plan).ok());
        assert_eq!(plans[0], plans[1], "graph {seed}");
    }
}
