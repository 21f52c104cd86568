//! Counting arguments that no plan fits into memory. Each looks at one instant and counts only what
//! must lie there then in *every* plan.
//!
//! **Bundle.** Ops that must share a device (a colocation group, an op in none, or all ops that can
//! run on one device only) have all their parameters there from start to end. At instant 0 the
//! graph inputs of those that take time lie there too; when the step is over all their graph
//! outputs; while one that takes time runs, its inputs, outputs and temporary bytes. An op of 0 ns
//! holds no interval, so only its parameters and graph outputs count. If the greatest of these
//! exceeds the limit of each device where the bundle can be, no plan fits.
//!
//! **Pool.** Take a set of devices. A parameter with a reader that can run only within the set lies
//! on one of them from start to end; at instant 0 the same holds for graph inputs of ops that take
//! time wherever they can run, when the step is over for graph outputs of any. If these bytes, each
//! counted once, exceed the sum of the limits, no plan fits.

use std::collections::BTreeMap;

use ir::diagnostic::{Blame, Diagnostic};
use ir::id::{DeviceId, OpId, TensorId};
use ir::units::Bytes;

use super::Certificate;
use super::device_types::distinct_sets;
use crate::numeric::device_set::DeviceSet;
use crate::ops::problem::Problem;

/// At most so many sets of devices are counted.
const MAX_SETS: usize = 64;

/// Ops that share a device in every plan.
struct Bundle {
    ops: Vec<OpId>,
    kind: BundleKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum BundleKind {
    Unit,
    OnlyDevice,
}

/// What must lie on a bundle's device at one instant.
#[derive(Clone, Copy, Debug)]
struct Need {
    bytes: u128,
    moment: Moment,
}

#[derive(Clone, Copy, Debug)]
enum Moment {
    Start,
    During(OpId),
    End,
}

/// A set of devices and what must lie on it.
struct Pool {
    devices: Vec<DeviceId>,
    need: u128,
    what: &'static str,
}

/// The first argument that holds.
pub(super) fn find(problem: &Problem) -> Option<Certificate> {
    let bundles = bundles(problem);
    let pools = pools(problem);
    let mut ledger = Ledger::new(problem);
    let diagnostic = bundles
        .iter()
        .find_map(|bundle| over_every_device(problem, &mut ledger, bundle))
        .or_else(|| pools.iter().find_map(|pool| over_the_sum(problem, pool)))?;
    let enough_each = u64::try_from(enough_for_each(&mut ledger, &bundles, &pools)).ok();
    let enough_devices = enough_devices(problem, &mut ledger, &pools);
    let enough_devices = enough_devices.and_then(|count| u64::try_from(count).ok());
    Some(Certificate { diagnostic, enough_each, enough_devices })
}

fn bundles(problem: &Problem) -> Vec<Bundle> {
    let mut bundles = Vec::new();
    let mut pinned: BTreeMap<DeviceId, Vec<OpId>> = BTreeMap::new();
    for ops in problem.units() {
        let Some(&first) = ops.first() else { continue };
        let mut devices = problem.placeable(first).iter();
        match (devices.next(), devices.next()) {
            (Some(only), None) => pinned.entry(only).or_default().extend(ops),
            _ => bundles.push(Bundle { ops, kind: BundleKind::Unit }),
        }
    }
    let pinned = pinned.into_values().map(|ops| Bundle { ops, kind: BundleKind::OnlyDevice });
    pinned.chain(bundles).collect()
}

fn limit(problem: &Problem, device: DeviceId) -> u128 {
    match problem.memory_limit(device) {
        // Unlimited: more than any sum of sizes.
        u64::MAX => u128::MAX,
        bytes => u128::from(bytes),
    }
}

/// Adds up distinct tensors.
struct Ledger<'a> {
    problem: &'a Problem,
    stamp: Vec<u32>,
    round: u32,
}

impl<'a> Ledger<'a> {
    fn new(problem: &'a Problem) -> Self {
        Self { problem, stamp: vec![0; problem.n_tensors()], round: 0 }
    }

    fn sum(
        &mut self,
        tensors: impl Iterator<Item = TensorId>,
        size: impl Fn(&Problem, TensorId) -> u64,
    ) -> u128 {
        self.round += 1;
        let mut total = 0u128;
        for tensor in tensors {
            let stamp = &mut self.stamp[tensor.index()];
            if *stamp != self.round {
                *stamp = self.round;
                total += u128::from(size(self.problem, tensor));
            }
        }
        total
    }

