//! What there is to do once every op has a device: ops and transfers with their durations, the
//! resources that they occupy and the bytes that they hold.

use cost_model::ops::problem::{Problem, UNSUPPORTED};
use ir::id::{ChannelId, DeviceId, OpId, TensorId};
use ir::schedule::{Task, Transfer};

/// Tasks of one placement at most: sets of tasks are bits of a word.
pub(super) const MAX_TASKS: usize = 64;

/// Devices at most.
pub(super) const MAX_DEVICES: usize = 3;

/// Bytes by device.
pub(super) type PerDevice = [u64; MAX_DEVICES];

/// An op or a transfer. Sets of pieces are bit masks over their positions.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    /// What it is in a plan.
    pub(super) task: Task,
    /// Nanoseconds.
    pub(super) duration: u64,
    /// Pieces that must have ended before it starts; all stand at lower positions.
    pub(super) before: u64,
    /// Resources that it occupies: the device, or the channels at both ends.
    pub(super) resources: u64,
    /// Where it allocates.
    pub(super) device: usize,
    /// Bytes that its start adds there at most.
    pub(super) need: u64,
}

/// Bytes on a device from the start of one piece to the end of others.
#[derive(Clone, Debug)]
struct Holding {
    device: usize,
    bytes: u64,
    /// Bit of the piece that allocates; 0 = there from time 0.
    from: u64,
    /// Freed when all of these have ended; 0 = never.
    until: u64,
}

/// Everything that a fixed placement leaves to do.
#[derive(Clone, Debug, Default)]
pub(super) struct Tasks {
    /// In a topological order.
    pub(super) pieces: Vec<Piece>,
    /// Earliest start by precedence alone.
    pub(super) heads: Vec<u64>,
    /// Time from a piece's end to the end of the step by precedence alone.
    pub(super) tails: Vec<u64>,
    /// Resources: devices first, then the channels in use.
    pub(super) n_resources: usize,
    /// Memory limits.
    pub(super) limits: PerDevice,
    /// Parameters with their states, held throughout.
    pub(super) fixed: PerDevice,
    holdings: Vec<Holding>,
    channels: Vec<ChannelId>,
    /// Bit of an op, by op id.
    op_bit: Vec<u64>,
}

impl Tasks {
    /// Replaces the tasks by those of `device` (by op id); `order` is a topological order.
    /// `None` if a tensor has no way, an op can't run, or there are more than [`MAX_TASKS`].
    pub(super) fn rebuild(
        &mut self,
        problem: &Problem,
        order: &[OpId],
        device: &[DeviceId],
    ) -> Option<()> {
        self.pieces.clear();
        self.holdings.clear();
        self.channels.clear();
        self.op_bit.clear();
        self.op_bit.resize(problem.n_ops(), 0);
        self.fixed = [0; MAX_DEVICES];
        self.limits = [u64::MAX; MAX_DEVICES];
        for d in problem.cluster.device_ids() {
            *self.limits.get_mut(d.index())? = problem.memory_limit(d);
        }
        for &op in order {
            self.push_op(problem, op, device)?;
        }
        for &op in order {
            self.push_precedence(problem, op, device)?;
        }
        self.push_outputs(problem, order, device);
        self.push_residents(problem, order, device);
        self.n_resources = problem.cluster.n_devices() + self.channels.len();
        self.measure();
        Some(())
    }

    /// The op, then the transfers of its outputs.
    fn push_op(&mut self, problem: &Problem, op: OpId, device: &[DeviceId]) -> Option<()> {
        let at = device[op.index()];
        let duration = problem.time_ns(op, at);
        self.op_bit[op.index()] = self.push(Piece {
            task: Task::Op(op),
            duration: (duration != UNSUPPORTED).then_some(duration)?,
            before: 0,
            resources: 1 << at.index(),
            device: at.index(),
            need: problem.temporary(op),
        })?;
        for &tensor in problem.outputs(op) {
            for to in destinations(problem, tensor, at, device) {
                let route = problem.cluster.route(at, to)?;
                let (send, receive) = (route.send, route.receive);
                let duration = problem.transfer_ns(tensor, at, to);
                let resources = self.channel(problem, send)? | self.channel(problem, receive)?;
                self.push(Piece {
                    task: Task::Transfer(Transfer { tensor, to }),
                    duration: (duration != UNSUPPORTED).then_some(duration)?,
                    before: self.op_bit[op.index()],
                    resources,
                    device: to.index(),
                    need: problem.bytes(tensor),
                })?;
            }
        }
        Some(())
    }

