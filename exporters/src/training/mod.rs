//! Plans of training runs in the words of those who run them, one module per target.
//!
//! A target that has no word for a part of a plan refuses it and names the part.

mod deepspeed;
mod field;
mod flagscale;
pub mod folder;
mod galvatron;
mod huggingface;
mod jax;
mod megatron;
mod target;
mod torch_pipelining;
mod torchtitan;

use ir::card::SequenceParallel;
use ir::diagnostic::Diagnostic;
use ir::plan::Parallelism;
use ir::tensor::DType;
use ir::workload::Optimizer;

use crate::format::{Export, unknown_target, version};
pub use field::Field;
use folder::{Files, Job};
pub use target::{Blocks, Lack, Policy, TrainingSource, TrainingTarget, names_are_known};
use target::{SPLITS, refused};

/// Software that Megatron's flags start; behind the first ones that of Bridge's recipes.
const MEGATRON_STACKS: &[&str] = &[
    "megatron-core",
    "megatron-core-2024",
    "megatron-lm-tests",
    "megatron-bridge",
    "megatron-bridge-mxfp8",
    "megatron-bridge-alltoall-overlap",
    "megatron-bridge-drop",
    "megatron-bridge-drop-mxfp8",
    "megatron-bridge-flex-fp8",
    "megatron-bridge-flex-overlap-mxfp8",
    "megatron-bridge-drop-overlap",
    "megatron-bridge-drop-graphs",
    "megatron-bridge-flex",
    "megatron-bridge-flex-overlap",
    "megatron-bridge-flex-graphs",
    "megatron-bridge-flex-overlap-graphs",
];
const N_WITHOUT_BRIDGE: usize = 3;

const MEGATRON: TrainingTarget = TrainingTarget {
    name: "megatron",
    versions: &["0.20"],
    file_name: "megatron.args",
    summary: "flags of Megatron-Core with the pipeline layout, one per line",
    expresses: &[
        Field::Tensor,
        Field::Pipeline,
        Field::Context,
        Field::Expert,
        Field::ExpertOverlap,
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
        Field::Optimizer,
    ],
    accepts: megatron::accepts,
    offloaded: Some(megatron::accepts_offloaded),
    splits: None,
    lacks: &[Lack::Parts, Lack::WholeSequences, Lack::Adafactor, Lack::OffloadedSgd],
    recomputes: Some(&[Policy::None, Policy::Selective, Policy::Block, Policy::Full]),
    types: Some(&[DType::Bf16, DType::F16, DType::F8, DType::F32]),
    launches: Some(MEGATRON_STACKS),
    program: Some(megatron::PROGRAM),
    export: megatron::export,
};

/// Stacks of PyTorch's own pipelines.
const TORCH: &[&str] =
    &["pytorch-eager", "pytorch-cpu", "compiled", "transformers-eager", "transformers-compiled"];

