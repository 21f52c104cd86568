//! Attention and experts on devices of their own.

use serde::{Deserialize, Serialize};

/// How a step goes through devices that hold attention and others that hold the experts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct DisaggregatedDocument {
    /// Devices that hold all but the experts, each a replica.
    pub attention: Vec<String>,
    /// Devices that share out the experts.
    pub experts: Vec<String>,
    /// What is decided, and how many samples a second that is.
    pub step: SplitDocument,
    /// Parts of a step times tokens of an expert: mean routed tokens of each expert in a part.
    pub tokens_per_expert: f64,
    /// Samples of a step, of all devices.
    pub step_samples: u64,
    /// Bytes on a device of attention: weights, keys and values of its samples.
    pub attention_bytes: u64,
    /// Bytes on a device of experts: its slots in all layers.
    pub expert_bytes: u64,
    /// Bytes that a device holds; absent where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_bytes: Option<u64>,
    /// What is best for samples of other lengths on the same devices, shortest first.
    pub by_length: Vec<LengthDocument>,
}

/// A step in micro-batches, whose tokens go to the experts and back in parts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct SplitDocument {
    /// Samples of a micro-batch on each device of attention.
    pub samples: u64,
    /// Micro-batches.
    pub micro_batches: u32,
    /// Parts of the tokens of one.
    pub parts: u32,
    /// `asas`: what all tokens visit follows each micro-batch's attention; `aass`: that of all of them.
    pub order: String,
    /// Samples of all devices per second.
    pub samples_per_s: f64,
}

/// What is best for samples of a length.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct LengthDocument {
    /// Tokens of a sample, in decoding those that are cached.
    pub tokens: u64,
    /// What is decided.
    pub step: SplitDocument,
}

/// Seconds of the pieces of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct PieceSecondsDocument {
    /// Attention of a micro-batch.
    pub attention: f64,
    /// What all tokens of a micro-batch visit.
    pub shared: f64,
    /// The dispatch, and the combine, of a part; 0 where the layers have no experts.
    pub exchange: f64,
    /// The experts of a part, on the busiest device.
    pub experts: f64,
}

/// A plan of attention and experts on devices of their own in figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GroupsFigures {
    /// Layers.
    pub n_layers: u64,
    /// Seconds of a step.
    pub step_seconds: f64,
    /// Samples of all devices per second.
    pub samples_per_s: f64,
    /// What no groups, sizes, parts and orders are above.
    pub bound_samples_per_s: f64,
    /// The same as `samples_per_s` of `ping-pong`; null where it has no plan.
    pub ping_pong_samples_per_s: Option<f64>,
    /// The same of `naive`.
    pub naive_samples_per_s: Option<f64>,
}
