//! Recipes of LLaMA-Factory, whose other keys are those of the Trainer of Transformers.

use ir::card::{Recompute, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::launch::LaunchSettings;
use ir::stack::AttentionKernel;
use ir::workload::Optimizer;

use super::super::flags::not_judged;
use super::super::limits::bad;
use super::keys::Keys;

/// Keys that change neither time nor memory.
const IDLE: &str = include_str!("llama_factory.txt");

/// Keys that change what runs in a way that no plan has.
const REFUSED: [(&str, &str); 17] = [
    ("adapter_name_or_path", "all parameters are trained in a plan"),
    ("quantization_bit", "parameters are kept in a plan's types"),
    ("pure_bf16", "weights and states are kept in single precision"),
    ("use_llama_pro", "all parameters are trained in a plan"),
    ("use_galore", "AdamW, SGD and Adafactor are"),
    ("use_apollo", "AdamW, SGD and Adafactor are"),
    ("use_badam", "AdamW, SGD and Adafactor are"),
    ("use_adam_mini", "AdamW, SGD and Adafactor are"),
    ("use_muon", "AdamW, SGD and Adafactor are"),
    ("use_asft_loss", "no plan holds a second model"),
    ("mixture_of_depths", "every token passes every block in a plan"),
    ("fp8", "the file does not say which products run in 8 bits"),
    ("use_unsloth", "its kernels and its recompute are its own"),
    ("use_unsloth_gc", "activations stay on the devices or are computed again"),
    ("fsdp", "give the `fsdp_config` of Accelerate"),
    ("shift_attn", "every token attends to all before it in a plan"),
    ("use_ray", "its processes are started by another program"),
];

pub(crate) fn read(text: &str) -> Result<LaunchSettings, Diagnostic> {
    let keys = Keys::read(text)?;
    let stated = |key: &str, fits: &[&str], why: &str| match keys.text(key) {
        Some(other) if !fits.contains(&other.as_str()) => {
            Err(not_judged(&format!("{key}: {other}"), why))
        }
        _ => Ok(()),
    };
    stated("finetuning_type", &["full"], "all parameters are trained in a plan")?;
    stated("stage", &["pt", "sft"], "steps of a plan are those of next-token prediction")?;
    if keys.switch("do_train")? == Some(false) {
        return Err(bad("do_train", "false", "give a recipe that trains"));
    }
    keys.refuse(&REFUSED)?;
    let mut settings = LaunchSettings {
        context: keys.degree("sequence_parallel_size")?,
        tensor: Some(1),
        pipeline: Some(1),
        micro_batch: keys.count("per_device_train_batch_size")?,
        n_micro_batches: Some(keys.count("gradient_accumulation_steps")?.unwrap_or(1)),
        sequence_length: keys.count("cutoff_len")?,
        // Without DeepSpeed or the FSDP of Accelerate it runs under DDP.
        zero: Some(ZeroStage::None),
        recompute: Some(match keys.is_on("disable_gradient_checkpointing")? {
            true => Recompute::None,
            false => Recompute::Full,
        }),
        dtype: Some(keys.dtype(keys.is_on("bf16")?, keys.is_on("fp16")?)?),
        optimizer: Some(optimizer(&keys)?),
        offloads: Some(false),
        deepspeed_file: keys.text("deepspeed"),
        ..LaunchSettings::default()
    };
    settings.stack.attention = attention(&keys)?;
    let kernels = keys.noted(&["enable_liger_kernel", "torch_compile"]);
    if !kernels.is_empty() {
        settings.not_judged.insert("kernels are those of the stack", kernels);
    }
    keys.finish(IDLE)?;
    Ok(settings)
}

fn attention(keys: &Keys) -> Result<Option<AttentionKernel>, Diagnostic> {
    match keys.text("flash_attn").as_deref() {
        None | Some("auto" | "sdpa") => Ok(None),
        Some("fa2" | "fa3") => Ok(Some(AttentionKernel::Flash)),
        Some("disabled") => Ok(Some(AttentionKernel::Unfused)),
        Some(other) => Err(bad("flash_attn", other, "use auto, sdpa, fa2, fa3 or disabled")),
    }
}

fn optimizer(keys: &Keys) -> Result<Optimizer, Diagnostic> {
    match keys.text("optim").as_deref() {
        None | Some("adamw_torch" | "adamw_torch_fused" | "adamw_hf") => Ok(Optimizer::AdamW),
        Some("sgd") => Ok(Optimizer::Sgd),
        Some("adafactor") => Ok(Optimizer::Adafactor),
        Some(other) => {
            let why = "AdamW with states in single precision, SGD and Adafactor are";
            Err(not_judged(&format!("optim: {other}"), why))
        }
    }
}