const TARGETS: &[TrainingTarget] = &[
    TrainingTarget {
        name: "torch-pipelining",
        versions: &["2.15"],
        file_name: "schedule.csv",
        summary: "schedule of torch.distributed.pipelining (compute_only CSV)",
        expresses: &[Field::Pipeline, Field::VirtualStages, Field::Schedule, Field::MicroBatches],
        accepts: torch_pipelining::accepts,
        offloaded: Some(torch_pipelining::accepts),
        splits: None,
        lacks: &[],
        recomputes: None,
        types: None,
        launches: Some(TORCH),
        program: None,
        export: torch_pipelining::export,
    },
    TrainingTarget {
        name: SPLITS,
        versions: &["2.15"],
        file_name: "split_points.json",
        summary: "split points of torch.distributed.pipelining: where each stage of a graph begins",
        expresses: &[Field::Pipeline, Field::VirtualStages, Field::Blocks],
        accepts: torch_pipelining::accepts,
        offloaded: Some(torch_pipelining::accepts),
        splits: None,
        lacks: &[Lack::Config],
        recomputes: None,
        types: None,
        launches: Some(TORCH),
        program: None,
        export: torch_pipelining::split_points,
    },
    TrainingTarget {
        name: "torchtitan",
        versions: torchtitan::VERSIONS,
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
        splits: None,
        lacks: &[Lack::Parts, Lack::Predicting],
        recomputes: Some(&[Policy::None, Policy::PerOp, Policy::Full]),
        types: Some(&[DType::Bf16, DType::F32]),
        launches: Some(&[
            "torchtitan",
            "torchtitan-eager",
            "torchtitan-async-tp",
            "torchtitan-rowwise",
            "torchtitan-rowwise-async-tp",
        ]),
        program: Some(torchtitan::PROGRAM),
        export: torchtitan::export,
    },
    MEGATRON,
    TrainingTarget {
        name: "megatron-bridge",
        versions: &["0.7"],
        file_name: "megatron-bridge.overrides",
        summary: "overrides of a recipe of Megatron Bridge, one per line",
        launches: Some(MEGATRON_STACKS.split_at(N_WITHOUT_BRIDGE).1),
        program: Some(megatron::bridge::PROGRAM),
        export: megatron::bridge::export,
        ..MEGATRON
    },
    TrainingTarget {
        name: "flagscale",
        versions: &["0.9"],
        file_name: "flagscale.yaml",
        summary: "configuration of FlagScale with a process mesh for each stage",
        expresses: &[
            Field::Data,
            Field::Tensor,
            Field::Pipeline,
            Field::Blocks,
            Field::Schedule,
            Field::MicroBatch,
            Field::GlobalBatch,
            Field::Zero,
            Field::Sequence,
            Field::Recompute,
            Field::ElementType,
            Field::Optimizer,
            Field::Devices,
        ],
        accepts: flagscale::accepts,
        offloaded: None,
        splits: None,
        lacks: &[Lack::Parts, Lack::Predicting, Lack::Adafactor],
        recomputes: None,
        types: Some(&[DType::Bf16, DType::F16, DType::F8, DType::F32]),
        // Plans are made for it by what they are: of unlike nodes.
        launches: None,
        program: Some(flagscale::PROGRAM),
        export: flagscale::export,
    },
    TrainingTarget {
        name: "deepspeed",
        versions: &["0.19"],
        file_name: "deepspeed.json",
        summary: "ds_config of DeepSpeed, topology and stage bounds of its PipelineModule",
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
            Field::Sequence,
            Field::Recompute,
            Field::ElementType,
            Field::Offload,
        ],
        accepts: deepspeed::accepts,
        offloaded: Some(deepspeed::accepts_offloaded),
        splits: None,
        lacks: &[Lack::Parts, Lack::Adafactor],
        recomputes: Some(&[Policy::None, Policy::Full]),
        types: Some(&[DType::Bf16, DType::F16, DType::F32]),
        launches: Some(&["megatron-deepspeed-2021"]),
        program: None,
        export: deepspeed::export,
    },
    TrainingTarget {
        name: "galvatron",
        versions: &["2.4"],
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
        splits: None,
        lacks: &[Lack::Parts, Lack::Predicting, Lack::Selective, Lack::PerOp],
        recomputes: None,
        types: None,
        // Its layers are those of Megatron.
        launches: Some(&["megatron-core"]),
        program: None,
        export: galvatron::export,
    },
    TrainingTarget {
        name: "jax",
        versions: &["0.10"],
        file_name: "plan.jax.json",
        summary: "mesh and rules of PartitionSpecs for JAX, by names of parameters",
        expresses: &[
            Field::Data,
            Field::Tensor,
            Field::Expert,
            Field::MicroBatch,
            Field::MicroBatches,
            Field::GlobalBatch,
            Field::Zero,
            Field::Sequence,
            Field::Recompute,
            Field::ElementType,
            Field::Optimizer,
        ],
        accepts: jax::accepts,
        offloaded: None,
        splits: Some(jax::splits),
        lacks: &[Lack::Parts, Lack::Names, Lack::Adafactor],
        recomputes: Some(&[Policy::None, Policy::Selective, Policy::Full]),
        types: Some(&[DType::Bf16, DType::F16, DType::F32]),
        // It compiles a whole step.
        launches: Some(&["compiled"]),
        program: None,
        export: jax::export,
    },
    TrainingTarget {
        name: "huggingface",
        versions: &["5.23"],
        file_name: "huggingface.json",
        summary: "files of Hugging Face's Trainer: accelerate launch, TrainingArguments, DistributedConfig",
        expresses: &[
            Field::Data,
            Field::Tensor,
            Field::Context,
            Field::MicroBatch,
            Field::MicroBatches,
            Field::Zero,
            Field::Recompute,
            Field::ElementType,
            Field::Optimizer,
        ],
        accepts: huggingface::accepts,
        offloaded: None,
        splits: None,
        lacks: &[Lack::Parts, Lack::Predicting],
        recomputes: Some(&[Policy::None, Policy::Full]),
        types: Some(&[DType::Bf16, DType::F32]),
        launches: Some(&["pytorch-eager", "transformers-eager"]),
        program: Some(huggingface::PROGRAM),
        export: huggingface::export,
    },
];

