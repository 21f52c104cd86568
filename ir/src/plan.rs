//! A plan: six decisions, the same shape for two devices and for a thousand.

use std::ops::Range;

use crate::card::{Recompute, SequenceParallel, ZeroStage};
use crate::id::{DeviceId, OpId};
use crate::schedule::Schedule;

/// Which axis of a training run lies on which tier of links. Tensor ranks are neighbours, context
/// ranks come next; groups that do not fit into a host leave it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mesh {
    /// Replicas come next, pipeline ranks are furthest apart (Megatron-LM).
    #[default]
    TpCpDpPp,
    /// Pipeline ranks come next, replicas are furthest apart.
    TpCpPpDp,
}

/// Degrees of parallelism and batch sizes. An operator placement has all degrees 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parallelism {
    /// Data-parallel replicas.
    pub data: u32,
    /// Tensor-parallel shards.
    pub tensor: u32,
    /// Pipeline stages.
    pub pipeline: u32,
    /// Expert-parallel shards.
    pub expert: u32,
    /// Context-parallel shards.
    pub context: u32,
    /// Micro-batches of one step, of each data-parallel replica.
    pub n_micro_batches: u64,
    /// Samples of a micro-batch.
    pub micro_batch: u64,
    /// Chunks of the model on each pipeline rank (virtual pipeline, interleaving).
    pub virtual_stages: u32,
    /// Whether tensor ranks split the sequence between tensor-parallel regions.
    pub sequence: SequenceParallel,
    /// What the data-parallel replicas share out.
    pub zero: ZeroStage,
    /// Which axis lies on which tier.
    pub mesh: Mesh,
    /// Ranks that split the vocabulary; `None` = as the blocks are split.
    pub vocabulary: Option<u32>,
    /// Whether exchanges of experts run beside the work of another micro-batch because the plan says
    /// so; a stack may do so whatever the plan.
    pub expert_overlap: bool,
    /// Tensor-parallel shards of an expert; `None` = as many as of all else. Of fewer, expert ranks take
    /// tensor ranks too.
    pub expert_tensor: Option<u32>,
}

impl Parallelism {
    /// Ranks that split the products of an expert.
    #[must_use]
    pub fn of_expert(&self) -> u32 {
        self.expert_tensor.unwrap_or(self.tensor).max(1)
    }

    /// Share of the micro-batches beside whose exchanges another one works: all but those with which
    /// a rank fills its pipeline. Megatron-Core runs forward and backward passes together once
    /// `2 (p - 1) + 1` micro-batches are under way (`combined_1f1b.py`); ranks of several chunks fill
    /// sooner, which is not counted.
    #[must_use]
    pub fn overlapped(&self) -> f64 {
        let filling = 2.0 * f64::from(self.pipeline.max(1)) - 1.0;
        (1.0 - filling / self.n_micro_batches.max(1) as f64).max(0.0)
    }
}

impl Default for Parallelism {
    fn default() -> Self {
        Self {
            data: 1,
            tensor: 1,
            pipeline: 1,
            expert: 1,
            context: 1,
            n_micro_batches: 1,
            micro_batch: 1,
            virtual_stages: 1,
            sequence: SequenceParallel::Off,
            zero: ZeroStage::None,
            mesh: Mesh::TpCpDpPp,
            vocabulary: None,
            expert_overlap: false,
            expert_tensor: None,
        }
    }
}

/// What is done with one block of a training run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockPolicy {
    /// What it computes again: nothing or all of it.
    pub recompute: Recompute,
    /// What the data-parallel replicas share out of it.
    pub zero: ZeroStage,
}

/// Devices of a stage that are its own, where stages differ: every micro-batch is shared out over its
/// replicas, each of which is so many neighbours in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageMesh {
    /// Devices, replica by replica.
    pub devices: Vec<DeviceId>,
    /// Tensor-parallel shards of each replica.
    pub tensor: u32,
    /// By replica, its samples of each micro-batch.
    pub samples: Vec<u64>,
    /// Of each message to the next stage, and of the gradient that comes back, elements over those that
    /// are sent, the largest ones; 1 = all, more changes what is computed.
    pub edge_ratio: u32,
}

/// A contiguous part of a pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stage {
    /// Its ops, in increasing order; empty in a plan of one stage, which holds all.
    pub ops: Vec<OpId>,
    /// Its blocks, of a training run on a transformer card; empty in an operator placement.
    pub blocks: Range<u32>,
    /// What it computes again.
    pub recompute: Recompute,
    /// By block, where blocks differ; empty = all as `recompute` and the plan's ZeRO stage say.
    pub each: Vec<BlockPolicy>,
    /// Its devices, where those of stages differ; else they follow from the degrees of the plan.
    pub mesh: Option<StageMesh>,
}

impl Stage {
    /// Policies of its blocks in model order, where those of the plan say `zero`.
    pub fn policies(&self, zero: ZeroStage) -> impl Iterator<Item = BlockPolicy> + '_ {
        let n = self.blocks.end.saturating_sub(self.blocks.start);
        let again = match self.recompute {
            Recompute::Full | Recompute::Uniform { .. } => n,
            Recompute::Block { blocks } => blocks.min(n),
            Recompute::None | Recompute::Selective | Recompute::PerOp => 0,
        };
        let uniform = move |index: u32| {
            let recompute = if index < again { Recompute::Full } else { Recompute::None };
            BlockPolicy { recompute, zero }
        };
        let n_uniform = if self.each.is_empty() { n } else { 0 };
        self.each.iter().copied().chain((0..n_uniform).map(uniform))
    }
}

/// Stages. An operator placement has one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partition {
    /// Stages in pipeline order.
    pub stages: Vec<Stage>,
}

impl Partition {
    /// Whether stages have devices of their own.
    #[must_use]
    pub fn has_own_devices(&self) -> bool {
        self.stages.iter().any(|stage| stage.mesh.is_some())
    }

    /// One stage that holds every op.
    #[must_use]
    pub fn whole() -> Self {
        Self { stages: vec![Stage::default()] }
    }
}

/// Where each op runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// By op id; `None` for views, which are no actions.
    pub device: Vec<Option<DeviceId>>,
}

impl Placement {
    /// The device of an op, `None` for a view or an op of another graph.
    #[must_use]
    pub fn of(&self, op: OpId) -> Option<DeviceId> {
        self.device.get(op.index()).copied().flatten()
    }
}

/// All decisions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Degrees and batch sizes.
    pub parallelism: Parallelism,
    /// Stages.
    pub partition: Partition,
    /// Where each op runs.
    pub placement: Placement,
    /// Orders and waits.
    pub schedule: Schedule,
}
