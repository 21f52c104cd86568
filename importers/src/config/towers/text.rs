//! Encoders of text: embeddings, blocks of one kind, and the head of the class that the config
//! names.

use ir::diagnostic::Diagnostic;
use ir::id::TensorId;

use super::layer::{Layer, Sight, join};
use super::model::{Model, labels};
use super::net::Flow;
use super::spec::Spec;
use crate::config::request::MAX_EXTENT;

/// The head of a masked token: a dense layer and a norm, then a product with the vocabulary.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words {
    pub dense: &'static str,
    pub has_dense_bias: bool,
    pub norm: &'static str,
    pub decoder: &'static str,
    /// The bias that a tied decoder shares; empty without one.
    pub bias: &'static str,
    /// Whether a decoder of its own has a bias of its own as well.
    pub has_own_bias: bool,
}

/// The heads of a family by class.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heads {
    pub words: Words,
    /// Dense layer on the first token of the model without a task; empty without one.
    pub pooler: &'static str,
    /// Layers behind which the classifier of sequences comes, without the model's prefix.
    pub sequence: &'static [&'static str],
    /// Whether these read the pooler's output.
    pub is_sequence_pooled: bool,
    /// A norm behind the dense layer of the classifier.
    pub sequence_norm: &'static str,
    /// Whether the pooler runs whatever the class reads.
    pub is_pooled_always: bool,
}

