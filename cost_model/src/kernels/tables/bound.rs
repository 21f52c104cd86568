//! Speed of light: the longer of computing at peak FLOP/s and moving at full memory bandwidth.
//!
//! Measured utilisations are transferred along these shapes; they are no predictions.

use ir::engine_tables::{NumberFormat, SystemRates};

/// The longer of computing and moving, seconds.
fn longer(rates: &SystemRates, number: NumberFormat, flops: f64, bytes: f64) -> f64 {
    let rate = rates.flops.get(&number.unit()).copied().unwrap_or(f64::INFINITY);
    (flops / rate).max(bytes / rates.memory_rate)
}

/// A GEMM of `m x k` by `k x n`.
pub(super) fn gemm(rates: &SystemRates, number: NumberFormat, [m, n, k]: [f64; 3]) -> f64 {
    longer(rates, number, 2.0 * m * n * k, number.bytes() * (m * n + m * k + n * k))
}

/// Shape of an attention kernel.
#[derive(Clone, Copy)]
pub(super) struct Heads {
    pub(super) number: NumberFormat,
    pub(super) cache: NumberFormat,
    /// Query heads.
    pub(super) heads: f64,
    /// Key and value heads.
    pub(super) kv_heads: f64,
    /// Elements of a head.
    pub(super) dim: f64,
    /// Sliding window in tokens; 0 = none.
    pub(super) window: f64,
}

/// Causal prefill attention of `batch` prompts of `tokens` tokens each.
pub(super) fn prefill(rates: &SystemRates, of: Heads, batch: f64, tokens: f64) -> f64 {
    let pairs = if of.window > 0.0 && tokens > of.window {
        2.0 * tokens * of.window
    } else {
        tokens * tokens
    };
    let cached = of.cache.bytes() * 2.0 * of.kv_heads * tokens * of.dim;
    let flops = 2.0 * batch * of.heads * of.dim * pairs;
    longer(rates, of.number, flops, batch * (4.0 * of.heads * tokens * of.dim + cached))
}

/// Decode attention of `batch` requests of `tokens` tokens each.
pub(super) fn decode(rates: &SystemRates, of: Heads, batch: f64, tokens: f64) -> f64 {
    let tokens = if of.window > 0.0 { tokens.min(of.window) } else { tokens };
    let cached = of.cache.bytes() * 2.0 * of.kv_heads * tokens * of.dim;
    let flops = 4.0 * batch * of.heads * of.dim * tokens;
    longer(rates, of.number, flops, batch * (4.0 * of.heads * of.dim + cached))
}

/// Elements of a head without and with rotary position, and of the cached latent vector, of
/// DeepSeek-V3, the model of all MLA tables.
const LATENT: (f64, f64, f64) = (128.0, 64.0, 512.0);

/// Prefill MLA with expanded keys and values.
pub(super) fn mla_prefill(
    rates: &SystemRates,
    (number, cache): (NumberFormat, NumberFormat),
    heads: f64,
    batch: f64,
    tokens: f64,
) -> f64 {
    let (plain, rotary, _) = LATENT;
    let flops = batch * heads * tokens * tokens * (2.0 * plain + rotary);
    let query = 2.0 * (2.0 * plain + rotary) * heads * tokens;
    let keys = cache.bytes() * heads * (2.0 * plain + rotary) * tokens;
    longer(rates, number, flops, batch * (query + keys))
}

/// Decode MLA on the cached latent vectors.
pub(super) fn mla_decode(
    rates: &SystemRates,
    (number, cache): (NumberFormat, NumberFormat),
    heads: f64,
    batch: f64,
    tokens: f64,
) -> f64 {
    let (_, rotary, latent) = LATENT;
    let flops = 2.0 * batch * heads * (2.0 * latent + rotary) * tokens;
    let bytes = batch
        * (2.0 * heads * (2.0 * latent + rotary) + cache.bytes() * (latent + rotary) * tokens);
    longer(rates, number, flops, bytes)
}

/// The batched GEMM of decode MLA on one side.
pub(super) fn mla_bmm(rates: &SystemRates, number: NumberFormat, heads: f64, tokens: f64) -> f64 {
    let (plain, _, latent) = LATENT;
    let flops = 2.0 * tokens * heads * plain * latent;
    let elements = heads * (tokens * (plain + latent) + plain * latent);
    longer(rates, number, flops, number.bytes() * elements)
}

/// Shape of an MoE layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layer {
    pub(super) number: NumberFormat,
    pub(super) experts: f64,
    pub(super) per_token: f64,
    pub(super) hidden: f64,
    pub(super) inner: f64,
    pub(super) tensor: f64,
    pub(super) expert: f64,
    /// GEMMs of an expert: 3 with a gate, else 2.
    pub(super) products: f64,
}

/// An MoE layer on one rank, for `tokens` tokens of all ranks.
pub(super) fn moe(rates: &SystemRates, of: Layer, tokens: f64) -> f64 {
    let visits = tokens * of.per_token / of.expert;
    let inner = of.inner / of.tensor;
    let flops = 2.0 * of.products * visits * inner * of.hidden;
    let present = (of.experts / of.expert).min(visits);
    let elements = 2.0 * of.hidden * visits
        + of.products * inner * visits
        + of.products * of.hidden * inner * present;
    longer(rates, of.number, flops, of.number.bytes() * elements)
}
