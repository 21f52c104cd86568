//! Models on equal devices with equal links, solved as instances with given costs.
//!
//! # Decides
//! Placement and op orders.
//!
//! # Idea
//! Where all devices are interchangeable and all links alike, max-load of a model is max-load of an
//! instance: an op is a node, a colocation group a colour, and what a node's output costs at either
//! end is the sum over its tensors. The methods for instances then give their plans, and the one
//! that looks at all splits its proof. Of the memory, a node states only the parameters that nobody
//! else reads: what they prove holds for the model, and a plan that takes too much is refused.
//!
//! # Paper
//! Those of the methods: [`super::columns`], [`crate::given::ideals`].
//!
//! # Guarantee
//! The bound of `columns` holds for the model. `ideals` is the best among contiguous splits only.
//!
//! # Complexity
//! That of the methods.
//!
//! # Limits
//! Max-load is what they minimise, whatever is judged; their bound counts for max-load alone. Up to
//! 5,000 ops, tied or not. All tensors of an op that
//! are read at all must be read by the same ops.
//!
//! # Example
//! `meshwright plan model.onnx --cluster box.yaml --objective max-load --algorithm columns`

use std::collections::BTreeSet;

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
use crate::given::runner::{Request, Solution, solve};
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

impl Decide for AsInstance {
    fn decide(&self, run: &Run, draft: Draft) -> Result<Draft, NoPlan> {
        let problem = run.problem();
        let instance = convert(problem).map_err(|why| {
            NoPlan::not_found(Reason::Unsupported, "not-an-instance", why)
                .hint("use `orders,refine-load`, which takes any model")
                .fact("algorithm", self.method)
        })?;
        let limits = Limits {
            time: run.time_left(),
            nodes: run.nodes_left(),
            gap: 0.0,
            ..run.limits().clone()
        };
        let request = Request { limits, ..Request::new(run.rows()) };
        let answer = solve(&Instance::Load(instance), self.goal, Some(self.method), &request)
            .map_err(|error| NoPlan::new(Reason::Unsupported, error))?;
        let is_bound = self.goal == Goal::MaxLoad && problem.objective == Objective::MAX_LOAD;
        if is_bound && answer.bound.standing.caveat().is_none() {
            run.bound(Bound { value: answer.bound.value, method: answer.bound.method });
        }
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

/// The instance of a problem: node `i` is action `i`.
///
/// # Errors
/// Why it has none.
pub(crate) fn convert(problem: &Problem) -> Result<LoadInstance, String> {
    check(problem)?;
    let mut node = vec![0u32; problem.n_ops()];
    for (at, op) in (0u32..).zip(&problem.actions) {
        node[op.index()] = at;
    }
    let mut readers = vec![0u32; problem.n_tensors()];
    for op in &problem.actions {
        problem.parameters(*op).iter().for_each(|tensor| readers[tensor.index()] += 1);
    }
    let nodes = problem.actions.iter().map(|op| load_node(problem, *op, &readers));
    let nodes: Vec<LoadNode> = nodes.collect::<Result<_, String>>()?;
    let edges: BTreeSet<(u32, u32)> = problem
        .actions
        .iter()
        .flat_map(|op| problem.outputs(*op).iter().map(move |tensor| (*op, *tensor)))
        .flat_map(|(op, tensor)| problem.consumers(tensor).iter().map(move |to| (op, *to)))
        .map(|(from, to)| (node[from.index()], node[to.index()]))
        .collect();
    let first = DeviceId::new(0);
    let all = nodes.iter().fold(0u64, |sum, node| sum.saturating_add(node.bytes.get()));
    Ok(LoadInstance {
        name: problem.graph.name.clone(),
        nodes,
        edges: edges.into_iter().collect(),
        n_colours: problem.groups.len(),
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
    let everywhere = |op: &OpId| cluster.device_ids().all(|device| problem.can_place(*op, device));
    if !problem.actions.iter().all(everywhere) {
        return Err("some ops are barred from some devices".to_owned());
    }
    Ok(())
}

fn load_node(problem: &Problem, op: OpId, readers: &[u32]) -> Result<LoadNode, String> {
    let passed = problem.outputs(op).iter().filter(|t| !problem.consumers(**t).is_empty());
    let mut transfer = 0u64;
    let mut read_by: Option<&[OpId]> = None;
    for &tensor in passed.filter(|_| problem.cluster.n_devices() > 1) {
        let consumers = problem.consumers(tensor);
        if read_by.replace(consumers).is_some_and(|before| before != consumers) {
            let name = &problem.graph.op(op).name;
            return Err(format!("the tensors of op `{name}` go to different ops"));
        }
        let time = problem.transfer_ns(tensor, DeviceId::new(0), DeviceId::new(1));
        transfer = transfer.saturating_add(time);
    }
    let own = problem.parameters(op).iter().filter(|tensor| readers[tensor.index()] == 1);
    let bytes = own.fold(0u64, |sum, t| sum.saturating_add(problem.persistent_bytes(*t)));
    let time = Nanos(problem.least_time_ns(op));
    Ok(LoadNode {
        source_id: u64::from(op.0),
        name: problem.graph.op(op).name.clone(),
        cpu: time,
        accelerator: Some(time),
        transfer: Nanos(transfer),
        bytes: Bytes(bytes),
        colour: problem.group_of(op).map(|group| group.0),
        phase: Phase::Forward,
    })
}
