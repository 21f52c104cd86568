//! Units on devices: what each takes where, what passes between them, and which devices nothing
//! tells apart.

use std::collections::{BTreeMap, BTreeSet};

use cost_model::ops::problem::{Problem, UNSUPPORTED};
use ir::cluster::NO_ROUTE;
use ir::id::{DeviceId, OpId, TensorId};
use ir::plan::Placement;
use ir::units::{Bytes, Nanos};

use crate::given::milp::program::Program;

/// Ranks up to which devices that are alike are kept in order; beyond, the order says little.
const MOST_ORDERED: usize = 64;

/// Tensors of one producer with the same readers.
pub(super) struct Net {
    pub(super) from: u32,
    /// Other units that read them, increasing.
    pub(super) to: Vec<u32>,
    /// Nanoseconds of all of them by kind of way.
    pub(super) times: Vec<u64>,
}

/// A price that is paid where an end of a net is on a device and the other is on none of `near`.
pub(super) struct Level {
    pub(super) price: f64,
    pub(super) near: Vec<usize>,
}

/// Units, nets and devices.
pub(super) struct Ground<'a> {
    pub(super) problem: &'a Problem,
    pub(super) units: Vec<&'a [OpId]>,
    /// By op.
    pub(super) unit_of: Vec<u32>,
    /// By unit and device, where the unit can be there in a plan of less than `upper_ns`.
    pub(super) time: Vec<Vec<Option<u64>>>,
    pub(super) nets: Vec<Net>,
    /// Parameters and their readers, increasing.
    pub(super) held: Vec<(u64, Vec<u32>)>,
    /// Devices that nothing tells apart, at least two in each.
    alike: Vec<Vec<usize>>,
    /// Units with the greatest first.
    by_rank: Vec<usize>,
    pub(super) upper_ns: f64,
}

impl<'a> Ground<'a> {
    /// Only plans of at most `upper` are of use.
    pub(super) fn new(problem: &'a Problem, upper: Option<Nanos>) -> Self {
        let units: Vec<&[OpId]> = problem.unit_slices().collect();
        let mut unit_of = vec![u32::MAX; problem.n_ops()];
        for (unit, members) in (0u32..).zip(&units) {
            members.iter().for_each(|op| unit_of[op.index()] = unit);
        }
        let nets = nets(problem, &unit_of);
        let upper = upper.unwrap_or_else(|| all_work(problem, &nets));
        let mut ground = Self {
            time: Vec::new(),
            nets,
            held: held(problem, &unit_of),
            alike: Vec::new(),
            by_rank: Vec::new(),
            upper_ns: upper.as_f64().max(1.0),
            problem,
            units,
            unit_of,
        };
        ground.time = (0..ground.n_units()).map(|unit| ground.times(unit, upper)).collect();
        ground.alike = ground.alike();
        let mut by_rank: Vec<usize> = (0..ground.n_units()).collect();
        let most = |unit: usize| ground.time[unit].iter().flatten().copied().max().unwrap_or(0);
        by_rank.sort_by_key(|unit| (std::cmp::Reverse(most(*unit)), *unit));
        ground.by_rank = by_rank;
        ground
    }

    pub(super) fn n_units(&self) -> usize {
        self.units.len()
    }

    pub(super) fn n_devices(&self) -> usize {
        self.problem.cluster.n_devices()
    }

    /// About how many entries a program has, at most.
    pub(super) fn n_entries(&self) -> usize {
        let readers: usize = self.nets.iter().map(|net| 4 * net.to.len() + 2).sum();
        let ops = 4 * self.problem.actions.len();
        let kinds = self.problem.cluster.links.kinds.len().max(1);
        (readers.saturating_mul(kinds).saturating_add(ops)).saturating_mul(self.n_devices())
    }

