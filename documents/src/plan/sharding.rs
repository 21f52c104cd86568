//! Shardings: where each tensor of a training step is split over the axes of a mesh.

use serde::{Deserialize, Serialize};

/// An axis of a mesh of devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct AxisDocument {
    /// Its name.
    pub axis: String,
    /// Devices of a group.
    pub size: u64,
}

/// By axis what it does to a tensor: `R` for replicated, `S(1)` for split along dimension 1, `P` for partial sums.
/// `_S(1,8)` is split along dimension 1 after a later axis of 8 devices (`_StridedShard` of DTensor).
pub type PlacementDocument = Vec<String>;

/// The dimension that an axis splits, and the number of devices of later axes that split it before; none of other
/// placements.
#[must_use]
pub fn split(text: &str) -> Option<(u8, u32)> {
    let inside = |start: &str| text.strip_prefix(start)?.strip_suffix(')');
    match (inside("S("), inside("_S(").and_then(|text| text.split_once(','))) {
        (Some(dim), _) => Some((dim.parse().ok()?, 1)),
        (None, Some((dim, before))) => Some((dim.parse().ok()?, before.parse().ok()?)),
        (None, None) => None,
    }
}

/// An op, or without inputs a parameter or an input of the step. `layers.*` are all layers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct ShardedOpDocument {
    /// Its name.
    pub op: String,
    /// Names of its inputs, then of its outputs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tensors: Vec<String>,
    /// Placements of its inputs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<PlacementDocument>,
    /// Placements of its outputs.
    pub outputs: Vec<PlacementDocument>,
}

/// A collective over the devices of an axis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct CollectiveDocument {
    /// The axis.
    pub axis: String,
    /// `all-reduce`, `reduce-scatter`, `all-gather` or `all-to-all`.
    pub operation: String,
}

/// Collectives that nothing hides.
const fn whole() -> f64 {
    1.0
}

/// Redistribution of a tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct RedistributionDocument {
    /// The tensor.
    pub tensor: String,
    /// As it is produced.
    pub from: PlacementDocument,
    /// As it is used.
    pub to: PlacementDocument,
    /// In their order.
    pub collectives: Vec<CollectiveDocument>,
    /// Bytes of the whole tensor.
    pub bytes: u64,
    /// Seconds of one.
    pub seconds: f64,
    /// How often in a micro-batch.
    pub times: u32,
}

/// Where each tensor of a training step is split.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct ShardingDocument {
    /// Name of the software stack.
    pub stack: String,
    /// Tokens of a sample.
    pub sequence_length: u64,
    /// Axes, the outermost first; devices are numbered along the last.
    pub mesh: Vec<AxisDocument>,
    /// Whether layers run again in the backward pass.
    pub recompute: bool,
    /// Most bytes of a device.
    pub peak_memory_bytes: u64,
    /// The op at which it holds them.
    pub peak_memory_at: String,
    /// Weight of the collectives of parameters and gradients in the program's cost; overlap hides the rest.
    pub exposed_share: f64,
    /// The same of the collectives of all other tensors.
    #[serde(default = "whole")]
    pub exposed_share_of_activations: f64,
    /// Strategies.
    pub ops: Vec<ShardedOpDocument>,
    /// What takes time between ops.
    pub redistributions: Vec<RedistributionDocument>,
}

/// A known way to shard a step, of as many micro-batches.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TemplateFigures {
    /// Its degrees in words, such as `DP 8 x TP 8`.
    pub template: String,
    /// Seconds of a step, replayed.
    pub seconds: f64,
    /// Over those of the plan, less 1.
    pub slower: f64,
}

/// A sharding in figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ShardingFigures {
    /// Seconds of a step, replayed.
    pub seconds: f64,
    /// What the program takes it for: ops and collectives one after another, hidden ones left out.
    pub priced_seconds: f64,
    /// What no sharding of the same micro-batches is priced below.
    pub bound_seconds: f64,
    /// Of a step, seconds of collectives.
    pub collective_seconds: f64,
    /// Of these, those that ops do not hide.
    pub exposed_seconds: f64,
    /// Known ways that fit, the fastest first.
    pub templates: Vec<TemplateFigures>,
    /// The known way that the plan is, where it is one.
    pub is_template: Option<String>,
    /// Micro-batches, one after another.
    pub n_micro_batches: u64,
    /// Most bytes of a device.
    pub peak_memory_bytes: u64,
    /// Strategies of all ops.
    pub n_strategies: u64,
    /// Columns of the integer program.
    pub n_columns: u64,
}
