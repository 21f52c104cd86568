//! What a config leaves out: the defaults of its class in transformers 5.23, which
//! `python/config_defaults.py` writes into `defaults.json`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use ir::diagnostic::Diagnostic;
use serde::Deserialize;
use serde_json::Value;

use crate::config::architecture::without_effect;
use crate::config::fields::Fields;
use crate::json::Object;

/// A class.
#[derive(Deserialize)]
struct Class {
    /// Names that stand for fields.
    names: BTreeMap<String, String>,
    /// Its fields, of those that any reader asks for.
    fields: BTreeMap<String, Value>,
}

static CLASSES: LazyLock<BTreeMap<String, Class>> =
    LazyLock::new(|| serde_json::from_str(include_str!("defaults.json")).unwrap_or_default());

/// Fields without which a model is not what its author meant.
const SIZES: [&str; 12] = [
    "vocab_size",
    "hidden_size",
    "n_embd",
    "d_model",
    "num_hidden_layers",
    "n_layer",
    "num_layers",
    "n_layers",
    "num_attention_heads",
    "n_head",
    "attention_heads",
    "intermediate_size",
];

/// Fields that every class reads, or that stand for others in older configs.
const COMMON: [&str; 5] = [
    "tie_word_embeddings",
    "head_dim",
    "sliding_window_pattern",
    "hybrid_override_pattern",
    "num_labels",
];

/// A config with its class's defaults under its own fields, and warnings about fields that the class
/// does not read. A part of another config may leave sizes out.
///
/// # Errors
/// `missing-field`.
pub(super) fn filled(
    fields: Fields<'_>,
    model_type: &str,
    is_whole: bool,
) -> Result<(Object, Vec<Diagnostic>), Diagnostic> {
    let mut filled = super::stated::unnested(fields);
    let Some(class) = CLASSES.get(class_of(model_type)) else { return Ok((filled, Vec::new())) };
    for (name, field) in &class.names {
        if let Some(value) = filled.remove(name) {
            filled.entry(field.clone()).or_insert(value);
        }
    }
    let is_mixture = filled.contains_key("moe_intermediate_size");
    let missing = |name: &&&str| class.fields.get(**name).is_some_and(|usual| !usual.is_null());
    let missing: Vec<String> = SIZES
        .iter()
        .filter(missing)
        .filter(|name| !(is_mixture && **name == "intermediate_size"))
        .filter(|name| filled.get(**name).is_none_or(Value::is_null))
        .map(|name| format!("`{name}`"))
        .collect();
    if is_whole && !missing.is_empty() {
        let message = format!("the config has no {}", missing.join(", "));
        return Err(Diagnostic::input("missing-field", message).fact("fields", missing));
    }
    let mut warnings = Vec::new();
    filled.retain(|name, value| {
        let is_read = class.fields.contains_key(name) || COMMON.contains(&name.as_str());
        let is_known = is_read || CLASSES.values().all(|other| !other.fields.contains_key(name));
        // Configs of state spaces state what follows from others.
        if !is_known && !is_default(value) && name != "intermediate_size" {
            warnings.push(without_effect(name));
        }
        is_known
    });
    for (name, usual) in &class.fields {
        filled.entry(name.clone()).or_insert_with(|| usual.clone());
    }
    Ok((filled, warnings))
}

/// The class of a model type that is a part of another one's.
fn class_of(model_type: &str) -> &str {
    match model_type {
        "minimax_m3" => "minimax_m3_vl_text",
        other => other,
    }
}

/// Whether a value is what a class means that does not know the field.
fn is_default(value: &Value) -> bool {
    value.is_null() || value == &Value::Bool(false)
}
