//! Laws that every row of the registry obeys.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use cost_model::ops::judge::replay::replay;
use cost_model::ops::judge::verify::verify;
use cost_model::ops::problem::{Problem, UNSUPPORTED};
use ir::cluster::Cluster;
use ir::graph::Graph;
use ir::id::OpId;
use ir::op::Work;
use ir::plan::Plan;
use ir::schedule::{Action, Task};
use ir::units::{Bytes, BytesPerSecond, Nanos};
use planner::algorithm::Kind;
use planner::run::{Limits, Request, solve};

use crate::layered::layered;
use crate::oracle::{optimum, promises_optimum};
use crate::random_problem::{Random, build, random_problem, without_limits};
use crate::recipes::{Tried, recipes};

/// Problems per law; each law holds on each of them.
const N_PROBLEMS: u64 = 200;

fn step_time(problem: &Problem, plan: &Plan) -> u64 {
    replay(problem, plan).unwrap().step_time.get()
}

fn parts(problem: &Problem) -> (Graph, Cluster) {
    (problem.graph.as_ref().clone(), problem.cluster.as_ref().clone())
}

#[test]
fn the_same_seed_gives_the_same_plan() {
    for seed in 0..N_PROBLEMS {
        let problem = random_problem(seed).problem;
        for tried in recipes(seed) {
            let (first, second) = (tried.solve(&problem, seed), tried.solve(&problem, seed));
            match (first, second) {
                (Ok(first), Ok(second)) => {
                    assert_eq!(first.plan, second.plan, "problem {seed}, {}", tried.text);
                    assert_eq!(first.timeline, second.timeline);
                }
                (Err(first), Err(second)) => assert_eq!(first, second),
                _ => panic!("problem {seed}, {}: a plan one time, none the other", tried.text),
            }
        }
    }
}

#[test]
fn rows_that_improve_never_give_a_worse_plan() {
    let mut n_better = 0;
    for seed in 0..N_PROBLEMS {
        let problem = random_problem(seed).problem;
        for tried in recipes(seed).into_iter().filter(|tried| tried.entry.kind == Kind::Improve) {
            let Some((start, _)) = tried.text.rsplit_once(',') else { continue };
            let start = Tried { entry: tried.entry, text: start.to_owned() };
            let Ok(before) = start.solve(&problem, seed) else { continue };
            let after = tried.solve(&problem, seed).unwrap();
            assert!(after.timeline.step_time <= before.timeline.step_time, "problem {seed}");
            n_better += u64::from(after.timeline.step_time < before.timeline.step_time);
        }
    }
    assert!(n_better > 0, "nothing was ever improved: the law was not tried");
}

/// The graph with its ops in another order, and where each op went.
fn renumbered(graph: &Graph, random: &mut Random) -> (Graph, Vec<OpId>) {
    let order = random.order(graph.ops.len());
    let mut new_id = vec![OpId::new(0); order.len()];
    for (at, old) in order.iter().enumerate() {
        new_id[*old] = OpId::new(at);
    }
    let ops = order.iter().map(|old| graph.ops[*old].clone()).collect();
    (Graph { ops, ..graph.clone() }, new_id)
}

fn moved(plan: &Plan, new_id: &[OpId]) -> Plan {
    let task = |task: &Task| match *task {
        Task::Op(op) => Task::Op(new_id[op.index()]),
        Task::Transfer(transfer) => Task::Transfer(transfer),
    };
    let mut moved = plan.clone();
    for (old, device) in plan.placement.device.iter().enumerate() {
        moved.placement.device[new_id[old].index()] = *device;
    }
    for Action::Op(op) in moved.schedule.actions.iter_mut().flatten() {
        *op = new_id[op.index()];
    }
    for wait in &mut moved.schedule.after {
        wait.task = task(&wait.task);
        wait.after = wait.after.iter().map(task).collect();
        wait.after.sort_unstable();
    }
    moved.schedule.after.sort_unstable();
    moved
}

#[test]
fn renumbering_ops_and_plan_keeps_the_cost_and_the_optimum() {
    for seed in 0..N_PROBLEMS {
        let problem = random_problem(seed).problem;
        let (graph, cluster) = parts(&problem);
        let (graph, new_id) = renumbered(&graph, &mut Random::new(seed));
        let other = Arc::new(build(graph, cluster).unwrap());
        for tried in recipes(seed) {
            let outcome = tried.solve(&problem, seed);
            if let Ok(outcome) = &outcome {
                let plan = moved(&outcome.plan, &new_id);
                assert_eq!(verify(&other, &plan), vec![], "problem {seed}, {}", tried.text);
                assert_eq!(step_time(&other, &plan), step_time(&problem, &outcome.plan));
            }
            if promises_optimum(&problem, &tried) {
                let value = |outcome: planner::run::Outcome| outcome.timeline.step_time;
                assert_eq!(
                    outcome.map(value).ok(),
                    tried.solve(&other, seed).map(value).ok(),
                    "problem {seed}, {}",
                    tried.text
                );
            }
        }
    }
}

fn scale_ops(graph: &mut Graph, factor: u64) {
    for op in &mut graph.ops {
        if let Work::Given(given) = &mut op.work {
            given.time.values_mut().for_each(|time| *time = Nanos(time.get() * factor));
        }
    }
}