/// An encoder of text in numbers and names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text {
    /// Module of the model within the class of a task, with a point behind it.
    pub prefix: &'static str,
    pub vocabulary: u64,
    pub hidden: u64,
    /// Columns of the embeddings.
    pub embedded: u64,
    /// Rows of the table of positions, 0 without one, and how many of them are not used.
    pub positions: (u64, u64),
    /// Kinds of tokens, 0 without a table.
    pub types: u64,
    /// Table of words, and norm of the embeddings.
    pub words: &'static str,
    pub norm: &'static str,
    /// From the columns of the embeddings to those of the model.
    pub project: (&'static str, bool),
    pub n_layers: u64,
    pub layers: &'static str,
    pub layer: Layer,
    /// Groups that share a set of parameters each.
    pub groups: Option<u64>,
    /// Biases by distance that all layers share: their module and rows.
    pub relative: Option<(&'static str, u64)>,
    /// Tokens that a token of a local layer attends to, and every how many layers attend to all.
    pub window: Option<u64>,
    pub last_norm: &'static str,
    pub heads: &'static Heads,
}

/// Classes of a task of encoders.
pub(super) const CLASSES: &[&str] = &[
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

/// What a model is asked for beyond its numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Extras {
    /// Layers that attend to all tokens; all of them where it is empty.
    pub is_global: Vec<bool>,
}

/// Writes an encoder of text and its head.
pub(super) fn write(
    model: &mut Model<'_>,
    spec: &Spec,
    text: &Text,
    extras: &Extras,
) -> Result<Vec<TensorId>, Diagnostic> {
    let classes: Vec<&str> = CLASSES
        .iter()
        .copied()
        .filter(|class| *class != "ForPreTraining" || text.prefix == "electra.")
        .collect();
    let class = model.class(spec, &classes)?;
    let prefix = if class == "Model" { "" } else { text.prefix };
    let longest = match text.positions {
        (0, _) => MAX_EXTENT,
        (rows, unused) => rows.saturating_sub(unused).max(1),
    };
    let sequence = model.sequence(longest)?;
    let ids = model.net.ids("input_ids", &[model.batch, sequence])?;
    let mut state = embedded(model, text, prefix, (ids, sequence))?;
    let crosses = spec.flag("add_cross_attention", false)?;
    let encoded = match crosses {
        true => {
            let shape = [model.batch, sequence, text.hidden];
            let id = model.net.fed("encoder_hidden_states", &shape)?;
            Some(Flow { id, count: model.batch, rows: sequence, width: text.hidden })
        }
        false => None,
    };
    state = blocks(model, text, prefix, state, (encoded, extras))?;
    head(model, spec, text, (class, prefix), state)
}

fn embedded(
    model: &mut Model<'_>,
    text: &Text,
    prefix: &str,
    (ids, sequence): (TensorId, u64),
) -> Result<Flow, Diagnostic> {
    let net = &mut model.net;
    let at = |name: &str| format!("{prefix}{name}");
    let (width, size) = (text.embedded, (model.batch, sequence));
    let mut state = net.table(&at(text.words), &[ids], (text.vocabulary, width), size)?;
    if text.positions.0 > 0 {
        let module = at("embeddings.position_embeddings");
        let own = net.table(&module, &[], (text.positions.0, width), (1, sequence))?;
        state = net.add(&module, "add", [state, own])?;
    }
    if text.types > 0 {
        let kinds = net.ids("token_type_ids", &[model.batch, sequence])?;
        let module = at("embeddings.token_type_embeddings");
        let own = net.table(&module, &[kinds], (text.types, width), size)?;
        state = net.add(&module, "add", [state, own])?;
    }
    let (project, bias) = text.project;
    if !text.norm.is_empty() {
        state = net.norm(&at(text.norm), text.layer.norm, state)?;
    }
    if !project.is_empty() {
        state = net.linear(&at(project), state, text.hidden, bias)?;
    }
    Ok(state)
}

fn blocks(
    model: &mut Model<'_>,
    text: &Text,
    prefix: &str,
    state: Flow,
    (encoded, extras): (Option<Flow>, &Extras),
) -> Result<Flow, Diagnostic> {
    let net = &mut model.net;
    let mut state = state;
    let rows = state.rows;
    let mut biases = Vec::new();
    if let Some((module, n)) = text.relative {
        let module = format!("{prefix}{module}");
        let name = format!("{module}.weight");
        let heads = text.layer.heads;
        biases.push(net.relative(&module, (&name, [n, heads]), [heads, rows, rows])?);
    }
    for i in 0..text.n_layers {
        let at = match text.groups {
            Some(groups) => {
                let group = i.saturating_mul(groups) / text.n_layers;
                format!("{prefix}{}.{group}.albert_layers.0", text.layers)
            }
            None => format!("{prefix}{}.{i}", text.layers),
        };
        if text.layer.names.qkv == ["attention.self.in_proj"] {
            // Keys have no bias; those of the others are parameters beside the fused product.
            for name in ["q_bias", "v_bias"] {
                net.parameter(&format!("{at}.attention.self.{name}"), &[text.layer.width()])?;
            }
        }
        let is_global = extras.is_global.get(i as usize).copied().unwrap_or(true);
        let sight = Sight {
            encoded,
            spans: text.window.filter(|_| !is_global).map(|own| [own.min(rows); 2]),
            biases: &biases,
            // ModernBERT's embeddings have a norm of their own.
            is_bare: i == 0 && text.prefix == "model.",
            ..Sight::default()
        };
        state = net.layer(&text.layer, &at, state, &sight)?;
    }
    if text.last_norm.is_empty() {
        return Ok(state);
    }
    net.norm(&format!("{prefix}{}", text.last_norm), text.layer.norm, state)
}

/// What the class puts behind the last layer.
fn head(
    model: &mut Model<'_>,
    spec: &Spec,
    text: &Text,
    (class, prefix): (&str, &str),
    state: Flow,
) -> Result<Vec<TensorId>, Diagnostic> {
    let heads = text.heads;
    let n = labels(spec)?;
    if heads.is_pooled_always && class != "Model" {
        let size = (state.count, 1, state.width);
        let one = model.net.moved(("", "first", "Slice"), &[state], size)?;
        pooled(model, &format!("{prefix}{}", heads.pooler), one)?;
    }
    let first = |model: &mut Model<'_>| {
        let size = (state.count, 1, state.width);
        model.net.moved(("", "first_token", "Slice"), &[state], size)
    };
    match class {
        "Model" => {
            let mut outputs = vec![state.id];
            if !heads.pooler.is_empty() {
                let one = first(model)?;
                outputs.push(pooled(model, heads.pooler, one)?.id);
            }
            Ok(outputs)
        }
        "ForSequenceClassification" | "ForMultipleChoice" => {
            let n = if class == "ForMultipleChoice" { 1 } else { n };
            let mut one = first(model)?;
            let is_choice = class == "ForMultipleChoice" && !heads.pooler.is_empty();
            let names = match heads.sequence {
                _ if is_choice => &["classifier"][..],
                names => names,
            };
            if heads.is_sequence_pooled || is_choice {
                one = pooled(model, &format!("{prefix}{}", heads.pooler), one)?;
            }
            for (i, name) in names.iter().enumerate() {
                if i + 1 == names.len() {
                    one = model.net.linear(name, one, n, true)?;
                } else if heads.sequence_norm.is_empty() {
                    one = pooled(model, name, one)?;
                } else {
                    one = transformed(model, text, one, text.hidden)?;
                }
            }
            Ok(vec![one.id])
        }
        "ForTokenClassification" => token_labels(model, text, "classifier", state, n),
        "ForQuestionAnswering" => token_labels(model, text, "qa_outputs", state, n),
        "ForPreTraining" => replaced(model, text, state),
        _ => words(model, spec, text, state),
    }
}

