//! The problem in flat arrays.

use cost_model::ops::problem::{Problem, UNSUPPORTED};
use ir::id::{DeviceId, OpId, TensorId};
use ir::units::Bytes;

/// Mark for "no such entry" in tables of `u32`.
pub(super) const NONE: u32 = u32::MAX;

/// What the dispatcher reads, laid out for speed.
pub(crate) struct Network<'a> {
    pub(crate) problem: &'a Problem,
    pub(crate) n_devices: usize,
    /// By op: where its edges (tensors that it reads, parameters not counted) begin.
    pub(super) edge_start: Vec<u32>,
    /// By tensor: where its readers begin.
    pub(super) reader_start: Vec<u32>,
    /// (op, edge) by tensor.
    pub(super) readers: Vec<(u32, u32)>,
    /// `tensor * n_ways + way`: nanoseconds of a transfer.
    transfer: Vec<u64>,
    n_ways: usize,
    /// `from * n_devices + to`: the way, [`NONE`] without one.
    way: Vec<u32>,
    /// `from * n_devices + to`: channels at both ends.
    pub(super) channels: Vec<(u32, u32)>,
    /// By op: least nanoseconds from its start to the end of the step.
    pub(super) tail: Vec<u64>,
    pub(super) limit: Vec<u64>,
    /// Parameters and graph inputs that are read.
    pub(super) given: Vec<TensorId>,
}

impl<'a> Network<'a> {
    pub(crate) fn new(problem: &'a Problem) -> Self {
        let n_devices = problem.cluster.n_devices();
        let (edge_start, reader_start, readers) = edges(problem);
        let kinds = &problem.cluster.links.kinds;
        let mut transfer = Vec::with_capacity(problem.n_tensors() * kinds.len());
        for tensor in (0..problem.n_tensors()).map(TensorId::new) {
            let bytes = Bytes(problem.bytes(tensor));
            transfer.extend(kinds.iter().map(|kind| kind.time(bytes).get()));
        }
        let mut way = vec![NONE; n_devices * n_devices];
        let mut channels = vec![(0, 0); n_devices * n_devices];
        for from in problem.cluster.device_ids() {
            for to in problem.cluster.device_ids() {
                let slot = from.index() * n_devices + to.index();
                if let Some(route) = problem.cluster.route(from, to) {
                    way[slot] = u32::from(problem.cluster.links.pairs[slot]);
                    channels[slot] = (route.send.0, route.receive.0);
                }
            }
        }
        let unread = |t: &TensorId| problem.consumers(*t).is_empty();
        let given = (0..problem.n_tensors())
            .map(TensorId::new)
            .filter(|t| problem.producer(*t).is_none() && !unread(t))
            .collect();
        Self {
            problem,
            n_devices,
            edge_start,
            reader_start,
            readers,
            transfer,
            n_ways: kinds.len(),
            way,
            channels,
            tail: tails(problem),
            limit: problem.cluster.device_ids().map(|d| problem.memory_limit(d)).collect(),
            given,
        }
    }

    /// Nanoseconds of a transfer, `None` without a way.
    pub(crate) fn transfer_ns(&self, tensor: TensorId, from: usize, to: usize) -> Option<u64> {
        let way = self.way[from * self.n_devices + to];
        (way != NONE).then(|| self.transfer[tensor.index() * self.n_ways + way as usize])
    }

    /// Ordered pairs of devices on each way.
    fn way_counts(&self) -> impl Iterator<Item = (usize, u128)> + '_ {
        (0..self.n_ways).map(|way| {
            let count = self.way.iter().filter(|number| **number as usize == way).count();
            (way, count as u128)
        })
    }

    /// Nanoseconds of a transfer, by tensor: the mean over all ordered pairs of devices that have a
    /// way.
    pub(crate) fn mean_transfers(&self) -> Vec<u64> {
        let counts: Vec<(usize, u128)> = self.way_counts().filter(|(_, n)| *n > 0).collect();
        let n_pairs: u128 = counts.iter().map(|(_, n)| n).sum();
        (0..self.problem.n_tensors())
            .map(|tensor| {
                let times = counts
                    .iter()
                    .map(|(way, n)| u128::from(self.transfer[tensor * self.n_ways + way]) * n);
                let mean = times.sum::<u128>().checked_div(n_pairs).unwrap_or(0);
                u64::try_from(mean).unwrap_or(UNSUPPORTED)
            })
            .collect()
    }

    /// Bytes that a device can hold, `u64::MAX` where unlimited.
    pub(crate) fn limit_of(&self, device: usize) -> u64 {
        self.limit[device]
    }

    /// Ops and edges: what one dispatch walks through.
    pub(crate) fn n_steps(&self) -> u64 {
        (self.problem.actions.len() + self.readers.len()) as u64
    }

    pub(crate) fn time_ns(&self, op: usize, device: usize) -> u64 {
        self.problem.time_ns(OpId::new(op), DeviceId::new(device))
    }
}

type Edges = (Vec<u32>, Vec<u32>, Vec<(u32, u32)>);

/// Edges by op, and readers by tensor. An op's edges are its inputs, then its graph inputs.
fn edges(problem: &Problem) -> Edges {
    let mut edge_start = vec![0u32; problem.n_ops() + 1];
    let mut pairs: Vec<(u32, u32, u32)> = Vec::new();
    for op in (0..problem.n_ops()).map(OpId::new) {
        let read = problem.inputs(op).iter().chain(problem.graph_inputs(op));
        for tensor in read {
            let edge = u32::try_from(pairs.len()).unwrap_or(NONE);
            pairs.push((tensor.0, op.0, edge));
        }
        edge_start[op.index() + 1] = u32::try_from(pairs.len()).unwrap_or(NONE);
    }
    pairs.sort_unstable();
    let mut reader_start = vec![0u32; problem.n_tensors() + 1];
    for (tensor, _, _) in &pairs {
        reader_start[*tensor as usize + 1] += 1;
    }
    for tensor in 0..problem.n_tensors() {
        reader_start[tensor + 1] += reader_start[tensor];
    }
    let readers = pairs.into_iter().map(|(_, op, edge)| (op, edge)).collect();
    (edge_start, reader_start, readers)
}

/// By op, the longest chain of least times from its start on, transfers left out.
fn tails(problem: &Problem) -> Vec<u64> {
    let mut tail = vec![0u64; problem.n_ops()];
    for &op in problem.topological_order().iter().rev() {
        let consumers = problem.outputs(op).iter().flat_map(|t| problem.consumers(*t));
        let after = consumers.map(|consumer| tail[consumer.index()]).max().unwrap_or(0);
        tail[op.index()] = after.saturating_add(problem.least_time_ns(op));
    }
    tail
}
