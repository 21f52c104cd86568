//! Max-load under moves of single ops: a move costs as much as the tensors that the op touches,
//! times the devices that these reach.

use ir::id::{DeviceId, OpId, TensorId};
use ir::plan::Placement;
use ir::units::Nanos;

use super::{Load, loads};
use crate::ops::judge::verify::Violation;
use crate::ops::problem::{Problem, UNSUPPORTED};

/// A placement that changes move by move; every load is exact, and every move can be taken back.
pub struct LoadSession<'a> {
    problem: &'a Problem,
    device: Vec<DeviceId>,
    loads: Vec<u64>,
    /// By tensor: the devices with consumers, and how many.
    readers: Vec<Vec<(DeviceId, u32)>>,
    /// Transfers without a way.
    n_unreachable: u64,
    history: Vec<(OpId, DeviceId)>,
}

impl<'a> LoadSession<'a> {
    /// Starts from a placement.
    ///
    /// # Errors
    /// As [`super::loads`].
    pub fn new(problem: &'a Problem, placement: &Placement) -> Result<Self, Violation> {
        let loads = loads(problem, placement)?.iter().map(Load::total_ns).collect();
        let mut device = vec![DeviceId::new(0); problem.n_ops()];
        let mut readers = vec![Vec::new(); problem.n_tensors()];
        for (op, device_id) in
            problem.actions.iter().filter_map(|op| Some((*op, placement.of(*op)?)))
        {
            device[op.index()] = device_id;
            problem.inputs(op).iter().for_each(|t| add(&mut readers[t.index()], device_id));
        }
        Ok(Self { problem, device, loads, readers, n_unreachable: 0, history: Vec::new() })
    }

    /// Device of an action.
    #[must_use]
    pub fn device(&self, op: OpId) -> DeviceId {
        self.device[op.index()]
    }

    /// The placement as it stands.
    #[must_use]
    pub fn placement(&self) -> Placement {
        let mut device = vec![None; self.device.len()];
        for op in &self.problem.actions {
            device[op.index()] = Some(self.device[op.index()]);
        }
        Placement { device }
    }

    /// Load of each device, in nanoseconds, by id.
    #[must_use]
    pub fn loads_ns(&self) -> &[u64] {
        &self.loads
    }

    /// The greatest load; [`UNSUPPORTED`] where a tensor has no way.
    #[must_use]
    pub fn value(&self) -> Nanos {
        match self.n_unreachable {
            0 => Nanos(self.loads.iter().copied().max().unwrap_or(0)),
            _ => Nanos(UNSUPPORTED),
        }
    }

    /// Devices with consumers of a tensor, in no order.
    pub fn readers(&self, tensor: TensorId) -> impl Iterator<Item = DeviceId> + '_ {
        self.readers[tensor.index()].iter().map(|(device, _)| *device)
    }

    /// Moves an op; the caller keeps groups together and to what a device can run and hold.
    pub fn place(&mut self, op: OpId, to: DeviceId) {
        let before = self.device[op.index()];
        if before != to {
            self.history.push((op, before));
            self.shift(op, to);
        }
    }

    /// How many moves can be taken back.
    #[must_use]
    pub fn n_moves(&self) -> usize {
        self.history.len()
    }

    /// Takes moves back until `n_moves` are left.
    pub fn undo_to(&mut self, n_moves: usize) {
        while self.history.len() > n_moves {
            if let Some((op, device)) = self.history.pop() {
                self.shift(op, device);
            }
        }
    }

    /// Keeps all moves so far: they can't be taken back any more.
    pub fn keep(&mut self) {
        self.history.clear();
    }

    fn shift(&mut self, op: OpId, to: DeviceId) {
        let problem = self.problem;
        let from = self.device[op.index()];
        let touched = || problem.inputs(op).iter().chain(problem.outputs(op)).copied();
        touched().for_each(|tensor| self.charge(tensor, u64::saturating_sub, -1));
        self.device[op.index()] = to;
        let load = &mut self.loads[from.index()];
        *load = load.saturating_sub(problem.time_ns(op, from));
        let load = &mut self.loads[to.index()];
        *load = load.saturating_add(problem.time_ns(op, to));
        for &tensor in problem.inputs(op) {
            let readers = &mut self.readers[tensor.index()];
            if let Some(at) = readers.iter().position(|(device, _)| *device == from) {
                readers[at].1 -= 1;
                if readers[at].1 == 0 {
                    readers.swap_remove(at);
                }
            }
            add(readers, to);
        }
        touched().for_each(|tensor| self.charge(tensor, u64::saturating_add, 1));
    }

    /// Adds or takes away what the transfers of a tensor cost at both ends.
    fn charge(&mut self, tensor: TensorId, change: fn(u64, u64) -> u64, sign: i64) {
        let Some(producer) = self.problem.producer(tensor) else { return };
        let from = self.device[producer.index()];
        let mut slowest = 0;
        for &(to, _) in &self.readers[tensor.index()] {
            match self.problem.transfer_ns(tensor, from, to) {
                UNSUPPORTED => {
                    self.n_unreachable = self.n_unreachable.wrapping_add_signed(sign);
                }
                time => {
                    let load = &mut self.loads[to.index()];
                    *load = change(*load, time);
                    slowest = time.max(slowest);
                }
            }
        }
        let load = &mut self.loads[from.index()];
        *load = change(*load, slowest);
    }
}

fn add(readers: &mut Vec<(DeviceId, u32)>, device: DeviceId) {
    match readers.iter_mut().find(|(other, _)| *other == device) {
        Some((_, count)) => *count += 1,
        None => readers.push((device, 1)),
    }
}
