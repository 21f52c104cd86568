//! What max-load says of a plan: the busiest device, and what it is busy with.

use cost_model::ops::max_load::{Load, loads};
use cost_model::ops::problem::Objective;
use ir::units::Nanos;
use serde_json::{Value, json};

use crate::kinds::placement::replay::Replayed;

/// The loads of a plan that was made for max-load; `None` for any other.
pub fn of(replayed: &Replayed) -> Option<Vec<Load>> {
    let problem = &replayed.on.loaded.problem;
    let is_max_load = problem.objective == Objective::MAX_LOAD;
    is_max_load.then(|| loads(problem, &replayed.on.plan.placement).ok()).flatten()
}

/// `max load 12.0 ms: d3 computes 11.8 ms, sends 100.0 us and receives 100.0 us of each step`.
pub fn sentence(replayed: &Replayed, loads: &[Load]) -> String {
    let first = |(at, load): &(usize, &Load)| (load.total_ns(), std::cmp::Reverse(*at));
    let Some((at, load)) = loads.iter().enumerate().max_by_key(first) else {
        return "there is no device".to_owned();
    };
    format!(
        "max load {}: {} computes {}, sends {} and receives {} in each step",
        Nanos(load.total_ns()),
        replayed.on.loaded.problem.cluster.devices[at].name,
        Nanos(load.compute_ns),
        Nanos(load.send_ns),
        Nanos(load.receive_ns),
    )
}

/// All loads, by name of the device.
pub fn document(replayed: &Replayed, loads: &[Load]) -> Value {
    let devices = &replayed.on.loaded.problem.cluster.devices;
    let load = |(device, load): (&ir::cluster::Device, &Load)| {
        json!({
            "device": device.name,
            "load_ns": load.total_ns(),
            "compute_ns": load.compute_ns,
            "send_ns": load.send_ns,
            "receive_ns": load.receive_ns,
        })
    };
    devices.iter().zip(loads).map(load).collect()
}
