//! What the transforms share: the op pairs of a problem, what tying a set of ops together costs,
//! and the same problem with more ops tied together.

use std::sync::Arc;

use cost_model::ops::problem::{Problem, UNSUPPORTED};
use ir::diagnostic::{Diagnostic, Value};
use ir::id::{OpId, TensorId};
use ir::units::{Bytes, Nanos};

use crate::draft::Draft;
use crate::run::algorithm::{Lift, OptionRow, Options, Transformed, bad_option};
use crate::run::no_plan::{NoPlan, Reason};

/// A pair of ops with at least one tensor between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edge {
    /// Position of the producer in the topological order.
    pub(super) from: usize,
    /// Position of the consumer in the topological order.
    pub(super) to: usize,
    /// The first tensor between them.
    pub(super) tensor: TensorId,
}

/// The op pairs, each once, ordered by (producer, consumer).
pub(super) fn edges(problem: &Problem, order: &[OpId]) -> Vec<Edge> {
    let mut position = vec![0; problem.n_ops()];
    for (at, op) in order.iter().enumerate() {
        position[op.index()] = at;
    }
    let mut edges = Vec::new();
    for (from, &op) in order.iter().enumerate() {
        for &tensor in problem.outputs(op) {
            for consumer in problem.consumers(tensor) {
                edges.push(Edge { from, to: position[consumer.index()], tensor });
            }
        }
    }
    edges.sort_unstable();
    edges.dedup_by_key(|edge| (edge.from, edge.to));
    edges
}

/// Nanoseconds that a tensor takes at least between two devices; `None` where there is one device.
pub(super) fn least_transfer(problem: &Problem, tensor: TensorId) -> Option<u64> {
    let bytes = Bytes(problem.bytes(tensor));
    problem.cluster.links.kinds.iter().map(|kind| kind.time(bytes).get()).min()
}

/// How much ops that are tied together may amount to.
pub(super) struct Allowance {
    bytes: u64,
    work: u64,
}

impl Allowance {
    /// A share of the smallest memory limit, and of the work of all ops.
    pub(super) fn new(problem: &Problem, share: f64) -> Self {
        let limit = problem.cluster.device_ids().map(|d| problem.memory_limit(d)).min();
        let work =
            problem.actions.iter().fold(0u64, |w, op| w.saturating_add(problem.least_time_ns(*op)));
        // A float cast saturates, and an unlimited device allows everything.
        let part = |whole: u64| (whole as f64 * share.clamp(0.0, 1.0)) as u64;
        let limit = limit.unwrap_or(u64::MAX);
        Self { bytes: if limit == u64::MAX { limit } else { part(limit) }, work: part(work) }
    }

    /// A share of the smallest memory limit, and of what one device of all has to do.
    pub(super) fn per_device(problem: &Problem, share: f64) -> Self {
        let whole = Self::new(problem, share);
        let n_devices = problem.cluster.n_devices().max(1) as u64;
        Self { work: whole.work / n_devices, ..whole }
    }

    /// Whether an amount is within it.
    pub(super) fn admits(&self, amount: &Amount) -> bool {
        amount.bytes <= self.bytes && amount.work <= self.work
    }
}

/// What an op, or several tied together, amounts to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Amount {
    bytes: u64,
    work: u64,
}

impl Amount {
    /// Parameters, outputs and temporary bytes; least time.
    pub(super) fn of(problem: &Problem, op: OpId) -> Self {
        let parameters = problem.parameters(op).iter().map(|t| problem.persistent_bytes(*t));
        let outputs = problem.outputs(op).iter().map(|t| problem.bytes(*t));
        let bytes = parameters.chain(outputs).fold(problem.temporary(op), u64::saturating_add);
        Self { bytes, work: problem.least_time_ns(op) }
    }

    /// Least time in nanoseconds.
    pub(super) fn work(&self) -> u64 {
        self.work
    }

    /// Both; shared parameters count twice, on the safe side.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            work: self.work.saturating_add(other.work),
        }
    }
}

