//! `adapter_config.json` of PEFT: kind, rank and targets of adapters.

use ir::diagnostic::Diagnostic;
use ir::tuning::{Adapter, AdapterKind, BaseWeights, Module, Modules};
use serde_json::{Map, Value};

use super::flags::not_judged;
use super::limits::bad;

/// Longest file, in bytes.
pub(super) const LONGEST: u64 = 1 << 20;
/// Greatest rank.
const MOST_RANK: u64 = 1 << 14;

/// Names of linear layers in models of Transformers, by the module that each is.
const NAMES: [(&str, Module); 33] = [
    ("q_proj", Module::Query),
    ("q_a_proj", Module::Query),
    ("q_b_proj", Module::Query),
    ("k_proj", Module::Key),
    ("kv_a_proj_with_mqa", Module::Key),
    ("v_proj", Module::Value),
    ("kv_b_proj", Module::Value),
    ("o_proj", Module::Output),
    ("out_proj", Module::Output),
    ("output_proj", Module::Output),
    ("gate_proj", Module::Gate),
    ("up_proj", Module::Up),
    ("down_proj", Module::Down),
    ("w1", Module::Gate),
    ("w3", Module::Up),
    ("w2", Module::Down),
    ("fc1", Module::Up),
    ("fc2", Module::Down),
    ("fc_in", Module::Up),
    ("fc_out", Module::Down),
    ("c_fc", Module::Up),
    ("dense_h_to_4h", Module::Up),
    ("dense_4h_to_h", Module::Down),
    ("linear1", Module::Up),
    ("linear2", Module::Down),
    ("lm_head", Module::Head),
    ("output", Module::Head),
    ("embed_out", Module::Head),
    ("embed_tokens", Module::Embedding),
    ("tok_embeddings", Module::Embedding),
    ("wte", Module::Embedding),
    ("norm", Module::Norms),
    ("gate", Module::Norms),
];
/// Names of products that make queries, keys and values at once.
const JOINED: [&str; 5] = ["qkv_proj", "query_key_value", "c_attn", "Wqkv", "in_proj"];
/// Names of products that make gate and first product at once.
const JOINED_FIRST: [&str; 1] = ["gate_up_proj"];

/// Members that change what is trained in a way that is not planned, unless they are off.
const REFUSED: [(&str, &str); 13] = [
    ("rank_pattern", "adapters of all modules have one rank"),
    ("layers_to_transform", "adapters are in all layers"),
    ("layers_pattern", "adapters are in all layers"),
    ("layer_replication", "layers are those of the model"),
    ("exclude_modules", "give `target_modules` as a list"),
    ("target_parameters", "adapters are beside linear layers"),
    ("megatron_config", "adapters are those of PEFT"),
    ("trainable_token_indices", "embeddings are frozen or trained whole"),
    ("use_bdlora", "adapters are LoRA or DoRA"),
    ("use_qalora", "adapters are LoRA or DoRA"),
    ("arrow_config", "adapters are LoRA or DoRA"),
    ("lora_bias", "adapters have no biases"),
    ("loftq_config", "state a quantised base as a checkpoint, or in `quantization`"),
];

/// Reads an adapter.
///
/// # Errors
/// `bad-settings` naming the member, `not-judged` for what is not planned.
pub(super) fn read(text: &str) -> Result<Adapter, Diagnostic> {
    let invalid = |why: String| {
        Diagnostic::input("bad-settings", format!("this is no adapter_config.json of PEFT: {why}"))
            .hint("give the file as `save_pretrained` of PEFT writes it")
    };
    let value: Value = serde_json::from_str(text).map_err(|error| invalid(error.to_string()))?;
    let file = value.as_object().ok_or_else(|| invalid("it is no object".to_owned()))?;
    match file.get("peft_type").and_then(Value::as_str) {
        Some("LORA") => {}
        None => return Err(invalid("member `peft_type` is missing".to_owned())),
        Some(other) => {
            let shown: String = other.chars().take(40).collect();
            return Err(not_judged(&format!("peft_type: {shown}"), "LORA is (DoRA by `use_dora`)"));
        }
    }
    for (member, why) in REFUSED {
        if file.get(member).is_some_and(|value| !is_off(value)) {
            return Err(not_judged(member, why));
        }
    }
    if file.get("bias").and_then(Value::as_str).is_some_and(|bias| bias != "none") {
        return Err(not_judged("bias", "biases are frozen"));
    }
    let is_dora = file.get("use_dora").and_then(Value::as_bool).unwrap_or(false);
    Ok(Adapter {
        kind: if is_dora { AdapterKind::Dora } else { AdapterKind::Lora },
        rank: rank(file)?,
        targets: targets(file)?,
        whole: whole(file)?,
        base: BaseWeights::Wide,
        // `autocast_adapter_dtype`, which is on unless a program says otherwise.
        is_wide: true,
    })
}

fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Number(_) | Value::Bool(true) => false,
    }
}

fn rank(file: &Map<String, Value>) -> Result<u32, Diagnostic> {
    let Some(value) = file.get("r") else { return Ok(8) };
    let rank = value.as_u64().filter(|rank| (1..=MOST_RANK).contains(rank));
    let rank = rank.and_then(|rank| u32::try_from(rank).ok());
    rank.ok_or_else(|| {
        bad("r", &value.to_string(), &format!("give a whole number from 1 to {MOST_RANK}"))
    })
}

