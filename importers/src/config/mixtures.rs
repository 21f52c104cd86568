//! Mixtures whose layers with and without experts take turns, as model cards: Qwen2-MoE (shared experts
//! behind a gate) and the Switch Transformer (Fedus et al. 2021, arXiv:2101.03961: T5 with experts).

use ir::card::{Attention, BlockGroup, ExpertCard, FeedForward, Head, ModelCard, TransformerCard};
use ir::diagnostic::Diagnostic;
use serde_json::Value;

use super::architecture::MAX_DEFAULT_SEQUENCE;
use super::card::{grouped, length, routed, signed};
use super::fields::{Fields, invalid, within_budget};
use super::task::{class, unknown};

/// Tokens of a sample of T5, which has no table of positions.
const T5_SEQUENCE: u64 = 512;

/// Weights of products and tables, about.
fn n_weights(card: &TransformerCard, n_blocks: u64) -> u128 {
    let experts = card.experts.unwrap_or_default();
    let [h, f, v, n] = [card.hidden, card.feed_forward, card.vocabulary, n_blocks].map(u128::from);
    let heads = u128::from(card.n_heads + card.n_kv_heads) * u128::from(card.head_dims().0);
    let inner = u128::from(experts.n_experts + experts.n_shared) * u128::from(experts.feed_forward);
    n * (4 * h * heads + 3 * h * (f + inner)) + 2 * h * v
}

/// Reads a Qwen2-MoE, for samples of so many tokens.
///
/// # Errors
/// See [`super::card::card`].
pub(super) fn qwen2_moe(
    fields: Fields<'_>,
    name: &str,
    sequence: Option<u64>,
) -> Result<(ModelCard, Vec<Diagnostic>), Diagnostic> {
    fields.check()?;
    let mixed = qwen2_block(fields, name, sequence)?;
    let (hidden, n_layers) = (mixed.hidden, u64::from(mixed.n_layers));
    within_budget(n_weights(&mixed, n_layers))?;
    let biases = match fields.flag("qkv_bias")? {
        Some(false) => 0,
        _ => (mixed.n_heads + 2 * mixed.n_kv_heads) * mixed.head_dims().0,
    };
    let without = fields.list("mlp_only_layers")?;
    let step = fields.count(&["decoder_sparse_step"], Some(1))?;
    let block = |layer: u64| {
        let is_dense = without.iter().any(|value| value.as_u64() == Some(layer))
            || !(layer + 1).is_multiple_of(step);
        let card = match is_dense {
            true => TransformerCard { experts: None, ..mixed.clone() },
            false => mixed.clone(),
        };
        // The shared experts have a gate of one product.
        let gate = if is_dense { 0 } else { hidden };
        let other_parameters = signed(biases + gate);
        BlockGroup { other_parameters, ..BlockGroup::of_card(card, 1) }
    };
    let model = ModelCard {
        name: name.to_owned(),
        groups: grouped((0..n_layers).map(block)),
        n_predictions: 1,
        other_parameters: [0, signed(hidden)],
        dtype: None,
        stored: None,
        tuning: Default::default(),
    };
    let untold = class(fields)?.filter(|class| !class.ends_with("ForCausalLM")).map(unknown);
    Ok((model, untold.into_iter().collect()))
}

/// A block with experts.
fn qwen2_block(
    fields: Fields<'_>,
    name: &str,
    sequence: Option<u64>,
) -> Result<TransformerCard, Diagnostic> {
    let n = |key: &'static str| fields.count(&[key], None);
    let positions = fields.count(&["max_position_embeddings"], Some(MAX_DEFAULT_SEQUENCE))?;
    let (hidden, heads, n_layers) =
        (n("hidden_size")?, n("num_attention_heads")?, n("num_hidden_layers")?);
    let width = n("moe_intermediate_size")?;
    let shared = n("shared_expert_intermediate_size")?;
    if !shared.is_multiple_of(width) {
        let message = "shared experts as wide as several others are planned";
        return Err(invalid("shared_expert_intermediate_size", &Value::from(shared), message));
    }
    let experts = routed(ExpertCard {
        n_experts: fields.count(&["num_experts", "num_local_experts"], None)?,
        per_token: n("num_experts_per_tok")?,
        feed_forward: width,
        n_shared: shared / width,
        ..ExpertCard::default()
    })?;
    let card = TransformerCard {
        name: name.to_owned(),
        n_layers: n_layers as u32,
        hidden,
        n_heads: heads,
        n_kv_heads: fields.count(&["num_key_value_heads"], Some(heads))?,
        feed_forward: n("intermediate_size")?,
        form: FeedForward::Gated,
        sequence: length(sequence, positions.min(MAX_DEFAULT_SEQUENCE))?,
        vocabulary: n("vocab_size")?,
        experts: Some(experts),
        attention: match fields.optional("head_dim")? {
            Some(dim) if dim.checked_mul(heads) != Some(hidden) => Attention::Heads { dim },
            _ => Attention::Even,
        },
        head: match fields.flag("tie_word_embeddings")? {
            Some(true) => Head::Tied,
            _ => Head::Separate,
        },
    };
    if card.attention == Attention::Even && !hidden.is_multiple_of(heads) {
        return Err(invalid("num_attention_heads", &Value::from(heads), "heads do not divide"));
    }
    Ok(card)
}

