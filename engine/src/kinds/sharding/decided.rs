//! What a sharding decides, to its document and back.

use documents::plan::sharding::{
    AxisDocument, CollectiveDocument, PlacementDocument, RedistributionDocument, ShardedOpDocument,
    ShardingDocument, split,
};
use documents::plan::shards::ShardingContext;
use documents::plan::{CostDocument, PlanDocument};
use ir::diagnostic::Diagnostic;
use planner::sharding::decoder::Step as Ops;
use planner::sharding::memory::used;
use planner::sharding::program;
use planner::sharding::replay::replayed;
use planner::sharding::training::{Exposed, expose};
use planner::sharding::{
    Axis, Budget, Collective, Graph, Op, Part, Placement, Planned, Question, Refused, Sharding,
    Shards, Step, sizes,
};

use super::setting::Setting;
use crate::kinds::kind::illegal;
use crate::search::row;

/// Which bound is stated.
pub const BOUND: &str = "sharding-duals";

/// What an axis does to a tensor, in text.
#[must_use]
pub fn part(part: Part) -> String {
    match part {
        Part::Replicated => "R".to_owned(),
        Part::Split(dim) => format!("S({dim})"),
        Part::Strided(dim, before) => format!("_S({dim},{before})"),
        Part::Partial => "P".to_owned(),
    }
}

/// The same read.
#[must_use]
pub fn read(text: &str) -> Option<Part> {
    match text {
        "R" => Some(Part::Replicated),
        "P" => Some(Part::Partial),
        _ => {
            let found = match split(text)? {
                (dim, 1) => Part::Split(dim),
                (dim, before) => Part::Strided(dim, before),
            };
            Some(found).filter(|of| part(*of) == text)
        }
    }
}

fn placement(of: &Placement) -> PlacementDocument {
    of.iter().copied().map(part).collect()
}

/// A collective's name.
#[must_use]
pub const fn operation(of: Collective) -> &'static str {
    match of {
        Collective::AllReduce => "all-reduce",
        Collective::ReduceScatter => "reduce-scatter",
        Collective::AllGather => "all-gather",
        Collective::AllToAll => "all-to-all",
    }
}

fn redistribution(graph: &Graph, axes: &[Axis], step: &Step) -> RedistributionDocument {
    let tensor = &graph.tensors[step.tensor];
    let elements: f64 = tensor.dims.iter().map(|size| *size as f64).product();
    let collective = |(axis, of): &(usize, Collective)| CollectiveDocument {
        axis: axes[*axis].name.clone(),
        operation: operation(*of).to_owned(),
    };
    RedistributionDocument {
        tensor: tensor.name.clone(),
        from: placement(&step.from),
        to: placement(&step.to),
        collectives: step.collectives.iter().map(collective).collect(),
        bytes: (elements * tensor.element_bytes) as u64,
        seconds: step.whole_s(graph),
        times: step.times,
    }
}

/// The plan document.
#[must_use]
pub fn document(setting: &Setting, planned: &Planned, algorithm: &str) -> PlanDocument {
    let graph = &planned.step.graph;
    let axes = &setting.mesh.axes;
    let ops = graph.ops.iter().zip(&planned.sharding.strategies).map(|(op, strategy)| {
        let (inputs, outputs) = strategy.placements.split_at(op.inputs.len());
        ShardedOpDocument {
            op: op.name.clone(),
            tensors: (op.inputs.iter().chain(&op.outputs))
                .map(|tensor| graph.tensors[*tensor].name.clone())
                .collect(),
            inputs: inputs.iter().map(placement).collect(),
            outputs: outputs.iter().map(placement).collect(),
        }
    });
    let redistributions =
        planned.sharding.steps.iter().map(|step| redistribution(graph, axes, step));
    let run = &setting.run;
    let sharding = ShardingDocument {
        stack: run.stack.name.clone(),
        sequence_length: run.sequence,
        mesh: (axes.iter())
            .map(|axis| AxisDocument { axis: axis.name.clone(), size: axis.size })
            .collect(),
        recompute: planned.recomputes,
        peak_memory_bytes: planned.peak.0.round() as u64,
        peak_memory_at: planned.peak.1.clone(),
        exposed_share: planned.exposed.parameters,
        exposed_share_of_activations: planned.exposed.activations,
        ops: ops.collect(),
        redistributions: redistributions.collect(),
    };
    let context = ShardingContext {
        model: &run.model,
        cluster: &run.cluster,
        profile: run.measured_by(),
        request: run.request.clone(),
        numbers: (run.numbers.dtype, run.numbers.optimizer),
        samples: (run.global_batch, planned.accumulation),
        algorithm,
    };
    let ns = |seconds: f64| (seconds * 1e9).round() as u64;
    let priced_ns = ns(planned.priced_s());
    let bound_ns = ns(planned.bound_s()).min(priced_ns);
    let cost = CostDocument::new(ns(planned.seconds()), bound_ns, BOUND).with_value(priced_ns);
    PlanDocument::from_sharding(sharding, context, cost)
}

