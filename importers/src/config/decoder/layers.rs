//! Which layer is made with what: by the config's lists, else by the family's pattern.

use ir::diagnostic::Diagnostic;
use serde_json::Value;

use super::stated::{PICKED, POOLED};
use super::style::{Mixer, Pattern, Style};
use crate::config::builder::Done;
use crate::config::fields::{Fields, invalid};

/// The feed-forward part of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fed {
    Dense,
    Experts,
    /// A product of the width of the states.
    Linear,
    /// There is none.
    Absent,
}

/// Sizes that a layer has for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Own {
    pub kv_heads: Option<u64>,
    pub inner: Option<u64>,
}

/// A layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub mixer: Mixer,
    pub fed: Fed,
    /// Whether queries and keys are turned by position.
    pub is_turned: bool,
    pub own: Own,
}

/// Letters of an older list, and the types that they stand for.
const LETTERS: [(char, &str); 4] =
    [('M', "mamba"), ('*', "full_attention"), ('-', "mlp"), ('E', "moe")];

/// How many layers there are.
///
/// # Errors
/// `missing-field`, `invalid-field`, `layer-budget`.
pub(super) fn count(fields: Fields<'_>) -> Done<u64> {
    // A list that stands for the number, in a class without such a field.
    let stated = ["num_hidden_layers", "n_layer", "n_layers", "num_layers"];
    if stated.iter().all(|name| fields.get(name).is_none()) {
        let n = types(fields)?.len();
        if n > 0 {
            let value = Value::from(n);
            return crate::config::fields::number("num_hidden_layers", &value, 1);
        }
    }
    fields.count(&stated, None)
}

/// The types that a config lists.
fn types(fields: Fields<'_>) -> Done<Vec<&str>> {
    for name in ["layer_types", "layers_block_type", "attention_layers"] {
        let list = fields.list(name)?;
        if !list.is_empty() {
            let text = |value: &'_ Value| invalid(name, value, "names of types are needed");
            return list.iter().map(|value| value.as_str().ok_or_else(|| text(value))).collect();
        }
    }
    let flags = fields.list("hybrid_layer_pattern")?;
    if !flags.is_empty() {
        let name = |flag: &Value| match flag.as_u64() {
            Some(0) => Ok("full_attention"),
            Some(1) => Ok("sliding_attention"),
            _ => Err(invalid("hybrid_layer_pattern", flag, "0 or 1 is needed")),
        };
        return flags.iter().map(name).collect();
    }
    let Some(letters) = fields.text("hybrid_override_pattern")? else {
        return super::stated::types(fields);
    };
    let known = |letter| LETTERS.iter().find(|(key, _)| *key == letter).map(|(_, name)| *name);
    let all: Option<Vec<&str>> = letters.chars().map(known).collect();
    all.ok_or_else(|| {
        let value = Value::from(letters);
        invalid("hybrid_override_pattern", &value, "only the letters M, *, - and E are understood")
    })
}

/// What each layer is made with.
///
/// # Errors
/// `invalid-field`.
pub(super) fn kinds(style: &Style, fields: Fields<'_>) -> Done<Vec<Kind>> {
    if let Some(kinds) = super::stated::searched(fields)? {
        return Ok(kinds);
    }
    let n_layers = count(fields)?;
    let listed = types(fields)?;
    if !listed.is_empty() && listed.len() as u64 != n_layers {
        let message = format!("{} types of layers are listed for {n_layers} layers", listed.len());
        return Err(Diagnostic::input("invalid-field", message)
            .hint("list one type for each layer, or none"));
    }
    let unturned = fields.list("no_rope_layers")?;
    let interval = fields.count(&["no_rope_layer_interval"], Some(4))?;
    let crossing = fields.list("cross_attention_layers")?;
    let mut all = Vec::new();
    for layer in 0..n_layers {
        let stated = unturned.get(layer as usize).and_then(Value::as_u64);
        let is_known = fields.get("no_rope_layer_interval").is_some();
        let is_turned =
            stated.map_or(!is_known || !(layer + 1).is_multiple_of(interval), |n| n > 0);
        if crossing.iter().any(|index| index.as_u64() == Some(layer)) {
            let (mixer, fed, own) = (Mixer::Cross, Fed::Dense, Own::default());
            all.push(Kind { mixer, fed, is_turned: false, own });
            continue;
        }
        let (mixer, fed) = match (listed.get(layer as usize), style.pattern) {
            (_, Pattern::Only(mixer)) => (mixer, None),
            (_, Pattern::Picked) => (Mixer::Picked(has_index(fields, layer)?), None),
            (Some(name), _) => named(style, fields, name)?,
            (None, pattern) => {
                named(style, fields, &by_pattern(pattern, fields, layer, is_turned)?)?
            }
        };
        let fed = match (fed, mixer) {
            (Some(fed), _) => fed,
            (None, _) if !style.feeds => Fed::Absent,
            (None, _) if is_sparse(style, fields, layer, n_layers)? => Fed::Experts,
            (None, _) => Fed::Dense,
        };
        all.push(Kind { mixer, fed, is_turned, own: Own::default() });
    }
    Ok(all)
}

