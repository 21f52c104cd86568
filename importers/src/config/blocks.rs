//! The blocks of a transformer, with the module names of the library's own classes.

mod attention;
mod feed_forward;
mod head;
mod names;

use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::id::TensorId;

use crate::config::architecture::{Architecture, Bias, Cross, Family};
use crate::config::builder::Builder;
use crate::config::quantization::Quantization;
use crate::config::request::{Request, Written};
use names::{BERT, GPT2, LLAMA, Names};

/// Reads a config whose layers are all alike.
///
/// # Errors
/// See [`super::read`].
pub(super) fn read(request: &Request<'_>) -> Result<Written, Diagnostic> {
    let own = Architecture::read(request.fields.0)?;
    let (graph, tokens) = graph(&own, request)?;
    let (sequence, positions) = (Some(own.default_sequence()), Some(own.positions));
    Ok(Written { graph, tokens: Some(tokens), sequence, positions, warnings: own.warnings })
}

/// Writes the graph of a model; with it the tokens of a sample.
fn graph(a: &Architecture, request: &Request<'_>) -> Result<(Graph, u64), Diagnostic> {
    let names = match a.family {
        Family::Gpt2 => GPT2,
        Family::Bert => BERT,
        Family::Llama => LLAMA,
    };
    let names = if a.task.is_bare { names.bare() } else { names };
    let longest = (a.family != Family::Llama).then_some(a.positions);
    let builder = request.builder(a.default_sequence(), longest)?;
    let sequence = builder.sequence;
    let quantization = a.quantization.as_ref().filter(|_| !request.options.trains);
    let (span, encoded) = (sequence, None);
    let mut writer = Writer { a, names, span, encoded, quantization, builder };
    let mut state = writer.embedding()?;
    for layer in 0..a.n_layers {
        writer.span = a.span(layer, sequence);
        state = writer.layer(state, &format!("{}.{layer}", names.layers))?;
    }
    let outputs = writer.head(state)?;
    Ok((writer.builder.finish(&outputs), sequence))
}

struct Writer<'a> {
    a: &'a Architecture,
    names: Names,
    /// Tokens that a token of this layer attends to.
    span: u64,
    /// States of an encoder, where layers attend to them.
    encoded: Option<TensorId>,
    /// Of products whose weights are held in fewer bits.
    quantization: Option<&'a Quantization>,
    builder: Builder,
}

impl Writer<'_> {
    /// `x W (+ b)` over the last axis.
    fn linear(
        &mut self,
        module: &str,
        input: TensorId,
        (k, n): (u64, u64),
        bias: Bias,
    ) -> Result<TensorId, Diagnostic> {
        let mut parameters = vec![self.builder.weight(self.quantization, module, [n, k])?];
        if bias == Bias::Added {
            parameters.push(self.builder.parameter(&format!("{module}.bias"), &[n])?);
        }
        self.builder.linear((module, input), &parameters, (self.builder.sequence, k, n))
    }

    /// An op without parameters or products over `[batch, sequence, width]`.
    fn plain(
        &mut self,
        module: &str,
        part: &str,
        op_type: &str,
        inputs: &[TensorId],
        width: u64,
    ) -> Result<TensorId, Diagnostic> {
        self.builder.plain((module, part), op_type, inputs, &self.builder.shape(width))
    }

    /// A norm whose weight has `weight` elements, over `[batch, sequence, width]`.
    fn norm(
        &mut self,
        module: &str,
        input: TensorId,
        weight: u64,
        width: u64,
    ) -> Result<TensorId, Diagnostic> {
        let mut parameters = vec![self.builder.parameter(&format!("{module}.weight"), &[weight])?];
        let mut op_type = "RMSNorm";
        if self.a.family != Family::Llama {
            parameters.push(self.builder.parameter(&format!("{module}.bias"), &[weight])?);
            op_type = "LayerNorm";
        }
        self.builder.norm((module, op_type), input, &parameters, width)
    }

    fn table(
        &mut self,
        module: &str,
        inputs: &[TensorId],
        rows: u64,
    ) -> Result<TensorId, Diagnostic> {
        let hidden = self.a.hidden;
        let table = self.builder.parameter(&format!("{module}.weight"), &[rows, hidden])?;
        self.builder.embedding(module, inputs, table, &self.builder.shape(hidden))
    }

    fn embedding(&mut self) -> Result<TensorId, Diagnostic> {
        let ids = self.builder.input("input_ids", &[self.builder.batch, self.builder.sequence])?;
        let (h, names) = (self.a.hidden, self.names);
        let mut state = self.table(names.tokens, &[ids], self.a.vocabulary)?;
        if self.a.cross == Cross::Attended {
            let shape = self.builder.shape(h);
            self.encoded = Some(self.builder.states("encoder_hidden_states", &shape)?);
        }
        if self.a.family == Family::Llama {
            return Ok(state);
        }
        let positions = self.table(names.positions, &[], self.a.positions)?;
        state = self.plain(names.positions, "add", "Add", &[state, positions], h)?;
        if self.a.family == Family::Bert {
            let kinds = self
                .builder
                .input("token_type_ids", &[self.builder.batch, self.builder.sequence])?;
            let module = format!("{}embeddings.token_type_embeddings", names.prefix);
            let kinds = self.table(&module, &[kinds], self.a.token_types)?;
            state = self.plain(&module, "add", "Add", &[state, kinds], h)?;
            state = self.norm(names.last_norm, state, h, h)?;
        }
        Ok(state)
    }

    fn layer(&mut self, state: TensorId, layer: &str) -> Result<TensorId, Diagnostic> {
        let (h, names) = (self.a.hidden, self.names);
        let at = |name: &str| format!("{layer}.{name}");
        if self.a.family == Family::Bert {
            let attended = self.attention(state, layer)?;
            let sum = self.plain(layer, "add_1", "Add", &[state, attended], h)?;
            let mut middle = self.norm(&at(names.norm_1), sum, h, h)?;
            if let Some(encoded) = self.encoded {
                let attended = self.cross_attention((middle, encoded), layer)?;
                let sum = self.plain(layer, "add_cross", "Add", &[middle, attended], h)?;
                middle = self.norm(&at("crossattention.output.LayerNorm"), sum, h, h)?;
            }
            let fed = self.feed_forward(middle, layer)?;
            let sum = self.plain(layer, "add_2", "Add", &[middle, fed], h)?;
            return self.norm(&at(names.norm_2), sum, h, h);
        }
        let normed = self.norm(&at(names.norm_1), state, h, h)?;
        let attended = self.attention(normed, layer)?;
        let mut middle = self.plain(layer, "add_1", "Add", &[state, attended], h)?;
        if let Some(encoded) = self.encoded {
            let normed = self.norm(&at("ln_cross_attn"), middle, h, h)?;
            let attended = self.cross_attention((normed, encoded), layer)?;
            middle = self.plain(layer, "add_cross", "Add", &[middle, attended], h)?;
        }
        let normed = self.norm(&at(names.norm_2), middle, h, h)?;
        let fed = match self.a.experts {
            Some(experts) => self.mixture(normed, layer, experts)?,
            None => self.feed_forward(normed, layer)?,
        };
        self.plain(layer, "add_2", "Add", &[middle, fed], h)
    }
}