/// The sets of at least two, as ops in the order of their first members.
fn members(order: &[OpId], sets: &mut Sets) -> Vec<Vec<OpId>> {
    let mut members = vec![Vec::new(); order.len()];
    for (at, &op) in order.iter().enumerate() {
        members[sets.find(at)].push(op);
    }
    members.retain(|set| set.len() > 1);
    members.iter_mut().for_each(|set| set.sort_unstable());
    members.sort_unstable();
    members
}

/// The sets along op pairs that `joins` takes: it is told the pair's producer and consumer, and
/// whether it is the only one that reads from the first and writes to the second. A set grows as far
/// as the allowance goes, of ops that can go to the same devices.
pub(super) fn joined(
    problem: &Problem,
    allowance: &Allowance,
    joins: impl Fn(&Edge, [OpId; 2], [bool; 2]) -> bool,
) -> Vec<Vec<OpId>> {
    let order = problem.topological_order();
    let edges = edges(problem, &order);
    let mut n_out = vec![0usize; order.len()];
    let mut n_in = vec![0usize; order.len()];
    for edge in &edges {
        n_out[edge.from] += 1;
        n_in[edge.to] += 1;
    }
    let mut amounts: Vec<Amount> = order.iter().map(|op| Amount::of(problem, *op)).collect();
    let mut sets = Sets::new(order.len());
    for edge in edges {
        let (producer, consumer) = (order[edge.from], order[edge.to]);
        let only = [n_out[edge.from] == 1, n_in[edge.to] == 1];
        let alike = problem.placeable(producer) == problem.placeable(consumer);
        let (a, b) = (sets.find(edge.from), sets.find(edge.to));
        let together = amounts[a].plus(amounts[b]);
        let fits = alike && a != b && allowance.admits(&together);
        if fits && joins(&edge, [producer, consumer], only) {
            sets.join(a, b);
            amounts[a.min(b)] = together;
        }
    }
    members(&order, &mut sets)
}

/// The same problem, in which each of these sets of ops shares a device on top of what already
/// does.
///
/// # Errors
/// `no-device` if a set is left without any device.
pub(super) fn tied(
    problem: &Problem,
    sets: Vec<Vec<OpId>>,
    facts: Vec<(&'static str, Value)>,
) -> Result<Transformed, NoPlan> {
    let mut constraints = problem.constraints.clone();
    constraints.colocate.extend(sets.into_iter().filter(|set| set.len() > 1));
    let problem = Problem::new(
        Arc::clone(&problem.graph),
        Arc::clone(&problem.cluster),
        problem.workload.clone(),
        problem.objective,
        constraints,
        |op, kind| match problem.time_on_kind_ns(op, kind) {
            UNSUPPORTED => None,
            time => Some(Nanos(time)),
        },
        |op| Bytes(problem.temporary(op)),
    );
    let problem = problem.map_err(|error| NoPlan::new(Reason::NoDevice, error))?;
    Ok(Transformed { problem: Arc::new(problem), lift: Box::new(Unchanged), facts })
}

/// The value of an option that is a share.
///
/// # Errors
/// `bad-option` outside of 0 to 1.
pub(super) fn share(options: &Options, row: &OptionRow) -> Result<f64, Diagnostic> {
    let share = options.real(row)?;
    match (0.0..=1.0).contains(&share) {
        true => Ok(share),
        false => Err(bad_option(row, options.text(row))),
    }
}

/// The way back from a problem with the same ops: nothing to do.
struct Unchanged;

impl Lift for Unchanged {
    fn lift(&self, draft: Draft) -> Draft {
        draft
    }
}

/// Disjoint sets of positions `0..n`; the representative is the least member.
pub(super) struct Sets {
    parent: Vec<usize>,
}

impl Sets {
    /// Each on its own.
    pub(super) fn new(n: usize) -> Self {
        Self { parent: (0..n).collect() }
    }

    /// The least member of the set of `at`.
    pub(super) fn find(&mut self, mut at: usize) -> usize {
        while self.parent[at] != at {
            self.parent[at] = self.parent[self.parent[at]];
            at = self.parent[at];
        }
        at
    }

    /// Joins two sets.
    pub(super) fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.find(a), self.find(b));
        self.parent[a.max(b)] = a.min(b);
    }
}
