//! The feed-forward part: two or three products, or experts of them.

use ir::diagnostic::Diagnostic;
use ir::id::TensorId;
use ir::op::Product;

use super::Writer;
use crate::config::architecture::{Bias, Experts, Family};
use crate::config::builder::NewOp;

impl Writer<'_> {
    pub(super) fn feed_forward(
        &mut self,
        state: TensorId,
        layer: &str,
    ) -> Result<TensorId, Diagnostic> {
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
    pub(super) fn mixture(
        &mut self,
        state: TensorId,
        layer: &str,
        experts: Experts,
    ) -> Result<TensorId, Diagnostic> {
        let (h, f) = (self.a.hidden, self.a.feed_forward);
        let module = format!("{layer}.mlp");
        // Routers are left in the type of the model.
        let quantization = self.quantization.take();
        let gate = self.linear(&format!("{module}.gate"), state, (h, experts.n), Bias::Absent)?;
        self.quantization = quantization;
        let rows = self.builder.tokens().saturating_mul(experts.per_token).div_ceil(experts.n);
        let mut outputs = vec![gate];
        for expert in 0..experts.n {
            let module = format!("{module}.experts.{expert}");
            let mut parameters = Vec::new();
            for (name, shape) in [("gate_proj", [f, h]), ("up_proj", [f, h]), ("down_proj", [h, f])]
            {
                let module = format!("{module}.{name}");
                parameters.push(self.builder.weight(self.quantization, &module, shape)?);
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
}
