//! Max-load of models: the objective's laws, on small random problems with devices and links that
//! differ, and the rows under it.

use std::sync::Arc;

use cost_model::ops::bound::max_load_bound;
use cost_model::ops::judge::verify::verify;
use cost_model::ops::max_load::{Load, LoadSession, evaluate, loads};
use cost_model::ops::problem::{Objective, Problem, UNSUPPORTED};
use ir::id::{DeviceId, OpId};
use ir::op::Work;
use ir::plan::Placement;
use ir::units::{BytesPerSecond, Nanos};
use planner::registry;
use planner::run::{Request, solve};

use crate::random_problem::{Random, build, random_problem};
use crate::recipes::recipes;

/// Problems per law.
const N_PROBLEMS: u64 = 200;

fn of_seed(seed: u64) -> Arc<Problem> {
    let problem = random_problem(seed).problem.as_ref().clone();
    Arc::new(problem.with_objective(Objective::MAX_LOAD))
}

fn greatest(loads: &[Load]) -> u64 {
    loads.iter().map(Load::total_ns).max().unwrap_or(0)
}

/// Somewhere where each op can run, groups together; perhaps without a way for a tensor.
fn somewhere(problem: &Problem, random: &mut Random) -> Placement {
    let mut device = vec![None; problem.n_ops()];
    for unit in problem.units() {
        let open: Vec<DeviceId> = problem.placeable(unit[0]).iter().collect();
        let place = open[random.within(0, open.len() as u64 - 1) as usize];
        unit.iter().for_each(|op| device[op.index()] = Some(place));
    }
    Placement { device }
}

#[test]
fn a_session_has_the_loads_of_an_evaluation_after_every_move() {
    let mut n_moves = 0;
    for seed in 0..N_PROBLEMS {
        let problem = of_seed(seed);
        let random = &mut Random::new(seed);
        let Some(start) = (0..20)
            .map(|_| somewhere(&problem, random))
            .find(|start| loads(&problem, start).is_ok())
        else {
            continue;
        };
        let mut session = LoadSession::new(&problem, &start).unwrap();
        for _ in 0..40 {
            let other = somewhere(&problem, random);
            let mark = session.n_moves();
            let before = session.value();
            let unit = problem.units()[random.within(0, problem.units().len() as u64 - 1) as usize]
                .clone();
            unit.iter().for_each(|op| session.place(*op, other.of(*op).unwrap()));
            n_moves += 1;
            match loads(&problem, &session.placement()) {
                Ok(loads) => {
                    let loads: Vec<u64> = loads.iter().map(Load::total_ns).collect();
                    assert_eq!(session.loads_ns(), loads, "problem {seed}");
                    assert_eq!(session.value().get(), loads.into_iter().max().unwrap());
                }
                Err(_) => assert_eq!(session.value(), Nanos(UNSUPPORTED)),
            }
            if random.chance(50) {
                session.undo_to(mark);
                assert_eq!(session.value(), before, "problem {seed}: a move taken back");
            }
        }
    }
    assert!(n_moves > 4_000, "only {n_moves} moves were tried");
}

/// Least max-load over all placements whose parameters fit: what memory a plan takes beyond them
/// only leaves fewer.
fn optimum(problem: &Problem) -> Option<u64> {
    let units = problem.units();
    let open: Vec<Vec<DeviceId>> =
        units.iter().map(|unit| problem.placeable(unit[0]).iter().collect()).collect();
    let mut choice = vec![0usize; units.len()];
    let mut best = None;
    loop {
        let mut device = vec![None; problem.n_ops()];
        for (unit, (open, at)) in units.iter().zip(open.iter().zip(&choice)) {
            unit.iter().for_each(|op| device[op.index()] = Some(open[*at]));
        }
        let placement = Placement { device };
        if let (true, Ok(loads)) = (parameters_fit(problem, &placement), loads(problem, &placement))
        {
            best = Some(best.map_or(greatest(&loads), |best: u64| best.min(greatest(&loads))));
        }
        let Some(at) = (0..choice.len()).find(|at| choice[*at] + 1 < open[*at].len()) else {
            return best;
        };
        choice[..at].fill(0);
        choice[at] += 1;
    }
}