    fn times(&self, unit: usize, upper: Nanos) -> Vec<Option<u64>> {
        let members = self.units[unit];
        let bytes = self.bytes_of(members);
        let time = |device: DeviceId| {
            let sum = members.iter().map(|op| self.problem.time_ns(*op, device));
            let sum = sum.fold(0u64, u64::saturating_add);
            let fits = sum <= upper.get() && bytes <= u128::from(self.problem.memory_limit(device));
            (self.problem.can_place(members[0], device) && sum != UNSUPPORTED && fits)
                .then_some(sum)
        };
        self.problem.cluster.device_ids().map(time).collect()
    }

    fn bytes_of(&self, members: &[OpId]) -> u128 {
        let read: BTreeSet<TensorId> =
            members.iter().flat_map(|op| self.problem.parameters(*op)).copied().collect();
        read.iter().map(|tensor| u128::from(self.problem.persistent_bytes(*tensor))).sum()
    }

    /// Kind of the way between two devices.
    fn way(&self, from: usize, to: usize) -> u16 {
        self.problem.cluster.links.pairs[from * self.n_devices() + to]
    }

    /// Devices that any plan may exchange: same kind, limit and ways, and open to the same units.
    fn alike(&self) -> Vec<Vec<usize>> {
        let devices = &self.problem.cluster.devices;
        let n = self.n_devices();
        let is_alike = |a: usize, b: usize| {
            let same_ways = (0..n)
                .filter(|c| ![a, b].contains(c))
                .all(|c| self.way(a, c) == self.way(b, c) && self.way(c, a) == self.way(c, b));
            devices[a].kind == devices[b].kind
                && devices[a].memory_limit() == devices[b].memory_limit()
                && self.way(a, b) == self.way(b, a)
                && same_ways
                && self.time.iter().all(|time| time[a] == time[b])
        };
        let mut classes: Vec<Vec<usize>> = Vec::new();
        for device in 0..n {
            match classes.iter_mut().find(|class| is_alike(class[0], device)) {
                Some(class) => class.push(device),
                None => classes.push(vec![device]),
            }
        }
        classes.retain(|class| class.len() > 1);
        classes
    }

    /// Columns of the units on the devices where they can be; of devices that are alike, the one
    /// with the least rank on it comes first, so that the unit of rank r is on one of the first
    /// r + 1.
    pub(super) fn columns(&self, program: &mut Program) -> Vec<Vec<Option<u32>>> {
        let mut is_open: Vec<Vec<bool>> =
            self.time.iter().map(|time| time.iter().map(Option::is_some).collect()).collect();
        for class in &self.alike {
            let there = self.by_rank.iter().filter(|unit| self.time[**unit][class[0]].is_some());
            for (rank, unit) in there.enumerate().take(class.len()) {
                class.iter().skip(rank + 1).for_each(|device| is_open[*unit][*device] = false);
            }
        }
        let mut column = |open: &Vec<bool>| -> Vec<Option<u32>> {
            open.iter().map(|open| open.then(|| program.binary())).collect()
        };
        let columns: Vec<Vec<Option<u32>>> = is_open.iter().map(&mut column).collect();
        for places in &columns {
            program.equal(1.0, places.iter().flatten().map(|column| (*column, 1.0)));
        }
        for class in &self.alike {
            self.keep_in_order(program, class, &columns);
        }
        self.keep_ways(program, &columns);
        columns
    }

    fn keep_in_order(&self, program: &mut Program, class: &[usize], columns: &[Vec<Option<u32>>]) {
        let there = self.by_rank.iter().filter(|unit| self.time[**unit][class[0]].is_some());
        let first: Vec<usize> = there.copied().take(MOST_ORDERED).collect();
        for pair in class.windows(2) {
            for (at, unit) in first.iter().enumerate() {
                let Some(entry) = columns[*unit][pair[1]] else { continue };
                let before = first[..at].iter().filter_map(|unit| columns[*unit][pair[0]]);
                let entries: Vec<(u32, f64)> = before.map(|c| (c, -1.0)).collect();
                program.at_most(0.0, entries.into_iter().chain([(entry, 1.0)]));
            }
        }
    }

