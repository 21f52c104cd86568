//! Encoders of text: embeddings, blocks of one kind, and the head of the class that the config
//! names.

use ir::id::TensorId;
use serde_json::json;

use super::layer::{Biases, Layer, Names, Order, Sight};
use super::model::{Model, Outputs, labels};
use super::names::BERT;
use super::net::{Done, Flow, Norm, join};
use super::spec::Spec;
use crate::config::request::MAX_EXTENT;

/// The heads of a family by class.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heads {
    /// Of a masked token: a dense layer and its norm, the product with the vocabulary, and the bias
    /// that a tied one shares; empty where there is none.
    pub words: [&'static str; 4],
    /// Whether the dense layer has a bias, and a product of its own weights one of its own as well.
    pub word_biases: [bool; 2],
    /// Dense layer on the first token of the model without a task; empty without one.
    pub pooler: &'static str,
    /// Layers behind which the classifier of sequences comes, without the model's prefix.
    pub sequence: &'static [&'static str],
    /// Whether these read the pooler's output.
    pub is_sequence_pooled: bool,
    /// Whether classifiers have the dense layer and the norm of a masked token before them.
    pub is_transformed: bool,
    /// Whether the pooler runs whatever the class reads.
    pub is_pooled_always: bool,
    /// Whether a class tells which tokens were replaced.
    pub tells_replaced: bool,
}

/// A family: traits, and numbers where the config says nothing.
#[derive(Clone, Copy)]
pub(super) struct Family {
    /// Module of the model within the class of a task.
    pub prefix: &'static str,
    pub names: &'static Names,
    pub order: Order,
    pub heads: Heads,
    /// Words, columns, blocks, heads, columns of the feed-forward part.
    pub sizes: [u64; 5],
    /// Positions, and kinds of tokens.
    pub tables: [u64; 2],
    /// Table of words, and norm of the embeddings.
    pub words: &'static str,
    pub norm: &'static str,
    pub layers: &'static str,
    pub last_norm: &'static str,
    /// Changes an encoder by what the config states.
    pub adjust: fn(&mut Text, &Spec) -> Done<()>,
}

/// An encoder of text as the config says.
pub(super) struct Text {
    pub family: Family,
    pub vocabulary: u64,
    pub hidden: u64,
    /// Columns of the embeddings.
    pub embedded: u64,
    /// Rows of the table of positions, 0 without one, and how many of them are not used.
    pub positions: (u64, u64),
    /// Kinds of tokens, 0 without a table.
    pub types: u64,
    /// From the columns of the embeddings to those of the model.
    pub project: &'static str,
    pub n_layers: u64,
    pub layer: Layer,
    /// Groups that share a set of parameters each.
    pub groups: Option<u64>,
    /// Rows of the table of biases by distance that all layers share.
    pub relative: Option<u64>,
    /// Tokens that a token of a local layer attends to.
    pub window: Option<u64>,
    /// Layers that attend to all tokens; all of them where it is empty.
    pub is_global: Vec<bool>,
    /// Whether the first block has no first norm.
    pub is_first_bare: bool,
}

pub(super) const BERT_FORM: Family = Family {
    prefix: "bert",
    names: &BERT,
    order: Order::Post,
    heads: BERT_HEADS,
    sizes: [30_522, 768, 12, 12, 3072],
    tables: [512, 2],
    words: "embeddings.word_embeddings",
    norm: "embeddings.LayerNorm",
    layers: "encoder.layer",
    last_norm: "",
    adjust: |_, _| Ok(()),
};

pub(super) const ROBERTA: Family = Family {
    prefix: "roberta",
    heads: ROBERTA_HEADS,
    sizes: [50_265, 768, 12, 12, 3072],
    // Positions count from behind the padding token's index.
    adjust: |text, spec| {
        text.positions.1 = spec.whole("pad_token_id", 1)?.saturating_add(1);
        Ok(())
    },
    ..BERT_FORM
};

