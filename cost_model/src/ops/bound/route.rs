//! A tensor that no plan can deliver.
//!
//! A consumer that is not on the device of the producer needs a way from there. If producer and
//! consumer have no device in common, and no way leads from any device of the producer to any
//! device of the consumer, every placement breaks that rule: no plan exists.

use std::collections::HashMap;

use ir::diagnostic::{Blame, Diagnostic};
use ir::id::{DeviceId, OpId, TensorId};

use crate::numeric::device_set::DeviceSet;
use crate::ops::problem::Problem;

/// At most so many devices are named in a fact.
const MAX_NAMES: usize = 8;

/// The first tensor, by id, that can't be delivered.
pub(super) fn find(problem: &Problem) -> Option<Diagnostic> {
    if problem.cluster.is_connected() {
        return None;
    }
    let mut known: HashMap<(&DeviceSet, &DeviceSet), bool> = HashMap::new();
    for tensor in (0..problem.n_tensors()).map(TensorId::new) {
        let Some(producer) = problem.producer(tensor) else { continue };
        let from = problem.placeable(producer);
        for &consumer in problem.consumers(tensor) {
            let to = problem.placeable(consumer);
            let reachable = *known.entry((from, to)).or_insert_with(|| any_way(problem, from, to));
            if !reachable {
                return Some(diagnostic(problem, tensor, producer, consumer));
            }
        }
    }
    None
}

fn any_way(problem: &Problem, from: &DeviceSet, to: &DeviceSet) -> bool {
    from.iter().any(|a| to.iter().any(|b| a == b || problem.cluster.route(a, b).is_some()))
}

fn diagnostic(problem: &Problem, tensor: TensorId, producer: OpId, consumer: OpId) -> Diagnostic {
    let name = |op: OpId| problem.graph.op(op).name.clone();
    let tensor = problem.graph.tensor(tensor).name.clone();
    let device = |d: DeviceId| problem.cluster.devices[d.index()].name.clone();
    let devices = |op: OpId| -> Vec<String> {
        problem.placeable(op).iter().take(MAX_NAMES).map(device).collect()
    };
    let message = format!(
        "tensor `{tensor}` can't get from op `{}` to op `{}`: no way leads from any device of the one to any device of the other",
        name(producer),
        name(consumer)
    );
    Diagnostic::error(Blame::Infeasible, "no-route", message)
        .fact("tensor", tensor)
        .fact("producer", name(producer))
        .fact("consumer", name(consumer))
        .fact("producer_devices", devices(producer))
        .fact("consumer_devices", devices(consumer))
        .hint("connect these devices in the cluster file, or loosen the pins and forbids of these ops")
}