/// All targets for plans of training runs.
#[must_use]
pub fn targets() -> &'static [TrainingTarget] {
    TARGETS
}

/// A target and the version of its consumer, by `name` or `name@version`.
///
/// # Errors
/// `unknown-target` with the known ones.
pub fn find(target: &str) -> Result<(&'static TrainingTarget, &'static str), Diagnostic> {
    let name = target.split('@').next().unwrap_or_default();
    let names = || TARGETS.iter().map(|row| row.name);
    let row = TARGETS.iter().find(|row| row.name == name);
    let row = row.ok_or_else(|| unknown_target(name, " for plans of training runs", names()))?;
    Ok((row, version(target, row.versions)?))
}

/// The file of a target, `name` or `name@version`, in the words of that version.
///
/// # Errors
/// Those of [`find`]; `cannot-express` where the target has no words for a part of the plan;
/// `bad-plan` where the stages do not hold the blocks in order.
pub fn export(target: &str, source: &TrainingSource<'_>) -> Result<Export, Diagnostic> {
    let (row, version) = find(target)?;
    let source = &TrainingSource { version, ..*source };
    source.check(row)?;
    if source.plan.parallelism.expert_overlap && !row.expresses.contains(&Field::ExpertOverlap) {
        let why = "it runs them before and behind the experts";
        let hint = "export to megatron, or plan with `--pin expert-overlap=off`";
        let what = "exchanges of experts beside the work of another micro-batch";
        return Err(refused(row.name, what, why, hint));
    }
    if !row.expresses.contains(&Field::BlockPolicies) {
        by_block(source, row.name)?;
    }
    let mut export = (row.export)(source)?;
    if source.optimizer != Optimizer::default() && !row.expresses.contains(&Field::Optimizer) {
        let message = format!("the file says nothing of the optimizer {:?}", source.optimizer);
        let warning = Diagnostic::warning("not-in-file", message);
        export
            .warnings
            .push(warning.hint("set it beside the file: another one holds other states"));
    }
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

/// A folder that starts a plan by a target, and what the target can't say.
///
/// # Errors
/// Those of [`export`]; `cannot-express` for targets that start no processes, and for hosts of unequal
/// numbers of ranks.
pub fn folder(target: &str, job: &Job<'_>) -> Result<(Files, Vec<Diagnostic>), Diagnostic> {
    let mut export = export(target, job.source)?;
    export.warnings.retain(|warning| warning.code != torchtitan::APART);
    Ok((folder::files(job, find(target)?, &export)?, export.warnings))
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
    Ok(())
}
