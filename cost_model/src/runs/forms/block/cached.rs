//! Attention to keys and values of tokens that went through a layer before.

use ir::card::stored::{CacheType, Held};
use ir::card::{Attention, TransformerCard};
use ir::stack::Stack;
use ir::tensor::DType;

use super::super::constants::Constants;
use super::super::precision;
use super::super::run::Sharded;
use super::super::system::System;
use crate::kernels::rates::{Core, Rates};

/// Width of a key and of a value as they are cached, by head or for all heads.
pub(super) fn widths(card: &TransformerCard) -> (u64, u64) {
    match card.attention {
        // Queries are multiplied by what is cached as it is (DeepSeek-AI, arXiv:2405.04434, 2.1.2).
        Attention::Latent { key_value_rank, rotary, .. } => {
            (key_value_rank.saturating_add(rotary), key_value_rank)
        }
        _ => card.head_dims(),
    }
}

/// Bytes of a key or value: as a server keeps them, or in the type of the run.
#[must_use]
pub fn element(stored: Held, dtype: DType) -> f64 {
    stored.cache.map_or(precision::element(dtype), CacheType::bytes)
}

/// Bytes of keys and values of so many bytes an element, of a sample of so many tokens in a layer, on one of
/// so many tensor ranks.
#[must_use]
pub fn bytes(card: &TransformerCard, tokens: u64, (tensor, element): (u32, f64)) -> f64 {
    let span = TransformerCard { sequence: tokens, ..card.clone() }.span() as f64;
    let (key, value) = widths(card);
    // Every rank has all of what is latent, and else the heads of its own.
    let each = match card.attention {
        Attention::Latent { .. } => key as f64,
        _ => {
            let heads = (card.n_kv_heads as f64 / f64::from(tensor.max(1))).max(1.0);
            heads * (key as f64 + value as f64)
        }
    };
    span * each * element
}

/// Seconds of attention of a micro-batch to so many cached tokens of each sample, on one tensor rank:
/// max(keys and values over memory bandwidth, operations at the rate of cores).
pub(super) fn cached_s(
    run: Sharded<'_>,
    cached: u64,
    system: &System,
    (stack, constants): (&Stack, &Constants),
) -> f64 {
    if cached == 0 {
        return 0.0;
    }
    let samples = run.parallelism.micro_batch as f64;
    let tensor = run.parallelism.tensor.max(1);
    let span = TransformerCard { sequence: cached, ..run.card.clone() }.span() as f64;
    let (key, value) = widths(run.card);
    let width = key as f64 + value as f64;
    let queries = samples * run.card.sequence as f64 * run.card.n_heads as f64 / f64::from(tensor);
    let core = Core { flops: 2.0 * queries * span * width, sequence: span, head_dim: width / 2.0 };
    let rates = system.rates(stack, constants, precision::beside(run.dtype));
    let each = element(run.held, run.dtype);
    let moved = samples * bytes(run.card, cached, (tensor, each));
    core_s(&rates, moved, core)
}

/// Seconds of a core that reads so many bytes of keys and values.
pub(super) fn core_s(rates: &Rates, bytes: f64, core: Core) -> f64 {
    rates.pointwise(bytes).max(core.flops / rates.core_rate(core, false))
}
