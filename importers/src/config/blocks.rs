//! The blocks of a transformer, with the module names of the library's own classes.

use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::id::TensorId;
use ir::op::Product;
use ir::tensor::DType;

use crate::ImportOptions;
use crate::config::architecture::{Architecture, Bias, Experts, Family, Head, HeadNorm};
use crate::config::builder::{Builder, NewOp};

/// Largest extent of batch and sequence.
const MAX_EXTENT: u64 = 1 << 24;

/// Names of the modules of a family.
struct Names {
    tokens: &'static str,
    positions: &'static str,
    layers: &'static str,
    norm_1: &'static str,
    attention: &'static str,
    output: &'static str,
    norm_2: &'static str,
    up: &'static str,
    down: &'static str,
    last_norm: &'static str,
    head: &'static str,
}

const GPT2: Names = Names {
    tokens: "transformer.wte",
    positions: "transformer.wpe",
    layers: "transformer.h",
    norm_1: "ln_1",
    attention: "attn",
    output: "attn.c_proj",
    norm_2: "ln_2",
    up: "mlp.c_fc",
    down: "mlp.c_proj",
    last_norm: "transformer.ln_f",
    head: "lm_head",
};

const BERT: Names = Names {
    tokens: "bert.embeddings.word_embeddings",
    positions: "bert.embeddings.position_embeddings",
    layers: "bert.encoder.layer",
    norm_1: "attention.output.LayerNorm",
    attention: "attention.self",
    output: "attention.output.dense",
    norm_2: "output.LayerNorm",
    up: "intermediate.dense",
    down: "output.dense",
    last_norm: "bert.embeddings.LayerNorm",
    head: "cls.predictions.decoder",
};

const LLAMA: Names = Names {
    tokens: "model.embed_tokens",
    positions: "",
    layers: "model.layers",
    norm_1: "input_layernorm",
    attention: "self_attn",
    output: "self_attn.o_proj",
    norm_2: "post_attention_layernorm",
    up: "mlp.up_proj",
    down: "mlp.down_proj",
    last_norm: "model.norm",
    head: "lm_head",
};

/// Writes the graph of a model.
///
/// # Errors
/// `invalid-field`, `size-overflow`.
pub(super) fn graph(
    architecture: &Architecture,
    name: &str,
    dtype: DType,
    options: &ImportOptions,
) -> Result<Graph, Diagnostic> {
    let names = match architecture.family {
        Family::Gpt2 => &GPT2,
        Family::Bert => &BERT,
        Family::Llama => &LLAMA,
    };
    let sequence =
        options.dims.get("sequence").copied().unwrap_or_else(|| architecture.default_sequence());
    let batch = options.batch.or(options.dims.get("batch").copied()).unwrap_or(1);
    let has_table = architecture.family != Family::Llama;
    let longest = if has_table { architecture.positions } else { MAX_EXTENT };
    for (what, extent, limit) in [("sequence", sequence, longest), ("batch", batch, MAX_EXTENT)] {
        if extent == 0 || extent > limit {
            return Err(Diagnostic::input(
                "invalid-field",
                format!("the {what} is {extent}: out of range, this model takes 1 to {limit}"),
            ));
        }
    }
    let mut writer =
        Writer { a: architecture, names, batch, sequence, builder: Builder::new(name, dtype) };
    let mut state = writer.embedding()?;
    for layer in 0..architecture.n_layers {
        state = writer.layer(state, &format!("{}.{layer}", names.layers))?;
    }
    let output = writer.head(state)?;
    Ok(writer.builder.finish(output))
}

struct Writer<'a> {
    a: &'a Architecture,
    names: &'static Names,
    batch: u64,
    sequence: u64,
    builder: Builder,
}