pub(super) const ROBERTA_HEADS: Heads = Heads {
    words: ["lm_head.dense", "lm_head.layer_norm", "lm_head.decoder", "lm_head.bias"],
    word_biases: [true; 2],
    pooler: "pooler.dense",
    sequence: &["classifier.dense", "classifier.out_proj"],
    is_sequence_pooled: false,
    is_transformed: false,
    is_pooled_always: false,
    tells_replaced: false,
};

pub(super) const BERT_HEADS: Heads = Heads {
    words: [
        "cls.predictions.transform.dense",
        "cls.predictions.transform.LayerNorm",
        "cls.predictions.decoder",
        "cls.predictions.bias",
    ],
    sequence: &["classifier"],
    is_sequence_pooled: true,
    ..ROBERTA_HEADS
};

/// Classes of a task of encoders.
const CLASSES: &[&str] = &[
    "ForMaskedLM",
    "ForCausalLM",
    "ForPreTraining",
    "ForSequenceClassification",
    "ForMultipleChoice",
    "ForTokenClassification",
    "ForQuestionAnswering",
    "LMHeadModel",
    "Model",
];

impl Text {
    fn read(family: &Family, spec: &Spec) -> Done<Self> {
        let [vocabulary, hidden, n_layers, heads, inner] = family.sizes;
        let hidden = spec.any(&["hidden_size", "dim"], hidden)?;
        let heads = spec.any(&["num_attention_heads", "n_heads"], heads)?;
        let inner = spec.any(&["intermediate_size", "hidden_dim"], inner)?;
        let layer = Layer::new(family.names, (hidden, heads, inner), family.order)?;
        let act = if spec.has("activation") { "activation" } else { "hidden_act" };
        spec.only("position_embedding_type", &json!("absolute"))?;
        let mut text = Self {
            family: *family,
            vocabulary: spec.n("vocab_size", vocabulary)?,
            hidden,
            embedded: hidden,
            positions: (spec.n("max_position_embeddings", family.tables[0])?, 0),
            types: spec.n("type_vocab_size", family.tables[1])?,
            project: "",
            n_layers: spec.any(&["num_hidden_layers", "n_layers"], n_layers)?,
            layer: layer.acting(spec.text(act, "gelu")?),
            groups: None,
            relative: None,
            window: None,
            is_global: Vec::new(),
            is_first_bare: false,
        };
        (family.adjust)(&mut text, spec)?;
        Ok(text)
    }
}

/// Writes an encoder of text and its head.
pub(super) fn write(model: &mut Model<'_>, spec: &Spec, family: &Family) -> Outputs {
    let text = &Text::read(family, spec)?;
    let known = |class: &&&str| **class != "ForPreTraining" || family.heads.tells_replaced;
    let classes: Vec<&str> = CLASSES.iter().filter(known).copied().collect();
    let class = model.task(spec, family.prefix, &classes)?;
    let longest = match text.positions {
        (0, _) => MAX_EXTENT,
        (rows, unused) => rows.saturating_sub(unused).max(1),
    };
    let sequence = model.sequence(longest)?;
    let state = embedded(model, text, sequence)?;
    let encoded = match spec.flag("add_cross_attention", false)? {
        true => {
            let shape = [model.batch, sequence, text.hidden];
            let id = model.net.fed("encoder_hidden_states", &shape)?;
            Some(Flow { id, count: model.batch, rows: sequence, width: text.hidden })
        }
        false => None,
    };
    let state = blocks(model, text, state, encoded)?;
    head(model, spec, text, class, state)
}

fn embedded(model: &mut Model<'_>, text: &Text, sequence: u64) -> Done {
    let (width, norm) = (text.embedded, text.layer.norm);
    let ids = model.ids("input_ids", sequence)?;
    let (words, size) = (model.at(text.family.words), (text.vocabulary, width));
    let mut state = model.words(&words, ids, size, sequence)?;
    if text.positions.0 > 0 {
        let module = model.at("embeddings.position_embeddings");
        state = model.net.placed(&module, text.positions.0, state)?;
    }
    if text.types > 0 {
        let kinds = model.ids("token_type_ids", sequence)?;
        let module = model.at("embeddings.token_type_embeddings");
        let types = model.words(&module, kinds, (text.types, width), sequence)?;
        state = model.net.add(&module, "add", [state, types])?;
    }
    if !text.family.norm.is_empty() {
        state = model.net.norm(&model.at(text.family.norm), norm, state)?;
    }
    if !text.project.is_empty() {
        state = model.net.linear(&model.at(text.project), state, text.hidden, true)?;
    }
    Ok(state)
}

