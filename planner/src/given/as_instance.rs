//! Models on equal devices with equal links, solved as instances with given costs.
//!
//! # Decides
//! Placement and op orders.
//!
//! # Idea
//! Where all devices are interchangeable and all links alike, max-load of a model is max-load of an
//! instance: an op is a node, a colocation group a colour, and what a node's output costs at either
//! end is the sum over its tensors. An op whose tensors go to different ops is a node for each group
//! of readers: the first has its time and bytes, the others its colour and nothing but their
//! tensors. The methods for instances then give their plans, and the one that looks at all splits
//! its proof. Of the memory, a node states only the parameters that nobody else reads: what they
//! prove holds for the model, and a plan that takes too much is refused.
//!
//! # Paper
//! Those of the methods: [`super::columns`], [`crate::given::ideals`], [`super::blocks_anneal`].
//!
//! # Guarantee
//! The bound of `columns` holds for the model. `ideals` is the best among contiguous splits only.
//! `blocks-anneal` promises nothing: a model starts an op once its inputs are there, and not once
//! those of the whole block are.
//!
//! # Complexity
//! That of the methods.
//!
//! # Limits
//! `columns` and `ideals` minimise max-load, `blocks-anneal` the latency of an instance, whatever is
//! judged; the bound counts for max-load alone. Up to 5,000 ops, tied or not. Pins and unlike devices
//! are refused: [`super::milp`] takes them, and has the bound without the pins from here. `labels` and `straight` have no door to models: their
//! headers say why.
//!
//! # Example
//! `meshwright place model.onnx --cluster box.yaml --objective max-load --algorithm columns`

use std::collections::BTreeSet;
use std::time::Duration;

use cost_model::given::Goal;
use cost_model::ops::bound::Bound;
use cost_model::ops::problem::{Objective, Problem};
use ir::cluster::NO_ROUTE;
use ir::diagnostic::Diagnostic;
use ir::id::{DeviceId, OpId};
use ir::instance::{Instance, LoadInstance, LoadNode};
use ir::op::Phase;
use ir::plan::Placement;
use ir::units::{Bytes, Nanos};

use crate::draft::{Draft, Orders};
use crate::given::max_load::certificate::Certificate;
use crate::given::runner::{Answer, Request, Solution, solve};
use crate::line;
use crate::placement::orders::orders_along;
use crate::run::algorithm::{Decide, Options, Row};
use crate::run::no_plan::{NoPlan, Reason};
use crate::run::{Limits, Run};

/// Most ops.
const MAX_OPS: usize = 5_000;

struct AsInstance {
    goal: Goal,
    method: &'static str,
}

/// `columns`: any split, with a proof.
///
/// # Errors
/// None.
pub fn columns(_: &Options) -> Result<Row, Diagnostic> {
    Ok(Row::Decide(Box::new(AsInstance { goal: Goal::MaxLoad, method: "columns" })))
}

/// `ideals`: the best contiguous split.
///
/// # Errors
/// None.
pub fn ideals(_: &Options) -> Result<Row, Diagnostic> {
    Ok(Row::Decide(Box::new(AsInstance { goal: Goal::ContiguousMaxLoad, method: "ideals" })))
}

/// `blocks-anneal`: a block of the model on each device.
///
/// # Errors
/// None.
pub fn blocks_anneal(_: &Options) -> Result<Row, Diagnostic> {
    Ok(Row::Decide(Box::new(AsInstance { goal: Goal::Latency, method: "blocks-anneal" })))
}

