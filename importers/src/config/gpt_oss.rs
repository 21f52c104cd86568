//! GPT-OSS as a model card: experts in every block, and attention over a window in every second one
//! (OpenAI 2025, arXiv:2508.10925, section 2).

use ir::card::{Attention, BlockGroup, ExpertCard, FeedForward, Head, ModelCard, TransformerCard};
use ir::diagnostic::Diagnostic;
use serde_json::Value;

use super::architecture::MAX_DEFAULT_SEQUENCE;
use super::card::{grouped, length, signed};
use super::fields::{Fields, invalid, within_budget};
use super::task::{class, unknown};

/// What a layer is called that attends to a window.
const SLIDING: &str = "sliding_attention";

/// Reads the fields, for samples of so many tokens.
///
/// # Errors
/// See [`super::card::card`].
pub(super) fn model(
    fields: Fields<'_>,
    name: &str,
    sequence: Option<u64>,
) -> Result<(ModelCard, Option<Diagnostic>), Diagnostic> {
    fields.check()?;
    let full = block(fields, name, sequence)?;
    let window = fields.count(&["sliding_window"], None)?;
    let n_layers = u64::from(full.n_layers);
    within_budget(n_weights(&full))?;
    let slides = slides(fields)?;
    let dim = full.head_dims().0;
    let other = other_parameters(&full);
    let block = |layer: u64| {
        let attention = match slides(layer) {
            true => Attention::Window { dim, tokens: window },
            false => full.attention,
        };
        let card = TransformerCard { attention, ..full.clone() };
        BlockGroup { other_parameters: signed(other), ..BlockGroup::of_card(card, 1) }
    };
    let model = ModelCard {
        name: name.to_owned(),
        groups: grouped((0..n_layers).map(block)),
        n_predictions: 1,
        other_parameters: [0, signed(full.hidden)],
        dtype: None,
        stored: None,
        tuning: Default::default(),
    };
    let untold = class(fields)?.filter(|class| !class.ends_with("ForCausalLM")).map(unknown);
    Ok((model, untold))
}

/// Which layers attend to a window.
///
/// # Errors
/// `invalid-field`.
pub(super) fn slides(fields: Fields<'_>) -> Result<impl Fn(u64) -> bool + '_, Diagnostic> {
    let types = fields.list("layer_types")?;
    Ok(move |layer: u64| match types.get(layer as usize).and_then(Value::as_str) {
        Some(kind) => kind == SLIDING,
        // The class's own pattern begins with a window.
        None => layer.is_multiple_of(2),
    })
}

/// A block that attends to all tokens.
fn block(
    fields: Fields<'_>,
    name: &str,
    sequence: Option<u64>,
) -> Result<TransformerCard, Diagnostic> {
    let n = |key: &'static str| fields.count(&[key], None);
    let positions = fields.count(&["max_position_embeddings"], Some(MAX_DEFAULT_SEQUENCE))?;
    let inner = n("intermediate_size")?;
    let (n_experts, per_token) = (n("num_local_experts")?, n("num_experts_per_tok")?);
    if per_token > n_experts {
        let message = format!("{per_token} of {n_experts} experts cannot be planned");
        return Err(Diagnostic::input("invalid-field", message));
    }
    if fields.flag("attention_bias")? == Some(false) {
        let message = "attention without biases is not how this model is made";
        return Err(invalid("attention_bias", &Value::Bool(false), message));
    }
    Ok(TransformerCard {
        name: name.to_owned(),
        n_layers: n("num_hidden_layers")? as u32,
        hidden: n("hidden_size")?,
        n_heads: n("num_attention_heads")?,
        n_kv_heads: n("num_key_value_heads")?,
        feed_forward: inner,
        form: FeedForward::Gated,
        sequence: length(sequence, positions.min(MAX_DEFAULT_SEQUENCE))?,
        vocabulary: n("vocab_size")?,
        experts: Some(ExpertCard {
            n_experts,
            per_token,
            feed_forward: inner,
            n_shared: 0,
            has_biases: true,
            ..ExpertCard::default()
        }),
        attention: Attention::Heads { dim: n("head_dim")? },
        head: match fields.flag("tie_word_embeddings")? {
            Some(true) => Head::Tied,
            _ => Head::Separate,
        },
    })
}

/// Biases of queries, keys, values and output, a sink of each head, biases of router and experts.
fn other_parameters(card: &TransformerCard) -> u64 {
    let width = (card.n_heads + 2 * card.n_kv_heads) * card.head_dims().0;
    let experts = card
        .experts
        .map_or(0, |experts| experts.n_experts * (1 + 2 * experts.feed_forward + card.hidden));
    width + card.hidden + card.n_heads + experts
}

/// Weights of products and tables, about.
fn n_weights(card: &TransformerCard) -> u128 {
    let [h, v, layers] = [card.hidden, card.vocabulary, u64::from(card.n_layers)].map(u128::from);
    let heads = u128::from(card.n_heads + card.n_kv_heads) * u128::from(card.head_dims().0);
    let inner = card
        .experts
        .map_or(0, |experts| u128::from(experts.n_experts) * u128::from(experts.feed_forward));
    layers * h * (2 * heads + 3 * inner) + 2 * h * v
}

#[cfg(test)]
mod tests {
    use super::super::card::of_bytes;

    const CONFIG: &str = r#"{"model_type":"gpt_oss","attention_bias":true,"head_dim":64,
        "hidden_size":2880,"intermediate_size":2880,"num_attention_heads":64,
        "num_experts_per_tok":4,"num_hidden_layers":36,"num_key_value_heads":8,
        "num_local_experts":128,"sliding_window":128,"tie_word_embeddings":false,
        "max_position_embeddings":131072,"vocab_size":201088}"#;

    #[test]
    fn every_second_block_attends_to_a_window() {
        let model = of_bytes(CONFIG.as_bytes(), "gpt-oss", Some(4096)).unwrap().0;
        assert_eq!((model.groups.len(), model.n_blocks()), (36, 36));
        let spans: Vec<u64> = model.groups.iter().take(3).map(|g| g.card.span()).collect();
        assert_eq!(spans, [128, 4096, 128]);
        // 128 x 4,096 less half of 128^2, over half of 4,096^2.
        let share = model.groups[0].card.window_share();
        assert!((share - (128.0 * 4096.0 - 8192.0) / (4096.0 * 2048.0)).abs() < 1e-12);
    }

    #[test]
    fn a_config_without_its_biases_or_window_is_refused() {
        let code = |from: &str, to: &str| {
            of_bytes(CONFIG.replace(from, to).as_bytes(), "m", None).unwrap_err().code
        };
        assert_eq!(code("\"attention_bias\":true", "\"attention_bias\":false"), "invalid-field");
        assert_eq!(code("\"sliding_window\":128,", ""), "missing-field");
        assert_eq!(code("per_tok\":4", "per_tok\":400"), "invalid-field");
    }
}
