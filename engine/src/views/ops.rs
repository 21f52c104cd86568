//! The view of a placement of ops: its replay as lanes, memory and groups.

use std::borrow::Cow;
use std::collections::HashMap;

use cost_model::ops::critical;
use cost_model::ops::judge::memory::{HoldingKind, Piece, for_each_piece};
use cost_model::ops::judge::timeline::{Span, TransferSpan};
use cost_model::ops::problem::Problem;
use ir::id::{DeviceId, OpId, TensorId};
use ir::op::Phase;
use ir::schedule::{Action, Task as Scheduled, Transfer};

use super::builder::Builder;
use super::curve::Change;
use super::gaps::{self, Awaited, Task};
use super::head::{DeviceFigures, Role};
use super::hierarchy::{Figures, Leaf, Tree};
use super::kind::Kind;
use super::memory::{Alive, Holding};
use crate::kinds::placement::replay::Replayed;

/// So many holdings are listed one by one.
const MOST_ALIVE: usize = 200;

/// The file of a replayed plan.
pub(super) fn file(replayed: &Replayed) -> Vec<u8> {
    let kinds = HoldingKind::ALL.map(HoldingKind::name);
    let builder = Builder::new("ops", replayed.timeline.step_time.get(), &kinds);
    let mut source = Source::new(replayed, builder);
    source.lanes();
    source.links();
    let peaks = source.memory();
    source.graph(&peaks);
    source.to.finished()
}

fn kind(phase: Phase) -> Kind {
    match phase {
        Phase::Forward => Kind::Forward,
        Phase::BackwardInput => Kind::BackwardInput,
        Phase::BackwardWeight => Kind::BackwardWeight,
        Phase::Optimizer => Kind::Optimizer,
    }
}

struct Source<'r> {
    replayed: &'r Replayed,
    to: Builder,
    /// By device: the position of its name.
    device_names: Vec<u32>,
    /// When each transfer takes place.
    sent: HashMap<Transfer, TransferSpan>,
    /// Ops of one micro-batch, where there are several.
    copies: Option<usize>,
}

impl<'r> Source<'r> {
    fn new(replayed: &'r Replayed, mut to: Builder) -> Self {
        let problem = &replayed.on.loaded.problem;
        let devices = problem.cluster.devices.iter();
        let device_names = devices.map(|device| to.names.name(&device.name)).collect();
        let sent = replayed.timeline.transfers.iter().map(|sent| (sent.transfer, *sent)).collect();
        Self { replayed, to, device_names, sent, copies: copies(replayed) }
    }

    fn span(&self, op: OpId) -> Option<Span> {
        self.replayed.timeline.ops.get(op.index()).copied().flatten()
    }

    fn micro_batch(&self, op: OpId) -> Option<u32> {
        let is_copied = self.replayed.on.loaded.problem.graph.op(op).phase != Phase::Optimizer;
        let number = op.index() / self.copies.filter(|_| is_copied)?;
        u32::try_from(number).ok()
    }

    /// The op that it is a copy of.
    fn original(&self, op: OpId) -> OpId {
        match (self.copies, self.micro_batch(op)) {
            (Some(n), Some(_)) => OpId::new(op.index() % n),
            _ => op,
        }
    }

