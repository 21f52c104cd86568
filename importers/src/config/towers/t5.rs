//! T5 and what came from it: an encoder and a decoder that attends to it, with biases by distance
//! (Raffel et al., JMLR 21, 2020, section 2.1).

use ir::diagnostic::Diagnostic;
use ir::id::TensorId;

use super::layer::{Biases, Layer, Names, Order, Sight, op_type};
use super::model::{Model, labels, written};
use super::net::{Flow, Norm};
use super::spec::Spec;
use super::text;
use crate::config::request::{MAX_EXTENT, Request, Written};

pub(crate) const TYPES: &[&str] = &["mt5", "t5", "umt5"];

/// Tokens of a sample where nobody states them: what T5 was trained on.
const DEFAULT_SEQUENCE: u64 = 512;

const ENCODER: Names = Names {
    qkv: &["layer.0.SelfAttention.q", "layer.0.SelfAttention.k", "layer.0.SelfAttention.v"],
    out: "layer.0.SelfAttention.o",
    norms: ["layer.0.layer_norm", "layer.1.layer_norm"],
    ways: &["layer.1.DenseReluDense.wi"],
    down: "layer.1.DenseReluDense.wo",
    cross: [
        "layer.1.EncDecAttention.q",
        "layer.1.EncDecAttention.k",
        "layer.1.EncDecAttention.v",
        "layer.1.EncDecAttention.o",
        "layer.1.layer_norm",
    ],
    scales: ["", ""],
};

const GATED_ENCODER: Names =
    Names { ways: &["layer.1.DenseReluDense.wi_0", "layer.1.DenseReluDense.wi_1"], ..ENCODER };

const DECODER: Names = Names {
    norms: ["layer.0.layer_norm", "layer.2.layer_norm"],
    ways: &["layer.2.DenseReluDense.wi"],
    down: "layer.2.DenseReluDense.wo",
    ..ENCODER
};

const GATED_DECODER: Names =
    Names { ways: &["layer.2.DenseReluDense.wi_0", "layer.2.DenseReluDense.wi_1"], ..DECODER };

/// A T5 in numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    vocabulary: u64,
    pub hidden: u64,
    encoder: Layer,
    decoder: Layer,
    n_layers: [u64; 2],
    buckets: u64,
    /// Whether each block has biases of its own, and not those of the first.
    has_own_biases: bool,
}