    /// What must lie on a device of this kind if the ops are there.
    fn need(&mut self, ops: &[OpId], kind: usize) -> Need {
        let problem = self.problem;
        let lasting: Vec<OpId> =
            ops.iter().copied().filter(|op| problem.time_on_kind_ns(*op, kind) > 0).collect();
        let parameters = ops.iter().flat_map(|op| problem.parameters(*op)).copied();
        let persistent = self.sum(parameters, Problem::persistent_bytes);
        let fed = lasting.iter().flat_map(|op| problem.graph_inputs(*op)).copied();
        let start = persistent + self.sum(fed, Problem::bytes);
        let outputs = ops.iter().flat_map(|op| problem.outputs(*op)).copied();
        let outputs = outputs.filter(|tensor| problem.is_output(*tensor));
        let end = persistent + self.sum(outputs, Problem::bytes);
        let mut most = Need { bytes: start, moment: Moment::Start };
        if end > most.bytes {
            most = Need { bytes: end, moment: Moment::End };
        }
        for &op in &lasting {
            let made = problem.inputs(op).iter().filter(|t| problem.producer(**t).is_some());
            let tensors = made.chain(problem.graph_inputs(op)).chain(problem.outputs(op));
            let live: u128 = tensors.map(|tensor| u128::from(problem.bytes(*tensor))).sum();
            let bytes = persistent + live + u128::from(problem.temporary(op));
            if bytes > most.bytes {
                most = Need { bytes, moment: Moment::During(op) };
            }
        }
        most
    }

    /// The device where the bundle is least over the limit, with its need: over iff no device
    /// holds it. Also the least need over devices.
    fn best_device(&mut self, bundle: &Bundle) -> Option<(DeviceId, Need, u128)> {
        let problem = self.problem;
        let first = *bundle.ops.first()?;
        let mut by_kind: BTreeMap<usize, Need> = BTreeMap::new();
        let mut best: Option<(DeviceId, Need, u128)> = None;
        let mut least = u128::MAX;
        for device in problem.placeable(first).iter() {
            let kind = problem.cluster.devices[device.index()].kind.index();
            let need = *by_kind.entry(kind).or_insert_with(|| self.need(&bundle.ops, kind));
            least = least.min(need.bytes);
            let over = need.bytes.saturating_sub(limit(problem, device));
            if best.is_none_or(|(_, _, least_over)| over < least_over) {
                best = Some((device, need, over));
            }
        }
        best.map(|(device, need, _)| (device, need, least))
    }
}

fn over_every_device(
    problem: &Problem,
    ledger: &mut Ledger<'_>,
    bundle: &Bundle,
) -> Option<Diagnostic> {
    let (device, need, _) = ledger.best_device(bundle)?;
    let have = limit(problem, device);
    if need.bytes <= have {
        return None;
    }
    let first = *bundle.ops.first()?;
    let op = if let Moment::During(op) = need.moment { op } else { first };
    let name = |op: OpId| problem.graph.op(op).name.clone();
    let device_name = &problem.cluster.devices[device.index()].name;
    let (need_bytes, have_bytes) = (size(need.bytes), size(have));
    let message = match (bundle.kind, bundle.ops.len()) {
        (BundleKind::Unit, 1) => format!("no device can hold op `{}`", name(op)),
        (BundleKind::Unit, n) => {
            format!("no device can hold the {n} ops that share a device with `{}`", name(first))
        }
        (BundleKind::OnlyDevice, n) => {
            format!("`{device_name}` can't hold the {n} ops that can run only there")
        }
    };
    let when = match need.moment {
        Moment::Start => "at the start their parameters and graph inputs".to_owned(),
        Moment::End => "at the end their parameters and graph outputs".to_owned(),
        Moment::During(op) => format!(
            "while `{}` runs, their parameters and its inputs, outputs and temporary buffers",
            name(op)
        ),
    };
    let certificate = format!(
        "one device must hold them: {when} take {need_bytes}; the largest, `{device_name}`, has room for {have_bytes}"
    );
    Some(
        Diagnostic::error(Blame::Infeasible, "memory-exceeded", message)
            .fact("need", need_bytes)
            .fact("have", have_bytes)
            .fact("missing", size(need.bytes - have))
            .fact("op", name(op))
            .fact("device", device_name.clone())
            .fact("certificate", certificate),
    )
}

fn size(bytes: u128) -> Bytes {
    Bytes(u64::try_from(bytes).unwrap_or(u64::MAX))
}

