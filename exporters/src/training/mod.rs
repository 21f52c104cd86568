//! Plans of training runs in the words of those who run them, one module per target.
//!
//! A target that has no word for a part of a plan refuses it and names the part.

mod deepspeed;
mod field;
mod galvatron;
mod megatron;
mod serving;
mod torch_pipelining;
mod torchtitan;

use ir::card::{Recompute, SequenceParallel, ZeroStage};
use ir::diagnostic::{Blame, Diagnostic};
use ir::plan::{Parallelism, Plan};
use ir::tensor::DType;

use crate::Export;
pub use field::Field;

/// A plan of a training run and what it was made for.
#[derive(Clone, Copy, Debug)]
pub struct TrainingSource<'a> {
    /// The plan: degrees, stages with blocks, grid.
    pub plan: &'a Plan,
    /// Name of the schedule, such as `1f1b`.
    pub schedule: &'a str,
    /// Tokens of a sample.
    pub sequence_length: u64,
    /// What it was priced in.
    pub dtype: DType,
    /// Whether hosts keep the optimizer states.
    pub offloads: bool,
    /// Blocks at the end of the model that predict a later token.
    pub n_predicting: u32,
    /// What the blocks of the stages are.
    pub blocks: Blocks,
    /// By block, the module or op at which it begins; empty where the model is no graph.
    pub starts: &'a [String],
}

/// What the blocks of a plan are in the words of a launcher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Blocks {
    /// Layers of a transformer.
    #[default]
    Layers,
    /// Parts of a graph, which no launcher counts.
    Parts,
}

/// What a target may have no words for at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Parts of a graph: it counts layers of a transformer.
    Parts,
    /// Blocks that predict a later token.
    Predicting,
    /// Recompute of the attention core alone.
    Selective,
}

impl Lack {
    /// In words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parts => "parts of a graph",
            Self::Predicting => "blocks that predict a later token",
            Self::Selective => "recompute of the attention core",
        }
    }
}

/// A policy of recompute that a target can run on all stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Nothing.
    None,
    /// The attention core.
    Selective,
    /// Every block.
    Full,
    /// The first so many blocks of each stage.
    Block,
}

