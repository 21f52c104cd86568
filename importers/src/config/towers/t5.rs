//! T5 and what came from it: an encoder and a decoder that attends to it, with biases by distance
//! (Raffel et al., JMLR 21, 2020, section 2.1).

use ir::diagnostic::Diagnostic;

use super::layer::{Biases, Layer, Order, Sight, op_type};
use super::model::{Model, Outputs};
use super::names::{T5_DECODER, T5_ENCODER, T5_GATED_DECODER, T5_GATED_ENCODER};
use super::net::{Done, Flow, Norm};
use super::spec::Spec;
use crate::config::request::MAX_EXTENT;

/// Tokens of a sample where nobody states them: what T5 and XLNet were trained on.
pub(super) const DEFAULT_SEQUENCE: u64 = 512;

/// A family: traits, and numbers where the config says nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    /// Vocabulary, columns, columns of a head and of the feed-forward part, layers, heads.
    pub sizes: [u64; 6],
    /// The feed-forward part, as the library calls it.
    pub feed: &'static str,
    /// Whether each block has biases of its own, and not those of the first.
    pub has_own_biases: bool,
}

/// A T5 in numbers: of both sides the blocks and how many there are.
struct Sizes {
    vocabulary: u64,
    hidden: u64,
    sides: [(Layer, u64); 2],
    buckets: u64,
    has_own_biases: bool,
}

impl Sizes {
    fn read(family: &Family, spec: &Spec) -> Done<Self> {
        let [vocabulary, hidden, dim, inner, layers, heads] = family.sizes;
        let form = spec.text("feed_forward_proj", family.feed)?;
        let (is_gated, act) = form.split_once('-').map_or((false, form), |(_, act)| (true, act));
        let hidden = spec.any(&["d_model", "hidden_size"], hidden)?;
        let heads = spec.any(&["num_heads", "num_attention_heads"], heads)?;
        let sizes = [heads, spec.n("d_kv", dim)?, spec.n("d_ff", inner)?];
        let layer = |names| Layer {
            norm: Norm::Rms,
            act: op_type(act),
            biases: Biases::all(false),
            ..Layer::of(names, sizes, Order::Pre)
        };
        let [encoder, decoder] = match is_gated {
            true => [&T5_GATED_ENCODER, &T5_GATED_DECODER],
            false => [&T5_ENCODER, &T5_DECODER],
        };
        let n = spec.any(&["num_layers", "num_hidden_layers"], layers)?;
        Ok(Self {
            vocabulary: spec.n("vocab_size", vocabulary)?,
            hidden,
            sides: [(layer(encoder), n), (layer(decoder), spec.n("num_decoder_layers", n)?)],
            buckets: spec.n("relative_attention_num_buckets", 32)?,
            has_own_biases: family.has_own_biases,
        })
    }
}

/// Classes of a task.
const CLASSES: &[&str] = &[
    "ForConditionalGeneration",
    "WithLMHeadModel",
    "EncoderModel",
    "ForTokenClassification",
    "ForSequenceClassification",
    "ForQuestionAnswering",
    "Model",
];

/// Writes both sides, or the encoder alone, and a head.
pub(super) fn write(model: &mut Model<'_>, spec: &Spec, family: &Family) -> Outputs {
    let sizes = Sizes::read(family, spec)?;
    let class = model.class(spec, CLASSES)?;
    if !spec.flag("tie_word_embeddings", true)? {
        let message = "the library's class has one table for words and head whatever \
                       `tie_word_embeddings` says";
        model.warnings.push(
            Diagnostic::warning("tied-head", message)
                .fact("parameters-of-a-head", sizes.vocabulary.saturating_mul(sizes.hidden))
                .hint("a checkpoint with a head of its own has that many parameters more"),
        );
    }
    model.prefix = if class.ends_with("Classification") { "transformer" } else { "" };
    let sequence = model.dimension("sequence", (DEFAULT_SEQUENCE, MAX_EXTENT), "tokens")?;
    let encoded = side(model, &sizes, (0, "encoder", "input_ids"), sequence, None)?;
    match class {
        "EncoderModel" => return Ok(vec![encoded.id]),
        "ForTokenClassification" => return model.labelled(spec, "classifier", encoded),
        _ => {}
    }
    let at = (1, "decoder", "decoder_input_ids");
    let state = side(model, &sizes, at, sequence, Some(encoded))?;
    match class {
        "Model" => Ok(vec![state.id]),
        "ForSequenceClassification" => {
            let one = model.net.one("", "last_token", state)?;
            let dense = model.pooled("classification_head.dense", one)?;
            model.labelled(spec, "classification_head.out_proj", dense)
        }
        "ForQuestionAnswering" => model.labelled(spec, "qa_outputs", state),
        _ => {
            let weight = model.net.parameter("shared.weight", &[sizes.vocabulary, sizes.hidden])?;
            Ok(vec![model.net.product("lm_head", state, sizes.vocabulary, &[weight])?.id])
        }
    }
}

fn side(
    model: &mut Model<'_>,
    sizes: &Sizes,
    (i, name, ids): (usize, &str, &str),
    sequence: u64,
    encoded: Option<Flow>,
) -> Done {
    let ids = model.ids(ids, sequence)?;
    let (at, shared) = (model.at(name), format!("{}.weight", model.at("shared")));
    let ((layer, n), net) = (sizes.sides[i], &mut model.net);
    let table = net.parameter(&shared, &[sizes.vocabulary, sizes.hidden])?;
    let size = (model.batch, sequence, sizes.hidden);
    let mut state = net.rows_of(&format!("{at}.embed_tokens"), &[ids], table, size)?;
    let mut biases = Vec::new();
    for block in 0..n {
        let at = format!("{at}.block.{block}");
        if block == 0 || sizes.has_own_biases {
            let module = format!("{at}.layer.0.SelfAttention.relative_attention_bias");
            let (shape, size) = ([sizes.buckets, layer.heads], [layer.heads, sequence]);
            biases = vec![net.relative((&module, "weight"), shape, size)?];
        }
        let sight = Sight { encoded, biases: &biases, ..Sight::default() };
        state = net.layer(&layer, &at, state, &sight)?;
    }
    net.norm(&format!("{at}.final_layer_norm"), Norm::Rms, state)
}

#[cfg(test)]
mod tests;
