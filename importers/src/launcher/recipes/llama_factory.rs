//! Recipes of LLaMA-Factory, whose other keys are those of the Trainer of Transformers.

use ir::card::{Recompute, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::launch::LaunchSettings;
use ir::stack::AttentionKernel;
use ir::tuning::{Adapter, AdapterKind, BaseWeights, Modules};
use ir::workload::Optimizer;

use super::super::flags::{Flags, not_judged};
use super::super::keys::Keys;
use super::super::limits::bad;
use super::command::{self, Command};
use super::tuned;

/// Keys that change neither time nor memory.
const IDLE: &str = include_str!("llama_factory.txt");

/// Keys that change what runs in a way that no plan has.
const REFUSED: [(&str, &str); 12] = [
    ("use_llama_pro", "all parameters are trained in a plan"),
    ("use_galore", "no plan has that optimizer"),
    ("use_apollo", "no plan has that optimizer"),
    ("use_badam", "no plan has that optimizer"),
    ("use_asft_loss", "no plan holds a second model"),
    ("mixture_of_depths", "every token passes every block in a plan"),
    ("fp8", "the file does not say which products run in 8 bits"),
    ("use_unsloth", "its kernels and its recompute are its own"),
    ("use_unsloth_gc", "activations stay on the devices or are computed again"),
    ("fsdp", "give the `fsdp_config` of Accelerate"),
    ("shift_attn", "every token attends to all before it in a plan"),
    ("use_ray", "its processes are started by another program"),
];

/// The command that takes a recipe, or its keys as flags.
const COMMAND: &str = "llamafactory-cli";

/// Whether a word is a verb of the command: `export`.
fn is_verb(word: &str) -> bool {
    word.chars().all(|c| c.is_ascii_lowercase())
}

/// The keys that a script gives its command as flags; `None` for what is no script.
fn of_command(text: &str) -> Result<Option<(Keys, Command)>, Diagnostic> {
    let trains =
        |words: &[&str]| words.first().is_none_or(|next| *next == "train" || !is_verb(next));
    let Some(found) = command::of(text, (COMMAND, "train"), &trains)? else { return Ok(None) };
    let (keys, rest) = command::keys(&found.words, &str::to_owned, &|_| false);
    match rest.first() {
        Some(word) => Err(command::elsewhere("llamafactory-cli train", word)),
        None => Ok(Some((keys, found))),
    }
}

pub(crate) fn read(text: &str) -> Result<LaunchSettings, Diagnostic> {
    let (keys, command) = match of_command(text)? {
        Some((keys, command)) => (keys, Some(command)),
        None => (Keys::read(text)?, None),
    };
    let stated = |key: &str, fits: &[&str], why: &str| match keys.text(key) {
        Some(other) if !fits.contains(&other.as_str()) => {
            Err(not_judged(&format!("{key}: {other}"), why))
        }
        _ => Ok(()),
    };
    stated("finetuning_type", &["full", "lora"], "all parameters, or adapters, are trained")?;
    stated("stage", &["pt", "sft"], "steps of a plan are those of next-token prediction")?;
    if keys.switch("do_train")? == Some(false) {
        return Err(bad("do_train", "false", "give a recipe that trains"));
    }
    keys.refuse(&REFUSED)?;
    let adapter = adapter(&keys)?;
    let is_bf16 = keys.is_on("bf16")? || keys.is_on("pure_bf16")?;
    let is_fp16 = keys.is_on("fp16")?;
    // Frozen weights are loaded, and products computed, in the type of the checkpoint.
    let is_checkpoints = adapter.is_some() && !is_bf16 && !is_fp16;
    let dtype = keys.dtype(is_bf16, is_fp16)?;
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
        dtype: (!is_checkpoints).then_some(dtype),
        optimizer: Some(optimizer(&keys)?),
        adapter,
        offloads: Some(false),
        deepspeed_file: keys.text("deepspeed"),
        ..LaunchSettings::default()
    };
    if is_checkpoints {
        let key = "bf16 (left out)".to_owned();
        settings.not_judged.insert("the checkpoint states the type of its weights", vec![key]);
    }
    settings.stack.attention = attention(&keys)?;
    let kernels = keys.noted(&["enable_liger_kernel", "torch_compile", "use_v1_kernels"]);
    if !kernels.is_empty() {
        settings.not_judged.insert("kernels are those of the stack", kernels);
    }
    keys.finish(IDLE)?;
    settings.not_planned = keys.not_planned();
    if let Some(command) = command {
        of_processes(&mut settings, (text, &command));
    }
    Ok(settings)
}