    fn push(&mut self, piece: Piece) -> Option<u64> {
        let at = self.pieces.len();
        self.pieces.push(piece);
        (at < MAX_TASKS).then(|| 1 << at)
    }

    fn channel(&mut self, problem: &Problem, channel: ChannelId) -> Option<u64> {
        let at = self.channels.iter().position(|c| *c == channel).unwrap_or_else(|| {
            self.channels.push(channel);
            self.channels.len() - 1
        });
        1u64.checked_shl(u32::try_from(problem.cluster.n_devices() + at).ok()?)
    }

    fn transfer_bit(&self, transfer: Transfer) -> u64 {
        self.pieces
            .iter()
            .position(|piece| piece.task == Task::Transfer(transfer))
            .map_or(0, |at| 1 << at)
    }

    /// An op waits for its local producers and for the copies of what is made elsewhere.
    fn push_precedence(&mut self, problem: &Problem, op: OpId, device: &[DeviceId]) -> Option<()> {
        let to = device[op.index()];
        let mut before = 0;
        for &tensor in problem.inputs(op) {
            let Some(producer) = problem.producer(tensor) else { continue };
            before |= if device[producer.index()] == to {
                self.op_bit[producer.index()]
            } else {
                self.transfer_bit(Transfer { tensor, to })
            };
        }
        let at = self.op_bit[op.index()].trailing_zeros() as usize;
        self.pieces.get_mut(at)?.before = before;
        Some(())
    }

    /// Outputs, received copies and temporary bytes (`docs/conventions.md`, M2).
    fn push_outputs(&mut self, problem: &Problem, order: &[OpId], device: &[DeviceId]) {
        for &op in order {
            let from = self.op_bit[op.index()];
            let at = device[op.index()];
            self.hold(at, problem.temporary(op), from, from);
            let mut outputs = 0u64;
            for &tensor in problem.outputs(op) {
                let bytes = problem.bytes(tensor);
                outputs = outputs.saturating_add(bytes);
                let mut until = self.readers(problem, tensor, at, device);
                for to in destinations(problem, tensor, at, device) {
                    let transfer = self.transfer_bit(Transfer { tensor, to });
                    until |= transfer;
                    let readers = self.readers(problem, tensor, to, device);
                    self.hold(to, bytes, transfer, readers);
                }
                if until == 0 {
                    until = from;
                }
                self.hold(at, bytes, from, if problem.is_output(tensor) { 0 } else { until });
            }
            if let Some(piece) = self.pieces.get_mut(from.trailing_zeros() as usize) {
                piece.need = piece.need.saturating_add(outputs);
            }
        }
    }

    /// Parameters and copies of graph inputs, once per device (M1, M4).
    fn push_residents(&mut self, problem: &Problem, order: &[OpId], device: &[DeviceId]) {
        let mut seen: Vec<(TensorId, DeviceId)> = Vec::new();
        for &op in order {
            let at = device[op.index()];
            for &tensor in problem.parameters(op) {
                if !seen.contains(&(tensor, at)) {
                    seen.push((tensor, at));
                    let fixed = &mut self.fixed[at.index()];
                    *fixed = fixed.saturating_add(problem.persistent_bytes(tensor));
                }
            }
            for &tensor in problem.graph_inputs(op) {
                if !seen.contains(&(tensor, at)) {
                    seen.push((tensor, at));
                    let until = self.readers(problem, tensor, at, device);
                    self.hold(at, problem.bytes(tensor), 0, until);
                }
            }
        }
    }

    fn hold(&mut self, device: DeviceId, bytes: u64, from: u64, until: u64) {
        if bytes > 0 {
            self.holdings.push(Holding { device: device.index(), bytes, from, until });
        }
    }

    fn readers(
        &self,
        problem: &Problem,
        tensor: TensorId,
        at: DeviceId,
        device: &[DeviceId],
    ) -> u64 {
        problem
            .consumers(tensor)
            .iter()
            .filter(|op| device[op.index()] == at)
            .fold(0, |mask, op| mask | self.op_bit[op.index()])
    }

    fn measure(&mut self) {
        let n = self.pieces.len();
        self.heads.clear();
        self.heads.resize(n, 0);
        self.tails.clear();
        self.tails.resize(n, 0);
        for at in 0..n {
            self.heads[at] = bits(self.pieces[at].before)
                .map(|b| self.heads[b].saturating_add(self.pieces[b].duration))
                .max()
                .unwrap_or(0);
        }
        for at in (0..n).rev() {
            let through = self.tails[at].saturating_add(self.pieces[at].duration);
            for b in bits(self.pieces[at].before) {
                self.tails[b] = self.tails[b].max(through);
            }
        }
    }

