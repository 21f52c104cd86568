//! BERT and GPT-2, whose layers are all alike, with the module names of the library's own classes.

use ir::graph::Graph;
use ir::id::TensorId;

use crate::config::architecture::{Architecture, Bias, Cross, Family, Head};
use crate::config::builder::{Builder, Done};
use crate::config::quantization::Quantization;
use crate::config::request::{Request, Written};
use crate::config::task::End;

/// Names of the modules of a family.
struct Names {
    /// Tables of words and of positions, and layers, within the model.
    tokens: &'static str,
    positions: &'static str,
    layers: &'static str,
    /// Of attention, of that to an encoder, and of the feed-forward part.
    norms: [&'static str; 3],
    attention: &'static str,
    output: &'static str,
    up: &'static str,
    down: &'static str,
    last_norm: &'static str,
    head: &'static str,
    /// Of all modules but those of the task.
    prefix: &'static str,
}

const GPT2: Names = Names {
    tokens: "wte",
    positions: "wpe",
    layers: "h",
    norms: ["ln_1", "ln_cross_attn", "ln_2"],
    attention: "attn",
    output: "attn.c_proj",
    up: "mlp.c_fc",
    down: "mlp.c_proj",
    last_norm: "ln_f",
    head: "lm_head",
    prefix: "transformer.",
};

const BERT: Names = Names {
    tokens: "embeddings.word_embeddings",
    positions: "embeddings.position_embeddings",
    layers: "encoder.layer",
    norms: ["attention.output.LayerNorm", "crossattention.output.LayerNorm", "output.LayerNorm"],
    attention: "attention.self",
    output: "attention.output.dense",
    up: "intermediate.dense",
    down: "output.dense",
    last_norm: "embeddings.LayerNorm",
    head: "cls.predictions.decoder",
    prefix: "bert.",
};

/// Reads a config.
///
/// # Errors
/// See [`super::read`].
pub(super) fn read(request: &Request<'_>) -> Done<Written> {
    let architecture = Architecture::read(request.fields.0)?;
    let (graph, tokens) = graph(&architecture, request)?;
    let (sequence, positions) =
        (Some(architecture.default_sequence()), Some(architecture.positions));
    Ok(Written {
        graph,
        tokens: Some(tokens),
        sequence,
        positions,
        warnings: architecture.warnings,
    })
}

/// Writes the graph of a model; with it the tokens of a sample.
fn graph(a: &Architecture, request: &Request<'_>) -> Done<(Graph, u64)> {
    let is_bert = a.family == Family::Bert;
    let n = if is_bert { &BERT } else { &GPT2 };
    let prefix = if a.task.is_bare { "" } else { n.prefix };
    let builder = request.builder(a.default_sequence(), Some(a.positions))?;
    let sequence = builder.sequence;
    let quantization = a.quantization.as_ref().filter(|_| !request.options.trains);
    let mut writer = Writer { a, n, prefix, is_bert, encoded: None, quantization, builder };
    let mut state = writer.embedding()?;
    for layer in 0..a.n_layers {
        state = writer.layer(state, &format!("{prefix}{}.{layer}", n.layers))?;
    }
    let outputs = writer.head(state)?;
    Ok((writer.builder.finish(&outputs), sequence))
}

struct Writer<'a> {
    a: &'a Architecture,
    n: &'static Names,
    prefix: &'static str,
    is_bert: bool,
    /// States of an encoder, where layers attend to them.
    encoded: Option<TensorId>,
    /// Of products whose weights are held in fewer bits.
    quantization: Option<&'a Quantization>,
    builder: Builder,
}

