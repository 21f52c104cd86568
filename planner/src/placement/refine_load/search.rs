//! The search: what the busiest device gives away.

use cost_model::ops::max_load::LoadSession;
use cost_model::ops::problem::Problem;
use ir::id::{DeviceId, OpId};
use ir::plan::Placement;

/// Most units of a piece.
const LONGEST: usize = 512;
/// Most units of the busiest device that are tried one by one, and most exchanges, in a round.
const MOST_SINGLE: usize = 4_000;
const MOST_SWAPS: usize = 4_000;
/// Moves after which the search ends.
const MOST_MOVES: u64 = 2_000_000;

/// A placement under improvement.
pub(super) struct Search<'a> {
    problem: &'a Problem,
    session: LoadSession<'a>,
    /// Members of each unit, units in the order of the line.
    units: Vec<Vec<OpId>>,
    /// By unit: bytes that a device takes on with it at most, and gives up with it at least.
    takes: Vec<u64>,
    gives: Vec<u64>,
    /// Bytes that lie on each device at most.
    held: Vec<u64>,
    random: u64,
    n_moves: u64,
    n_kept: u64,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        problem: &'a Problem,
        line: &[OpId],
        session: LoadSession<'a>,
        bytes: Vec<u64>,
        seed: u64,
    ) -> Self {
        let units = units(problem, line);
        let readers = parameter_readers(problem);
        let takes = units.iter().map(|unit| takes(problem, unit)).collect();
        let gives = units.iter().map(|unit| gives(problem, unit, &readers)).collect();
        let (n_moves, n_kept) = (0, 0);
        Self { problem, session, units, takes, gives, held: bytes, random: seed, n_moves, n_kept }
    }

    pub(super) fn n_kept(&self) -> u64 {
        self.n_kept
    }

    pub(super) fn placement(&self) -> Placement {
        self.session.placement()
    }

    /// Until a round finds nothing, or `stop` (told of each batch of moves) says so.
    pub(super) fn run(&mut self, stop: &mut dyn FnMut(u64) -> bool) {
        while self.n_moves < MOST_MOVES {
            let before = self.n_moves;
            let found = self.round();
            if stop(self.n_moves - before) || !found {
                break;
            }
        }
    }

    /// One improvement of the busiest device; whether there was one.
    fn round(&mut self) -> bool {
        let Some(busiest) = self.extreme(u64::max) else { return false };
        let units: Vec<usize> =
            (0..self.units.len()).filter(|unit| self.device(*unit) == busiest).collect();
        self.piece(&units, busiest) || self.single(&units) || self.swap(&units)
    }

    fn device(&self, unit: usize) -> DeviceId {
        self.session.device(self.units[unit][0])
    }

    /// The device of the greatest or the least load, the first of several.
    fn extreme(&self, of: fn(u64, u64) -> u64) -> Option<DeviceId> {
        let loads = self.session.loads_ns();
        let wanted = loads.iter().copied().reduce(of)?;
        loads.iter().position(|load| *load == wanted).map(DeviceId::new)
    }

    /// Greatest load, and how many devices have it: what must become less.
    fn worth(&self) -> (u64, usize) {
        let value = self.session.value().get();
        let loads = self.session.loads_ns();
        (value, loads.iter().filter(|load| **load == value).count())
    }

    /// A piece from either end of the busiest device's ops to the device beside it.
    fn piece(&mut self, units: &[usize], busiest: DeviceId) -> bool {
        let (Some(&first), Some(&last)) = (units.first(), units.last()) else { return false };
        let before = first.checked_sub(1).map(|unit| self.device(unit));
        let after = (last + 1 < self.units.len()).then(|| self.device(last + 1));
        let ends = [
            before.map(|to| (to, units.iter().copied().take(LONGEST).collect::<Vec<_>>())),
            after.map(|to| (to, units.iter().rev().copied().take(LONGEST).collect())),
        ];
        for (to, piece) in ends.into_iter().flatten().filter(|(to, _)| *to != busiest) {
            let start = self.worth();
            let mark = self.session.n_moves();
            let mut best: Option<((u64, usize), usize)> = None;
            for (n, &unit) in piece.iter().enumerate() {
                if !self.admits(unit, to) || self.session.loads_ns()[to.index()] > start.0 {
                    break;
                }
                self.shift(unit, to);
                let worth = self.worth();
                if worth < best.map_or(start, |(least, _)| least) {
                    best = Some((worth, n + 1));
                }
            }
            let n_kept = best.map_or(0, |(_, n)| n);
            self.restore(mark, busiest, to, &piece, n_kept);
            if n_kept > 0 {
                return true;
            }
        }
        false
    }

    /// Takes back the moves since `mark` but for the first `n_kept` units of the piece.
    fn restore(
        &mut self,
        mark: usize,
        from: DeviceId,
        to: DeviceId,
        piece: &[usize],
        n_kept: usize,
    ) {
        let n_ops = |units: &[usize]| units.iter().map(|u| self.units[*u].len()).sum::<usize>();
        let moved = piece.iter().take_while(|unit| self.device(**unit) == to).count();
        let keep = mark + n_ops(&piece[..n_kept]);
        for &unit in &piece[n_kept..moved] {
            self.held[to.index()] = self.held[to.index()].saturating_sub(self.takes[unit]);
            self.held[from.index()] = self.held[from.index()].saturating_add(self.gives[unit]);
        }
        self.session.undo_to(keep);
        if n_kept > 0 {
            self.session.keep();
            self.n_kept += 1;
        }
    }

    /// One unit to a device that it exchanges tensors with, or to the least loaded one.
    fn single(&mut self, units: &[usize]) -> bool {
        let start = self.worth();
        let step = units.len().div_ceil(MOST_SINGLE).max(1);
        let offset = self.below(step);
        for &unit in units.iter().skip(offset).step_by(step) {
            let from = self.device(unit);
            for to in self.partners(unit) {
                if to == from || !self.admits(unit, to) {
                    continue;
                }
                let mark = self.session.n_moves();
                self.shift(unit, to);
                if self.worth() < start {
                    self.session.keep();
                    self.n_kept += 1;
                    return true;
                }
                self.restore(mark, from, to, &[unit], 0);
            }
        }
        false
    }

    /// A unit of the busiest device against one of another device.
    fn swap(&mut self, units: &[usize]) -> bool {
        if units.is_empty() || self.units.len() == units.len() {
            return false;
        }
        let start = self.worth();
        for _ in 0..MOST_SWAPS.min(units.len() * 16) {
            let (one, other) = (units[self.below(units.len())], self.below(self.units.len()));
            let (from, to) = (self.device(one), self.device(other));
            if from == to || !self.admits(one, to) || !self.admits(other, from) {
                continue;
            }
            let mark = self.session.n_moves();
            self.shift(one, to);
            self.shift(other, from);
            if self.worth() < start {
                self.session.keep();
                self.n_kept += 1;
                return true;
            }
            self.restore(mark + self.units[one].len(), to, from, &[other], 0);
            self.restore(mark, from, to, &[one], 0);
        }
        false
    }

    /// Devices that the unit exchanges tensors with, then the least loaded one.
    fn partners(&self, unit: usize) -> Vec<DeviceId> {
        let mut partners = Vec::new();
        for &op in &self.units[unit] {
            let makers = self.problem.inputs(op).iter().filter_map(|t| self.problem.producer(*t));
            partners.extend(makers.map(|maker| self.session.device(maker)));
            for tensor in self.problem.outputs(op) {
                partners.extend(self.session.readers(*tensor));
            }
        }
        partners.sort_unstable();
        partners.dedup();
        partners.extend(self.extreme(u64::min).filter(|least| !partners.contains(least)));
        partners
    }

    fn admits(&self, unit: usize, to: DeviceId) -> bool {
        self.problem.can_place(self.units[unit][0], to)
            && self.held[to.index()].saturating_add(self.takes[unit])
                <= self.problem.memory_limit(to)
    }

    fn shift(&mut self, unit: usize, to: DeviceId) {
        let from = self.device(unit);
        self.held[to.index()] = self.held[to.index()].saturating_add(self.takes[unit]);
        self.held[from.index()] = self.held[from.index()].saturating_sub(self.gives[unit]);
        for op in &self.units[unit] {
            self.session.place(*op, to);
        }
        self.n_moves += 1;
    }

    /// SplitMix64 (Steele, Lea and Flood 2014), folded to `0..n`.
    fn below(&mut self, n: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n.max(1) as u64) as usize
    }
}

