//! Attention whose queries are experts', and blocks that several layers share.

use ir::diagnostic::Diagnostic;
use ir::id::TensorId;
use ir::op::Product;

use super::Writer;
use super::feed_forward::share;
use super::style::Space;
use crate::config::builder::{Done, NewOp};

impl Writer<'_> {
    /// A product of each expert over the tokens that it gets.
    fn routed_product(
        &mut self,
        module: &str,
        inputs: &[TensorId],
        (tokens, k, n): (u64, u64, u64),
        n_experts: u64,
    ) -> Done<Vec<TensorId>> {
        let mut outputs = Vec::new();
        for expert in 0..n_experts {
            let module = &format!("{module}.{expert}");
            let rows = share(tokens, expert, n_experts);
            let parameters = &[self.builder.weight(self.quantization, module, [n, k])?];
            let mut products = vec![Product { count: 1, m: rows, k, n }];
            products.retain(|_| rows > 0);
            let (part, op_type, shape, products) = ("", "Expert", &[rows, n], &products);
            let new = NewOp { module, part, op_type, inputs, parameters, shape, products };
            outputs.push(self.builder.op(&new)?);
        }
        Ok(outputs)
    }

    /// Attention whose products of queries and outputs are experts (Shen et al. 2024,
    /// arXiv:2404.07413, section 2.2): each token has the heads of the experts that it goes to.
    pub(super) fn routed(&mut self, state: TensorId, module: &str) -> Done {
        let h = self.n.hidden;
        let (Some(experts), Some(mixture)) = (self.n.experts, self.s.mixture) else {
            return Err(Diagnostic::input(
                "missing-field",
                "the config has no `num_local_experts`",
            ));
        };
        let kv_heads = self.fields().count(&["num_key_value_heads"], None)?;
        let dim = self.fields().count(&["kv_channels", "head_dim"], None)?;
        let (width, chosen) = (kv_heads.saturating_mul(dim), experts.per_token);
        let tokens = self.builder.tokens().saturating_mul(chosen);
        let at = |name: &str| format!("{module}.experts.{name}");
        let gate = self.router(state, &format!("{module}.experts"), (mixture, experts))?;
        let size = (tokens, h, width);
        let queries = self.routed_product(&at("input_linear"), &[state, gate], size, experts.n)?;
        let wide = width.saturating_mul(chosen);
        let queries = self.plain((module, "queries"), "Combine", &queries, wide)?;
        let both = self.linear(&format!("{module}.kv_proj"), state, (h, 2 * width), false)?;
        let queries = self.plain((module, "rotary_q"), "Rotary", &[queries], wide)?;
        let keys = self.plain((module, "rotary_k"), "Rotary", &[both], width)?;
        let sizes = [kv_heads.saturating_mul(chosen), dim, dim, self.builder.sequence];
        let context =
            self.builder.attention_of(module, (&[queries, keys], both), (None, None), sizes)?;
        let size = (tokens, width, h);
        let outputs =
            self.routed_product(&at("output_linear"), &[context, gate], size, experts.n)?;
        let sum = self.plain((module, "combine"), "Combine", &outputs, h)?;
        let bias = self.builder.parameter(&at("bias"), &[h])?;
        self.builder.norm((&at("bias"), "Add"), sum, &[bias], h)
    }

    /// A layer of a state space to whose input a shared block's output is added.
    pub(super) fn sharing(&mut self, state: TensorId, layer: &str) -> Done {
        let h = self.n.hidden;
        let n_blocks = self.fields().count(&["num_mem_blocks"], Some(1))?;
        let number = self.n_sharing;
        self.n_sharing += 1;
        if number < n_blocks {
            self.owners.push(layer.to_owned());
        }
        let owner = self.owners.get((number % n_blocks) as usize).map_or(layer, String::as_str);
        let module = format!("{owner}.shared_transformer");
        let embedded = self.embedded.unwrap_or(state);
        let both = self.plain((layer, "concat"), "Concat", &[state, embedded], 2 * h)?;
        let normed = self.norm(&format!("{module}.input_layernorm"), both, 2 * h)?;
        let attended = self.shared_attention(normed, &module, number)?;
        let normed = self.norm(&format!("{module}.pre_ff_layernorm"), attended, h)?;
        let fed = self.shared_feed_forward(normed, &module, number)?;
        let part = self.linear(&format!("{layer}.linear"), fed, (h, h), false)?;
        let sum = self.plain((layer, "add_1"), "Add", &[state, part], h)?;
        let normed = self.norm(&format!("{layer}.mamba_decoder.input_layernorm"), sum, h)?;
        let mixed = self.space(normed, &format!("{layer}.mamba_decoder.mamba"), Space::Heads)?;
        self.plain((layer, "add_2"), "Add", &[state, mixed], h)
    }

    /// A narrow product of its own for each layer that shares a weight, added to that weight's.
    fn adapted(
        &mut self,
        (wide, input): (TensorId, TensorId),
        module: &str,
        (k, n): (u64, u64),
    ) -> Done {
        let rank = self.fields().count(&["adapter_rank"], Some(128))?;
        let narrow = self.linear(&format!("{module}.0"), input, (k, rank), false)?;
        let added = self.linear(&format!("{module}.1"), narrow, (rank, n), false)?;
        self.plain((module, "add"), "Add", &[wide, added], n)
    }

    fn shared_attention(&mut self, state: TensorId, module: &str, number: u64) -> Done {
        let (h, heads) = (self.n.hidden, self.n.heads);
        let (wide, dim) = (2 * h, 2 * h / heads);
        let kv_heads = self.n.kv_heads;
        let is_adapted = self.fields().flag("use_shared_attention_adapter")? == Some(true);
        let module = &format!("{module}.self_attn");
        let mut parts = Vec::new();
        for (name, heads) in [("q", heads), ("k", kv_heads), ("v", kv_heads)] {
            let width = heads.saturating_mul(dim);
            let mut projected =
                self.linear(&format!("{module}.{name}_proj"), state, (wide, width), false)?;
            if is_adapted {
                let module = format!("{module}.linear_{name}_adapter_list.{number}");
                projected = self.adapted((projected, state), &module, (wide, wide))?;
            }
            parts.push(projected);
        }
        let sizes = [heads, dim, dim, self.builder.sequence];
        let both = (&parts[..2], parts[2]);
        let context = self.builder.attention_of(module, both, (None, None), sizes)?;
        self.linear(&format!("{module}.o_proj"), context, (heads.saturating_mul(dim), h), false)
    }

    fn shared_feed_forward(&mut self, state: TensorId, module: &str, number: u64) -> Done {
        let (h, inner) = (self.n.hidden, self.n.inner);
        let (module, wide) = (&format!("{module}.feed_forward"), 2 * inner);
        let has_bias = self.fields().flag("add_bias_linear")? == Some(true);
        let projected =
            self.linear(&format!("{module}.gate_up_proj"), state, (h, wide), has_bias)?;
        let adapter = format!("{module}.gate_up_proj_adapter_list.{number}");
        let projected = self.adapted((projected, state), &adapter, (h, wide))?;
        let active = self.plain((module, "activation"), "Activation", &[projected], inner)?;
        self.linear(&format!("{module}.down_proj"), active, (inner, h), has_bias)
    }
}