    /// A reader is where a way leads from its producer.
    fn keep_ways(&self, program: &mut Program, columns: &[Vec<Option<u32>>]) {
        let n = self.n_devices();
        for to in 0..n {
            let leads = |from: usize| from == to || self.way(from, to) != NO_ROUTE;
            if (0..n).all(leads) {
                continue;
            }
            for net in &self.nets {
                let from = (0..n).filter(|device| leads(*device));
                let from: Vec<u32> =
                    from.filter_map(|device| columns[net.from as usize][device]).collect();
                for reader in &net.to {
                    let Some(entry) = columns[*reader as usize][to] else { continue };
                    let entries = from.iter().map(|column| (*column, -1.0));
                    program.at_most(0.0, entries.chain([(entry, 1.0)]));
                }
            }
        }
    }

    /// Parameters of each device.
    pub(super) fn hold(&self, program: &mut Program, columns: &[Vec<Option<u32>>]) {
        let all: u128 = self.held.iter().map(|(bytes, _)| u128::from(*bytes)).sum();
        for device in self.problem.cluster.device_ids() {
            let limit = self.problem.memory_limit(device);
            if all <= u128::from(limit) || limit == 0 {
                continue;
            }
            let mut entries = Vec::new();
            for (bytes, readers) in &self.held {
                let there =
                    readers.iter().filter_map(|unit| columns[*unit as usize][device.index()]);
                let there: Vec<u32> = there.collect();
                let part = *bytes as f64 / limit as f64;
                match there[..] {
                    [] => {}
                    [only] => entries.push((only, part)),
                    _ => {
                        let some = program.share();
                        for column in &there {
                            program.at_least(0.0, [(some, 1.0), (*column, -1.0)]);
                        }
                        entries.push((some, part));
                    }
                }
            }
            program.at_most(1.0, entries);
        }
    }

    /// What a net costs a device that receives it, level by level.
    pub(super) fn receiving(&self, times: &[u64], device: usize) -> Vec<Level> {
        self.levels(times, device, |other| self.way(other, device))
    }

    /// What a net costs the device of its producer.
    pub(super) fn sending(&self, times: &[u64], device: usize) -> Vec<Level> {
        self.levels(times, device, |other| self.way(device, other))
    }

    fn levels(&self, times: &[u64], device: usize, way: impl Fn(usize) -> u16) -> Vec<Level> {
        let mut by_time: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for other in (0..self.n_devices()).filter(|other| *other != device) {
            if let Some(time) = times.get(usize::from(way(other))) {
                by_time.entry(*time).or_default().push(other);
            }
        }
        let (mut near, mut before, mut levels) = (vec![device], 0, Vec::new());
        for (time, devices) in by_time {
            if time > before {
                let price = (time - before) as f64 / self.upper_ns;
                levels.push(Level { price, near: near.clone() });
                before = time;
            }
            near.extend(devices);
        }
        levels
    }

    /// Device of each unit.
    pub(super) fn devices(&self, placement: &Placement) -> Vec<u32> {
        let device = |unit: &&[OpId]| placement.of(unit[0]).map_or(0, |device| device.index());
        self.units.iter().map(|unit| device(unit) as u32).collect()
    }

    /// The placement of a plan by unit.
    pub(super) fn placement(&self, devices: &[u32]) -> Placement {
        let mut device = vec![None; self.problem.n_ops()];
        for (unit, number) in self.units.iter().zip(devices) {
            let chosen = Some(DeviceId::new(*number as usize));
            unit.iter().for_each(|op| device[op.index()] = chosen);
        }
        Placement { device }
    }

    /// Devices of a plan by unit, those that are alike renamed as [`Ground::columns`] wants them.
    pub(super) fn places(&self, plan: &[u32]) -> Vec<usize> {
        let mut name: Vec<usize> = (0..self.n_devices()).collect();
        for class in &self.alike {
            let used = self.by_rank.iter().map(|unit| plan[*unit] as usize);
            let mut order: Vec<usize> = Vec::new();
            for device in used.chain(class.iter().copied()) {
                if class.contains(&device) && !order.contains(&device) {
                    order.push(device);
                }
            }
            order.iter().zip(class).for_each(|(old, new)| name[*old] = *new);
        }
        plan.iter().map(|device| name[*device as usize]).collect()
    }