impl Writer<'_> {
    fn tokens(&self) -> u64 {
        self.batch * self.sequence
    }

    fn shape(&self, width: u64) -> [u64; 3] {
        [self.batch, self.sequence, width]
    }

    /// `x W (+ b)` over the last axis.
    fn linear(
        &mut self,
        module: &str,
        input: TensorId,
        (k, n): (u64, u64),
        bias: Bias,
    ) -> Result<TensorId, Diagnostic> {
        let mut parameters = vec![self.builder.parameter(&format!("{module}.weight"), &[n, k])?];
        if bias == Bias::Added {
            parameters.push(self.builder.parameter(&format!("{module}.bias"), &[n])?);
        }
        self.builder.op(&NewOp {
            module,
            part: "",
            op_type: "Linear",
            inputs: &[input],
            parameters: &parameters,
            shape: &self.shape(n),
            products: &[Product { count: 1, m: self.tokens(), k, n }],
        })
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
        let shape = self.shape(width);
        let new =
            NewOp { module, part, op_type, inputs, parameters: &[], shape: &shape, products: &[] };
        self.builder.op(&new)
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
        self.builder.op(&NewOp {
            module,
            part: "",
            op_type,
            inputs: &[input],
            parameters: &parameters,
            shape: &self.shape(width),
            products: &[],
        })
    }

    fn table(
        &mut self,
        module: &str,
        inputs: &[TensorId],
        rows: u64,
    ) -> Result<TensorId, Diagnostic> {
        let hidden = self.a.hidden;
        let table = self.builder.parameter(&format!("{module}.weight"), &[rows, hidden])?;
        self.builder.gather(&NewOp {
            module,
            part: "",
            op_type: "Embedding",
            inputs,
            parameters: &[table],
            shape: &self.shape(hidden),
            products: &[],
        })
    }

    fn embedding(&mut self) -> Result<TensorId, Diagnostic> {
        let ids = self.builder.input("input_ids", &[self.batch, self.sequence])?;
        let (h, names) = (self.a.hidden, self.names);
        let mut state = self.table(names.tokens, &[ids], self.a.vocabulary)?;
        if self.a.family == Family::Llama {
            return Ok(state);
        }
        let positions = self.table(names.positions, &[], self.a.positions)?;
        state = self.plain(names.positions, "add", "Add", &[state, positions], h)?;
        if self.a.family == Family::Bert {
            let kinds = self.builder.input("token_type_ids", &[self.batch, self.sequence])?;
            let module = "bert.embeddings.token_type_embeddings";
            let kinds = self.table(module, &[kinds], self.a.token_types)?;
            state = self.plain(module, "add", "Add", &[state, kinds], h)?;
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
            let middle = self.norm(&at(names.norm_1), sum, h, h)?;
            let fed = self.feed_forward(middle, layer)?;
            let sum = self.plain(layer, "add_2", "Add", &[middle, fed], h)?;
            return self.norm(&at(names.norm_2), sum, h, h);
        }
        let normed = self.norm(&at(names.norm_1), state, h, h)?;
        let attended = self.attention(normed, layer)?;
        let middle = self.plain(layer, "add_1", "Add", &[state, attended], h)?;
        let normed = self.norm(&at(names.norm_2), middle, h, h)?;
        let fed = match self.a.experts {
            Some(experts) => self.mixture(normed, layer, experts)?,
            None => self.feed_forward(normed, layer)?,
        };
        self.plain(layer, "add_2", "Add", &[middle, fed], h)
    }

    /// Queries, keys and values; one tensor where the projection is fused.
    fn projections(&mut self, state: TensorId, module: &str) -> Result<Vec<TensorId>, Diagnostic> {
        let (h, a) = (self.a.hidden, self.a);
        let (q, kv) = (a.heads * a.head_dim, a.kv_heads * a.head_dim);
        match a.family {
            Family::Gpt2 => {
                let fused = format!("{module}.c_attn");
                Ok(vec![self.linear(&fused, state, (h, q + 2 * kv), a.qkv_bias)?])
            }
            Family::Bert => ["query", "key", "value"]
                .iter()
                .map(|part| self.linear(&format!("{module}.{part}"), state, (h, q), a.qkv_bias))
                .collect(),
            Family::Llama => {
                let mut all = Vec::new();
                for (part, width) in [("q", q), ("k", kv), ("v", kv)] {
                    let name = format!("{module}.{part}_proj");
                    let mut value = self.linear(&name, state, (h, width), a.qkv_bias)?;
                    if part != "v" {
                        if a.head_norm == HeadNorm::Rms {
                            let name = format!("{module}.{part}_norm");
                            value = self.norm(&name, value, a.head_dim, width)?;
                        }
                        let part = format!("rotary_{part}");
                        value = self.plain(module, &part, "Rotary", &[value], width)?;
                    }
                    all.push(value);
                }
                Ok(all)
            }
        }
    }

    fn attention(&mut self, state: TensorId, layer: &str) -> Result<TensorId, Diagnostic> {
        let a = self.a;
        let module = format!("{layer}.{}", self.names.attention);
        let all = self.projections(state, &module)?;
        let (queries, values) = match all.as_slice() {
            [q, k, v] => (vec![*q, *k], *v),
            _ => (all.clone(), all.last().copied().unwrap_or(state)),
        };
        let s = self.sequence;
        let square = [self.batch, a.heads, s, s];
        let count = self.batch.saturating_mul(a.heads);
        let new = |part, op_type, products| NewOp {
            module: &module,
            part,
            op_type,
            inputs: &[],
            parameters: &[],
            shape: &square,
            products,
        };
        let products = [Product { count, m: s, k: a.head_dim, n: s }];
        let scores =
            self.builder.op(&NewOp { inputs: &queries, ..new("scores", "MatMul", &products) })?;
        let weights =
            self.builder.op(&NewOp { inputs: &[scores], ..new("softmax", "Softmax", &[]) })?;
        let width = a.heads * a.head_dim;
        let products = [Product { count, m: s, k: s, n: a.head_dim }];
        let shape = self.shape(width);
        let context = self.builder.op(&NewOp {
            inputs: &[weights, values],
            shape: &shape,
            ..new("context", "MatMul", &products)
        })?;
        let output = format!("{layer}.{}", self.names.output);
        self.linear(&output, context, (width, a.hidden), a.output_bias)
    }

    fn feed_forward(&mut self, state: TensorId, layer: &str) -> Result<TensorId, Diagnostic> {
        let (h, f, bias) = (self.a.hidden, self.a.feed_forward, self.a.mlp_bias);
        let up_module = format!("{layer}.{}", self.names.up);
        let mut inputs = Vec::new();
        if self.a.family == Family::Llama {
            inputs.push(self.linear(&format!("{layer}.mlp.gate_proj"), state, (h, f), bias)?);
        }
        inputs.push(self.linear(&up_module, state, (h, f), bias)?);
        let active = self.plain(&up_module, "activation", "Activation", &inputs, f)?;
        self.linear(&format!("{layer}.{}", self.names.down), active, (f, h), bias)
    }

    /// A router, experts that share the tokens evenly, and their weighted sum.
    fn mixture(
        &mut self,
        state: TensorId,
        layer: &str,
        experts: Experts,
    ) -> Result<TensorId, Diagnostic> {
        let (h, f) = (self.a.hidden, self.a.feed_forward);
        let module = format!("{layer}.mlp");
        let gate = self.linear(&format!("{module}.gate"), state, (h, experts.n), Bias::Absent)?;
        let rows = self.tokens().saturating_mul(experts.per_token).div_ceil(experts.n);
        let mut outputs = vec![gate];
        for expert in 0..experts.n {
            let module = format!("{module}.experts.{expert}");
            let mut parameters = Vec::new();
            for (name, shape) in [("gate_proj", [f, h]), ("up_proj", [f, h]), ("down_proj", [h, f])]
            {
                let name = format!("{module}.{name}.weight");
                parameters.push(self.builder.parameter(&name, &shape)?);
            }
            let wide = Product { count: 1, m: rows, k: h, n: f };
            outputs.push(self.builder.op(&NewOp {
                module: &module,
                part: "",
                op_type: "Expert",
                inputs: &[state, gate],
                parameters: &parameters,
                shape: &[rows, h],
                products: &[wide, wide, Product { count: 1, m: rows, k: f, n: h }],
            })?);
        }
        self.plain(&module, "combine", "Combine", &outputs, h)
    }

    fn head(&mut self, state: TensorId) -> Result<TensorId, Diagnostic> {
        let (h, names) = (self.a.hidden, self.names);
        let mut state = state;
        let mut bias = None;
        if self.a.family == Family::Bert {
            let module = "cls.predictions.transform";
            state = self.linear(&format!("{module}.dense"), state, (h, h), Bias::Added)?;
            state = self.plain(module, "activation", "Activation", &[state], h)?;
            state = self.norm(&format!("{module}.LayerNorm"), state, h, h)?;
            bias = Some(self.builder.parameter("cls.predictions.bias", &[self.a.vocabulary])?);
        } else {
            state = self.norm(names.last_norm, state, h, h)?;
        }
        let weight = match self.a.head {
            Head::Tied => names.tokens,
            Head::Separate => names.head,
        };
        let shape = [self.a.vocabulary, h];
        let mut parameters = vec![self.builder.parameter(&format!("{weight}.weight"), &shape)?];
        parameters.extend(bias);
        self.builder.op(&NewOp {
            module: names.head,
            part: "",
            op_type: "Linear",
            inputs: &[state],
            parameters: &parameters,
            shape: &self.shape(self.a.vocabulary),
            products: &[Product { count: 1, m: self.tokens(), k: h, n: self.a.vocabulary }],
        })
    }
}
