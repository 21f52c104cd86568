//! Plans to begin with.

use std::sync::Arc;

use cost_model::given::Goal;
use ir::instance::LoadInstance;

use crate::given::max_load::control::Control;
use crate::given::max_load::search;
use crate::given::{ideals, latency};

/// Work of the search that makes a first plan of any split: a fraction of a second.
const SEARCH_NODES: u64 = 4_000_000;
/// Moves of the search that makes a first plan for latency.
const MOVES: u64 = 20_000;

/// Device of each node by the best heuristic of the goal.
pub(super) fn heuristic(
    instance: &LoadInstance,
    goal: Goal,
    stop: &dyn Fn() -> bool,
) -> Option<Vec<u32>> {
    let limits = ideals::Limits::default();
    match goal {
        Goal::ContiguousMaxLoad => {
            ideals::on_orders(instance, &limits, stop).map(|split| split.devices)
        }
        Goal::Latency => {
            let effort = latency::Effort { n_moves: MOVES, ..latency::Effort::default() };
            latency::solve(instance, &effort, stop).map(|split| split.devices)
        }
        _ => {
            let control = Control::new(None, Some(SEARCH_NODES), Arc::default());
            let options = search::Options { exhausted: 0, ..search::Options::default() };
            let found = search::solve(instance, &options, &control, &mut |_, _| {}).ok();
            found.map(|found| found.device_of)
        }
    }
}
