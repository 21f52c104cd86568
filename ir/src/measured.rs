//! Published measurements: one plain struct per row of a table.
//!
//! Readers live in `importers`, forms in `cost_model`; neither knows the other. Times are
//! seconds, sizes bytes, counts are at least 1 unless stated otherwise.

use crate::card::{ModelCard, Recompute, SequenceParallel, ZeroStage};
use crate::tensor::DType;

/// One matrix product, `m x k` by `k x n`, in 16-bit floats.
#[derive(Clone, Debug, PartialEq)]
pub struct GemmRow {
    /// Name of the GPU in the table, such as `h100_sxm`.
    pub gpu: String,
    /// Rows of the result.
    pub m: u64,
    /// Columns of the result.
    pub n: u64,
    /// Contracted extent.
    pub k: u64,
    /// Time of the kernel in seconds.
    pub time_s: f64,
}

/// Which half of serving an attention call belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AttentionPhase {
    /// All tokens of the prompt at once, causal.
    Prefill,
    /// One query per sequence over the cached tokens.
    Decode,
}

/// One attention call.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionRow {
    /// Name of the GPU in the table.
    pub gpu: String,
    /// Prefill or decode.
    pub phase: AttentionPhase,
    /// Sequences.
    pub batch: u64,
    /// Tokens of each sequence: of the prompt (prefill), in the cache with `step` more (decode).
    pub seq_len: u64,
    /// Query heads.
    pub heads: u64,
    /// Key and value heads.
    pub kv_heads: u64,
    /// Elements of one head.
    pub head_dim: u64,
    /// Cached tokens beyond `seq_len`; 0 for prefill.
    pub step: u64,
    /// Time of the call in seconds.
    pub time_s: f64,
}

/// How tokens spread over experts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ExpertLoad {
    /// Each expert gets the same count.
    Balanced,
    /// The expert of rank `r` gets a share proportional to `r` to the power of minus this exponent.
    PowerLaw(f64),
}

/// One fused mixture-of-experts layer on one rank.
#[derive(Clone, Debug, PartialEq)]
pub struct MoeRow {
    /// Name of the GPU in the table.
    pub gpu: String,
    /// Tokens of all ranks.
    pub tokens: u64,
    /// Hidden size.
    pub hidden: u64,
    /// Hidden size of one expert.
    pub expert_ffn: u64,
    /// Experts per token.
    pub topk: u64,
    /// Experts of the layer.
    pub experts: u64,
    /// Tensor-parallel size inside an expert.
    pub moe_tp: u64,
    /// Expert-parallel size.
    pub moe_ep: u64,
    /// How tokens spread over experts.
    pub load: ExpertLoad,
    /// Time of the layer in seconds.
    pub time_s: f64,
}

/// One measured training step of a transformer.
#[derive(Clone, Debug, PartialEq)]
pub struct StepRow {
    /// Line of the table, from 1.
    pub line: u64,
    /// Name of the model, or of models of one shape, in the table.
    pub model: String,
    /// The model where the row names its config, from which all columns of the model follow.
    pub card: Option<ModelCard>,
    /// Type that it computes in.
    pub dtype: DType,
    /// Blocks; `None` where the table gives only a size.
    pub layers: Option<u32>,
    /// Parameters that the name of the model states, such as 194e9 of `h14400_lunknown_194B`.
    pub stated_parameters: Option<f64>,
    /// Width of the residual stream.
    pub hidden: u64,
    /// Heads; `None` = not stated.
    pub heads: Option<u64>,
    /// Tokens of a sample.
    pub sequence: u64,
    /// Rows of the embedding; `None` = not stated.
    pub vocabulary: Option<u64>,
    /// Devices.
    pub gpus: u64,
    /// Tensor-parallel shards.
    pub tensor: u32,
    /// Pipeline stages.
    pub pipeline: u32,
    /// Chunks of each pipeline rank.
    pub virtual_stages: u32,
    /// Context-parallel ranks.
    pub context: u32,
    /// Ranks that share out experts.
    pub expert: u32,
    /// Data-parallel replicas: devices over tensor, pipeline and context size.
    pub data: u32,
    /// Samples of a micro-batch.
    pub micro_batch: u64,
    /// Samples of a step.
    pub global_batch: u64,
    /// What is computed again.
    pub recompute: Recompute,
    /// Whether tensor ranks split the sequence between tensor-parallel regions.
    pub sequence_parallel: SequenceParallel,
    /// What replicas share out.
    pub zero: ZeroStage,
    /// Seconds of a step.
    pub time_s: f64,
    /// What another model predicts for this row, in seconds.
    pub peer_s: Option<f64>,
}

impl StepRow {
    /// Micro-batches of each replica.
    #[must_use]
    pub fn n_micro_batches(&self) -> u64 {
        let per_round = u64::from(self.data.max(1)).saturating_mul(self.micro_batch.max(1));
        self.global_batch / per_round.max(1)
    }
}

