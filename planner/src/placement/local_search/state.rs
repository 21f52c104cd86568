//! What the search changes: where each unit is, and which op goes first.

use ir::id::{DeviceId, OpId};

use crate::placement::clusters::Units;
use crate::placement::dispatch::{Dispatcher, Score, Way};

/// Keys of neighbours in an order are this far apart, so that ops can be put between them.
pub(crate) const KEY_STEP: u64 = 1 << 20;

/// A placement with keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// By unit.
    pub(crate) home: Vec<u16>,
    /// By op; 0 for views.
    pub(crate) device: Vec<u16>,
    /// By op: less goes first.
    pub(crate) key: Vec<u64>,
}

/// How to take a change back.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Undo {
    Unit(u32, u16),
    Key(OpId, u64),
}

impl State {
    /// Units on devices, ops in the order of a list.
    pub(crate) fn new(units: &Units, home: Vec<u16>, order: &[OpId]) -> Self {
        let n_ops = units.of.len();
        let mut state = Self { device: vec![0; n_ops], key: vec![0; n_ops], home };
        for (unit, members) in units.members.iter().enumerate() {
            members.iter().for_each(|op| state.device[op.index()] = state.home[unit]);
        }
        state.order(order);
        state
    }

    /// Gives the ops of a list ascending keys.
    pub(crate) fn order(&mut self, order: &[OpId]) {
        for (op, position) in order.iter().zip(1u64..) {
            self.key[op.index()] = position * KEY_STEP;
        }
    }

    pub(crate) fn put(&mut self, units: &Units, unit: u32, device: u16, undo: &mut Vec<Undo>) {
        let home = &mut self.home[unit as usize];
        if *home != device {
            undo.push(Undo::Unit(unit, *home));
            *home = device;
            for op in &units.members[unit as usize] {
                self.device[op.index()] = device;
            }
        }
    }

    pub(crate) fn set_key(&mut self, op: OpId, key: u64, undo: &mut Vec<Undo>) {
        let slot = &mut self.key[op.index()];
        if *slot != key {
            undo.push(Undo::Key(op, *slot));
            *slot = key;
        }
    }

    /// Takes changes back, the last first.
    pub(crate) fn undo(&mut self, units: &Units, undo: &mut Vec<Undo>) {
        while let Some(change) = undo.pop() {
            match change {
                Undo::Unit(unit, device) => {
                    self.home[unit as usize] = device;
                    for op in &units.members[unit as usize] {
                        self.device[op.index()] = device;
                    }
                }
                Undo::Key(op, key) => self.key[op.index()] = key,
            }
        }
    }

    /// What it is worth; see [`Dispatcher::run`].
    pub(crate) fn run(&self, dispatcher: &mut Dispatcher, cutoff: u64) -> Option<Score> {
        dispatcher.run(&self.device, &self.key, cutoff)
    }
}

/// Upward ranks (Topcuoglu et al. 2002, equation 8) under a placement: the longest way from the
/// start of each op to the end, with the transfers that the placement calls for. Ops by descending
/// rank, ties by position in topological order.
pub(crate) fn by_upward_rank(
    dispatcher: &Dispatcher,
    device: &[u16],
    topological: &[OpId],
) -> Vec<OpId> {
    let network = dispatcher.network;
    let problem = network.problem;
    let mut rank = vec![0u64; problem.n_ops()];
    for &op in topological.iter().rev() {
        let here = usize::from(device[op.index()]);
        let mut after = 0;
        for &tensor in problem.outputs(op) {
            for consumer in problem.consumers(tensor) {
                let there = usize::from(device[consumer.index()]);
                let brought = match there == here {
                    true => 0,
                    false => network.transfer_ns(tensor, here, there).unwrap_or(0),
                };
                after = after.max(rank[consumer.index()].saturating_add(brought));
            }
        }
        rank[op.index()] = after.saturating_add(problem.time_ns(op, DeviceId::new(here)));
    }
    let mut order = topological.to_vec();
    order.sort_by_key(|op| std::cmp::Reverse(rank[op.index()]));
    order
}

/// Why an op on the critical path did not start earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) op: OpId,
    pub(crate) cause: Cause,
}

/// See [`Link`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Nothing: it starts the step.
    Start,
    /// The op before it on its device.
    Busy(OpId),
    /// An input from its own device.
    Local(OpId),
    /// A transfer.
    Brought(OpId),
}

/// The critical path of the last run, from its end to its start.
pub(crate) fn critical_path(dispatcher: &Dispatcher, device: &[u16]) -> Vec<Link> {
    let problem = dispatcher.network.problem;
    let end = |op: &OpId| {
        let here = DeviceId::new(usize::from(device[op.index()]));
        dispatcher.start[op.index()].saturating_add(problem.time_ns(*op, here))
    };
    let mut path = Vec::new();
    let mut at = problem.actions.iter().copied().max_by_key(|op| (end(op), std::cmp::Reverse(*op)));
    while let Some(op) = at {
        let start = dispatcher.start[op.index()];
        let cause = if start > dispatcher.ready_at[op.index()] {
            match dispatcher.before[op.index()] {
                u32::MAX => Cause::Start,
                before => Cause::Busy(OpId(before)),
            }
        } else {
            match dispatcher.last_input(op.index(), device) {
                None => Cause::Start,
                Some((producer, Way::Local)) => Cause::Local(producer),
                Some((producer, Way::Brought)) => Cause::Brought(producer),
            }
        };
        path.push(Link { op, cause });
        at = match cause {
            Cause::Start => None,
            Cause::Busy(other) | Cause::Local(other) | Cause::Brought(other) => Some(other),
        };
        // A circle of ops that take no time can't be; the count is a second lock.
        if path.len() > problem.actions.len() {
            break;
        }
    }
    path
}
