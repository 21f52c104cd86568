//! What lies in the memory of each device, and when (`docs/conventions.md`, M1 to M5).

use ir::id::{DeviceId, OpId, TensorId};
use ir::plan::Plan;
use ir::tensor::Role;

use crate::numeric::csr::Csr;
use crate::ops::judge::timeline::{Span, Timeline, TransferSpan};
use crate::ops::problem::Problem;

pub use super::holding::{Holding, HoldingKind, Peak};

/// Bytes on a device over the half-open interval `[start, end)`.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// Position of the device in the cluster.
    pub device: usize,
    /// Why they are there.
    pub what: HoldingKind,
    /// Tensor, or op for temporary bytes.
    pub id: u32,
    /// How many.
    pub bytes: u64,
    /// From when on, in nanoseconds.
    pub start: u64,
    /// Until when; past the end of the step where it is there when the step is over.
    pub end: u64,
}

/// Peak of each device, by id.
///
/// Parameters and graph outputs lie there when the step is over, so they count even in a step of no
/// length. Everything else lives over half-open intervals, so frees come before allocations and
/// `[t, t)` holds nothing. Ops without a span in `timeline` hold nothing.
#[must_use]
pub fn peaks(problem: &Problem, plan: &Plan, timeline: &Timeline) -> Vec<Peak> {
    let highest = |changes: Changes| {
        let mut best = (0u128, 0);
        changes.walk(|at, level| {
            if level > best.0 {
                best = (level, at);
            }
        });
        Peak { bytes: saturated(best.0), at: best.1 }
    };
    changes(problem, plan, timeline).into_iter().map(highest).collect()
}

/// Bytes on a device from an instant on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Since when, in nanoseconds.
    pub at: u64,
    /// Stays at the top of the range instead of wrapping.
    pub bytes: u64,
}

/// The levels of each device, by id, in order of time. The first is at 0; one at the end of the
/// step is what stays.
#[must_use]
pub fn curves(problem: &Problem, plan: &Plan, timeline: &Timeline) -> Vec<Vec<Level>> {
    let levels = |changes: Changes| {
        let mut levels = Vec::new();
        changes.walk(|at, level| levels.push(Level { at, bytes: saturated(level) }));
        levels
    };
    changes(problem, plan, timeline).into_iter().map(levels).collect()
}

fn saturated(bytes: u128) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

fn changes(problem: &Problem, plan: &Plan, timeline: &Timeline) -> Vec<Changes> {
    let mut devices = vec![Changes::default(); problem.cluster.n_devices()];
    for_each_piece(problem, plan, timeline, |piece| {
        let changes = &mut devices[piece.device];
        if piece.start == 0 {
            changes.base += u128::from(piece.bytes);
        } else {
            changes.taken.push((piece.start, piece.bytes));
        }
        if piece.end <= timeline.step_time.get() {
            changes.freed.push((piece.end, piece.bytes));
        }
    });
    devices
}

/// How the level of one device changes, as (instant, bytes).
#[derive(Clone, Default)]
struct Changes {
    base: u128,
    taken: Vec<(u64, u64)>,
    freed: Vec<(u64, u64)>,
}

impl Changes {
    /// Calls `visit` with 0 and each instant of a change, in order, and the level from there on.
    fn walk(mut self, mut visit: impl FnMut(u64, u128)) {
        self.taken.sort_unstable_by_key(|change| change.0);
        self.freed.sort_unstable_by_key(|change| change.0);
        let (mut taken, mut freed) = (self.taken.iter().peekable(), self.freed.iter().peekable());
        let mut level = self.base;
        let mut last = None;
        while let Some(now) = [taken.peek(), freed.peek()].into_iter().flatten().map(|c| c.0).min()
        {
            if last.is_none() && now > 0 {
                visit(0, level);
            }
            last = Some(now);
            while let Some((_, bytes)) = taken.next_if(|change| change.0 == now) {
                level += u128::from(*bytes);
            }
            while let Some((_, bytes)) = freed.next_if(|change| change.0 == now) {
                level -= u128::from(*bytes);
            }
            visit(now, level);
        }
        if last.is_none() {
            visit(0, level);
        }
    }
}

/// What lies on `device` at instant `at` (nanoseconds), largest first; ties by kind, then id.
#[must_use]
pub fn alive(
    problem: &Problem,
    plan: &Plan,
    timeline: &Timeline,
    device: DeviceId,
    at: u64,
) -> Vec<Holding> {
    let mut found = Vec::new();
    for_each_piece(problem, plan, timeline, |piece| {
        if piece.device == device.index() && piece.start <= at && at < piece.end {
            found.push(piece);
        }
    });
    named(problem, found, usize::MAX)
}

/// The `n_largest` holdings of each device at that device's instant, largest first.
pub(crate) fn largest(
    problem: &Problem,
    plan: &Plan,
    timeline: &Timeline,
    instants: &[u64],
    n_largest: usize,
) -> Vec<Vec<Holding>> {
    let mut found: Vec<Vec<Piece>> = vec![Vec::new(); instants.len()];
    for_each_piece(problem, plan, timeline, |piece| {
        if let (Some(&at), Some(list)) = (instants.get(piece.device), found.get_mut(piece.device))
            && piece.start <= at
            && at < piece.end
        {
            list.push(piece);
        }
    });
    found.into_iter().map(|pieces| named(problem, pieces, n_largest)).collect()
}

