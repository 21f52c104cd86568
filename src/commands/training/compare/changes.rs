//! What two training runs decide otherwise, field by field.

use ir::card::{Recompute, SequenceParallel, ZeroStage};
use ir::plan::{Mesh, Parallelism, Plan, Stage};
use ir::tensor::DType;
use ir::workload::Optimizer;

use super::Facts;

/// A field and its value on both sides.
pub(super) type Change = (&'static str, String, String);

/// What the second side decides otherwise, field by field.
pub(super) fn changes(now: &Facts, plan: &Facts) -> Vec<Change> {
    let run = |facts: &Facts| {
        let dtype = facts.dtype.map_or("not stated", DType::name).to_owned();
        let optimizer = match facts.optimizer {
            Optimizer::AdamW => "adamw",
            Optimizer::Sgd => "sgd",
            Optimizer::Adafactor => "adafactor",
        };
        let states = if facts.offloads { "on hosts" } else { "on devices" };
        [
            ("samples of a step", facts.global_batch.to_string()),
            ("tokens of a sample", facts.sequence.to_string()),
            ("element type", dtype),
            ("optimizer", optimizer.to_owned()),
            ("optimizer states", states.to_owned()),
            ("stack", facts.stack.clone()),
            ("schedule", facts.schedule.clone()),
        ]
    };
    let runs = run(now).into_iter().zip(run(plan)).map(|((what, a), (_, b))| (what, a, b));
    // One order of passes may have two names.
    let is_same_order = now.plan.schedule.grid == plan.plan.schedule.grid;
    let runs = runs.filter(|(what, a, b)| a != b && !(is_same_order && *what == "schedule"));
    let mut found: Vec<Change> = runs.collect();
    found.extend(of_plans(&now.plan, &plan.plan, found.is_empty()));
    found
}

fn of_plans(now: &Plan, plan: &Plan, is_same_run: bool) -> Vec<Change> {
    let (a, b) = (&now.parallelism, &plan.parallelism);
    let blocks = |plan: &Plan| {
        let counts = plan.partition.stages.iter().map(|stage| stage.blocks.len().to_string());
        counts.collect::<Vec<_>>().join(",")
    };
    let again = |plan: &Plan| {
        let mut policies: Vec<String> = plan.partition.stages.iter().map(policy).collect();
        policies.dedup();
        policies.join(",")
    };
    let gathered = |plan: &Plan| {
        let zero = plan.parallelism.zero;
        let own = |stage: &Stage| {
            let shared = stage.policies(zero).filter(|own| own.zero == ZeroStage::Parameters);
            shared.count().to_string()
        };
        plan.partition.stages.iter().map(own).collect::<Vec<_>>().join(",")
    };
    let has_each = [now, plan]
        .iter()
        .any(|side| side.partition.stages.iter().any(|stage| !stage.each.is_empty()));
    let on_off = |sequence| match sequence {
        SequenceParallel::Off => "off",
        SequenceParallel::On => "on",
        SequenceParallel::Ulysses => "ulysses",
    };
    // With one axis of the two there is one order.
    let mesh = |own: &Parallelism| match own.mesh {
        _ if own.data == 1 || own.pipeline == 1 => "either".to_owned(),
        Mesh::DataInside => "data-inside".to_owned(),
        Mesh::PipelineInside => "pipeline-inside".to_owned(),
    };
    let fields = [
        ("data", a.data.to_string(), b.data.to_string()),
        ("tensor", a.tensor.to_string(), b.tensor.to_string()),
        ("pipeline", a.pipeline.to_string(), b.pipeline.to_string()),
        ("virtual stages", a.virtual_stages.to_string(), b.virtual_stages.to_string()),
        ("context", a.context.to_string(), b.context.to_string()),
        ("expert", a.expert.to_string(), b.expert.to_string()),
        ("micro-batch", a.micro_batch.to_string(), b.micro_batch.to_string()),
        ("micro-batches", a.n_micro_batches.to_string(), b.n_micro_batches.to_string()),
        ("zero", (a.zero as u8).to_string(), (b.zero as u8).to_string()),
        ("sequence", on_off(a.sequence).into(), on_off(b.sequence).into()),
        ("mesh", mesh(a), mesh(b)),
        ("blocks", blocks(now), blocks(plan)),
        ("recompute", again(now), again(plan)),
    ];
    let gathered = has_each.then(|| ("ZeRO-3 blocks", gathered(now), gathered(plan)));
    let ends = |plan: &Plan| {
        let own = plan.parallelism.vocabulary.unwrap_or(plan.parallelism.tensor);
        own.to_string()
    };
    // Where nobody states it, it is the tensor degree, which has a row.
    let is_stated = [a, b].iter().any(|side| side.vocabulary.is_some());
    let ends = is_stated.then(|| ("vocabulary", ends(now), ends(plan)));
    let fields = fields.into_iter().chain(gathered).chain(ends);
    let mut changes: Vec<_> = fields.filter(|(_, now, plan)| now != plan).collect();
    if is_same_run && changes.is_empty() && now.schedule.grid != plan.schedule.grid {
        changes.push(("schedule", "as set".into(), "another order of passes".into()));
    }
    changes
}

fn policy(stage: &Stage) -> String {
    if !stage.each.is_empty() {
        let again = stage.each.iter().filter(|own| own.recompute != Recompute::None).count();
        return format!("block {again}");
    }
    match stage.recompute {
        Recompute::None => "none".to_owned(),
        Recompute::Selective => "selective".to_owned(),
        Recompute::Full => "full".to_owned(),
        Recompute::Uniform { blocks } => format!("uniform {blocks}"),
        Recompute::Block { blocks } => format!("block {blocks}"),
    }
}
