//! Attention to entries: keys that are values too, in one head, of the latest tokens and of what a compressor
//! makes of all (DeepSeek-AI 2026, DeepSeek-V4, section 2.3).

use ir::diagnostic::Diagnostic;
use ir::id::TensorId;
use ir::op::Product;

use super::Writer;
use super::sizes::Index;
use super::stated;
use super::style::Norm;
use crate::config::builder::{Done, NewOp};

impl Writer<'_> {
    /// Attention to so many latest tokens, and to what a compressor makes, of which an index picks or all.
    pub(super) fn entries(
        &mut self,
        state: TensorId,
        layer: &str,
        (window, compressor): (u64, Option<bool>),
    ) -> Done {
        let (n, h, module) =
            (self.n, self.n.hidden, format!("{layer}.{}", self.s.attention.module));
        let at = |name: &str| format!("{module}.{name}");
        let (width, rank) =
            (n.heads.saturating_mul(n.head_dim), self.fields().count(&["q_lora_rank"], None)?);
        let narrow = self.linear(&at("q_a_proj"), state, (h, rank), false)?;
        let narrow = self.norm(&at("q_a_norm"), narrow, rank)?;
        let queries = self.linear(&at("q_b_proj"), narrow, (rank, width), false)?;
        let queries = self.norm_of(&at("q_b_norm"), queries, (width, width), Norm::RmsBare)?;
        let queries = self.plain((&module, "rotary_q"), "Rotary", &[queries], width)?;
        let entries = self.linear(&at("kv_proj"), state, (h, n.head_dim), false)?;
        let entries = self.norm(&at("kv_norm"), entries, n.head_dim)?;
        let entries = self.plain((&module, "rotary_k"), "Rotary", &[entries], n.head_dim)?;
        let (mut span, mut both) = (window, vec![queries, entries]);
        if let Some(is_picked) = compressor {
            span += self.compressed((state, narrow), &at("compressor"), (is_picked, &mut both))?;
        }
        let sinks = Some(self.builder.parameter(&at("sinks"), &[n.heads])?);
        let sizes = [n.heads, n.head_dim, n.head_dim, span];
        let context = self.builder.attention_of(&module, (&both, entries), (None, sinks), sizes)?;
        self.grouped(context, &module)
    }

    /// Adds what a compressor makes to what is attended to; how many of them a token attends to.
    fn compressed(
        &mut self,
        (state, narrow): (TensorId, TensorId),
        module: &str,
        (is_picked, read): (bool, &mut Vec<TensorId>),
    ) -> Done<u64> {
        let rate = stated::rate(self.fields(), is_picked)?;
        let made = self.builder.sequence / rate;
        // Where an index picks, each entry is made of two series.
        let series = 1 + u64::from(is_picked);
        read.push(self.pooled(state, module, (rate, series, self.n.head_dim))?);
        if !is_picked {
            return Ok(made);
        }
        let index = Index::read(self.fields())?;
        let module = format!("{module}.indexer");
        let keys = self.pooled(state, &module, (rate, series, index.dim))?;
        let rank = self.fields().count(&["q_lora_rank"], None)?;
        let width = index.heads.saturating_mul(index.dim);
        let queries = self.linear(&format!("{module}.q_b_proj"), narrow, (rank, width), false)?;
        let scorer = format!("{module}.scorer.weights_proj");
        let weights = self.as_stored(&scorer, state, (self.n.hidden, index.heads))?;
        let (batch, m) = (self.builder.batch, self.builder.sequence);
        let count = batch.saturating_mul(index.heads);
        let products = &[Product { count, m, k: index.dim, n: made }];
        let scores = self.builder.op(&NewOp {
            module: &module,
            part: "scores",
            op_type: "MatMul",
            inputs: &[queries, keys, weights],
            parameters: &[],
            shape: &[batch, m, made],
            products: if made > 0 { products } else { &[] },
        })?;
        let top = index.top.min(made);
        read.push(self.builder.plain((&module, "topk"), "TopK", &[scores], &[batch, m, top])?);
        Ok(top)
    }

    /// Entries of so many tokens each: sums of so many series, weighed by a gate with a bias for each place.
    fn pooled(
        &mut self,
        state: TensorId,
        module: &str,
        (rate, series, dim): (u64, u64, u64),
    ) -> Done {
        let columns = series.saturating_mul(dim);
        let mut inputs = Vec::new();
        for name in ["kv_proj", "gate_proj"] {
            let module = format!("{module}.{name}");
            inputs.push(self.as_stored(&module, state, (self.n.hidden, columns))?);
        }
        let bias = self.builder.parameter(&format!("{module}.position_bias"), &[rate, columns])?;
        let shape = &[self.builder.batch, self.builder.sequence / rate, dim];
        let (part, parameters, products) = ("pool", &[bias], &[]);
        let sums = NewOp {
            module,
            part,
            op_type: "Softmax",
            inputs: &inputs,
            parameters,
            shape,
            products,
        };
        let sums = self.builder.op(&sums)?;
        let module = &format!("{module}.kv_norm");
        let weight = self.builder.parameter(&format!("{module}.weight"), &[dim])?;
        let (part, inputs, parameters) = ("", &[sums], &[weight]);
        self.builder.op(&NewOp {
            module,
            part,
            op_type: "RMSNorm",
            inputs,
            parameters,
            shape,
            products,
        })
    }

    /// A product whose weight no checkpoint holds in fewer bits (`_keep_in_fp32_modules` of transformers).
    fn as_stored(&mut self, module: &str, input: TensorId, (k, n): (u64, u64)) -> Done {
        let weight = self.builder.parameter(&format!("{module}.weight"), &[n, k])?;
        self.builder.linear((module, input), &[weight], (self.builder.sequence, k, n))
    }

    /// The last product: of groups of heads into a narrow width each, and of all of these.
    fn grouped(&mut self, context: TensorId, module: &str) -> Done {
        let count = |name: &'static str| self.fields().count(&[name], None);
        let (groups, rank) = (count("o_groups")?, count("o_lora_rank")?);
        let width = self.n.heads.saturating_mul(self.n.head_dim);
        if !width.is_multiple_of(groups) {
            let message = format!("{groups} groups do not divide {width} columns of all heads");
            return Err(Diagnostic::input("heads-do-not-divide", message)
                .hint("correct `o_groups`, `num_attention_heads` or `head_dim`"));
        }
        let (inner, all) = (width / groups, groups.saturating_mul(rank));
        let first = &format!("{module}.o_a_proj");
        let weight = self.builder.weight(self.quantization, first, [all, inner])?;
        let narrow = self.builder.op(&NewOp {
            module: first,
            part: "",
            op_type: "Linear",
            inputs: &[context],
            parameters: &[weight],
            shape: &self.builder.shape(all),
            products: &[Product { count: groups, m: self.builder.tokens(), k: inner, n: rank }],
        })?;
        self.linear(&format!("{module}.o_b_proj"), narrow, (all, self.n.hidden), false)
    }
}