fn named(problem: &Problem, mut pieces: Vec<Piece>, n_largest: usize) -> Vec<Holding> {
    pieces.sort_unstable_by_key(|p| (std::cmp::Reverse(p.bytes), p.what, p.id));
    pieces
        .into_iter()
        .take(n_largest)
        .map(|piece| Holding {
            what: piece.what,
            name: match piece.what {
                HoldingKind::Temporary => problem.graph.op(OpId(piece.id)).name.clone(),
                _ => problem.graph.tensor(TensorId(piece.id)).name.clone(),
            },
            bytes: piece.bytes,
        })
        .collect()
}

/// When the last local consumer of one tensor ends, per device.
struct LastUse {
    end: Vec<Option<u64>>,
    devices: Vec<usize>,
}

impl LastUse {
    fn on(&self, device: usize) -> Option<u64> {
        self.end.get(device).copied().flatten()
    }

    fn fill(&mut self, problem: &Problem, plan: &Plan, timeline: &Timeline, tensor: TensorId) {
        self.devices.drain(..).for_each(|device| self.end[device] = None);
        for &consumer in problem.consumers(tensor) {
            let Some((device, span)) = placed(plan, timeline, consumer) else { continue };
            let Some(slot) = self.end.get_mut(device) else { continue };
            if slot.is_none() {
                self.devices.push(device);
            }
            *slot = Some(slot.map_or(span.end, |end| end.max(span.end)));
        }
    }
}

fn placed(plan: &Plan, timeline: &Timeline, op: OpId) -> Option<(usize, Span)> {
    let span = timeline.ops.get(op.index()).copied().flatten()?;
    Some((plan.placement.of(op)?.index(), span))
}

/// Calls `visit` with everything that holds at least one byte for at least one nanosecond, and
/// with every parameter and every graph output.
pub fn for_each_piece(
    problem: &Problem,
    plan: &Plan,
    timeline: &Timeline,
    mut visit: impl FnMut(Piece),
) {
    let n_devices = problem.cluster.n_devices();
    let mut visit = |piece: Piece| {
        if piece.bytes > 0 && piece.start < piece.end && piece.device < n_devices {
            visit(piece);
        }
    };
    let sent = sent_by_tensor(problem, timeline);
    let mut last = LastUse { end: vec![None; n_devices], devices: Vec::new() };
    for tensor in (0..problem.n_tensors()).map(TensorId::new) {
        let producer = problem.producer(tensor);
        if producer.is_none() && problem.consumers(tensor).is_empty() {
            continue;
        }
        last.fill(problem, plan, timeline, tensor);
        match producer.map(|op| placed(plan, timeline, op)) {
            Some(None) => {}
            Some(Some(home)) => {
                let transfers = sent.of(tensor.index()).iter();
                let transfers = transfers.map(|position| &timeline.transfers[*position as usize]);
                produced(problem, tensor, home, &last, transfers, &mut visit);
            }
            None => given(problem, tensor, &last, &mut visit),
        }
    }
    for &op in &problem.actions {
        if let Some((device, Span { start, end })) = placed(plan, timeline, op) {
            let (what, bytes) = (HoldingKind::Temporary, problem.temporary(op));
            visit(Piece { device, what, id: op.0, bytes, start, end });
        }
    }
}

/// Positions of the transfers of each tensor.
fn sent_by_tensor(problem: &Problem, timeline: &Timeline) -> Csr<u32> {
    let tensors = timeline.transfers.iter().map(|sent| sent.transfer.tensor.index());
    let pairs: Vec<(usize, u32)> =
        tensors.zip(0u32..).filter(|(tensor, _)| *tensor < problem.n_tensors()).collect();
    Csr::from_pairs(problem.n_tensors(), &pairs)
}

/// A tensor that an op writes: one piece at home, and one wherever it was sent.
fn produced<'a>(
    problem: &Problem,
    tensor: TensorId,
    home: (usize, Span),
    last: &LastUse,
    transfers: impl Iterator<Item = &'a TransferSpan>,
    visit: &mut impl FnMut(Piece),
) {
    let (bytes, id) = (problem.bytes(tensor), tensor.0);
    let (device, span) = home;
    let mut end = span.end.max(last.on(device).unwrap_or(0));
    for sent in transfers {
        end = end.max(sent.span.end);
        let device = sent.transfer.to.index();
        let used = last.on(device).unwrap_or(sent.span.end);
        let (what, start) = (HoldingKind::Copy, sent.span.start);
        visit(Piece { device, what, id, bytes, start, end: used });
    }
    if problem.is_output(tensor) {
        // It is there when the step is over, also where it was made at that very instant.
        end = u64::MAX;
    }
    visit(Piece { device, what: HoldingKind::Output, id, bytes, start: span.start, end });
}

/// A parameter or a graph input: one piece wherever it is read.
fn given(problem: &Problem, tensor: TensorId, last: &LastUse, visit: &mut impl FnMut(Piece)) {
    let (what, bytes) = match problem.graph.tensor(tensor).role {
        Role::Parameter => (HoldingKind::Parameter, problem.persistent_bytes(tensor)),
        Role::Input => (HoldingKind::GraphInput, problem.bytes(tensor)),
        Role::Activation => return,
    };
    for &device in &last.devices {
        let end = match what {
            HoldingKind::Parameter => u64::MAX,
            _ => last.on(device).unwrap_or(0),
        };
        visit(Piece { device, what, id: tensor.0, bytes, start: 0, end });
    }
}
