//! T5: an encoder and a decoder that attends to it, op by op, with the module names of the library's
//! own class (Raffel et al., JMLR 21, 2020, section 2.1; `T5ForConditionalGeneration`).

use ir::diagnostic::Diagnostic;
use ir::id::TensorId;

use super::builder::Builder;
use super::fields::{Fields, within_budget};
use super::quantization::Quantization;
use super::task::{class, unknown};
use super::{Request, Written};

/// Tokens of a sample where nobody states them: what T5 was trained on.
const DEFAULT_SEQUENCE: u64 = 512;

/// A T5 in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sizes {
    vocabulary: u64,
    hidden: u64,
    head_dim: u64,
    heads: u64,
    feed_forward: u64,
    encoder_layers: u64,
    decoder_layers: u64,
    buckets: u64,
    /// First products of the feed-forward part: one, or a gate as well.
    ways_in: &'static [&'static str],
    /// Whose weight the head has; `None` without a head.
    head: Option<&'static str>,
    sides: Sides,
}

/// Which parts the class has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sides {
    Encoder,
    Both,
}

impl Sizes {
    fn read(fields: Fields<'_>) -> Result<(Self, Option<Diagnostic>), Diagnostic> {
        fields.check()?;
        let count = |name: &'static str| fields.count(&[name], None);
        let encoder_layers = count("num_layers")?;
        let is_gated =
            fields.text("feed_forward_proj")?.is_some_and(|form| form.starts_with("gated"));
        let head = match fields.flag("tie_word_embeddings")? {
            Some(false) => "lm_head",
            _ => "shared",
        };
        let (sides, head, warning) = match class(fields)? {
            Some("T5EncoderModel") => (Sides::Encoder, None, None),
            Some("T5Model") => (Sides::Both, None, None),
            None | Some("T5ForConditionalGeneration" | "T5WithLMHeadModel") => {
                (Sides::Both, Some(head), None)
            }
            Some(other) => (Sides::Both, Some(head), Some(unknown(other))),
        };
        let own = Self {
            vocabulary: count("vocab_size")?,
            hidden: count("d_model")?,
            head_dim: count("d_kv")?,
            heads: count("num_heads")?,
            feed_forward: count("d_ff")?,
            encoder_layers,
            decoder_layers: fields.count(&["num_decoder_layers"], Some(encoder_layers))?,
            buckets: fields.count(&["relative_attention_num_buckets"], Some(32))?,
            ways_in: if is_gated { &["wi_0", "wi_1"] } else { &["wi"] },
            head,
            sides,
        };
        within_budget(own.n_weights())?;
        Ok((own, warning))
    }

    /// Weights of its products and tables, about.
    fn n_weights(&self) -> u128 {
        let [h, f, v, width] =
            [self.hidden, self.feed_forward, self.vocabulary, self.heads * self.head_dim]
                .map(u128::from);
        let n_layers = u128::from(self.encoder_layers + 2 * self.decoder_layers);
        n_layers * h * (4 * width + 3 * f) + 2 * h * v
    }
}

/// Reads a config.
///
/// # Errors
/// `missing-field`, `invalid-field`, `size-budget`.
pub(super) fn read(request: &Request<'_>) -> Result<Written, Diagnostic> {
    let (sizes, untold) = Sizes::read(request.fields)?;
    let (quantization, unknown) = Quantization::read(request.fields)?;
    let quantization = quantization.filter(|_| !request.options.trains);
    let builder = request.builder(DEFAULT_SEQUENCE, None)?;
    let mut writer = Writer { a: sizes, quantization, builder };
    let output = writer.model()?;
    let warnings = untold.into_iter().chain(unknown).collect();
    let graph = writer.builder.finish(&[output]);
    Ok(Written { graph, sequence: DEFAULT_SEQUENCE, positions: None, warnings })
}

struct Writer {
    a: Sizes,
    quantization: Option<Quantization>,
    builder: Builder,
}

impl Writer {
    fn model(&mut self) -> Result<TensorId, Diagnostic> {
        let mut state = self.embedded("input_ids", "encoder.embed_tokens")?;
        let bias = self.bias("encoder")?;
        for layer in 0..self.a.encoder_layers {
            let block = format!("encoder.block.{layer}.layer");
            state = self.attended(state, &format!("{block}.0"), "SelfAttention", (state, bias))?;
            state = self.fed(state, &format!("{block}.1"))?;
        }
        let encoded = self.norm("encoder.final_layer_norm", state)?;
        if self.a.sides == Sides::Encoder {
            return Ok(encoded);
        }
        let mut state = self.embedded("decoder_input_ids", "decoder.embed_tokens")?;
        let bias = self.bias("decoder")?;
        for layer in 0..self.a.decoder_layers {
            let block = format!("decoder.block.{layer}.layer");
            state = self.attended(state, &format!("{block}.0"), "SelfAttention", (state, bias))?;
            let other = (encoded, None);
            state = self.attended(state, &format!("{block}.1"), "EncDecAttention", other)?;
            state = self.fed(state, &format!("{block}.2"))?;
        }
        let state = self.norm("decoder.final_layer_norm", state)?;
        let (vocabulary, hidden) = (self.a.vocabulary, self.a.hidden);
        let Some(head) = self.a.head else { return Ok(state) };
        let weight = format!("{head}.weight");
        let weight = self.builder.parameter(&weight, &[vocabulary, hidden])?;
        let size = (self.builder.sequence, hidden, vocabulary);
        self.builder.linear(("lm_head", state), &[weight], size)
    }

