//! What a config is read as where nobody knows its `model_type`: as the class that its
//! `architectures` name, or as the part of it that is a known decoder.

use ir::diagnostic::Diagnostic;
use serde_json::Value;

use super::UNBUILT;
use super::architecture::CARDS;
use super::fields::Fields;
use super::task::class;
use crate::json::{self, Object};

/// The fields of a config, under a model type that is known where there is one; and what it is read
/// as in place of what it states.
///
/// # Errors
/// `invalid-field`, and those of the JSON reader.
pub(super) fn fields(bytes: Vec<u8>) -> Result<(Object, Option<Diagnostic>), Diagnostic> {
    let mut object = json::config(bytes)?;
    let model_type = Fields(&object).text("model_type")?.unwrap_or_default().to_owned();
    if model_type.is_empty() || known().any(|known| known == model_type) {
        let other = other_class(&object, &model_type)?;
        return Ok((object, other));
    }
    let shown: String = model_type.chars().take(60).collect();
    if let Some((class, found)) =
        class(Fields(&object))?.and_then(|class| Some((class, named(class)?)))
    {
        let message = format!(
            "model_type `{shown}` is not known: it is read as `{found}`, of class `{class}`"
        );
        let warning = Diagnostic::warning("read-as-class", message).fact("model_type", found);
        object.insert("model_type".to_owned(), Value::from(found));
        return Ok((object, Some(warning)));
    }
    Ok(match text_part(&object) {
        Some((mut part, found)) => {
            for name in OF_WHOLE {
                if let (false, Some(value)) = (part.contains_key(name), object.get(name)) {
                    part.insert(name.to_owned(), value.clone());
                }
            }
            let message = format!(
                "model_type `{shown}` is not known: only its text decoder, of type `{found}`, is \
                 read"
            );
            let warning = Diagnostic::warning("text-part-alone", message);
            let left = other_parts(&object);
            let warning = if left.is_empty() { warning } else { warning.fact("left_out", left) };
            (part, Some(warning))
        }
        None => (object, None),
    })
}

/// A warning of a class that is of another known model type than the config states.
fn other_class(object: &Object, model_type: &str) -> Result<Option<Diagnostic>, Diagnostic> {
    let stem = |name: &str| plain(name).trim_end_matches("text").to_owned();
    let class = class(Fields(object))?;
    let named = class.and_then(|class| Some((class, named(class)?)));
    Ok(named.filter(|(_, of_class)| stem(of_class) != stem(model_type)).map(|(class, of_class)| {
        let message = format!(
            "read as `{model_type}`, its model_type, as Transformers reads it: its class `{class}` is of \
             `{of_class}`, which vLLM and SGLang run"
        );
        Diagnostic::warning("unlike-class", message)
            .fact("architectures", class)
            .fact("model_type", model_type)
            .hint("correct `model_type` or `architectures` in the config")
    }))
}

/// Parts of a config beside its text decoder.
pub(super) fn other_parts(object: &Object) -> Vec<String> {
    let is_part = |name: &&String| {
        let is_other = TEXT.contains(&name.as_str()) || OF_WHOLE.contains(&name.as_str());
        name.ends_with("_config") && !is_other
    };
    object.keys().filter(is_part).cloned().collect()
}

/// What the whole may state for the part: types of weights.
const OF_WHOLE: [&str; 3] = ["torch_dtype", "dtype", "quantization_config"];

/// The part of a config that is a decoder of text, as models name it; a `thinker_config` holds one.
const TEXT: [&str; 4] = ["text_config", "llm_config", "language_config", "thinker_config"];

/// All model types that are read, and those that are refused by name.
fn known() -> impl Iterator<Item = &'static str> {
    let refused = UNBUILT.iter().flat_map(|(types, _)| types.iter().copied());
    super::written_out().chain(CARDS).chain(refused)
}

/// The model type of a class of Transformers, whose names differ in case and underscores. A class
/// that continues a text is its decoder alone where a model has other parts.
fn named(class: &str) -> Option<&'static str> {
    let heads = ["LMHeadModel", "Model"];
    let stem = class.rsplit_once("For").map(|(stem, _)| stem);
    let stem = stem.or_else(|| heads.iter().find_map(|head| class.strip_suffix(head)))?;
    let stem = plain(stem);
    let of = |name: String| known().find(|model_type| plain(model_type) == name);
    let text = class.ends_with("ForCausalLM").then(|| of(format!("{stem}text"))).flatten();
    text.or_else(|| of(stem))
}

fn plain(name: &str) -> String {
    let letters = name.chars().filter(char::is_ascii_alphanumeric);
    letters.map(|letter| letter.to_ascii_lowercase()).collect()
}

/// The decoder of a model of several parts, with what the whole says of it.
pub(super) fn text_part(object: &Object) -> Option<(Object, String)> {
    let (name, part) =
        TEXT.iter().find_map(|name| Some((*name, object.get(*name)?.as_object()?)))?;
    if name == "thinker_config" {
        let inner: Object = part.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        return text_part(&inner);
    }
    let mut merged: Object =
        part.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let stated = part.get("model_type").and_then(Value::as_str);
    // A class says more than a name that nobody knows; a part may leave it to the name of the whole.
    let by_class = || class(Fields(&merged)).ok().flatten().and_then(named);
    let whole = object.get("model_type").and_then(Value::as_str);
    let of_whole = whole.map(|name| format!("{name}_text"));
    let is_decoder = |name: &&str| super::decoder::types().any(|known| known == *name);
    let found = stated.filter(is_decoder).or_else(|| by_class().filter(is_decoder));
    let found = found.or_else(|| of_whole.as_deref().filter(is_decoder))?.to_owned();
    merged.insert("model_type".to_owned(), Value::from(found.clone()));
    for name in ["tie_word_embeddings", "torch_dtype", "dtype", "quantization_config"] {
        if let Some(value) = object.get(name).filter(|_| !merged.contains_key(name)) {
            merged.insert(name.to_owned(), value.clone());
        }
    }
    Some((merged, found))
}