/// Which tokens were replaced.
fn replaced(model: &mut Model<'_>, text: &Text, state: Flow) -> Result<Vec<TensorId>, Diagnostic> {
    let module = "discriminator_predictions";
    let dense = model.net.linear(&format!("{module}.dense"), state, state.width, true)?;
    let active = model.net.plain(module, ("activation", text.layer.act), &[dense])?;
    let found = model.net.linear(&format!("{module}.dense_prediction"), active, 1, true)?;
    Ok(vec![found.id])
}

fn token_labels(
    model: &mut Model<'_>,
    text: &Text,
    module: &str,
    state: Flow,
    n: u64,
) -> Result<Vec<TensorId>, Diagnostic> {
    let heads = text.heads;
    let state = match heads.sequence_norm {
        "" => state,
        _ => transformed(model, text, state, text.hidden)?,
    };
    Ok(vec![model.net.linear(module, state, n, true)?.id])
}

/// A dense layer and a pointwise function.
pub(super) fn pooled(model: &mut Model<'_>, module: &str, x: Flow) -> Result<Flow, Diagnostic> {
    let dense = model.net.linear(module, x, x.width, true)?;
    model.net.plain(module, ("activation", "Tanh"), &[dense])
}

/// The dense layer and the norm before the vocabulary.
fn transformed(
    model: &mut Model<'_>,
    text: &Text,
    state: Flow,
    width: u64,
) -> Result<Flow, Diagnostic> {
    let words = text.heads.words;
    if words.dense.is_empty() {
        return Ok(state);
    }
    let dense = model.net.linear(words.dense, state, width, words.has_dense_bias)?;
    let active = model.net.plain(words.dense, ("activation", text.layer.act), &[dense])?;
    model.net.norm(words.norm, text.layer.norm, active)
}

fn words(
    model: &mut Model<'_>,
    spec: &Spec,
    text: &Text,
    state: Flow,
) -> Result<Vec<TensorId>, Diagnostic> {
    let words = text.heads.words;
    let state = transformed(model, text, state, text.embedded)?;
    let is_tied = spec.flag("tie_word_embeddings", true)?;
    let (v, net) = (text.vocabulary, &mut model.net);
    let table = match is_tied {
        true => format!("{}{}.weight", text.prefix, text.words),
        false => format!("{}.weight", words.decoder),
    };
    let mut parameters = vec![net.parameter(&table, &[v, state.width])?];
    if !words.bias.is_empty() {
        parameters.push(net.parameter(words.bias, &[v])?);
    }
    if !is_tied && words.has_own_bias {
        parameters.push(net.parameter(&join(words.decoder, "bias"), &[v])?);
    }
    Ok(vec![net.product(words.decoder, state, v, &parameters)?.id])
}
