//! Laws of optima: scales, names, more devices, more memory.

use cost_model::given::Goal;
use ir::instance::{Instance, LoadInstance};
use ir::units::{Bytes, Nanos};
use planner::given::milp;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::agreement::{certain, for_seeds};
use crate::sample::{Size, with_size};

const GOALS: [(Goal, &str); 5] = [
    (Goal::MaxLoad, "columns"),
    (Goal::MaxLoad, "milp"),
    (Goal::ContiguousMaxLoad, "ideals"),
    (Goal::ContiguousMaxLoad, "milp"),
    (Goal::Latency, "milp"),
];

fn small(seed: u64) -> LoadInstance {
    let mut random = SmallRng::seed_from_u64(seed);
    let size = Size {
        n_classes: random.random_range(1..=6),
        n_accelerators: random.random_range(1..=3),
        n_cpus: random.random_range(0..=1),
    };
    with_size(&mut random, size)
}

fn optima(instance: &LoadInstance) -> Vec<Option<u64>> {
    let wrapped = Instance::Load(instance.clone());
    GOALS.iter().map(|(goal, name)| certain(&wrapped, *goal, name)).collect()
}

#[test]
fn all_costs_times_seven_are_seven_times_the_optimum() {
    for_seeds(60, |seed| {
        let instance = small(seed);
        let mut scaled = instance.clone();
        let times = |time: Nanos| Nanos(7 * time.get());
        for node in &mut scaled.nodes {
            node.cpu = times(node.cpu);
            node.accelerator = node.accelerator.map(times);
            node.transfer = times(node.transfer);
        }
        let seven = |value: &Option<u64>| value.map(|value| 7 * value);
        let expected: Vec<_> = optima(&instance).iter().map(seven).collect();
        assert_eq!(optima(&scaled), expected, "{seed}");
    });
}

#[test]
fn names_do_not_matter() {
    for_seeds(60, |seed| {
        let instance = small(seed);
        let mut random = SmallRng::seed_from_u64(seed);
        let mut at: Vec<u32> = (0..instance.nodes.len() as u32).collect();
        at.shuffle(&mut random);
        let mut renamed = instance.clone();
        for (old, new) in at.iter().enumerate() {
            renamed.nodes[*new as usize] = instance.nodes[old].clone();
        }
        let edge = |(from, to): &(u32, u32)| (at[*from as usize], at[*to as usize]);
        renamed.edges = instance.edges.iter().map(edge).collect();
        renamed.edges.sort_unstable();
        assert_eq!(optima(&renamed), optima(&instance), "{seed}");
    });
}

#[test]
fn more_devices_or_memory_never_hurt() {
    for_seeds(60, |seed| {
        let instance = small(seed);
        let before = optima(&instance);
        let mut richer = [instance.clone(), instance.clone(), instance];
        richer[0].n_accelerators += 1;
        richer[1].n_cpus += 1;
        richer[2].accelerator_memory = Bytes(richer[2].accelerator_memory.get() + 3);
        for instance in richer {
            let pairs = before.iter().zip(optima(&instance));
            for ((old, new), (goal, name)) in pairs.zip(GOALS) {
                let is_fine = old.is_none() || new.is_some_and(|new| Some(new) <= *old);
                assert!(is_fine, "{seed} {goal:?} {name}: {old:?} {new:?}");
            }
        }
    });
}

/// Larger than what a few nodes can close.
fn larger(seed: u64) -> LoadInstance {
    let mut random = SmallRng::seed_from_u64(seed);
    with_size(&mut random, Size { n_classes: 10, n_accelerators: 3, n_cpus: 1 })
}

#[test]
fn a_node_budget_repeats() {
    for seed in 0..2 {
        let instance = larger(seed);
        for goal in [Goal::MaxLoad, Goal::ContiguousMaxLoad, Goal::Latency] {
            let options = milp::Options { nodes: Some(5), ..milp::Options::default() };
            let run = || milp::solve(&instance, goal, &options, &|| false, &mut |_| {});
            assert_eq!(run(), run(), "{seed} {goal:?}");
        }
    }
}

#[test]
fn a_stopped_search_keeps_its_start() {
    let instance = larger(7);
    for goal in [Goal::MaxLoad, Goal::ContiguousMaxLoad, Goal::Latency] {
        // All on the core.
        let core = vec![instance.n_accelerators as u32; instance.nodes.len()];
        let options = milp::Options { start: Some(core.clone()), ..milp::Options::default() };
        let found = milp::solve(&instance, goal, &options, &|| true, &mut |_| {});
        let row = cost_model::given::row(goal);
        let cost_model::given::Judge::Load { evaluate, bound } = row.judge else { panic!() };
        // The solver may see a better plan before it looks at the flag; none is worse than the first.
        if let Ok(first) = evaluate(&instance, &core) {
            let (value, devices) = found.best.unwrap();
            assert!(value <= first, "{goal:?}: {value} {first}");
            assert_eq!(evaluate(&instance, &devices), Ok(value), "{goal:?}");
            assert!(bound(&instance) <= value);
        }
        assert!(found.verdict != milp::Verdict::Infeasible, "{goal:?}");
    }
}
