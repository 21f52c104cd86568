//! Filling one device after the other from the front of a line.

use cost_model::ops::problem::{Problem, UNSUPPORTED};
use ir::id::{DeviceId, OpId, TensorId};
use ir::plan::Placement;

/// Until when a result of the model is needed.
const FOR_EVER: usize = usize::MAX;

/// What no device may pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    /// Load in nanoseconds.
    pub(super) load_ns: u64,
    /// Part of the memory limit.
    pub(super) memory_share: f64,
}

/// A line, ready to be cut for one target after the other.
pub(super) struct Filler<'a> {
    problem: &'a Problem,
    /// Ops of all units, unit by unit, in the order of their first members in the line.
    ops: Vec<OpId>,
    /// Where each unit starts in `ops`, and the end.
    starts: Vec<usize>,
    /// By tensor: position in `ops` of its last reader, 0 without any.
    last_reader: Vec<usize>,
    /// By op: its place; the fill of the last target.
    device: Vec<Option<DeviceId>>,
    /// By tensor: the fill and the piece that counted it last.
    counted: Vec<u32>,
    /// By tensor: the piece whose op wrote it.
    written: Vec<u32>,
    piece: u32,
}

/// What the piece at hand amounts to.
#[derive(Clone, Copy, Default)]
struct Sum {
    compute: u64,
    receive: u64,
    send: u64,
    /// Parameters and graph inputs.
    kept: u64,
    received: u64,
    alive: u64,
    peak: u64,
}

impl Sum {
    fn load(&self) -> u64 {
        self.compute.saturating_add(self.receive).saturating_add(self.send)
    }

    fn bytes(&self) -> u64 {
        self.kept.saturating_add(self.received).saturating_add(self.peak)
    }
}

impl<'a> Filler<'a> {
    pub(super) fn new(problem: &'a Problem, line: &[OpId]) -> Self {
        let mut ops = Vec::with_capacity(line.len());
        let mut starts = Vec::new();
        let mut rank = vec![0; problem.n_ops()];
        for (at, op) in line.iter().enumerate() {
            rank[op.index()] = at;
        }
        let mut is_taken = vec![false; problem.n_ops()];
        for &op in line {
            if is_taken[op.index()] {
                continue;
            }
            starts.push(ops.len());
            match problem.group_of(op) {
                None => ops.push(op),
                Some(group) => ops.extend_from_slice(&problem.groups[group.index()]),
            }
            let unit = starts.last().map_or(0, |start| *start);
            ops[unit..].sort_unstable_by_key(|op| rank[op.index()]);
            ops[unit..].iter().for_each(|op| is_taken[op.index()] = true);
        }
        starts.push(ops.len());
        let mut last_reader = vec![0; problem.n_tensors()];
        for (at, op) in ops.iter().enumerate() {
            problem.inputs(*op).iter().for_each(|tensor| last_reader[tensor.index()] = at);
        }
        Self {
            problem,
            ops,
            starts,
            last_reader,
            device: vec![None; problem.n_ops()],
            counted: vec![0; problem.n_tensors()],
            written: vec![0; problem.n_tensors()],
            piece: 0,
        }
    }

    /// Cuts the line; `None` if the devices do not suffice.
    pub(super) fn fill(&mut self, sequence: &[DeviceId], target: &Target) -> Option<Placement> {
        self.device.fill(None);
        let n_units = self.starts.len() - 1;
        let mut unit = 0;
        for (at, &device) in sequence.iter().enumerate() {
            let next = sequence.get(at + 1).copied().unwrap_or(device);
            let end = self.longest(unit, device, next, target);
            for op in &self.ops[self.starts[unit]..self.starts[end]] {
                let place = &mut self.device[op.index()];
                *place = Some(device);
            }
            self.elsewhere(unit, end, device);
            unit = end;
            if unit == n_units {
                return Some(Placement { device: self.device.clone() });
            }
        }
        None
    }

    /// The end of the longest piece from `first` on that the device can carry.
    fn longest(
        &mut self,
        first: usize,
        device: DeviceId,
        next: DeviceId,
        target: &Target,
    ) -> usize {
        self.next_piece();
        let limit = match self.problem.memory_limit(device) {
            u64::MAX => u64::MAX,
            // A float cast saturates.
            limit => (limit as f64 * target.memory_share) as u64,
        };
        let mut sum = Sum::default();
        let mut end = first;
        for unit in first..self.starts.len() - 1 {
            let range = self.starts[unit]..self.starts[unit + 1];
            if self.problem.can_place(self.ops[range.start], device) {
                range.for_each(|at| self.take(at, device, next, &mut sum));
            }
            // These only grow.
            if sum.bytes() > limit || sum.compute.saturating_add(sum.receive) > target.load_ns {
                break;
            }
            if sum.load() <= target.load_ns {
                end = unit + 1;
            }
        }
        end
    }

