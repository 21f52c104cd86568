//! Max-load from a problem's data alone: nothing here is shared with the program or the judge.

use std::collections::{BTreeMap, BTreeSet};

use cost_model::ops::problem::Problem;
use ir::id::{DeviceId, OpId, TensorId};
use ir::plan::Placement;
use ir::units::Bytes;

/// The greatest load; `None` where a tensor has no way or parameters don't fit.
pub(crate) fn greatest_load(problem: &Problem, placement: &Placement) -> Option<u64> {
    let graph = &problem.graph;
    let mut load: BTreeMap<DeviceId, u64> = BTreeMap::new();
    let mut held: BTreeMap<DeviceId, BTreeSet<TensorId>> = BTreeMap::new();
    for (op, entry) in graph.op_ids().zip(&graph.ops) {
        let own = placement.of(op)?;
        *load.entry(own).or_default() += problem.time_ns(op, own);
        held.entry(own).or_default().extend(entry.parameters.iter().copied());
        for &tensor in &entry.outputs {
            let readers = graph.op_ids().filter(|to| graph.op(*to).inputs.contains(&tensor));
            let reached: BTreeSet<DeviceId> = readers.filter_map(|to| placement.of(to)).collect();
            let bytes = Bytes(graph.tensor(tensor).bytes.get());
            let mut slowest = 0;
            for to in reached.into_iter().filter(|to| *to != own) {
                let time = problem.cluster.transfer_time(bytes, own, to)?.get();
                *load.entry(to).or_default() += time;
                slowest = slowest.max(time);
            }
            *load.entry(own).or_default() += slowest;
        }
    }
    for (device, tensors) in held {
        let bytes: u64 = tensors.iter().map(|tensor| graph.tensor(*tensor).bytes.get()).sum();
        if problem.cluster.devices[device.index()].capacity.is_some_and(|all| bytes > all.get()) {
            return None;
        }
    }
    load.into_values().max()
}

/// The least greatest load of all placements.
pub(crate) fn least(problem: &Problem) -> Option<u64> {
    let mut units: Vec<Vec<OpId>> = Vec::new();
    for op in problem.graph.op_ids() {
        let group = problem.group_of(op);
        let known = units.iter_mut().find(|unit| group.is_some() && problem.group_of(unit[0]) == group);
        match known {
            Some(unit) => unit.push(op),
            None => units.push(vec![op]),
        }
    }
    let n_devices = problem.cluster.n_devices();
    let mut search = All {
        problem,
        units: &units,
        work: vec![0; n_devices],
        placement: Placement { device: vec![None; problem.graph.ops.len()] },
        best: None,
    };
    search.place(0);
    search.best
}

struct All<'a> {
    problem: &'a Problem,
    units: &'a [Vec<OpId>],
    work: Vec<u64>,
    placement: Placement,
    best: Option<u64>,
}

impl All<'_> {
    /// Work alone that reaches the best is enough to turn back.
    fn place(&mut self, at: usize) {
        let Some(unit) = self.units.get(at) else {
            let value = greatest_load(self.problem, &self.placement);
            self.best = self.best.into_iter().chain(value).min();
            return;
        };
        for device in self.problem.cluster.device_ids() {
            if !unit.iter().all(|op| self.problem.can_place(*op, device)) {
                continue;
            }
            let time: u64 = unit.iter().map(|op| self.problem.time_ns(*op, device)).sum();
            self.work[device.index()] += time;
            if self.best.is_none_or(|best| self.work[device.index()] < best) {
                unit.iter().for_each(|op| self.placement.device[op.index()] = Some(device));
                self.place(at + 1);
            }
            self.work[device.index()] -= time;
        }
    }
}
