//! The feed-forward part of a decoder's layer: products, or experts of them.

use ir::id::TensorId;
use ir::op::Product;

use super::Writer;
use super::layers::Fed;
use super::sizes::Experts;
use super::style::{FeedForward, Form, Mixture};
use crate::config::builder::{Done, NewOp};

impl Writer<'_> {
    pub(super) fn fed(&mut self, state: TensorId, layer: &str, fed: Fed) -> Done {
        let feed_forward = self.s.feed_forward;
        let module = joined(layer, feed_forward.module);
        match (fed, self.s.mixture, self.n.experts) {
            (Fed::Linear, ..) => {
                let h = self.n.hidden;
                self.linear(&joined(&module, "linear_mlp"), state, (h, h), false)
            }
            (Fed::Experts, Some(mixture), Some(experts)) => {
                self.mixture(state, layer, (mixture, experts))
            }
            _ => self.dense(state, &module, (feed_forward, self.n.inner)),
        }
    }

    /// A feed-forward part and, of the state before its norm, experts beside it.
    pub(super) fn both(
        &mut self,
        (state, normed): (TensorId, TensorId),
        layer: &str,
        mixture: Mixture,
    ) -> Done {
        let h = self.n.hidden;
        let [behind_dense, before, behind] = mixture.beside.map(|name| joined(layer, name));
        let dense = self.fed(normed, layer, Fed::Dense)?;
        let dense = self.norm(&behind_dense, dense, h)?;
        let state = self.norm(&before, state, h)?;
        let experts = self.fed(state, layer, Fed::Experts)?;
        let experts = self.norm(&behind, experts, h)?;
        self.plain((layer, "add_experts"), "Add", &[dense, experts], h)
    }

    /// One or two products of so many columns, a function, and the product behind it.
    fn dense(
        &mut self,
        state: TensorId,
        module: &str,
        (feed_forward, inner): (FeedForward, u64),
    ) -> Done {
        let h = self.n.hidden;
        let has_bias = self.has(feed_forward.bias)?;
        let [gate, up, down] = feed_forward.names.map(|name| joined(module, name));
        let mut inputs = Vec::new();
        if feed_forward.form == Form::Gated {
            inputs.push(self.linear(&gate, state, (h, inner), has_bias)?);
        }
        let wide = if feed_forward.form == Form::Halves { inner.saturating_mul(2) } else { inner };
        inputs.push(self.linear(&up, state, (h, wide), has_bias)?);
        let mut active = self.activation(&up, &inputs, inner, module)?;
        if !feed_forward.inner_norm.is_empty() {
            active = self.norm(&joined(module, feed_forward.inner_norm), active, inner)?;
        }
        self.linear(&down, active, (inner, h), has_bias)
    }

    /// The function between the products, with its parameters where it has some.
    fn activation(&mut self, up: &str, inputs: &[TensorId], inner: u64, module: &str) -> Done {
        if self.fields().text("hidden_act")? != Some("xielu") {
            return self.plain((up, "activation"), "Activation", inputs, inner);
        }
        let module = joined(module, "act_fn");
        let mut parameters = Vec::new();
        for part in ["alpha_p", "alpha_n"] {
            parameters.push(self.builder.parameter(&format!("{module}.{part}"), &[1])?);
        }
        self.builder.norm((&module, "Activation"), inputs[0], &parameters, inner)
    }

    /// A router, experts that share the tokens evenly, those that all tokens go to, and their sum.
    fn mixture(
        &mut self,
        state: TensorId,
        layer: &str,
        (mixture, sizes): (Mixture, Experts),
    ) -> Done {
        let h = self.n.hidden;
        let module = joined(layer, mixture.module);
        let gate = self.router(state, &module, (mixture, sizes))?;
        let width = sizes.latent.unwrap_or(h);
        let has_bias = self.has(self.s.feed_forward.bias)?;
        let narrow = match sizes.latent {
            Some(n) => self.linear(&joined(&module, mixture.latent[0]), state, (h, n), has_bias)?,
            None => state,
        };
        let tokens = self.builder.tokens().saturating_mul(sizes.per_token);
        let mut outputs = vec![gate];
        for expert in 0..sizes.n {
            let rows = share(tokens, expert, sizes.n);
            let module = format!("{module}.experts.{expert}");
            outputs.push(self.expert(
                &[narrow, gate],
                &module,
                (mixture, [width, sizes.inner], rows),
            )?);
        }
        if let Some(n) = sizes.latent {
            let mut sum = self.plain((&module, "combine_narrow"), "Combine", &outputs, n)?;
            if !mixture.latent[2].is_empty() {
                sum = self.norm(&joined(&module, mixture.latent[2]), sum, n)?;
            }
            let name = joined(&module, mixture.latent[1]);
            outputs = vec![self.linear(&name, sum, (n, h), has_bias)?];
        }
        if sizes.shared > 0 {
            outputs.extend(self.shared(state, layer, (mixture, sizes.shared))?);
        }
        let sum = self.plain((&module, "combine"), "Combine", &outputs, h)?;
        if !mixture.sum_norm.is_empty() {
            return self.norm(&joined(&module, mixture.sum_norm), sum, h);
        }
        if mixture.sum_bias.is_empty() {
            return Ok(sum);
        }
        let module = joined(&module, mixture.sum_bias);
        let bias = self.builder.parameter(&module, &[h])?;
        self.builder.norm((&module, "Add"), sum, &[bias], h)
    }

    /// Scores of the experts. Routers are left in the type of the model.
    pub(super) fn router(
        &mut self,
        state: TensorId,
        module: &str,
        (mixture, sizes): (Mixture, Experts),
    ) -> Done {
        let h = self.n.hidden;
        let name = joined(module, mixture.router);
        let mut parameters =
            vec![self.builder.parameter(&format!("{name}.weight"), &[sizes.n, h])?];
        if self.has(mixture.router_bias)? {
            parameters.push(self.builder.parameter(&format!("{name}.bias"), &[sizes.n])?);
        }
        if !mixture.router_scale.is_empty() {
            let name = joined(module, mixture.router_scale);
            parameters.push(self.builder.parameter(&name, &[h])?);
        }
        if !mixture.score_bias.is_empty() {
            let name = joined(module, mixture.score_bias);
            parameters.push(self.builder.parameter(&name, &[sizes.n])?);
        }
        self.builder.linear((&name, state), &parameters, (self.builder.sequence, h, sizes.n))
    }

    /// One expert of so many rows; none of its products runs where it gets no token.
    fn expert(
        &mut self,
        inputs: &[TensorId],
        module: &str,
        (mixture, [h, inner], rows): (Mixture, [u64; 2], u64),
    ) -> Done {
        let ways: &[&str] =
            if mixture.form == Form::Plain { &["up_proj"] } else { &["gate_proj", "up_proj"] };
        let wide = ways.iter().map(|name| (*name, [inner, h]));
        let mut parameters = Vec::new();
        for (name, shape) in wide.chain([("down_proj", [h, inner])]) {
            let module = format!("{module}.{name}");
            parameters.push(self.builder.weight(self.quantization, &module, shape)?);
            if mixture.biases {
                let name = format!("{module}.bias");
                parameters.push(self.builder.parameter(&name, &shape[..1])?);
            }
        }
        let up = Product { count: 1, m: rows, k: h, n: inner };
        let mut products = vec![up; ways.len()];
        products.push(Product { count: 1, m: rows, k: inner, n: h });
        products.retain(|_| rows > 0);
        let (part, op_type, parameters) = ("", "Expert", &parameters);
        let (shape, products) = (&[rows, h], &products);
        self.builder.op(&NewOp { module, part, op_type, inputs, parameters, shape, products })
    }

    /// What all tokens go through, and what scales it.
    fn shared(
        &mut self,
        state: TensorId,
        layer: &str,
        (mixture, inner): (Mixture, u64),
    ) -> Done<Vec<TensorId>> {
        // Two dots lead out of the module of the experts.
        let (module, form) = match mixture.shared.strip_prefix("..") {
            Some(name) => (joined(layer, name), Form::Halves),
            None => (joined(&joined(layer, mixture.module), mixture.shared), mixture.form),
        };
        let names = match form {
            Form::Halves => ["", "input_linear", "output_linear"],
            _ => ["gate_proj", "up_proj", "down_proj"],
        };
        let part = FeedForward { form, names, inner_norm: "", ..self.s.feed_forward };
        let mut outputs = vec![self.dense(state, &module, (part, inner))?];
        if !mixture.shared_gate.is_empty() {
            let name = joined(&joined(layer, mixture.module), mixture.shared_gate);
            outputs.push(self.linear(&name, state, (self.n.hidden, 1), false)?);
        }
        Ok(outputs)
    }
}

/// How many of so many tokens an expert gets: shares whose sum is all of them.
pub(super) fn share(tokens: u64, expert: u64, n: u64) -> u64 {
    let end = |expert: u64| (u128::from(tokens) * u128::from(expert) / u128::from(n)) as u64;
    end(expert + 1) - end(expert)
}

/// A module inside another one, either of which may be without a name.
pub(super) fn joined(outer: &str, inner: &str) -> String {
    match inner {
        "" => outer.to_owned(),
        _ => format!("{outer}.{inner}"),
    }
}
