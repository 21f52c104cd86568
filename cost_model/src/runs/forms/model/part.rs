//! A part of an imported graph on one device: its kernels by their products and bytes.
//!
//! ```text
//! pass   = max(products + attention + pointwise bytes, launch floor x kernels / kernels of a block)
//!          (on a processor the sum of both)
//! ```
//!
//! Products and bytes are those of the graph's own ops, forward and backward: one by one, or as a
//! stack runs them that fuses ([`crate::ops::workload`]), where placements of ops have the same price.

use ir::card::part::{Grows, PartCard, PartCore, PartPass};
use ir::stack::{AttentionKernel, Elementwise, Launch, Stack};

use super::Pricing;
use super::kind::Kind;
use crate::kernels::price::step::{BLOCK_KERNELS, FUSED_BLOCK_KERNELS};
use crate::kernels::rates::Core;
use crate::runs::forms::block::FUSED_SHARE;
use crate::runs::forms::constants::Constant;
use crate::runs::forms::precision::beside;

/// A part as a stack runs it, and whether its pointwise kernels are fused.
pub(super) fn run_by<'p>(stack: &Stack, part: &'p PartCard) -> (&'p PartCard, bool) {
    let fuses =
        stack.elementwise == Elementwise::Fused && stack.attention == AttentionKernel::Flash;
    match part.fused.as_deref().filter(|_| fuses) {
        Some(fused) => (fused, true),
        None => (part, false),
    }
}

/// Prices a part for a micro-batch of so many samples.
pub(super) fn kind(pricing: &Pricing<'_>, part: &PartCard, samples: u64) -> Kind {
    let (part, is_fused) = run_by(pricing.stack, part);
    let batch = samples as f64;
    let floor = floor(pricing, part, is_fused);
    let pass = |pass: &PartPass, is_backward: bool| {
        let work_s = work(pricing, pass, samples, (is_fused, is_backward));
        pricing.stack.launch.joined(work_s, floor(pass))
    };
    let forward_s = pass(&part.forward, false);
    let weight_s = pass(&part.backward_weight, true);
    let parameters = part.n_parameters as f64;
    let stash = part.stash as f64 * batch;
    let before = part.kept_before.iter().map(|(_, bytes)| *bytes).fold(0, u64::saturating_add);
    Kind {
        forward_s,
        backward_s: pass(&part.backward_input, true) + weight_s,
        weight_s,
        recompute_s: forward_s,
        core_s: 0.0,
        per_op_s: 0.0,
        split_bytes: 0.0,
        collectives_s: 0.0,
        axes_s: [0.0; 2],
        backward_links_s: [0.0; 2],
        cards_s: [0.0; 2],
        dense: parameters,
        experts: 0.0,
        held_dense: parameters,
        held_experts: 0.0,
        lines_dense: part.n_lines as f64,
        lines_experts: 0.0,
        frozen: [0.0; 2],
        update_s: 0.0,
        all: stash,
        without_core: stash,
        per_op: stash,
        input: (part.input as f64 * batch).min(stash + before as f64 * batch),
    }
}

/// Least seconds of a pass on the host: of its kernels one by one; fused, those of the forward pass,
/// in both halves of the backward pass too.
fn floor(
    pricing: &Pricing<'_>,
    part: &PartCard,
    is_fused: bool,
) -> impl Fn(&PartPass) -> f64 + use<> {
    let share = match (is_fused, pricing.stack.elementwise) {
        (true, _) | (false, Elementwise::Separate | Elementwise::Eager) => 1.0,
        (false, Elementwise::Fused) => FUSED_SHARE,
    };
    let each = match pricing.stack.launch {
        Launch::CudaGraphs => 0.0,
        Launch::Eager | Launch::Inline => {
            let kernels = if is_fused { FUSED_BLOCK_KERNELS } else { BLOCK_KERNELS };
            pricing.constants.get(Constant::LaunchFloor) / kernels
        }
    };
    let n_kernels = move |pass: &PartPass| {
        let products = pass.products.iter().map(|product| product.n_kernels);
        products.fold(0, u64::saturating_add) as f64 + pass.n_kernels as f64 * share
    };
    let of_forward = is_fused.then(|| n_kernels(&part.forward));
    move |pass| each * of_forward.unwrap_or_else(|| n_kernels(pass))
}

/// Seconds of one pass, launched in time.
fn work(
    pricing: &Pricing<'_>,
    pass: &PartPass,
    samples: u64,
    (is_fused, is_backward): (bool, bool),
) -> f64 {
    let rates = pricing.system.rates(pricing.stack, pricing.constants, pricing.dtype);
    let beside = pricing.system.rates(pricing.stack, pricing.constants, beside(pricing.dtype));
    let products = pass.products.iter().map(|part_product| {
        let product = part_product.of_samples(samples);
        let rates = if part_product.grows == Grows::Count { &beside } else { &rates };
        part_product.n_kernels as f64
            * rates.product(product.count, [product.m, product.n, product.k])
    });
    let bytes = pass.bytes as f64 * samples as f64 + pass.fixed_bytes as f64;
    let products: f64 = products.sum();
    if !is_fused {
        let share = match pricing.stack.elementwise {
            Elementwise::Separate | Elementwise::Eager => 1.0,
            Elementwise::Fused => FUSED_SHARE,
        };
        return products + rates.pointwise(bytes) * share;
    }
    let added = pricing.gradients.added(pricing.dtype) * pass.added as f64;
    let core = |part_core: &PartCore| {
        let core = Core {
            flops: part_core.flops as f64 * samples as f64,
            sequence: part_core.sequence as f64,
            head_dim: part_core.head_dim as f64,
        };
        rates.fused_attention(core, is_backward)
    };
    let attention: f64 = pass.attention.iter().map(core).sum();
    products + attention + rates.pointwise(bytes + added)
}
