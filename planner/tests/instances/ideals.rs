//! Contiguous max-load.

use cost_model::given::max_load::{self, Contiguity, evaluate};
use ir::instance::LoadInstance;
use ir::op::Phase;
use planner::given::ideals::{Limits, on_orders, solve};

use crate::sample::{every_split, instance};

/// Whether devices can be put in an order in which no forward edge goes back; classes of backward
/// nodes without a forward node stand where their mirror image would.
fn has_order(instance: &LoadInstance, devices: &[u32]) -> bool {
    let class = |node: u32| match instance.nodes[node as usize].colour {
        Some(colour) => (0, colour),
        None => (1, node),
    };
    // A forward path through a backward node counts as well.
    let part = max_load::forward_part(instance);
    let is_orphan = |node: u32| {
        (0..instance.nodes.len() as u32)
            .all(|other| class(other) != class(node) || !part[other as usize])
    };
    let mut pairs = Vec::new();
    for &(from, to) in &instance.edges {
        let (one, two) = (devices[from as usize], devices[to as usize]);
        match (part[from as usize], part[to as usize]) {
            (true, true) => pairs.push((one, two)),
            (false, false) if is_orphan(from) || is_orphan(to) => pairs.push((two, one)),
            _ => {}
        }
    }
    pairs.retain(|(one, two)| one != two);
    let mut left: Vec<u32> = (0..instance.n_devices() as u32).collect();
    while let Some(at) = left
        .iter()
        .position(|device| pairs.iter().all(|(from, to)| to != device || !left.contains(from)))
    {
        left.remove(at);
    }
    left.is_empty()
}

#[test]
fn the_program_agrees_with_brute_force() {
    let (mut n_feasible, mut n_backward) = (0, 0);
    for seed in 0..3_000 {
        let instance = instance(seed, 6);
        let mut best = None;
        every_split(&instance, |devices| {
            if let Ok(value) = evaluate(&instance, devices, Contiguity::Free)
                && best.is_none_or(|best| value < best)
                && has_order(&instance, devices)
            {
                best = Some(value);
            }
        });
        let found = solve(&instance, &Limits::default(), &|| false);
        assert!(found.is_proved, "{seed}");
        assert_eq!(found.split.as_ref().map(|split| split.value), best, "{seed}: {instance:?}");
        n_feasible += usize::from(best.is_some());
        n_backward += usize::from(instance.nodes.iter().any(|node| node.phase != Phase::Forward));
        let Some(split) = found.split else { continue };
        let value = evaluate(&instance, &split.devices, Contiguity::Contiguous);
        assert_eq!(value, Ok(split.value), "{seed}");
        assert!(max_load::bound(&instance) <= split.value, "{seed}");
        if let Some(order) = on_orders(&instance, &Limits::default(), &|| false) {
            assert!(order.value >= split.value, "{seed}");
            assert_eq!(
                evaluate(&instance, &order.devices, Contiguity::Contiguous),
                Ok(order.value)
            );
        }
    }
    assert!(n_feasible > 1_500 && n_backward > 1_000, "{n_feasible} {n_backward}");
}

#[test]
fn no_split_is_below_the_bound() {
    let mut n_tight = 0;
    for seed in 0..1_000 {
        let instance = instance(seed, 6);
        let bound = max_load::bound(&instance);
        every_split(&instance, |devices| {
            if let Ok(value) = evaluate(&instance, devices, Contiguity::Free) {
                assert!(bound <= value, "{seed}: {bound} > {value}");
                n_tight += usize::from(bound == value);
            }
        });
    }
    assert!(n_tight > 0);
}

#[test]
fn a_search_without_memory_falls_back_to_orders() {
    let instance = (0..).map(|seed| instance(seed, 6)).find(|instance| {
        solve(instance, &Limits::default(), &|| false).n_ideals.is_some_and(|n| n > 8)
    });
    let limits = Limits { memory_bytes: 4_000, ..Limits::default() };
    let found = solve(&instance.unwrap(), &limits, &|| false);
    assert_eq!((found.n_ideals, found.is_proved), (None, false));
}
