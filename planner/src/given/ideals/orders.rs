//! Contiguous max-load on a few topological orders of classes, where the program is quick.
//!
//! # Decides
//! The device of every node, contiguous.
//!
//! # Idea
//! The prefixes of one order are ideals, and a chain of them is a plan. Orders are breadth first,
//! depth first, and depth first with the classes on short or long ways first.
//!
//! # Paper
//! Tarnawski et al., "Efficient Algorithms for Device Placement of DNN Graph Operators", NeurIPS
//! 2020, section 5.1 (linearisation).
//!
//! # Guarantee
//! None; optimal among the plans that cut one of the orders.
//!
//! # Complexity
//! O(classes^2 x devices) per order.
//!
//! # Limits
//! Orders of up to 20,000 classes.
//!
//! # Example
//! On a chain there is one order, and the plan is the best contiguous one.

use std::cmp::Reverse;

use cost_model::given::Goal;
use ir::instance::Instance;
use ir::order::topological;

use super::classes::ClassGraph;
use super::{Limits, on_orders, program};
use crate::given::runner::{Effort, Method, Solution};
use crate::run::algorithm::Guarantee;

/// How the row solves instances.
pub(crate) const METHOD: Method = Method {
    goals: &[Goal::ContiguousMaxLoad, Goal::MaxLoad],
    effort: Effort::Quick,
    guarantee: Guarantee::Heuristic,
    solve: |run, _| {
        let Instance::Load(instance) = run.instance() else { return Ok(()) };
        let stop = || run.spend(program::PAIRS_PER_LOOK);
        if let Some(split) = on_orders(instance, &Limits::default(), &stop) {
            run.offer(Solution::Devices(split.devices))?;
        }
        Ok(())
    },
};

/// Distinct orders: breadth first, depth first, and depth first with short or long ways first.
#[must_use]
pub(crate) fn several(graph: &ClassGraph) -> Vec<Vec<u32>> {
    let n_classes = graph.n_classes();
    let mut after: Vec<Vec<u32>> = vec![Vec::new(); n_classes];
    let mut n_before = vec![0u32; n_classes];
    for &(from, to) in &graph.before {
        after[from as usize].push(to);
        n_before[to as usize] += 1;
    }
    let numbers: Vec<u64> = (0..n_classes as u64).collect();
    let reversed: Vec<u64> = numbers.iter().map(|n| n_classes as u64 - n).collect();
    let way = longest_way(&after, &n_before);
    let longest = way.iter().copied().max().unwrap_or(0);
    let short: Vec<u64> = way.iter().map(|way| longest - way).collect();
    let mut orders = vec![breadth_first(&after, &n_before)];
    for keys in [&numbers, &reversed, &way, &short] {
        let order = depth_first(&after, &n_before, keys);
        if !orders.contains(&order) {
            orders.push(order);
        }
    }
    orders
}

/// Kahn, first in first out.
fn breadth_first(after: &[Vec<u32>], n_before: &[u32]) -> Vec<u32> {
    by(after, n_before, |_, turn| turn)
}

/// Kahn, last in first out; of classes that become ready at once the one with the greatest key
/// goes first.
fn depth_first(after: &[Vec<u32>], n_before: &[u32], keys: &[u64]) -> Vec<u32> {
    by(after, n_before, |class, turn| Reverse((turn, keys[class], class)))
}

fn by<K: Ord>(after: &[Vec<u32>], n_before: &[u32], key: impl Fn(usize, usize) -> K) -> Vec<u32> {
    let mut missing: Vec<usize> = n_before.iter().map(|n| *n as usize).collect();
    let next = |class: usize| after[class].iter().map(|next| *next as usize);
    let order = topological(0..after.len(), &mut missing, next, key);
    order.into_iter().map(|class| class as u32).collect()
}

/// Classes on the longest way from each class to an end.
fn longest_way(after: &[Vec<u32>], n_before: &[u32]) -> Vec<u64> {
    let mut way = vec![1u64; after.len()];
    for class in breadth_first(after, n_before).into_iter().rev() {
        let longest = after[class as usize].iter().map(|next| way[*next as usize]).max();
        way[class as usize] += longest.unwrap_or(0);
    }
    way
}
