//! Contiguous max-load: the best way to cut a model into pieces, one device each.
//!
//! # Decides
//! The device of every node, such that the devices can be put in an order in which no forward edge
//! goes back.
//!
//! # Idea
//! What lies before a cut is an ideal: a set of classes that holds all that comes before its
//! members. A plan is a chain of ideals. A first plan comes from the same program on the prefixes
//! of a few topological orders. Then all ideals are listed by size, and from each one the larger
//! ideals are searched; a chain is given up when the work that is left does not fit on the devices
//! that are left at the value of the incumbent, a piece when its own work reaches that value, and
//! the border of a piece is only added up where its work alone could improve a state.
//!
//! # Paper
//! Tarnawski et al., "Efficient Algorithms for Device Placement of DNN Graph Operators", NeurIPS
//! 2020, section 5.1 (the program over ideals) and appendix (backward classes without a forward
//! node stand where their mirror image would; linearisation).
//!
//! # Guarantee
//! Optimal among such plans if the list of ideals fits into its memory and time suffices, else
//! none. Devices that only pairwise have no path out and back, but no common order, are not
//! considered.
//!
//! # Complexity
//! O(pairs of nested ideals x devices) time, O(ideals x accelerators x cores) memory.
//!
//! # Limits
//! Ideals can be exponentially many; then the best order counts.
//!
//! # Example
//! Two classes of 3 and 5 ns with 1 ns between them on two accelerators: pieces of 4 and 6 ns.

pub mod classes;
pub mod lattice;
pub(crate) mod orders;
pub(crate) mod pieces;
pub mod program;

use cost_model::given::Goal;
use ir::diagnostic::Diagnostic;
use ir::instance::{Instance, LoadInstance};
use ir::units::Nanos;

use crate::given::runner::{Effort, Method, Run, Solution, method};
use crate::run::algorithm::{Guarantee, Options};
use classes::ClassGraph;
use lattice::Lattice;
use program::Verdict;

/// How the row solves instances.
pub(crate) const METHOD: Method = Method {
    goals: &[Goal::ContiguousMaxLoad, Goal::MaxLoad],
    effort: Effort::Thorough,
    guarantee: Guarantee::OptimalAmong("contiguous splits whose devices have an order"),
    solve: |run, _: &Options| {
        let Instance::Load(instance) = run.instance() else { return Ok(()) };
        tell(run, solve(instance, &Limits::default(), &|| run.spend(program::PAIRS_PER_LOOK)))
    },
};

/// Takes what the search found to the run.
pub(crate) fn tell(run: &Run, found: Found) -> Result<(), Diagnostic> {
    // What holds for contiguous splits says nothing about all of them.
    let is_proved = found.is_proved && run.goal() != Goal::MaxLoad;
    match found.split {
        Some(Split { devices, value }) => {
            run.offer(Solution::Devices(devices))?;
            if is_proved {
                run.prove(value, method::IDEALS);
            }
        }
        None if is_proved => run.close(method::IDEALS),
        None => {}
    }
    Ok(())
}

/// What a search may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the list of ideals and the table over it.
    pub memory_bytes: usize,
    /// Longest order for which the program is run, in classes: it takes the square of it.
    pub order_classes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory_bytes: 1 << 28, order_classes: 20_000 }
    }
}

/// A contiguous split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Device of each node: accelerators first, then CPU cores.
    pub devices: Vec<u32>,
    /// Its greatest load.
    pub value: Nanos,
}

/// What the search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The best split; `None` if there is none within memory, or none was found.
    pub split: Option<Split>,
    /// Whether all ideals were searched: then no split is better, or there is none.
    pub is_proved: bool,
    /// Number of ideals, if they could be listed.
    pub n_ideals: Option<usize>,
}

/// The best split on a few topological orders.
#[must_use]
pub fn on_orders(
    instance: &LoadInstance,
    limits: &Limits,
    stop: &dyn Fn() -> bool,
) -> Option<Split> {
    let graph = ClassGraph::ordered(instance);
    let best = best_order(instance, &graph, limits, stop)?;
    Some(lifted(&graph, best))
}

/// The best split, proved where time and memory suffice.
#[must_use]
pub fn solve(instance: &LoadInstance, limits: &Limits, stop: &dyn Fn() -> bool) -> Found {
    let graph = ClassGraph::ordered(instance);
    let seed = best_order(instance, &graph, limits, stop);
    // The table is about as large as the list.
    let lattice = Lattice::all(&graph, limits.memory_bytes / 2).filter(|lattice| {
        program::bytes(instance, &graph, lattice.n_ideals()) <= limits.memory_bytes / 2
    });
    let Some(lattice) = lattice else {
        let split = seed.map(|best| lifted(&graph, best));
        return Found { split, is_proved: false, n_ideals: None };
    };
    let upper = seed.as_ref().map_or(u64::MAX, |(value, _)| *value);
    let (best, is_proved) = match program::solve(instance, &graph, &lattice, upper, stop) {
        Verdict::Better(value, devices) => (Some((value, devices)), true),
        Verdict::NoneBetter => (seed, true),
        Verdict::Stopped => (seed, false),
    };
    let split = best.map(|best| lifted(&graph, best));
    Found { split, is_proved, n_ideals: Some(lattice.n_ideals()) }
}

fn best_order(
    instance: &LoadInstance,
    graph: &ClassGraph,
    limits: &Limits,
    stop: &dyn Fn() -> bool,
) -> Option<(u64, Vec<u32>)> {
    let n_classes = graph.n_classes();
    if n_classes > limits.order_classes
        || program::bytes(instance, graph, n_classes + 1) > limits.memory_bytes
    {
        return None;
    }
    let mut best: Option<(u64, Vec<u32>)> = None;
    for order in orders::several(graph) {
        let upper = best.as_ref().map_or(u64::MAX, |(value, _)| *value);
        let lattice = Lattice::chain(&order);
        if let Verdict::Better(value, devices) =
            program::solve(instance, graph, &lattice, upper, stop)
        {
            best = Some((value, devices));
        }
    }
    best
}

fn lifted(graph: &ClassGraph, (value, devices): (u64, Vec<u32>)) -> Split {
    let of_node = graph.class_of.iter().map(|class| devices[*class as usize]).collect();
    Split { devices: of_node, value: Nanos(value) }
}