    /// The set of all pieces.
    pub(super) fn all(&self) -> u64 {
        match self.pieces.len() {
            n if n >= MAX_TASKS => u64::MAX,
            n => (1 << n) - 1,
        }
    }

    /// Bytes held by device once `started` have started and `ended` have ended.
    pub(super) fn usage(&self, started: u64, ended: u64) -> PerDevice {
        let mut usage = self.fixed;
        for holding in &self.holdings {
            let allocated = holding.from & !started == 0;
            let freed = holding.until != 0 && holding.until & !ended == 0;
            if allocated && !freed {
                let bytes = &mut usage[holding.device];
                *bytes = bytes.saturating_add(holding.bytes);
            }
        }
        usage
    }

    /// Least end of any schedule: precedence, and what each resource has to do.
    pub(super) fn bound(&self) -> u64 {
        let mut bound = 0u64;
        for (at, piece) in self.pieces.iter().enumerate() {
            let through = self.heads[at].saturating_add(piece.duration);
            bound = bound.max(through.saturating_add(self.tails[at]));
        }
        for r in 0..self.n_resources {
            let (mut head, mut work, mut tail) = (u64::MAX, 0u64, u64::MAX);
            for (at, piece) in self.pieces.iter().enumerate() {
                if piece.resources >> r & 1 == 1 {
                    head = head.min(self.heads[at]);
                    work = work.saturating_add(piece.duration);
                    tail = tail.min(self.tails[at]);
                }
            }
            if head != u64::MAX {
                bound = bound.max(head.saturating_add(work).saturating_add(tail));
            }
        }
        bound
    }

    /// The channels that a piece occupies, each once; none for an op.
    pub(super) fn channels_of(&self, at: usize) -> impl Iterator<Item = ChannelId> + '_ {
        let first = self.n_resources - self.channels.len();
        let resources = self.pieces.get(at).map_or(0, |piece| piece.resources);
        bits(resources).filter_map(move |r| self.channels.get(r.checked_sub(first)?).copied())
    }

    /// Whether the end of a piece may free bytes on a device.
    pub(super) fn frees_on(&self, at: usize, device: usize) -> bool {
        self.holdings.iter().any(|h| h.device == device && h.until >> at & 1 == 1)
    }

    /// Whether no schedule can reach a limit: everything held at once fits.
    pub(super) fn never_binds(&self) -> bool {
        let mut most = self.fixed;
        for holding in &self.holdings {
            let bytes = &mut most[holding.device];
            *bytes = bytes.saturating_add(holding.bytes);
        }
        fits(&most, &self.limits)
    }

    /// Whether every positive-length piece fits alone with its own inputs; if not, nothing helps.
    pub(super) fn each_fits_alone(&self) -> bool {
        self.pieces.iter().enumerate().all(|(at, piece)| {
            let me = 1u64 << at;
            // At its start its ancestors have started, and nothing that it or its descendants
            // still read has been freed.
            let started = self.ancestors(at) | me;
            let ended = self.all() & !me & !self.descendants(at);
            piece.duration == 0 || fits(&self.usage(started, ended), &self.limits)
        })
    }

    fn ancestors(&self, at: usize) -> u64 {
        let mut set = 0u64;
        let mut open = self.pieces[at].before;
        while open != 0 {
            let next = open.trailing_zeros() as usize;
            set |= 1 << next;
            open = (open | self.pieces[next].before) & !set;
        }
        set
    }

    fn descendants(&self, at: usize) -> u64 {
        let mut set = 1u64 << at;
        for (later, piece) in self.pieces.iter().enumerate().skip(at + 1) {
            if piece.before & set != 0 {
                set |= 1 << later;
            }
        }
        set & !(1 << at)
    }
}

/// Whether each device holds no more than its limit.
pub(super) fn fits(usage: &PerDevice, limits: &PerDevice) -> bool {
    usage.iter().zip(limits).all(|(bytes, limit)| bytes <= limit)
}

/// Positions of the bits of a set, in increasing order.
pub(super) fn bits(mut set: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        (set != 0).then(|| {
            let at = set.trailing_zeros() as usize;
            set &= set - 1;
            at
        })
    })
}

/// Devices other than `at` that read a tensor, in increasing order.
fn destinations<'a>(
    problem: &'a Problem,
    tensor: TensorId,
    at: DeviceId,
    device: &'a [DeviceId],
) -> impl Iterator<Item = DeviceId> + 'a {
    problem.cluster.device_ids().filter(move |to| {
        *to != at && problem.consumers(tensor).iter().any(|op| device[op.index()] == *to)
    })
}
