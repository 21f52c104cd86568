//! Latency of one sample: one block of the model per accelerator, the rest on CPU cores.
//!
//! # Decides
//! The device of every node.
//!
//! # Idea
//! Blocks that run one after another take the sum of their times, so a plan with the least sum is
//! a shortest chain of ideals: a step is a block within memory, or one class on a CPU core. It is
//! found on a few topological orders, and on all ideals where they can be listed. Greedy fills of
//! the accelerators are tried as well. From the best of them, classes are moved between devices,
//! alone or with neighbours; worse plans are taken with a probability that sinks (annealing), and
//! every plan is judged as it would run, parallel blocks included.
//!
//! # Paper
//! Tarnawski et al., NeurIPS 2020, section 4 (the objective, the greedy fill); Kirkpatrick et al.,
//! Science 220, 1983 (annealing).
//!
//! # Guarantee
//! None.
//!
//! # Complexity
//! O(pairs of nested ideals whose difference fits x accelerators), then O(edges) per move.
//!
//! # Limits
//! Every accelerator runs one block (the authors' `q = 1`).
//!
//! # Example
//! A chain that fits on one accelerator takes the sum of its times there.

mod chain;
mod greedy;
mod moves;

use cost_model::instance::latency::{Blocks, evaluate};
use ir::instance::LoadInstance;
use ir::units::Nanos;

use super::ideals::classes::ClassGraph;
use super::ideals::lattice::Lattice;
use super::ideals::{Limits, Split, orders};

/// How long to search.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Memory for the list of ideals, and the longest order.
    pub limits: Limits,
    /// Moves that are tried.
    pub n_moves: u64,
    /// Of the lots that are drawn.
    pub seed: u64,
}

impl Default for Effort {
    fn default() -> Self {
        Self { limits: Limits::default(), n_moves: 200_000, seed: 0 }
    }
}

/// The best split that was found; `None` if none of the tried ones is legal.
///
/// `stop` is asked now and then whether to give up.
#[must_use]
pub fn solve(instance: &LoadInstance, effort: &Effort, stop: &dyn Fn() -> bool) -> Option<Split> {
    let graph = ClassGraph::ordered(instance);
    let mut plans = Vec::new();
    if graph.n_classes() <= effort.limits.order_classes {
        let orders = orders::several(&graph);
        plans.extend(orders.iter().map(|order| greedy::fill(instance, &graph, order)));
        plans.extend(chains(instance, &graph, &orders, effort, stop));
    }
    let blocks = Blocks::new(instance);
    let judged = |plan: Vec<u32>| {
        let devices: Vec<u32> = graph.class_of.iter().map(|class| plan[*class as usize]).collect();
        let value = evaluate(instance, &devices).ok()?;
        Some((value, plan))
    };
    let mut starts: Vec<(Nanos, Vec<u32>)> = plans.into_iter().filter_map(judged).collect();
    starts.sort();
    starts.dedup();
    let (value, plan) = moves::anneal(instance, &graph, &blocks, &starts, effort, stop)?;
    let devices = graph.class_of.iter().map(|class| plan[*class as usize]).collect();
    Some(Split { devices, value })
}

/// Shortest chains, device by class.
fn chains(
    instance: &LoadInstance,
    graph: &ClassGraph,
    orders: &[Vec<u32>],
    effort: &Effort,
    stop: &dyn Fn() -> bool,
) -> Vec<Vec<u32>> {
    let mut found = Vec::new();
    let mut upper = u64::MAX;
    let mut search = |lattice: &Lattice| {
        if let Some((value, plan)) = chain::shortest(instance, graph, lattice, upper, stop) {
            upper = value;
            found.push(plan);
        }
    };
    for order in orders {
        search(&Lattice::chain(order));
    }
    if let Some(lattice) = Lattice::all(graph, effort.limits.memory_bytes / 2)
        && chain::bytes(instance, graph, lattice.len()) <= effort.limits.memory_bytes / 2
    {
        search(&lattice);
    }
    found
}
