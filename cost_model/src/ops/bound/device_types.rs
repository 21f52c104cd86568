//! Devices that the bounds need not tell apart.

use std::collections::{BTreeMap, BTreeSet};

use ir::id::{DeviceId, OpId};

use crate::numeric::device_set::DeviceSet;
use crate::ops::problem::{Problem, UNSUPPORTED};

/// Above this many (edges x types x types), coarser types are used.
const MAX_EFFORT: usize = 30_000_000;
/// At most this many types.
const MAX_TYPES: usize = 64;

/// A cost of a way: latency and nanoseconds per byte decide which ways can be the fastest.
type RouteKind = u16;

/// A partition of the devices. Any partition gives valid bounds, because every figure is the least
/// over the devices of a type; the finer, the better.
#[derive(Debug)]
pub(super) struct DeviceTypes {
    /// Devices of each type.
    pub(super) members: Vec<Vec<DeviceId>>,
    /// `op * n_types + type`: least nanoseconds over the members where the op can be placed,
    /// [`UNSUPPORTED`] if there is none.
    time: Vec<u64>,
    /// `from * n_types + to`: kinds of the ways between two distinct devices of these types.
    ways: Vec<Vec<RouteKind>>,
}

impl DeviceTypes {
    /// The finest partition that is not too much work.
    pub(super) fn new(problem: &Problem) -> Self {
        let n_edges: usize = problem.actions.iter().map(|op| problem.inputs(*op).len()).sum();
        let fits = |members: &[Vec<DeviceId>]| {
            let n = members.len();
            n <= MAX_TYPES && (n_edges + problem.actions.len()).saturating_mul(n * n) <= MAX_EFFORT
        };
        let members = [by_membership(problem), by_class(problem), by_kind(problem)]
            .into_iter()
            .find(|members| fits(members))
            .unwrap_or_else(|| vec![problem.cluster.device_ids().collect()]);
        let n_types = members.len();
        let mut type_of = vec![0; problem.cluster.n_devices()];
        for (index, devices) in members.iter().enumerate() {
            devices.iter().for_each(|device| type_of[device.index()] = index);
        }
        let ways = ways(problem, &type_of, n_types);
        let mut time = vec![UNSUPPORTED; problem.n_ops() * n_types];
        // Devices of one type and kind are one to an op.
        let distinct = |set: &DeviceSet| {
            let kind = |device: DeviceId| problem.cluster.devices[device.index()].kind.index();
            let pairs = set.iter().map(|device| (type_of[device.index()], kind(device)));
            pairs.collect::<BTreeSet<_>>()
        };
        let distinct: Vec<_> = problem.device_sets().iter().map(distinct).collect();
        for &op in &problem.actions {
            for &(of_type, kind) in &distinct[problem.device_set_of(op)] {
                let slot = &mut time[op.index() * n_types + of_type];
                *slot = (*slot).min(problem.time_on_kind_ns(op, kind));
            }
        }
        Self { members, time, ways }
    }

    /// Number of types.
    pub(super) fn n(&self) -> usize {
        self.members.len()
    }

    /// Least nanoseconds of an op on each type, [`UNSUPPORTED`] where it can't be placed.
    pub(super) fn times(&self, op: OpId) -> &[u64] {
        let n = self.n();
        &self.time[op.index() * n..(op.index() + 1) * n]
    }

    /// Least nanoseconds to bring all of `bytes`, one transfer each, from one device of type
    /// `from` to a different one of type `to`; `u64::MAX` where no way leads.
    ///
    /// They take the same channels, so one comes after the other.
    pub(super) fn remote(&self, problem: &Problem, from: usize, to: usize, bytes: &[u64]) -> u64 {
        let mut least = u64::MAX;
        for &kind in &self.ways[from * self.n() + to] {
            let Some(kind) = problem.cluster.links.kinds.get(usize::from(kind)) else { continue };
            let total = bytes
                .iter()
                .map(|size| kind.time(ir::units::Bytes(*size)).get())
                .fold(0, u64::saturating_add);
            least = least.min(total);
        }
        least
    }
}

fn ways(problem: &Problem, type_of: &[usize], n_types: usize) -> Vec<Vec<RouteKind>> {
    let n = problem.cluster.n_devices();
    let links = &problem.cluster.links;
    let mut ways: Vec<Vec<RouteKind>> = vec![Vec::new(); n_types * n_types];
    for (index, kind) in links.pairs.iter().enumerate() {
        let (from, to) = (index / n.max(1), index % n.max(1));
        let known = usize::from(*kind) < links.kinds.len();
        if from < n && from != to && known {
            let list = &mut ways[type_of[from] * n_types + type_of[to]];
            if !list.contains(kind) {
                list.push(*kind);
            }
        }
    }
    // A way that starts later and is slower than another is never the fastest.
    for list in &mut ways {
        let all = list.clone();
        list.retain(|a| {
            let a_kind = &links.kinds[usize::from(*a)];
            !all.iter().any(|b| {
                let b_kind = &links.kinds[usize::from(*b)];
                let no_worse =
                    b_kind.latency_ns <= a_kind.latency_ns && b_kind.bandwidth >= a_kind.bandwidth;
                let same =
                    b_kind.latency_ns == a_kind.latency_ns && b_kind.bandwidth == a_kind.bandwidth;
                no_worse && (!same || b < a)
            })
        });
    }
    ways
}

fn partition<K: Ord>(problem: &Problem, key: impl Fn(DeviceId) -> K) -> Vec<Vec<DeviceId>> {
    let mut groups: BTreeMap<K, Vec<DeviceId>> = BTreeMap::new();
    for device in problem.cluster.device_ids() {
        groups.entry(key(device)).or_default().push(device);
    }
    groups.into_values().collect()
}

fn by_kind(problem: &Problem) -> Vec<Vec<DeviceId>> {
    partition(problem, |d| problem.cluster.devices[d.index()].kind)
}

fn by_class(problem: &Problem) -> Vec<Vec<DeviceId>> {
    partition(problem, |d| {
        let device = &problem.cluster.devices[d.index()];
        (device.kind, device.class)
    })
}

/// Same class, and in the same sets of devices where ops can be placed.
fn by_membership(problem: &Problem) -> Vec<Vec<DeviceId>> {
    let sets = distinct_sets(problem);
    partition(problem, |d| {
        let device = &problem.cluster.devices[d.index()];
        let inside: Vec<bool> = sets.iter().map(|op| problem.can_place(*op, d)).collect();
        (device.kind, device.class, inside)
    })
}

/// One action for each distinct set of devices where actions can be placed, in order of id.
pub(super) fn distinct_sets(problem: &Problem) -> Vec<OpId> {
    let mut seen = std::collections::HashSet::new();
    problem.actions.iter().copied().filter(|op| seen.insert(problem.placeable(*op))).collect()
}