/// Units by their first members in the line.
fn units(problem: &Problem, line: &[OpId]) -> Vec<Vec<OpId>> {
    let mut is_taken = vec![false; problem.n_ops()];
    let mut units = Vec::new();
    for &op in line {
        if is_taken[op.index()] {
            continue;
        }
        let unit = match problem.group_of(op) {
            None => vec![op],
            Some(group) => problem.groups[group.index()].clone(),
        };
        unit.iter().for_each(|op| is_taken[op.index()] = true);
        units.push(unit);
    }
    units
}

/// By tensor: how many ops read it as a parameter.
fn parameter_readers(problem: &Problem) -> Vec<u32> {
    let mut readers = vec![0; problem.n_tensors()];
    for op in &problem.actions {
        problem.parameters(*op).iter().for_each(|tensor| readers[tensor.index()] += 1);
    }
    readers
}

/// Parameters, everything read and written, scratch.
fn takes(problem: &Problem, unit: &[OpId]) -> u64 {
    unit.iter().fold(0u64, |sum, op| {
        let persistent = problem.parameters(*op).iter().map(|t| problem.persistent_bytes(*t));
        let read = problem.inputs(*op).iter().chain(problem.graph_inputs(*op));
        let passed = read.chain(problem.outputs(*op)).map(|t| problem.bytes(*t));
        persistent.chain(passed).chain([problem.temporary(*op)]).fold(sum, u64::saturating_add)
    })
}

/// Parameters that nobody else reads.
fn gives(problem: &Problem, unit: &[OpId], readers: &[u32]) -> u64 {
    let parameters = unit.iter().flat_map(|op| problem.parameters(*op));
    let parameters = parameters.filter(|tensor| readers[tensor.index()] == 1);
    parameters.fold(0u64, |sum, tensor| sum.saturating_add(problem.persistent_bytes(*tensor)))
}