fn parameters_fit(problem: &Problem, placement: &Placement) -> bool {
    problem.cluster.device_ids().all(|device| {
        let actions = problem.actions.iter().filter(|op| placement.of(**op) == Some(device));
        let mut parameters: Vec<_> =
            actions.flat_map(|op| problem.parameters(*op)).copied().collect();
        parameters.sort_unstable();
        parameters.dedup();
        parameters.iter().map(|t| problem.persistent_bytes(*t)).sum::<u64>()
            <= problem.memory_limit(device)
    })
}

#[test]
fn no_placement_is_below_the_bound() {
    let mut n_tight = 0;
    for seed in 0..4 * N_PROBLEMS {
        let problem = of_seed(seed);
        let bound = max_load_bound(&problem).value.get();
        let Some(optimum) = optimum(&problem) else { continue };
        assert!(bound <= optimum, "problem {seed}: bound {bound}, but {optimum} can be reached");
        n_tight += u64::from(bound == optimum);
    }
    assert!(n_tight > N_PROBLEMS / 4, "the bound is reached only {n_tight} times");
}

#[test]
fn scaling_all_durations_scales_every_load() {
    for seed in 0..N_PROBLEMS {
        let problem = of_seed(seed);
        let (mut graph, mut cluster) =
            (problem.graph.as_ref().clone(), problem.cluster.as_ref().clone());
        let mut scaled = |factor: u64| {
            for op in &mut graph.ops {
                if let Work::Given(given) = &mut op.work {
                    given.time.values_mut().for_each(|t| *t = Nanos(t.get() * factor));
                }
            }
            for (tier, kind) in cluster.links.kinds.iter_mut().enumerate() {
                kind.latency_ns = ((tier as u64 + 1) * factor) as f64;
                kind.bandwidth = BytesPerSecond::new(1e9 / factor as f64).unwrap();
            }
            build(graph.clone(), cluster.clone()).unwrap()
        };
        let (one, eight) = (scaled(1), scaled(8));
        let placement = somewhere(&one, &mut Random::new(seed));
        if let Ok(loads) = loads(&one, &placement) {
            let times_eight: Vec<u64> = loads.iter().map(|load| 8 * load.total_ns()).collect();
            let after = cost_model::ops::max_load::loads(&eight, &placement).unwrap();
            assert_eq!(after.iter().map(Load::total_ns).collect::<Vec<_>>(), times_eight);
        }
    }
}

#[test]
fn renumbering_ops_keeps_loads_and_bound() {
    for seed in 0..N_PROBLEMS {
        let problem = of_seed(seed);
        let order = Random::new(seed).order(problem.n_ops());
        let ops = order.iter().map(|old| problem.graph.ops[*old].clone()).collect();
        let graph = ir::graph::Graph { ops, ..problem.graph.as_ref().clone() };
        let other = build(graph, problem.cluster.as_ref().clone()).unwrap();
        assert_eq!(max_load_bound(&other), max_load_bound(&problem), "problem {seed}");
        let placement = somewhere(&problem, &mut Random::new(seed));
        let device = order.iter().map(|old| placement.of(OpId::new(*old))).collect();
        let moved = loads(&other, &Placement { device });
        assert_eq!(moved.ok(), loads(&problem, &placement).ok(), "problem {seed}");
    }
}

#[test]
fn every_row_makes_legal_plans_with_the_value_that_is_judged() {
    let mut n_plans = 0;
    for seed in 0..N_PROBLEMS / 2 {
        let problem = of_seed(seed);
        let least = optimum(&problem);
        for tried in recipes(seed) {
            let Ok(outcome) = tried.solve(&problem, seed) else { continue };
            n_plans += 1;
            assert_eq!(verify(&problem, &outcome.plan), vec![], "problem {seed}, {}", tried.text);
            let value = evaluate(&problem, &outcome.plan).unwrap();
            assert_eq!(outcome.value, value, "problem {seed}, {}", tried.text);
            assert!(outcome.bound.value <= value, "problem {seed}, {}", tried.text);
            assert!(least.is_some_and(|least| least <= value.get()), "problem {seed}");
            let again = tried.solve(&problem, seed).unwrap();
            assert_eq!(again.plan, outcome.plan, "problem {seed}, {}", tried.text);
        }
    }
    assert!(n_plans > N_PROBLEMS, "only {n_plans} plans were made");
}

