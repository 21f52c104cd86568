//! Adapters in the words of PEFT and bitsandbytes: `LoraConfig`, as `adapter_config.json` has it, and
//! `BitsAndBytesConfig`.

use ir::tuning::{Adapter, AdapterKind, BaseWeights, Module, Modules};
use serde_json::{Value, json};

use super::target::TrainingSource;

/// Adds the members that load the model in its types and put adapters beside it.
pub(super) fn add(document: &mut Value, adapter: &Adapter, source: &TrainingSource<'_>) {
    let dtype = source
        .dtype
        .to_string()
        .replace("bf16", "bfloat16")
        .replace("fp32", "float32")
        .replace("fp16", "float16");
    document["dtype"] = json!(dtype);
    document["peft_config"] = config(adapter);
    document["autocast_adapter_dtype"] = json!(adapter.is_wide);
    match adapter.base {
        BaseWeights::Wide => {}
        BaseWeights::Int8 => document["quantization_config"] = json!({ "load_in_8bit": true }),
        BaseWeights::Nf4 | BaseWeights::Nf4Single => {
            document["quantization_config"] = json!({
                "load_in_4bit": true,
                "bnb_4bit_quant_type": "nf4",
                "bnb_4bit_use_double_quant": adapter.base == BaseWeights::Nf4,
                "bnb_4bit_compute_dtype": dtype,
                // FSDP flattens weights of one type.
                "bnb_4bit_quant_storage": dtype,
            });
        }
    }
}

/// What `adapter_config.json` says; scaling and dropout are the user's.
fn config(adapter: &Adapter) -> Value {
    let mut config = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": adapter.rank,
        "use_dora": adapter.kind == AdapterKind::Dora,
        "target_modules": match adapter.targets == Modules::LINEAR {
            true => json!("all-linear"),
            false => json!(adapter.targets.iter().map(name).collect::<Vec<_>>()),
        },
    });
    if !adapter.whole.is_empty() {
        config["modules_to_save"] = json!(adapter.whole.iter().map(name).collect::<Vec<_>>());
    }
    config
}

/// Names of linear layers in models of Llama's kind.
const fn name(module: Module) -> &'static str {
    match module {
        Module::Query => "q_proj",
        Module::Key => "k_proj",
        Module::Value => "v_proj",
        Module::Output => "o_proj",
        Module::Gate => "gate_proj",
        Module::Up => "up_proj",
        Module::Down => "down_proj",
        Module::Norms => "norm",
        Module::Embedding => "embed_tokens",
        Module::Head => "lm_head",
    }
}