/// What a type of layers is made with; a feed-forward part that the type itself says.
fn named(style: &Style, fields: Fields<'_>, name: &str) -> Done<(Mixer, Option<Fed>)> {
    let window = |tokens: Option<u64>| tokens.map_or(Mixer::Full, Mixer::Window);
    let is_allowed = fields.flag("use_sliding_window")? != Some(false);
    Ok(match name {
        "full_attention" | "attention" | "global" => (Mixer::Full, None),
        "sliding_attention" | "local" | "local_attention" => {
            let names = ["sliding_window", "window_size", "attention_window_size"];
            let name = names.iter().find(|name| fields.get(name).is_some());
            // Without a window some configs say 0.
            let tokens = name.map_or(Ok(0), |name| fields.whole(name))?;
            (window(Some(tokens).filter(|tokens| is_allowed && *tokens > 0)), None)
        }
        "chunked_attention" => (window(fields.optional("attention_chunk_size")?), None),
        PICKED if style.attention.is_entries => (Mixer::Compressed(true), None),
        POOLED if style.attention.is_entries => (Mixer::Compressed(false), None),
        "minimax_m3_sparse" => (Mixer::Blocks, None),
        "linear_attention" | "mamba" => (style.linear, None),
        "conv" => (Mixer::Convolution, None),
        "recurrent" => (Mixer::Recurrence, None),
        "hybrid" if !style.feeds => (Mixer::Shared, None),
        "moe" if style.mixture.is_some() => (Mixer::None, Some(Fed::Experts)),
        "mlp" => (Mixer::None, Some(Fed::Dense)),
        other => {
            let why = "layers of this type are not understood in this family";
            return Err(invalid("layer_types", &Value::from(other), why));
        }
    })
}

/// The type of a layer that no list names.
fn by_pattern<'a>(
    pattern: Pattern,
    fields: Fields<'a>,
    layer: u64,
    is_turned: bool,
) -> Done<std::borrow::Cow<'a, str>> {
    let windows = |slides: bool| if slides { "sliding_attention" } else { "full_attention" };
    let is_allowed = fields.flag("use_sliding_window")? != Some(false);
    let of = |is_first: bool, first: &'static str, second: &'static str| {
        if is_first { first } else { second }
    };
    Ok(match pattern {
        Pattern::All(name) => name,
        Pattern::Every(n, first, second) => {
            let n = fields.count(&["global_attn_every_n_layers"], Some(n))?;
            // Of a config with a list of types it may be a text.
            let stated = fields.get("sliding_window_pattern").and_then(Value::as_u64);
            let n = stated.filter(|n| *n > 0).unwrap_or(n);
            of((layer + 1).is_multiple_of(n), first, second)
        }
        Pattern::FirstAndEvery(n) => windows(layer > 0 && !(layer + 1).is_multiple_of(n)),
        Pattern::Leading(n) => windows(!layer.is_multiple_of(n)),
        Pattern::Late => {
            let first = fields.whole("max_window_layers")?;
            windows(is_allowed && layer >= first)
        }
        Pattern::Allowed => windows(is_allowed),
        Pattern::Unturned(turned, unturned) => of(is_turned, turned, unturned),
        Pattern::Period(other) => {
            let indices = fields.list("attn_layer_indices")?;
            let period = fields.optional("attn_layer_period")?;
            let offset = fields.whole("attn_layer_offset")?;
            let is_listed = indices.iter().any(|index| index.as_u64() == Some(layer));
            let is_due = period.is_some_and(|period| layer % period == offset);
            of(is_listed || is_due, "full_attention", other)
        }
        Pattern::Indices(other) => {
            let indices = fields.list("full_attn_idxs")?;
            let is_listed = indices.iter().any(|index| index.as_u64() == Some(layer));
            of(is_listed || indices.is_empty(), "full_attention", other)
        }
        Pattern::Cycle => {
            let types = fields.list("block_types")?;
            let index = (layer as usize).checked_rem(types.len()).unwrap_or(0);
            let name = types.get(index).and_then(Value::as_str);
            return Ok(name.unwrap_or("recurrent").into());
        }
        Pattern::Runs => return run(fields, layer).map(Into::into),
        Pattern::Interleaved(first, second) => {
            of(layer < 2 || layer.is_multiple_of(2), first, second)
        }
        Pattern::Only(_) | Pattern::Picked => "full_attention",
    }
    .into())
}