#[test]
fn refining_never_hurts_and_often_helps() {
    let mut n_better = 0;
    for seed in 0..N_PROBLEMS {
        let problem = of_seed(seed);
        let value = |text: &str| {
            let request = Request::new(registry::recipe(text).unwrap());
            solve(Arc::clone(&problem), &request, &mut |_| {}).ok().map(|outcome| outcome.value)
        };
        let Some(before) = value("m-etf") else { continue };
        let after = value("m-etf,refine-load").unwrap();
        assert!(after <= before, "problem {seed}");
        n_better += u64::from(after < before);
    }
    assert!(n_better > N_PROBLEMS / 8, "better on {n_better} problems only");
}

#[test]
fn loads_by_hand_where_devices_and_links_differ() {
    let text = r#"{
        "ops": [
            {"id": 0, "time_ns": {"fast": 10, "slow": 30}, "outputs": [{"tensor": 0, "bytes": 8}]},
            {"id": 1, "time_ns": {"fast": 20, "slow": 50}, "inputs": [0]},
            {"id": 2, "time_ns": {"fast": 20, "slow": 50}, "inputs": [0]},
            {"id": 3, "time_ns": {"fast": 20, "slow": 50}, "inputs": [0]}],
        "devices": [{"id": 0, "kind": "fast"}, {"id": 1, "kind": "slow"}, {"id": 2, "kind": "fast"}],
        "link": {"latency_ns": 2, "bytes_per_s": 1e9},
        "links": [{"from": 0, "to": 2, "latency_ns": 5, "bytes_per_s": 5e8}]}"#;
    let options = importers::ImportOptions::default();
    let import = importers::read_bytes("hand.json", text.as_bytes(), &options).unwrap();
    let problem = build(import.graph, import.cluster.unwrap()).unwrap();
    let problem = problem.with_objective(Objective::MAX_LOAD);
    let placement = |devices: [usize; 4]| Placement {
        device: devices.iter().map(|device| Some(DeviceId::new(*device))).collect(),
    };
    // Over the link: 2 + 8 = 10 ns; from device 0 to 2: 5 + 16 = 21 ns. Device 0 pays for the
    // slower of its two transfers once; device 1 reads the tensor twice and pays once.
    let apart = loads(&problem, &placement([0, 1, 1, 2])).unwrap();
    let by_hand = [(10, 21, 0), (100, 0, 10), (20, 0, 21)];
    for (load, (compute_ns, send_ns, receive_ns)) in apart.iter().zip(by_hand) {
        assert_eq!(*load, Load { compute_ns, send_ns, receive_ns });
    }
    let one = loads(&problem, &placement([2, 2, 2, 2])).unwrap();
    assert_eq!((greatest(&one), one[2].send_ns), (70, 0));
    // Work, freely divided: 70 / (1 + 1 + 20/50) = 29.17; no op can be cut. Best: 0 and 1 on one
    // fast device, 2 and 3 on the other, 30 + 10 and 40 + 10 over the way from 2 to 0.
    assert_eq!(optimum(&problem), Some(50));
    assert!((30..=50).contains(&max_load_bound(&problem).value.get()));
}

#[test]
fn the_methods_for_instances_prove_and_reach_the_optimum_of_models() {
    let (mut n_instances, mut n_proved) = (0, 0);
    for seed in 0..4 * N_PROBLEMS {
        let problem = of_seed(seed);
        let run = |text: &str| {
            let request = Request::new(registry::recipe(text).unwrap());
            solve(Arc::clone(&problem), &request, &mut |_| {})
        };
        let Ok(outcome) = run("columns") else { continue };
        n_instances += 1;
        let best = optimum(&problem).unwrap();
        assert!(outcome.bound.value.get() <= best, "problem {seed}: the bound is above {best}");
        assert!(outcome.value.get() >= best, "problem {seed}");
        n_proved += u64::from(outcome.value == outcome.bound.value);
        if let Ok(contiguous) = run("ideals") {
            assert!(contiguous.value.get() >= best, "problem {seed}");
        }
    }
    assert!(n_instances > 20, "only {n_instances} problems are instances");
    assert!(n_proved * 2 > n_instances, "proved on {n_proved} of {n_instances}");
}