/// What the command and its variables state beside the keys.
fn of_processes(settings: &mut LaunchSettings, (text, command): (&str, &Command)) {
    for (why, words) in command::not_read((text, command), &[]) {
        if !words.is_empty() {
            settings.not_judged.insert(why, words);
        }
    }
    let flags = Flags::new(text);
    let number = |name| flags.variable(name)?.parse::<u64>().ok().filter(|n| *n > 0);
    let each = number("NPROC_PER_NODE").or(command.n_visible);
    settings.n_processes = each.and_then(|each| each.checked_mul(number("NNODES").unwrap_or(1)));
    settings.open_processes = settings.n_processes.is_none();
}

fn attention(keys: &Keys) -> Result<Option<AttentionKernel>, Diagnostic> {
    match keys.text("flash_attn").as_deref() {
        None | Some("auto" | "sdpa") => Ok(None),
        Some("fa2" | "fa3") => Ok(Some(AttentionKernel::Flash)),
        Some("disabled") => Ok(Some(AttentionKernel::Unfused)),
        Some(other) => Err(bad("flash_attn", other, "use auto, sdpa, fa2, fa3 or disabled")),
    }
}

/// Its optimizer, whose states `pure_bf16` keeps in 16 bits.
fn optimizer(keys: &Keys) -> Result<Optimizer, Diagnostic> {
    let named = tuned::optimizer(keys, "optim")?;
    let is_whole = keys.text("finetuning_type").as_deref() == Some("full");
    if is_whole && named.is_in_place() && keys.is_on("bf16")? && !keys.is_on("pure_bf16")? {
        let why = "trained weights are in single precision there but under `pure_bf16`, and in a plan in 16 \
                   bits beside such states";
        return Err(not_judged("optim", why));
    }
    Ok(match (named, keys.is_on("use_adam_mini")?, keys.is_on("use_muon")?) {
        (_, true, _) => Optimizer::AdamMini,
        (_, _, true) => Optimizer::Muon,
        (Optimizer::AdamW, ..) if keys.is_on("pure_bf16")? => Optimizer::AdamW16,
        (other, ..) => other,
    })
}

/// Adapters, which it trains unless `finetuning_type` says otherwise; their weights are in single precision but
/// under `pure_bf16`.
fn adapter(keys: &Keys) -> Result<Option<Adapter>, Diagnostic> {
    let bits = keys.text("quantization_bit");
    let is_whole = keys.text("finetuning_type").as_deref() == Some("full");
    let bits = match bits.as_deref() {
        None => 16,
        Some("4") if !is_whole => 4,
        Some("8") if !is_whole => 8,
        Some(other) => {
            let why = match is_whole {
                true => "quantised weights are frozen beside adapters",
                false => "frozen weights can have 16, 8 or 4 bits",
            };
            return Err(not_judged(&format!("quantization_bit: {other}"), why));
        }
    };
    for (key, usual, is_used) in [
        ("quantization_method", &["bnb", "BNB", "bitsandbytes"][..], bits < 16),
        ("quantization_type", &["nf4"], bits == 4),
        ("double_quantization", &["true", "false"], bits == 4),
    ] {
        if !is_used {
            keys.idle([key.to_owned()]);
            continue;
        }
        if let Some(other) = keys.text(key).filter(|text| !usual.contains(&text.as_str())) {
            return Err(not_judged(&format!("{key}: {other}"), "bitsandbytes' NF4 and 8 bits are"));
        }
    }
    let base = match bits {
        4 if keys.switch("double_quantization")? == Some(false) => BaseWeights::Nf4Single,
        4 => BaseWeights::Nf4,
        8 => BaseWeights::Int8,
        _ => BaseWeights::Wide,
    };
    if is_whole {
        return Ok(None);
    }
    let is_dora = keys.is_on("use_dora")?;
    Ok(Some(Adapter {
        kind: if is_dora { AdapterKind::Dora } else { AdapterKind::Lora },
        rank: tuned::rank(keys, "lora_rank", 8)?,
        targets: tuned::targets(keys, "lora_target")?.unwrap_or(Modules::LINEAR),
        whole: tuned::whole(keys, "additional_target")?.unwrap_or_default(),
        base,
        is_wide: !keys.is_on("pure_bf16")?,
    }))
}