/// By op of a graph the placements that a plan states, or what is wrong with them.
fn placements(stated: &ShardingDocument, graph: &Graph) -> Result<Vec<Vec<Placement>>, String> {
    if let Some(extra) = stated.ops.iter().find(|of| graph.ops.iter().all(|op| op.name != of.op)) {
        return Err(format!("the step has no op `{}`", extra.op));
    }
    let of_op = |op: &Op| {
        let found = stated.ops.iter().find(|other| other.op == op.name);
        let found = found.ok_or_else(|| format!("no placements of `{}`", op.name))?;
        let all = found.inputs.iter().chain(&found.outputs);
        let read = |of: &PlacementDocument| of.iter().map(|text| read(text)).collect();
        let placements: Option<Vec<Placement>> = all.map(read).collect();
        placements.ok_or_else(|| format!("`{}` has a placement that is none", op.name))
    };
    graph.ops.iter().map(of_op).collect()
}

/// Ops at which a device holds more than it may.
fn broken(question: &Question<'_>, step: &Ops, sharding: &Sharding) -> Vec<Diagnostic> {
    let limit = question.memory.most_bytes;
    let budgets = question.budgets(step);
    let all = used(&step.graph, question.mesh, &budgets, &sharding.strategies);
    let over = |(budget, bytes): (&Budget, f64)| {
        let bytes = bytes + question.memory.resident_bytes;
        (bytes > limit * (1.0 + 1e-9)).then(|| {
            let message = format!(
                "a device holds {:.2} GiB at `{}`, and {:.2} GiB are allowed",
                bytes / 2_f64.powi(30),
                budget.name,
                limit / 2_f64.powi(30)
            );
            illegal("memory", message)
        })
    };
    budgets.iter().zip(all).filter_map(over).collect()
}

/// What a plan decides, and what that takes.
///
/// # Errors
/// All rules that it breaks.
pub fn judged(setting: &Setting, plan: &PlanDocument) -> Result<Planned, Vec<Diagnostic>> {
    let wrong = |message: String| vec![illegal("bad-sharding", message)];
    let Some(stated) = &plan.sharding else {
        return Err(wrong("the plan states no sharding".to_owned()));
    };
    let mesh = setting.mesh.axes.iter().map(|axis| (&axis.name, axis.size));
    if !stated.mesh.iter().map(|axis| (&axis.axis, axis.size)).eq(mesh) {
        return Err(wrong("the mesh has other axes than the cluster's devices make".to_owned()));
    }
    let asked = row::known::<Shards>(&plan.algorithm).ok();
    let asked = asked.and_then(|(used, _)| sizes(&used.options).ok()).flatten();
    if asked.is_some_and(|asked| !asked.iter().eq(setting.mesh.axes.iter().map(|of| &of.size))) {
        return Err(wrong(format!("the mesh is not that of `{}`", plan.algorithm)));
    }
    let accumulation = plan.parallelism.n_micro_batches;
    let batch = setting.run.global_batch;
    if accumulation == 0 || !batch.is_multiple_of(accumulation) {
        return Err(wrong(format!("{batch} samples are no {accumulation} equal micro-batches")));
    }
    setting.with(|question| {
        let step = question.step(accumulation, stated.recompute);
        let mut step = step.ok_or_else(|| wrong(Refused::NoGraph.to_string()))?;
        let exposed = Exposed {
            parameters: stated.exposed_share,
            activations: stated.exposed_share_of_activations,
        };
        let is_share = |share: f64| share > 0.0 && share <= 1.0;
        if !is_share(exposed.parameters) || !is_share(exposed.activations) {
            return Err(wrong("a weight of collectives is not above 0 and at most 1".to_owned()));
        }
        expose(&mut step.graph, exposed);
        let placements = placements(stated, &step.graph).map_err(wrong)?;
        let mesh = question.mesh;
        let sharding = program::stated(&step.graph, mesh, question.prices, &placements);
        let sharding = sharding.map_err(|error| match error {
            Refused::NoStrategy(op) => wrong(format!("no strategy of `{op}` has these placements")),
            _ => wrong("a tensor does not get from one op to another".to_owned()),
        })?;
        let broken = broken(question, &step, &sharding);
        if !broken.is_empty() {
            return Err(broken);
        }
        let peak = question.peak(&step, &sharding.strategies);
        let replayed = replayed(&step.graph, &sharding, &question.running);
        let recomputes = stated.recompute;
        let rows = Vec::new();
        Ok(Planned { step, sharding, accumulation, recomputes, peak, rows, replayed, exposed })
    })
}
