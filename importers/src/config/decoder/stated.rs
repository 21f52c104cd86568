//! What configs state in words of their own: members of nested objects, and types of layers by other lists.

use ir::diagnostic::Diagnostic;
use serde_json::Value;

use super::layers::{Fed, Kind, Own};
use super::style::Mixer;
use crate::config::builder::Done;
use crate::config::fields::{Fields, invalid, number};
use crate::json::Object;

/// Objects, their members, and the fields that these are.
const NESTED: [(&str, &str, &str); 7] = [
    ("sparse_attention_config", "sparse_num_index_heads", "index_n_heads"),
    ("sparse_attention_config", "sparse_index_dim", "index_head_dim"),
    ("sparse_attention_config", "sparse_block_size", "index_block_size"),
    ("sparse_attention_config", "sparse_topk_blocks", "index_topk_blocks"),
    ("linear_attn_config", "head_dim", "linear_head_dim"),
    ("linear_attn_config", "num_heads", "linear_num_heads"),
    ("linear_attn_config", "short_conv_kernel_size", "linear_conv_kernel_dim"),
];

/// The fields with those that nested objects state.
pub(super) fn unnested(fields: Fields<'_>) -> Object {
    let mut all = fields.0.clone();
    for (object, member, field) in NESTED {
        if let Some(value) = fields.get(object).and_then(|object| object.get(member)) {
            all.insert(field.to_owned(), value.clone());
        }
    }
    all
}

/// Types of layers by a list of another kind, empty without one.
///
/// # Errors
/// `invalid-field`.
pub(super) fn types(fields: Fields<'_>) -> Done<Vec<&'static str>> {
    if let Some(flags) = member(fields, "sparse_attention_config", "sparse_attention_freq")? {
        let name = |flag: &Value| match flag.as_u64() {
            Some(0) => Ok("full_attention"),
            Some(1) => Ok("minimax_m3_sparse"),
            _ => Err(invalid("sparse_attention_freq", flag, "0 or 1 is needed")),
        };
        return flags.iter().map(name).collect();
    }
    if let Some(full) = member(fields, "linear_attn_config", "full_attn_layers")? {
        let is_full = |layer: u64| full.iter().any(|index| index.as_u64() == Some(layer + 1));
        let n_layers = super::layers::count(fields)?;
        let name = |layer| if is_full(layer) { "full_attention" } else { "linear_attention" };
        return Ok((0..n_layers).map(name).collect());
    }
    let name = |ratio: &Value| match ratio.as_u64() {
        Some(0) => Ok("sliding_attention"),
        Some(4) => Ok(PICKED),
        Some(128) => Ok(POOLED),
        _ => Err(invalid("compress_ratios", ratio, "0, 4 or 128 is needed")),
    };
    let mut all: Vec<&str> =
        fields.list("compress_ratios")?.iter().map(name).collect::<Done<_>>()?;
    // Further ones are of layers that predict later tokens.
    all.truncate(super::layers::count(fields)? as usize);
    Ok(all)
}

/// A list that is a member of an object.
fn member<'a>(
    fields: Fields<'a>,
    object: &str,
    name: &'static str,
) -> Done<Option<&'a Vec<Value>>> {
    let Some(value) = fields.get(object).and_then(|object| object.get(name)) else {
        return Ok(None);
    };
    value.as_array().map(Some).ok_or_else(|| invalid(name, value, "a list is needed"))
}

/// Types of layers that attend to what a compressor makes: those that an index picks, and all.
pub(super) const PICKED: &str = "compressed_sparse_attention";
pub(super) const POOLED: &str = "heavily_compressed_attention";

/// Tokens that a compressor makes one entry of.
///
/// # Errors
/// `invalid-field`.
pub(super) fn rate(fields: Fields<'_>, is_picked: bool) -> Done<u64> {
    let (kind, older, usual) = match is_picked {
        true => (PICKED, "compress_rate_csa", 4),
        false => (POOLED, "compress_rate_hca", 128),
    };
    let stated = fields.get("compress_rates").and_then(|rates| rates.get(kind));
    match stated.or_else(|| fields.get(older)) {
        Some(value) => number(older, value, 1),
        None => Ok(usual),
    }
}