    fn next_piece(&mut self) {
        self.piece = self.piece.wrapping_add(1);
        if self.piece == 0 {
            self.counted.fill(0);
            self.written.fill(0);
            self.piece = 1;
        }
    }

    /// Adds the op at a position to the piece at hand.
    fn take(&mut self, at: usize, device: DeviceId, next: DeviceId, sum: &mut Sum) {
        let problem = self.problem;
        let op = self.ops[at];
        sum.compute = sum.compute.saturating_add(problem.time_ns(op, device));
        for &tensor in problem.parameters(op) {
            if self.first_count(tensor) {
                sum.kept = sum.kept.saturating_add(problem.persistent_bytes(tensor));
            }
        }
        for &tensor in problem.graph_inputs(op) {
            if self.first_count(tensor) {
                sum.kept = sum.kept.saturating_add(problem.bytes(tensor));
            }
        }
        for &tensor in problem.outputs(op) {
            self.written[tensor.index()] = self.piece;
            sum.alive = sum.alive.saturating_add(problem.bytes(tensor));
            if self.last_reader[tensor.index()] > at {
                sum.send = sum.send.saturating_add(transfer(problem, tensor, device, next));
            }
        }
        sum.peak = sum.peak.max(sum.alive.saturating_add(problem.temporary(op)));
        for &tensor in problem.inputs(op) {
            self.read(tensor, at, device, next, sum);
        }
        for &tensor in problem.outputs(op) {
            if problem.consumers(tensor).is_empty() && self.until(tensor) != FOR_EVER {
                sum.alive = sum.alive.saturating_sub(problem.bytes(tensor));
            }
        }
    }

    fn read(
        &mut self,
        tensor: TensorId,
        at: usize,
        device: DeviceId,
        next: DeviceId,
        sum: &mut Sum,
    ) {
        let problem = self.problem;
        if self.written[tensor.index()] == self.piece {
            if self.last_reader[tensor.index()] == at {
                sum.send = sum.send.saturating_sub(transfer(problem, tensor, device, next));
            }
            if self.until(tensor) == at {
                sum.alive = sum.alive.saturating_sub(problem.bytes(tensor));
            }
            return;
        }
        if self.first_count(tensor) {
            let maker = problem.producer(tensor).and_then(|op| self.device[op.index()]);
            let time = maker.map_or(0, |from| transfer(problem, tensor, from, device));
            sum.receive = sum.receive.saturating_add(time);
            sum.received = sum.received.saturating_add(problem.bytes(tensor));
        }
    }

    /// Until which position a tensor is needed.
    fn until(&self, tensor: TensorId) -> usize {
        if self.problem.is_output(tensor) { FOR_EVER } else { self.last_reader[tensor.index()] }
    }

    fn first_count(&mut self, tensor: TensorId) -> bool {
        std::mem::replace(&mut self.counted[tensor.index()], self.piece) != self.piece
    }

    /// Units of a piece that its device can't run go to the device of their neighbour in the line
    /// where that can, else to the first that can.
    fn elsewhere(&mut self, first: usize, end: usize, device: DeviceId) {
        for unit in first..end {
            let range = self.starts[unit]..self.starts[unit + 1];
            let head = self.ops[range.start];
            if self.problem.can_place(head, device) {
                continue;
            }
            let inputs = self.problem.inputs(head).iter();
            let makers = inputs.filter_map(|tensor| self.problem.producer(*tensor));
            let mut near = makers.filter_map(|op| self.device[op.index()]);
            let near = near.rfind(|near| self.problem.can_place(head, *near));
            let place = near.or_else(|| self.problem.placeable(head).iter().next());
            self.ops[range].iter().for_each(|op| self.device[op.index()] = place);
        }
    }
}

/// Nanoseconds of a transfer, most of the range where there is no way: no target admits it.
fn transfer(problem: &Problem, tensor: TensorId, from: DeviceId, to: DeviceId) -> u64 {
    match problem.transfer_ns(tensor, from, to) {
        UNSUPPORTED => UNSUPPORTED / 4,
        time => time,
    }
}
