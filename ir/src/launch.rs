//! What the settings of a launcher say about a training run.

use std::collections::{BTreeMap, BTreeSet};

use crate::card::{Recompute, SequenceParallel, ZeroStage};
use crate::plan::{BlockPolicy, Mesh};
use crate::stack::{AttentionKernel, Dispatcher, Launch, Scaling};
use crate::tensor::DType;
use crate::tuning::Adapter;
use crate::workload::Optimizer;

/// What settings say of the software stack; `None` = as in the stack of the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StackSettings {
    /// Scaling of 8-bit operands.
    pub scaling: Option<Scaling>,
    /// How kernels are launched.
    pub launch: Option<Launch>,
    /// Kernel of the attention core.
    pub attention: Option<AttentionKernel>,
    /// How tokens reach experts.
    pub dispatcher: Option<Dispatcher>,
    /// Whether exchanges of experts run beside another micro-batch.
    pub overlaps_experts: Option<bool>,
    /// Whether collectives of tensor ranks run beside products.
    pub overlaps_tensor: Option<bool>,
    /// Whether blocks are compiled (PyTorch's `torch.compile`).
    pub compiled: Option<bool>,
}

/// Settings; `None` = left to the launcher.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaunchSettings {
    /// Data-parallel replicas.
    pub data: Option<u32>,
    /// Tensor-parallel shards.
    pub tensor: Option<u32>,
    /// Pipeline ranks.
    pub pipeline: Option<u32>,
    /// Context-parallel shards.
    pub context: Option<u32>,
    /// Expert-parallel shards.
    pub expert: Option<u32>,
    /// Tensor-parallel shards of an expert; `None` = as many as of all else.
    pub expert_tensor: Option<u32>,
    /// Chunks of the model on each pipeline rank.
    pub virtual_stages: Option<u32>,
    /// Samples of a micro-batch.
    pub micro_batch: Option<u64>,
    /// Micro-batches of a step, of each replica.
    pub n_micro_batches: Option<u64>,
    /// Samples of a step over all replicas.
    pub global_batch: Option<u64>,
    /// Tokens of a sample.
    pub sequence_length: Option<u64>,
    /// Whether tensor ranks split the sequence.
    pub sequence: Option<SequenceParallel>,
    /// What the replicas share out.
    pub zero: Option<ZeroStage>,
    /// Which axis lies on which tier.
    pub mesh: Option<Mesh>,
    /// What every stage computes again.
    pub recompute: Option<Recompute>,
    /// Ranks that split the vocabulary; `None` = as the blocks are split.
    pub vocabulary: Option<u32>,
    /// What is done with each block, in model order.
    pub each: Option<Vec<BlockPolicy>>,
    /// Blocks of each stage in model order, those that predict a later token included.
    pub blocks: Option<Vec<u32>>,
    /// Layers that embedding and head count for where the launcher cuts the stages; `None` = stages
    /// are as even as can be.
    pub ends: Option<[u32; 2]>,
    /// Blocks at the end of the model that predict a later token.
    pub n_predicting: Option<u32>,
    /// Numbers of the devices that ranks run on, in order.
    pub devices: Option<Vec<u32>>,
    /// Name of the schedule.
    pub schedule: Option<String>,
    /// The file that holds it cell by cell, as the settings name it.
    pub schedule_file: Option<String>,
    /// The file of DeepSpeed that says the rest, as the settings name it.
    pub deepspeed_file: Option<String>,
    /// What products are computed in.
    pub dtype: Option<DType>,
    /// What gradients of a 16-bit run are summed and exchanged in; `None` = as the stack does.
    pub gradients: Option<DType>,
    /// Whether gradients are exchanged beside the backward pass; `None` = as the stack does.
    pub overlaps: Option<bool>,
    /// What they say of the software stack.
    pub stack: StackSettings,
    /// Settings that change time or memory in a way that no plan has, by the reason.
    pub not_judged: BTreeMap<&'static str, Vec<String>>,
    /// Settings that do nothing as the others are, by what each needs.
    pub no_effect: BTreeMap<String, String>,
    /// Settings that are in no plan, such as those of data, logs and checkpoints.
    pub not_planned: BTreeSet<String>,
    /// Processes that the script starts, one for each device.
    pub n_processes: Option<u64>,
    /// Whether a launcher starts processes of which the number is found when it runs.
    pub open_processes: bool,
    /// The optimizer.
    pub optimizer: Option<Optimizer>,
    /// Adapters beside frozen weights; `None` = all is trained.
    pub adapter: Option<Adapter>,
    /// Whether the program beside them says what is trained, as beside settings of Accelerate or DeepSpeed.
    pub trains_elsewhere: bool,
    /// Whether hosts keep its states; `None` = nothing is said of it.
    pub offloads: Option<bool>,
    /// Whether hosts keep parameters and gradients too.
    pub offloads_parameters: bool,
    /// Sizes of the model that they state, by flag; switches count 1 where they are on, else 0.
    pub sizes: BTreeMap<&'static str, u64>,
    /// Which layers have experts, those that predict a later token aside.
    pub with_experts: Option<Vec<bool>>,
    /// Whether tokens of a layer attend to a window alone, layer by layer.
    pub windowed: Option<Vec<bool>>,
}

/// What of requests a server computes where others do the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerRole {
    /// Prompts.
    Prefill,
    /// Tokens after the first.
    Decode,
}

/// A server that a script starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerStart {
    /// Its degrees.
    pub settings: LaunchSettings,
    /// Whether its data-parallel ranks are of attention alone (SGLang `--enable-dp-attention`).
    pub shares_attention: bool,
    /// Running requests at most; `None` = the engine's default.
    pub max_num_seqs: Option<u64>,
    /// Tokens of an iteration at most; `None` = the engine's default.
    pub max_num_batched_tokens: Option<u64>,
    /// Its role; `None` = whole requests.
    pub role: Option<ServerRole>,
    /// Hosts of it; `None` = as many as it takes.
    pub n_hosts: Option<u32>,
    /// Settings that change what it does and that no price counts.
    pub unpriced: Vec<String>,
}

/// Where a device map puts a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapPlace {
    /// Position among the accelerators of the host.
    Accelerator(u32),
    /// The host's memory.
    Cpu,
    /// Storage.
    Disk,
}

/// A map from module paths to devices, as Hugging Face Accelerate takes it. A key covers the module
/// and all below it; no key is below another one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceMap {
    /// Keys and places, by key.
    pub entries: BTreeMap<String, MapPlace>,
}
