//! States that layers hand on in several parts: streams that are mixed, and what blocks of layers left.

use ir::id::TensorId;
use ir::op::Product;

use super::Writer;
use super::layers::{Fed, Kind};
use super::style::{Mixer, Norm};
use crate::config::builder::{Done, NewOp};

impl Writer<'_> {
    fn n_streams(&self) -> Done<u64> {
        self.fields().count(&["hc_mult"], None)
    }

    /// The embedded tokens as several streams that are equal.
    pub(super) fn spread(&mut self, state: TensorId) -> Done {
        let width = self.n_streams()?.saturating_mul(self.n.hidden);
        let module = format!("{}{}", self.prefix, self.s.tokens);
        self.plain((&module, "spread"), "Expand", &[state], width)
    }

    /// A layer between mixes of its streams.
    pub(super) fn streamed(&mut self, state: TensorId, layer: &str, kind: Kind) -> Done {
        let mut state = state;
        if kind.mixer != Mixer::None {
            let module = format!("{layer}.attn_hc");
            let (collapsed, weights) = self.collapsed(state, &module)?;
            let normed = self.placed(0, layer, collapsed)?;
            let mixed = self.mixed(normed, layer, kind)?;
            state = self.expanded([state, mixed, weights], &module)?;
        }
        if kind.fed != Fed::Absent {
            let module = format!("{layer}.ffn_hc");
            let (collapsed, weights) = self.collapsed(state, &module)?;
            let normed = self.placed(2, layer, collapsed)?;
            let fed = self.fed(normed, layer, kind.fed)?;
            state = self.expanded([state, fed, weights], &module)?;
        }
        Ok(state)
    }

    /// One state of all streams, and the weights by which the part behind it goes back into them.
    fn collapsed(&mut self, state: TensorId, module: &str) -> Done<(TensorId, TensorId)> {
        let n = self.n_streams()?;
        let weights =
            self.stream_weights((state, module), ["fn", "base", "scale"], [n * (n + 2), 3])?;
        let state = self.plain((module, "collapse"), "Mul", &[state, weights], self.n.hidden)?;
        Ok((state, weights))
    }

    /// A product of all streams behind a norm, with a bias and scales.
    fn stream_weights(
        &mut self,
        (state, module): (TensorId, &str),
        names: [&str; 3],
        [columns, scales]: [u64; 2],
    ) -> Done {
        let width = self.n_streams()?.saturating_mul(self.n.hidden);
        let norm = format!("{module}.input_norm");
        let normed = self.norm_of(&norm, state, (width, width), Norm::RmsBare)?;
        let shapes: [&[u64]; 3] = [&[columns, width], &[columns], &[scales]];
        let mut parameters = Vec::new();
        for (name, shape) in names.into_iter().zip(shapes) {
            parameters.push(self.builder.parameter(&format!("{module}.{name}"), shape)?);
        }
        let size = (self.builder.sequence, width, columns);
        self.builder.linear((module, normed), &parameters, size)
    }

    /// The streams mixed with each other, and a part added to each.
    fn expanded(&mut self, inputs: [TensorId; 3], module: &str) -> Done {
        let (n, count) = (self.n_streams()?, self.builder.tokens());
        self.builder.op(&NewOp {
            module,
            part: "expand",
            op_type: "MatMul",
            inputs: &inputs,
            parameters: &[],
            shape: &self.builder.shape(n.saturating_mul(self.n.hidden)),
            products: &[Product { count, m: n, k: n, n: self.n.hidden }],
        })
    }

    /// One state of all streams, behind the last layer.
    pub(super) fn gathered(&mut self, state: TensorId) -> Done {
        let module = format!("{}hc_head", self.prefix);
        let sizes = [self.n_streams()?, 1];
        let names = ["hc_fn", "hc_base", "hc_scale"];
        let weights = self.stream_weights((state, &module), names, sizes)?;
        self.plain((&module, "collapse"), "Mul", &[state, weights], self.n.hidden)
    }

    /// A layer whose parts read the states that blocks of layers left beside the sum of their own block.
    pub(super) fn recalling(&mut self, state: TensorId, layer: &str, kind: Kind) -> Done {
        let h = self.n.hidden;
        let mixed_from = match self.left {
            Some(_) => self.recalled(state, &format!("{layer}.self_attention"))?,
            None => state,
        };
        let is_first = self.at.is_multiple_of(self.fields().count(&["attn_res_block_size"], None)?);
        if is_first {
            let width = self.n_left()?.saturating_mul(h);
            let inputs: Vec<TensorId> = self.left.into_iter().chain([state]).collect();
            self.left = Some(self.plain((layer, "left"), "Concat", &inputs, width)?);
        }
        let normed = self.placed(0, layer, mixed_from)?;
        let mixed = self.mixed(normed, layer, kind)?;
        let sum = match is_first {
            true => mixed,
            false => self.plain((layer, "add_1"), "Add", &[state, mixed], h)?,
        };
        let fed_from = self.recalled(sum, &format!("{layer}.mlp"))?;
        let normed = self.placed(2, layer, fed_from)?;
        let fed = self.fed(normed, layer, kind.fed)?;
        self.plain((layer, "add_2"), "Add", &[sum, fed], h)
    }

    /// States that blocks of layers leave, the first of them the embedded tokens.
    fn n_left(&self) -> Done<u64> {
        let block = self.fields().count(&["attn_res_block_size"], None)?;
        Ok((self.d.layers.len() as u64).div_ceil(block))
    }

    /// A mix of a state and those that blocks of layers left, weighed by a product with each behind a norm.
    /// Layers are made alike: each reads as many as the last one does.
    pub(super) fn recalled(&mut self, state: TensorId, name: &str) -> Done {
        let (h, n) = (self.n.hidden, self.n_left()? + 1);
        let (module, count) = (&format!("{name}_res_proj"), self.builder.tokens());
        let norm = self.builder.parameter(&format!("{name}_res_norm.weight"), &[h])?;
        let weight = self.builder.parameter(&format!("{module}.weight"), &[1, h])?;
        let inputs: Vec<TensorId> = [state].into_iter().chain(self.left).collect();
        self.builder.op(&NewOp {
            module,
            part: "",
            op_type: "MatMul",
            inputs: &inputs,
            parameters: &[norm, weight],
            shape: &self.builder.shape(h),
            products: &[Product { count, m: n, k: h, n: 1 }, Product { count, m: 1, k: n, n: h }],
        })
    }
}