impl Decide for AsInstance {
    fn decide(&self, run: &Run, draft: Draft) -> Result<Draft, NoPlan> {
        let problem = run.problem();
        let instance = convert(problem).map_err(|why| {
            NoPlan::not_found(Reason::Unsupported, "not-an-instance", why)
                .hint("use `orders,refine-load`, which takes any model")
                .fact("algorithm", self.method)
        })?;
        let answer = self.answer(run, instance, run.time_left())?;
        let Some((_, Solution::Devices(devices))) = answer.best else {
            let message = format!("`{}` found no split within its limits", self.method);
            return Err(NoPlan::not_found(Reason::Budget, "no-plan", message));
        };
        let mut device = vec![None; problem.n_ops()];
        for (op, place) in problem.actions.iter().zip(devices) {
            device[op.index()] = Some(DeviceId::new(place as usize));
        }
        let placement = Placement { device };
        let orders = orders_along(problem, &line::depth_first(problem), &placement);
        Ok(draft.placed(placement).scheduled(Orders::Ops(orders)))
    }
}

impl AsInstance {
    /// What the method finds; the bound is told.
    fn answer(
        &self,
        run: &Run,
        instance: LoadInstance,
        time: Option<Duration>,
    ) -> Result<Answer, NoPlan> {
        let limits = Limits { time, nodes: run.nodes_left(), gap: 0.0, ..run.limits().clone() };
        let request = Request { limits, ..Request::new(run.rows()) };
        let answer = solve(&Instance::Load(instance), self.goal, Some(self.method), &request)
            .map_err(|error| NoPlan::new(Reason::Unsupported, error))?;
        let objective = run.problem().objective;
        let is_bound = self.goal == Goal::MaxLoad && objective == Objective::MAX_LOAD;
        if is_bound && answer.bound.standing.caveat().is_none() {
            run.bound(Bound { value: answer.bound.value, method: answer.bound.method });
        }
        Ok(answer)
    }
}

/// Tells the bound of `columns` where pins are all that stands against an instance: without them
/// there are only more plans.
pub(crate) fn bound_without_pins(run: &Run, time: Option<Duration>) {
    let problem = run.problem();
    if problem.objective != Objective::MAX_LOAD || is_open(problem) {
        return;
    }
    if let Ok(instance) = without_pins(problem) {
        let columns = AsInstance { goal: Goal::MaxLoad, method: "columns" };
        // Without an answer the bound stays what it was.
        let _ = columns.answer(run, instance, time);
    }
}

/// The bound of `columns` on max-load of a model on equal devices, pins or not, with the certificate
/// that nothing is below it; node `i` of it is action `i`.
#[must_use]
pub fn certified(problem: &Problem, request: &Request) -> Option<(Nanos, Certificate)> {
    let instance = Instance::Load(without_pins(problem).ok()?);
    let answer = solve(&instance, Goal::MaxLoad, Some("columns"), request).ok()?;
    Some((answer.bound.value, answer.certificate?))
}

/// Whether a problem is an instance.
#[must_use]
pub(crate) fn applies(problem: &Problem) -> bool {
    check(problem).is_ok() && is_open(problem)
}

/// The instance of a problem: node `i` is action `i`; behind them stand the further groups of
/// readers of ops whose tensors go to different ops.
///
/// # Errors
/// Why it has none.
pub(crate) fn convert(problem: &Problem) -> Result<LoadInstance, String> {
    if !is_open(problem) {
        return Err("some ops are barred from some devices".to_owned());
    }
    without_pins(problem)
}

