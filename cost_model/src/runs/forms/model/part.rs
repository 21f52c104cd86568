//! A part of an imported graph on one device: its kernels by their products and bytes.
//!
//! ```text
//! pass   = max(products + pointwise bytes x fused share, launch floor x kernels / kernels of a block)
//! ```
//!
//! Products and bytes are those of the graph's own ops, forward and backward; attention is taken as
//! the graph writes it, not as a fused kernel.

use ir::card::part::{Grows, PartCard, PartPass};
use ir::stack::{Elementwise, Launch};

use super::Pricing;
use super::kind::Kind;
use crate::runs::forms::block::FUSED_SHARE;
use crate::runs::forms::constants::Constant;
use crate::runs::forms::rates::Rates;

/// Kernels of the forward pass of a transformer block, for which the launch floor stands: two
/// norms, four products by weights, two of attention, scores with their mask and their dropout, two
/// biases with dropout and residual, GELU (Megatron-LM of 2021; [`crate::runs::forms::block`]).
const BLOCK_KERNELS: f64 = 13.0;

/// Prices a part for a micro-batch of so many samples.
pub(super) fn kind(pricing: &Pricing<'_>, part: &PartCard, samples: u64) -> Kind {
    let batch = samples as f64;
    let pass = |pass: &PartPass| seconds(pricing, pass, samples);
    let forward_s = pass(&part.forward);
    let weight_s = pass(&part.backward_weight);
    let parameters = part.n_parameters as f64;
    let stash = part.stash as f64 * batch;
    Kind {
        forward_s,
        backward_s: pass(&part.backward_input) + weight_s,
        weight_s,
        again_s: forward_s,
        core_s: 0.0,
        collectives_s: 0.0,
        backward_links_s: [0.0; 2],
        dense: parameters,
        experts: 0.0,
        held_dense: parameters,
        held_experts: 0.0,
        lines_dense: part.n_lines as f64,
        lines_experts: 0.0,
        all: stash,
        without_core: stash,
        input: (part.input as f64 * batch).min(stash),
    }
}

/// Seconds of one pass.
fn seconds(pricing: &Pricing<'_>, pass: &PartPass, samples: u64) -> f64 {
    let rates = Rates::new(pricing.system, pricing.constants, pricing.dtype);
    let beside = Rates::beside(pricing.system, pricing.constants, pricing.dtype);
    let products = pass.products.iter().map(|own| {
        let product = own.of_samples(samples);
        let rates = if own.grows == Grows::Count { &beside } else { &rates };
        own.n_kernels as f64 * rates.product(product.count, [product.m, product.n, product.k])
    });
    let share = match pricing.stack.elementwise {
        Elementwise::Separate => 1.0,
        Elementwise::Fused => FUSED_SHARE,
    };
    let bytes = pass.bytes as f64 * samples as f64 + pass.fixed_bytes as f64;
    let work: f64 = products.sum::<f64>() + rates.pointwise(bytes) * share;
    let n_products: u64 =
        pass.products.iter().map(|own| own.n_kernels).fold(0, u64::saturating_add);
    let n_kernels = n_products as f64 + pass.n_kernels as f64 * share;
    let floor = match pricing.stack.launch {
        Launch::CudaGraphs => 0.0,
        Launch::Eager => pricing.constants.get(Constant::LaunchFloor) / BLOCK_KERNELS * n_kernels,
    };
    work.max(floor)
}