/// What a group of devices does together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CollectiveOperation {
    /// One device sends to another.
    PointToPoint,
    /// One device's buffer goes to all.
    Broadcast,
    /// The sum of all buffers goes to all.
    AllReduce,
    /// The parts of all, one after the other, go to all.
    AllGather,
    /// Each gets its part of the sum of all buffers.
    ReduceScatter,
    /// Each sends another part of its buffer to each.
    AllToAll,
}

/// One collective operation, or one transfer from a device to another.
#[derive(Clone, Debug, PartialEq)]
pub struct CollectiveRow {
    /// Name of the system in the table, such as `h100_sxm`.
    pub system: String,
    /// Library and its version, such as `nccl/2.27.3`.
    pub library: String,
    /// What was done.
    pub operation: CollectiveOperation,
    /// Devices of the group.
    pub ranks: u64,
    /// Devices of the group in one host.
    pub ranks_per_node: u64,
    /// Size as the nccl-tests count it: of the whole buffer of one device; for an all-gather and a
    /// reduce-scatter, of the gathered buffer.
    pub bytes: u64,
    /// Time in seconds.
    pub time_s: f64,
}

/// A stream of work of one device that runs beside others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// Kernels.
    Compute,
    /// Collectives between devices.
    Collective,
    /// Copies from the host to the device.
    HostIn,
    /// Copies from the device to the host.
    HostOut,
}

impl Stream {
    /// All streams, in the order in which figures by stream are kept.
    pub const ALL: [Self; 4] = [Self::Compute, Self::Collective, Self::HostIn, Self::HostOut];
}

/// Streams of one device that ran together, from their common start to the end of the last.
#[derive(Clone, Debug, PartialEq)]
pub struct OverlapRow {
    /// Name of the GPU in the table.
    pub gpu: String,
    /// GPUs of the whole run.
    pub gpus: u64,
    /// GPUs of one collective in one host.
    pub ranks_per_node: u64,
    /// Hosts of one collective.
    pub nodes: u64,
    /// Work of each stream in the order of [`Stream::ALL`], `None` where it was idle:
    /// multiply-adds for compute, else bytes (megabytes of the source taken as 10^6).
    pub work: [Option<u64>; 4],
    /// Time in seconds.
    pub time_s: f64,
}

/// What a data sheet says about a GPU, for judging rows that name it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GpuFacts {
    /// Memory bandwidth in bytes per second.
    pub memory_bandwidth: f64,
    /// Dense 16-bit products in floating-point operations per second.
    pub peak: f64,
    /// Streaming multiprocessors.
    pub n_multiprocessors: u32,
    /// Bytes of the last-level cache; `None` = unknown.
    pub last_level_cache: Option<f64>,
    /// Boost clock in hertz; `None` = unknown.
    pub clock: Option<f64>,
}

/// One matrix product of any element type.
#[derive(Clone, Debug, PartialEq)]
pub struct ProductRow {
    /// Name of the kind of device.
    pub device: String,
    /// Element type of all three matrices.
    pub dtype: DType,
    /// Rows of the result.
    pub m: u64,
    /// Columns of the result.
    pub n: u64,
    /// Contracted extent.
    pub k: u64,
    /// Time of the kernel in seconds.
    pub time_s: f64,
}

/// A kernel that only moves memory.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamRow {
    /// Name of the kind of device.
    pub device: String,
    /// Family, such as `softmax`.
    pub family: String,
    /// Bytes read and written together.
    pub bytes: u64,
    /// Time of the kernel in seconds.
    pub time_s: f64,
}

/// A transfer over a link.
#[derive(Clone, Debug, PartialEq)]
pub struct TransferRow {
    /// Name of the link.
    pub link: String,
    /// Bytes sent.
    pub bytes: u64,
    /// Time in seconds.
    pub time_s: f64,
}

/// Rows of all kinds, from one or more files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measurements {
    /// Matrix products.
    pub products: Vec<ProductRow>,
    /// Attention calls.
    pub attention: Vec<AttentionRow>,
    /// Mixture-of-experts layers.
    pub experts: Vec<MoeRow>,
    /// Collectives.
    pub collectives: Vec<CollectiveRow>,
    /// Streams that ran together, and alone.
    pub overlaps: Vec<OverlapRow>,
    /// Kernels that only move memory.
    pub streams: Vec<StreamRow>,
    /// Transfers.
    pub transfers: Vec<TransferRow>,
}

impl Measurements {
    /// Number of rows of all kinds.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        let kernels = self.products.len() + self.attention.len() + self.experts.len();
        let moved = self.streams.len() + self.transfers.len();
        kernels + moved + self.collectives.len() + self.overlaps.len()
    }
}
