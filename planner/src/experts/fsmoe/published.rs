//! Constants and layers that FSMoE published: what its figures are checked with.
//!
//! An op on `n` elements takes `start_up + n each` milliseconds. With `B L` tokens of a host, each of
//! which visits `k` experts at a capacity factor `f`, hidden size `M`, expert width `H`, `g` products of
//! an expert and `E` shards of it on a host:
//!
//! ```text
//! exchange          f k B L M / E
//! gather, scatter   f k B L M
//! experts           f k B L M H g / E multiply-accumulates, start-up of g products
//! ```
//!
//! The backward pass takes experts twice as long, start-up included (the tool's own rule).

use cost_model::streams::moe::PartTimes;
use cost_model::streams::moe_step::{Layer, Reduce};

use super::MOST_PARTS;

/// Milliseconds of an op, and of each of its elements.
pub type Linear = (f64, f64);

/// Milliseconds of ops on a cluster.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Constants {
    /// All-to-all between hosts.
    pub all_to_all: Linear,
    /// All-gather inside a host.
    pub gather: Linear,
    /// Matrix product, by multiply-accumulates.
    pub product: Linear,
    /// Reduce-scatter inside a host.
    pub scatter: Linear,
    /// All-reduce between hosts.
    pub all_reduce: Linear,
}

/// Defaults of the published tool (`tools/optim.py`).
pub const TOOL: Constants = Constants {
    all_to_all: (0.235, 1.854e-6),
    gather: (0.0549, 6.724e-7),
    product: (0.592, 5.685e-11),
    scatter: (0.0688, 6.704e-7),
    all_reduce: (0.341, 3.495e-6),
};
/// Testbed B: 8 hosts of four RTX 2080 Ti (the paper, figure 5).
pub const TESTBED_B: Constants = Constants {
    all_to_all: (0.175, 3.06e-7),
    gather: (0.032, 1.68e-7),
    product: (0.0924, 4.42e-11),
    scatter: (0.0391, 1.67e-7),
    all_reduce: (0.0837, 5.99e-7),
};

/// A layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Samples, tokens of one, and experts that a token visits times the capacity factor.
    pub visits: f64,
    /// Hidden size.
    pub hidden: f64,
    /// Width of an expert.
    pub width: f64,
    /// Products of an expert.
    pub products: f64,
    /// Shards of an expert on a host.
    pub shards: f64,
}

/// Seconds of its parts, for every number of them.
#[must_use]
pub fn layer(shape: &Shape, constants: &Constants, gradient_bytes: u64) -> Layer {
    let elements = shape.visits * shape.hidden;
    let work = elements * shape.width * shape.products / shape.shards;
    let times = |n: u32, pass: f64| {
        let of = |(start_up, each): Linear, all: f64| (start_up + all / f64::from(n) * each) * 1e-3;
        let product = (shape.products * constants.product.0, constants.product.1);
        PartTimes {
            exchange_s: of(constants.all_to_all, elements / shape.shards),
            gather_s: of(constants.gather, elements),
            experts_s: pass * of(product, work),
            scatter_s: of(constants.scatter, elements),
        }
    };
    let each = |pass: f64| (1..=MOST_PARTS).map(|n| times(n, pass)).collect();
    Layer { forward: each(1.0), backward: each(2.0), others_s: [0.0; 2], gradient_bytes }
}

/// The all-reduce of gradients of 4 bytes.
#[must_use]
pub fn reduce(constants: &Constants) -> Reduce {
    let (start_up, each) = constants.all_reduce;
    Reduce { start_up_s: start_up * 1e-3, per_byte_s: each * 1e-3 / 4.0 }
}

/// The grid of layers that the paper measures on its Testbed B: samples, tokens, hidden sizes, widths,
/// capacity factors (1.2, 2.4 and none) times two visits, products of an expert, and three numbers of
/// heads, which no expert sees: such layers stand side by side.
#[must_use]
pub fn grid() -> Vec<Shape> {
    let mut all = Vec::new();
    for samples in [1.0, 2.0, 4.0] {
        for tokens in [256.0, 512.0, 1024.0] {
            for hidden in [1024.0, 2048.0, 4096.0] {
                for wider in [2.0, 3.0, 4.0] {
                    for visits in [2.4, 4.8, 2.0] {
                        for products in [2.0, 3.0] {
                            let visits = samples * tokens * visits;
                            let (width, shards) = (wider * hidden, 4.0);
                            let shape = Shape { visits, hidden, width, products, shards };
                            all.extend([shape; 3]);
                        }
                    }
                }
            }
        }
    }
    all
}
