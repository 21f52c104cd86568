//! Laws of whole searches.

use std::sync::Arc;

use ir::instance::{LoadInstance, LoadNode};
use ir::op::Phase;
use ir::units::{Bytes, Nanos};
use planner::given::max_load::certificate::Certificate;
use planner::given::max_load::check::check;
use planner::given::max_load::control::Control;
use planner::given::max_load::evaluate::evaluate;
use planner::given::max_load::search::{Options, Outcome, solve};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// A chain of nodes with some shortcuts.
fn sample(rng: &mut SmallRng, n: usize, n_accelerators: usize, n_cpus: usize) -> LoadInstance {
    let node = |id: usize, rng: &mut SmallRng| {
        let time = rng.random_range(1..60);
        LoadNode {
            source_id: id as u64,
            name: String::new(),
            cpu: Nanos(time * rng.random_range(2..15)),
            accelerator: Some(Nanos(time)),
            transfer: Nanos(rng.random_range(0..25)),
            bytes: Bytes(1),
            colour: None,
            phase: Phase::Forward,
        }
    };
    let nodes = (0..n).map(|id| node(id, rng)).collect();
    let mut edges: Vec<(u32, u32)> = (1..n as u32).map(|to| (to - 1, to)).collect();
    for to in 3..n as u32 {
        if rng.random_bool(0.2) {
            edges.push((to - 3, to));
        }
    }
    edges.sort_unstable();
    LoadInstance {
        name: "sample".to_owned(),
        nodes,
        edges,
        n_colours: 0,
        n_accelerators,
        n_cpus,
        accelerator_memory: Bytes(1_000_000),
    }
}

fn search(instance: &LoadInstance, nodes: u64) -> Outcome {
    let control = Control::new(None, Some(nodes), Arc::default());
    solve(instance, &Options { seed: 7, ..Options::default() }, &control, &mut |_, _| {}).unwrap()
}

fn assert_sound(instance: &LoadInstance, outcome: &Outcome) {
    assert_eq!(evaluate(instance, &outcome.device_of), Some(outcome.value_ns));
    assert!(outcome.bound_ns <= outcome.value_ns);
    if let Some(certificate) = &outcome.certificate {
        assert_eq!(certificate.limit_ns + 1, outcome.bound_ns);
        assert_eq!(check(instance, certificate), Ok(()));
        let forged = Certificate { limit_ns: outcome.value_ns, ..certificate.clone() };
        assert!(check(instance, &forged).is_err());
    }
}

/// An instance with the least value that it was made for.
fn planted(rng: &mut SmallRng) -> (LoadInstance, u64) {
    // Blocks of equal work with dear nets inside and free ones between: one block per accelerator.
    let n_blocks = rng.random_range(2..4);
    let size = rng.random_range(2..=4);
    let mut instance = sample(rng, n_blocks * size, n_blocks, 0);
    instance.edges = (1..(n_blocks * size) as u32).map(|to| (to - 1, to)).collect();
    let work = 120 / size as u64;
    for (at, node) in instance.nodes.iter_mut().enumerate() {
        node.accelerator = Some(Nanos(work));
        node.transfer = Nanos(if (at + 1) % size == 0 { 0 } else { 500 });
    }
    (instance, work * size as u64)
}

#[test]
fn planted_optima_are_found_and_proved() {
    let mut rng = SmallRng::seed_from_u64(3);
    for _ in 0..300 {
        let (instance, least) = planted(&mut rng);
        let outcome = search(&instance, 50_000_000);
        assert_sound(&instance, &outcome);
        assert_eq!((outcome.value_ns, outcome.bound_ns), (least, least));
    }
}

#[test]
fn small_instances_are_solved_to_the_optimum() {
    let mut rng = SmallRng::seed_from_u64(4);
    for round in 0..60 {
        let n = rng.random_range(2..=12);
        let (k, l) = (rng.random_range(1..4), rng.random_range(0..2));
        let instance = sample(&mut rng, n, k, l);
        let outcome = search(&instance, 1_000_000_000);
        assert_sound(&instance, &outcome);
        assert_eq!(outcome.value_ns, outcome.bound_ns, "round {round}");
    }
}

#[test]
fn the_same_seed_and_budget_give_the_same_answer() {
    let mut rng = SmallRng::seed_from_u64(5);
    let instance = sample(&mut rng, 60, 4, 1);
    let figures = |outcome: &Outcome| {
        let trace: Vec<_> =
            outcome.trace.iter().map(|point| (point.value_ns, point.bound_ns)).collect();
        (outcome.device_of.clone(), outcome.bound_ns, outcome.certificate.clone(), trace)
    };
    let first = search(&instance, 20_000_000);
    assert_sound(&instance, &first);
    for _ in 0..3 {
        assert_eq!(figures(&search(&instance, 20_000_000)), figures(&first));
    }
}

#[test]
fn a_cancelled_search_ends_with_what_it_has() {
    let mut rng = SmallRng::seed_from_u64(6);
    let instance = sample(&mut rng, 80, 4, 1);
    let cancel = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let control = Control::new(None, None, cancel);
    let outcome = solve(&instance, &Options::default(), &control, &mut |_, _| {}).unwrap();
    assert_sound(&instance, &outcome);
}

#[test]
fn sums_beyond_exact_integers_are_refused() {
    let mut instance = sample(&mut SmallRng::seed_from_u64(8), 4, 2, 1);
    instance.nodes[2].cpu = Nanos(u64::MAX);
    let control = Control::new(None, Some(1_000), Arc::default());
    let error = solve(&instance, &Options::default(), &control, &mut |_, _| {}).unwrap_err();
    assert_eq!(error.code, "bad-instance");
}