impl Writer<'_> {
    /// `x W + b` over the last axis.
    fn linear(&mut self, module: &str, input: TensorId, (k, n): (u64, u64)) -> Done {
        let weight = self.builder.weight(self.quantization, module, [n, k])?;
        let bias = self.builder.parameter(&format!("{module}.bias"), &[n])?;
        self.builder.linear((module, input), &[weight, bias], (self.builder.sequence, k, n))
    }

    /// An op without parameters or products over `[batch, sequence, width]`.
    fn plain(&mut self, at: (&str, &str), op_type: &str, inputs: &[TensorId], width: u64) -> Done {
        self.builder.plain(at, op_type, inputs, &self.builder.shape(width))
    }

    fn norm(&mut self, module: &str, input: TensorId) -> Done {
        let h = self.a.hidden;
        let weight = self.builder.parameter(&format!("{module}.weight"), &[h])?;
        let bias = self.builder.parameter(&format!("{module}.bias"), &[h])?;
        self.builder.norm((module, "LayerNorm"), input, &[weight, bias], h)
    }

    fn table(&mut self, module: &str, inputs: &[TensorId], rows: u64) -> Done {
        let hidden = self.a.hidden;
        let table = self.builder.parameter(&format!("{module}.weight"), &[rows, hidden])?;
        self.builder.embedding(module, inputs, table, &self.builder.shape(hidden))
    }

    fn embedding(&mut self) -> Done {
        let (h, prefix, size) =
            (self.a.hidden, self.prefix, [self.builder.batch, self.builder.sequence]);
        let ids = self.builder.input("input_ids", &size)?;
        let tokens =
            self.table(&format!("{prefix}{}", self.n.tokens), &[ids], self.a.vocabulary)?;
        if self.a.cross == Cross::Attended {
            let shape = self.builder.shape(h);
            self.encoded = Some(self.builder.states("encoder_hidden_states", &shape)?);
        }
        let module = format!("{prefix}{}", self.n.positions);
        let positions = self.table(&module, &[], self.a.positions)?;
        let state = self.plain((&module, "add"), "Add", &[tokens, positions], h)?;
        if !self.is_bert {
            return Ok(state);
        }
        let kinds = self.builder.input("token_type_ids", &size)?;
        let module = format!("{prefix}embeddings.token_type_embeddings");
        let kinds = self.table(&module, &[kinds], self.a.token_types)?;
        let state = self.plain((&module, "add"), "Add", &[state, kinds], h)?;
        self.norm(&format!("{prefix}{}", self.n.last_norm), state)
    }

    fn layer(&mut self, state: TensorId, layer: &str) -> Done {
        let mut state =
            self.part(state, (layer, 0, "add_1"), |writer, x| writer.attention(x, layer))?;
        if let Some(encoded) = self.encoded {
            state = self.part(state, (layer, 1, "add_cross"), |writer, x| {
                writer.cross_attention((x, encoded), layer)
            })?;
        }
        self.part(state, (layer, 2, "add_2"), |writer, x| writer.feed_forward(x, layer))
    }

    /// A part that is added to the state; its norm is before it, or in BERT behind the sum.
    fn part(
        &mut self,
        state: TensorId,
        (layer, norm, add): (&str, usize, &str),
        of: impl FnOnce(&mut Self, TensorId) -> Done,
    ) -> Done {
        let norm = format!("{layer}.{}", self.n.norms[norm]);
        let x = if self.is_bert { state } else { self.norm(&norm, state)? };
        let made = of(self, x)?;
        let sum = self.plain((layer, add), "Add", &[state, made], self.a.hidden)?;
        if self.is_bert { self.norm(&norm, sum) } else { Ok(sum) }
    }

    /// Attention of a layer to its own states.
    fn attention(&mut self, state: TensorId, layer: &str) -> Done {
        let (h, a) = (self.a.hidden, self.a);
        let (q, kv) = (a.heads * a.head_dim, a.kv_heads * a.head_dim);
        let module = format!("{layer}.{}", self.n.attention);
        let output = format!("{layer}.{}", self.n.output);
        if !self.is_bert {
            let all = self.linear(&format!("{module}.c_attn"), state, (h, q + 2 * kv))?;
            return self.core((&module, &output), (&[all], all));
        }
        let queries = self.linear(&format!("{module}.query"), state, (h, q))?;
        let keys = self.linear(&format!("{module}.key"), state, (h, q))?;
        let values = self.linear(&format!("{module}.value"), state, (h, q))?;
        self.core((&module, &output), (&[queries, keys], values))
    }

    /// Attention to the states of an encoder, of as many tokens as the sample has.
    fn cross_attention(&mut self, (state, encoded): (TensorId, TensorId), layer: &str) -> Done {
        let (h, width) = (self.a.hidden, self.a.heads * self.a.head_dim);
        let module = format!("{layer}.crossattention");
        if self.is_bert {
            let attention = format!("{module}.self");
            let q = self.linear(&format!("{attention}.query"), state, (h, width))?;
            let k = self.linear(&format!("{attention}.key"), encoded, (h, width))?;
            let v = self.linear(&format!("{attention}.value"), encoded, (h, width))?;
            return self.core((&attention, &format!("{module}.output.dense")), (&[q, k], v));
        }
        let q = self.linear(&format!("{module}.q_attn"), state, (h, width))?;
        let kv = self.linear(&format!("{module}.c_attn"), encoded, (h, 2 * width))?;
        self.core((&module, &format!("{module}.c_proj")), (&[q, kv], kv))
    }

    /// Scores, their softmax, the weighted values and the product behind them.
    fn core(&mut self, (module, output): (&str, &str), both: (&[TensorId], TensorId)) -> Done {
        let sizes = [self.a.heads, self.a.head_dim, self.builder.sequence];
        let context = self.builder.attention(module, both, None, sizes)?;
        self.linear(output, context, (self.a.heads * self.a.head_dim, self.a.hidden))
    }

    fn feed_forward(&mut self, state: TensorId, layer: &str) -> Done {
        let (h, f) = (self.a.hidden, self.a.feed_forward);
        let module = format!("{layer}.{}", self.n.up);
        let wide = self.linear(&module, state, (h, f))?;
        let active = self.plain((&module, "activation"), "Activation", &[wide], f)?;
        self.linear(&format!("{layer}.{}", self.n.down), active, (f, h))
    }

    /// What is behind the last layer; what comes out of the model.
    fn head(&mut self, mut state: TensorId) -> Done<Vec<TensorId>> {
        let task = self.a.task;
        if !self.is_bert {
            state = self.norm(&format!("{}{}", self.prefix, self.n.last_norm), state)?;
        }
        let pooled = task.is_pooled.then(|| self.pooled(state)).transpose()?;
        match task.end {
            End::Words => Ok(vec![self.words(state)?]),
            End::States => Ok(std::iter::once(state).chain(pooled).collect()),
            End::Labels { module, n, bias } => {
                let rows = if pooled.is_some() { 1 } else { self.builder.sequence };
                let read = pooled.unwrap_or(state);
                Ok(vec![self.rows(module, read, (rows, n), bias)?])
            }
        }
    }

    /// A product over so many tokens of each sample, in the type of the model.
    fn rows(&mut self, module: &str, x: TensorId, (rows, n): (u64, u64), bias: Bias) -> Done {
        let h = self.a.hidden;
        let mut parameters = vec![self.builder.parameter(&format!("{module}.weight"), &[n, h])?];
        if bias == Bias::Added {
            parameters.push(self.builder.parameter(&format!("{module}.bias"), &[n])?);
        }
        self.builder.linear((module, x), &parameters, (rows, h, n))
    }

    /// The first token of each sample through a dense layer and a pointwise function.
    fn pooled(&mut self, state: TensorId) -> Done {
        let (h, module) = (self.a.hidden, format!("{}pooler", self.prefix));
        let dense = self.rows(&format!("{module}.dense"), state, (1, h), Bias::Added)?;
        let shape = [self.builder.batch, 1, h];
        self.builder.plain((&module, "activation"), "Activation", &[dense], &shape)
    }

    /// A product with the vocabulary; of BERT behind a dense layer and a norm.
    fn words(&mut self, mut state: TensorId) -> Done {
        let (h, v, is_own) = (self.a.hidden, self.a.vocabulary, self.a.head == Head::Separate);
        let mut biases = Vec::new();
        if self.is_bert {
            let module = "cls.predictions.transform";
            state = self.linear(&format!("{module}.dense"), state, (h, h))?;
            state = self.plain((module, "activation"), "Activation", &[state], h)?;
            state = self.norm(&format!("{module}.LayerNorm"), state)?;
            // A decoder of its own has a bias of its own; a tied one shares it.
            let bias = is_own.then_some("cls.predictions.decoder.bias");
            for name in std::iter::once("cls.predictions.bias").chain(bias) {
                biases.push(self.builder.parameter(name, &[v])?);
            }
        }
        let tokens = format!("{}{}", self.prefix, self.n.tokens);
        let weight = if is_own { self.n.head } else { &tokens };
        let mut parameters = vec![self.builder.parameter(&format!("{weight}.weight"), &[v, h])?];
        parameters.extend(biases);
        self.builder.linear((self.n.head, state), &parameters, (self.builder.sequence, h, v))
    }
}