    fn linear(
        &mut self,
        module: &str,
        input: TensorId,
        (k, n): (u64, u64),
    ) -> Result<TensorId, Diagnostic> {
        let weight = self.builder.weight(self.quantization.as_ref(), module, [n, k])?;
        self.builder.linear((module, input), &[weight], (self.builder.sequence, k, n))
    }

    fn norm(&mut self, module: &str, input: TensorId) -> Result<TensorId, Diagnostic> {
        let hidden = self.a.hidden;
        let weight = self.builder.parameter(&format!("{module}.weight"), &[hidden])?;
        self.builder.norm((module, "RMSNorm"), input, &[weight], hidden)
    }

    /// Rows of the one embedding that both sides share.
    fn embedded(&mut self, ids: &str, module: &str) -> Result<TensorId, Diagnostic> {
        let ids = self.builder.input(ids, &[self.builder.batch, self.builder.sequence])?;
        let (vocabulary, hidden) = (self.a.vocabulary, self.a.hidden);
        let table = self.builder.parameter("shared.weight", &[vocabulary, hidden])?;
        self.builder.embedding(module, &[ids], table, &self.builder.shape(hidden))
    }

    /// Biases of the scores by distance, which all blocks of a side share.
    fn bias(&mut self, side: &str) -> Result<Option<TensorId>, Diagnostic> {
        let module = format!("{side}.block.0.layer.0.SelfAttention.relative_attention_bias");
        let (buckets, heads, s) = (self.a.buckets, self.a.heads, self.builder.sequence);
        let table = self.builder.parameter(&format!("{module}.weight"), &[buckets, heads])?;
        self.builder.embedding(&module, &[], table, &[1, heads, s, s]).map(Some)
    }

    /// Attention to `other`, with the biases of its scores, added to the state.
    fn attended(
        &mut self,
        state: TensorId,
        layer: &str,
        name: &str,
        (other, bias): (TensorId, Option<TensorId>),
    ) -> Result<TensorId, Diagnostic> {
        let module = format!("{layer}.{name}");
        let Sizes { hidden: h, heads, head_dim, .. } = self.a;
        let width = heads.saturating_mul(head_dim);
        let normed = self.norm(&format!("{layer}.layer_norm"), state)?;
        // Keys and values of self-attention come from the normed state, too.
        let source = if other == state { normed } else { other };
        let q = self.linear(&format!("{module}.q"), normed, (h, width))?;
        let k = self.linear(&format!("{module}.k"), source, (h, width))?;
        let v = self.linear(&format!("{module}.v"), source, (h, width))?;
        let sizes = [heads, head_dim, self.builder.sequence];
        let context = self.builder.attention(&module, (&[q, k], v), bias, sizes)?;
        let output = self.linear(&format!("{module}.o"), context, (width, h))?;
        self.builder.plain((layer, "add"), "Add", &[state, output], &self.builder.shape(h))
    }

    fn fed(&mut self, state: TensorId, layer: &str) -> Result<TensorId, Diagnostic> {
        let (h, f) = (self.a.hidden, self.a.feed_forward);
        let normed = self.norm(&format!("{layer}.layer_norm"), state)?;
        let module = format!("{layer}.DenseReluDense");
        let mut wide = Vec::new();
        for name in self.a.ways_in {
            wide.push(self.linear(&format!("{module}.{name}"), normed, (h, f))?);
        }
        let (at, shape) = ((module.as_str(), "activation"), self.builder.shape(f));
        let active = self.builder.plain(at, "Activation", &wide, &shape)?;
        let output = self.linear(&format!("{module}.wo"), active, (f, h))?;
        self.builder.plain((layer, "add"), "Add", &[state, output], &self.builder.shape(h))
    }
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
            let named = format!("{{\"architectures\":[\"{name}\"],");
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

    #[test]
    fn gates_and_heads_of_their_own_are_counted() {
        let count = |text: &str| {
            import(text, &ImportOptions::default()).unwrap().summary.initializer_elements
        };
        let gated = BASE.replace("\"relu\"", "\"gated-gelu\",\"tie_word_embeddings\":false");
        assert_eq!(count(&gated) - count(BASE), 24 * 768 * 3072 + 32_128 * 768);
    }

    #[test]
    fn faults_have_codes() {
        let code = |from: &str, to: &str| {
            import(&BASE.replace(from, to), &ImportOptions::default()).unwrap_err().code
        };
        assert_eq!(code("\"d_kv\":64,", ""), "missing-field");
        assert_eq!(code("\"num_heads\":12", "\"num_heads\":-1"), "invalid-field");
        assert_eq!(code("\"num_layers\":12", "\"num_layers\":1000000000"), "invalid-field");
        let mut options = ImportOptions::default();
        options.dims.insert("sequence".into(), 0);
        assert_eq!(import(BASE, &options).unwrap_err().code, "invalid-field");
    }
}