    /// A name without its micro-batch.
    fn plain<'n>(&self, name: &'n str) -> &'n str {
        match (self.copies, name.rsplit_once("@mb")) {
            (Some(_), Some((plain, number)))
                if number.starts_with(|c: char| c.is_ascii_digit()) =>
            {
                plain
            }
            _ => name,
        }
    }

    fn op_thing(&mut self, op: OpId, at: Option<DeviceId>) -> u32 {
        let replayed = self.replayed;
        let name = self.plain(&replayed.on.loaded.problem.graph.op(op).name);
        let at = at.and_then(|device| self.device_names.get(device.index()).copied());
        self.to.names.thing(name, at, None)
    }

    fn task_of_op(&mut self, op: OpId) -> Option<Task> {
        let span = self.span(op)?;
        let kind = kind(self.replayed.on.loaded.problem.graph.op(op).phase);
        Some(Task { span, kind, thing: self.op_thing(op, None), micro_batch: self.micro_batch(op) })
    }

    fn task_of_transfer(&mut self, sent: &TransferSpan) -> Task {
        let problem = &self.replayed.on.loaded.problem;
        let tensor = sent.transfer.tensor;
        let name = self.plain(&problem.graph.tensor(tensor).name);
        let [from, to] = [sent.from, sent.transfer.to]
            .map(|device| self.device_names.get(device.index()).copied());
        let thing = self.to.names.thing(name, from, to);
        let micro_batch = problem.producer(tensor).and_then(|op| self.micro_batch(op));
        Task { span: sent.span, kind: Kind::Transfer, thing, micro_batch }
    }

    /// A lane per device.
    fn lanes(&mut self) {
        let replayed = self.replayed;
        let problem = &replayed.on.loaded.problem;
        let mut touching: Vec<Vec<Task>> = vec![Vec::new(); problem.cluster.n_devices()];
        for sent in &replayed.timeline.transfers {
            let task = self.task_of_transfer(sent);
            for device in [sent.from, sent.transfer.to] {
                touching[device.index()].push(task);
            }
        }
        let end = replayed.timeline.step_time.get();
        let rows = &replayed.on.plan.schedule.actions;
        for (index, touching) in touching.iter().enumerate() {
            let row = rows.get(index).map_or(&[][..], Vec::as_slice);
            let ops: Vec<OpId> = row
                .iter()
                .map(|Action::Op(op)| *op)
                .filter(|op| self.span(*op).is_some())
                .collect();
            let tasks: Vec<Task> = ops.iter().filter_map(|op| self.task_of_op(*op)).collect();
            let name = &problem.cluster.devices[index].name;
            let drain = self.to.names.thing(name, None, None);
            let mut awaited = |at: usize| self.awaited(ops[at], DeviceId::new(index));
            let slices = gaps::device(&tasks, touching, &mut awaited, (end, drain));
            self.to.lane(name, Some(name), Role::Device, &slices);
        }
    }

    /// What an op waits for that does not start when its device is free.
    fn awaited(&mut self, op: OpId, device: DeviceId) -> Awaited {
        let replayed = self.replayed;
        let problem = &replayed.on.loaded.problem;
        let start = self.span(op).map_or(0, |span| span.start);
        for &tensor in problem.inputs(op) {
            let sent = self.sent.get(&Transfer { tensor, to: device }).copied();
            let Some(sent) = sent.filter(|sent| sent.span.end == start) else { continue };
            let Some(writer) = problem.producer(tensor) else { continue };
            return Awaited {
                cause: Kind::Input,
                thing: self.op_thing(writer, Some(sent.from)),
                micro_batch: self.micro_batch(writer),
                ready: self.span(writer).map(|span| span.end),
            };
        }
        let waits = &replayed.on.plan.schedule.after;
        let mut named = waits.iter().filter(|wait| wait.task == Scheduled::Op(op));
        let awaited = named.find_map(|wait| {
            wait.after.iter().copied().find(|earlier| self.end(*earlier) == Some(start))
        });
        let awaited = match awaited {
            Some(Scheduled::Op(other)) => other,
            Some(Scheduled::Transfer(Transfer { tensor, .. })) => {
                problem.producer(tensor).unwrap_or(op)
            }
            None => op,
        };
        let thing = self.op_thing(awaited, replayed.on.plan.placement.of(awaited));
        let micro_batch = self.micro_batch(awaited);
        Awaited { cause: Kind::Wait, thing, micro_batch, ready: None }
    }

    fn end(&self, task: Scheduled) -> Option<u64> {
        match task {
            Scheduled::Op(op) => self.span(op).map(|span| span.end),
            Scheduled::Transfer(transfer) => self.sent.get(&transfer).map(|sent| sent.span.end),
        }
    }

    /// A lane per channel in use.
    fn links(&mut self) {
        let replayed = self.replayed;
        let cluster = &replayed.on.loaded.problem.cluster;
        let n_channels = cluster.links.channels.len();
        let mut carried: Vec<(Vec<Task>, Option<DeviceId>)> = vec![(Vec::new(), None); n_channels];
        for sent in &replayed.timeline.transfers {
            let Some(route) = cluster.route(sent.from, sent.transfer.to) else { continue };
            let task = self.task_of_transfer(sent);
            let other = (route.receive != route.send).then_some((route.receive, sent.transfer.to));
            for (channel, device) in [Some((route.send, sent.from)), other].into_iter().flatten() {
                let (tasks, home) = &mut carried[channel.index()];
                tasks.push(task);
                home.get_or_insert(device);
            }
        }
        let end = replayed.timeline.step_time.get();
        for (channel, (tasks, home)) in cluster.links.channels.iter().zip(&carried) {
            let free = self.to.names.thing(&channel.name, None, None);
            let home = home.map(|device| cluster.devices[device.index()].name.as_str());
            for slices in gaps::links(tasks, (end, free)) {
                self.to.lane(&channel.name, home, Role::Link, &slices);
            }
        }
    }

    /// Memory of each device; what is alive at its peak.
    fn memory(&mut self) -> Vec<Piece> {
        let Replayed { on, timeline, report } = self.replayed;
        let problem = &on.loaded.problem;
        let n = problem.cluster.n_devices();
        let end = timeline.step_time.get();
        let mut changes: Vec<Vec<Change>> = vec![Vec::new(); n];
        let mut alive: Vec<Vec<Piece>> = vec![Vec::new(); n];
        for_each_piece(problem, &on.plan, timeline, |piece| {
            let kind = piece.what as usize;
            let of_device = &mut changes[piece.device];
            of_device.push(Change { at: piece.start, kind, comes: piece.bytes, goes: 0 });
            if piece.end <= end {
                of_device.push(Change { at: piece.end, kind, comes: 0, goes: piece.bytes });
            }
            let at = report.devices[piece.device].peak.at;
            if piece.start <= at && at < piece.end {
                alive[piece.device].push(piece);
            }
        });
        for ((device, changes), alive) in report.devices.iter().zip(changes).zip(&mut alive) {
            alive.sort_unstable_by_key(|p| (std::cmp::Reverse(p.bytes), p.what, p.id));
            let figures = DeviceFigures {
                device: problem.cluster.devices[device.device.index()].name.clone(),
                n_devices: 1,
                compute_ns: device.compute_ns,
                communication_ns: device.communication_ns,
                idle_ns: device.idle_ns,
                peak_bytes: device.peak.bytes,
                peak_at_ns: device.peak.at,
                limit_bytes: device.limit,
            };
            let (shown, others) = alive.split_at(alive.len().min(MOST_ALIVE));
            let alive = Alive {
                largest: shown.iter().map(|piece| self.holding(piece)).collect(),
                n_others: others.len() as u64,
                other_bytes: others.iter().map(|p| p.bytes).fold(0, u64::saturating_add),
            };
            self.to.device(figures, changes, &alive);
        }
        alive.concat()
    }

    fn holding(&self, piece: &Piece) -> Holding {
        let problem = &self.replayed.on.loaded.problem;
        let op = match piece.what {
            HoldingKind::Temporary => Some(OpId(piece.id)),
            _ => problem.producer(TensorId(piece.id)),
        };
        let name = match piece.what {
            HoldingKind::Temporary => &problem.graph.op(OpId(piece.id)).name,
            _ => &problem.graph.tensor(TensorId(piece.id)).name,
        };
        Holding {
            kind: piece.what.name().to_owned(),
            name: name.clone(),
            bytes: piece.bytes,
            op: op.map(|op| self.plain(&problem.graph.op(op).name).to_owned()),
            n_micro_batches: None,
            since_ns: Some(piece.start),
            until_ns: (piece.end <= self.replayed.timeline.step_time.get()).then_some(piece.end),
            freed_by: self.freed_by(piece),
        }
    }

    /// What ends when a piece goes: the op whose it is, one that reads it, a transfer of it.
    fn freed_by(&self, piece: &Piece) -> Option<String> {
        let Replayed { on, timeline, .. } = self.replayed;
        let problem = &on.loaded.problem;
        if piece.end > timeline.step_time.get() {
            return None;
        }
        let name = |op: OpId| self.plain(&problem.graph.op(op).name).to_owned();
        if piece.what == HoldingKind::Temporary {
            return Some(name(OpId(piece.id)));
        }
        let (tensor, here) = (TensorId(piece.id), DeviceId::new(piece.device));
        problem.consumers(tensor).iter().find_map(|&reader| {
            let at = on.plan.placement.of(reader)?;
            if at == here {
                return (self.span(reader)?.end == piece.end).then(|| name(reader));
            }
            let sent = self.sent.get(&Transfer { tensor, to: at })?;
            let leaves = sent.from == here && sent.span.end == piece.end;
            leaves.then(|| problem.cluster.devices[at.index()].name.clone())
        })
    }

    /// Groups of ops, all micro-batches of an op as one.
    fn graph(&mut self, peaks: &[Piece]) {
        let replayed = self.replayed;
        let problem = &replayed.on.loaded.problem;
        let figures = self.figures(peaks, &replayed.trust().path);
        let order: Vec<OpId> = problem.topological_order();
        let order = order.into_iter().filter(|op| self.original(*op) == *op);
        let mut leaf_of = vec![usize::MAX; problem.n_ops()];
        let mut leaves = Vec::new();
        for op in order {
            leaf_of[op.index()] = leaves.len();
            let node = problem.graph.op(op);
            leaves.push(Leaf {
                name: self.plain(&node.name),
                module: module(problem, op),
                op_type: &node.op_type,
                phase: kind(node.phase).name(),
                figures: figures[op.index()].clone(),
            });
        }
        let mut tree = Tree::new(leaves);
        let placed = |op: OpId| {
            let leaf = leaf_of[self.original(op).index()];
            let device = replayed.on.plan.placement.of(op)?;
            (leaf != usize::MAX).then_some((leaf, device.0))
        };
        for tensor in (0..problem.n_tensors()).map(TensorId::new) {
            if let Some(writer) = problem.producer(tensor).and_then(placed) {
                let readers = problem.consumers(tensor).iter().filter_map(|op| placed(*op));
                tree.tensor(tensor.0, problem.bytes(tensor), writer, readers);
            }
        }
        for (writer, reader) in flows(problem, &replayed.trust().path) {
            let [from, to] = [writer, reader].map(|op| leaf_of[self.original(op).index()]);
            if from != usize::MAX && to != usize::MAX {
                tree.critical(from, to);
            }
        }
        let devices: Vec<&str> =
            problem.cluster.devices.iter().map(|device| device.name.as_str()).collect();
        tree.write(&devices, &mut self.to);
    }

    /// By op: figures of all its copies; empty for the copies.
    fn figures(&self, peaks: &[Piece], path: &[critical::Step]) -> Vec<Figures> {
        let Replayed { on, .. } = self.replayed;
        let problem = &on.loaded.problem;
        let mut figures = vec![Figures::default(); problem.n_ops()];
        let mut has_read = HashMap::new();
        for &op in &problem.actions {
            let original = self.original(op);
            let sum = &mut figures[original.index()];
            sum.n_ops = 1;
            let (Some(span), Some(device)) = (self.span(op), on.plan.placement.of(op)) else {
                continue;
            };
            sum.origins.add(problem.op_origin(op, device), span.end - span.start);
            sum.runs(span.start, span.end);
            *sum.devices.entry(device.0).or_default() += span.end - span.start;
            for &tensor in problem.parameters(op) {
                has_read.entry((tensor, device)).or_insert_with(|| {
                    let bytes = problem.persistent_bytes(tensor);
                    sum.parameter_bytes = sum.parameter_bytes.saturating_add(bytes);
                    original
                });
            }
            for &tensor in problem.outputs(op) {
                sum.output_bytes = sum.output_bytes.saturating_add(problem.bytes(tensor));
            }
        }
        for step in path {
            if let Scheduled::Op(op) = step.task {
                figures[self.original(op).index()].critical_ns += step.span.end - step.span.start;
            }
        }
        for piece in peaks {
            let tensor = TensorId(piece.id);
            let reads_here =
                |op: &&OpId| on.plan.placement.of(**op) == Some(DeviceId::new(piece.device));
            let owner = match piece.what {
                HoldingKind::Temporary => Some(OpId(piece.id)),
                HoldingKind::Output | HoldingKind::Copy => problem.producer(tensor),
                HoldingKind::Parameter | HoldingKind::GraphInput => {
                    let reader = has_read.get(&(tensor, DeviceId::new(piece.device))).copied();
                    reader.or_else(|| problem.consumers(tensor).iter().find(reads_here).copied())
                }
            };
            if let Some(owner) = owner {
                let sum = &mut figures[self.original(owner).index()];
                sum.peak_bytes = sum.peak_bytes.saturating_add(piece.bytes);
            }
        }
        figures
    }
}

