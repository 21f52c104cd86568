//! What runs at the same time inside a layer: pieces on streams.

use serde::{Deserialize, Serialize};

/// A part of an op, of some of the samples.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct PieceDocument {
    /// The op.
    pub op: String,
    /// Which of the nano-batches that the samples are cut into, from 0.
    pub nano_batch: u32,
    /// Which part of the op, from 0.
    pub part: u32,
}

/// What runs one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct StreamDocument {
    /// What it occupies: `compute`, `intra-node`, `inter-node` or another resource.
    pub resource: String,
    /// In order.
    pub pieces: Vec<PieceDocument>,
}

/// What runs at the same time inside a cell. Streams run beside each other; everything starts as early
/// as orders and the ops before it allow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct CellDocument {
    /// The forward (`0F`) or backward (`0B`) pass of one of the layers of an entry of `experts.layers`, by
    /// its position. Between groups of devices streams go on with the next layer where they end one.
    pub cell: String,
    /// Its streams.
    pub streams: Vec<StreamDocument>,
}

/// A plan of pieces on streams in figures, all in seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StreamsFigures {
    /// Layers.
    pub n_layers: u64,
    /// Both passes of all layers, with the exposed exchange of gradients.
    pub seconds: f64,
    /// What no numbers of parts and slices of gradients are below.
    pub bound_seconds: f64,
    /// The same as `seconds` where every layer goes through in one part, and gradients follow the last.
    pub unsplit_seconds: f64,
    /// Bytes of gradients.
    pub gradient_bytes: u64,
    /// Of these, what follows the last layer.
    pub rest_bytes: u64,
}