/// Numbers of the smallest model of each kind: the defaults.
pub(super) fn sizes(spec: &Spec) -> Result<Sizes, Diagnostic> {
    let kind = spec.text("model_type", "t5")?;
    let (base, form) = match kind {
        "mt5" | "umt5" => ([250_112, 512, 64, 1024, 8, 6], "gated-gelu"),
        _ => ([32_128, 512, 64, 2048, 6, 8], "relu"),
    };
    let [vocabulary, hidden, dim, inner, layers, heads] = base;
    let form = spec.text("feed_forward_proj", form)?;
    let (is_gated, act) = form.split_once('-').map_or((false, form), |(_, act)| (true, act));
    let hidden = spec.any(&["d_model", "hidden_size"], hidden)?;
    let heads = spec.any(&["num_heads", "num_attention_heads"], heads)?;
    let layer = |names| Layer {
        names,
        heads,
        kv_heads: heads,
        dim: 0,
        inner: 0,
        norm: Norm::Rms,
        order: Order::Pre,
        act: op_type(act),
        biases: Biases::all(false),
        is_gate_fused: false,
        is_rotary: false,
    };
    let (dim, inner) = (spec.n("d_kv", dim)?, spec.n("d_ff", inner)?);
    let layer = |names| Layer { dim, inner, ..layer(names) };
    let (encoder, decoder) =
        if is_gated { (&GATED_ENCODER, &GATED_DECODER) } else { (&ENCODER, &DECODER) };
    let n_layers = spec.any(&["num_layers", "num_hidden_layers"], layers)?;
    Ok(Sizes {
        vocabulary: spec.n("vocab_size", vocabulary)?,
        hidden,
        encoder: layer(encoder),
        decoder: layer(decoder),
        n_layers: [n_layers, spec.n("num_decoder_layers", n_layers)?],
        buckets: spec.n("relative_attention_num_buckets", 32)?,
        has_own_biases: kind == "umt5",
    })
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

/// Reads a config of one of [`TYPES`].
pub(crate) fn read(request: &Request<'_>) -> Result<Written, Diagnostic> {
    written(request, write)
}

fn write(model: &mut Model<'_>, spec: &Spec) -> Result<Vec<TensorId>, Diagnostic> {
    let own = sizes(spec)?;
    let class = model.class(spec, CLASSES)?;
    if !spec.flag("tie_word_embeddings", true)? {
        let message = "the library's class has one table for words and head whatever \
                       `tie_word_embeddings` says";
        model.warnings.push(
            Diagnostic::warning("tied-head", message)
                .fact("parameters-of-a-head", own.vocabulary.saturating_mul(own.hidden))
                .hint("a checkpoint with a head of its own has that many parameters more"),
        );
    }
    let prefix = if class.ends_with("Classification") { "transformer." } else { "" };
    let sequence = model.dimension("sequence", (DEFAULT_SEQUENCE, MAX_EXTENT), "tokens")?;
    let ids = model.net.ids("input_ids", &[model.batch, sequence])?;
    let encoded = encoder(model, &own, prefix, (ids, sequence))?;
    match class {
        "EncoderModel" => return Ok(vec![encoded.id]),
        "ForTokenClassification" => {
            return Ok(vec![model.net.linear("classifier", encoded, labels(spec)?, true)?.id]);
        }
        _ => {}
    }
    let ids = model.net.ids("decoder_input_ids", &[model.batch, sequence])?;
    let state = side(model, &own, (prefix, 1), (ids, sequence), Some(encoded))?;
    let net = &mut model.net;
    match class {
        "Model" => Ok(vec![state.id]),
        "ForSequenceClassification" => {
            let size = (state.count, 1, state.width);
            let one = net.moved(("", "last_token", "Slice"), &[state], size)?;
            let dense = text::pooled(model, "classification_head.dense", one)?;
            let n = labels(spec)?;
            Ok(vec![model.net.linear("classification_head.out_proj", dense, n, true)?.id])
        }
        "ForQuestionAnswering" => {
            Ok(vec![net.linear("qa_outputs", state, labels(spec)?, true)?.id])
        }
        _ => {
            let shape = [own.vocabulary, own.hidden];
            let weight = net.parameter("shared.weight", &shape)?;
            Ok(vec![net.product("lm_head", state, own.vocabulary, &[weight])?.id])
        }
    }
}

/// The encoder of the model at `prefix`.
pub(super) fn encoder(
    model: &mut Model<'_>,
    own: &Sizes,
    prefix: &str,
    ids: (TensorId, u64),
) -> Result<Flow, Diagnostic> {
    side(model, own, (prefix, 0), ids, None)
}

fn side(
    model: &mut Model<'_>,
    own: &Sizes,
    (prefix, i): (&str, usize),
    (ids, sequence): (TensorId, u64),
    encoded: Option<Flow>,
) -> Result<Flow, Diagnostic> {
    let (net, at) = (&mut model.net, format!("{prefix}{}", ["encoder", "decoder"][i]));
    let layer = [own.encoder, own.decoder][i];
    let table = net.parameter(&format!("{prefix}shared.weight"), &[own.vocabulary, own.hidden])?;
    let size = (model.batch, sequence, own.hidden);
    let mut state = net.rows_of(&format!("{at}.embed_tokens"), &[ids], table, size)?;
    let mut biases = Vec::new();
    for block in 0..own.n_layers[i] {
        let at = format!("{at}.block.{block}");
        if block == 0 || own.has_own_biases {
            let module = format!("{at}.layer.0.SelfAttention.relative_attention_bias");
            let name = format!("{module}.weight");
            let shape = [own.buckets, layer.heads];
            let size = [layer.heads, sequence, sequence];
            biases = vec![net.relative(&module, (&name, shape), size)?];
        }
        let sight = Sight { encoded, biases: &biases, ..Sight::default() };
        state = net.layer(&layer, &at, state, &sight)?;
    }
    net.norm(&format!("{at}.final_layer_norm"), Norm::Rms, state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::{Import, ImportOptions};

    const BASE: &str = r#"{"model_type":"t5","vocab_size":32128,"d_model":768,"d_kv":64,
        "d_ff":3072,"num_layers":12,"num_decoder_layers":12,"num_heads":12,
        "relative_attention_num_buckets":32,"feed_forward_proj":"relu"}"#;

    fn import(text: &str, options: &ImportOptions) -> Result<Import, Diagnostic> {
        crate::read_bytes("config.json", text.as_bytes(), options)
    }

    /// T5-base has 222,903,552 parameters (`T5ForConditionalGeneration`, transformers 5.23).
    #[test]
    fn parameters_are_those_of_the_library() {
        let import = import(BASE, &ImportOptions::default()).unwrap();
        assert_eq!(import.summary.initializer_elements, 222_903_552);
        assert_eq!(import.graph.inputs.len(), 2);
        assert_eq!(import.graph.tensor(import.graph.inputs[0]).shape, [1, 512]);
    }

    /// Google's T5 v1.1 text encoders drop the decoder: of T5-base 109,628,544 parameters are left
    /// (`T5EncoderModel`, transformers 5.23), by hand the embedding, 12 blocks of 7,079,424 with two
    /// norms, biases of 32 x 12 and the last norm.
    #[test]
    fn classes_without_decoder_or_head_have_none() {
        let class = |name: &str| {
            let named = format!("{{\"torch_dtype\":\"float32\",\"architectures\":[\"{name}\"],");
            let read = import(&BASE.replacen('{', &named, 1), &ImportOptions::default()).unwrap();
            (read.summary.initializer_elements, read.graph.inputs.len(), read.warnings.len())
        };
        let block = 4 * 768 * 768 + 2 * 768 * 3072 + 2 * 768;
        let encoder = 32_128 * 768 + 12 * block + 32 * 12 + 768;
        assert_eq!(encoder, 109_628_544);
        // One warning is of the length that is assumed.
        assert_eq!(class("T5EncoderModel"), (encoder, 1, 1));
        assert_eq!(class("T5Model"), (222_903_552, 2, 1));
        assert_eq!(class("T5ForConditionalGeneration"), (222_903_552, 2, 1));
        assert_eq!(class("T5ForOther"), (222_903_552, 2, 2));
    }

    /// Products of one block of each side, by hand.
    #[test]
    fn work_is_that_of_the_products() {
        let tiny = BASE.replace("\"num_layers\":12", "\"num_layers\":1");
        let tiny = tiny.replace("\"num_decoder_layers\":12", "\"num_decoder_layers\":1");
        let (s, h, f, v) = (512_u64, 768_u64, 3072_u64, 32_128_u64);
        let attention = s * 4 * h * h + 2 * s * s * h;
        let products = 3 * attention + 2 * 2 * s * h * f + s * h * v;
        let own = import(&tiny, &ImportOptions::default()).unwrap().summary.forward_flops;
        assert_eq!(own, 2 * products);
    }

    /// The class of transformers 5.23 ties the head in any case; a checkpoint may have its own.
    #[test]
    fn gates_are_counted_and_heads_of_their_own_are_warned_of() {
        let read = |text: &str| import(text, &ImportOptions::default()).unwrap();
        let gated = read(&BASE.replace("\"relu\"", "\"gated-gelu\",\"tie_word_embeddings\":false"));
        let plain = read(BASE).summary.initializer_elements;
        assert_eq!(gated.summary.initializer_elements - plain, 24 * 768 * 3072);
        assert!(gated.warnings.iter().any(|own| own.code == "tied-head"));
    }

    #[test]
    fn faults_have_codes() {
        let code = |from: &str, to: &str| {
            import(&BASE.replace(from, to), &ImportOptions::default()).unwrap_err().code
        };
        assert_eq!(code("\"d_kv\":64", "\"d_kv\":\"64\""), "invalid-field");
        assert_eq!(code("\"num_heads\":12", "\"num_heads\":-1"), "invalid-field");
        assert_eq!(code("\"num_layers\":12", "\"num_layers\":1000000000"), "invalid-field");
        let mut options = ImportOptions::default();
        options.dims.insert("sequence".into(), 0);
        assert_eq!(import(BASE, &options).unwrap_err().code, "invalid-field");
    }
}
