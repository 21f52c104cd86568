//! Disaggregated prefill and decode workers.

use super::Composition;
use super::worker::Lengths;

/// Queueing factor of TTFT and correction of prefill in AIConfigurator.
const FIRST_TOKEN: f64 = 1.8 * 1.1;
/// Correction of TPOT.
const PER_TOKEN: f64 = 1.08;
/// Rate matching: usable fractions of prefill and decode rates.
const MATCHED: (f64, f64) = (0.9, 0.92);

/// Workers of one layout.
#[derive(Clone, Copy, Debug)]
pub struct Pool<'c, 't> {
    /// A worker.
    pub worker: &'c Composition<'t>,
    /// Batch per attention data-parallel rank.
    pub requests: u64,
    /// Workers.
    pub count: u64,
}

/// AIConfigurator's estimate of two pools; KV transfer is free.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Split {
    /// Time to first token (TTFT), seconds.
    pub first_token_s: f64,
    /// Time per output token (TPOT), seconds.
    pub per_token_s: f64,
    /// Requests per second.
    pub requests_per_s: f64,
}

/// Estimates a prefill pool and a decode pool.
#[must_use]
pub fn split(prefill: Pool, decode: Pool, lengths: Lengths) -> Split {
    let ranks = |pool: Pool| {
        let worker = &pool.worker.worker;
        f64::from(worker.pipeline) * f64::from(worker.data) * (pool.count * pool.requests) as f64
    };
    let prompts_s = prefill.worker.prefill(prefill.requests, lengths.prompt, 0).seconds;
    let n_steps = lengths.generated.saturating_sub(1) as f64;
    let steps_s = decode.worker.generation(decode.requests, lengths).seconds;
    let per_token_s = if n_steps > 0.0 { PER_TOKEN * steps_s / n_steps } else { 0.0 };
    let prefilled = MATCHED.0 * ranks(prefill) / prompts_s;
    let decoded = MATCHED.1 * ranks(decode) / (per_token_s * n_steps);
    Split {
        first_token_s: FIRST_TOKEN * prompts_s,
        per_token_s,
        requests_per_s: if n_steps > 0.0 { prefilled.min(decoded) } else { prefilled },
    }
}