/// A row of the table.
pub struct TrainingTarget {
    /// What the user calls it.
    pub name: &'static str,
    /// Name of the file unless the user gives one.
    pub file_name: &'static str,
    /// One line for lists.
    pub summary: &'static str,
    /// Fields of the plan that it expresses.
    pub expresses: &'static [Field],
    /// Whether it has words for a schedule under such degrees.
    pub accepts: fn(&Parallelism, &str) -> bool,
    /// The same with optimizer states on hosts; `None` = it can't leave them there.
    pub offloaded: Option<fn(&Parallelism, &str) -> bool>,
    /// What it has no words for at all.
    pub lacks: &'static [Lack],
    /// What it can compute again, the same on all stages; `None` = each stage what it likes.
    pub recomputes: Option<&'static [Policy]>,
    /// What it can compute in, the usual one first; `None` = its file says nothing of it.
    pub types: Option<&'static [DType]>,
    export: fn(&TrainingSource<'_>) -> Result<Export, Diagnostic>,
}

const SPLITS: &str = "torch-split-points";

const TARGETS: &[TrainingTarget] = &[
    TrainingTarget {
        name: "torch-pipelining",
        file_name: "schedule.csv",
        summary: "schedule of torch.distributed.pipelining (compute_only CSV)",
        expresses: &[Field::Pipeline, Field::VirtualStages, Field::Schedule, Field::MicroBatches],
        accepts: torch_pipelining::accepts,
        offloaded: Some(torch_pipelining::accepts),
        lacks: &[],
        recomputes: None,
        types: None,
        export: torch_pipelining::export,
    },
    TrainingTarget {
        name: SPLITS,
        file_name: "split_points.json",
        summary: "split points of torch.distributed.pipelining: where each stage of a graph begins",
        expresses: &[Field::Pipeline, Field::VirtualStages, Field::Blocks],
        accepts: |_, _| true,
        offloaded: Some(|_, _| true),
        lacks: &[],
        recomputes: None,
        types: None,
        export: torch_pipelining::split_points,
    },
    TrainingTarget {
        name: "torchtitan",
        file_name: "torchtitan.args",
        summary: "overrides of torchtitan's ParallelismConfig, one per line",
        expresses: &[
            Field::Data,
            Field::Tensor,
            Field::Pipeline,
            Field::Context,
            Field::Expert,
            Field::VirtualStages,
            Field::Blocks,
            Field::Schedule,
            Field::MicroBatch,
            Field::MicroBatches,
            Field::GlobalBatch,
            Field::Zero,
            Field::Sequence,
            Field::Mesh,
            Field::Recompute,
            Field::ElementType,
        ],
        accepts: torchtitan::accepts,
        offloaded: None,
        lacks: &[Lack::Parts],
        recomputes: Some(&[Policy::None, Policy::Full]),
        types: Some(&[DType::Bf16, DType::F32]),
        export: torchtitan::export,
    },
    TrainingTarget {
        name: "megatron",
        file_name: "megatron.args",
        summary: "flags of Megatron-Core with the pipeline layout, one per line",
        expresses: &[
            Field::Tensor,
            Field::Pipeline,
            Field::Context,
            Field::Expert,
            Field::VirtualStages,
            Field::Blocks,
            Field::Schedule,
            Field::MicroBatch,
            Field::GlobalBatch,
            Field::Zero,
            Field::Sequence,
            Field::Mesh,
            Field::Recompute,
            Field::ElementType,
            Field::Offload,
        ],
        accepts: megatron::accepts,
        offloaded: Some(megatron::accepts_offloaded),
        lacks: &[Lack::Parts],
        recomputes: Some(&[Policy::None, Policy::Selective, Policy::Block, Policy::Full]),
        types: Some(&[DType::Bf16, DType::F16, DType::F8, DType::F32]),
        export: megatron::export,
    },
    TrainingTarget {
        name: "deepspeed",
        file_name: "deepspeed.json",
        summary: "stage bounds of a PipelineModule, topology and ds_config of DeepSpeed",
        expresses: &[
            Field::Data,
            Field::Tensor,
            Field::Pipeline,
            Field::Blocks,
            Field::Schedule,
            Field::MicroBatch,
            Field::MicroBatches,
            Field::GlobalBatch,
            Field::Zero,
            Field::Recompute,
            Field::ElementType,
            Field::Offload,
        ],
        accepts: deepspeed::accepts,
        offloaded: Some(deepspeed::accepts_offloaded),
        lacks: &[Lack::Parts],
        recomputes: Some(&[Policy::None, Policy::Full]),
        types: Some(&[DType::Bf16, DType::F16, DType::F32]),
        export: deepspeed::export,
    },
    TrainingTarget {
        name: "vllm",
        file_name: "vllm.args",
        summary: "degrees and layer partition of vLLM",
        expresses: &[Field::Data, Field::Tensor, Field::Pipeline, Field::Expert, Field::Blocks],
        accepts: serving::vllm_accepts,
        offloaded: Some(serving::vllm_accepts),
        lacks: &[Lack::Parts],
        recomputes: None,
        types: None,
        export: serving::vllm,
    },
    TrainingTarget {
        name: "sglang",
        file_name: "sglang.args",
        summary: "degrees and layer partition of SGLang",
        expresses: &[Field::Data, Field::Tensor, Field::Pipeline, Field::Expert, Field::Blocks],
        accepts: serving::sglang_accepts,
        offloaded: Some(serving::sglang_accepts),
        lacks: &[Lack::Parts],
        recomputes: None,
        types: None,
        export: serving::sglang,
    },
    TrainingTarget {
        name: "galvatron",
        file_name: "galvatron_config.json",
        summary: "parallel strategy of each layer for Hetu-Galvatron",
        expresses: &[
            Field::Tensor,
            Field::Pipeline,
            Field::Blocks,
            Field::BlockPolicies,
            Field::Schedule,
            Field::MicroBatches,
            Field::GlobalBatch,
            Field::Zero,
            Field::Sequence,
        ],
        accepts: galvatron::accepts,
        offloaded: Some(galvatron::accepts),
        lacks: &[Lack::Parts, Lack::Predicting, Lack::Selective],
        recomputes: None,
        types: None,
        export: galvatron::export,
    },
];

/// All targets for plans of training runs.
#[must_use]
pub fn targets() -> &'static [TrainingTarget] {
    TARGETS
}

