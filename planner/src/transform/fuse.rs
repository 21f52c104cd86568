//! Fusion: chains of ops are planned as one op.
//!
//! # Decides
//! Nothing; the rows after it see fewer ops.
//!
//! # Idea
//! An edge is contracted where it is the only one out of its producer or the only one into its
//! consumer: then no other way leads from the one to the other, so no cycle arises. Both ends must
//! be allowed on the same devices, and not belong to different groups. Within a colocation group
//! either condition is enough. Outside, by default (`reach=chains`), both must hold, so that no
//! parallelism is lost, or the op whose only edge it is must be *light*: shorter than the transfer
//! of the tensor, as element-wise ops are. `reach=any` contracts wherever no cycle arises.
//! A fused op takes the sum of its members' times and runs them in topological order. Its
//! temporary bytes are the most that any member needs on top of the inner tensors that are alive
//! then; its parameters are the union.
//!
//! # Paper
//! Jeon et al., "Baechi: fast device placement of machine learning graphs", SoCC 2020, operator
//! fusion: the two conditions on the edge, within a group. Chains and light ops are ours.
//!
//! # Guarantee
//! None. A plan of the fused graph is judged on the original one, where transfers may start
//! earlier than they did there.
//!
//! # Complexity
//! O(E log E) per round for E op pairs; a chain of n ops takes about log2 n rounds.
//!
//! # Limits
//! A fused op grows up to a share of the smallest memory limit and of the whole work.
//!
//! # Example
//! `meshwright place model.onnx --cluster box.yaml --algorithm "fuse(share=0.05),m-sct"`

use std::collections::BTreeSet;
use std::sync::Arc;

use cost_model::ops::problem::{Constraints, Problem, UNSUPPORTED};
use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::id::{DeviceId, GroupId, OpId, TensorId};
use ir::op::{GivenCost, Op, Work};
use ir::plan::Placement;
use ir::schedule::Action;
use ir::units::{Bytes, Nanos};

use super::tie::{Allowance, Amount, Edge, Sets, edges, least_transfer, share};
use crate::draft::{Draft, Orders};
use crate::run::algorithm::{Lift, OptionRow, Options, Row, Transform, Transformed};
use crate::run::no_plan::{NoPlan, Reason};

const REACH: OptionRow = OptionRow {
    name: "reach",
    unit: "chains|any",
    default: "chains",
    summary: "whether only chains and light ops are fused, or whatever leaves no cycle",
};

const SHARE: OptionRow = OptionRow {
    name: "share",
    unit: "fraction of 0 to 1",
    default: "0.1",
    summary: "part of the smallest memory limit, and of the work, that a fused op amounts to at most",
};

/// Options of the row.
pub const OPTIONS: &[OptionRow] = &[REACH, SHARE];

/// How much is fused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Chains and light ops, and what shares a group.
    Chains,
    /// Whatever leaves no cycle.
    Any,
}

struct Fuse {
    reach: Reach,
    share: f64,
}

/// Makes the row ready.
///
/// # Errors
/// `bad-option`.
pub fn build(options: &Options) -> Result<Row, Diagnostic> {
    let reach = match options.word(&REACH)? {
        "any" => Reach::Any,
        _ => Reach::Chains,
    };
    let share = share(options, &SHARE)?;
    Ok(Row::Transform(Box::new(Fuse { reach, share })))
}

impl Transform for Fuse {
    fn apply(&self, problem: &Arc<Problem>) -> Result<Transformed, NoPlan> {
        let members = solve(problem, self.reach, self.share);
        let fused =
            contracted(problem, &members).map_err(|error| NoPlan::new(Reason::NoDevice, error))?;
        let facts = vec![("ops", members.len().into()), ("from", problem.actions.len().into())];
        let lift = Expand { members, n_ops: problem.n_ops() };
        Ok(Transformed { problem: Arc::new(fused), lift: Box::new(lift), facts })
    }
}

/// The members of each fused op in topological order; fused ops are ordered by their least member.
/// An op that is not fused stands alone.
#[must_use]
pub fn solve(problem: &Problem, reach: Reach, share: f64) -> Vec<Vec<OpId>> {
    let order = problem.topological_order();
    let edges = edges(problem, &order);
    let mut fusion = Fusion {
        problem,
        reach,
        allowance: Allowance::new(problem, share),
        amounts: order.iter().map(|op| Amount::of(problem, *op)).collect(),
        groups: order.iter().map(|op| problem.group_of(*op)).collect(),
        sets: Sets::new(order.len()),
        order,
    };
    while fusion.round(&edges) > 0 {}
    members(&fusion.order, &mut fusion.sets)
}

/// Sets of ops, by the topological position of their first members.
struct Fusion<'a> {
    problem: &'a Problem,
    reach: Reach,
    allowance: Allowance,
    order: Vec<OpId>,
    sets: Sets,
    amounts: Vec<Amount>,
    /// A set is in a group as soon as one member is.
    groups: Vec<Option<GroupId>>,
}

