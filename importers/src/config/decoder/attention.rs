//! Attention of a decoder: of heads, and through narrow products.

use ir::id::TensorId;
use ir::op::Product;

use super::Writer;
use super::sizes::{Index, Latent};
use super::style::{Gate, HeadNorm, Mixer, Norm, Positions};
use crate::config::builder::{Done, NewOp};

/// What a layer attends to.
#[derive(Clone, Copy)]
pub(super) struct Reach {
    /// So many tokens.
    pub span: u64,
    /// Whether that is a window.
    pub is_window: bool,
    /// Whether positions turn queries and keys.
    pub is_turned: bool,
    /// The layer's own index that picks them.
    pub index: Option<Index>,
}

impl Writer<'_> {
    /// Attention of a layer, by the heads that layers of its kind have.
    pub(super) fn attention(&mut self, state: TensorId, layer: &str, reach: Reach) -> Done {
        let whole = self.n;
        self.n = whole.with_heads((self.fields(), self.s), reach.is_window)?;
        let done = self.attend(state, layer, reach);
        self.n = whole;
        done
    }

    fn attend(&mut self, state: TensorId, layer: &str, reach: Reach) -> Done {
        let Reach { span, is_window, is_turned, index } = reach;
        let attention = self.s.attention;
        let module = format!("{layer}.{}", attention.module);
        let is_turned = is_turned && self.s.positions == Positions::Rotary;
        let (queries, values, gate) = match self.n.latent {
            Some(latent) => self.narrow(state, &module, (latent, index))?,
            None => {
                let (mut both, values, gate) =
                    self.projections(state, &module, (is_turned, is_window))?;
                if let Some(index) = index {
                    both.push(self.picked_blocks(state, &format!("{module}.indexer"), index)?);
                }
                (both, values, gate)
            }
        };
        let n = self.n;
        let sizes = [n.heads, n.head_dim, n.value_dim, span];
        let sinks = if is_window { attention.window_sinks } else { attention.sinks };
        let bias = match self.has(sinks)? {
            true => Some(self.builder.parameter(&format!("{module}.sinks"), &[n.heads])?),
            false => None,
        };
        let scored = self.scored(values, &module)?;
        let both = (&queries[..], values);
        let context = self.builder.attention_of(&module, both, (scored, bias), sizes)?;
        let width = n.heads.saturating_mul(n.value_dim);
        let mut context = self.gated(context, state, &module, (gate, width))?;
        if !attention.inner_norm.is_empty() {
            let name = format!("{module}.{}", attention.inner_norm);
            context = self.norm(&name, context, width)?;
        }
        let output = format!("{module}.{}", attention.output);
        let has_bias = self.has(attention.output_bias)?;
        self.linear(&output, context, (width, n.hidden), has_bias)
    }

    /// What is added to the scores of each head of keys, where the family does that.
    fn scored(&mut self, values: TensorId, module: &str) -> Done<Option<TensorId>> {
        let attention = self.s.attention;
        let Some(name) = attention.vectors.first() else { return Ok(None) };
        let (heads, has_bias) = (self.n.kv_heads, self.has(attention.bias)?);
        let width = heads.saturating_mul(self.n.value_dim);
        let step = self.linear(&format!("{module}.dt_proj"), values, (width, heads), has_bias)?;
        let module = format!("{module}.{name}");
        let scale = self.builder.parameter(&module, &[heads])?;
        self.builder.norm((&module, "Mul"), step, &[scale], heads).map(Some)
    }

    /// Queries and keys, values, and the product that gates where it is one with the queries.
    fn projections(
        &mut self,
        state: TensorId,
        module: &str,
        (is_turned, is_window): (bool, bool),
    ) -> Done<(Vec<TensorId>, TensorId, Option<TensorId>)> {
        let (attention, n) = (self.s.attention, self.n);
        let [q, k, v] =
            [(n.heads, n.head_dim), (n.kv_heads, n.head_dim), (n.kv_heads, n.value_dim)]
                .map(|(heads, dim)| heads.saturating_mul(dim));
        let has_bias = self.has(attention.bias)?;
        let mut gate = None;
        let [queries, keys, values] = match attention.parts {
            [q_name, k_name, v_name] => {
                let is_doubled = attention.gate == Gate::Doubled;
                let wide = if is_doubled { q.saturating_mul(2) } else { q };
                let at = |name: &str| format!("{module}.{name}");
                let queries = self.linear(&at(q_name), state, (n.hidden, wide), has_bias)?;
                gate = is_doubled.then_some(queries);
                let keys = self.linear(&at(k_name), state, (n.hidden, k), has_bias)?;
                let values = match !is_window && self.has(attention.keys_are_values)? {
                    true => keys,
                    false => self.linear(&at(v_name), state, (n.hidden, v), has_bias)?,
                };
                [queries, keys, values]
            }
            other => {
                let name = format!("{module}.{}", other.first().copied().unwrap_or("qkv"));
                let all = q.saturating_add(k).saturating_add(v);
                [self.linear(&name, state, (n.hidden, all), has_bias)?; 3]
            }
        };
        let values = match attention.value_norm {
            true => self.norm_of(&format!("{module}.v_norm"), values, (v, v), Norm::RmsBare)?,
            false => values,
        };
        let mut both = [queries, keys];
        if let Some(norm) = attention.norm
            && self.has(norm.when)?
        {
            both = self.head_norms(both, module, norm)?;
        }
        if is_turned {
            for (state, (part, width)) in both.iter_mut().zip([("rotary_q", q), ("rotary_k", k)]) {
                *state = self.plain((module, part), "Rotary", &[*state], width)?;
            }
        }
        Ok((both.to_vec(), values, gate))
    }

    /// Attention to the states of another model: to as many as the sample has tokens where nobody
    /// gives them.
    pub(super) fn crossed(&mut self, state: TensorId, module: &str) -> Done {
        let (n, at) = (self.n, |name: &str| format!("{module}.{name}"));
        let (states, tokens) = match self.place.encoded {
            Some(given) => given,
            None => {
                let shape = self.builder.shape(n.hidden);
                let states = self.builder.states("cross_attention_states", &shape)?;
                (states, self.builder.sequence)
            }
        };
        self.place.encoded = Some((states, tokens));
        let widths = [n.heads, n.kv_heads].map(|heads| heads.saturating_mul(n.head_dim));
        let queries = self.linear(&at("q_proj"), state, (n.hidden, widths[0]), false)?;
        let mut others = Vec::new();
        for name in ["k_proj", "v_proj"] {
            let weight =
                self.builder.weight(self.quantization, &at(name), [widths[1], n.hidden])?;
            let size = (tokens, n.hidden, widths[1]);
            others.push(self.builder.linear((&at(name), states), &[weight], size)?);
        }
        let queries = self.norm_of(&at("q_norm"), queries, (n.head_dim, widths[0]), Norm::Rms)?;
        let weight = self.builder.parameter(&at("k_norm.weight"), &[n.head_dim])?;
        let (op_type, inputs, parameters) = ("RMSNorm", &others[..1], &[weight]);
        let shape = &[self.builder.batch, tokens, widths[1]];
        let (module_of_keys, part, products) = (at("k_norm"), "", &[]);
        let new =
            NewOp { module: &module_of_keys, part, op_type, inputs, parameters, shape, products };
        let keys = self.builder.op(&new)?;
        let both = [queries, keys];
        let sizes = [n.heads, n.head_dim, n.head_dim, tokens];
        let context = self.builder.attention_of(module, (&both, others[1]), (None, None), sizes)?;
        self.linear(&at("o_proj"), context, (widths[0], n.hidden), false)
    }

    /// What a layer that attends to other states adds, behind its gate.
    pub(super) fn opened(
        &mut self,
        part: TensorId,
        layer: &str,
        (mixer, name): (Mixer, &str),
    ) -> Done {
        if mixer != Mixer::Cross {
            return Ok(part);
        }
        let module = format!("{layer}.{name}");
        let gate = self.builder.parameter(&module, &[1])?;
        self.builder.norm((&module, "Mul"), part, &[gate], self.n.hidden)
    }

    fn head_norms(
        &mut self,
        [queries, keys]: [TensorId; 2],
        module: &str,
        norm: HeadNorm,
    ) -> Done<[TensorId; 2]> {
        let n = self.n;
        let mut both = [queries, keys];
        let heads = [n.heads, n.kv_heads];
        for ((state, name), (heads, part)) in
            both.iter_mut().zip(norm.names).zip(heads.into_iter().zip(["q", "k"]))
        {
            let width = heads.saturating_mul(n.head_dim);
            let weight = if norm.is_wide { width } else { n.head_dim };
            let is_one = norm.names[0] == norm.names[1];
            let name =
                if is_one { format!("{module}.{name}.{part}") } else { format!("{module}.{name}") };
            *state = self.norm_of(&name, *state, (weight, width), norm.kind)?;
        }
        Ok(both)
    }

    /// The output of attention, scaled where the family does.
    fn gated(
        &mut self,
        context: TensorId,
        state: TensorId,
        module: &str,
        (gate, width): (Option<TensorId>, u64),
    ) -> Done {
        let (name, columns) = match self.s.attention.gate {
            Gate::Doubled | Gate::None => ("", 0),
            Gate::Wide(name) | Gate::Biased(name, _) => (name, width),
            Gate::Heads(name) => (name, self.n.heads),
        };
        let gate = match gate {
            None if columns > 0 => {
                let name = format!("{module}.{name}");
                Some(self.linear(&name, state, (self.n.hidden, columns), false)?)
            }
            given => given,
        };
        let Some(mut gate) = gate else { return Ok(context) };
        if let Gate::Biased(_, name) = self.s.attention.gate {
            let module = format!("{module}.{name}");
            let bias = self.builder.parameter(&module, &[self.n.heads])?;
            gate = self.builder.norm((&module, "Add"), gate, &[bias], width)?;
        }
        self.plain((module, "gate"), "Mul", &[context, gate], width)
    }

    /// Queries, and keys and values from one narrow product beside a part that is turned by position.
    fn narrow(
        &mut self,
        state: TensorId,
        module: &str,
        (latent, index): (Latent, Option<Index>),
    ) -> Done<(Vec<TensorId>, TensorId, Option<TensorId>)> {
        let (n, h) = (self.n, self.n.hidden);
        let at = |name: &str| format!("{module}.{name}");
        let has_bias = self.has(self.s.attention.bias)?;
        let width = n.heads.saturating_mul(n.head_dim);
        let mut picked = None;
        let queries = match latent.query_rank {
            None => self.linear(&at("q_proj"), state, (h, width), false)?,
            Some(rank) => {
                let narrow = self.linear(&at("q_a_proj"), state, (h, rank), has_bias)?;
                let narrow = self.norm(&at("q_a_layernorm"), narrow, rank)?;
                if let Some(index) = index {
                    picked = Some(self.picked((state, narrow), &at("indexer"), (index, rank))?);
                }
                self.linear(&at("q_b_proj"), narrow, (rank, width), false)?
            }
        };
        let both = latent.rank.saturating_add(latent.rotary);
        let shared = self.linear(&at("kv_a_proj_with_mqa"), state, (h, both), has_bias)?;
        let normed = self.norm(&at("kv_a_layernorm"), shared, latent.rank)?;
        let wide = n.heads.saturating_mul(latent.plain.saturating_add(n.value_dim));
        let values = self.linear(&at("kv_b_proj"), normed, (latent.rank, wide), false)?;
        let (queries, keys) = match self.s.positions {
            Positions::Rotary => (
                self.plain((module, "rotary_q"), "Rotary", &[queries], width)?,
                self.plain((module, "rotary_k"), "Rotary", &[values, shared], width)?,
            ),
            _ => (queries, self.plain((module, "keys"), "Concat", &[values, shared], width)?),
        };
        Ok(([queries, keys].into_iter().chain(picked).collect(), values, None))
    }

    /// The blocks of tokens that an index picks for each token: scores of its heads, the largest of each block.
    fn picked_blocks(&mut self, state: TensorId, module: &str, index: Index) -> Done {
        let (h, at) = (self.n.hidden, |name: &str| format!("{module}.{name}"));
        let mut both = [state; 2];
        let widths = [index.heads.saturating_mul(index.dim), index.dim];
        for (side, (name, width)) in both.iter_mut().zip(["q", "k"].into_iter().zip(widths)) {
            *side = self.linear(&at(&format!("{name}_proj")), state, (h, width), false)?;
            let norm = at(&format!("{name}_norm"));
            *side = self.norm_of(&norm, *side, (index.dim, width), Norm::Rms)?;
            let rotary = format!("rotary_{name}");
            *side = self.plain((module, &rotary), "Rotary", &[*side], width)?;
        }
        self.best(module, &both, &[index.heads], index)
    }

    /// The tokens that an index picks for each: scores of its heads, weighed and summed.
    fn picked(
        &mut self,
        (state, narrow): (TensorId, TensorId),
        module: &str,
        (index, rank): (Index, u64),
    ) -> Done {
        let (h, at) = (self.n.hidden, |name: &str| format!("{module}.{name}"));
        let width = index.heads.saturating_mul(index.dim);
        let queries = self.linear(&at("wq_b"), narrow, (rank, width), false)?;
        let keys = self.linear(&at("wk"), state, (h, index.dim), false)?;
        let keys = self.norm_of(&at("k_norm"), keys, (index.dim, index.dim), Norm::Layer)?;
        let weights = self.linear(&at("weights_proj"), state, (h, index.heads), false)?;
        self.best(module, &[queries, keys, weights], &[], index)
    }

    /// Scores of all pairs of tokens, for each of `heads`, and the best of each token.
    fn best(&mut self, module: &str, inputs: &[TensorId], heads: &[u64], index: Index) -> Done {
        let (batch, m) = (self.builder.batch, self.builder.sequence);
        let shape = |last: u64| [&[batch], heads, &[m, last]].concat();
        let scores = self.builder.op(&NewOp {
            module,
            part: "scores",
            op_type: "MatMul",
            inputs,
            parameters: &[],
            shape: &shape(m),
            products: &[Product {
                count: batch.saturating_mul(index.heads),
                m,
                k: index.dim,
                n: m,
            }],
        })?;
        self.builder.plain((module, "topk"), "TopK", &[scores], &shape(index.top.min(m)))
    }
}
