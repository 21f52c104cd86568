//! What the judge needs to know of a training run: the costs of each stage, boundary and rank.

use ir::id::StageId;
use ir::units::{Bytes, BytesPerSecond, Nanos, Work};

/// Whether a transfer has its way for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// It has.
    #[default]
    Own,
    /// It goes through the network cards of both ranks ([`RankCosts::nic`]).
    Nic,
}

/// The way between the ranks of two neighbouring stages, the same in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Link {
    /// Start-up cost in nanoseconds.
    pub latency_ns: f64,
    /// Rate of one transfer that is alone; `None` = bytes cost nothing.
    pub bandwidth: Option<BytesPerSecond>,
    /// Which of a rank's channels it occupies: one to send and one to receive per tier.
    pub tier: u8,
    /// Whether it has its way for itself.
    pub sharing: Sharing,
}

impl Link {
    /// `latency_ns + bytes x n_sharers x 1e9 / bytes_per_s` from left to right, rounded half up, at
    /// least 1 ns if anything is sent.
    #[must_use]
    pub fn time(&self, bytes: Bytes, n_sharers: u64) -> Nanos {
        let work = if bytes == Bytes::ZERO { Work::None } else { Work::Some };
        let Some(bandwidth) = self.bandwidth else {
            return Nanos::rounded(self.latency_ns, Work::None);
        };
        let moving = bytes.as_f64() * n_sharers as f64 * 1e9 / bandwidth.get();
        Nanos::rounded(self.latency_ns + moving, work)
    }
}

/// What goes between a stage and the next one; nothing does if both are on one rank.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Boundary {
    /// Bytes of the activation that goes forward, per micro-batch.
    pub activation: Bytes,
    /// Bytes of the gradient that comes back, per micro-batch.
    pub gradient: Bytes,
    /// The way.
    pub link: Link,
}

/// One stage: a chunk of the model on one rank. Durations and bytes are those of one micro-batch
/// unless they say otherwise, on one device of the rank.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StageCosts {
    /// The pipeline rank that holds it.
    pub rank: u32,
    /// Forward pass.
    pub forward: Nanos,
    /// Whole backward pass, without recompute.
    pub backward: Nanos,
    /// Gradient of the input alone, where the backward pass is split.
    pub backward_input: Nanos,
    /// Gradient of the weights alone, where the backward pass is split.
    pub backward_weight: Nanos,
    /// Computing again what the forward pass did not keep. Where the grid has a cell for it, it
    /// runs there; where not, at the start of the backward pass (or of its input part).
    pub recompute: Nanos,
    /// What the forward pass keeps, from its start to the end of the backward pass (of its weight
    /// part, where that is split). The received activation is part of it.
    pub stash: Bytes,
    /// What recompute adds, from its start to the end of the backward pass.
    pub recomputed: Bytes,
    /// Of `stash` and `recomputed`, what stays from the end of the backward pass's input part to
    /// the end of its weight part; the rest is freed between them.
    pub kept_for_weight: Bytes,
    /// What the backward pass's input part makes for its weight part: from the start of the one to
    /// the end of the other.
    pub made_for_weight: Bytes,
    /// Scratch bytes while the forward pass or recompute runs.
    pub forward_temporary: Bytes,
    /// Scratch bytes while a backward pass runs; the first one includes recompute that has no cell.
    pub backward_temporary: Bytes,
    /// Parameters, gradients, master weights and optimizer states on the device, for the whole step.
    pub persistent: Bytes,
    /// States that the host keeps for one device, for the whole step.
    pub on_host: Bytes,
    /// What goes to the next stage in model order; not looked at for the last.
    pub next: Boundary,
    /// Exchange of its gradients at the end of the step, were it alone.
    pub exchange: Nanos,
    /// Of `exchange`, what may run beside passes, from the start of the stage's last backward cell.
    pub overlapped: Nanos,
    /// After `exchange`: adding up gradients of parameters that stages of several ranks hold. Ranks with
    /// such stages begin at once, when the last of them is ready.
    pub tied: Nanos,
}

/// One pipeline rank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RankCosts {
    /// Optimizer, after the gradient exchange.
    pub optimizer: Nanos,
    /// Bytes that a device of the rank can hold; `None` = unlimited.
    pub limit: Option<Bytes>,
    /// Bytes beside those of its stages, for the whole step: buffers, context.
    pub persistent: Bytes,
    /// Its network card, a position in [`PipelineCosts::nics`]; `None` = one of its own.
    pub nic: Option<u32>,
}

/// A network card that several devices use at once, full duplex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nic {
    /// Replicas that send what one rank sends at the same moments through the same card (equal
    /// tensor or data ranks of a node that are judged once); at least 1.
    pub n_copies: u32,
}

impl Default for Nic {
    fn default() -> Self {
        Self { n_copies: 1 }
    }
}

/// A host that keeps states for its devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostCosts {
    /// Position in the cluster; of hosts that are alike the first.
    pub host: u32,
    /// Bytes that it can hold; `None` = not stated.
    pub limit: Option<Bytes>,
    /// Pipeline ranks of its devices, and devices of each.
    pub devices: Vec<(u32, u32)>,
}

/// Everything about a pipeline that its grid does not say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PipelineCosts {
    /// Micro-batches of one step.
    pub n_micro_batches: u32,
    /// Stages in model order.
    pub stages: Vec<StageCosts>,
    /// Ranks.
    pub ranks: Vec<RankCosts>,
    /// Network cards that ranks share.
    pub nics: Vec<Nic>,
    /// Hosts, where they keep states.
    pub hosts: Vec<HostCosts>,
}

impl PipelineCosts {
    /// Equal stages on `n_ranks` ranks, stage `s` on rank `s mod n_ranks`, as interleaved schedules
    /// have them.
    #[must_use]
    pub fn looped(n_ranks: u32, n_chunks: u32, n_micro_batches: u32, stage: StageCosts) -> Self {
        let stages = (0..n_chunks)
            .flat_map(|_| (0..n_ranks).map(|rank| StageCosts { rank, ..stage }))
            .collect();
        let ranks = vec![RankCosts::default(); n_ranks as usize];
        Self { n_micro_batches, stages, ranks, ..Self::default() }
    }

    /// The stage before and the one after.
    #[must_use]
    pub fn neighbours(&self, stage: StageId) -> (Option<StageId>, Option<StageId>) {
        let after = stage.0.checked_add(1).filter(|next| (*next as usize) < self.stages.len());
        (stage.0.checked_sub(1).map(StageId), after.map(StageId))
    }

    /// The rank of a stage, `None` past the last.
    #[must_use]
    pub fn rank_of(&self, stage: StageId) -> Option<u32> {
        self.stages.get(stage.index()).map(|costs| costs.rank)
    }
}