impl Fusion<'_> {
    /// Contracts edges, at most one at each set: a condition that held before the round then
    /// still holds when its edge's turn comes. Tells how many.
    fn round(&mut self, edges: &[Edge]) -> usize {
        let open = contracted_edges(edges, &mut self.sets);
        let mut n_out = vec![0usize; self.order.len()];
        let mut n_in = vec![0usize; self.order.len()];
        for (a, b, _) in &open {
            n_out[*a] += 1;
            n_in[*b] += 1;
        }
        let mut touched = vec![false; self.order.len()];
        let mut n_joined = 0;
        for (a, b, tensor) in open {
            let only = Only { out: n_out[a] == 1, into: n_in[b] == 1 };
            let together = self.amounts[a].plus(self.amounts[b]);
            if touched[a]
                || touched[b]
                || !self.allowance.admits(&together)
                || !self.compatible(a, b)
                || !self.suits(a, b, tensor, &only)
            {
                continue;
            }
            touched[a] = true;
            touched[b] = true;
            n_joined += 1;
            self.sets.join(a, b);
            self.amounts[a.min(b)] = together;
            self.groups[a.min(b)] = self.groups[a].or(self.groups[b]);
        }
        n_joined
    }

    fn compatible(&self, a: usize, b: usize) -> bool {
        let groups = (self.groups[a], self.groups[b]);
        let one_group = groups.0 == groups.1 || groups.0.is_none() || groups.1.is_none();
        let problem = self.problem;
        one_group && problem.placeable(self.order[a]) == problem.placeable(self.order[b])
    }

    fn suits(&self, a: usize, b: usize, tensor: TensorId, only: &Only) -> bool {
        let transfer = least_transfer(self.problem, tensor);
        let light = |at: usize| transfer.is_some_and(|t| self.amounts[at].work() < t);
        let in_group = self.groups[a].is_some() && self.groups[a] == self.groups[b];
        match (only.out, only.into) {
            (false, false) => false,
            (true, true) => true,
            _ if in_group || self.reach == Reach::Any => true,
            (true, false) => light(a),
            (false, true) => light(b),
        }
    }
}

/// What is known of an edge.
struct Only {
    /// It is the only one out of its producer.
    out: bool,
    /// It is the only one into its consumer.
    into: bool,
}

/// Pairs of sets with an edge between them, each once with its first tensor.
fn contracted_edges(edges: &[Edge], sets: &mut Sets) -> Vec<(usize, usize, TensorId)> {
    let mut open: Vec<_> = edges
        .iter()
        .map(|edge| (sets.find(edge.from), sets.find(edge.to), edge.tensor))
        .filter(|(a, b, _)| a != b)
        .collect();
    open.sort_unstable();
    open.dedup_by_key(|(a, b, _)| (*a, *b));
    open
}

fn members(order: &[OpId], sets: &mut Sets) -> Vec<Vec<OpId>> {
    let mut members: Vec<Vec<OpId>> = vec![Vec::new(); order.len()];
    for (at, &op) in order.iter().enumerate() {
        members[sets.find(at)].push(op);
    }
    members.retain(|set| !set.is_empty());
    members.sort_by_key(|set| set.iter().min().copied());
    members
}

/// The problem whose ops are these sets. Tensors keep their ids; those that no fused op hands on
/// are left without producer and reader, and views are dissolved.
fn contracted(problem: &Problem, members: &[Vec<OpId>]) -> Result<Problem, Diagnostic> {
    let mut unit = vec![0; problem.n_ops()];
    for (at, set) in members.iter().enumerate() {
        set.iter().for_each(|op| unit[op.index()] = at);
    }
    let ops = members.iter().filter_map(|set| fused_op(problem, set, &unit)).collect();
    let graph = Graph {
        name: problem.graph.name.clone(),
        ops,
        tensors: problem.graph.tensors.clone(),
        inputs: problem.graph.inputs.clone(),
        outputs: problem.graph.outputs.iter().map(|t| problem.root(*t)).collect(),
        n_groups: 0,
        merges_equal_values: false,
        is_compiled: problem.graph.is_compiled,
        gradients: Vec::new(),
        source_op_ids: Vec::new(),
        source_tensor_ids: Vec::new(),
    };
    let temporary: Vec<u64> = members.iter().map(|set| temporary(problem, set, &unit)).collect();
    Problem::new(
        Arc::new(graph),
        Arc::clone(&problem.cluster),
        problem.workload.clone(),
        problem.objective,
        constraints(problem, members, &unit),
        |op, kind| {
            members[op.index()].iter().try_fold(Nanos::ZERO, |sum, member| {
                let time = problem.time_on_kind_ns(*member, kind);
                (time != UNSUPPORTED).then(|| sum + Nanos(time))
            })
        },
        |op| Bytes(temporary[op.index()]),
    )
}