/// Whether a layer picks by an index of its own: where no list says so, by how many layers share one.
fn has_index(fields: Fields<'_>, layer: u64) -> Done<bool> {
    let types = fields.list("indexer_types")?;
    if !types.is_empty() {
        let kind = types.get(layer as usize).and_then(Value::as_str);
        return match kind {
            Some("full") => Ok(true),
            Some("shared") if layer > 0 => Ok(false),
            _ => {
                let why = "`full` or `shared` is needed for each layer, `full` for the first";
                Err(invalid("indexer_types", &Value::from(types), why))
            }
        };
    }
    if let Some(letters) = fields.text("index_topk_pattern")? {
        return Ok(letters.chars().nth(layer as usize) != Some('S'));
    }
    let every = fields.count(&["index_topk_freq"], Some(1))?;
    let offset = fields.optional("index_skip_topk_offset")?.unwrap_or(2);
    Ok((layer + 1).saturating_sub(offset).is_multiple_of(every))
}

/// The type of a layer by pairs of lists of types and how often they follow each other.
fn run(fields: Fields<'_>, layer: u64) -> Done<&str> {
    let mut left = layer;
    for pair in fields.list("attention_types")? {
        let wrong = || invalid("attention_types", pair, "pairs of types and counts are needed");
        let items = pair.as_array().ok_or_else(wrong)?;
        let [types, times] = items.as_slice() else { return Err(wrong()) };
        let (types, times) =
            (types.as_array().ok_or_else(wrong)?, times.as_u64().ok_or_else(wrong)?);
        let n = types.len() as u64;
        match n.checked_mul(times) {
            Some(all) if all <= left => left -= all,
            _ => {
                let name = types.get((left % n.max(1)) as usize).and_then(Value::as_str);
                return name.ok_or_else(wrong);
            }
        }
    }
    // The class's own pattern.
    Ok(if layer.is_multiple_of(2) { "global" } else { "local" })
}

/// Whether a layer has experts.
fn is_sparse(style: &Style, fields: Fields<'_>, layer: u64, n_layers: u64) -> Done<bool> {
    let Some(mixture) = style.mixture else { return Ok(false) };
    let has = |list: &[Value]| list.iter().any(|index| index.as_u64() == Some(layer));
    if let Some(kind) = fields.list("mlp_layer_types")?.get(layer as usize) {
        return Ok(kind.as_str() == Some("sparse"));
    }
    let list = fields.list("moe_layers")?;
    if fields.get("moe_layers").is_some() {
        return Ok(has(list));
    }
    if has(fields.list("mlp_only_layers")?) {
        return Ok(false);
    }
    let steps: &[&'static str] =
        &["interleave_moe_layer_step", "decoder_sparse_step", "moe_layer_interval"];
    if let Some(list @ Value::Array(flags)) = fields.get("moe_layer_freq") {
        let flag = flags.get(layer as usize).and_then(Value::as_u64);
        let wrong = || invalid("moe_layer_freq", list, "one number for each layer is needed");
        return flag.map(|flag| flag > 0).ok_or_else(wrong);
    }
    let freq = fields.count(&["moe_layer_freq"], Some(1))?;
    let step = fields.count(steps, Some(1))?;
    let dense = match ["first_k_dense_replace", "num_dense_layers"]
        .iter()
        .find(|n| fields.get(n).is_some())
    {
        Some(name) => fields.whole(name)?,
        None => mixture.n_dense,
    };
    let start = fields.whole("moe_layer_start_index")?;
    let end = fields.get("moe_layer_end_index").and_then(Value::as_u64).unwrap_or(n_layers);
    let is_due = match fields.optional("expert_layer_period")? {
        Some(period) => layer % period == fields.whole("expert_layer_offset")?,
        None => (layer + 1).is_multiple_of(step) && layer.is_multiple_of(freq),
    };
    let n_experts = super::sizes::n_experts(fields)?;
    Ok(is_due
        && layer >= dense.max(start)
        && layer <= end
        && n_experts > u64::from(mixture.is_many))
}
