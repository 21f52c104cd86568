//! Nano-batches of a serving step: pieces of layers that run beside each other.

use serde::{Deserialize, Serialize};

use super::cells::PieceDocument;
use super::phase::PhaseDocument;

/// A row of a table of interference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct InterferenceDocument {
    /// An op.
    #[serde(rename = "runs")]
    pub op: String,
    /// The op that runs beside it on the other stream, or follows it.
    pub beside: String,
    /// `two-streams`, `complementary`, `isolation` or `fused`.
    pub mode: String,
    /// Of `two-streams` and `isolation` what a second of `op` takes; of the others so many times are both
    /// as fast as one after the other.
    pub factor: f64,
}

/// From so many tokens on a step goes through the layers in so many nano-batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct ThresholdDocument {
    /// What steps do.
    pub phase: PhaseDocument,
    /// Tokens of a step on a replica of attention, from.
    pub tokens: u64,
    /// Nano-batches.
    pub nano_batches: u32,
}

/// A serving step whose pieces run beside each other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct ServingDocument {
    /// Tokens of each sample that are cached.
    pub cached: u64,
    /// The least tokens of a nano-batch on a replica.
    pub min_tokens: u64,
    /// What a cut has to gain, as a share of the time without one.
    pub min_gain: f64,
    /// By phase and tokens of a step the nano-batches of layers that are cut, where they change.
    pub thresholds: Vec<ThresholdDocument>,
    /// What ops do to each other; those of no row take turns.
    pub interference: Vec<InterferenceDocument>,
}

/// A piece and its time alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct PieceTimeDocument {
    /// The piece.
    pub piece: PieceDocument,
    /// Seconds alone.
    pub seconds: f64,
}

/// Two pieces that may run at the same time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct BesideDocument {
    /// The one that computes.
    pub compute: PieceDocument,
    /// The one on links.
    pub exchange: PieceDocument,
    /// How they share the device: a mode of the table, or `turns`.
    pub mode: String,
    /// Multiprocessors of the one that computes, in isolation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multiprocessors: Option<u32>,
}

/// Layers in nano-batches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct NanoBatchesDocument {
    /// By nano-batch its samples on a replica of attention: cut after the first ones of the batch.
    pub samples: Vec<u64>,
    /// By nano-batch, how many of its first pieces a period does for the next layer.
    pub ahead: Vec<u32>,
    /// Seconds of a layer in the steady state.
    pub cycle_s: f64,
    /// The same where samples are not cut and nothing is fused.
    pub unsplit_s: f64,
    /// What no cuts and orders that were looked at are below.
    pub bound_s: f64,
    /// Pieces of a layer in the order of each nano-batch.
    pub pieces: Vec<PieceTimeDocument>,
    /// How those share the device that may run at the same time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beside: Vec<BesideDocument>,
}

/// A plan of nano-batches in figures, all in seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NanoBatchesFigures {
    /// Layers.
    pub n_layers: u64,
    /// All layers of a step, from the first piece to the last one.
    pub seconds: f64,
    /// What no cuts and orders that were looked at are below.
    pub bound_seconds: f64,
    /// The same as `seconds` where no samples are cut and nothing is fused.
    pub unsplit_seconds: f64,
    /// The most nano-batches of a layer.
    pub nano_batches: u32,
}