    /// Units of a device of the plan whose parameters it can't hold, and the devices that can't
    /// either.
    pub(super) fn too_much(&self, plan: &[u32]) -> Vec<(Vec<usize>, Vec<usize>)> {
        let limit = |device: usize| u128::from(self.problem.memory_limit(DeviceId::new(device)));
        let mut found = Vec::new();
        for device in 0..self.n_devices() {
            let units: Vec<usize> =
                (0..plan.len()).filter(|unit| plan[*unit] as usize == device).collect();
            let members: Vec<OpId> =
                units.iter().flat_map(|unit| self.units[*unit]).copied().collect();
            let bytes = self.bytes_of(&members);
            if bytes > limit(device) {
                let others = (0..self.n_devices()).filter(|other| bytes > limit(*other));
                found.push((units, others.collect()));
            }
        }
        found
    }
}

/// What no device and no plan takes longer than: every op and every transfer, where it is slowest.
fn all_work(problem: &Problem, nets: &[Net]) -> Nanos {
    let slowest = |op: &OpId| {
        problem.placeable(*op).iter().map(|device| problem.time_ns(*op, device)).max().unwrap_or(0)
    };
    let work = problem.actions.iter().map(slowest).fold(0, u64::saturating_add);
    let n_ends = problem.cluster.n_devices() as u64 + 1;
    let dearest = |net: &Net| net.times.iter().max().map_or(0, |time| time.saturating_mul(n_ends));
    Nanos(nets.iter().map(dearest).fold(work, u64::saturating_add))
}

/// Tensors that pass between units. Those that take the same ways in the same order of their times
/// are one net, because the slowest of all is then the slowest of each.
fn nets(problem: &Problem, unit_of: &[u32]) -> Vec<Net> {
    let kinds = &problem.cluster.links.kinds;
    let mut known: BTreeMap<(u32, Vec<u32>, Vec<usize>), Vec<u64>> = BTreeMap::new();
    for tensor in (0..problem.n_tensors()).map(TensorId::new) {
        let Some(producer) = problem.producer(tensor) else { continue };
        let from = unit_of[producer.index()];
        let to: BTreeSet<u32> =
            problem.consumers(tensor).iter().map(|op| unit_of[op.index()]).collect();
        let to: Vec<u32> = to.into_iter().filter(|unit| *unit != from).collect();
        if to.is_empty() {
            continue;
        }
        let bytes = Bytes(problem.bytes(tensor));
        let times: Vec<u64> = kinds.iter().map(|kind| kind.time(bytes).get()).collect();
        let mut order: Vec<usize> = (0..times.len()).collect();
        order.sort_by_key(|kind| (times[*kind], *kind));
        let sums = known.entry((from, to, order)).or_insert_with(|| vec![0; times.len()]);
        sums.iter_mut().zip(times).for_each(|(sum, time)| *sum = sum.saturating_add(time));
    }
    known.into_iter().map(|((from, to, _), times)| Net { from, to, times }).collect()
}

/// Parameters with the units that read them; those with the same readers are one.
fn held(problem: &Problem, unit_of: &[u32]) -> Vec<(u64, Vec<u32>)> {
    let mut readers: BTreeMap<TensorId, BTreeSet<u32>> = BTreeMap::new();
    for op in &problem.actions {
        for tensor in problem.parameters(*op) {
            readers.entry(*tensor).or_default().insert(unit_of[op.index()]);
        }
    }
    let mut bytes: BTreeMap<Vec<u32>, u64> = BTreeMap::new();
    for (tensor, units) in readers {
        let sum = bytes.entry(units.into_iter().collect()).or_default();
        *sum = sum.saturating_add(problem.persistent_bytes(tensor));
    }
    bytes.into_iter().map(|(readers, bytes)| (bytes, readers)).collect()
}
