//! The search behind [`super::blocks_anneal`]: chains of blocks, greedy fills, then moves.

mod chain;
mod greedy;
mod moves;

use cost_model::given::latency::{Blocks, evaluate};
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
        && chain::bytes(instance, graph, lattice.n_ideals()) <= effort.limits.memory_bytes / 2
    {
        search(&lattice);
    }
    found
}
