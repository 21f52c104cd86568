//! Layers that can run in several configurations, to be cut into the stages of a pipeline.

use crate::units::{Bytes, BytesPerSecond, Nanos};

/// One way to run a layer on `degree` devices (Piper: a TMPC).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// Its name in the file, such as `activation recomp`.
    pub name: String,
    /// Tensor-parallel degree: how many devices it takes.
    pub degree: u32,
    /// Forward and backward time of one sample.
    pub time: Nanos,
    /// Bytes of parameters on each device.
    pub parameters: Bytes,
    /// Bytes on each device for each sample in flight.
    pub bytes_per_sample: Bytes,
    /// Bytes on each device whatever is in flight.
    pub bytes_fixed: Bytes,
    /// Bytes that cross in the forward pass on an edge that comes from this node, beside the edge's own:
    /// (producer, bytes), by producer.
    pub forward_sync: Vec<(u32, Bytes)>,
    /// The same in the backward pass for an edge that goes out: (consumer, bytes), by consumer.
    pub backward_sync: Vec<(u32, Bytes)>,
}

/// A layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageNode {
    /// Its id in the file.
    pub source_id: u64,
    /// Its name, such as `ParallelTransformerLayer`.
    pub name: String,
    /// Configurations, by degree, then in the order of the file.
    pub configurations: Vec<Configuration>,
}

/// Layers for a pipeline with DP and TP degrees per stage.
#[derive(Clone, Debug, PartialEq)]
pub struct StageInstance {
    /// Name of the file, without folder and extensions.
    pub name: String,
    /// The layers.
    pub nodes: Vec<StageNode>,
    /// Producer, consumer and bytes; no loops, no cycles; parallel edges are allowed.
    pub edges: Vec<(u32, u32, Bytes)>,
    /// Devices, `k`.
    pub n_devices: usize,
    /// Memory of one device.
    pub device_memory: Bytes,
    /// Bandwidth of each device to the outside.
    pub bandwidth: BytesPerSecond,
    /// Micro-batches in a batch, `N`.
    pub n_micro_batches: u64,
}
