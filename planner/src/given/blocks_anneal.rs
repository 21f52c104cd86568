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
//! Every accelerator runs one block (the authors' `q = 1`). Models on equal devices take the same
//! road through [`super::as_instance`].
//!
//! # Example
//! A chain that fits on one accelerator takes the sum of its times there.

use cost_model::given::Goal;
use ir::instance::Instance;

use super::latency::{self, Effort as Search};
use crate::given::runner::{Effort, Method, Solution};
use crate::run::algorithm::Guarantee;

/// Nodes that one look at the limits stands for: pairs of ideals, or moves times edges.
const NODES_PER_LOOK: u64 = 1 << 16;

/// How the row solves instances.
pub(crate) const METHOD: Method = Method {
    goals: &[Goal::Latency],
    effort: Effort::Quick,
    guarantee: Guarantee::Heuristic,
    solve: |run, _| {
        let Instance::Load(instance) = run.instance() else { return Ok(()) };
        let search = Search { seed: run.seed(), ..Search::default() };
        let stop = || run.spend(NODES_PER_LOOK);
        if let Some(split) = latency::solve(instance, &search, &stop) {
            run.offer(Solution::Devices(split.devices))?;
        }
        Ok(())
    },
};
