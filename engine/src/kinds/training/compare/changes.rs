//! What two training runs decide otherwise, field by field.

use cost_model::runs::forms::model::Offload;
use ir::card::{Recompute, ZeroStage};
use ir::plan::{BlockPolicy, Plan, Stage};
use ir::tensor::DType;

use super::{Facts, software};
use crate::inputs::run::pins::{self, word};

/// A field and its value on both sides.
pub(super) type Change = (&'static str, String, String);

/// What the second side decides otherwise, field by field.
pub(super) fn changes(now: &Facts, plan: &Facts) -> Vec<Change> {
    let run = |facts: &Facts| {
        let dtype = facts.dtype.map_or("not stated", DType::name).to_owned();
        let of = |is_on_hosts| if is_on_hosts { "on hosts" } else { "on devices" };
        let states = of(facts.offload != Offload::Nothing);
        let parameters = of(facts.offload == Offload::Parameters);
        [
            ("samples of a step", facts.global_batch.to_string()),
            ("tokens of a sample", facts.sequence.to_string()),
            ("element type", dtype),
            ("optimizer", facts.optimizer.name().to_owned()),
            ("optimizer states", states.to_owned()),
            ("trained", facts.trained.clone()),
            ("parameters", parameters.to_owned()),
            ("stack", facts.stack.clone()),
            ("schedule", facts.schedule.clone()),
            ("limits of boards", facts.boards.clone()),
            ("edges between stages", facts.edges.clone()),
        ]
    };
    let runs = run(now).into_iter().zip(run(plan)).map(|((what, a), (_, b))| (what, a, b));
    // One order of passes may have two names.
    let is_same_order = now.plan.schedule.grid == plan.plan.schedule.grid;
    let runs = runs.filter(|(what, a, b)| a != b && !(is_same_order && *what == "schedule"));
    let mut found: Vec<Change> = runs.collect();
    found.extend(software::changes(now, plan));
    found.extend(meshes(&now.meshes, &plan.meshes));
    found.extend(of_plans(&now.plan, &plan.plan, found.is_empty()));
    found
}

/// Devices of the stages that have others.
fn meshes(now: &[String], plan: &[String]) -> Option<Change> {
    let of = |meshes: &[String], other: &[String]| {
        let stages = meshes.iter().enumerate().filter(|(at, mesh)| other.get(*at) != Some(mesh));
        let texts: Vec<String> = stages.map(|(at, mesh)| format!("{at}: {mesh}")).collect();
        if meshes.is_empty() { "by the degrees".to_owned() } else { texts.join("; ") }
    };
    (now != plan).then(|| ("devices of stages", of(now, plan), of(plan, now)))
}

/// A field of a plan, in words.
type Field = (&'static str, fn(&Plan) -> String);

/// What a plan decides.
const FIELDS: [Field; 17] = [
    ("data", |plan| plan.parallelism.data.to_string()),
    ("tensor", |plan| plan.parallelism.tensor.to_string()),
    ("pipeline", |plan| plan.parallelism.pipeline.to_string()),
    ("virtual stages", |plan| plan.parallelism.virtual_stages.to_string()),
    ("context", |plan| plan.parallelism.context.to_string()),
    ("expert", |plan| plan.parallelism.expert.to_string()),
    (EXPERT_TENSOR, |plan| plan.parallelism.of_expert().to_string()),
    ("EP communication", |plan| {
        let is_beside = plan.parallelism.expert_overlap;
        if is_beside { "overlapped" } else { "exposed" }.to_owned()
    }),
    ("micro-batch", |plan| plan.parallelism.micro_batch.to_string()),
    ("micro-batches", |plan| plan.parallelism.n_micro_batches.to_string()),
    ("zero", |plan| {
        let degrees = &plan.parallelism;
        // One replica shares nothing out.
        let is_alone = degrees.data.saturating_mul(degrees.context) == 1;
        if is_alone { "either".to_owned() } else { (degrees.zero as u8).to_string() }
    }),
    ("sequence", |plan| word(&pins::SEQUENCES, plan.parallelism.sequence).to_owned()),
    ("mesh", |plan| {
        let degrees = &plan.parallelism;
        // With one axis of the two there is one order.
        let is_either = degrees.data == 1 || degrees.pipeline == 1;
        if is_either { "either".to_owned() } else { word(&pins::MESHES, degrees.mesh).to_owned() }
    }),
    ("blocks", |plan| by_stage(plan, |stage| stage.blocks.len().to_string()).join(",")),
    ("recompute", |plan| {
        let mut policies = by_stage(plan, policy);
        policies.dedup();
        policies.join(",")
    }),
    (GATHERED, |plan| {
        let is_gathered = |policy: &BlockPolicy| policy.zero == ZeroStage::Parameters;
        let zero = plan.parallelism.zero;
        let count = |stage: &Stage| stage.policies(zero).filter(is_gathered).count().to_string();
        by_stage(plan, count).join(",")
    }),
    (VOCABULARY, |plan| {
        let degrees = &plan.parallelism;
        degrees.vocabulary.unwrap_or(degrees.tensor).to_string()
    }),
];
const GATHERED: &str = "ZeRO 3 layers";
const VOCABULARY: &str = "vocabulary";
const EXPERT_TENSOR: &str = "expert tensor";

fn by_stage(plan: &Plan, of: impl Fn(&Stage) -> String) -> Vec<String> {
    plan.partition.stages.iter().map(of).collect()
}

fn of_plans(now: &Plan, plan: &Plan, is_same_run: bool) -> Vec<Change> {
    let either = |is: fn(&Plan) -> bool| is(now) || is(plan);
    let has_each = either(|side| side.partition.stages.iter().any(|stage| !stage.each.is_empty()));
    // Where nobody states it, it is the tensor degree, which has a row.
    let is_stated = either(|side| side.parallelism.vocabulary.is_some());
    let is_apart = either(|side| side.parallelism.expert_tensor.is_some());
    let is_told = |what: &str| match what {
        EXPERT_TENSOR => is_apart,
        GATHERED => has_each,
        VOCABULARY => is_stated,
        _ => true,
    };
    let fields = FIELDS.iter().filter(|(what, _)| is_told(what));
    let fields = fields.map(|(what, of)| (*what, of(now), of(plan)));
    let mut changes: Vec<_> = fields.filter(|(_, now, plan)| now != plan).collect();
    if is_same_run && changes.is_empty() && now.schedule.grid != plan.schedule.grid {
        changes.push(("schedule", "as set".into(), "another order of passes".into()));
    }
    changes
}

fn policy(stage: &Stage) -> String {
    if !stage.each.is_empty() {
        let again = stage.each.iter().filter(|policy| policy.recompute != Recompute::None).count();
        return match again {
            0 => "none".to_owned(),
            n if n == stage.each.len() => "full".to_owned(),
            n => format!("block {n}"),
        };
    }
    match stage.recompute {
        Recompute::None => "none".to_owned(),
        Recompute::Selective => "selective".to_owned(),
        Recompute::PerOp => "per-op".to_owned(),
        Recompute::Full => "full".to_owned(),
        Recompute::Uniform { blocks } => format!("uniform {blocks}"),
        Recompute::Block { blocks } => format!("block {blocks}"),
    }
}