fn blocks(model: &mut Model<'_>, text: &Text, mut state: Flow, encoded: Option<Flow>) -> Done {
    let (rows, layer, heads) = (state.rows, &text.layer, text.layer.heads);
    let mut biases = Vec::new();
    if let Some(n) = text.relative {
        let module = model.at("encoder.relative_attention_bias");
        biases.push(model.net.relative((&module, "weight"), [n, heads], [heads, rows])?);
    }
    let layers = model.at(text.family.layers);
    for i in 0..text.n_layers {
        let at = match text.groups {
            Some(n) => format!("{layers}.{}.albert_layers.0", i.saturating_mul(n) / text.n_layers),
            None => format!("{layers}.{i}"),
        };
        if layer.names.own.parts == ["in_proj"] {
            // Keys have no bias; those of the others are parameters beside the fused product.
            for name in ["q_bias", "v_bias"] {
                model.net.parameter(&format!("{at}.attention.self.{name}"), &[layer.width()])?;
            }
        }
        let is_global = text.is_global.get(i as usize).copied().unwrap_or(true);
        let spans = text.window.filter(|_| !is_global).map(|window| [window.min(rows); 2]);
        let is_bare = i == 0 && text.is_first_bare;
        let sight = Sight { encoded, spans, biases: &biases, is_bare, ..Sight::default() };
        state = model.net.layer(layer, &at, state, &sight)?;
    }
    match text.family.last_norm {
        "" => Ok(state),
        norm => model.net.norm(&model.at(norm), layer.norm, state),
    }
}

/// What the class puts behind the last layer.
fn head(model: &mut Model<'_>, spec: &Spec, text: &Text, class: &str, state: Flow) -> Outputs {
    let (heads, n) = (text.family.heads, labels(spec)?);
    if heads.is_pooled_always && class != "Model" {
        let one = model.net.one("", "first", state)?;
        model.pooled(&model.at(heads.pooler), one)?;
    }
    match class {
        "Model" if heads.pooler.is_empty() => Ok(vec![state.id]),
        "Model" => {
            let one = model.net.first("", state)?;
            Ok(vec![state.id, model.pooled(heads.pooler, one)?.id])
        }
        "ForSequenceClassification" => sequence(model, text, (n, false), state),
        "ForMultipleChoice" => sequence(model, text, (1, !heads.pooler.is_empty()), state),
        "ForTokenClassification" | "ForQuestionAnswering" => {
            let is_answer = class == "ForQuestionAnswering";
            let module = if is_answer { "qa_outputs" } else { "classifier" };
            let state = match heads.is_transformed {
                true => transformed(model, text, state, text.hidden)?,
                false => state,
            };
            Ok(vec![model.net.linear(module, state, n, true)?.id])
        }
        "ForPreTraining" => {
            let (net, module) = (&mut model.net, "discriminator_predictions");
            let dense = net.linear(&format!("{module}.dense"), state, state.width, true)?;
            let active = net.act(module, text.layer.act, dense)?;
            Ok(vec![net.linear(&format!("{module}.dense_prediction"), active, 1, true)?.id])
        }
        _ => words(model, spec, text, state),
    }
}

/// Labels of a sequence, or of the first token as a choice by the pooler.
fn sequence(
    model: &mut Model<'_>,
    text: &Text,
    (n, is_choice): (u64, bool),
    state: Flow,
) -> Outputs {
    let heads = text.family.heads;
    let names = if is_choice { &["classifier"][..] } else { heads.sequence };
    let mut one = model.net.first("", state)?;
    if heads.is_sequence_pooled || is_choice {
        one = model.pooled(&model.at(heads.pooler), one)?;
    }
    for (i, name) in names.iter().enumerate() {
        one = match heads.is_transformed {
            _ if i + 1 == names.len() => model.net.linear(name, one, n, true)?,
            true => transformed(model, text, one, text.hidden)?,
            false => model.pooled(name, one)?,
        };
    }
    Ok(vec![one.id])
}

