//! `variant=room`: nothing goes where it would leave no room for what is still to be placed.
//!
//! Every unit (a colocation group, or an op in none) has a demand: its parameters, the most that one
//! of its ops needs while it runs, and a share of its outputs. A unit may go to a device only if its demand fits
//! beside those that are there, and all units without a device can then still be packed, the
//! largest first, each where it leaves least room (best-fit decreasing; Johnson, J. Comput. Syst.
//! Sci. 8(3), 1974). M6 holds as ever. How much lies in memory at once isn't known before:
//! schedules are tried with ever smaller demands, and the first that comes to its end is taken.

use cost_model::ops::problem::Problem;
use ir::id::{DeviceId, OpId};

use super::ledger::{parameters_of, signed};

/// How the demand of a unit is counted beside its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    /// Which of its bytes count whole.
    whole: Whole,
    /// How much of its other outputs counts, in percent.
    share: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whole {
    /// The most that one of its ops reads, writes and needs while it runs.
    Running,
    /// The most temporary bytes.
    Temporary,
}

/// Counts in the order in which they are tried.
pub(super) fn counts() -> impl Iterator<Item = Count> {
    const SHARES: [i64; 5] = [100, 50, 25, 8, 0];
    let both = [Whole::Running, Whole::Temporary].into_iter();
    both.flat_map(|whole| SHARES.into_iter().map(move |share| Count { whole, share }))
}

/// Units that are packed one by one, at most; the smaller ones only have to fit in sum.
const MOST_PACKED: usize = 200;

/// Demands, and what is taken of each device.
pub(super) struct Headroom {
    /// By op.
    unit_of: Vec<u32>,
    first: Vec<OpId>,
    demand: Vec<i64>,
    is_placed: Vec<bool>,
    /// Units by descending demand.
    largest: Vec<u32>,
    /// Sum of the demands of units without a device.
    open_demand: i64,
    /// Whether every unit can be on every device.
    is_free_choice: bool,
    /// By device: limit less the demands that are there; the top of the range without a limit.
    free: Vec<i64>,
}

impl Headroom {
    /// `None` if all demands can't even be packed onto empty devices.
    pub(super) fn new(problem: &Problem, count: Count) -> Option<Self> {
        let mut headroom = Self {
            unit_of: vec![u32::MAX; problem.n_ops()],
            first: Vec::new(),
            demand: Vec::new(),
            is_placed: Vec::new(),
            largest: Vec::new(),
            open_demand: 0,
            is_free_choice: true,
            free: problem
                .cluster
                .device_ids()
                .map(|d| i64::try_from(problem.memory_limit(d)).unwrap_or(i64::MAX))
                .collect(),
        };
        for (unit, members) in problem.units().iter().enumerate() {
            members.iter().for_each(|op| headroom.unit_of[op.index()] = unit as u32);
            headroom.first.push(members[0]);
            let demand = demand(problem, members, count);
            headroom.demand.push(demand);
            headroom.open_demand += demand;
            let n_devices = problem.placeable(members[0]).iter().count();
            headroom.is_free_choice &= n_devices == problem.cluster.n_devices();
            headroom.is_placed.push(false);
            headroom.largest.push(unit as u32);
        }
        let demand = &headroom.demand;
        headroom.largest.sort_by_key(|unit| std::cmp::Reverse(demand[*unit as usize]));
        headroom.packs(problem, None).then_some(headroom)
    }

    /// Whether an op's unit is on a device, or may go there.
    pub(super) fn allows(&self, problem: &Problem, op: OpId, device: DeviceId) -> bool {
        let unit = self.unit_of[op.index()];
        self.is_placed[unit as usize] || self.packs(problem, Some((unit, device)))
    }

    /// Ledger an op's unit; whether it is new.
    pub(super) fn place(&mut self, op: OpId, device: DeviceId) -> bool {
        let unit = self.unit_of[op.index()] as usize;
        let is_new = !std::mem::replace(&mut self.is_placed[unit], true);
        if is_new {
            self.open_demand -= self.demand[unit];
            let free = &mut self.free[device.index()];
            if *free != i64::MAX {
                *free -= self.demand[unit];
            }
        }
        is_new
    }

    /// Whether everything without a device can be packed, with one more unit placed.
    fn packs(&self, problem: &Problem, more: Option<(u32, DeviceId)>) -> bool {
        let mut free = self.free.clone();
        if free.contains(&i64::MAX) {
            return true;
        }
        if let Some((unit, device)) = more {
            free[device.index()] -= self.demand[unit as usize];
            if free[device.index()] < 0 {
                return false;
            }
        }
        let is_open = |unit: &&u32| {
            !self.is_placed[**unit as usize] && more.is_none_or(|(placed, _)| placed != **unit)
        };
        let mut left = self.open_demand - more.map_or(0, |(unit, _)| self.demand[unit as usize]);
        let mut room: i64 = free.iter().filter(|bytes| **bytes > 0).sum();
        for &unit in self.largest.iter().filter(is_open).take(MOST_PACKED) {
            let demand = self.demand[unit as usize];
            // An item fits nowhere only where all devices have less room than it takes: not while
            // the room in sum exceeds what is left by an item of this size on each device.
            if self.is_free_choice && room - left >= demand.saturating_mul(free.len() as i64) {
                return true;
            }
            let devices = problem.placeable(self.first[unit as usize]).iter();
            let tightest = devices
                .filter(|device| free[device.index()] >= demand)
                .min_by_key(|device| (free[device.index()], *device));
            match tightest {
                Some(device) => free[device.index()] -= demand,
                None => return false,
            }
            room -= demand;
            left -= demand;
        }
        left <= room
    }
}

fn demand(problem: &Problem, members: &[OpId], count: Count) -> i64 {
    let parameters = parameters_of(problem, members);
    let persistent: i64 = parameters.iter().map(|t| signed(problem.persistent_bytes(*t))).sum();
    let bytes = |tensors: &[ir::id::TensorId]| -> i64 {
        tensors.iter().map(|t| signed(problem.bytes(*t))).sum()
    };
    let whole = |op: &OpId| match count.whole {
        Whole::Temporary => signed(problem.temporary(*op)),
        Whole::Running => {
            let read = bytes(problem.inputs(*op)) + bytes(problem.graph_inputs(*op));
            signed(problem.temporary(*op)) + read + bytes(problem.outputs(*op))
        }
    };
    let whole = members.iter().map(whole).max().unwrap_or(0);
    let outputs: i64 = members.iter().map(|op| bytes(problem.outputs(*op))).sum();
    let others = match count.whole {
        Whole::Temporary => outputs,
        Whole::Running => (outputs - whole).max(0),
    };
    persistent + whole + others / 100 * count.share
}
