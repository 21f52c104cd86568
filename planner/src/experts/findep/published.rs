//! Constants and models that FinDEP published: what its orderings are checked with.
//!
//! An op takes `start_up + n each` milliseconds (the paper, figure 7). For `a` samples of `S` tokens on each
//! device of attention, hidden size `M`, `h` heads of `k` and `v` elements, `N` shared experts of a width `H`,
//! `E` experts on `e` devices, of which a token visits `t`:
//!
//! ```text
//! attention   4 products and a core: a (2 S M h (k + v)) and a S^2 h (k + v) multiply-accumulates
//! shared      3 N products of a S M H
//! experts     3 E / e products of tokens t / E x M H
//! exchange    tokens t M / e elements
//! ```
//!
//! The constants of an exchange are stated for 7, 6 and 4 devices of experts of 8; other shares take those of
//! the nearest one. Absolute figures of the paper do not follow from its constants in any unit: orderings and
//! ratios alone are looked at.

use cost_model::streams::groups::{Groups, Line, Prices};

/// Milliseconds of an op, and of each of its units.
pub type Linear = (f64, f64);

/// A product, by multiply-accumulates.
pub const PRODUCT: Linear = (0.17, 8.59e-11);
/// A core of attention, by multiply-accumulates.
pub const CORE: Linear = (0.15, 1.54e-11);
/// Exchanges by elements, and the share of devices that hold experts.
pub const EXCHANGES: [(f64, Linear); 3] =
    [(7.0 / 8.0, (0.10, 9.61e-7)), (6.0 / 8.0, (0.01, 1.28e-6)), (4.0 / 8.0, (0.37, 2.55e-6))];

/// A model.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Layers.
    pub layers: [(u32, usize); 1],
    /// Hidden size.
    pub hidden: f64,
    /// Width of an expert.
    pub width: f64,
    /// Experts of a layer.
    pub experts: f64,
    /// Experts that a token visits.
    pub per_token: f64,
    /// Experts that every token visits.
    pub shared: f64,
    /// Heads, times the elements of a key and a value of one.
    pub heads: f64,
    /// Tokens of a sample.
    pub tokens: u64,
    /// Most samples that a device of attention holds.
    pub most_samples: u64,
}

/// DeepSeek-V2 (arXiv:2405.04434, section 3.1): 128 heads of 192 and 128 elements.
#[must_use]
pub const fn deepseek_v2(layers: u32, tokens: u64, most_samples: u64) -> Model {
    Model {
        layers: [(layers, 0)],
        hidden: 5120.0,
        width: 1536.0,
        experts: 160.0,
        per_token: 6.0,
        shared: 2.0,
        heads: 128.0 * (192.0 + 128.0),
        tokens,
        most_samples,
    }
}

/// Qwen3-235B-A22B (arXiv:2505.09388, table 2): 64 heads of 128 elements.
#[must_use]
pub const fn qwen3_235b(layers: u32, tokens: u64, most_samples: u64) -> Model {
    Model {
        layers: [(layers, 0)],
        hidden: 4096.0,
        width: 1536.0,
        experts: 128.0,
        per_token: 8.0,
        shared: 0.0,
        heads: 64.0 * (128.0 + 128.0),
        tokens,
        most_samples,
    }
}

impl Prices for Model {
    fn layers(&self) -> &[(u32, usize)] {
        &self.layers
    }

    fn tokens(&self) -> u64 {
        self.tokens
    }

    fn attention_s(&self, _: usize, samples: u64) -> [f64; 2] {
        let (n, s) = (samples as f64, self.tokens as f64);
        let products = 2.0 * n * s * self.hidden * self.heads;
        let core = n * s * s * self.heads;
        let attention = 4.0 * PRODUCT.0 + PRODUCT.1 * products + CORE.0 + CORE.1 * core;
        let each = PRODUCT.0 + PRODUCT.1 * n * s * self.hidden * self.width;
        [attention * 1e-3, 3.0 * self.shared * each * 1e-3]
    }

    fn experts(&self, _: usize, [attention, experts]: Groups) -> Option<[Line; 2]> {
        let devices = f64::from(experts);
        let share = devices / f64::from(attention + experts);
        let off = |entry: &&(f64, Linear)| (entry.0 - share).abs();
        let (_, exchange) = EXCHANGES.iter().min_by(|a, b| off(a).total_cmp(&off(b)))?;
        let products = 3.0 * self.experts / devices;
        let visits = self.per_token / self.experts;
        Some([
            Line {
                start_up_s: exchange.0 * 1e-3,
                per_token_s: exchange.1 * self.per_token * self.hidden / devices * 1e-3,
                least_s: 0.0,
            },
            Line {
                start_up_s: products * PRODUCT.0 * 1e-3,
                per_token_s: products * PRODUCT.1 * visits * self.hidden * self.width * 1e-3,
                least_s: 0.0,
            },
        ])
    }

    fn most_samples(&self, _: Groups) -> u64 {
        self.most_samples
    }
}