/// The module of an op; of one without, between ops that all state modules, the innermost that holds
/// them.
fn module(problem: &Problem, op: OpId) -> Option<&str> {
    let stated = |op: OpId| problem.graph.op(op).module.as_deref().filter(|path| !path.is_empty());
    let all = |ops: Vec<OpId>| {
        let modules: Option<Vec<&str>> = ops.into_iter().map(stated).collect();
        modules?.into_iter().reduce(common)
    };
    let between = || {
        let writers = problem.inputs(op).iter().filter_map(|tensor| problem.producer(*tensor));
        let readers =
            problem.outputs(op).iter().flat_map(|tensor| problem.consumers(*tensor)).copied();
        Some(common(all(writers.collect())?, all(readers.collect())?))
            .filter(|path| !path.is_empty())
    };
    stated(op).or_else(between)
}

/// The innermost module that holds two.
fn common<'m>(a: &'m str, b: &str) -> &'m str {
    let mut end = 0;
    for (part, other) in a.split('.').zip(b.split('.')) {
        if part != other {
            break;
        }
        // Each part but the first has a point before it.
        end += part.len() + usize::from(end > 0);
    }
    a.get(..end).unwrap_or_default()
}

/// Ops of one micro-batch, if the graph holds a copy for each: the copies of the first in their
/// order, those of the second, ..., then what is not copied.
fn copies(replayed: &Replayed) -> Option<usize> {
    let problem = &replayed.on.loaded.problem;
    let n_copies = usize::try_from(problem.workload.n_micro_batches()).ok().filter(|n| *n > 1)?;
    let ops = &problem.graph.ops;
    let n_copied = ops.iter().take_while(|op| op.phase != Phase::Optimizer).count();
    let n = n_copied / n_copies;
    let is_copy = |at: usize| {
        let name = |copy: usize| -> Option<Cow<'_, str>> {
            let name = &ops.get(copy * n + at)?.name;
            Some(name.rsplit_once("@mb").map_or(name.into(), |(plain, _)| plain.into()))
        };
        (1..n_copies).all(|copy| name(copy) == name(0))
    };
    (n > 0 && n * n_copies == n_copied && (0..n).all(is_copy)).then_some(n)
}

/// Of a critical path, which op goes on with the output of which: at once, or once a transfer of it
/// has ended.
fn flows(problem: &Problem, path: &[critical::Step]) -> Vec<(OpId, OpId)> {
    let mut found = Vec::new();
    let mut before: Option<OpId> = None;
    for step in path {
        before = match step.task {
            Scheduled::Transfer(transfer) => problem.producer(transfer.tensor),
            Scheduled::Op(op) => {
                let reads = |tensor: &TensorId| problem.consumers(*tensor).contains(&op);
                let writer = before.filter(|writer| problem.outputs(*writer).iter().any(reads));
                found.extend(writer.map(|writer| (writer, op)));
                Some(op)
            }
        };
    }
    found
}