/// Reads a Switch Transformer: the layers of the encoder, then those of the decoder, which attends to the
/// encoder as well.
///
/// # Errors
/// See [`super::card::card`].
pub(super) fn switch(
    fields: Fields<'_>,
    name: &str,
    sequence: Option<u64>,
) -> Result<(ModelCard, Vec<Diagnostic>), Diagnostic> {
    fields.check()?;
    let n = |key: &'static str| fields.count(&[key], None);
    if fields.flag("is_gated_act")? == Some(true) {
        let message = "experts of this model have no gates";
        return Err(invalid("is_gated_act", &Value::Bool(true), message));
    }
    let card = switch_block(fields, name, sequence)?;
    let (hidden, width, inner) = (card.hidden, n("d_kv")?, card.feed_forward);
    let layers = [n("num_layers")?, fields.count(&["num_decoder_layers", "num_layers"], None)?];
    within_budget(n_weights(&card, layers[0].saturating_add(layers[1])))?;
    let n_experts = card.experts.map_or(0, |experts| experts.n_experts);
    // Closed forms of plain cards count biases, and two weights of each norm; here norms have one.
    let biases = match card.attention {
        Attention::Even => 4 * hidden,
        _ => 2 * card.n_heads * width + hidden,
    };
    let router = if fields.flag("router_bias")? == Some(true) { signed(n_experts) } else { 0 };
    let block = |is_decoder: bool, step: u64| {
        let card = &card;
        move |layer: u64| {
            let is_mixed = step == 1 || (step > 1 && layer % step == 1);
            let experts = card.experts.filter(|_| is_mixed);
            let parts = if is_mixed { n_experts } else { 1 };
            let norms = if is_decoder { 3 * hidden } else { 2 * hidden };
            let untrue = 4 * hidden + biases + parts * (inner + hidden);
            BlockGroup {
                extra_weights: if is_decoder { 4 * hidden * card.n_heads * width } else { 0 },
                other_parameters: signed(norms) - signed(untrue)
                    + if is_mixed { router } else { 0 },
                ..BlockGroup::of_card(TransformerCard { experts, ..card.clone() }, 1)
            }
        }
    };
    let steps = [
        sparse_step(fields, "num_sparse_encoder_layers", layers[0])?,
        sparse_step(fields, "num_sparse_decoder_layers", layers[1])?,
    ];
    let blocks =
        (0..layers[0]).map(block(false, steps[0])).chain((0..layers[1]).map(block(true, steps[1])));
    let buckets = fields.count(&["relative_attention_num_buckets"], Some(32))? * card.n_heads;
    let first = signed(buckets) - signed(card.sequence * hidden);
    let model = ModelCard {
        name: name.to_owned(),
        groups: grouped(blocks),
        n_predictions: 1,
        other_parameters: [first, signed(buckets + 2 * hidden)],
        dtype: None,
        stored: None,
        tuning: Default::default(),
    };
    let message = "the decoder's attention to the encoder is counted as products alone, and both sides \
                   as if they read samples of the same length";
    let hint = "state the length with --sequence-length";
    Ok((model, vec![Diagnostic::warning("two-sides", message).hint(hint)]))
}

/// A block of the encoder, with experts.
fn switch_block(
    fields: Fields<'_>,
    name: &str,
    sequence: Option<u64>,
) -> Result<TransformerCard, Diagnostic> {
    let n = |key: &'static str| fields.count(&[key], None);
    let (hidden, heads, inner) = (n("d_model")?, n("num_heads")?, n("d_ff")?);
    let width = n("d_kv")?;
    let experts = routed(ExpertCard {
        n_experts: n("num_experts")?,
        // Each token goes to one (section 2.1).
        per_token: 1,
        feed_forward: inner,
        ..ExpertCard::default()
    })?;
    Ok(TransformerCard {
        name: name.to_owned(),
        n_layers: n("num_layers")? as u32,
        hidden,
        n_heads: heads,
        n_kv_heads: heads,
        feed_forward: inner,
        form: FeedForward::Plain,
        sequence: length(sequence, T5_SEQUENCE)?,
        vocabulary: n("vocab_size")?,
        experts: Some(experts),
        attention: match heads.checked_mul(width) {
            Some(all) if all == hidden => Attention::Even,
            _ => Attention::Heads { dim: width },
        },
        head: match fields.flag("tie_word_embeddings")? {
            Some(false) => Head::Separate,
            _ => Head::Tied,
        },
    })
}

/// Every how many layers one has experts: of so many layers, as many as the field says; 0 = none.
fn sparse_step(fields: Fields<'_>, key: &'static str, layers: u64) -> Result<u64, Diagnostic> {
    match fields.get(key).map(|_| fields.whole(key)).transpose()? {
        Some(0) => Ok(0),
        Some(sparse) => Ok(layers / sparse),
        None => Ok((layers / 3).max(1)),
    }
}