fn pools(problem: &Problem) -> Vec<Pool> {
    let n_devices = problem.cluster.n_devices();
    let sets = distinct_sets(problem);
    let mut pools = vec![pool(problem, &DeviceSet::all(n_devices))];
    let sizes = |op: &OpId| problem.placeable(*op).iter().count();
    let smaller = sets.iter().filter(|op| sizes(op) < n_devices).take(MAX_SETS);
    pools.extend(smaller.map(|op| pool(problem, problem.placeable(*op))));
    pools
}

fn pool(problem: &Problem, set: &DeviceSet) -> Pool {
    let mut within = BTreeMap::new();
    let mut inside = |op: OpId| {
        let devices = problem.placeable(op);
        // Equal sets are shared, so the address tells them apart well enough to count once.
        *within
            .entry(std::ptr::from_ref(devices) as usize)
            .or_insert_with(|| devices.iter().all(|device| set.contains(device)))
    };
    let mut parameters = Vec::new();
    let mut fed = Vec::new();
    let mut outputs = Vec::new();
    for &op in &problem.actions {
        if !inside(op) {
            continue;
        }
        parameters.extend_from_slice(problem.parameters(op));
        if problem.least_time_ns(op) > 0 {
            fed.extend_from_slice(problem.graph_inputs(op));
        }
        outputs.extend(problem.outputs(op).iter().filter(|tensor| problem.is_output(**tensor)));
    }
    let mut ledger = Ledger::new(problem);
    let persistent = ledger.sum(parameters.into_iter(), Problem::persistent_bytes);
    let fed = ledger.sum(fed.into_iter(), Problem::bytes);
    let outputs = ledger.sum(outputs.into_iter(), Problem::bytes);
    let what = if fed == 0 && outputs == 0 {
        "parameters, gradients and optimizer states"
    } else if fed >= outputs {
        "parameters, gradients, optimizer states and graph inputs"
    } else {
        "parameters, gradients, optimizer states and graph outputs"
    };
    Pool { devices: set.iter().collect(), need: persistent + fed.max(outputs), what }
}

fn over_the_sum(problem: &Problem, pool: &Pool) -> Option<Diagnostic> {
    let have = pool.devices.iter().fold(0u128, |sum, d| sum.saturating_add(limit(problem, *d)));
    if pool.need <= have {
        return None;
    }
    let n = pool.devices.len();
    let largest = pool
        .devices
        .iter()
        .max_by_key(|d| (limit(problem, **d), std::cmp::Reverse(d.index())))
        .map_or_else(String::new, |d| problem.cluster.devices[d.index()].name.clone());
    let (need, have_bytes) = (size(pool.need), size(have));
    let message = if n == problem.cluster.n_devices() {
        format!("the model needs {need}, but all {n} devices together hold {have_bytes}")
    } else {
        format!(
            "the ops that can run only on {n} of the {} devices need {need} there, but these hold {have_bytes}",
            problem.cluster.n_devices()
        )
    };
    let certificate = format!("{} alone take {need}; the {n} devices have {have_bytes}", pool.what);
    Some(
        Diagnostic::error(Blame::Infeasible, "memory-exceeded", message)
            .fact("need", need)
            .fact("have", have_bytes)
            .fact("missing", size(pool.need - have))
            .fact("device", largest)
            .fact("devices", n)
            .fact("certificate", certificate),
    )
}

/// The least limit that, given to each device, leaves no argument standing.
fn enough_for_each(ledger: &mut Ledger<'_>, bundles: &[Bundle], pools: &[Pool]) -> u128 {
    let each = bundles.iter().filter_map(|b| ledger.best_device(b)).map(|(_, _, least)| least);
    let shared = pools.iter().map(|p| p.need.div_ceil(p.devices.len().max(1) as u128));
    each.max().unwrap_or(0).max(shared.max().unwrap_or(0))
}

/// How many devices leave no argument standing, where all are alike and open to all ops and more
/// of them help.
fn enough_devices(problem: &Problem, ledger: &mut Ledger<'_>, pools: &[Pool]) -> Option<u128> {
    let first = problem.cluster.devices.first()?;
    let alike = problem
        .cluster
        .devices
        .iter()
        .all(|d| d.kind == first.kind && d.memory_limit() == first.memory_limit());
    let [pool] = pools else { return None };
    let room = limit(problem, DeviceId::new(0));
    if !alike || room == 0 || room == u128::MAX {
        return None;
    }
    // On more than one device, only a unit must share one.
    let kind = first.kind.index();
    let fits = problem.unit_slices().all(|unit| ledger.need(unit, kind).bytes <= room);
    let more = problem.cluster.n_devices() as u128 + 1;
    fits.then(|| pool.need.div_ceil(room).max(more))
}
