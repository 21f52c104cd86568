//! Hugging Face's Trainer: the file of `accelerate launch` (`accelerate/commands/config/config_args.py`),
//! `TrainingArguments`, and the `DistributedConfig` that a model is loaded with.
//!
//! Accelerate 1.15 shards parameters by FSDP2, over context ranks too. Tensor ranks are those of
//! Transformers 5.23, which splits a model while it loads it and then shards it itself: Accelerate's FSDP
//! refuses such a model.

use ir::card::{SequenceParallel, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::plan::Parallelism;
use ir::stack::AttentionKernel;
use ir::tensor::DType;
use ir::workload::Optimizer;
use serde_json::{Value, json};

use super::field::fields;
use super::program::{Program, Start};
use super::target::{
    Lack, Policy, TrainingSource, TrainingTarget, only_one, refused, whole_blocks_again,
};
use crate::format::Export;

const TARGET: &str = "huggingface";

/// Its row.
pub(crate) const ROW: TrainingTarget = TrainingTarget {
    versions: &["5.23"],
    file_name: "huggingface.json",
    summary: "files of Hugging Face's Trainer: accelerate launch, TrainingArguments, DistributedConfig",
    expresses: fields![
        Data Tensor Context MicroBatch MicroBatches Zero Recompute ElementType Optimizer AnyOptimizer
        Adapters Offload
    ],
    offloaded: Some(|degrees, name| {
        accepts(degrees, name) && is_sharded(degrees) && degrees.zero == ZeroStage::Parameters
    }),
    // PEFT's adapters are whole, and tensor ranks split a model while it loads.
    splits: Some(|model, degrees| degrees.tensor == 1 || model.tuning.adapter.is_none()),
    lacks: &[
        Lack::Parts,
        Lack::Predicting,
        Lack::OffloadedWhole,
        Lack::Frozen,
        Lack::Unnamed,
        Lack::ModuleNames,
    ],
    recomputes: Some(&[Policy::None, Policy::Full]),
    types: Some(&[DType::Bf16, DType::F32]),
    launches: Some(&["pytorch-eager", "transformers-eager", "peft", "peft-2024"]),
    program: Some(Program {
        start: Start::Accelerate,
        members: &["accelerate", "training_arguments"],
        words: "\"${TRAIN:?a program of yours that trains}\"",
        environment: |_| Vec::new(),
        yours: "`TRAIN`, a program that reads `training_arguments.json` \
                (`HfArgumentParser.parse_json_file`) and loads the model with the other members of \
                `huggingface.json`; length of samples, data and learning rate",
    }),
    ..TrainingTarget::of(TARGET, accepts, export)
};

fn accepts(degrees: &Parallelism, _: &str) -> bool {
    degrees.pipeline == 1 && degrees.expert == 1 && lacking(degrees).is_none()
}

/// What it has no words for, why, and what to plan with.
fn lacking(degrees: &Parallelism) -> Option<(&'static str, &'static str, &'static str)> {
    let is_split = degrees.tensor > 1;
    let shards = degrees.zero >= ZeroStage::Gradients;
    let cases = [
        (
            is_split && degrees.sequence == SequenceParallel::On,
            ("split sequences on tensor ranks", "its tensor ranks hold whole sequences"),
            "plan with `--pin sequence-parallel=off`",
        ),
        (
            is_split && degrees.context > 1,
            ("context ranks beside tensor ranks", "it loads a split model without context ranks"),
            "plan with `--pin context=1` or `--pin tensor=1`",
        ),
        (
            is_split && degrees.data > 1 && degrees.zero != ZeroStage::Parameters,
            (
                "tensor ranks without ZeRO 3",
                "it shards a split model over replicas, and gathers again",
            ),
            "plan with `--pin zero=3` or `--pin tensor=1`",
        ),
        (
            is_shared(degrees) && degrees.zero == ZeroStage::Optimizer,
            ("ZeRO 1", "it shards gradients or parameters along with the optimizer"),
            "plan with `--pin zero=0` or `--pin zero=3`",
        ),
        (
            degrees.context > 1 && !shards,
            ("ZeRO 0 beside context", "it shards parameters over context ranks"),
            "plan with `--pin zero=3`",
        ),
    ];
    let (_, (part, why), hint) = cases.into_iter().find(|(is_lacking, ..)| *is_lacking)?;
    Some((part, why, hint))
}

/// Whether several ranks hold the same parameters.
fn is_shared(degrees: &Parallelism) -> bool {
    degrees.data > 1 || degrees.context > 1
}

/// Whether Accelerate shards them.
fn is_sharded(degrees: &Parallelism) -> bool {
    is_shared(degrees) && degrees.tensor == 1 && degrees.zero >= ZeroStage::Gradients
}

fn export(source: &TrainingSource<'_>) -> Result<Export, Diagnostic> {
    let degrees = &source.plan.parallelism;
    only_one(TARGET, "pipeline", degrees.pipeline)?;
    only_one(TARGET, "expert", degrees.expert)?;
    if let Some((part, why, hint)) = lacking(degrees) {
        return Err(refused(TARGET, part, why, hint));
    }
    if !matches!(source.dtype, DType::Bf16 | DType::F32) {
        let why = "its plans run in bf16 or fp32";
        let hint = "plan with `--dtype bf16`";
        return Err(refused(TARGET, &source.dtype.to_string(), why, hint));
    }
    let again = whole_blocks_again(source, TARGET)?;
    let mut document = json!({
        "accelerate": accelerate(source, again),
        "training_arguments": arguments(source, again),
        "attn_implementation": match source.stack.attention {
            AttentionKernel::Flash => "sdpa",
            AttentionKernel::Unfused => "eager",
        },
    });
    if degrees.tensor > 1 {
        document["distributed_config"] = json!({
            "tp_size": degrees.tensor,
            "fsdp_size": degrees.data,
            "fsdp_mixed_precision": source.dtype == DType::Bf16,
        });
    }
    if let Some(adapter) = &source.model.tuning.adapter {
        if degrees.tensor > 1 {
            let why = "it splits a model while it loads it, and PEFT's adapters are whole";
            return Err(refused(
                TARGET,
                "adapters on tensor ranks",
                why,
                "plan with `--pin tensor=1`",
            ));
        }
        super::peft::add(&mut document, adapter, source);
    } else if source.dtype == DType::Bf16
        && (source.optimizer.is_in_place() || source.stack.keeps.is_half)
    {
        document["dtype"] = json!("bfloat16");
    }
    // DDP sums gradients of the 32-bit weights that autocast computes with.
    let sums_wide = is_shared(degrees)
        && degrees.zero == ZeroStage::None
        && source.dtype == DType::Bf16
        && source.stack.gradients != DType::F32;
    let warnings = sums_wide.then(|| {
        let message = "replicas sum gradients in 32 bits there, and the plan's stack in 16";
        Diagnostic::warning("sums-otherwise", message)
            .hint("plan with `--pin zero=2` or `--pin zero=3`, which sum in 16 bits")
    });
    let text = format!("{document:#}\n");
    Ok(Export { warnings: warnings.into_iter().collect(), ..Export::from(text) })
}

/// The file of `accelerate launch --config_file`.
fn accelerate(source: &TrainingSource<'_>, again: bool) -> Value {
    let degrees = &source.plan.parallelism;
    let n_processes =
        u64::from(degrees.data) * u64::from(degrees.tensor) * u64::from(degrees.context);
    let mut file = json!({
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": match (is_sharded(degrees), n_processes) {
            (true, _) => "FSDP",
            (false, 1) => "NO",
            (false, _) => "MULTI_GPU",
        },
        "num_processes": n_processes,
        "mixed_precision": if source.dtype == DType::Bf16 { "bf16" } else { "no" },
    });
    if is_sharded(degrees) {
        file["fsdp_config"] = json!({
            "fsdp_version": 2,
            "fsdp_reshard_after_forward": degrees.zero == ZeroStage::Parameters,
            "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "fsdp_activation_checkpointing": again,
            "fsdp_offload_params": source.offloads,
        });
    }
    if is_sharded(degrees) || degrees.tensor > 1 {
        file["parallelism_config"] = json!({
            "parallelism_config_dp_replicate_size": 1,
            "parallelism_config_dp_shard_size": degrees.data,
            "parallelism_config_cp_size": degrees.context,
            "parallelism_config_tp_size": degrees.tensor,
        });
    }
    file
}