/// Links whose times are whole numbers: nothing is rounded away.
fn set_links(cluster: &mut Cluster, factor: u64) {
    for (tier, kind) in cluster.links.kinds.iter_mut().enumerate() {
        kind.latency_ns = ((tier as u64 + 1) * factor) as f64;
        kind.bandwidth = BytesPerSecond::new(1e9 / factor as f64).unwrap();
    }
}

#[test]
fn scaling_all_durations_scales_the_cost() {
    for seed in 0..N_PROBLEMS {
        let (mut graph, mut cluster) = parts(&random_problem(seed).problem);
        set_links(&mut cluster, 1);
        let problem = Arc::new(build(graph.clone(), cluster.clone()).unwrap());
        scale_ops(&mut graph, 8);
        set_links(&mut cluster, 8);
        let scaled = Arc::new(build(graph, cluster).unwrap());
        for tried in recipes(seed) {
            if let Ok(outcome) = tried.solve(&problem, seed) {
                let before = step_time(&problem, &outcome.plan);
                assert_eq!(
                    step_time(&scaled, &outcome.plan),
                    8 * before,
                    "problem {seed}, {}",
                    tried.text
                );
            }
        }
        let value = |problem: &Problem| optimum(problem).map(|(_, step_time)| step_time);
        assert_eq!(value(&scaled), value(&problem).map(|value| 8 * value), "problem {seed}");
    }
}

#[test]
fn more_memory_or_bandwidth_never_hurts_the_optimum() {
    let infinite = |best: Option<(Plan, u64)>| best.map_or(u64::MAX, |(_, step_time)| step_time);
    let mut n_better = 0;
    for seed in 0..5 * N_PROBLEMS {
        let problem = random_problem(seed).problem;
        let before = infinite(optimum(&problem));
        let (graph, mut cluster) = parts(&problem);
        for device in &mut cluster.devices {
            device.capacity = device.capacity.map(|Bytes(bytes)| Bytes(bytes + bytes / 8 + 1));
        }
        let roomier = infinite(optimum(&build(graph.clone(), cluster.clone()).unwrap()));
        assert!(roomier <= before, "problem {seed}: {roomier} with more memory, {before} before");
        for kind in &mut cluster.links.kinds {
            kind.bandwidth = BytesPerSecond::new(kind.bandwidth.get() * 1.5).unwrap();
        }
        let faster = infinite(optimum(&build(graph, cluster).unwrap()));
        assert!(faster <= roomier, "problem {seed}: {faster} with faster links, {roomier} before");
        n_better += u64::from(faster < before);
    }
    assert!(n_better > 0, "more never helped: the law was not tried");
}

#[test]
fn one_device_takes_the_sum_of_its_ops() {
    let mut n_problems = 0;
    for seed in 0..N_PROBLEMS {
        let (graph, mut cluster) = parts(&without_limits(&random_problem(seed).problem));
        cluster.devices.truncate(1);
        cluster.classes = vec![vec![ir::id::DeviceId::new(0)]];
        cluster.links.pairs = vec![ir::cluster::NO_ROUTE];
        // An op that this device's kind can't run leaves no problem.
        let Some(problem) = build(graph, cluster) else { continue };
        let device = ir::id::DeviceId::new(0);
        let sum: u64 = problem.actions.iter().map(|op| problem.time_ns(*op, device)).sum();
        assert!(sum < UNSUPPORTED);
        n_problems += 1;
        let problem = Arc::new(problem);
        for tried in recipes(seed) {
            let outcome = tried.solve(&problem, seed);
            let value = outcome.map(|outcome| outcome.timeline.step_time.get());
            assert_eq!(value, Ok(sum), "problem {seed}, {}", tried.text);
        }
    }
    assert!(n_problems > N_PROBLEMS / 4, "only {n_problems} problems were tried");
}

/// Room that only an algorithm that does not look at the clock needs.
const SLACK: Duration = Duration::from_secs(10);

#[test]
fn the_deadline_is_honoured() {
    let problem = Arc::new(layered(6_000, 4));
    let limit = Duration::from_millis(100);
    let mut n_late: BTreeMap<String, Duration> = BTreeMap::new();
    for turn in 0..3 {
        for tried in recipes(turn) {
            let started = Instant::now();
            let result = tried.solve_within(&problem, limit);
            let elapsed = started.elapsed();
            if elapsed > limit + SLACK {
                n_late.insert(tried.text.clone(), elapsed);
            }
            if let Ok(outcome) = result {
                assert_eq!(verify(&problem, &outcome.plan), vec![], "{}", tried.text);
            }
        }
    }
    assert!(n_late.is_empty(), "late answers: {n_late:?}");
}

#[test]
fn a_cancelled_run_answers_at_once() {
    let problem = Arc::new(layered(6_000, 4));
    for tried in recipes(0) {
        let recipe = planner::registry::recipe(&tried.text).unwrap();
        let cancel = Arc::new(AtomicBool::new(true));
        let request = Request { recipe, limits: Limits { cancel, ..Limits::default() } };
        let started = Instant::now();
        let _ = solve(Arc::clone(&problem), &request, &mut |_| {});
        assert!(started.elapsed() < SLACK, "{} took {:?}", tried.text, started.elapsed());
    }
}
