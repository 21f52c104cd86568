//! Attention: queries, keys, values, scores and the product behind them.

use ir::diagnostic::Diagnostic;
use ir::id::TensorId;

use super::Writer;
use crate::config::architecture::{Bias, Family, HeadNorm};

impl Writer<'_> {
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

    /// Attention of a layer to its own states.
    pub(super) fn attention(
        &mut self,
        state: TensorId,
        layer: &str,
    ) -> Result<TensorId, Diagnostic> {
        let module = format!("{layer}.{}", self.names.attention);
        let all = self.projections(state, &module)?;
        let (queries, values) = match all.as_slice() {
            [q, k, v] => (vec![*q, *k], *v),
            _ => (all.clone(), all.last().copied().unwrap_or(state)),
        };
        let output = format!("{layer}.{}", self.names.output);
        self.core((&module, &output), (&queries, values), self.span)
    }

    /// Attention to the states of an encoder, of as many tokens as the sample has.
    pub(super) fn cross_attention(
        &mut self,
        (state, encoded): (TensorId, TensorId),
        layer: &str,
    ) -> Result<TensorId, Diagnostic> {
        let h = self.a.hidden;
        let width = self.a.heads * self.a.head_dim;
        let module = format!("{layer}.crossattention");
        if self.a.family == Family::Bert {
            let own = format!("{module}.self");
            let q = self.linear(&format!("{own}.query"), state, (h, width), Bias::Added)?;
            let k = self.linear(&format!("{own}.key"), encoded, (h, width), Bias::Added)?;
            let v = self.linear(&format!("{own}.value"), encoded, (h, width), Bias::Added)?;
            let output = format!("{module}.output.dense");
            return self.core((&own, &output), (&[q, k], v), self.builder.sequence);
        }
        let q = self.linear(&format!("{module}.q_attn"), state, (h, width), Bias::Added)?;
        let kv = self.linear(&format!("{module}.c_attn"), encoded, (h, 2 * width), Bias::Added)?;
        let output = format!("{module}.c_proj");
        self.core((&module, &output), (&[q, kv], kv), self.builder.sequence)
    }

    /// Scores, their softmax, the weighted values and the product behind them; each token attends to
    /// `span` others.
    fn core(
        &mut self,
        (module, output): (&str, &str),
        (queries, values): (&[TensorId], TensorId),
        span: u64,
    ) -> Result<TensorId, Diagnostic> {
        let a = self.a;
        let (both, sizes) = ((queries, values), [a.heads, a.head_dim, span]);
        let context = self.builder.attention(module, both, None, sizes)?;
        let width = a.heads * a.head_dim;
        self.linear(output, context, (width, a.hidden), a.output_bias)
    }
}