/// Its word for an optimizer (`transformers.training_args.OptimizerNames`).
const fn optimizer(optimizer: Optimizer) -> &'static str {
    match optimizer {
        Optimizer::AdamW | Optimizer::AdamW16 => "adamw_torch_fused",
        Optimizer::Sgd => "sgd",
        Optimizer::Adafactor => "adafactor",
        Optimizer::AdamW8 => "adamw_bnb_8bit",
        Optimizer::PagedAdamW => "paged_adamw_32bit",
        Optimizer::PagedAdamW8 => "paged_adamw_8bit",
        Optimizer::Lion => "lion_32bit",
        Optimizer::Lion8 => "lion_8bit",
        // `Lack::Unnamed`.
        Optimizer::Muon | Optimizer::AdamMini => "",
    }
}

/// What `HfArgumentParser(TrainingArguments)` reads.
fn arguments(source: &TrainingSource<'_>, again: bool) -> Value {
    let degrees = &source.plan.parallelism;
    let mut arguments = json!({
        "per_device_train_batch_size": degrees.micro_batch,
        "gradient_accumulation_steps": degrees.n_micro_batches,
        // FSDP has a switch of its own, and both are refused.
        "gradient_checkpointing": again && !is_sharded(degrees),
        "bf16": source.dtype == DType::Bf16,
        "optim": optimizer(source.optimizer),
    });
    if degrees.zero >= ZeroStage::Gradients && is_shared(degrees) {
        // Otherwise gradients of several micro-batches are summed up whole.
        arguments["accelerator_config"] =
            json!({ "gradient_accumulation_kwargs": { "sync_each_batch": true } });
    }
    arguments
}
