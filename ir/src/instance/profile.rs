//! Layers with measured times, as a profiler wrote them down.

use crate::units::{Bytes, Nanos};

/// A layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileNode {
    /// Its id in the file, such as `node4`.
    pub id: String,
    /// What it is, such as `Linear(in_features=4096, out_features=1000, bias=True)`.
    pub description: String,
    /// Forward time of one micro-batch.
    pub forward: Nanos,
    /// Backward time of one micro-batch.
    pub backward: Nanos,
    /// Bytes of all its outputs.
    pub activations: Bytes,
    /// Bytes of its parameters.
    pub parameters: Bytes,
}

/// Layers for a straight pipeline; the times of the files are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerProfile {
    /// Name of the file, without folder and extensions.
    pub name: String,
    /// The layers, in the order of the file.
    pub nodes: Vec<ProfileNode>,
    /// Producer and consumer, in the order of the file, each pair once; no loops, no cycles.
    pub edges: Vec<(u32, u32)>,
}
