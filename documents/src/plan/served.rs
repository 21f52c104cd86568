//! What an inference pipeline was planned for, and its figures.

use serde::{Deserialize, Serialize};

use super::energy::EnergyPointDocument;
use super::phase::PhaseDocument;

/// What a stage takes and holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct ServedStageDocument {
    /// Nanoseconds of a batch.
    pub ns: u64,
    /// Nanoseconds of its way to the next stage; of the last one of the sampled tokens back to the first.
    pub way_ns: u64,
    /// Bytes of weights.
    pub weight_bytes: u64,
    /// Bytes of keys and values of all batches in flight.
    pub cache_bytes: u64,
    /// All bytes.
    pub peak_bytes: u64,
    /// Bytes that the device may hold; absent = unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_bytes: Option<u64>,
}

/// What an inference pipeline was planned for, and its figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct ServedDocument {
    /// `prefill` or `decode`.
    pub phase: PhaseDocument,
    /// Tokens of each sample that go through the model: 1 in decode.
    pub tokens: u64,
    /// Tokens of each sample that are cached before.
    pub cached: u64,
    /// Batches in flight.
    pub in_flight: u64,
    /// Number of first blocks with experts in host memory (`--n-cpu-moe`).
    #[serde(default, skip_serializing_if = "is_none")]
    pub host_experts: u32,
    /// Nanoseconds of a batch from the first stage until it can begin there again.
    pub latency_ns: u64,
    /// Nanoseconds between the ends of two batches.
    pub period_ns: u64,
    /// Tokens per second of all batches in flight.
    pub tokens_per_s: f64,
    /// By stage.
    pub stages: Vec<ServedStageDocument>,
}

/// Whether there are none of them.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
const fn is_none(n: &u32) -> bool {
    *n == 0
}

/// The best that one device does alone.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AloneDocument {
    /// The device.
    pub device: String,
    /// Seconds of a batch.
    pub latency_seconds: f64,
    /// Tokens per second.
    pub tokens_per_s: f64,
}

/// An inference pipeline in figures, times in seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct InferenceFigures {
    /// Between the ends of two batches.
    pub period_seconds: f64,
    /// Of a batch from its start to its end.
    pub latency_seconds: f64,
    /// What no pipeline of the objective is below.
    pub bound_seconds: f64,
    /// Tokens per second of all batches in flight.
    pub tokens_per_s: f64,
    /// Null where no device holds the model.
    pub alone: Option<AloneDocument>,
    /// Of llama.cpp: tokens per second of prompts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_tokens_per_s: Option<f64>,
    /// Of llama.cpp: tokens of the longest context that fits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest_context: Option<u64>,
    /// Plans that were tried for energy, price or under a cap, of which no other is better in all of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub energy_front: Vec<EnergyPointDocument>,
}