/// The same where each op may be anywhere.
fn without_pins(problem: &Problem) -> Result<LoadInstance, String> {
    check(problem)?;
    let mut node = vec![0u32; problem.n_ops()];
    for (at, op) in (0u32..).zip(&problem.actions) {
        node[op.index()] = at;
    }
    let mut readers = vec![0u32; problem.n_tensors()];
    for op in &problem.actions {
        problem.parameters(*op).iter().for_each(|tensor| readers[tensor.index()] += 1);
    }
    let mut nodes: Vec<LoadNode> =
        problem.actions.iter().map(|op| load_node(problem, *op, &readers)).collect();
    let mut n_colours = problem.groups.len();
    let mut edges = BTreeSet::new();
    for (number, op) in (0u32..).zip(&problem.actions) {
        for (at, (consumers, transfer)) in passed(problem, *op).into_iter().enumerate() {
            let mut from = number;
            if at > 0 {
                from = nodes.len() as u32;
                let colour = *nodes[number as usize].colour.get_or_insert_with(|| {
                    n_colours += 1;
                    n_colours as u32 - 1
                });
                let nothing = LoadNode {
                    cpu: Nanos::ZERO,
                    bytes: Bytes::ZERO,
                    ..nodes[number as usize].clone()
                };
                let accelerator = Some(Nanos::ZERO);
                nodes.push(LoadNode { accelerator, transfer, colour: Some(colour), ..nothing });
                edges.insert((number, from));
            } else {
                nodes[number as usize].transfer = transfer;
            }
            edges.extend(consumers.iter().map(|to| (from, node[to.index()])));
        }
    }
    if nodes.len() > MAX_OPS {
        return Err(format!("{} ops and groups of readers are more than {MAX_OPS}", nodes.len()));
    }
    let first = DeviceId::new(0);
    let all = nodes.iter().fold(0u64, |sum, node| sum.saturating_add(node.bytes.get()));
    Ok(LoadInstance {
        name: problem.graph.name.clone(),
        nodes,
        edges: edges.into_iter().collect(),
        n_colours,
        n_accelerators: problem.cluster.n_devices(),
        n_cpus: 0,
        accelerator_memory: Bytes(problem.memory_limit(first).min(all)),
    })
}

fn check(problem: &Problem) -> Result<(), String> {
    let cluster = &problem.cluster;
    if problem.actions.len() > MAX_OPS {
        return Err(format!("{} ops are more than {MAX_OPS}", problem.actions.len()));
    }
    let of_first = |device: DeviceId| {
        let (one, other) = (&cluster.devices[0], &cluster.devices[device.index()]);
        one.kind == other.kind && one.memory_limit() == other.memory_limit()
    };
    let mut ways = (0..cluster.n_devices() * cluster.n_devices())
        .filter(|at| at / cluster.n_devices() != at % cluster.n_devices())
        .map(|at| cluster.links.pairs[at]);
    let way = ways.next();
    let is_equal = cluster.device_ids().all(of_first)
        && ways.all(|other| Some(other) == way)
        && way != Some(NO_ROUTE);
    if cluster.n_devices() == 0 || !is_equal {
        return Err("the devices or the links differ".to_owned());
    }
    Ok(())
}

/// Whether each op can be on each device.
fn is_open(problem: &Problem) -> bool {
    let devices = || problem.cluster.device_ids();
    problem.actions.iter().all(|op| devices().all(|device| problem.can_place(*op, device)))
}

/// Groups of readers of an op's tensors, and what all tensors of each cost at either end.
fn passed(problem: &Problem, op: OpId) -> Vec<(&[OpId], Nanos)> {
    let mut groups: Vec<(&[OpId], Nanos)> = Vec::new();
    for &tensor in problem.outputs(op) {
        let consumers = problem.consumers(tensor);
        if consumers.is_empty() {
            continue;
        }
        let time = match problem.cluster.n_devices() {
            1 => 0,
            _ => problem.transfer_ns(tensor, DeviceId::new(0), DeviceId::new(1)),
        };
        match groups.iter_mut().find(|(known, _)| *known == consumers) {
            Some((_, sum)) => *sum = Nanos(sum.get().saturating_add(time)),
            None => groups.push((consumers, Nanos(time))),
        }
    }
    groups
}

/// An op without what it passes on.
fn load_node(problem: &Problem, op: OpId, readers: &[u32]) -> LoadNode {
    let unshared = problem.parameters(op).iter().filter(|tensor| readers[tensor.index()] == 1);
    let bytes = unshared.fold(0u64, |sum, t| sum.saturating_add(problem.persistent_bytes(*t)));
    let time = Nanos(problem.least_time_ns(op));
    LoadNode {
        source_id: u64::from(op.0),
        name: problem.graph.op(op).name.clone(),
        cpu: time,
        accelerator: Some(time),
        transfer: Nanos::ZERO,
        bytes: Bytes(bytes),
        colour: problem.group_of(op).map(|group| group.0),
        phase: Phase::Forward,
    }
}