/// Layers by `block_configs`, each with sizes of its own (Puzzle, arXiv:2411.19146); `None` without that list.
///
/// # Errors
/// `invalid-field`.
pub(super) fn searched(fields: Fields<'_>) -> Done<Option<Vec<Kind>>> {
    let blocks = fields.list("block_configs")?;
    if blocks.is_empty() {
        return Ok(None);
    }
    let n_layers = super::layers::count(fields)?;
    if blocks.len() as u64 != n_layers {
        let message = format!("`block_configs` lists {} of {n_layers} layers", blocks.len());
        return Err(Diagnostic::input("invalid-field", message).hint("list every layer once"));
    }
    let heads = fields.count(&["num_attention_heads"], None)?;
    let hidden = fields.count(&["hidden_size"], None)?;
    blocks.iter().map(|block| searched_layer(block, heads, hidden)).collect::<Done<_>>().map(Some)
}

/// Parts that a block of a searched model may have, and that are not written out.
const UNWRITTEN: [&str; 6] = [
    "sparsify",
    "num_sink_tokens",
    "unshifted_sink",
    "use_prefill_window_in_sink_attention",
    "moe",
    "mamba",
];

fn searched_layer(block: &Value, heads: u64, hidden: u64) -> Done<Kind> {
    let wrong = |why: &str| invalid("block_configs", block, why);
    let part = |name: &str| {
        let object = block.get(name).and_then(Value::as_object);
        let object =
            object.ok_or_else(|| wrong("`attention` and `ffn` are needed of each layer"))?;
        Ok::<Object, Diagnostic>(object.clone().into_iter().collect())
    };
    let (attention, ffn) = (part("attention")?, part("ffn")?);
    for fields in [Fields(&attention), Fields(&ffn)] {
        let stated =
            |name: &&&str| fields.get(name).is_some_and(|value| *value != Value::Bool(false));
        if let Some(name) = UNWRITTEN.iter().find(stated) {
            return Err(wrong(&format!("`{name}` is not written out")));
        }
    }
    let (attention, ffn) = (Fields(&attention), Fields(&ffn));
    let mut own = Own::default();
    let mixer = match () {
        () if attention.flag("no_op")? == Some(true) => Mixer::None,
        () if attention.flag("replace_with_linear")? == Some(true) => Mixer::Linear,
        () => {
            let group = attention.get("n_heads_in_group").and_then(Value::as_u64);
            let group = group.filter(|n| *n > 0 && heads.is_multiple_of(*n));
            let group =
                group.ok_or_else(|| wrong("`n_heads_in_group` does not divide the heads"))?;
            own.kv_heads = Some(heads / group);
            match attention.get("window_length").map(Value::as_u64) {
                None => Mixer::Full,
                Some(Some(tokens)) if tokens > 0 => Mixer::Window(tokens),
                Some(_) => return Err(wrong("`window_length` is no number of tokens")),
            }
        }
    };
    let fed = match () {
        () if ffn.flag("no_op")? == Some(true) => Fed::Absent,
        () if ffn.flag("replace_with_linear")? == Some(true) => Fed::Linear,
        () => {
            let times = ffn.get("ffn_mult").and_then(Value::as_f64);
            let times = times.filter(|times| (0.0..=64.0).contains(times));
            let times = times.ok_or_else(|| wrong("`ffn_mult` from 0 to 64 is needed"))?;
            let columns = (2.0 * times * hidden as f64 / 3.0) as u64;
            own.inner = Some(columns.next_multiple_of(256).max(1));
            Fed::Dense
        }
    };
    Ok(Kind { mixer, fed, is_turned: true, own })
}
