//! Max-load from a problem's data alone: nothing here is shared with the program or the judge.

use std::collections::{BTreeMap, BTreeSet};

use cost_model::ops::problem::Problem;
use ir::graph::Graph;
use ir::id::{DeviceId, OpId, TensorId};
use ir::instance::{LoadInstance, LoadNode};
use ir::op::{Op, Phase, Work};
use ir::plan::Placement;
use ir::units::{Bytes, Nanos};

/// Whose memory each tensor names: a view renames what it reads first.
pub(crate) fn roots(graph: &Graph) -> Vec<TensorId> {
    let mut root: Vec<TensorId> = (0..graph.tensors.len()).map(TensorId::new).collect();
    let views = graph.ops.iter().filter(|op| op.work == Work::View);
    let renamed = |view: &'_ Op| view.inputs.iter().chain(&view.parameters).next().copied();
    let pairs: Vec<(TensorId, &[TensorId])> =
        views.filter_map(|view| Some((renamed(view)?, &view.outputs[..]))).collect();
    // Views of views: as many rounds as there are, at most.
    while pairs.iter().any(|(of, outputs)| {
        let target = root[of.index()];
        outputs.iter().any(|output| std::mem::replace(&mut root[output.index()], target) != target)
    }) {}
    root
}

/// What is read, and by which ops.
pub(crate) fn readers(graph: &Graph) -> BTreeMap<TensorId, BTreeSet<OpId>> {
    let root = roots(graph);
    let mut readers: BTreeMap<TensorId, BTreeSet<OpId>> = BTreeMap::new();
    for (op, entry) in graph.op_ids().zip(&graph.ops).filter(|(_, op)| op.work != Work::View) {
        for input in &entry.inputs {
            readers.entry(root[input.index()]).or_default().insert(op);
        }
    }
    readers
}

/// The greatest load; `None` where a tensor has no way or parameters don't fit.
pub(crate) fn greatest_load(problem: &Problem, placement: &Placement) -> Option<u64> {
    let graph = &problem.graph;
    let readers = readers(graph);
    let mut load: BTreeMap<DeviceId, u64> = BTreeMap::new();
    let mut parameters: BTreeMap<DeviceId, BTreeSet<TensorId>> = BTreeMap::new();
    for (op, entry) in graph.op_ids().zip(&graph.ops).filter(|(_, op)| op.work != Work::View) {
        let device = placement.of(op)?;
        *load.entry(device).or_default() += problem.time_ns(op, device);
        parameters.entry(device).or_default().extend(entry.parameters.iter().copied());
        for tensor in &entry.outputs {
            let ops = readers.get(tensor).into_iter().flatten();
            let reached: BTreeSet<DeviceId> = ops.filter_map(|to| placement.of(*to)).collect();
            let mut slowest = 0;
            for to in reached.into_iter().filter(|to| *to != device) {
                let bytes = graph.tensor(*tensor).bytes;
                let time = problem.cluster.transfer_time(bytes, device, to)?.get();
                *load.entry(to).or_default() += time;
                slowest = slowest.max(time);
            }
            *load.entry(device).or_default() += slowest;
        }
    }
    for (device, tensors) in parameters {
        let bytes: u64 = tensors.iter().map(|tensor| graph.tensor(*tensor).bytes.get()).sum();
        if problem.cluster.devices[device.index()].capacity.is_some_and(|all| bytes > all.get()) {
            return None;
        }
    }
    load.into_values().max()
}

/// A model on equal devices and links as an instance: a node for each op, then one for each tensor
/// that is read, which has the op's colour and takes no time.
pub(crate) fn instance(problem: &Problem) -> LoadInstance {
    let (graph, cluster) = (&problem.graph, &problem.cluster);
    let ops: Vec<OpId> = graph.op_ids().filter(|op| graph.op(*op).work != Work::View).collect();
    let at: BTreeMap<OpId, u32> = ops.iter().copied().zip(0..).collect();
    let mut nodes: Vec<LoadNode> = Vec::new();
    let mut edges = BTreeSet::new();
    let node = |op: OpId, time: u64, transfer: Nanos| LoadNode {
        source_id: u64::from(op.0),
        name: graph.op(op).name.clone(),
        cpu: Nanos(time),
        accelerator: Some(Nanos(time)),
        transfer,
        bytes: Bytes::ZERO,
        colour: Some(problem.group_of(op).map_or(at[&op] + problem.groups.len() as u32, |g| g.0)),
        phase: Phase::Forward,
    };
    nodes.extend(
        ops.iter().map(|op| node(*op, problem.time_ns(*op, DeviceId::new(0)), Nanos::ZERO)),
    );
    let readers = readers(graph);
    for &op in &ops {
        for tensor in &graph.op(op).outputs {
            let Some(to) = readers.get(tensor) else { continue };
            let bytes = graph.tensor(*tensor).bytes;
            let time = cluster.transfer_time(bytes, DeviceId::new(0), DeviceId::new(1)).unwrap();
            let number = nodes.len() as u32;
            nodes.push(node(op, 0, time));
            edges.insert((at[&op], number));
            edges.extend(to.iter().map(|to| (number, at[to])));
        }
    }
    LoadInstance {
        name: "by hand".to_owned(),
        n_colours: problem.groups.len() + ops.len(),
        nodes,
        edges: edges.into_iter().collect(),
        n_accelerators: cluster.n_devices(),
        n_cpus: 0,
        accelerator_memory: Bytes::MAX,
    }
}

/// The least greatest load of all placements.
pub(crate) fn least(problem: &Problem) -> Option<u64> {
    let mut units: Vec<Vec<OpId>> = Vec::new();
    for op in problem.graph.op_ids() {
        let group = problem.group_of(op);
        let known =
            units.iter_mut().find(|unit| group.is_some() && problem.group_of(unit[0]) == group);
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