/// The dense layer and the norm before the vocabulary.
fn transformed(model: &mut Model<'_>, text: &Text, state: Flow, width: u64) -> Done {
    let [module, norm, ..] = text.family.heads.words;
    let (net, layer) = (&mut model.net, &text.layer);
    let dense = net.linear(module, state, width, text.family.heads.word_biases[0])?;
    let active = net.act(module, layer.act, dense)?;
    net.norm(norm, layer.norm, active)
}

fn words(model: &mut Model<'_>, spec: &Spec, text: &Text, state: Flow) -> Outputs {
    let Heads { words: [_, _, decoder, bias], word_biases, .. } = text.family.heads;
    let state = transformed(model, text, state, text.embedded)?;
    let is_tied = spec.flag("tie_word_embeddings", true)?;
    let table = join(text.family.prefix, text.family.words);
    let owner = if is_tied { table.as_str() } else { decoder };
    let (v, net) = (text.vocabulary, &mut model.net);
    let mut parameters: Vec<TensorId> =
        vec![net.parameter(&format!("{owner}.weight"), &[v, state.width])?];
    if !bias.is_empty() {
        parameters.push(net.parameter(bias, &[v])?);
    }
    if !is_tied && word_biases[1] {
        parameters.push(net.parameter(&join(decoder, "bias"), &[v])?);
    }
    Ok(vec![net.product(decoder, state, v, &parameters)?.id])
}

/// Blocks of tokens that attend to some others (Zaheer et al. 2020, arXiv:2007.14062).
pub(super) fn big_bird(text: &mut Text, spec: &Spec) -> Done<()> {
    // Shorter samples than so many blocks are attended to in full.
    let blocks = 5 + 2 * spec.n("num_random_blocks", 3)?;
    let window = blocks.saturating_mul(spec.n("block_size", 64)?);
    let is_sparse = spec.text("attention_type", "block_sparse")? == "block_sparse";
    text.window = is_sparse.then_some(window);
    text.layer = text.layer.qkv([spec.flag("use_bias", true)?; 3]);
    spec.flag("rescale_embeddings", false)?;
    Ok(())
}

/// Without attention by distance.
pub(super) fn deberta(text: &mut Text, spec: &Spec) -> Done<()> {
    spec.only("relative_attention", &json!(false))?;
    spec.only("legacy", &json!(true))?;
    text.layer = text.layer.qkv([text.layer.names.own.parts.len() > 1; 3]);
    if !spec.flag("position_biased_input", true)? {
        text.positions = (0, 0);
    }
    Ok(())
}

/// Positions turned within attention, and windows in most layers (Warner et al. 2024,
/// arXiv:2412.13663).
pub(super) fn modern(text: &mut Text, spec: &Spec) -> Done<()> {
    if !spec.flag("decoder_bias", true)? {
        text.family.heads.words[3] = "";
    }
    let norm = if spec.flag("norm_bias", false)? { Norm::Layer } else { Norm::Unbiased };
    let out = spec.flag("attention_bias", false)?;
    let biases = Biases { qkv: [out; 3], out, feed: spec.flag("mlp_bias", false)? };
    let layer = text.layer.acting(spec.text("hidden_activation", "gelu")?);
    text.layer = Layer { norm, biases, is_gate_fused: true, is_rotary: true, ..layer };
    let every = spec.n("global_attn_every_n_layers", 3)?;
    let kinds = spec.fields("layer_types").list("layer_types")?;
    let is_global = |i: u64| match kinds.get(i as usize) {
        Some(kind) => kind == "full_attention",
        None => i.is_multiple_of(every),
    };
    text.is_global = (0..text.n_layers).map(is_global).collect();
    spec.text("classifier_pooling", "cls")?;
    spec.text("classifier_activation", "gelu")?;
    (text.positions, text.types, text.is_first_bare) = ((0, 0), 0, true);
    // Half of the window on either side, and the token itself.
    text.window = Some(spec.n("local_attention", 128)? + 1);
    Ok(())
}