fn targets(file: &Map<String, Value>) -> Result<Modules, Diagnostic> {
    match file.get("target_modules") {
        // What PEFT takes for models of Llama's kind.
        None | Some(Value::Null) => Ok(Modules::default().with(Module::Query).with(Module::Value)),
        Some(Value::String(name)) if name == "all-linear" => Ok(Modules::LINEAR),
        Some(Value::String(pattern)) => {
            let shown: String = pattern.chars().take(60).collect();
            let why = "a list of names and `all-linear` are, patterns are not";
            Err(not_judged(&format!("target_modules: {shown}"), why))
        }
        Some(Value::Array(names)) if names.is_empty() => {
            Err(bad("target_modules", "[]", "name at least one module"))
        }
        Some(Value::Array(names)) => of_targets("target_modules", named("target_modules", names)?),
        Some(other) => Err(bad("target_modules", &other.to_string(), "give a list of names")),
    }
}

fn whole(file: &Map<String, Value>) -> Result<Modules, Diagnostic> {
    match file.get("modules_to_save") {
        None | Some(Value::Null) => Ok(Modules::default()),
        Some(Value::Array(names)) => of_whole("modules_to_save", named("modules_to_save", names)?),
        Some(other) => Err(bad("modules_to_save", &other.to_string(), "give a list of names")),
    }
}

/// Targets of adapters.
///
/// # Errors
/// `not-judged` for what is no linear layer.
pub(super) fn of_targets(member: &str, modules: Modules) -> Result<Modules, Diagnostic> {
    let why = "adapters are beside linear layers of blocks and the head";
    only(member, modules, Modules::LINEAR.with(Module::Head), why)
}

/// What is trained whole beside adapters.
///
/// # Errors
/// `not-judged` for linear layers of blocks.
pub(super) fn of_whole(member: &str, modules: Modules) -> Result<Modules, Diagnostic> {
    let ends = Modules::default().with(Module::Embedding).with(Module::Head);
    let why = "embedding, head and norms are trained whole beside adapters";
    only(member, modules, ends.with(Module::Norms), why)
}

fn only(member: &str, modules: Modules, known: Modules, why: &str) -> Result<Modules, Diagnostic> {
    match modules.iter().find(|module| !known.has(*module)) {
        None => Ok(modules),
        Some(other) => Err(not_judged(&format!("{member}: {}", other.name()), why)),
    }
}

/// Modules by the names that Transformers gives them, with or without a path before them.
///
/// # Errors
/// `bad-settings` for a name that is none.
pub(super) fn named(member: &str, names: &[Value]) -> Result<Modules, Diagnostic> {
    let texts = names.iter().map(|name| {
        name.as_str().ok_or_else(|| bad(member, &name.to_string(), "give names of modules"))
    });
    let texts = texts.collect::<Result<Vec<_>, _>>()?;
    by_name(member, &texts)
}

/// The same of texts.
///
/// # Errors
/// As [`named`].
pub(super) fn by_name(member: &str, names: &[&str]) -> Result<Modules, Diagnostic> {
    let mut modules = Modules::default();
    for path in names {
        let name = path.rsplit('.').next().unwrap_or_default().trim();
        let found = NAMES.iter().find(|(known, _)| *known == name).map(|(_, module)| *module);
        modules = match found {
            Some(module) => modules.with(module),
            None if JOINED.contains(&name) => {
                modules.with(Module::Query).with(Module::Key).with(Module::Value)
            }
            None if JOINED_FIRST.contains(&name) => modules.with(Module::Gate).with(Module::Up),
            None => {
                let shown: String = name.chars().take(40).collect();
                return Err(bad(
                    member,
                    &shown,
                    "name linear layers such as q_proj, down_proj or lm_head",
                ));
            }
        };
    }
    Ok(modules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_as_peft_saves_it() {
        let text = r#"{"peft_type": "LORA", "r": 16, "lora_alpha": 32, "lora_dropout": 0.05, "bias": "none",
            "target_modules": ["q_proj", "model.layers.v_proj"], "modules_to_save": ["lm_head"], "use_dora": true}"#;
        let adapter = read(text).unwrap();
        assert_eq!((adapter.rank, adapter.kind), (16, AdapterKind::Dora));
        assert_eq!(adapter.targets, Modules::default().with(Module::Query).with(Module::Value));
        assert_eq!(adapter.whole, Modules::default().with(Module::Head));
        let all = r#"{"peft_type": "LORA", "target_modules": "all-linear"}"#;
        assert_eq!(read(all).unwrap().targets, Modules::LINEAR);
    }

    #[test]
    fn what_is_no_adapter_is_refused_by_its_member() {
        for (text, named) in [
            ("[]", "object"),
            ("{}", "peft_type"),
            (r#"{"peft_type": "IA3"}"#, "IA3"),
            (r#"{"peft_type": "LORA", "r": 0}"#, "`r`"),
            (r#"{"peft_type": "LORA", "r": -4}"#, "`r`"),
            (r#"{"peft_type": "LORA", "r": 1e99}"#, "`r`"),
            (r#"{"peft_type": "LORA", "target_modules": ["conv"]}"#, "conv"),
            (r#"{"peft_type": "LORA", "target_modules": ["embed_tokens"]}"#, "embedding"),
            (r#"{"peft_type": "LORA", "modules_to_save": ["q_proj"]}"#, "modules_to_save: q"),
            (r#"{"peft_type": "LORA", "target_modules": ".*proj"}"#, ".*proj"),
            (r#"{"peft_type": "LORA", "rank_pattern": {"q_proj": 4}}"#, "rank_pattern"),
            (r#"{"peft_type": "LORA", "bias": "all"}"#, "bias"),
        ] {
            let message = read(text).unwrap_err().message;
            assert!(message.contains(named), "{text}: {message}");
        }
    }
}