/// The file of a target.
///
/// # Errors
/// `unknown-target` with the known ones; `cannot-express` where the target has no words for a part
/// of the plan; `bad-plan` where the stages do not hold the blocks in order.
pub fn export(target: &str, source: &TrainingSource<'_>) -> Result<Export, Diagnostic> {
    let row = TARGETS.iter().find(|row| row.name == target).ok_or_else(|| {
        let names: Vec<String> = TARGETS.iter().map(|row| row.name.to_owned()).collect();
        let message = format!("there is no format `{target}` for plans of training runs");
        Diagnostic::usage("unknown-target", message)
            .hint(format!("choose from {}", names.join(", ")))
            .fact("targets", names)
    })?;
    if source.blocks == Blocks::Parts && row.lacks.contains(&Lack::Parts) {
        let why = "it counts layers of a transformer";
        let of_parts = TARGETS.iter().filter(|row| !row.lacks.contains(&Lack::Parts));
        let names: Vec<&str> = of_parts.map(|row| row.name).collect();
        let hint = format!("export to {}", names.join(" or "));
        return Err(refused(row.name, Lack::Parts.name(), why, &hint));
    }
    if row.name != "galvatron" {
        by_block(source, row.name)?;
    }
    let mut export = (row.export)(source)?;
    if !source.offloads {
        return Ok(export);
    }
    let runs = |offloaded: fn(&Parallelism, &str) -> bool| {
        offloaded(&source.plan.parallelism, source.schedule)
    };
    if !row.offloaded.is_some_and(runs) {
        let why = "the plan leaves them there, for they fit nowhere else";
        let hint = "plan with `--no-offload`, or with `--for` its target";
        return Err(refused(row.name, Field::Offload.name(), why, hint));
    }
    if !row.expresses.contains(&Field::Offload) {
        let message = format!("the file says nothing of {}", Field::Offload.name());
        let warning = Diagnostic::warning("not-in-file", message);
        export.warnings.push(warning.hint("set it beside the file: the plan fits only so"));
    }
    Ok(export)
}

/// Whether replicas share out optimizer states, or there is one that has them all.
fn shares(degrees: &Parallelism) -> bool {
    let n_replicas = u64::from(degrees.data) * u64::from(degrees.context);
    degrees.zero >= ZeroStage::Optimizer || n_replicas <= 1
}

/// Refuses what only files with one strategy per layer have words for.
fn by_block(source: &TrainingSource<'_>, target: &str) -> Result<(), Diagnostic> {
    let hint = "export to galvatron, or plan without a folder of measured layers";
    if source.plan.parallelism.sequence == SequenceParallel::Ulysses {
        return Err(refused(target, "Ulysses", "its tensor ranks split the weights", hint));
    }
    if source.plan.parallelism.vocabulary.is_some() {
        return Err(refused(target, "ends of their own degree", "it has one degree", hint));
    }
    if source.plan.partition.stages.iter().any(|stage| !stage.each.is_empty()) {
        return Err(refused(target, "choices by block", "it has one for a stage", hint));
    }
    Ok(())
}

/// Blocks of each stage; they must follow each other without a gap.
fn blocks(plan: &Plan) -> Result<Vec<u32>, Diagnostic> {
    let mut next = 0;
    let mut counts = Vec::with_capacity(plan.partition.stages.len());
    for (position, stage) in plan.partition.stages.iter().enumerate() {
        if stage.blocks.start != next || stage.blocks.end < next {
            let message = format!("stage {position} does not begin where the one before it ends");
            return Err(Diagnostic::input("bad-plan", message)
                .fact("stage", position)
                .fact("first_block", u64::from(stage.blocks.start))
                .hint("let each stage hold the blocks after those of the stage before"));
        }
        counts.push(stage.blocks.end - stage.blocks.start);
        next = stage.blocks.end;
    }
    let degrees = &plan.parallelism;
    if counts.len() as u64 != u64::from(degrees.pipeline) * u64::from(degrees.virtual_stages) {
        let message = format!(
            "{} stages for {} ranks of {} chunks",
            counts.len(),
            degrees.pipeline,
            degrees.virtual_stages
        );
        return Err(Diagnostic::input("bad-plan", message).hint("give one stage per chunk"));
    }
    Ok(counts)
}

/// The one policy of all stages; `Block` counts only as far as a stage has blocks.
fn recompute(source: &TrainingSource<'_>, target: &str) -> Result<Recompute, Diagnostic> {
    let stages = &source.plan.partition.stages;
    let first = stages.first().map_or(Recompute::None, |stage| stage.recompute);
    match stages.iter().position(|stage| stage.recompute != first) {
        None => Ok(first),
        Some(stage) => Err(refused(
            target,
            "a policy of recompute for each stage",
            &format!("stage {stage} differs from stage 0"),
            "plan with one policy for all stages",
        )),
    }
}

/// The refusal of a part of a plan.
fn refused(target: &str, part: &str, why: &str, hint: &str) -> Diagnostic {
    let message = format!("{target} has no words for {part}: {why}");
    Diagnostic::error(Blame::Input, "cannot-express", message)
        .fact("target", target)
        .fact("part", part)
        .hint(hint.to_owned())
}

/// Refuses a degree other than 1.
fn only_one(target: &str, axis: &str, degree: u32) -> Result<(), Diagnostic> {
    if degree == 1 {
        return Ok(());
    }
    let hint = format!("plan with `--pin {axis}=1`");
    Err(refused(target, &format!("{axis} parallelism"), &format!("the degree is {degree}"), &hint))
}
