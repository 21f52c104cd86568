//! Layers without attention: state spaces, delta rules, products by blocks, gated convolutions.

use ir::id::TensorId;
use ir::op::Product;

use super::Writer;
use super::style::{Delta, Space};
use crate::config::builder::{Done, NewOp};
use crate::config::fields::Fields;

/// Tokens of a block of a delta rule (`torch_chunk_gated_delta_rule` of transformers 5.23).
const DELTA_BLOCK: u64 = 64;

/// Extents of a convolution over so many tokens of each channel.
struct Convolution {
    channels: u64,
    tokens: u64,
    has_bias: bool,
}

/// Of a number that a class may leave to a rule by the word `auto`.
fn stated(fields: Fields<'_>, names: &[&'static str]) -> Done<Option<u64>> {
    for name in names {
        if fields.get(name).is_some_and(|value| value.as_str() != Some("auto")) {
            return fields.optional(name);
        }
    }
    Ok(None)
}

impl Writer<'_> {
    fn number(&self, names: &[&'static str], default: u64) -> Done<u64> {
        Ok(stated(self.fields(), names)?.unwrap_or(default))
    }

    /// The first of these flags that the config has.
    fn flagged(&self, names: &[&str]) -> Done<bool> {
        for name in names {
            if let Some(flag) = self.fields().flag(name)? {
                return Ok(flag);
            }
        }
        Ok(false)
    }

    /// Parameters of an op that are no weights of a product.
    fn extra(&mut self, module: &str, all: &[(&str, &[u64])]) -> Done<Vec<TensorId>> {
        let named = all.iter().map(|(name, shape)| (format!("{module}.{name}"), *shape));
        named.map(|(name, shape)| self.builder.parameter(&name, shape)).collect()
    }

    /// A convolution of each channel by itself.
    fn convolution(&mut self, module: &str, input: TensorId, convolution: &Convolution) -> Done {
        let weight = [convolution.channels, 1, convolution.tokens];
        let mut all: Vec<(&str, &[u64])> = vec![("weight", &weight)];
        if convolution.has_bias {
            all.push(("bias", &weight[..1]));
        }
        let parameters = &self.extra(module, &all)?;
        let count = self.builder.batch.saturating_mul(convolution.channels);
        let products = &[Product { count, m: self.builder.sequence, k: convolution.tokens, n: 1 }];
        let (part, op_type, inputs) = ("", "Conv", &[input]);
        let shape = &self.builder.shape(convolution.channels);
        self.builder.op(&NewOp { module, part, op_type, inputs, parameters, shape, products })
    }

    /// An op of several products that reads states and parameters.
    fn scan(
        &mut self,
        (module, part): (&str, &str),
        (inputs, parameters): (&[TensorId], &[TensorId]),
        width: u64,
        products: &[Product],
    ) -> Done {
        let (op_type, shape) = ("Scan", &self.builder.shape(width));
        self.builder.op(&NewOp { module, part, op_type, inputs, parameters, shape, products })
    }

    /// A selective state space.
    pub(super) fn space(&mut self, state: TensorId, module: &str, space: Space) -> Done {
        match space {
            Space::Channels => self.channels(state, module),
            Space::Heads => self.heads(state, module),
        }
    }

    /// A state for each channel (Gu and Dao 2023, section 3.2).
    fn channels(&mut self, state: TensorId, module: &str) -> Done {
        let (h, at) = (self.n.hidden, |name: &str| format!("{module}.{name}"));
        let inner = self.number(&["expand", "mamba_expand"], 2)?.saturating_mul(h);
        let n = self.number(&["state_size", "mamba_d_state"], 16)?;
        let rank = self.number(&["time_step_rank", "mamba_dt_rank"], h.div_ceil(16))?;
        let has_bias = self.flagged(&["use_bias", "mamba_proj_bias"])?;
        let wide = self.linear(&at("in_proj"), state, (h, 2 * inner), has_bias)?;
        let convolution = Convolution {
            channels: inner,
            tokens: self.number(&["conv_kernel", "mamba_d_conv"], 4)?,
            has_bias: self.flagged(&["use_conv_bias", "mamba_conv_bias"])?,
        };
        let mixed = self.convolution(&at("conv1d"), wide, &convolution)?;
        let narrow = self.linear(&at("x_proj"), mixed, (inner, rank + 2 * n), false)?;
        let mut parts = [narrow; 3];
        if self.s.space_norms {
            let names = [("dt_layernorm", rank), ("b_layernorm", n), ("c_layernorm", n)];
            for (part, (name, width)) in parts.iter_mut().zip(names) {
                *part = self.norm(&at(name), *part, width)?;
            }
        }
        let step = self.linear(&at("dt_proj"), parts[0], (rank, inner), true)?;
        let parameters = self.extra(module, &[("A_log", &[inner, n]), ("D", &[inner])])?;
        // What leaves the state: a product of each token. How the state moves is no product.
        let products = &[Product { count: self.builder.tokens(), m: inner, k: n, n: 1 }];
        let inputs = &[mixed, step, parts[1], parts[2]];
        let scanned = self.scan((module, "scan"), (inputs, &parameters), inner, products)?;
        let gated = self.plain((module, "gate"), "Mul", &[scanned, wide], inner)?;
        self.linear(&at("out_proj"), gated, (inner, h), has_bias)
    }

    /// A state for each head, by blocks of tokens (Dao and Gu 2024, section 6).
    fn heads(&mut self, state: TensorId, module: &str) -> Done {
        let (h, at) = (self.n.hidden, |name: &str| format!("{module}.{name}"));
        let heads_names: &[&'static str] =
            &["mamba_n_heads", "mamba_num_heads", "n_mamba_heads", "num_heads"];
        let heads = self.number(heads_names, 1)?;
        let expanded = self.number(&["expand", "mamba_expand"], 2)?.saturating_mul(h);
        let inner = match stated(self.fields(), &["mamba_head_dim"])? {
            Some(dim) => heads.saturating_mul(dim),
            None => self.number(&["mamba_d_ssm"], expanded)?,
        };
        let groups = self.number(&["n_groups", "mamba_n_groups", "mamba_ngroups"], 1)?;
        let n = self.number(&["state_size", "mamba_d_state", "ssm_state_size"], 128)?;
        let channels = inner.saturating_add(2 * groups.saturating_mul(n));
        let has_bias = self.flagged(&["use_bias", "mamba_proj_bias", "add_bias_linear"])?;
        let out_bias =
            self.flagged(&["use_bias", "projectors_bias", "mamba_proj_bias", "add_bias_linear"])?;
        let columns = inner.saturating_add(channels).saturating_add(heads);
        let wide = self.linear(&at("in_proj"), state, (h, columns), has_bias)?;
        let convolution = Convolution {
            channels,
            tokens: self.number(&["conv_kernel", "mamba_d_conv"], 4)?,
            // One family's class has it whatever the config says.
            has_bias: self.fields().get("n_mamba_heads").is_some()
                || self.flagged(&["use_conv_bias", "mamba_conv_bias"])?,
        };
        let mixed = self.convolution(&at("conv1d"), wide, &convolution)?;
        let parameters =
            self.extra(module, &[("dt_bias", &[heads]), ("A_log", &[heads]), ("D", &[heads])])?;
        let block = self.number(&["chunk_size", "mamba_chunk_size"], 256)?;
        let products = &self.blocks((heads, inner.div_ceil(heads)), n, block);
        let mut scanned =
            self.scan((module, "scan"), (&[mixed, wide], &parameters), inner, products)?;
        if self.fields().flag("mamba_rms_norm")? != Some(false) {
            scanned = self.norm(&at("norm"), scanned, inner)?;
        }
        let gated = self.plain((module, "gate"), "Mul", &[scanned, wide], inner)?;
        self.linear(&at("out_proj"), gated, (inner, h), out_bias)
    }

    /// Products of a state space of heads, whose samples are filled up to whole blocks.
    fn blocks(&self, (heads, dim): (u64, u64), n: u64, block: u64) -> [Product; 5] {
        let blocks = self.builder.sequence.div_ceil(block);
        let all = self.builder.batch.saturating_mul(heads);
        let count = all.saturating_mul(blocks);
        [
            Product { count, m: block, k: n, n: block },
            Product { count, m: block, k: block, n: dim },
            Product { count, m: n, k: block, n: dim },
            Product { count: all, m: blocks + 1, k: blocks + 1, n: dim.saturating_mul(n) },
            Product { count, m: block, k: n, n: dim },
        ]
    }

    /// A gated delta rule, by blocks of tokens (Yang et al. 2024, arXiv:2412.06464, section 3.3).
    pub(super) fn delta(&mut self, state: TensorId, module: &str, delta: Delta) -> Done {
        let (h, at) = (self.n.hidden, |name: &str| format!("{module}.{name}"));
        if delta == Delta::Channels {
            return self.delta_of_channels(state, module);
        }
        let heads = self.number(&["linear_num_value_heads"], 32)?;
        let [k, v] = [
            self.number(&["linear_key_head_dim"], 128)?,
            self.number(&["linear_value_head_dim"], 128)?,
        ];
        let keys = self.number(&["linear_num_key_heads"], 16)?.saturating_mul(k);
        let values = heads.saturating_mul(v);
        let channels = keys.saturating_mul(2).saturating_add(values);
        let parts: &[(&str, u64)] = match delta {
            Delta::Pair | Delta::Channels => {
                &[("in_proj_qkvz", channels + values), ("in_proj_ba", 2 * heads)]
            }
            Delta::Four => &[
                ("in_proj_qkv", channels),
                ("in_proj_z", values),
                ("in_proj_b", heads),
                ("in_proj_a", heads),
            ],
        };
        let mut inputs = Vec::new();
        for (name, columns) in parts {
            inputs.push(self.linear(&at(name), state, (h, *columns), false)?);
        }
        let tokens = self.number(&["linear_conv_kernel_dim"], 4)?;
        let convolution = Convolution { channels, tokens, has_bias: false };
        let wide = inputs[0];
        inputs[0] = self.convolution(&at("conv1d"), wide, &convolution)?;
        let parameters = self.extra(module, &[("dt_bias", &[heads]), ("A_log", &[heads])])?;
        let products = &self.delta_products(heads, [k, v]);
        let scanned = self.scan((module, "scan"), (&inputs, &parameters), values, products)?;
        let norm = (v, values);
        let normed = self.norm_of(&at("norm"), scanned, norm, super::style::Norm::Rms)?;
        let gated = self.plain((module, "gate"), "Mul", &[normed, wide], values)?;
        self.linear(&at("out_proj"), gated, (values, h), false)
    }

    /// The same with a decay for each channel (Kimi Team 2025, arXiv:2510.26692, section 3).
    fn delta_of_channels(&mut self, state: TensorId, module: &str) -> Done {
        let (h, at) = (self.n.hidden, |name: &str| format!("{module}.{name}"));
        let heads = self.number(&["linear_num_heads"], 32)?;
        let dim = self.number(&["linear_head_dim"], 128)?;
        let width = heads.saturating_mul(dim);
        let mut all = Vec::new();
        for name in ["q_proj", "k_proj", "v_proj"] {
            all.push(self.linear(&at(name), state, (h, width), false)?);
        }
        let channels = width.saturating_mul(3);
        let joined = self.plain((module, "joined"), "Concat", &all, channels)?;
        let tokens = self.number(&["linear_conv_kernel_dim"], 4)?;
        let convolution = Convolution { channels, tokens, has_bias: false };
        let mixed = self.convolution(&at("conv1d"), joined, &convolution)?;
        let narrow = self.linear(&at("forget_gate.f_a_proj"), state, (h, dim), false)?;
        let decay = self.linear(&at("forget_gate.f_b_proj"), narrow, (dim, width), false)?;
        let beta = self.linear(&at("b_proj"), state, (h, heads), false)?;
        let parameters =
            self.extra(&at("forget_gate"), &[("dt_bias", &[width]), ("A_log", &[1, 1, heads, 1])])?;
        let products = &self.delta_products(heads, [dim, dim]);
        let inputs = &[mixed, decay, beta];
        let scanned = self.scan((module, "scan"), (inputs, &parameters), width, products)?;
        let stated = self.fields().get("linear_attn_config");
        let is_whole = stated.and_then(|stated| stated.get("use_full_rank_gate")?.as_bool());
        let gate = match is_whole {
            Some(true) => self.linear(&at("g_proj"), state, (h, width), false)?,
            _ => {
                let narrow = self.linear(&at("g_a_proj"), state, (h, dim), false)?;
                self.linear(&at("g_b_proj"), narrow, (dim, width), false)?
            }
        };
        let norm = (dim, width);
        let normed = self.norm_of(&at("o_norm"), scanned, norm, super::style::Norm::Rms)?;
        let gated = self.plain((module, "gate"), "Mul", &[normed, gate], width)?;
        self.linear(&at("o_proj"), gated, (width, h), false)
    }

    fn delta_products(&self, heads: u64, [k, v]: [u64; 2]) -> Vec<Product> {
        let block = DELTA_BLOCK;
        let blocks = self.builder.sequence.div_ceil(block);
        let count = self.builder.batch.saturating_mul(heads).saturating_mul(blocks);
        let of = |m, k, n| Product { count, m, k, n };
        vec![
            // Keys with keys and queries with keys; what the inverse of the first makes of values and
            // keys.
            of(block, k, block),
            of(block, k, block),
            of(block, block, v),
            of(block, block, k),
            // Old state through keys and through queries; new values; new state.
            of(block, k, v),
            of(block, k, v),
            of(block, block, v),
            of(k, block, v),
        ]
    }

    /// Attention without a softmax, by blocks of tokens (MiniMax 2025, arXiv:2501.08313, section 2.2).
    pub(super) fn lightning(&mut self, state: TensorId, module: &str) -> Done {
        let (h, at) = (self.n.hidden, |name: &str| format!("{module}.{name}"));
        let (heads, dim) = (self.n.heads, self.n.head_dim);
        let width = heads.saturating_mul(dim);
        let all = self.linear(&at("qkv_proj"), state, (h, width.saturating_mul(3)), false)?;
        let block = self.number(&["block_size"], 256)?.min(self.builder.sequence);
        let blocks = self.builder.sequence.div_ceil(block);
        let count = self.builder.batch.saturating_mul(heads).saturating_mul(blocks);
        let of = |m, k, n| Product { count, m, k, n };
        let products = &[
            of(block, dim, block),
            of(block, block, dim),
            of(block, dim, dim),
            of(dim, block, dim),
        ];
        let mixed = self.scan((module, "scan"), (&[all], &[]), width, products)?;
        let normed = self.norm(&at("norm"), mixed, width)?;
        let gate = self.linear(&at("output_gate"), state, (h, width), false)?;
        let gated = self.plain((module, "gate"), "Mul", &[normed, gate], width)?;
        self.linear(&at("out_proj"), gated, (width, h), false)
    }

    /// A convolution between two gates.
    pub(super) fn short_convolution(&mut self, state: TensorId, module: &str) -> Done {
        let h = self.n.hidden;
        let has_bias = self.flagged(&["conv_bias"])?;
        let wide = self.linear(&format!("{module}.in_proj"), state, (h, 3 * h), has_bias)?;
        let tokens = self.number(&["conv_L_cache"], 3)?;
        let convolution = Convolution { channels: h, tokens, has_bias };
        let mixed = self.convolution(&format!("{module}.conv"), wide, &convolution)?;
        let gated = self.plain((module, "gate"), "Mul", &[mixed, wide], h)?;
        self.linear(&format!("{module}.out_proj"), gated, (h, h), has_bias)
    }

    /// A gated linear recurrence (De et al. 2024, arXiv:2402.19427, section 2.4).
    pub(super) fn recurrence(&mut self, state: TensorId, module: &str) -> Done {
        let (h, at) = (self.n.hidden, |name: &str| format!("{module}.{name}"));
        let width = self.number(&["lru_width"], h)?;
        let (heads, block) = (self.n.heads, width / self.n.heads);
        let gate = self.linear(&at("linear_y"), state, (h, width), true)?;
        let input = self.linear(&at("linear_x"), state, (h, width), true)?;
        let tokens = self.number(&["conv1d_width"], 4)?;
        let conv = Convolution { channels: width, tokens, has_bias: true };
        let mixed = self.convolution(&at("conv_1d"), input, &conv)?;
        let module = &at("rg_lru");
        let (square, row): (&[u64], &[u64]) = (&[heads, block, block], &[heads, block]);
        let all = [
            ("recurrent_param", &[width][..]),
            ("input_gate_weight", square),
            ("input_gate_bias", row),
            ("recurrent_gate_weight", square),
            ("recurrent_gate_bias", row),
        ];
        let parameters = self.extra(module, &all)?;
        let product = Product { count: heads, m: self.builder.tokens(), k: block, n: block };
        let scanned = self.scan((module, "scan"), (&[mixed], &parameters), width, &[product; 2])?;
        let gated = self.plain((module, "gate"), "Mul", &[scanned, gate], width)?;
        self.linear(&at("linear_out"), gated, (width, h), true)
    }
}
