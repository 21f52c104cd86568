//! Recipes of Axolotl.

use ir::card::{Recompute, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::launch::LaunchSettings;
use ir::stack::AttentionKernel;
use ir::tuning::{Adapter, AdapterKind, BaseWeights, Module, Modules};
use ir::workload::Optimizer;

use serde_json::Value;

use super::super::flags::{QUOTES, not_judged};
use super::super::keys::{Keys, is_off};
use super::super::limits::bad;
use super::command;
use super::fsdp;
use super::tuned;

/// Keys that change neither time nor memory.
const IDLE: &str = include_str!("axolotl.txt");

/// Keys that change what runs in a way that no plan has.
const REFUSED: [(&str, &str); 24] = [
    ("peft_layers_to_transform", "adapters are in all layers"),
    ("lora_layers_to_transform", "adapters are in all layers"),
    ("peft_layer_replication", "layers are those of the model"),
    ("gptq", "parameters are kept in a plan's types"),
    ("unfrozen_parameters", "all parameters are trained in a plan"),
    ("freeze_mm_modules", "all parameters are trained in a plan"),
    ("lisa_n_layers", "all parameters are trained in a plan"),
    ("relora", "all parameters are trained in a plan"),
    ("rl", "steps of a plan are those of next-token prediction"),
    ("reward_model", "steps of a plan are those of next-token prediction"),
    ("process_reward_model", "steps of a plan are those of next-token prediction"),
    ("ebft", "steps of a plan are those of next-token prediction"),
    ("diffusion", "steps of a plan are those of next-token prediction"),
    ("qat", "products run in the type of the run"),
    ("fp8", "the file does not say which products run in 8 bits"),
    ("activation_offloading", "activations stay on the devices or are computed again"),
    ("layer_offloading", "the memory model keeps parameters on the devices"),
    ("tiled_mlp", "the memory model keeps whole activations of a block"),
    ("torch_dtype", "the type of weights follows from bf16 and fp16"),
    ("float16", "weights and states are kept in single precision"),
    ("bfloat16", "weights and states are kept in single precision"),
    ("max_memory", "a plan fits devices as they are"),
    ("device_map", "a plan fits devices as they are"),
    ("expert_parallel_token_capacity", "no plan drops tokens"),
];

/// Keys that choose kernels.
const KERNELS: [&str; 16] = [
    "torch_compile",
    "liger_rope",
    "liger_rms_norm",
    "liger_layer_norm",
    "liger_glu_activation",
    "liger_fused_linear_cross_entropy",
    "cut_cross_entropy",
    "use_kernels",
    "use_scattermoe",
    "use_sonicmoe",
    "experts_implementation",
    "flash_attn_cross_entropy",
    "flash_attn_rms_norm",
    "flash_attn_fuse_mlp",
    "plugins",
    "fused_attn_kernel",
];

pub(crate) fn read(text: &str) -> Result<LaunchSettings, Diagnostic> {
    if let Some(file) = of_command(text) {
        return Err(command::elsewhere("axolotl", file));
    }
    let keys = Keys::read(text)?;
    keys.refuse(&REFUSED)?;
    let adapter = adapter(&keys)?;
    let is_of = |(key, value): (&String, &Value)| key.starts_with("fsdp") && !is_off(value);
    let is_sharded = keys.values.iter().any(is_of);
    words(&keys)?;
    let version = keys.text("fsdp_version");
    let sharded = is_sharded.then(|| fsdp::read(&keys, version.as_deref())).transpose()?;
    let file = keys.text("deepspeed");
    if sharded.is_some() {
        tuned::check_gathered(adapter.as_ref(), "load_in_8bit beside fsdp_config")?;
    }
    let [copies, shards] = [keys.degree("dp_replicate_size")?, keys.degree("dp_shard_size")?];
    if copies.is_some_and(|n| n > 1) && shards.is_some_and(|n| n > 1) {
        return Err(not_judged("dp_replicate_size", "replicas of shards are in no plan"));
    }
    let data = shards.or(copies).map(|n| n.max(copies.unwrap_or(1)));
    let again = recompute(&keys)?;
    let offloads = sharded.as_ref().is_some_and(|sharded| sharded.offloads);
    let mut settings = LaunchSettings {
        data,
        tensor: Some(keys.degree("tensor_parallel_size")?.unwrap_or(1)),
        context: Some(keys.degree("context_parallel_size")?.unwrap_or(1)),
        expert: keys.degree("expert_parallel_size")?,
        pipeline: Some(1),
        micro_batch: keys.count("micro_batch_size")?,
        n_micro_batches: keys.count("gradient_accumulation_steps")?,
        sequence_length: keys.count("sequence_len")?,
        zero: Some(sharded.as_ref().map_or(ZeroStage::None, |sharded| sharded.zero)),
        recompute: Some(sharded.and_then(|sharded| sharded.recompute).unwrap_or(again)),
        dtype: Some(keys.dtype(is_bf16(&keys)?, keys.is_on("fp16")?)?),
        optimizer: Some(optimizer(&keys, is_sharded || file.is_some() || adapter.is_some())?),
        adapter,
        offloads: Some(offloads),
        offloads_parameters: offloads,
        deepspeed_file: file,
        ..LaunchSettings::default()
    };
    settings.stack.attention = attention(&keys)?;
    let kernels = keys.noted(&KERNELS);
    if !kernels.is_empty() {
        settings.not_judged.insert("kernels are those of the stack", kernels);
    }
    keys.finish(IDLE)?;
    settings.not_planned = keys.not_planned();
    Ok(settings)
}

fn attention(keys: &Keys) -> Result<Option<AttentionKernel>, Diagnostic> {
    Ok(match keys.text("attn_implementation").as_deref() {
        Some("eager") => Some(AttentionKernel::Unfused),
        Some("flash_attention_2" | "flash_attention_3") => Some(AttentionKernel::Flash),
        None | Some("sdpa") => None,
        Some(other) => {
            let why = "eager, sdpa and flash_attention_2 are";
            return Err(not_judged(&format!("attn_implementation: {other}"), why));
        }
    })
}

/// The recipe that a command names.
fn of_command(text: &str) -> Option<&str> {
    let is_command = text.contains("axolotl train") || text.contains("axolotl.cli");
    let is_file = |word: &&str| word.ends_with(".yml") || word.ends_with(".yaml");
    let words = text.split_whitespace().map(|word| word.trim_matches(QUOTES));
    let is_recipe = text.lines().any(|line| line.starts_with("base_model:"));
    let mut behind = words.skip_while(|word| !word.contains("axolotl"));
    (is_command && !is_recipe).then(|| behind.find(is_file).unwrap_or("train"))
}

/// The words of `fsdp`, which `fsdp_config` says again.
fn words(keys: &Keys) -> Result<(), Diagnostic> {
    let words = keys.get("fsdp").and_then(Value::as_array).into_iter().flatten();
    let mut words = words.filter_map(Value::as_str);
    match words.find(|word| !["full_shard", "auto_wrap"].contains(word)) {
        None => Ok(()),
        Some(other) => {
            let why = "full shards, block by block, are; `fsdp_config` can say others";
            Err(not_judged(&format!("fsdp: {other}"), why))
        }
    }
}

/// `auto` is bf16 where the device has it.
fn is_bf16(keys: &Keys) -> Result<bool, Diagnostic> {
    Ok(keys.text("bf16").is_some_and(|bf16| bf16 == "auto") || keys.is_on("bf16")?)
}

/// Its optimizer. Without FSDP or DeepSpeed whole models are loaded, trained and updated in 16 bits.
fn optimizer(keys: &Keys, keeps_single: bool) -> Result<Optimizer, Diagnostic> {
    let named = tuned::optimizer(keys, "optimizer")?;
    match named {
        _ if keeps_single || !is_bf16(keys)? || named.is_in_place() => Ok(named),
        Optimizer::AdamW => Ok(Optimizer::AdamW16),
        _ => {
            let why = "without `fsdp_config` or `deepspeed` weights and optimizer states have 16 bits; in a plan \
                       with this optimizer they have 32";
            Err(not_judged("bf16", why))
        }
    }
}

fn recompute(keys: &Keys) -> Result<Recompute, Diagnostic> {
    let key = "gradient_checkpointing";
    if let Some(other) =
        keys.text(key).filter(|text| ["offload", "unsloth"].contains(&text.as_str()))
    {
        let why = "activations stay on the devices or are computed again";
        return Err(not_judged(&format!("{key}: {other}"), why));
    }
    Ok(if keys.is_on(key)? { Recompute::Full } else { Recompute::None })
}

/// Adapters, whose weights Axolotl keeps in single precision.
fn adapter(keys: &Keys) -> Result<Option<Adapter>, Diagnostic> {
    let [is_4bit, is_8bit] = [keys.is_on("load_in_4bit")?, keys.is_on("load_in_8bit")?];
    let is_nf4 = match keys.text("adapter").as_deref() {
        Some("lora") if is_4bit && is_8bit => {
            return Err(bad("load_in_8bit", "true", "choose 8 or 4 bits"));
        }
        Some("lora") => is_4bit,
        Some("qlora") if is_8bit => {
            return Err(bad("load_in_8bit", "true", "use `adapter: lora`: qlora has 4 bits"));
        }
        Some("qlora") => is_4bit || keys.get("load_in_4bit").is_none(),
        Some(other) => {
            return Err(not_judged(&format!("adapter: {other}"), "lora and qlora are"));
        }
        None if is_4bit || is_8bit => {
            let key = if is_4bit { "load_in_4bit" } else { "load_in_8bit" };
            return Err(not_judged(key, "weights in 4 and 8 bits are frozen beside adapters"));
        }
        None => return Ok(None),
    };
    let key = "bnb_config_kwargs.bnb_4bit_use_double_quant";
    let doubles = if is_nf4 { keys.switch(key)? } else { None };
    keys.idle([key.to_owned()]);
    let base = match (is_nf4, is_8bit) {
        (true, _) if doubles == Some(false) => BaseWeights::Nf4Single,
        (true, _) => BaseWeights::Nf4,
        (false, true) => BaseWeights::Int8,
        (false, false) => BaseWeights::Wide,
    };
    let stated = tuned::targets(keys, "lora_target_modules")?;
    let is_linear = keys.is_on("lora_target_linear")?;
    // As PEFT takes it for models of Llama's kind.
    let usual = Modules::default().with(Module::Query).with(Module::Value);
    let targets = match (stated, is_linear) {
        (Some(stated), true) => stated.and(Modules::LINEAR),
        (Some(stated), false) => stated,
        (None, true) => Modules::LINEAR,
        (None, false) => usual,
    };
    let is_dora = keys.is_on("peft_use_dora")?;
    Ok(Some(Adapter {
        kind: if is_dora { AdapterKind::Dora } else { AdapterKind::Lora },
        rank: tuned::rank(keys, "lora_r", 8)?,
        targets,
        whole: tuned::whole(keys, "lora_modules_to_save")?.unwrap_or_default(),
        base,
        is_wide: true,
    }))
}