/// Pins and forbids as the sets of devices that they left; groups by their fused ops.
fn constraints(problem: &Problem, members: &[Vec<OpId>], unit: &[usize]) -> Constraints {
    let pins = members
        .iter()
        .enumerate()
        .filter_map(|(at, set)| {
            let devices: Vec<DeviceId> = problem.placeable(*set.first()?).iter().collect();
            (devices.len() < problem.cluster.n_devices()).then(|| (OpId::new(at), devices))
        })
        .collect();
    let colocate = problem
        .groups
        .iter()
        .map(|group| {
            let units: BTreeSet<OpId> =
                group.iter().map(|op| OpId::new(unit[op.index()])).collect();
            units.into_iter().collect()
        })
        .collect();
    Constraints { pins, forbids: Vec::new(), colocate }
}

/// Whether a tensor is read outside the set of its producer, or lives to the end, or is read by
/// nobody (which is freed with its op, as an output).
fn is_handed_on(problem: &Problem, tensor: TensorId, this_unit: usize, unit: &[usize]) -> bool {
    let readers = problem.consumers(tensor);
    problem.is_output(tensor)
        || readers.is_empty()
        || readers.iter().any(|reader| unit[reader.index()] != this_unit)
}

fn fused_op(problem: &Problem, set: &[OpId], unit: &[usize]) -> Option<Op> {
    let first = *set.first()?;
    let this_unit = unit[first.index()];
    let mut op =
        Op { inputs: Vec::new(), parameters: Vec::new(), ..problem.graph.op(first).clone() };
    op.outputs.clear();
    op.group = None;
    op.work = Work::Given(GivenCost::default());
    let (mut inputs, mut parameters) = (BTreeSet::new(), BTreeSet::new());
    for &member in set {
        let produced = problem.inputs(member).iter().copied().filter(|tensor| {
            problem.producer(*tensor).is_some_and(|producer| unit[producer.index()] != this_unit)
        });
        let fed = problem.graph_inputs(member).iter().copied();
        op.inputs.extend(produced.chain(fed).filter(|tensor| inputs.insert(*tensor)));
        let read = problem.parameters(member).iter().copied();
        op.parameters.extend(read.filter(|tensor| parameters.insert(*tensor)));
        let outputs = problem.outputs(member).iter().copied();
        op.outputs.extend(outputs.filter(|tensor| is_handed_on(problem, *tensor, this_unit, unit)));
    }
    if let (Some(last), true) = (set.last(), set.len() > 1) {
        op.name = format!("{}..{}", op.name, problem.graph.op(*last).name);
        op.op_type = "Fused".to_owned();
    }
    Some(op)
}

/// Most bytes of temporary memory and inner tensors while the members run one after the other.
fn temporary(problem: &Problem, set: &[OpId], unit: &[usize]) -> u64 {
    let Some(this_unit) = set.first().map(|op| unit[op.index()]) else { return 0 };
    let position = |op: OpId| set.iter().position(|member| *member == op).unwrap_or(0);
    let mut alive = vec![0u64; set.len()];
    for (at, &member) in set.iter().enumerate() {
        alive[at] = alive[at].saturating_add(problem.temporary(member));
        for &tensor in problem.outputs(member) {
            if !is_handed_on(problem, tensor, this_unit, unit) {
                let last = problem.consumers(tensor).iter().map(|c| position(*c)).max();
                for slot in &mut alive[at..=last.unwrap_or(at).max(at)] {
                    *slot = slot.saturating_add(problem.bytes(tensor));
                }
            }
        }
    }
    alive.into_iter().max().unwrap_or(0)
}

/// The way back: members where their fused op is, in its place in the order.
struct Expand {
    members: Vec<Vec<OpId>>,
    n_ops: usize,
}

impl Expand {
    fn of(&self, op: OpId) -> &[OpId] {
        self.members.get(op.index()).map_or(&[], Vec::as_slice)
    }
}

impl Lift for Expand {
    fn lift(&self, draft: Draft) -> Draft {
        let placement = draft.placement.as_deref().map(|placement| {
            let mut device = vec![None; self.n_ops];
            for (at, members) in self.members.iter().enumerate() {
                let place = placement.of(OpId::new(at));
                members.iter().for_each(|op| device[op.index()] = place);
            }
            Placement { device }
        });
        let orders = draft.schedule.as_deref().map(|orders| match orders {
            Orders::Ops(orders) => orders
                .iter()
                .map(|ops| ops.iter().flat_map(|op| self.of(*op)).copied().collect())
                .collect(),
            Orders::Full(schedule) => schedule
                .actions
                .iter()
                .map(|actions| {
                    actions.iter().flat_map(|Action::Op(op)| self.of(*op)).copied().collect()
                })
                .collect(),
        });
        Draft {
            placement: placement.map(Arc::new),
            schedule: orders.map(|orders| Arc::new(Orders::Ops(orders))),
            partition: None,
            ..draft
        }
    }
}
